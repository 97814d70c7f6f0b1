//! The orders of `list` other than by id. If the store answers `Unsupported`, they are skipped.

use std::time::Duration;

use serde_json::json;

use super::{
    breach::{Outcome, Unmet, expect, require},
    draft::Draft,
    times::{later, live},
    trial::{Made, Trial, offered},
};
use crate::{
    clock::Timestamp,
    error::store::StoreErrorKind,
    record::{Activity, token::SessionId},
    store::{Listed, Order, Position, Query, SessionStore, Updated},
};

const MILLISECOND: Duration = Duration::from_millis(1);

impl<S: SessionStore> Trial<S> {
    /// All pages of a list, in pages of `limit`; `None` if the store does not offer it.
    async fn pages(&self, query: &Query, limit: usize) -> Outcome<Option<Vec<Listed>>> {
        let (mut all, mut after) = (Vec::new(), None::<Position>);
        for _ in 0..10_000 {
            let Some(page) = self.list(query, after.as_ref(), limit).await? else {
                return Ok(None);
            };
            let came = format!("{} sessions", page.sessions.len());
            let expected = format!("at most {limit} sessions in a page");
            require(page.sessions.len() <= limit, &expected, came)?;
            all.extend(page.sessions);
            if page.next.is_none() {
                return Ok(Some(all));
            }
            require(
                page.next != after,
                "pages that go on",
                "the same position twice",
            )?;
            after = page.next;
        }
        Err(Unmet::new("an end of the list", "none"))
    }

    /// Checks that the list of the newest is exactly these sessions, with pages of any size.
    async fn lists_newest(&self, query: &Query, made: &[Made], when: &str) -> Outcome<bool> {
        let mut keys: Vec<_> = made
            .iter()
            .map(|made| (made.record.begun_at(), made.id))
            .collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let expected: Vec<SessionId> = keys.into_iter().map(|(_, id)| id).collect();
        for limit in [1, 3, 100] {
            let Some(all) = self.pages(&query.clone().newest_first(), limit).await? else {
                return Ok(false);
            };
            let came: Vec<SessionId> = all.iter().map(|listed| listed.id).collect();
            let what = format!("`list` of the newest first in pages of {limit} {when}");
            expect(&what, expected.clone(), came)?;
        }
        Ok(true)
    }
}

/// Moments that no other session began at: far from now, and each time others.
fn moment_of_its_own() -> Timestamp {
    let random = crate::random::unique() % 1_000_000_000_000;
    Timestamp::from_millis(100_000_000_000_000 + random * 100)
}

fn begun_at(moment: Timestamp) -> Draft {
    let mut draft = Draft::first();
    draft.created_at = moment;
    draft
}

fn within(start: Timestamp) -> Query {
    let end = start.saturating_add(MILLISECOND * 100);
    Query::default()
        .with_begun_since(start)
        .with_begun_before(end)
}

pub(super) async fn list_has_the_newest_first<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let start = moment_of_its_own();
    let mut made = Vec::new();
    // Some of them in one millisecond.
    for step in [5, 1, 3, 3, 9, 3, 0, 3, 7, 3] {
        let moment = start.saturating_add(MILLISECOND * step);
        made.push(trial.session(begun_at(moment), live()).await?);
    }
    trial
        .session(begun_at(start.saturating_add(MILLISECOND * 100)), live())
        .await?;
    if !trial
        .lists_newest(&within(start), &made, "of a time")
        .await?
    {
        return Ok(());
    }
    let since = start.saturating_add(MILLISECOND * 3);
    let query = within(start).with_begun_since(since);
    let (late, early): (Vec<Made>, Vec<Made>) = made
        .clone()
        .into_iter()
        .partition(|made| made.record.begun_at() >= since);
    trial.lists_newest(&query, &late, "since a moment").await?;
    let query = within(start).with_begun_before(since);
    trial
        .lists_newest(&query, &early, "before a moment")
        .await?;
    let deleted = made.swap_remove(4);
    trial.delete(deleted.id).await?;
    trial
        .lists_newest(&within(start), &made, "after a delete")
        .await
        .map(drop)
}

pub(super) async fn list_has_a_users_newest_first<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = format!("ann {}", trial.new_id());
    let start = moment_of_its_own();
    let mut made = Vec::new();
    for step in [2, 0, 4, 2, 3] {
        let moment = start.saturating_add(MILLISECOND * step);
        made.push(
            trial
                .session(begun_at(moment).with_user(&user), live())
                .await?,
        );
    }
    trial.session(begun_at(start), live()).await?;
    let query = Query::default().with_user(&user);
    trial
        .lists_newest(&query, &made, "of a user")
        .await
        .map(drop)
}

