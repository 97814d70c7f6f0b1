//! A store of your own, in about 120 lines: `cargo run --example custom_store`.
//! Its tests use the conformance kit, from the crate's feature `testing`.
//!
//! It keeps encoded records in a map. In a database the bytes are one column, and the
//! version and the deadline, which the store compares, are two more.
//!
//! A database can fail. A call that fails may have been applied, and a `StoreError`
//! says so. If the store knows that it was not, it adds `not_applied()`. An error of
//! the kind `Full`, as in `create`, needs no such word.

mod site;

use std::{
    collections::{HashMap, hash_map::Entry},
    process::ExitCode,
    sync::Arc,
};

use axum::{Router, response::Html, routing::get};
use cloakroom::{
    Activity, Error, Record, Session, SessionId, SessionLayer, Timestamp, Version,
    store::{
        Created, Former, Listed, Position, Query, Reaped, SessionStore, StoreError, StoreErrorKind,
        StorePage, Touched, Updated,
    },
};
use parking_lot::Mutex;

type Reply<T> = Result<T, StoreError>;

/// How many sessions the map may have.
const MAX_SESSIONS: usize = 100_000;

/// Keeps sessions as bytes.
#[derive(Default)]
struct MapStore(Mutex<HashMap<SessionId, Row>>);

struct Row {
    bytes: Vec<u8>,
    version: Version,
    activity: Activity,
}

impl Row {
    fn new(record: &Record, activity: Activity) -> Self {
        Self {
            bytes: record.to_bytes(),
            version: record.version(),
            activity,
        }
    }
}

impl SessionStore for MapStore {
    async fn create(&self, id: SessionId, record: &Arc<Record>, at: Activity) -> Reply<Created> {
        let mut rows = self.0.lock();
        let is_full = rows.len() >= MAX_SESSIONS;
        match rows.entry(id) {
            Entry::Occupied(_) => return Ok(Created::Exists),
            // `Full` says that nothing was stored, and nothing will be.
            Entry::Vacant(_) if is_full => {
                return Err(StoreError::new(StoreErrorKind::Full, "the map is full"));
            }
            Entry::Vacant(place) => place.insert(Row::new(record, at)),
        };
        Ok(Created::Yes)
    }

    async fn load(&self, id: SessionId) -> Reply<Option<(Arc<Record>, Activity)>> {
        let read = |row: &Row| Ok((Record::from_bytes(&row.bytes)?.into(), row.activity));
        self.0.lock().get(&id).map(read).transpose()
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Reply<Updated> {
        match self.0.lock().get_mut(&id) {
            None => return Ok(Updated::Missing),
            // If a database sends its statements twice, ask `has_written` here: if the stored
            // record has written the new version, the first try was applied.
            Some(row) if row.version != former.version() => return Ok(Updated::Conflict),
            Some(row) => *row = Row::new(record, activity),
        }
        Ok(Updated::Saved)
    }

    async fn touch(&self, id: SessionId, former: Former<'_>, new: Activity) -> Reply<Touched> {
        let mut rows = self.0.lock();
        let kept = match rows.get_mut(&id) {
            None => return Ok(Touched::Missing),
            Some(row) if row.version != former.version() => return Ok(Touched::Stale),
            Some(row) => &mut row.activity,
        };
        kept.last_seen_at = kept.last_seen_at.max(new.last_seen_at);
        // `None` means never, which is later than any time.
        let deadlines = kept.expires_at.zip(new.expires_at);
        kept.expires_at = deadlines.map(|(kept, new)| kept.max(new));
        Ok(Touched::Yes)
    }

    async fn delete(&self, id: SessionId) -> Reply<bool> {
        Ok(self.0.lock().remove(&id).is_some())
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Reply<Reaped> {
        let is_expired = |row: &Row| row.activity.expires_at.is_some_and(|at| at <= before);
        let mut rows = self.0.lock();
        let expired = rows.extract_if(|_, row| is_expired(row));
        let removed = expired.take(limit).count();
        let more = removed == limit;
        Ok(Reaped::new(removed, more))
    }

    // The rest is optional. Without it, the methods of `Sessions` that list return an error.

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Reply<StorePage> {
        // Refuses an order that this store does not know, and a position that is not an id.
        let selection = query.ordered_by_id()?;
        let after = after.map(Position::id).transpose()?;
        let rows = self.0.lock();
        let mut ids: Vec<SessionId> = rows.keys().copied().collect();
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        let mut page = StorePage::default();
        for id in ids {
            if page.sessions.len() == limit {
                let last = page.sessions.last();
                page.next = last.map(|listed| Position::after(listed.id));
                break;
            }
            let row = &rows[&id];
            // A record that does not decode is left out.
            let Ok(record) = Record::from_bytes(&row.bytes) else {
                continue;
            };
            if selection.admits(&record, row.activity) {
                let listed = Listed::new(id, Arc::new(record), row.activity);
                page.sessions.push(listed);
            }
        }
        Ok(page)
    }

    async fn count(&self, query: &Query) -> Reply<u64> {
        let selection = query.unordered();
        let is_counted = |row: &&Row| match Record::from_bytes(&row.bytes) {
            // A marker is no session.
            Ok(record) => !record.is_moved() && selection.admits(&record, row.activity),
            Err(_) => selection.is_everything(),
        };
        Ok(self.0.lock().values().filter(is_counted).count() as u64)
    }

    async fn ping(&self) -> Reply<()> {
        Ok(())
    }

    /// There is no cache. This is also the default.
    fn is_cached(&self) -> bool {
        false
    }
}

/// The counter, over this store.
pub fn app() -> Router {
    let app = Router::new()
        .route("/", get(counter))
        .layer(SessionLayer::new(MapStore::default()));
    site::finish(app)
}

async fn counter(session: Session) -> Result<Html<String>, Error> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    let body = format!("<h1>visit {visits}</h1>\n<p>Kept by a store of this program's own.</p>");
    Ok(site::page(&format!("Visit {visits}"), &body))
}

#[tokio::main]
async fn main() -> ExitCode {
    site::serve(app()).await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, header},
        response::Response,
    };
    use cloakroom::testing::Conformance;
    use futures::future::join_all;
    use tower::ServiceExt;

    use super::*;

    async fn visit(app: &Router, cookie: &str) -> Response {
        let request = Request::get("/").header(header::COOKIE, cookie);
        let request = request.body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    }

    async fn text(response: Response) -> String {
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn visits_at_once_add_up() {
        let app = app();
        let first = visit(&app, "").await;
        let cookie = first.headers()[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .to_owned();
        let visits = (0..50).map(|_| {
            let (app, cookie) = (app.clone(), cookie.clone());
            tokio::spawn(async move { visit(&app, &cookie).await })
        });
        for visit in join_all(visits).await {
            assert!(visit.unwrap().status().is_success());
        }
        let page = text(visit(&app, &cookie).await).await;
        assert!(page.contains("<h1>visit 52</h1>"), "{page}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn it_keeps_the_contract() {
        let damage = |store: Arc<MapStore>, id, bytes| async move {
            let mut rows = store.0.lock();
            rows.get_mut(&id).unwrap().bytes = bytes;
        };
        Conformance::new(async || MapStore::default())
            .damage(damage)
            .run()
            .await;
    }
}
