//! The renewal of a session's secret, see [`renew_every`](crate::SessionLayer::renew_every): which secrets
//! open the session, and what the use of each one causes.
//!
//! A session's secrets have the order in which they were issued. The *current* one is the latest that a
//! visitor has presented. *Pending* ones were issued after it, *former* ones before it. A *joined* one belongs
//! to a log-in that joined this session.
//!
//! | a visitor presents | it opens the session | the commit |
//! | --- | --- | --- |
//! | the current one, none is pending | yes | issues another one if the current one is `renew_every` old |
//! | the current one, one is pending | yes | issues another one if the pending one is 60 s old: its response was lost |
//! | a pending one | yes | makes it current; older ones become former |
//! | a former one, within 60 s | yes | does nothing: the request was under way |
//! | a former one, later | no | ends the session: the cookie was copied |
//! | a joined one | yes | does nothing for 60 s; later makes it current, and the others former |
//! | the current one, 60 s after another joined | yes | makes the joined ones former |
//! | anything else | no | does nothing: anybody may guess |
//!
//! Two secrets are never issued within 60 seconds. So a visitor whose requests and responses take less than
//! that receives them in order. Pending secrets stay valid when another one is issued, and none is dropped for
//! room: while eight are pending, no other is issued. Otherwise, somebody who copied the current secret
//! could lock the visitor out without being noticed.
//!
//! Everything here is a function of the record, the presented secret and the time.

use std::{mem, time::Duration};

use crate::{
    clock::Timestamp,
    record::{
        Extras, Record,
        secrets::{DatedVerifier, Renewal},
        token::{Secret, Verifier},
    },
};

/// How long a former secret still opens the session, and how long a pending one may take to arrive.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// While this many are pending, no other is issued. A client that keeps presenting the current one does not store
/// cookies, or has a copied one.
const MAX_PENDING: usize = 8;

/// A double click is two log-ins. If more than this join one session, the next begins its own session.
const MAX_JOINED: usize = 8;

/// The latest former secrets are recognised. Older ones count as wrong.
const MAX_FORMER: usize = 8;

/// What a presented secret shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proven,
    /// It was valid, and was replaced too long ago: the cookie was copied.
    Copied,
    Unproven,
}

/// Which of the session's secrets was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Current,
    Pending(usize),
    Joined(usize),
    Former(Timestamp),
    None,
}

/// What a commit changes about the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The secret that becomes the current one.
    presented: Option<Presented>,
    /// Whether another one is issued.
    pub(crate) issues: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presented {
    Pending(usize),
    /// The joined ones become former: this one was presented, or, if `None`, the current one.
    Joined(Option<usize>),
}

pub(crate) fn judge(record: &Record, secret: &Secret, now: Timestamp) -> Verdict {
    match place(record, secret) {
        Place::Current | Place::Pending(_) | Place::Joined(_) => Verdict::Proven,
        Place::Former(since) if now.since(since) < GRACE => Verdict::Proven,
        Place::Former(_) => Verdict::Copied,
        Place::None => Verdict::Unproven,
    }
}

fn place(record: &Record, secret: &Secret) -> Place {
    // The common case first.
    if record.verifier().accepts(secret) {
        return Place::Current;
    }
    let Some(renewal) = record.renewal() else {
        return Place::None;
    };
    let presented = Verifier::of(secret);
    let is_it = |dated: &DatedVerifier| dated.verifier.matches(&presented);
    if let Some(index) = renewal.pending.iter().rposition(is_it) {
        return Place::Pending(index);
    }
    if let Some(index) = renewal.joined.iter().rposition(is_it) {
        return Place::Joined(index);
    }
    let former = renewal.former.iter().rfind(|dated| is_it(dated));
    former.map_or(Place::None, |former| Place::Former(former.at))
}

