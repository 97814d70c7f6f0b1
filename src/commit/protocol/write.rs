//! Creates or updates a session: [`Write`]. [`Touch`](super::touching::Touch) records activity alone.
//!
//! An update replaces the record that the request's changes were made on. If another request was faster, the driver
//! merges: it applies the changes to the latest record, and the write is tried again with the same writer.
//!
//! A write that was interrupted can be kept and resumed: [`Write::resume`]. It then finds out whether it was applied,
//! and sends the same record again if it still can be. It never merges: changes that are certainly not stored are
//! still pending in the request.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, Reply, Step},
        cas::{Cas, Swapped},
        creation::{Creating, Creation},
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
        undo::Undo,
    },
    record::token::SessionId,
};

/// Creates or updates a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write<R: Rec> {
    call: Call<R>,
    stage: Stage,
    /// Why it has failed.
    error: Option<R::Error>,
    is_resumed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call<R: Rec> {
    Create(Creation<R>),
    Update(Cas<R>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Storing,
    /// Merging the changes into the record to replace.
    Merging,
    /// Drawing another id for a creation.
    Drawing,
    Stored,
    /// The record to replace needs no change.
    Unchanged,
    NotSaved,
    Ended,
    Failed,
}

impl<R: Rec> Write<R> {
    /// Creates `record`.
    #[inline]
    pub fn create(id: SessionId, record: R) -> Self {
        Self::of(Call::Create(Creation::new(id, record)))
    }

    /// Replaces `former` by `next`.
    #[inline]
    pub fn update(id: SessionId, former: R, next: R) -> Self {
        Self::of(Call::Update(Cas::new(id, former, next)))
    }

    /// The same as [`update`](Self::update), for a claim.
    #[inline]
    pub(super) fn claim(id: SessionId, former: R, next: R) -> Self {
        Self::of(Call::Update(Cas::new(id, former, next).claiming()))
    }

    #[inline]
    fn of(call: Call<R>) -> Self {
        Self {
            call,
            stage: Stage::Storing,
            error: None,
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

    /// The record to store.
    #[inline]
    pub fn next(&self) -> &R {
        match &self.call {
            Call::Create(creation) => &creation.record,
            Call::Update(cas) => &cas.next,
        }
    }

    /// The record to replace. `None` for a creation.
    pub fn former(&self) -> Option<&R> {
        match &self.call {
            Call::Create(_) => None,
            Call::Update(cas) => Some(&cas.former),
        }
    }

    /// The next thing to ask.
    #[inline]
    pub fn ask(&self) -> Ask<'_, R> {
        match (&self.call, self.stage) {
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
        if self.is_stored_by(&reply) {
            self.stage = Stage::Stored;
            return Step::Done;
        }
        let next = match (&mut self.call, self.stage) {
            (Call::Create(creation), Stage::Storing) => {
                created(creation.step(reply, self.is_resumed, now), self.is_resumed)
            }
            (Call::Update(cas), Stage::Storing) => updated(cas, reply, self.is_resumed),
            (Call::Update(cas), _) => merged(cas, reply),
            (Call::Create(creation), _) => drawn(creation, reply),
        };
        match next {
            Next::Ask(stage, step) => {
                self.stage = stage;
                step
            }
            Next::Done(stage) => {
                self.stage = stage;
                Step::Done
            }
            Next::Failed(error) => {
                self.stage = Stage::Failed;
                self.error = Some(error);
                Step::Done
            }
        }
    }

    /// Whether the write may be stored although no reply has said so. A `save` keeps such a write to resume it.
    pub fn is_open(&self) -> bool {
        match (self.stage, &self.call) {
            (Stage::Storing, _) => true,
            (Stage::Failed, Call::Create(creation)) => creation.is_open(),
            (Stage::Failed, Call::Update(cas)) => cas.is_open(),
            _ => false,
        }
    }

    /// Resumes a write that [is open](Self::is_open). `cut` is why it was interrupted. The outcome is
    /// [`Outcome::NotSaved`] if it is not stored and never will be.
    pub fn resume(&mut self, cut: R::Error) {
        self.is_resumed = true;
        self.error = None;
        self.stage = Stage::Storing;
        match &mut self.call {
            Call::Create(creation) => creation.resume(cut),
            Call::Update(cas) => cas.resume(cut),
        }
    }

    /// Whether this reply to [`ask`](Self::ask) says that the record is stored.
    #[inline]
    pub fn is_stored_by(&self, reply: &Reply<R>) -> bool {
        match (&self.call, reply) {
            (Call::Update(_), Reply::Saved) => self.stage == Stage::Storing,
            (Call::Create(creation), Reply::Created) => creation.is_sending(),
            _ => false,
        }
    }

    /// The outcome of a write that [is stored](Self::is_stored_by).
    #[inline]
    pub fn stored(self) -> Outcome<R> {
        match self.call {
            Call::Update(Cas { former, next, .. }) => Outcome::Saved {
                former,
                record: next,
            },
            Call::Create(Creation { id, record, .. }) => Outcome::Created { id, record },
        }
    }

    /// The outcome, after [`Step::Done`].
    #[inline]
    pub fn finish(self) -> Finished<R> {
        if let Some(error) = &self.error {
            return Finished {
                undo: self.undo(),
                ..Finished::of(Outcome::Failed(error.clone()))
            };
        }
        if self.stage == Stage::Stored {
            return Finished::of(self.stored());
        }
        Finished::of(match (self.stage, self.call) {
            (Stage::Unchanged, Call::Update(cas)) => Outcome::Unchanged(cas.former),
            (Stage::NotSaved, _) => Outcome::NotSaved,
            _ => Outcome::Ended,
        })
    }

    /// Abandons it. A creation is rolled back, because no visitor will have its token.
    pub fn abandon(self) -> Finished<R> {
        Finished {
            undo: self.undo(),
            ..Finished::nothing()
        }
    }

    #[cold]
    fn undo(&self) -> Option<Undo<R>> {
        match &self.call {
            Call::Create(creation) if self.is_open() => {
                Some(Undo::creation(creation.id, &creation.record))
            }
            _ => None,
        }
    }
}

/// What follows a reply.
enum Next<E> {
    Ask(Stage, Step),
    Done(Stage),
    Failed(E),
}

#[cold]
fn created<R: Rec>(creating: Creating<R>, is_resumed: bool) -> Next<R::Error> {
    match creating {
        Creating::Created => Next::Done(Stage::Stored),
        Creating::Not(step) => Next::Ask(Stage::Storing, step),
        Creating::Taken if is_resumed => Next::Done(Stage::NotSaved),
        Creating::Taken => Next::Ask(Stage::Drawing, Step::Ask),
        Creating::Failed(error, _) => Next::Failed(error),
    }
}

#[cold]
fn drawn<R: Rec>(creation: &mut Creation<R>, reply: Reply<R>) -> Next<R::Error> {
    match reply {
        Reply::Begun(id, record) => {
            *creation = Creation::new(id, record);
            Next::Ask(Stage::Storing, Step::Ask)
        }
        Reply::Ended => Next::Done(Stage::Ended),
        reply => Next::Failed(reply.into_error()),
    }
}

#[cold]
fn updated<R: Rec>(cas: &mut Cas<R>, reply: Reply<R>, is_resumed: bool) -> Next<R::Error> {
    match cas.step(reply) {
        Swapped::Not(step) => Next::Ask(Stage::Storing, step),
        Swapped::Saved => Next::Done(Stage::Stored),
        Swapped::Failed(error, _) => Next::Failed(error),
        _ if is_resumed => Next::Done(Stage::NotSaved),
        Swapped::Fresher(latest) => {
            cas.former = latest;
            Next::Ask(Stage::Merging, Step::Ask)
        }
        // Only a claim has to know, because it gives a value away.
        Swapped::Missing(Some(lost)) if cas.is_claim() && R::keeps(Policy::ClaimMissingFails) => {
            Next::Failed(lost)
        }
        Swapped::Moved(_) | Swapped::Missing(_) => Next::Done(Stage::Ended),
    }
}

#[cold]
fn merged<R: Rec>(cas: &mut Cas<R>, reply: Reply<R>) -> Next<R::Error> {
    match reply {
        Reply::Merged(next) => {
            let former = cas.former.clone();
            cas.again(former, next);
            Next::Ask(Stage::Storing, Step::Ask)
        }
        Reply::Unchanged => Next::Done(Stage::Unchanged),
        Reply::Ended => Next::Done(Stage::Ended),
        reply => Next::Failed(reply.into_error()),
    }
}
