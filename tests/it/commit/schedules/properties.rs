//! What must hold at the end of a schedule, under the names that the model checker has for it.

use std::collections::BTreeSet;

use cloakroom::{EventKind, SessionId};

use super::{
    request::{Op, Out, With},
    world::World,
};

type Holds = fn(&World) -> bool;

pub(super) const PROPERTIES: [(&str, Holds); 21] = [
    ("sums are exact", sums_are_exact),
    ("a log-out spares a faster log-in", log_outs_spare_log_ins),
    ("a claim that was stored is told", claims_are_told),
    ("a session moves only to one that is there", |world| {
        !world.breaches.dead_move
    }),
    ("a counted increment is kept", increments_are_kept),
    ("a voucher is given at most once", voucher_at_most_once),
    ("a voucher is not lost silently", voucher_is_not_lost),
    ("what ended does not come back", ended_stays_ended),
    ("a token works when it is answered", |world| {
        !world.dead_token
    }),
    ("log-ins of one user reach one cart", one_cart),
    (
        "under a 503 the old or the new token works",
        old_or_new_works,
    ),
    ("no more sessions than the limit", limit_holds),
    ("a refused log-in costs nothing", refused_costs_nothing),
    ("two users' data never meet", users_do_not_meet),
    ("only an unwritten session is joined", |world| {
        !world.breaches.written_joined
    }),
    (
        "a session without an owner is an exception",
        no_ownerless_session,
    ),
    ("an event is told once", events_are_told_once),
    ("without faults nothing fails", nothing_fails_without_faults),
    ("nothing waits for ever", |world| world.is_over),
    ("an old session becomes one session", imported_once),
    ("an import that fails is not lost", imports_are_not_lost),
];

/// Answered 200, an increment counts once; answered 503, at most once.
fn sums_are_exact(world: &World) -> bool {
    let may_count = world.outs().filter(|(nth, op, out)| {
        let is_open = matches!(
            out,
            Out::Failed | Out::InDoubt(_) | Out::Dropped | Out::Cancelled | Out::Crashed
        );
        op.counts() && (is_open || world.certain[*nth].has_saved)
    });
    let at_most = counted(world) + may_count.count();
    world.has(|op| op == Op::Create) || world.sessions().all(|(_, record)| record.count <= at_most)
}

fn counted(world: &World) -> usize {
    let counted = world
        .outs()
        .filter(|(_, op, out)| op.counts() && *out == Out::Ok);
    counted.count()
}

/// Whether `op` ends a session, or binds another user than one before.
fn leaves(world: &World, op: Op) -> bool {
    let users = world.ops.iter().filter_map(|(op, _)| op.user());
    let mut users = users.chain(world.user);
    let is_other = |user| users.any(|other| other != user);
    op.ends() || op.user().is_some_and(is_other)
}

/// An increment that was stored is in the session that its visitor goes on with.
fn increments_are_kept(world: &World) -> bool {
    let other = |op: Op| leaves(world, op) || matches!(op, Op::Create | Op::Import);
    // Without its marker an old token opens nothing, and each request that brings it begins a session.
    let is_reaped = world.spent.reaped > 0;
    if world.has(other) || world.limit.is_some() || world.starts.len() > 1 || is_reaped {
        return true;
    }
    let most = world.sessions().map(|(_, record)| record.count).max();
    most.unwrap_or(0) >= counted(world)
}

fn taken(world: &World) -> usize {
    let taken = world.outs().filter(|(nth, op, out)| match op {
        Op::LogInTake(_) => out.is_answered_move(),
        _ => world.certain[*nth].got,
    });
    taken.count()
}

/// The one voucher, or who has it, or who can claim it.
fn voucher_at_most_once(world: &World) -> bool {
    let inserts = world.ops.iter().filter(|(op, _)| *op == Op::Insert);
    let gives = inserts.count() + usize::from(world.has(|op| op == Op::Import));
    if world.starts.len() > 1 || gives > 1 {
        return true;
    }
    let holders = world
        .sessions()
        .filter(|(id, record)| record.voucher && world.seen.get(id) == Some(&true));
    taken(world) + holders.count() <= 1
}

/// Whoever took it has it, or was told of a failure.
fn claims_are_told(world: &World) -> bool {
    let told = world.outs().filter(|(nth, op, out)| {
        let is_told = matches!(out, Out::Failed | Out::Cancelled | Out::Crashed);
        *op == Op::Claim && (world.certain[*nth].got || is_told)
    });
    world.breaches.claims <= told.count()
}