/// What a commit changes when `secret` was presented. `None` if nothing.
pub(crate) fn step(
    record: &Record,
    secret: &Secret,
    every: Option<Duration>,
    now: Timestamp,
) -> Option<Step> {
    if every.is_none() && record.renewal().is_none() {
        return None;
    }
    let pending = record.renewal().map_or(&[][..], |renewal| &renewal.pending);
    let newest = pending
        .last()
        .map_or_else(|| issued_at(record), |newest| newest.at);
    let is_due = |after: Duration| every.is_some() && now.since(newest) >= after.max(GRACE);
    let every = every.unwrap_or(Duration::MAX);
    let last_joined = record.renewal().and_then(|renewal| renewal.joined.last());
    if pending.is_empty() && last_joined.is_none() && !is_due(every) {
        return None;
    }
    if last_joined.is_some_and(|joined| now.since(joined.at) < GRACE) {
        return None;
    }
    let (presented, overtaken) = match place(record, secret) {
        Place::Current => (last_joined.map(|_| Presented::Joined(None)), 0),
        Place::Joined(index) => (Some(Presented::Joined(Some(index))), 0),
        Place::Pending(index) => (Some(Presented::Pending(index)), index + 1),
        Place::Former(_) | Place::None => return None,
    };
    let left = pending.len() - overtaken;
    let issues = left < MAX_PENDING && is_due(if left == 0 { every } else { GRACE });
    (presented.is_some() || issues).then_some(Step { presented, issues })
}

/// Whether a cookie with this secret may be sent again. Not if it could arrive after a cookie with a later secret,
/// and replace it.
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
        && renewal.is_none_or(|renewal| renewal.pending.is_empty() && renewal.joined.is_empty())
        && place(record, secret) == Place::Current
}

fn issued_at(record: &Record) -> Timestamp {
    let renewed_at = record.renewal().and_then(|renewal| renewal.issued_at);
    renewed_at.unwrap_or_else(|| record.lifetime_start())
}

impl Record {
    /// This record after `step`. If it issues a secret, that is `next`.
    pub(crate) fn renewed(self, step: Step, next: &Secret, now: Timestamp) -> Self {
        let mut renewal = self.renewal().cloned().unwrap_or_default();
        let mut current = *self.verifier();
        let former = |verifier| DatedVerifier { verifier, at: now };
        match step.presented {
            None => {}
            Some(Presented::Pending(index)) => {
                let mut overtaken = renewal.pending.drain(..=index);
                let chosen = overtaken.next_back().expect("a range with its end");
                renewal.former.push(former(current));
                let older = overtaken.map(|older| former(older.verifier));
                renewal.former.extend(older);
                current = chosen.verifier;
                renewal.issued_at = Some(chosen.at);
            }
            Some(Presented::Joined(index)) => {
                let mut others = mem::take(&mut renewal.joined);
                if let Some(index) = index {
                    let chosen = others.remove(index);
                    renewal.former.push(former(current));
                    current = chosen.verifier;
                }
                let others = others.iter().map(|other| former(other.verifier));
                renewal.former.extend(others);
            }
        }
        if step.issues {
            let verifier = Verifier::of(next);
            renewal.pending.push(DatedVerifier { verifier, at: now });
        }
        let surplus = renewal.former.len().saturating_sub(MAX_FORMER);
        renewal.former.drain(..surplus);
        self.with_verifier(current).with_renewal(Some(renewal))
    }

    /// This record with the `secret` of a log-in that joins it. `None` if too many have joined.
    pub(crate) fn joined(&self, secret: &Secret, now: Timestamp) -> Option<Self> {
        let mut renewal = self.renewal().cloned().unwrap_or_default();
        if renewal.joined.len() >= MAX_JOINED {
            return None;
        }
        let verifier = Verifier::of(secret);
        renewal.joined.push(DatedVerifier { verifier, at: now });
        Some(self.clone().with_renewal(Some(renewal)))
    }

    /// This record with `secret` as a pending one. `None` if too many are pending.
    pub(crate) fn given_out(&self, secret: &Secret, now: Timestamp) -> Option<Self> {
        let mut renewal = self.renewal().cloned().unwrap_or_default();
        if renewal.pending.len() >= MAX_PENDING {
            return None;
        }
        let verifier = Verifier::of(secret);
        renewal.pending.push(DatedVerifier { verifier, at: now });
        Some(self.clone().with_renewal(Some(renewal)))
    }

