//! A WebSocket that lives as long as its session: `cargo run --example socket`.
//!
//! The page counts over a socket. If you log out in another tab, the server closes
//! the socket, with a code that tells the page why. While the page is open, the
//! idle timeout does not end the session, because the socket touches it.
//!
//! The cookie is `SameSite=Lax`, so browsers do not send it when a page of another
//! site opens a socket. Forms from other sites are refused.

#[path = "site/names.rs"]
mod names;
mod site;

use std::{pin::pin, process::ExitCode, time::Duration};

use axum::{
    Router,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cloakroom::{EndReason, Error, ErrorKind, Key, Session, SessionEnd, SessionLayer, Shutdown};
use tokio::time::interval;

use self::{
    names::{log_in, log_out},
    site::{PrivatePage, escape},
};

const COUNT: Key<u64> = Key::new("count");

/// Much less than the idle timeout.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Applications may define close codes from 4000 on.
const LOGGED_OUT: u16 = 4000;
const EXPIRED: u16 = 4001;
const COME_AGAIN: u16 = 4002;
/// Registered for a server that restarts.
const RESTART: u16 = 1012;

/// A session ends after ten minutes without a request or an open socket.
#[must_use]
pub fn layer() -> SessionLayer {
    SessionLayer::default().idle_timeout(Duration::from_secs(10 * 60))
}

/// The application, with the sessions of `layer`.
pub fn app(layer: SessionLayer) -> Router {
    let app = Router::new()
        .route("/", get(start))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/socket", get(socket))
        .layer(layer);
    site::finish(app)
}

async fn start(session: Session) -> Result<PrivatePage, Error> {
    Ok(match session.user() {
        Some(user) => page(&room(&user, session.get(COUNT)?.unwrap_or(0))),
        None => page(FORM),
    })
}

async fn socket(session: Option<Session>, upgrade: WebSocketUpgrade) -> Response {
    match session.filter(|session| session.user().is_some()) {
        Some(session) => upgrade.on_upgrade(|socket| serve(socket, session)),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// Runs as long as the socket is open, after the response head.
async fn serve(mut socket: WebSocket, session: Session) {
    let mut ended = pin!(session.ended());
    let mut shutting_down = pin!(session.shutting_down());
    let mut touches = interval(TOUCH_EVERY);
    loop {
        let step = tokio::select! {
            end = &mut ended => {
                let _ = socket.send(Message::Close(Some(farewell(end)))).await;
                return;
            }
            () = &mut shutting_down => {
                let frame = CloseFrame { code: RESTART, reason: "The server restarts.".into() };
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
            _ = touches.tick() => session.touch().await,
            message = socket.recv() => match message {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(Message::Text(_))) => count(&session, &mut socket).await,
                Some(Ok(_)) => Ok(()),
            },
        };
        match step {
            // If the session has ended, `ended` resolves too, and says why.
            Err(error) if error.kind() != ErrorKind::Ended => eprintln!("{error}"),
            _ => {}
        }
    }
}

/// Saved at once, because no response follows.
async fn count(session: &Session, socket: &mut WebSocket) -> Result<(), Error> {
    session.update(COUNT, |count| count.unwrap_or(0) + 1)?;
    session.save().await?;
    // Reads what other tabs have counted.
    let count = session.get(COUNT)?.unwrap_or(0);
    // If this fails, the next `recv` does too.
    let _ = socket.send(Message::text(count.to_string())).await;
    Ok(())
}

fn farewell(end: SessionEnd) -> CloseFrame {
    let (code, reason) = match end {
        SessionEnd::Ended(EndReason::Idle | EndReason::Absolute) => {
            (EXPIRED, "Your session has expired.")
        }
        SessionEnd::Moved => (COME_AGAIN, "You have logged in anew."),
        _ => (LOGGED_OUT, "You have logged out."),
    };
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

const FORM: &str = r#"<h1>Log in</h1>
<form method="post" action="/login">
<label>Name <input name="name" autocomplete="username" required></label>
<button>Log in</button>
</form>"#;

fn room(user: &str, count: u64) -> String {
    format!(
        r#"<h1>Hello, {user}</h1>
<p id="state" role="status">Connecting…</p>
<p><output id="count">{count}</output> <button id="more" disabled>Count</button></p>
<p id="back" hidden><a href="/">Log in again</a></p>
<p id="again" hidden><button>Connect again</button></p>
<p>Open this page in another tab, and log out there.</p>
<form id="leave" method="post" action="/logout"><button class="quiet">Log out</button></form>
<script>
const by = id => document.getElementById(id);
// After the end of a session the page offers a log-in. After a lost connection it offers to connect again.
function show(state, {{ isOpen = false, hasEnded = false, isLost = false }}) {{
  by('state').textContent = state;
  by('more').disabled = !isOpen;
  by('back').hidden = !hasEnded;
  by('leave').hidden = hasEnded;
  by('again').hidden = !isLost;
}}
function connect() {{
  show('Connecting…', {{}});
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
  by('more').onclick = () => socket.send('more');
  socket.onopen = () => show('Connected.', {{ isOpen: true }});
  socket.onmessage = message => by('count').textContent = message.data;
  socket.onclose = closed => {{
    if (closed.code === {COME_AGAIN}) connect();
    else if (closed.code === {RESTART}) setTimeout(connect, 2000);
    else if (closed.code >= 4000) show('Closed: ' + closed.reason, {{ hasEnded: true }});
    else show('Closed: the connection was lost.', {{ isLost: true }});
  }};
}}
by('again').firstChild.onclick = connect;
// After the back button, the socket of the page is closed.
addEventListener('pageshow', shown => shown.persisted && connect());
connect();
</script>"#,
        user = escape(user),
    )
}

fn page(body: &str) -> PrivatePage {
    site::private_page("A socket and its session", body)
}

#[tokio::main]
async fn main() -> ExitCode {
    let shutdown = Shutdown::new();
    site::serve_with(app(layer().shutdown(&shutdown)), &shutdown).await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, header},
    };
    use cloakroom::testing::FixedClock;
    use futures::{SinkExt, StreamExt};
    use http_body_util::BodyExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::{
        WebSocketStream, client_async,
        tungstenite::{self, client::IntoClientRequest},
    };
    use tower::ServiceExt;

    use super::*;

    /// A tab of a browser. All tabs share the cookie.
    #[derive(Clone)]
    struct Tab {
        app: Router,
        cookie: String,
    }

    impl Tab {
        async fn of_ann(app: &Router) -> Self {
            let mut tab = Self {
                app: app.clone(),
                cookie: String::new(),
            };
            tab.post("/login", "name=Ann").await;
            tab
        }

        async fn post(&mut self, path: &str, form: &'static str) {
            let form_type = "application/x-www-form-urlencoded";
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, form_type)
                .header(header::COOKIE, &self.cookie)
                .body(Body::from(form));
            let reply = self.app.clone().oneshot(request.unwrap()).await.unwrap();
            if let Some(cookie) = reply.headers().get(header::SET_COOKIE) {
                let pair = cookie.to_str().unwrap().split(';').next();
                self.cookie = pair.unwrap().to_owned();
            }
        }

        async fn page(&self) -> String {
            let request = Request::get("/").header(header::COOKIE, &self.cookie);
            let request = request.body(Body::empty()).unwrap();
            let reply = self.app.clone().oneshot(request).await.unwrap();
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }

        /// A socket to a new server with the shared app.
        async fn connect(&self) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = self.app.clone();
            tokio::spawn(async move { axum::serve(listener, app).await });
            let mut request = format!("ws://{address}/socket").into_client_request()?;
            let cookie = self.cookie.parse().unwrap();
            request.headers_mut().insert(header::COOKIE, cookie);
            let stream = TcpStream::connect(address).await.unwrap();
            Ok(client_async(request, stream).await?.0)
        }
    }

    async fn count(socket: &mut WebSocketStream<TcpStream>) -> String {
        let more = tungstenite::Message::text("more");
        socket.send(more).await.unwrap();
        let reply = socket.next().await.unwrap().unwrap();
        reply.into_text().unwrap().to_string()
    }

    async fn close_code(socket: &mut WebSocketStream<TcpStream>) -> u16 {
        match socket.next().await {
            Some(Ok(tungstenite::Message::Close(Some(frame)))) => frame.code.into(),
            other => panic!("not closed, but {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_socket_counts_is_kept() {
        let ann = Tab::of_ann(&app(layer())).await;
        let (mut one, mut other) = (ann.connect().await.unwrap(), ann.connect().await.unwrap());
        assert_eq!(count(&mut one).await, "1");
        assert_eq!(count(&mut other).await, "2");
        assert_eq!(count(&mut one).await, "3");
        assert!(ann.page().await.contains(r#"<output id="count">3<"#));
    }

    #[tokio::test]
    async fn a_log_out_in_another_tab_closes_the_sockets_of_that_session_alone() {
        let app = app(layer());
        let mut ann = Tab::of_ann(&app).await;
        let phone = Tab::of_ann(&app).await;
        let (mut one, mut other) = (ann.connect().await.unwrap(), ann.connect().await.unwrap());
        let mut on_phone = phone.connect().await.unwrap();
        assert_eq!(count(&mut one).await, "1");
        ann.post("/logout", "").await;
        assert_eq!(close_code(&mut one).await, LOGGED_OUT);
        assert_eq!(close_code(&mut other).await, LOGGED_OUT);
        assert_eq!(count(&mut on_phone).await, "1");
    }

    #[tokio::test]
    async fn a_log_in_in_another_tab_asks_the_page_to_come_again() {
        let mut ann = Tab::of_ann(&app(layer())).await;
        let mut socket = ann.connect().await.unwrap();
        assert_eq!(count(&mut socket).await, "1");
        ann.post("/login", "name=Ann").await;
        assert_eq!(close_code(&mut socket).await, COME_AGAIN);
        let mut socket = ann.connect().await.unwrap();
        assert_eq!(count(&mut socket).await, "2");
    }

    #[tokio::test]
    async fn at_the_absolute_limit_the_page_is_told_that_the_session_has_expired() {
        let clock = FixedClock::default();
        let layer = SessionLayer::default().clock(clock.clone());
        let ann = Tab::of_ann(&app(layer.check_ended_every(Duration::ZERO))).await;
        let mut socket = ann.connect().await.unwrap();
        assert_eq!(count(&mut socket).await, "1");
        clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_eq!(close_code(&mut socket).await, EXPIRED);
    }

    #[tokio::test]
    async fn a_server_that_shuts_down_closes_its_sockets_and_keeps_the_sessions() {
        let shutdown = Shutdown::new();
        let app = app(layer().shutdown(&shutdown));
        let ann = Tab::of_ann(&app).await;
        let mut socket = ann.connect().await.unwrap();
        assert_eq!(count(&mut socket).await, "1");
        shutdown.begin();
        assert_eq!(close_code(&mut socket).await, RESTART);
        assert!(ann.page().await.contains(r#"<output id="count">1<"#));
    }

    #[tokio::test]
    async fn without_a_log_in_there_is_no_socket() {
        let app = app(layer());
        let mut ann = Tab::of_ann(&app).await;
        let before = ann.clone();
        ann.post("/logout", "").await;
        for tab in [before, ann] {
            match tab.connect().await {
                Err(tungstenite::Error::Http(reply)) => {
                    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_page_of_a_closed_socket_has_a_way_back() {
        let page = Tab::of_ann(&app(layer())).await.page().await;
        assert!(page.contains(r#"<a href="/">Log in again</a>"#));
        assert!(page.contains("<button>Connect again</button>"));
    }

    #[tokio::test]
    async fn another_site_logs_nobody_in_or_out() {
        let app = app(layer());
        for path in ["/login", "/logout"] {
            let (status, _) = site::tests::form_from_another_site(&app, path).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
    }
}
