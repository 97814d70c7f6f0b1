//! `list`. The clauses are skipped if the store answers `Unsupported`.

use std::{collections::HashSet, time::Duration};

use serde_json::json;

use super::{
    breach::{Outcome, expect, require},
    draft::Draft,
    times::{just_expired, later, live},
    trial::{Made, Trial, of, offered},
};
use crate::{
    clock::Timestamp,
    error::store::StoreErrorKind,
    record::{Activity, token::SessionId},
    store::{Listed, Position, Query, SessionStore, Updated},
};

/// The most pages that may come empty in a row.
const PATIENCE: usize = 10_000;

impl<S: SessionStore> Trial<S> {
    /// All pages of a list; `None` if the store does not list.
    async fn all(&self, query: &Query, limit: usize) -> Outcome<Option<Vec<Listed>>> {
        let (mut all, mut after, mut empty) = (Vec::<Listed>::new(), None, 0);
        let mut passed = HashSet::new();
        loop {
            let Some(page) = self.list(query, after.as_ref(), limit).await? else {
                return Ok(None);
            };
            let came = format!("{} sessions", page.sessions.len());
            let expected = format!("at most {limit} sessions in a page");
            require(page.sessions.len() <= limit, &expected, came)?;
            empty = if page.sessions.is_empty() {
                empty + 1
            } else {
                0
            };
            require(empty < PATIENCE, "an end of empty pages", "none")?;
            all.extend(page.sessions);
            let Some(next) = page.next else {
                break;
            };
            let is_new = passed.insert(next.as_bytes().to_vec());
            require(is_new, "pages that go on", "the same position twice")?;
            after = Some(next);
        }
        let in_order = all.windows(2).all(|pair| pair[0].id < pair[1].id);
        require(
            in_order,
            "each session once, in the order of the ids",
            "another order",
        )?;
        Ok(Some(all))
    }

    /// Checks that the list is exactly these sessions, with pages of any size.
    pub(super) async fn lists(&self, query: &Query, made: &[Made], when: &str) -> Outcome {
        let mut made: Vec<&Made> = made.iter().collect();
        made.sort_by_key(|made| made.id);
        for limit in [1, 2, 100] {
            let Some(all) = self.all(query, limit).await? else {
                return Ok(());
            };
            let expected: Vec<SessionId> = made.iter().map(|made| made.id).collect();
            let came: Vec<SessionId> = all.iter().map(|listed| listed.id).collect();
            expect(
                &format!("`list` in pages of {limit} {when}"),
                expected,
                came,
            )?;
            for (made, listed) in made.iter().zip(all) {
                made.is_kept(Some((listed.record, listed.activity)), "in a list")?;
            }
        }
        Ok(())
    }
}

pub(super) async fn list_finds_a_users_sessions<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let (ann, bob) = (trial.new_user("ann"), trial.new_user("bob"));
    let mut of_ann = Vec::new();
    trial
        .lists(&of(&ann), &of_ann, "before there is any")
        .await?;
    trial.session(Draft::of_user(&bob), live()).await?;
    trial.session(Draft::first(), live()).await?;
    for _ in 0..7 {
        of_ann.push(trial.session(Draft::of_user(&ann), live()).await?);
    }
    // Expired or not.
    of_ann.push(trial.session(Draft::of_user(&ann), just_expired()).await?);
    trial.lists(&of(&ann), &of_ann, "of a user").await
}

pub(super) async fn list_begins_after_an_id<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = trial.new_user("ann");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(trial.session(Draft::of_user(&user), live()).await?.id);
    }
    ids.sort();
    let neighbour = |id: SessionId, step: i128| {
        let bits = u128::from_be_bytes(*id.as_bytes());
        SessionId::from(uuid::Uuid::from_u128(bits.wrapping_add_signed(step)))
    };
    for (index, id) in ids.iter().enumerate() {
        for (after, expected) in [
            (*id, &ids[index + 1..]),
            (neighbour(*id, 1), &ids[index + 1..]),
            (neighbour(*id, -1), &ids[index..]),
        ] {
            let position = Position::after(after);
            let page = match trial.store.list(&of(&user), Some(&position), 1).await {
                // The store's positions are something else.
                Err(error) if error.kind() == StoreErrorKind::InvalidPosition => return Ok(()),
                page => offered("list", page)?,
            };
            let Some(page) = page else {
                return Ok(());
            };
            let came: Vec<SessionId> = page.sessions.iter().map(|listed| listed.id).collect();
            let is_right = came[..] == expected[..expected.len().min(came.len())];
            let is_whole = !came.is_empty() || expected.is_empty() || page.next.is_some();
            require(
                is_right && is_whole,
                &format!("the first of {expected:?} after {after}"),
                format!("{came:?}"),
            )?;
        }
    }
    Ok(())
}

pub(super) async fn list_of_all_has_every_session<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let mut made = Vec::new();
    for number in 0..20 {
        let draft = if number % 2 == 0 {
            Draft::first()
        } else {
            Draft::of_user(&trial.new_user("ann"))
        };
        made.push(trial.session(draft, live()).await?);
    }
    let deleted = made.swap_remove(7);
    trial.delete(deleted.id).await?;
    let Some(all) = trial.all(&Query::default(), 1_000).await? else {
        return Ok(());
    };
    for made in made {
        let at = all.binary_search_by_key(&made.id, |listed| listed.id);
        let listed = at.ok().map(|at| (all[at].record.clone(), all[at].activity));
        made.is_kept(listed, "in a list of all")?;
    }
    let is_there = all.iter().any(|listed| listed.id == deleted.id);
    require(!is_there, "no deleted session in a list", "one")
}