    /// Whether no issued secret has been presented yet, or the first one was presented less than a minute ago. `unused` is
    /// the verifier that the record began with, of a secret that nobody has.
    pub(crate) fn is_unused(&self, unused: &Verifier, now: Timestamp) -> bool {
        let former = self.renewal().map_or(&[][..], |renewal| &renewal.former);
        let former = former.iter().find(|dated| dated.verifier.matches(unused));
        self.verifier().matches(unused) || former.is_some_and(|former| now.since(former.at) < GRACE)
    }

    /// This record as it is issued now under a new token.
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
            self.set_extras(|extras: &mut Extras| extras.renewal = renewal.map(Box::new));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{record::version::Version, testing::FixedClock};

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const MILLI: Duration = Duration::from_millis(1);

    /// The secrets of a session, in their order; all of them are kept here.
    struct Scenario {
        record: Record,
        secrets: Vec<Secret>,
        now: Timestamp,
    }

    impl Scenario {
        fn new() -> Self {
            let secret = Secret::generate().unwrap();
            let now = FixedClock::START;
            Self {
                record: Record::new(Verifier::of(&secret), Version::first(1), now),
                secrets: vec![secret],
                now,
            }
        }

        fn wait(&mut self, duration: Duration) {
            self.now = self.now.saturating_add(duration);
        }

        fn judge(&self, secret: usize) -> Verdict {
            judge(&self.record, &self.secrets[secret], self.now)
        }

        /// A request with this secret; the number of the one that the response has.
        fn visit(&mut self, secret: usize) -> Option<usize> {
            let secret = self.secrets[secret];
            let step = step(&self.record, &secret, Some(HOUR), self.now)?;
            let next = Secret::generate().unwrap();
            self.record = self.record.clone().renewed(step, &next, self.now);
            step.issues.then(|| {
                self.secrets.push(next);
                self.secrets.len() - 1
            })
        }
    }

    #[test]
    fn r1_a_secret_is_replaced_when_it_is_old_enough_and_not_a_moment_sooner() {
        let mut scenario = Scenario::new();
        scenario.wait(HOUR - MILLI);
        assert_eq!(scenario.visit(0), None);
        scenario.wait(MILLI);
        assert_eq!(scenario.visit(0), Some(1));
        assert_eq!(scenario.visit(1), None);
        scenario.wait(HOUR - MILLI);
        assert_eq!(scenario.visit(1), None);
        scenario.wait(MILLI);
        assert_eq!(scenario.visit(1), Some(2));
    }

    #[test]
    fn r2_while_a_new_secret_is_on_its_way_no_other_is_given_out_for_60_seconds() {
        let mut scenario = Scenario::new();
        scenario.wait(HOUR);
        assert_eq!(scenario.visit(0), Some(1));
        scenario.wait(GRACE - MILLI);
        assert_eq!(scenario.visit(0), None);
        scenario.wait(MILLI);
        assert_eq!(scenario.visit(0), Some(2));
        assert_eq!(scenario.judge(1), Verdict::Proven);
    }

    #[test]
    fn r1_an_old_secret_is_good_until_the_new_one_is_presented_and_60_seconds_longer() {
        let mut scenario = Scenario::new();
        scenario.wait(HOUR);
        assert_eq!(scenario.visit(0), Some(1));
        scenario.wait(24 * HOUR);
        assert_eq!(scenario.judge(0), Verdict::Proven);
        scenario.visit(1);
        scenario.wait(GRACE - MILLI);
        assert_eq!(scenario.judge(0), Verdict::Proven);
        assert_eq!(scenario.visit(0), None);
        scenario.wait(MILLI);
        assert_eq!(scenario.judge(0), Verdict::Copied);
        assert_eq!(scenario.judge(1), Verdict::Proven);
    }