/// Where nobody got it, it is there, or somebody was told of a failure.
fn voucher_is_not_lost(world: &World) -> bool {
    let inserts = world.has(|op| op == Op::Insert);
    let inserted = world
        .outs()
        .any(|(_, op, out)| op == Op::Insert && out == Out::Ok);
    if inserts && !inserted || world.has(|op| leaves(world, op)) || world.limit.is_some() {
        return true;
    }
    let is_told = world.is_kept
        || world.outs().any(|(_, _, out)| {
            matches!(
                out,
                Out::Cancelled | Out::Crashed | Out::Failed | Out::InDoubt(_)
            )
        });
    taken(world) > 0 || is_told || world.sessions().any(|(_, record)| record.voucher)
}

fn ended(world: &World) -> impl Iterator<Item = SessionId> {
    world.events.iter().filter_map(|event| match event.kind() {
        EventKind::Ended { .. } => event.id(),
        _ => None,
    })
}

/// Neither the session, nor what was in it.
fn ended_stays_ended(world: &World) -> bool {
    if ended(world).any(|id| world.live(id).is_some()) {
        return false;
    }
    let is_gone = world.outs().any(|(nth, op, out)| {
        let ends = matches!(op, Op::Destroy | Op::Revoke) && out == Out::Gone;
        ends && world.ops[nth].1 == With::Old(0) && world.spent.reaped == 0
    });
    let gives = world.has(|op| matches!(op, Op::Insert | Op::Create | Op::Import));
    if !is_gone || gives || world.starts.len() > 1 {
        return true;
    }
    let logs_in = world.has(|op| op.user().is_some());
    let was_ended = ended(world).any(|id| id == world.starts[0]);
    world.sessions().all(|(id, record)| {
        let is_another = record.user.is_some() && record.user.as_deref() != world.user || logs_in;
        let is_open = world.seen.get(&id) == Some(&true);
        // Whoever comes with a token that opens nothing may begin a session.
        !is_open || !record.voucher && !record.cart || is_another && !was_ended
    })
}

/// Whoever holds an old token does not end what a log-in has begun since.
fn log_outs_spare_log_ins(world: &World) -> bool {
    let reaches = |(op, with): &(Op, With)| match op {
        Op::RevokeUser(_) => true,
        Op::Destroy | Op::Revoke => matches!(with, With::New(_)),
        _ => false,
    };
    if world.ops.iter().any(reaches) || world.limit.is_some() {
        return true;
    }
    let ended: BTreeSet<_> = ended(world).collect();
    let mut log_ins = world
        .outs()
        .filter(|(_, op, out)| op.user().is_some() && out.is_answered_move())
        .filter_map(|(_, _, out)| out.given());
    !log_ins.any(|id| ended.contains(&id))
}

/// A double click keeps what the visitor had.
fn one_cart(world: &World) -> bool {
    let mut users = world.ops.iter().filter_map(|(op, _)| op.user());
    let first = users.next();
    let exception =
        |op: Op| op.ends() || matches!(op, Op::Cycle | Op::LogInTake(_) | Op::Create | Op::Import);
    let is_visited = world
        .ops
        .iter()
        .any(|(_, with)| matches!(with, With::New(_)));
    if users.any(|user| Some(user) != first)
        || world.user.is_some() && world.user != first
        || world.has(exception)
        || is_visited
        || world.starts.len() > 1
        || world.spent.reaped > 0
    {
        return true;
    }
    let answered = world.outs().filter(|(_, _, out)| out.is_answered_move());
    let mut answered = answered.filter_map(|(_, _, out)| out.given());
    let Some(session) = answered.next() else {
        return true;
    };
    answered.all(|other| other == session) && world.live(session).is_some_and(|record| record.cart)
}

/// A visitor who still waited has a token that works.
fn old_or_new_works(world: &World) -> bool {
    if world.has(Op::ends) || world.starts.len() > 1 && world.limit.is_some() {
        return true;
    }
    world.outs().all(|(nth, op, out)| {
        let on = world.ons[nth];
        let rivals = world.ops.iter().enumerate();
        let rivals = rivals.filter(|(other, (op, _))| world.ons[*other] == on && op.moves());
        let was_in_doubt = |of: usize| matches!(world.outs[of], Out::InDoubt(_));
        let is_certain = !matches!(world.ops[nth].1, With::New(of) if was_in_doubt(of));
        let is_alone = rivals.count() < 2 && is_certain;
        match out {
            Out::Failed if op.moves() && is_alone => on.is_none_or(|on| world.live(on).is_some()),
            Out::InDoubt(id) if is_alone => moved_on(world, id),
            _ => true,
        }
    })
}

