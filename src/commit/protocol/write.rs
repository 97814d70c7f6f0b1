//! Creating and updating a session: [`Write`]; see [`Touch`](super::touching::Touch) for one that records activity alone.
//!
//! An update replaces the record that the request's changes are on top of. Where another request was faster, the
//! driver merges: it applies the changes to the latest record, and the write is tried again with the same writer.
//!
//! A write that was late or cut can be kept as it is and resumed: [`Write::resume`]. It then finds out what became of
//! what it had sent, sends the same again where that can still be decided, and never merges: what is certainly not
//! stored is still pending in the request.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, Reply, Step},
        cas::{Cas, Swapped},
        creation::{Creating, Creation},
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
        undoing::Undo,
    },
    record::token::SessionId,
};

/// Creates or updates a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write<R: Rec> {
    call: Call<R>,
    stage: Stage<R::Error>,
    is_resumed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call<R: Rec> {
    Create(Creation<R>),
    Update(Cas<R>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<E> {
    Storing,
    /// An update onto the record that is to be replaced.
    Merging,
    /// A creation under another id.
    Drawing,
    Stored,
    /// The record that is to be replaced needs no change.
    Unchanged,
    NotSaved,
    Ended,
    Failed(E),
}

impl<R: Rec> Write<R> {
    /// Stores `record` where nothing is.
    #[inline]
    pub fn create(id: SessionId, record: R) -> Self {
        Self::of(Call::Create(Creation::new(id, record)))
    }

    /// Stores `next` in place of `former`.
    #[inline]
    pub fn update(id: SessionId, former: R, next: R) -> Self {
        Self::of(Call::Update(Cas::new(id, former, next)))
    }

    /// As [`update`](Self::update), for a claim.
    #[inline]
    pub(super) fn claim(id: SessionId, former: R, next: R) -> Self {
        Self::of(Call::Update(Cas::new(id, former, next).claiming()))
    }

    #[inline]
    fn of(call: Call<R>) -> Self {
        Self {
            call,
            stage: Stage::Storing,
            is_resumed: false,
        }
    }

    /// The session's id.
    #[inline]
    pub fn id(&self) -> SessionId {
        match &self.call {
            Call::Create(creation) => creation.id,
            Call::Update(cas) => cas.id,
        }
    }

    /// What is to be stored.
    #[inline]
    pub fn next(&self) -> &R {
        match &self.call {
            Call::Create(creation) => &creation.record,
            Call::Update(cas) => &cas.next,
        }
    }

    /// The writer of this commit, the same over its retries.
    #[inline]
    pub fn writer(&self) -> u64 {
        self.next().version().writer
    }

    /// The next thing to ask.
    #[inline]
    pub fn ask(&self) -> Ask<'_, R> {
        match (&self.call, &self.stage) {
            (Call::Update(cas), Stage::Merging) => Ask::Merge(&cas.former),
            (_, Stage::Drawing) => Ask::Begin {
                base: None,
                redraw: true,
            },
            (Call::Create(creation), _) => creation.ask(),
            (Call::Update(cas), _) => cas.ask(),
        }
    }

    /// Takes the reply to [`ask`](Self::ask).
    #[inline]
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        let (stage, step) = match (&mut self.call, &self.stage) {
            (Call::Update(_), Stage::Storing) if matches!(reply, Reply::Saved) => {
                (Stage::Stored, Step::Done)
            }
            (Call::Create(creation), Stage::Storing) => {
                created(creation.step(reply, self.is_resumed, now), self.is_resumed)
            }
            (Call::Update(cas), Stage::Storing) => updated(cas, reply, self.is_resumed),
            (Call::Update(cas), _) => merged(cas, reply),
            (Call::Create(creation), _) => drawn(creation, reply),
        };
        self.stage = stage;
        step
    }

    /// Whether what was sent may be stored though no reply has told so: a `save` keeps such a write, to resume it.
    pub fn is_open(&self) -> bool {
        match (&self.stage, &self.call) {
            (Stage::Storing, _) => true,
            (Stage::Failed(_), Call::Create(creation)) => creation.is_open(),
            (Stage::Failed(_), Call::Update(cas)) => cas.is_open(),
            _ => false,
        }
    }

    /// Goes on with a write that [is open](Self::is_open); `cut` is why it was left. It comes to
    /// [`Outcome::NotSaved`] where what it had sent is not stored and never will be.
    pub fn resume(&mut self, cut: R::Error) {
        self.is_resumed = true;
        self.stage = Stage::Storing;
        match &mut self.call {
            Call::Create(creation) => creation.resume(cut),
            Call::Update(cas) => cas.resume(cut),
        }
    }

    /// What it came to, after [`Step::Done`].
    #[inline]
    pub fn finish(self) -> Finished<R> {
        let is_open = self.is_open();
        Finished::of(match (self.stage, self.call) {
            (Stage::Stored, Call::Update(Cas { former, next, .. })) => Outcome::Saved {
                former,
                record: next,
            },
            (Stage::Stored, Call::Create(Creation { id, record, .. })) => {
                Outcome::Created { id, record }
            }
            (Stage::Unchanged, Call::Update(cas)) => Outcome::Unchanged(cas.former),
            (Stage::NotSaved, _) => Outcome::NotSaved,
            (Stage::Failed(error), Call::Create(creation)) => {
                return Finished {
                    undo: is_open.then(|| Undo::creation(creation.id, &creation.record)),
                    ..Finished::of(Outcome::Failed(error))
                };
            }
            (Stage::Failed(error), Call::Update(_)) => Outcome::Failed(error),
            _ => Outcome::Ended,
        })
    }

    /// Gives it up before its end. What it has begun is to be taken back: nobody will have its token.
    pub fn abandon(self) -> Finished<R> {
        let undo = match &self.call {
            Call::Create(creation) => self
                .is_open()
                .then(|| Undo::creation(creation.id, &creation.record)),
            Call::Update(_) => None,
        };
        Finished {
            undo,
            ..Finished::nothing()
        }
    }
}