    #[test]
    fn r3_a_secret_that_never_was_is_no_copy() {
        let mut scenario = Scenario::new();
        scenario.wait(HOUR);
        scenario.visit(0);
        let guess = Secret::generate().unwrap();
        assert_eq!(
            judge(&scenario.record, &guess, scenario.now),
            Verdict::Unproven
        );
        assert_eq!(
            step(&scenario.record, &guess, Some(HOUR), scenario.now),
            None
        );
    }

    #[test]
    fn r3_who_gets_new_secrets_with_a_copy_does_not_shut_the_visitor_out_unnoticed() {
        for thefts in 1..10 {
            let mut scenario = Scenario::new();
            scenario.wait(HOUR);
            assert_eq!(scenario.visit(0), Some(1), "the visitor's, who rests now");
            let mut latest = 0;
            for _ in 0..thefts {
                scenario.wait(GRACE);
                latest = scenario.visit(0).unwrap_or(latest);
            }
            scenario.visit(latest);
            scenario.wait(GRACE);
            assert_eq!(scenario.judge(1), Verdict::Copied, "after {thefts}");
        }
    }

    /// Two log-ins at once: the second has joined the first.
    fn joined() -> Scenario {
        let mut scenario = Scenario::new();
        let secret = Secret::generate().unwrap();
        scenario.record = scenario.record.joined(&secret, scenario.now).unwrap();
        scenario.secrets.push(secret);
        scenario
    }

    #[test]
    fn joined_secrets_are_both_good_until_one_is_presented_a_minute_later() {
        for (kept, lost) in [(0, 1), (1, 0)] {
            let mut scenario = joined();
            scenario.wait(GRACE - MILLI);
            assert_eq!((scenario.visit(lost), scenario.visit(kept)), (None, None));
            scenario.wait(2 * HOUR);
            assert_eq!(scenario.judge(kept), Verdict::Proven);
            assert_eq!(scenario.judge(lost), Verdict::Proven);
            scenario.visit(kept);
            scenario.wait(GRACE - MILLI);
            assert_eq!(scenario.judge(lost), Verdict::Proven);
            scenario.wait(MILLI);
            assert_eq!(scenario.judge(lost), Verdict::Copied);
            assert_eq!(scenario.judge(kept), Verdict::Proven);
        }
    }

    #[test]
    fn joined_secrets_are_settled_without_renewal_too() {
        let mut scenario = joined();
        scenario.wait(GRACE);
        let secret = scenario.secrets[1];
        let step = step(&scenario.record, &secret, None, scenario.now).unwrap();
        assert!(!step.issues);
        let record = scenario.record.renewed(step, &secret, scenario.now);
        assert_eq!(record.renewal().unwrap().joined.len(), 0);
        assert_eq!(place(&record, &secret), Place::Current);
    }

    #[test]
    fn a_session_takes_eight_joined_secrets_and_no_ninth() {
        let mut scenario = Scenario::new();
        let secret = Secret::generate().unwrap();
        for _ in 0..MAX_JOINED {
            scenario.record = scenario.record.joined(&secret, scenario.now).unwrap();
        }
        assert!(scenario.record.joined(&secret, scenario.now).is_none());
    }

