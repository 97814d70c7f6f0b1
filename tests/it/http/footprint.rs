//! What the layer costs a request over a store in memory: allocations, and the size of its futures.

use std::{convert::Infallible, pin::pin};

use allocation_counter::measure;
use cloakroom::{Session, SessionHandle, SessionLayer};
use futures::executor::block_on;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service, service_fn};

use crate::support::Visitor;

type Done = Result<Response<String>, Infallible>;

/// As a framework answers: with headers that describe the body.
fn answer() -> Done {
    let mut response = Response::new(String::new());
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(response)
}

/// How many more allocations a request makes under a layer than without one.
fn allocations<F>(
    layer: &SessionLayer,
    cookie: Option<&str>,
    act: impl Fn(SessionHandle) -> F,
) -> u64
where
    F: Future<Output = StatusCode>,
{
    let request = || {
        let mut request = Request::new(());
        if let Some(cookie) = cookie {
            let cookie = cookie.parse().unwrap();
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        // Room that a server's own extensions would have taken already.
        request.extensions_mut().insert(());
        request
    };
    let mut with_layer = layer.layer(service_fn(async |request: Request<()>| -> Done {
        let handle = request.extensions().get::<SessionHandle>().unwrap();
        assert_eq!(act(handle.clone()).await, StatusCode::OK);
        Ok(Response::new(String::new()))
    }));
    let mut without = service_fn(async |_: Request<()>| answer());
    // The first of each kind fills tables that stay.
    for _ in 0..3 {
        block_on(with_layer.call(request())).unwrap();
    }
    let mut counts: Vec<u64> = (0..50)
        .map(|_| {
            let (theirs, ours) = (request(), request());
            let bare = measure(|| drop(block_on(without.call(theirs))));
            let layered = measure(|| drop(block_on(with_layer.call(ours))));
            layered.count_total - bare.count_total
        })
        .collect();
    // A table that grows does so rarely.
    counts.sort_unstable();
    counts[counts.len() / 2]
}

#[test]
fn a_request_allocates_no_more_than_its_row_of_the_table_says() {
    let layer = SessionLayer::default();
    let visitor = Visitor::new(&layer);
    let first = visitor.visit(async |session: Session| session.insert("n", 1));
    assert_eq!(block_on(first).status, StatusCode::OK);
    let cookie = visitor.cookie().unwrap();
    let cookie = Some(&*cookie);
    let unused = async |_| StatusCode::OK;
    let read = async |handle: SessionHandle| {
        let session = handle.load().await.unwrap();
        assert!(session.get::<u64>("n").unwrap().is_some());
        StatusCode::OK
    };
    let write = async |handle: SessionHandle| {
        let session = handle.load().await.unwrap();
        let count = |n: Option<u64>| n.unwrap_or(0) + 1;
        session.update("n", count).unwrap();
        StatusCode::OK
    };
    let begin = async |handle: SessionHandle| {
        handle.load().await.unwrap().insert("n", 1).unwrap();
        StatusCode::OK
    };
    // Metrics have labels, and are counted by events, which name the keys that were saved.
    let metrics = if cfg!(feature = "metrics") {
        [1, 5, 5]
    } else {
        [0, 0, 0]
    };
    let rows = [
        ("no cookie, unused", allocations(&layer, None, unused), 4),
        ("cookie, unused", allocations(&layer, cookie, unused), 4),
        (
            "one value read",
            allocations(&layer, cookie, read),
            4 + metrics[0],
        ),
        (
            "one value written",
            allocations(&layer, cookie, write),
            11 + metrics[1],
        ),
        (
            "new session",
            allocations(&layer, None, begin),
            10 + metrics[2],
        ),
    ];
    println!("{rows:?}");
    for (row, count, most) in rows {
        assert!(count <= most, "{row}: {count} allocations, at most {most}");
    }
}

#[test]
fn the_futures_that_a_request_holds_are_small() {
    let layer = SessionLayer::default();
    let mut service = layer.layer(service_fn(async |_: Request<()>| -> Done {
        Ok(Response::new(String::new()))
    }));
    let response = size_of_val(&service.call(Request::new(())));
    let visitor = Visitor::new(&layer);
    let mut sizes = Vec::new();
    let visit = visitor.ask(async |handle: SessionHandle| {
        sizes.push(("load", size_of_val(&handle.load()), 144));
        sizes.push(("peek", size_of_val(&handle.peek()), 144));
        let session = handle.load().await.unwrap();
        sizes.push(("save", size_of_val(&session.save()), 3_000));
        sizes.push(("touch", size_of_val(&session.touch()), 4_096));
        sizes.push(("reload", size_of_val(&session.reload()), 3_000));
        sizes.push(("claim", size_of_val(&session.claim::<u64>("n")), 4_096));
        sizes.push(("ended", size_of_val(&pin!(session.ended())), 64));
        Response::new(axum::body::Body::empty())
    });
    block_on(visit);
    sizes.push(("response", response, 256));
    println!("{sizes:?}");
    for (future, bytes, most) in sizes {
        assert!(bytes <= most, "{future}: {bytes} bytes, at most {most}");
    }
}