/// The session is live, or went on.
fn moved_on(world: &World, id: SessionId) -> bool {
    let successor = || world.records.get(&id).and_then(|marker| marker.successor);
    world.live(id).is_some() || successor().is_some_and(|to| moved_on(world, to))
}

fn limit_holds(world: &World) -> bool {
    let Some(limit) = world.limit else {
        return true;
    };
    let in_doubt = world
        .outs()
        .filter(|(_, _, out)| matches!(out, Out::InDoubt(_)));
    // Those at the beginning were there before the limit was.
    let limit = limit.max(world.starts.len()) + in_doubt.count();
    let logged_in = world
        .outs()
        .any(|(_, op, out)| op.user() == Some("ann") && out.is_answered_move());
    let own = world
        .sessions()
        .filter(|(_, record)| record.user.as_deref() == Some("ann"));
    world.is_abandoned() || !logged_in || own.count() <= limit
}

/// The old session stays, and no answered log-in is ended but by a newer answered one.
fn refused_costs_nothing(world: &World) -> bool {
    if world.limit.is_none() || world.has(Op::ends) || world.is_abandoned() {
        return true;
    }
    if world.outs().any(|(_, _, out)| out == Out::Failed) {
        return true;
    }
    world.outs().all(|(_, op, out)| match out {
        Out::Moved(id) if op.user().is_some() => {
            let replaces = |other: SessionId| other != id && world.live(other).is_some();
            let mut others = world.outs().filter_map(|(_, _, out)| out.given());
            moved_on(world, id) || others.any(replaces)
        }
        _ => true,
    })
}

fn users_do_not_meet(world: &World) -> bool {
    world.sessions().all(|(_, record)| {
        let mut private = record.private.iter();
        private.all(|user| {
            Some(user) == record.user.as_ref() || record.user.is_none() && world.user == Some(user)
        })
    })
}

/// Nobody has its token: only where the move came about and its request was given up.
fn no_ownerless_session(world: &World) -> bool {
    if world.spent.crashed > 0 {
        return true;
    }
    let live = world.before.iter().filter(|(_, record)| !record.is_marker);
    let mut live = live.map(|(id, record)| (*id, record));
    live.all(|(id, record)| {
        let is_led_to = world
            .before
            .values()
            .any(|other| other.successor == Some(id));
        let is_reaped = world.spent.reaped > 0 && record.origin.is_some();
        // What a `save` has begun stays if the request is cancelled or fails later.
        let is_saved = record.count > 0 && has_lost_save(world);
        world.is_owned(id) || is_led_to || is_reaped || is_saved
    })
}

fn has_lost_save(world: &World) -> bool {
    let saves = |op: Op| op.counts() && op != Op::Increment;
    let mut outs = world.outs();
    outs.any(|(_, op, out)| saves(op) && matches!(out, Out::Cancelled | Out::Failed))
}

fn events_are_told_once(world: &World) -> bool {
    let (mut ends, mut begins) = (BTreeSet::new(), BTreeSet::new());
    world.events.iter().all(|event| match event.kind() {
        EventKind::Ended { .. } => ends.insert(event.id()),
        EventKind::LoggedIn { to, .. } | EventKind::Cycled { to, .. } => begins.insert(*to),
        _ => true,
    })
}

fn nothing_fails_without_faults(world: &World) -> bool {
    let is_undisturbed = world.spent.faults.get() == 0 && !world.is_abandoned();
    // What a `try_update` refuses fails, and so does a log-in that an operator or newer log-ins end before its answer.
    let ends = world.limit.is_some() || world.has(|op| matches!(op, Op::RevokeUser(_)));
    let fails = |(_, op, out): (usize, Op, Out)| {
        let is_refused = matches!(op, Op::LogInTake(_)) || ends && op.user().is_some();
        matches!(out, Out::Failed | Out::InDoubt(_)) && !is_refused
    };
    !is_undisturbed || !world.outs().any(fails)
}

fn imports(world: &World) -> impl Iterator<Item = SessionId> {
    let imports = world.outs().filter(|(_, op, _)| *op == Op::Import);
    imports.filter_map(|(_, _, out)| out.given())
}

/// Every answer with a session is of the same one.
fn imported_once(world: &World) -> bool {
    let mut imports = imports(world);
    let first = imports.next();
    imports.all(|other| Some(other) == first)
}

/// Where no request was answered with the session, the next one with the old token is.
fn imports_are_not_lost(world: &World) -> bool {
    let is_open = world.has(|op| op == Op::Import) && !world.has(Op::ends);
    !is_open || imports(world).next().is_some() || world.is_importable
}
