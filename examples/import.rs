//! Imports the sessions of another library: express-session, from a Node.js server.
//!
//! ```sh
//! cargo run --example import
//! ```
//!
//! express-session signs the session id in its cookie, `connect.sid=s:<id>.<signature>`, and stores a JSON object under the
//! id. Here the objects are in a map. In your application they are where that server put them, in Redis for instance.

mod site;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, response::Html, routing::get};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use cloakroom::{
    Error, Session, SessionLayer,
    import::{Import, OldSession, OldToken},
    store::{StoreError, StoreErrorKind},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::Sha256;

/// The sessions that the other server stored: an object and its expiry, by session id.
type Objects = Arc<Mutex<HashMap<String, (String, SystemTime)>>>;

/// The sessions of express-session.
struct Express {
    secret: Vec<u8>,
    until: SystemTime,
    objects: Objects,
}

impl Import for Express {
    fn cookie_name(&self) -> &str {
        "connect.sid"
    }

    fn until(&self) -> SystemTime {
        self.until
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        let value = decoded(value);
        let (id, signature) = value.strip_prefix("s:")?.rsplit_once('.')?;
        let signature = STANDARD_NO_PAD.decode(signature).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(id.as_bytes());
        mac.verify_slice(&signature).ok()?;
        Some(OldToken::new(id))
    }

    async fn load(&self, token: &OldToken) -> Result<Option<OldSession>, StoreError> {
        let Some((object, expires_at)) = self.objects.lock().get(&id(token)).cloned() else {
            return Ok(None);
        };
        if expires_at <= SystemTime::now() {
            return Ok(None);
        }
        let session = read(&object).map(|session| session.expires_at(expires_at));
        session.map(Some).map_err(|_| {
            StoreError::new(StoreErrorKind::Corrupt, "not an object of express-session")
        })
    }

    async fn delete(&self, token: &OldToken) -> Result<(), StoreError> {
        self.objects.lock().remove(&id(token));
        Ok(())
    }
}

fn id(token: &OldToken) -> String {
    String::from_utf8_lossy(token.as_bytes()).into_owned()
}

/// Everything but `cookie`, which is express-session's own. Passport keeps the user in `passport`.
fn read(object: &str) -> Result<OldSession, Error> {
    let object: Map<String, Value> = serde_json::from_str(object).unwrap_or_default();
    let mut session = OldSession::new();
    for (key, value) in &object {
        match &**key {
            "cookie" => {}
            "passport" => {
                if let Some(user) = value["user"].as_str() {
                    session = session.user(user);
                }
            }
            key => session = session.value(key, value)?,
        }
    }
    Ok(session)
}

/// Decodes the characters that express-session encodes in a cookie: `:`, and three characters of a signature.
fn decoded(value: &str) -> String {
    let pairs = [("%3A", ":"), ("%2B", "+"), ("%2F", "/"), ("%3D", "=")];
    let decode = |value: String, (code, character)| value.replace(code, character);
    let decoded = pairs.into_iter().fold(value.to_owned(), decode);
    decoded.trim_end_matches('=').to_owned()
}

fn app(express: Express) -> Router {
    let app = Router::new()
        .route("/", get(greet))
        .layer(SessionLayer::default().import(express));
    site::finish(app)
}

async fn greet(session: Session) -> Result<Html<String>, Error> {
    let user = session.user();
    let cart: Option<u32> = session.get("cart")?;
    let user = site::escape(user.as_deref().unwrap_or("stranger"));
    let cart = cart.unwrap_or(0);
    let body = format!("<h1>Hello, {user}!</h1>\n<p>There are {cart} things in your cart.</p>");
    Ok(site::page("Shop", &body))
}

#[tokio::main]
async fn main() -> ExitCode {
    let express = Express {
        secret: b"keyboard cat".to_vec(),
        // When the last session of the other server has expired. A fixed date: one that moves with each start never comes.
        until: SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_542_400),
        objects: Objects::default(),
    };
    site::serve(app(express)).await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
    };
    use tower::ServiceExt as _;

    use super::*;

    fn signed(secret: &[u8], id: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(id.as_bytes());
        let signature = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F");
        format!("connect.sid=s%3A{id}.{signature}")
    }

    async fn visit(app: &Router, cookie: &str) -> (String, Option<String>) {
        let request = Request::get("/").header(header::COOKIE, cookie);
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let set = response.headers().get(header::SET_COOKIE);
        let set = set.map(|set| set.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), set)
    }

    #[tokio::test]
    async fn a_session_of_express_goes_on_and_a_forged_one_does_not() {
        let objects = Objects::default();
        let object = r#"{"cookie":{"originalMaxAge":3600000},"passport":{"user":"ann"},"cart":3}"#;
        let expires_at = SystemTime::now() + Duration::from_secs(60 * 60);
        let entry = (object.to_owned(), expires_at);
        objects.lock().insert("abc-123".to_owned(), entry);
        let express = Express {
            secret: b"keyboard cat".to_vec(),
            until: expires_at,
            objects: objects.clone(),
        };
        let app = app(express);
        let (forged, _) = visit(&app, &signed(b"another", "abc-123")).await;
        assert!(forged.contains("stranger"), "{forged}");
        let (page, set) = visit(&app, &signed(b"keyboard cat", "abc-123")).await;
        assert!(page.contains("ann") && page.contains("3 things"), "{page}");
        assert!(objects.lock().is_empty());
        let cookie = set.unwrap();
        let (again, _) = visit(&app, cookie.split(';').next().unwrap()).await;
        assert_eq!(again, page);
    }
}