    #[test]
    fn joined_secrets_survive_their_encoding_and_older_nodes_leave_them_alone() {
        let scenario = joined();
        let bytes = scenario.record.to_bytes();
        assert!(bytes.starts_with(br#"{"format":2,"#));
        let read = Record::from_bytes(&bytes).unwrap();
        assert_eq!(place(&read, &scenario.secrets[1]), Place::Joined(0));
    }

    #[test]
    fn what_a_record_keeps_is_bounded() {
        let mut scenario = Scenario::new();
        for _ in 0..100 {
            scenario.wait(HOUR);
            let latest = scenario.secrets.len() - 1;
            scenario.visit(latest);
        }
        let latest = scenario.secrets.len() - 1;
        for _ in 0..100 {
            scenario.wait(HOUR);
            scenario.visit(latest - 1);
            scenario.visit(latest);
        }
        let renewal = scenario.record.renewal().unwrap();
        assert_eq!(renewal.pending.len(), MAX_PENDING);
        assert_eq!(renewal.former.len(), MAX_FORMER);
    }

    #[test]
    fn a_record_with_secrets_of_every_kind_survives_its_encoding() {
        let mut scenario = Scenario::new();
        for secret in [0, 0, 1, 3, 4] {
            scenario.wait(HOUR);
            scenario.visit(secret);
        }
        let read = Record::from_bytes(&scenario.record.to_bytes()).unwrap();
        let later = scenario.now.saturating_add(GRACE);
        let guess = Secret::generate().unwrap();
        for secret in scenario.secrets.iter().chain([&guess]) {
            for now in [scenario.now, later] {
                assert_eq!(
                    judge(&read, secret, now),
                    judge(&scenario.record, secret, now)
                );
            }
            let next = |record| step(record, secret, Some(HOUR), later);
            assert_eq!(next(&read), next(&scenario.record));
        }
        let renewal = scenario.record.renewal().unwrap();
        assert!(!renewal.pending.is_empty() && renewal.former.len() > 1);
    }

    #[test]
    fn a_cookie_is_not_repeated_where_it_could_arrive_after_its_successor() {
        let mut scenario = Scenario::new();
        let may = |scenario: &Scenario, secret: usize| {
            is_repeatable(
                &scenario.record,
                &scenario.secrets[secret],
                Some(HOUR),
                scenario.now,
            )
        };
        scenario.wait(HOUR - GRACE - MILLI);
        assert!(may(&scenario, 0));
        scenario.wait(MILLI);
        assert!(!may(&scenario, 0));
        scenario.wait(GRACE);
        scenario.visit(0);
        assert!(!may(&scenario, 0) && !may(&scenario, 1));
        scenario.visit(1);
        assert!(!may(&scenario, 0) && may(&scenario, 1));
    }

    /// A model of the module's table. Its secrets are numbers.
    #[derive(Default)]
    struct Model {
        current: usize,
        given_out: Vec<Timestamp>,
        former_since: Vec<Option<Timestamp>>,
    }

    impl Model {
        fn judge(&self, secret: usize, now: Timestamp) -> Verdict {
            match self.former_since[secret] {
                Some(since) if now.since(since) >= GRACE => Verdict::Copied,
                _ => Verdict::Proven,
            }
        }

        fn visit(&mut self, secret: usize, now: Timestamp) -> Option<usize> {
            if self.former_since[secret].is_some() {
                return None;
            }
            if secret > self.current {
                let overtaken = &mut self.former_since[self.current..secret];
                overtaken.iter_mut().for_each(|since| {
                    since.get_or_insert(now);
                });
                self.current = secret;
            }
            let newest = self.given_out.len() - 1;
            let pending = newest - self.current;
            let wait = if pending == 0 { HOUR } else { GRACE };
            let is_due = now.since(self.given_out[newest]) >= wait;
            (is_due && pending < MAX_PENDING).then(|| {
                self.given_out.push(now);
                self.former_since.push(None);
                newest + 1
            })
        }
    }

    proptest! {
        /// Any client presents any secret at any time: new ones, old ones, copied ones.
        #[test]
        fn it_does_what_the_table_says(
            visits in prop::collection::vec((0..9_usize, 0..200_u64), 1..100),
        ) {
            let mut scenario = Scenario::new();
            let mut model = Model { current: 0, given_out: vec![scenario.now], former_since: vec![None] };
            for (back, seconds) in visits {
                // Often within the minute, sometimes after an hour.
                scenario.wait(if seconds > 150 { HOUR } else { Duration::from_secs(seconds) });
                let secret = (scenario.secrets.len() - 1).saturating_sub(back);
                prop_assert_eq!(scenario.judge(secret), model.judge(secret, scenario.now));
                if model.judge(secret, scenario.now) == Verdict::Copied {
                    return Ok(());
                }
                prop_assert_eq!(scenario.visit(secret), model.visit(secret, scenario.now));
            }
        }
    }
}
