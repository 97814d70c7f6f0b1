//! The secret replaced in place, see [`renew_every`](crate::SessionLayer::renew_every):
//! which of a session's secrets proves it, and what follows from its use.
//!
//! A session's secrets are in the order in which they were given out. *Current*
//! is the latest that a visitor has presented, *pending* are those given out
//! after it, *former* those before it:
//!
//! | a visitor presents | it proves the session | and the commit |
//! | --- | --- | --- |
//! | the current one, none pending | yes | gives out another, when it is `renew_every` old |
//! | the current one, one pending | yes | gives out another, where the pending one is 60 s old: its response was lost |
//! | a pending one | yes | makes it current; what is older becomes former |
//! | a former one, for 60 s after | yes | does nothing: this request was under way |
//! | a former one, later | no | ends the session: somebody has copied it |
//! | anything else | no | does nothing: anybody may guess |
//!
//! So two are never given out within 60 seconds, and a visitor whose requests
//! and responses take less than that each has them in this order. Older pending
//! ones are still good when another is given out: who has copied the current one
//! must not be able to shut the visitor out unnoticed.
//!
//! Everything here is a function of the record, what was presented, and the time.

use std::time::Duration;

use crate::{
    Record, Timestamp,
    record::Rare,
    token::{Secret, Verifier},
};

/// How long a former secret still proves itself, and how long a pending one is
/// taken to be on its way.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// The oldest pending one becomes a former one when there are more.
const MAX_PENDING: usize = 4;

/// Of former ones the latest are recognised; older ones merely prove nothing.
const MAX_FORMER: usize = 8;

/// What a record keeps of a session's secrets beside the current one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewal {
    /// When the current one was given out; `None`: with the session, or its log-in.
    pub(crate) issued_at: Option<Timestamp>,
    /// By when they were given out.
    pub(crate) pending: Vec<Dated>,
    /// By when they became former ones.
    pub(crate) former: Vec<Dated>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Dated {
    pub(crate) verifier: Verifier,
    pub(crate) at: Timestamp,
}

/// What a secret is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proven,
    /// It was good once, and is not any more.
    Copied,
    Unproven,
}

/// Which of the session's secrets it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Current,
    Pending(usize),
    Former(Timestamp),
    None,
}

/// What a commit does about the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// This pending one becomes the current one.
    presented: Option<usize>,
    /// Another is given out.
    pub(crate) issues: bool,
}

pub(crate) fn judge(record: &Record, secret: &Secret, now: Timestamp) -> Verdict {
    match place(record, secret) {
        Place::Current | Place::Pending(_) => Verdict::Proven,
        Place::Former(since) if now.since(since) < GRACE => Verdict::Proven,
        Place::Former(_) => Verdict::Copied,
        Place::None => Verdict::Unproven,
    }
}

fn place(record: &Record, secret: &Secret) -> Place {
    // Most records have no other.
    if record.verifier().accepts(secret) {
        return Place::Current;
    }
    let Some(renewal) = record.renewal() else {
        return Place::None;
    };
    let presented = Verifier::of(secret);
    let is_it = |dated: &Dated| dated.verifier.matches(&presented);
    if let Some(index) = renewal.pending.iter().rposition(is_it) {
        return Place::Pending(index);
    }
    let former = renewal.former.iter().rfind(|dated| is_it(dated));
    former.map_or(Place::None, |former| Place::Former(former.at))
}

/// `None` where there is nothing to do.
pub(crate) fn step(
    record: &Record,
    secret: &Secret,
    every: Option<Duration>,
    now: Timestamp,
) -> Option<Step> {
    let pending = record.renewal().map_or(&[][..], |renewal| &renewal.pending);
    let newest = pending
        .last()
        .map_or_else(|| issued_at(record), |newest| newest.at);
    let is_due = |after: Duration| every.is_some() && now.since(newest) >= after.max(GRACE);
    let every = every.unwrap_or(Duration::MAX);
    if pending.is_empty() && !is_due(every) {
        return None;
    }
    let (presented, overtaken) = match place(record, secret) {
        Place::Current => (None, 0),
        Place::Pending(index) => (Some(index), index + 1),
        Place::Former(_) | Place::None => return None,
    };
    let is_last = overtaken == pending.len();
    let issues = is_due(if is_last { every } else { GRACE });
    (presented.is_some() || issues).then_some(Step { presented, issues })
}

/// Whether a cookie with this secret may be sent once more: not where it could
/// arrive after one with a later secret, and put the visitor back.
pub(crate) fn is_repeatable(
    record: &Record,
    secret: &Secret,
    every: Option<Duration>,
    now: Timestamp,
) -> bool {
    let renewal = record.renewal();
    if every.is_none() && renewal.is_none() {
        return true;
    }
    let is_next_far = every.is_none_or(|every| {
        let next = issued_at(record).saturating_add(every.max(GRACE));
        now.saturating_add(GRACE) < next
    });
    is_next_far
        && renewal.is_none_or(|renewal| renewal.pending.is_empty())
        && place(record, secret) == Place::Current
}

fn issued_at(record: &Record) -> Timestamp {
    let renewed_at = record.renewal().and_then(|renewal| renewal.issued_at);
    let begun_at = || record.authenticated_at().unwrap_or(record.created_at());
    renewed_at.unwrap_or_else(begun_at)
}

impl Record {
    pub(crate) fn renewal(&self) -> Option<&Renewal> {
        self.rare().renewal.as_deref()
    }

    /// This record after `step`, with `next` as the secret given out.
    pub(crate) fn renewed(self, step: Step, next: &Secret, now: Timestamp) -> Self {
        let mut renewal = self.renewal().cloned().unwrap_or_default();
        let mut current = *self.verifier();
        if let Some(presented) = step.presented {
            let former = |verifier| Dated { verifier, at: now };
            let mut overtaken = renewal.pending.drain(..=presented);
            let chosen = overtaken.next_back().expect("a range with its end");
            renewal.former.push(former(current));
            let older = overtaken.map(|older| former(older.verifier));
            renewal.former.extend(older);
            current = chosen.verifier;
            renewal.issued_at = Some(chosen.at);
        }
        if step.issues {
            let verifier = Verifier::of(next);
            renewal.pending.push(Dated { verifier, at: now });
            if renewal.pending.len() > MAX_PENDING {
                let Dated { verifier, .. } = renewal.pending.remove(0);
                renewal.former.push(Dated { verifier, at: now });
            }
        }
        let surplus = renewal.former.len().saturating_sub(MAX_FORMER);
        renewal.former.drain(..surplus);
        self.with_verifier(current).with_renewal(Some(renewal))
    }

    /// Under a token of its own, given out now.
    pub(crate) fn issued(self, every: Option<Duration>, now: Timestamp) -> Self {
        let renewal = every.map(|_| Renewal {
            issued_at: Some(now),
            ..Renewal::default()
        });
        self.with_renewal(renewal)
    }

    pub(crate) fn with_renewal(mut self, renewal: Option<Renewal>) -> Self {
        let is_same = renewal.is_none() && self.renewal().is_none();
        if !is_same {
            self.set_rare(|rare: &mut Rare| rare.renewal = renewal.map(Box::new));
        }
        self
    }
}