pub(super) async fn list_filters_by_last_seen<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = trial.new_user("ann");
    let early = live();
    let middle = later(early);
    let mut made = Vec::new();
    for activity in [early, middle, later(middle)] {
        made.push(trial.session(Draft::of_user(&user), activity).await?);
    }
    let before = |at: Timestamp| of(&user).with_last_seen_before(at);
    let seen = middle.last_seen_at;
    trial
        .lists(&before(seen), &made[..1], "last seen before the second")
        .await?;
    let just_after = seen.saturating_add(Duration::from_millis(1));
    trial
        .lists(
            &before(just_after),
            &made[..2],
            "last seen a millisecond later",
        )
        .await?;
    trial
        .lists(&before(Timestamp::EPOCH), &[], "last seen before the epoch")
        .await?;

    // A touch moves it.
    let seen = Activity {
        last_seen_at: later(later(middle)).last_seen_at,
        ..early
    };
    trial.touch(made[0].id, made[0].former(), seen).await?;
    trial
        .lists(
            &before(middle.last_seen_at),
            &[],
            "after the first was touched",
        )
        .await
}

pub(super) async fn list_filters_by_creation<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = trial.new_user("ann");
    let first = later(live()).last_seen_at;
    let millisecond = Duration::from_millis(1);
    let mut made = Vec::new();
    for age in 0..3 {
        let mut draft = Draft::of_user(&user);
        draft.created_at = first.saturating_add(millisecond * age);
        made.push(trial.session(draft, live()).await?);
    }
    let before = |at: Timestamp| of(&user).with_created_before(at);
    trial
        .lists(&before(first), &[], "created before the first")
        .await?;
    let second = first.saturating_add(millisecond);
    trial
        .lists(&before(second), &made[..1], "created before the second")
        .await?;
    let both = before(Timestamp::MAX).with_last_seen_before(Timestamp::EPOCH);
    trial
        .lists(&both, &[], "by filters of which one lets none through")
        .await?;
    trial
        .lists(
            &before(Timestamp::MAX),
            &made,
            "created before the end of time",
        )
        .await
}

pub(super) async fn list_follows_the_user<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let (ann, bob) = (trial.new_user("ann"), trial.new_user("bob"));
    let first = trial.session(Draft::of_user(&ann), live()).await?;
    let stays = trial.session(Draft::of_user(&ann), live()).await?;
    let mut as_bob = first.next();
    as_bob.draft.user = Some(bob.clone());
    let mut marker = as_bob.next();
    marker.draft.user = None;
    marker.draft.others.insert(
        "moved_at".into(),
        json!(marker.draft.created_at.as_millis()),
    );
    let mut again = marker.next();
    again.draft.user = Some(ann.clone());
    again.draft.others.clear();
    let mut former = first.clone();
    for (step, of_ann, of_bob) in [
        (&mut as_bob, false, true),
        (&mut marker, false, false),
        (&mut again, true, false),
    ] {
        step.record = step.draft.record();
        let updated = trial
            .update(step.id, &step.record, step.activity, former.former())
            .await?;
        expect("`update`", Updated::Saved, updated)?;
        former = step.clone();
        let mut of_both = vec![stays.clone()];
        of_both.extend(of_ann.then(|| step.clone()));
        trial
            .lists(&of(&ann), &of_both, "of the former user after an update")
            .await?;
        let of_other: Vec<Made> = of_bob.then(|| step.clone()).into_iter().collect();
        trial
            .lists(&of(&bob), &of_other, "of the other user after an update")
            .await?;
    }
    trial.delete(again.id).await?;
    trial
        .lists(&of(&ann), &[stays], "of a user after a delete")
        .await
}

pub(super) async fn users_are_compared_byte_by_byte<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let unique = trial.new_id();
    let users = [
        "ann",
        "Ann",
        "ANN",
        "ann ",
        " ann",
        "ann\u{0}",
        "\u{e9}",
        "e\u{301}",
        "\u{c9}",
        "e",
        "%",
        "_",
        "*",
        "\\",
        "stra\u{df}e",
        "strasse",
        "\u{1F600}",
        "\u{1F601}",
        "'",
        "a\u{200B}",
        "",
    ];
    let mut made = Vec::new();
    for user in users {
        // In front, so that what follows is the end of the text.
        let user = format!("{unique}{user}");
        made.push((
            user.clone(),
            trial.session(Draft::of_user(&user), live()).await?,
        ));
    }
    let long = |end: &str| format!("{unique}{}{end}", "long".repeat(2_000));
    for user in [long("1"), long("2")] {
        made.push((
            user.clone(),
            trial.session(Draft::of_user(&user), live()).await?,
        ));
    }
    for (user, made) in made {
        let when = format!(
            "of the user {:?}",
            user[36..].chars().take(20).collect::<String>()
        );
        trial.lists(&of(&user), &[made], &when).await?;
    }
    Ok(())
}
