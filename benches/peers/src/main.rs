//! Measures cloakroom beside its peers, in one process and one run.
//!
//! ```text
//! cargo run --release                  the table of overheads, allocations and bytes
//! cargo run --release -- http          behind a real server, with `wrk`
//! cargo run --release -- stores postgres://… mysql://… redis://… redis-cluster://host:port,… sqlite:///path/to/file
//!                                      the stores against servers, host and port named in each URL
//! cargo run --release -- profile cloakroom 2 20000
//!                                      one subject, one row (from 0), so many requests: for a profiler
//! cargo run --release -- profile-store redis://… cloakroom update 2048 64
//!                                      one store, one call, bytes of data (0: an integer), tasks: for a profiler
//! ```

mod alloc;
mod http;
mod stores;
mod subject;
mod table;

use tokio::runtime::Builder;

use crate::subject::Subject;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    match args[..] {
        [] => runtime.block_on(table::print()),
        ["http"] => http::print(),
        ["stores", ref urls @ ..] if !urls.is_empty() => {
            let runtime = Builder::new_multi_thread().enable_all().build();
            runtime.expect("a runtime").block_on(stores::print(urls));
        }
        ["profile", subject, row, requests] => {
            let subject = Subject::named(subject).expect("a subject");
            let row = &table::ROWS[row.parse::<usize>().expect("the number of a row")];
            let requests = requests.parse().expect("a number of requests");
            runtime.block_on(table::profile(subject, row, requests));
        }
        ["profile-store", url, subject, call, bytes, tasks] => {
            let bytes = bytes.parse().expect("a number of bytes");
            let tasks = tasks.parse().expect("a number of tasks");
            let runtime = Builder::new_multi_thread().enable_all().build();
            let profile = stores::profile(url, subject, call, bytes, tasks);
            runtime.expect("a runtime").block_on(profile);
        }
        _ => eprintln!("see the top of src/main.rs"),
    }
}
