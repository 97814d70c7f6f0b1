//! Rounds of calls: [`Measured`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::SESSIONS;

const ROUND: Duration = Duration::from_millis(120);

#[derive(Clone, Copy)]
pub enum Call {
    Load,
    Update,
    Touch,
    Create,
}

impl Call {
    pub const ALL: [Self; 4] = [Self::Load, Self::Update, Self::Touch, Self::Create];

    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Update => "update",
            Self::Touch => "touch",
            Self::Create => "create",
        }
    }
}

/// A store, and how it is asked.
pub trait Subject: Send + Sync + 'static {
    /// A session, as who wrote it last knows it.
    type Session: Send + 'static;
    type Id: Send + 'static;

    /// One that is not stored yet.
    fn session(&self) -> Self::Session;

    /// Stores it, under a new id.
    fn create(&self, session: &mut Self::Session) -> impl Future<Output = Self::Id> + Send;
    fn load(&self, session: &Self::Session) -> impl Future<Output = ()> + Send;
    fn update(&self, session: &mut Self::Session) -> impl Future<Output = ()> + Send;
    fn touch(&self, session: &mut Self::Session) -> impl Future<Output = ()> + Send;
    fn delete(&self, id: Self::Id) -> impl Future<Output = ()> + Send;
}

type Eventually<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A subject with its sessions, whichever it is.
pub trait Measured {
    fn name(&self) -> &'static str;
    /// Calls a second, all tasks together.
    fn round(&mut self, call: Call) -> Eventually<'_, f64>;
    /// So many calls, one after another.
    fn calls(&mut self, call: Call, count: usize) -> Eventually<'_, ()>;
    /// Deletes the sessions.
    fn end(&mut self) -> Eventually<'_, ()>;
}

pub struct Bench<S: Subject> {
    name: &'static str,
    subject: Arc<S>,
    /// The sessions of each task.
    shares: Vec<Vec<S::Session>>,
    ids: Vec<S::Id>,
}

impl<S: Subject> Bench<S> {
    pub async fn start(name: &'static str, subject: S, tasks: usize) -> Self {
        let mut bench = Self {
            name,
            subject: Arc::new(subject),
            shares: (0..tasks).map(|_| Vec::new()).collect(),
            ids: Vec::new(),
        };
        // Many at once, because a server may take its time for each.
        let mut creating = JoinSet::new();
        for place in 0..8 {
            let subject = Arc::clone(&bench.subject);
            creating.spawn(async move {
                let mut created = Vec::new();
                for _ in (place..SESSIONS).step_by(8) {
                    let mut session = subject.session();
                    let id = subject.create(&mut session).await;
                    created.push((session, id));
                }
                created
            });
        }
        let created = creating.join_all().await.into_iter().flatten();
        for (place, (session, id)) in created.enumerate() {
            bench.shares[place % tasks].push(session);
            bench.ids.push(id);
        }
        bench
    }
}

/// Asks once; the id of what was created.
async fn ask<S: Subject>(
    subject: &S,
    call: Call,
    session: &mut S::Session,
    fresh: &mut S::Session,
) -> Option<S::Id> {
    match call {
        Call::Load => subject.load(session).await,
        Call::Update => subject.update(session).await,
        Call::Touch => subject.touch(session).await,
        Call::Create => return Some(subject.create(fresh).await),
    }
    None
}

impl<S: Subject> Measured for Bench<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, call: Call) -> Eventually<'_, f64> {
        Box::pin(async move {
            let is_over = Arc::new(AtomicBool::new(false));
            let mut tasks = JoinSet::new();
            let started = Instant::now();
            for mut share in self.shares.drain(..) {
                let (subject, is_over) = (Arc::clone(&self.subject), Arc::clone(&is_over));
                tasks.spawn(async move {
                    let (mut calls, mut created) = (0, Vec::new());
                    let mut fresh = subject.session();
                    while !is_over.load(Ordering::Relaxed) {
                        let place = calls as usize % share.len();
                        let id = ask(&*subject, call, &mut share[place], &mut fresh).await;
                        created.extend(id);
                        calls += 1;
                    }
                    (calls, created, share)
                });
            }
            tokio::time::sleep(ROUND).await;
            is_over.store(true, Ordering::Relaxed);
            let ended = tasks.join_all().await;
            let took = started.elapsed().as_secs_f64();
            let (mut calls, mut deleting) = (0_u32, JoinSet::new());
            for (called, created, share) in ended {
                calls += called;
                self.shares.push(share);
                let subject = Arc::clone(&self.subject);
                deleting.spawn(async move {
                    for id in created {
                        subject.delete(id).await;
                    }
                });
            }
            deleting.join_all().await;
            f64::from(calls) / took
        })
    }

    fn calls(&mut self, call: Call, count: usize) -> Eventually<'_, ()> {
        Box::pin(async move {
            let share = &mut self.shares[0];
            let mut fresh = self.subject.session();
            for place in 0..count {
                let place = place % share.len();
                let id = ask(&*self.subject, call, &mut share[place], &mut fresh).await;
                self.ids.extend(id);
            }
        })
    }

    fn end(&mut self) -> Eventually<'_, ()> {
        Box::pin(async move {
            for id in self.ids.drain(..) {
                self.subject.delete(id).await;
            }
        })
    }
}
