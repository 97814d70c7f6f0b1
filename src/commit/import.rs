//! Imports the session of another library that a request brings ([`import`]), and deletes it there ([`forget`]).

use std::{error::Error as _, sync::Arc};

use tracing::{debug, warn};

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{Answer, NoAnswers, drive},
        events,
        protocol::{Ask, Cause, Import, Machine, Outcome, Reply, Step},
        undo::hand_on,
    },
    config::{Config, Failures},
    error::{Error, ErrorKind, store::StoreError},
    import::{DynImport, OldSession, OldToken, OldTokens},
    observe::event::EndReason,
    random::unique,
    record::{
        Activity, Kept, Login, Record,
        lineage::{MoveKind, Successor},
        token::{Secret, SessionId, Token, Verifier},
        version::Version,
    },
    state::Stored,
};

/// The session of a request with an old token.
pub(crate) struct Imported {
    pub(crate) stored: Stored,
    /// Whether the visitor gets its token.
    pub(crate) is_issued: bool,
}

/// Returns the session that the old session with this token became. Imports the old session if that has not happened yet.
/// If the request has an anonymous session, `own`, returns only the session of a user.
///
/// # Errors
///
/// If a store fails. The next request tries again.
pub(crate) async fn import(
    config: &Arc<Config>,
    import: &DynImport,
    token: &OldToken,
    own: Option<SessionId>,
) -> Result<Option<Imported>, Error> {
    let writer = unique();
    let mut source = Source {
        failures: &config.failures,
        import,
        token,
        for_user: own.is_some(),
        writer,
        draws: 0,
        drawn: None,
    };
    let machine = Import::new(import.ledger_id(token), import.keeps(), writer).beside(own);
    let mut running = Running {
        config,
        machine: Some(Machine::Import(Box::new(machine))),
    };
    if let Some(machine) = &mut running.machine {
        drive(config, machine, &mut source, Step::Ask).await;
    }
    let finished = running.machine.take().map(Machine::finish);
    let outcome = finished.and_then(|finished| hand_on(config, finished));
    if let Some(outcome) = &outcome {
        events::notify(config, outcome, EndReason::Destroyed, config.clock.now());
    }
    match outcome {
        Some(Outcome::Imported { id, record } | Outcome::Joined { id, record, .. }) => {
            debug!(session.id = %id, "session imported");
            source.imported(id, record).map(Some)
        }
        Some(Outcome::Failed(Cause(error))) => Err(error),
        _ => Ok(None),
    }
}

/// Deletes the old sessions with these tokens.
///
/// # Errors
///
/// If the other library's store fails.
pub(crate) async fn forget(config: &Config, tokens: &OldTokens) -> Result<(), Error> {
    let Some(import) = &config.import else {
        return Ok(());
    };
    for token in tokens.iter() {
        let deleted = import.delete(token).await;
        deleted.map_err(|source| failed("was not deleted", source))?;
    }
    Ok(())
}

/// The error for a failure of the other library's store. Its kind always gives a 503.
fn failed(what: &str, source: StoreError) -> Error {
    let what = format!("the session of the other library {what}");
    Error::caused(ErrorKind::Unavailable, what, source)
}

/// A machine that is abandoned if the request is dropped.
struct Running<'a> {
    config: &'a Arc<Config>,
    machine: Option<Machine<Kept>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let abandoned = machine.abandon(crate::commit::protocol::Abandon::Cancelled);
        if let Some(outcome) = hand_on(self.config, abandoned) {
            let now = self.config.clock.now();
            events::notify(self.config, &outcome, EndReason::Destroyed, now);
        }
    }
}

/// The other library, for one old token.
struct Source<'a> {
    failures: &'a Failures,
    import: &'a DynImport,
    token: &'a OldToken,
    for_user: bool,
    writer: u64,
    draws: u32,
    /// The token that the visitor gets, if they get one.
    drawn: Option<Token>,
}

/// How many ids are tried. Two equal random ids do not occur in practice.
const MAX_DRAWS: u32 = 4;

