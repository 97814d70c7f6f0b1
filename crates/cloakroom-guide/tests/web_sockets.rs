//! The program of the page "WebSockets and event streams", with curl, and with a client that writes.

mod transcript;

use cloakroom::testing::Ticket;
use tungstenite::client::IntoClientRequest as _;

use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/web-sockets.md");
    transcript::follow(page, app(SessionLayer::default())).await;
}

#[tokio::test]
async fn a_note_is_saved_and_a_shutdown_closes_the_socket_and_keeps_the_session() {
    let shutdown = Shutdown::new();
    let layer = SessionLayer::default().shutdown(&shutdown);
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = ann.await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}/socket", listener.local_addr().unwrap());
    let server =
        axum::serve(listener, app(layer)).with_graceful_shutdown(shutdown.after(shutdown.begun()));
    let server = tokio::spawn(server.into_future());

    let mut request = address.into_client_request().unwrap();
    let cookie = ann.cookie();
    request.headers_mut().insert("cookie", cookie);
    let talk = tokio::task::spawn_blocking(|| {
        let (mut socket, _) = tungstenite::connect(request).unwrap();
        socket.send("milk".into()).unwrap();
        // Until the server closes it.
        while socket.read().is_ok() {}
    });
    let saved = async {
        loop {
            let session = ann.peek().await.unwrap().unwrap();
            if let Some(note) = session.get::<String>("note").unwrap() {
                return note;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let saved = tokio::time::timeout(Duration::from_secs(60), saved).await;
    assert_eq!(saved.expect("the note is not saved"), "milk");
    shutdown.begin();
    talk.await.unwrap();
    server.await.unwrap().unwrap();
    assert_eq!(shutdown.finish(Duration::from_secs(60)).await, 0);
    assert!(ann.peek().await.unwrap().is_some());
}