pub(super) async fn the_begin_of_a_session_never_changes<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let start = moment_of_its_own();
    let mut made = Vec::new();
    for step in 0..4 {
        let moment = start.saturating_add(MILLISECOND * step);
        made.push(trial.session(begun_at(moment), live()).await?);
    }
    // Its id came from a cycle, later than the session.
    let mut cycled = Draft::first();
    let moment = start.saturating_add(MILLISECOND * 2);
    cycled
        .others
        .insert("begun_at".into(), json!(moment.as_millis()));
    made.push(trial.session(cycled, live()).await?);
    // The older it is, the later it was seen last.
    for (touches, made) in made.iter_mut().rev().enumerate() {
        let mut next = made.next();
        next.activity = later(made.activity);
        let updated = trial
            .update(next.id, &next.record, next.activity, made.former())
            .await?;
        expect("`update`", Updated::Saved, updated)?;
        let touched = (0..=touches).fold(next.activity, |activity, _| later(activity));
        trial.touch(next.id, next.former(), touched).await?;
        *made = next;
    }
    trial
        .lists_newest(&within(start), &made, "after updates and touches")
        .await
        .map(drop)
}

pub(super) async fn list_filters_by_log_in<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let start = moment_of_its_own();
    let (mut users, mut anonymous) = (Vec::new(), Vec::new());
    for step in 0..3 {
        let moment = start.saturating_add(MILLISECOND * step);
        let user = format!("ann {}", trial.new_id());
        let mut draft = begun_at(moment).with_user(&user);
        draft
            .others
            .insert("authenticated_at".into(), json!(moment.as_millis()));
        users.push(trial.session(draft, live()).await?);
        anonymous.push(trial.session(begun_at(moment), live()).await?);
    }
    for (is_logged_in, made, which) in [
        (true, &users, "with a user"),
        (false, &anonymous, "without one"),
    ] {
        let query = within(start).with_logged_in(is_logged_in);
        trial.lists(&query, made, which).await?;
        trial.lists_newest(&query, made, which).await?;
        let Some(count) = trial.count(&query).await? else {
            continue;
        };
        expect(&format!("`count` of the sessions {which}"), 3, count)?;
    }
    Ok(())
}

pub(super) async fn list_has_the_last_seen_first<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = format!("ann {}", trial.new_id());
    let mut made = Vec::new();
    for step in [3, 1, 2, 0] {
        let mut activity: Activity = live();
        activity.last_seen_at = activity
            .last_seen_at
            .saturating_add(Duration::from_secs(step));
        made.push(trial.session(Draft::of_user(&user), activity).await?);
    }
    let query = Query::default().with_user(&user).last_seen_first();
    for limit in [2, Order::LAST_SEEN_LIMIT + 1] {
        let Some(page) = trial.list(&query, None, limit).await? else {
            return Ok(());
        };
        let expected = [0, 2, 1, 3].map(|place: usize| made[place].id);
        let expected = &expected[..limit.min(4)];
        let came: Vec<SessionId> = page.sessions.iter().map(|listed| listed.id).collect();
        expect("`list` of those last seen", expected.to_vec(), came)?;
        require(
            page.next.is_none(),
            "one page of those last seen",
            "a next one",
        )?;
    }
    let seen = later(later(made[3].activity));
    trial.touch(made[3].id, made[3].former(), seen).await?;
    let page = trial.list(&query, None, 1).await?.unwrap_or_default();
    let came = page.sessions.first().map(|listed| listed.id);
    expect(
        "the session last seen after a touch",
        Some(made[3].id),
        came,
    )
}

pub(super) async fn a_position_of_another_order_is_refused<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let user = format!("ann {}", trial.new_id());
    for _ in 0..2 {
        trial.session(Draft::of_user(&user), live()).await?;
    }
    let of_user = Query::default().with_user(&user);
    let orders = [
        of_user.clone(),
        of_user.clone().newest_first(),
        of_user.last_seen_first(),
    ];
    for (from, query) in orders.iter().enumerate() {
        let page = match trial.store.list(query, None, 1).await {
            Err(error) if error.kind() == StoreErrorKind::Unsupported => continue,
            page => offered("list", page)?.unwrap_or_default(),
        };
        let Some(position) = page.next else {
            continue;
        };
        for (to, query) in orders.iter().enumerate().filter(|(to, _)| *to != from) {
            let came = match trial.store.list(query, Some(&position), 1).await {
                Err(error)
                    if matches!(
                        error.kind(),
                        StoreErrorKind::Unsupported | StoreErrorKind::InvalidPosition
                    ) =>
                {
                    continue;
                }
                Err(error) => format!("the error {:?}", error.kind()),
                Ok(_) => "a page".to_owned(),
            };
            let expected =
                format!("the error InvalidPosition of a position of order {from} in order {to}");
            return Err(Unmet::new(expected, came));
        }
    }
    Ok(())
}

pub(super) async fn count_may_stop_at_the_limit<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = format!("ann {}", trial.new_id());
    for _ in 0..5 {
        trial.session(Draft::of_user(&user), live()).await?;
    }
    let query = Query::default().with_user(&user);
    for limit in [1, 4, 5, 6, 10_000] {
        let Some(count) = trial.count(&query.clone().counting_up_to(limit)).await? else {
            return Ok(());
        };
        let is_right = (limit.min(5)..=5).contains(&count);
        let expected = format!(
            "a `count` from {} to 5 where it may stop at {limit}",
            limit.min(5)
        );
        require(is_right, &expected, count.to_string())?;
    }
    Ok(())
}