impl Source<'_> {
    fn imported(&self, id: SessionId, record: Kept) -> Result<Imported, Error> {
        let issued = self.drawn.filter(|token| token.id == id);
        let token = match issued {
            Some(token) => token,
            // No visitor gets this token.
            None => Token {
                id,
                secret: Secret::generate()?,
            },
        };
        Ok(Imported {
            stored: Stored::of(token, record),
            is_issued: issued.is_some(),
        })
    }

    /// The new session and its ledger entry.
    fn made(&mut self, config: &Config, old: &OldSession) -> Result<Reply<Kept>, Error> {
        let now = config.clock.now();
        let is_over = old.expires_at.is_some_and(|at| at <= now);
        if is_over || self.for_user && old.user.is_none() {
            return Ok(Reply::Fetched(None));
        }
        if self.draws == MAX_DRAWS {
            let what = "the store reports that every new id is taken";
            return Err(Error::new(ErrorKind::Other, what));
        }
        self.draws += 1;
        let token = Token::generate()?;
        let unused = Verifier::of(&Secret::generate()?);
        let (data, user) = (old.data(), old.user.clone());
        let mut record = Record::new(unused, Version::first(self.writer), now)
            .with_realm(config.realm())
            .with_data(data)
            .with_login(user.map(|user| Login { user, at: now }));
        record.set_extras(|extras| {
            extras.is_imported = true;
            extras.ends_at = old.expires_at;
            extras.persistent = old.persistent;
        });
        let record = record.given_out(&token.secret, now).unwrap_or(record);
        let mut entry =
            Record::new(unused, Version::first(self.writer), now).marker(now, None, self.writer);
        entry.set_extras(|extras| {
            extras.successor = Some(Successor {
                id: token.id,
                kind: MoveKind::LogIn,
            });
        });
        // Not when the old session expires: where it is kept, the other library may extend it.
        let activity = Activity {
            last_seen_at: now,
            expires_at: Some(self.import.until()),
        };
        let entry = (Arc::new(entry), activity);
        let record = kept(config, record, now);
        self.drawn = Some(token);
        Ok(Reply::Fetched(Some(Box::new((token.id, record, entry)))))
    }

    /// The imported session with a secret for this request.
    fn join(
        &mut self,
        config: &Config,
        id: SessionId,
        (record, activity): &Kept,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let is_live =
            config.accepts(record, now) && config.lifetimes.is_live(record, *activity, now);
        if !is_live || self.for_user && record.user().is_none() {
            return Ok(Reply::Ended);
        }
        let token = Token {
            id,
            secret: Secret::generate()?,
        };
        let rested = now.since(activity.last_seen_at);
        let next = record.successor(record.data().clone(), self.writer, rested);
        self.drawn = None;
        Ok(match next.given_out(&token.secret, now) {
            Some(next) => {
                self.drawn = Some(token);
                Reply::Merged(kept(config, next, now))
            }
            None => Reply::Unchanged,
        })
    }
}

fn kept(config: &Config, record: Record, now: Timestamp) -> Kept {
    let activity = config.lifetimes.activity(&record, now);
    (Arc::new(record), activity)
}

impl Answer for Source<'_> {
    fn answer(&mut self, config: &Config, ask: Ask<'_, Kept>, now: Timestamp) -> Reply<Kept> {
        let answer = match ask {
            Ask::Join(id, target) => self.join(config, id, target, now),
            ask => return NoAnswers.answer(config, ask, now),
        };
        answer.unwrap_or_else(|error| Reply::Refused(Cause(error)))
    }

    async fn fetch(&mut self, config: &Config) -> Reply<Kept> {
        match self.import.load(self.token).await {
            Ok(Some(old)) => self
                .made(config, &old)
                .unwrap_or_else(|error| Reply::Refused(Cause(error))),
            Ok(None) => Reply::Fetched(None),
            Err(source) => Reply::Refused(Cause(failed("was not loaded", source))),
        }
    }

    async fn forget(&mut self) -> Reply<Kept> {
        if let Err(error) = self.import.delete(self.token).await
            && let Some(suppressed) = self.failures.not_deleted.admit()
        {
            warn!(%error, cause = ?error.source(), suppressed, "the session of the other library was not deleted");
        }
        Reply::Forgotten
    }
}
