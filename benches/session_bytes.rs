//! The bytes that a small session takes in memory, and in Redis.
//!
//! ```sh
//! cargo bench -p cloakroom-benches --bench session_bytes
//! # A server without a password. The sessions are deleted afterwards.
//! cargo bench -p cloakroom-benches --features redis --bench session_bytes -- redis://127.0.0.1:6379
//! ```

use std::{sync::Arc, time::SystemTime};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp, store::Created,
};
use uuid::Uuid;

const SESSIONS: usize = 20_000;

#[derive(Clone, Copy)]
enum Kind {
    Anonymous,
    /// Each has a user of its own.
    LoggedIn,
}

const KINDS: [(Kind, &str); 2] = [
    (Kind::Anonymous, "without a user"),
    (Kind::LoggedIn, "with a user"),
];

fn record(kind: Kind, number: usize) -> Arc<Record> {
    let now = Timestamp::from(SystemTime::now()).as_millis();
    let user = match kind {
        Kind::Anonymous => String::new(),
        Kind::LoggedIn => format!(r#","user":"user {number}","authenticated_at":{now}"#),
    };
    let verifier = "A".repeat(43);
    let text = format!(
        r#"{{"format":1,"version":"1-00000000000000ff","verifier":"{verifier}","created_at":{now}{user},"data":{{"n":1}}}}"#
    );
    Arc::new(Record::from_bytes(text.as_bytes()).unwrap())
}

fn ids() -> Vec<SessionId> {
    let mut bytes = vec![[0; 16]; SESSIONS];
    getrandom::fill(bytes.as_flattened_mut()).unwrap();
    let ids = bytes.into_iter();
    ids.map(|id| Uuid::from_bytes(id).into()).collect()
}

async fn fill(store: &impl SessionStore, ids: &[SessionId], kind: Kind) {
    let now = Timestamp::from(SystemTime::now());
    let activity = Activity {
        last_seen_at: now,
        expires_at: Some(now.saturating_add(std::time::Duration::from_secs(3600))),
    };
    for (number, id) in ids.iter().enumerate() {
        let created = store.create(*id, &record(kind, number), activity).await;
        assert_eq!(created.unwrap(), Created::Yes);
    }
}

async fn in_memory() {
    for (kind, name) in KINDS {
        let store = MemoryStore::default();
        let empty = store.bytes();
        fill(&store, &ids(), kind).await;
        println!(
            "memory, {name}: {} bytes",
            (store.bytes() - empty) / SESSIONS
        );
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpStream,
    };

    use cloakroom::{SessionId, SessionStore as _, store::RedisStore};

    use super::{KINDS, SESSIONS, fill, ids};

    const PREFIX: &str = "session_bytes:";

    /// The server's numbers, which the store does not ask for.
    struct Server(BufReader<TcpStream>);

    impl Server {
        fn connect(url: &str) -> Self {
            let address = url.strip_prefix("redis://").expect("redis://host:port");
            Self(BufReader::new(TcpStream::connect(address).unwrap()))
        }

        /// The number in the first line of the reply that begins so.
        fn number(&mut self, command: &str, begin: &str) -> usize {
            writeln!(self.0.get_mut(), "{command}\r").unwrap();
            loop {
                let mut line = String::new();
                assert_ne!(self.0.read_line(&mut line).unwrap(), 0);
                if let Some(number) = line.strip_prefix(begin) {
                    return number.trim().parse().unwrap();
                }
            }
        }

        fn used(&mut self) -> usize {
            self.number("INFO memory", "used_memory:")
        }
    }

    pub(super) async fn measure(url: &str) {
        let store = RedisStore::connect(url).await.unwrap();
        let store = store.prefix(PREFIX).unwrap();
        for (kind, name) in KINDS {
            let ids = ids();
            let empty = Server::connect(url).used();
            fill(&store, &ids, kind).await;
            let mut server = Server::connect(url);
            let all = (server.used() - empty) / SESSIONS;
            let string = server.number(&format!("MEMORY USAGE {}", key(ids[0])), ":");
            println!("redis, {name}: {all} bytes, of which the session itself has {string}");
            for id in ids {
                store.delete(id).await.unwrap();
            }
        }
    }

    fn key(id: SessionId) -> String {
        let id = id.to_string();
        format!("{PREFIX}{{{}}}{id}", &id[..2])
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(in_memory());
    #[cfg(feature = "redis")]
    for url in std::env::args().filter(|argument| argument.starts_with("redis://")) {
        runtime.block_on(redis::measure(&url));
    }
}
