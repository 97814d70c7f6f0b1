//! Lists and counts, by one statement each.

use std::sync::Arc;

use tracing::warn;
use uuid::Uuid;

use super::{
    SqlStore,
    calls::{hash, millis, moment},
    driver::Driver,
    selecting::{Request, Term},
    value::Value,
};
use crate::{
    error::store::StoreError,
    record::Record,
    store::{Condition, Listed, Order, Position, Query, Selection, StorePage},
};

/// The most rows of one page: they are in memory all at once.
const MAX_PAGE: usize = 1000;

/// How many rows one page looks at if no index finds the rows that meet the conditions. A page of a large table must not take
/// seconds.
const LOOKED_AT: i64 = 2_000;

impl<D: Driver> SqlStore<D> {
    pub(super) async fn page(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let order = query.order();
        let limit = match order {
            Order::LastSeenFirst => limit.clamp(1, Order::LAST_SEEN_LIMIT),
            Order::Id | Order::NewestFirst => limit.clamp(1, MAX_PAGE),
        };
        let after = match (order, after) {
            (_, None) => None,
            (Order::Id, Some(after)) => Some((0, after.id()?.into())),
            (Order::NewestFirst, Some(after)) => {
                let (begun_at, id) = after.begun()?;
                Some((millis(begun_at), id.into()))
            }
            (Order::LastSeenFirst, Some(_)) => return Err(Position::of_no_list()),
        };
        let selection = query.unordered();
        let hash = selection.user().map(hash);
        let request = request(order, after, selection, hash.as_ref(), limit);
        let (sql, values) = self.statements().list(&request);
        let rows = self.rows(&sql, &values).await?;
        let mut page = StorePage::default();
        let mut last = None;
        for row in &rows {
            last = Some(D::key(row).map_err(|error| self.error(error))?);
            let row = D::session(row).map_err(|error| self.error(error))?;
            let (id, activity) = (row.id.into(), row.activity());
            match Record::from_bytes(row.record) {
                Ok(record) => {
                    let listed = Listed::new(id, Arc::new(record), activity);
                    page.sessions.push(listed);
                }
                Err(error) => {
                    page.leave_out(&error);
                    if let Some(suppressed) = self.left_out.admit() {
                        warn!(session.id = %id, %error, suppressed, "left out of a list");
                    }
                }
            }
        }
        if rows.len() < limit && order != Order::LastSeenFirst {
            last = self.end_of_window(&request).await?;
        }
        page.next = match order {
            Order::Id => last.map(|(id, _)| Position::after(id.into())),
            Order::NewestFirst => {
                last.map(|(id, begun_at)| Position::after_begun(moment(begun_at), id.into()))
            }
            Order::LastSeenFirst => None,
        };
        Ok(page)
    }

    /// The last row that the page has looked at, unless that was the last of all.
    async fn end_of_window(
        &self,
        request: &Request<'_>,
    ) -> Result<Option<(Uuid, i64)>, StoreError> {
        let Some((sql, values)) = self.statements().end_of_window(request) else {
            return Ok(None);
        };
        let rows = self.rows(&sql, &values).await?;
        let last = rows.first().map(D::key).transpose();
        last.map_err(|error| self.error(error))
    }

    pub(super) async fn count_selected(&self, query: &Query) -> Result<u64, StoreError> {
        let selection = query.unordered();
        let hash = selection.user().map(hash);
        let terms: Vec<Term<'_>> = terms(selection, hash.as_ref()).collect();
        let limit = query.count_limit();
        let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let (sql, values) = self.statements().count(&terms, limit);
        let rows = self.rows(&sql, &values).await?;
        let count = rows.first().map(D::number).transpose();
        let count = count.map_err(|error| self.error(error))?.flatten();
        Ok(count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0))
    }
}

fn request<'a>(
    order: Order,
    after: Option<(i64, Uuid)>,
    selection: &'a Selection,
    hash: Option<&'a [u8; 32]>,
    limit: usize,
) -> Request<'a> {
    // Conditions that the order's index can check limit the rows that are read.
    let (bounds, conditions): (Vec<Term<'_>>, Vec<Term<'_>>) =
        terms(selection, hash).partition(|term| match order {
            Order::Id => term.is_of_user(),
            Order::NewestFirst => term.is_of_user() || term.is_begun(),
            Order::LastSeenFirst => true,
        });
    let is_indexed = hash.is_some() || conditions.is_empty();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Request {
        order,
        after,
        bounds,
        conditions,
        limit,
        window: match order {
            // Every row, sorted without its record.
            Order::LastSeenFirst => Some(limit),
            Order::Id | Order::NewestFirst => (!is_indexed).then_some(LOOKED_AT),
        },
    }
}

/// The terms of a statement for this selection. `hash` is the hash of the selection's user.
fn terms<'a>(
    selection: &'a Selection,
    hash: Option<&'a [u8; 32]>,
) -> impl Iterator<Item = Term<'a>> {
    selection
        .conditions()
        .map(move |condition| match condition {
            Condition::User(_) => Term::User(Value::Hash(hash.map(|hash| &hash[..]))),
            Condition::LoggedIn(is_logged_in) => Term::LoggedIn(is_logged_in),
            Condition::LastSeenBefore(time) => Term::LastSeenBefore(millis(time)),
            Condition::CreatedBefore(time) => Term::CreatedBefore(millis(time)),
            Condition::BegunSince(time) => Term::BegunSince(millis(time)),
            Condition::BegunBefore(time) => Term::BegunBefore(millis(time)),
        })
}