type Next<R> = (Stage<<R as Rec>::Error>, Step);

#[inline]
fn created<R: Rec>(creating: Creating<R>, is_resumed: bool) -> Next<R> {
    match creating {
        Creating::Created => (Stage::Stored, Step::Done),
        Creating::Not(step) => (Stage::Storing, step),
        Creating::Taken if is_resumed => (Stage::NotSaved, Step::Done),
        Creating::Taken => (Stage::Drawing, Step::Ask),
        Creating::Failed(error, _) => (Stage::Failed(error), Step::Done),
    }
}

#[cold]
fn drawn<R: Rec>(creation: &mut Creation<R>, reply: Reply<R>) -> Next<R> {
    match reply {
        Reply::Begun(id, record) => {
            *creation = Creation::new(id, record);
            (Stage::Storing, Step::Ask)
        }
        Reply::Ended => (Stage::Ended, Step::Done),
        reply => (Stage::Failed(reply.into_error()), Step::Done),
    }
}

#[cold]
fn updated<R: Rec>(cas: &mut Cas<R>, reply: Reply<R>, is_resumed: bool) -> Next<R> {
    match cas.step(reply) {
        Swapped::Not(step) => (Stage::Storing, step),
        Swapped::Saved => (Stage::Stored, Step::Done),
        Swapped::Failed(error, _) => (Stage::Failed(error), Step::Done),
        _ if is_resumed => (Stage::NotSaved, Step::Done),
        Swapped::Fresher(latest) => {
            cas.former = latest;
            (Stage::Merging, Step::Ask)
        }
        // The claim alone has to tell: it gives a value away.
        Swapped::Missing(Some(lost)) if cas.is_claim() && R::keeps(Policy::ClaimMissingFails) => {
            (Stage::Failed(lost), Step::Done)
        }
        Swapped::Moved(_) | Swapped::Missing(_) => (Stage::Ended, Step::Done),
    }
}

#[cold]
fn merged<R: Rec>(cas: &mut Cas<R>, reply: Reply<R>) -> Next<R> {
    match reply {
        Reply::Merged(next) => {
            let former = cas.former.clone();
            cas.again(former, next);
            (Stage::Storing, Step::Ask)
        }
        Reply::Unchanged => (Stage::Unchanged, Step::Done),
        Reply::Ended => (Stage::Ended, Step::Done),
        reply => (Stage::Failed(reply.into_error()), Step::Done),
    }
}
