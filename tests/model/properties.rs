//! The properties: those that must always hold, and those that must be reached at least once.

use cloakroom::protocol::MoveKind;
use stateright::Property;

use crate::{
    net::Net,
    world::{Actor, Op, Out, Phase, With, World, index},
};

pub(crate) fn all() -> Vec<Property<Net>> {
    vec![
        Property::always("sums are exact", sums_are_exact),
        Property::always("a log-out spares a faster log-in", log_outs_spare_log_ins),
        Property::always("a claim that was stored is told", claims_are_told),
        Property::always(
            "a session moves only to one that is there",
            |_: &Net, world: &World| !world.breaches.dead_move,
        ),
        Property::always("a counted increment is kept", increments_are_kept),
        Property::always("a voucher is given at most once", voucher_at_most_once),
        Property::always("a voucher is not lost silently", voucher_is_not_lost),
        Property::always("what ended does not come back", ended_stays_ended),
        Property::always(
            "a token works when it is answered",
            |_: &Net, world: &World| !world.breaches.dead_token,
        ),
        Property::always("log-ins of one user reach one cart", one_cart),
        Property::always(
            "under a 503 the old or the new token works",
            old_or_new_works,
        ),
        Property::always("no more sessions than the limit", limit_holds),
        Property::always("a refused log-in costs nothing", refused_costs_nothing),
        Property::always("two users' data never meet", users_do_not_meet),
        Property::always(
            "only an unwritten session is joined",
            |_: &Net, world: &World| !world.breaches.written_joined,
        ),
        Property::always(
            "a session without an owner is an exception",
            no_ownerless_session,
        ),
        Property::always("an event is told once", |_: &Net, world: &World| {
            !world.breaches.told_twice
        }),
        Property::always("without faults nothing fails", nothing_fails_without_faults),
        Property::always("nothing waits for ever", nothing_waits_for_ever),
        Property::always("an old session becomes one session", imported_once),
        Property::always("an import that fails is not lost", imports_are_not_lost),
    ]
}

type Holds = fn(&Net, &World) -> bool;

/// The states that a suite must reach, so that its properties are not trivially true.
pub(crate) const SOMETIMES: [(&str, Holds); 12] = [
    ("an old session is imported", |_: &Net, world: &World| {
        imports(world).next().is_some()
    }),
    ("two requests have an imported session", |_, world| {
        imports(world).count() == 2
    }),
    ("two log-ins are answered", |_: &Net, world: &World| {
        let moves =
            outs(world).filter(|(actor, out)| actor.op.user().is_some() && out.is_answered_move());
        moves.count() == 2
    }),
    ("a log-in joins", |_, world| {
        outs(world).any(|(_, out)| matches!(out, Out::Joined(_)))
    }),
    ("a log-in is in doubt", |_, world| {
        outs(world).any(|(_, out)| matches!(out, Out::InDoubt(_)))
    }),
    ("a move is finished by another request", |_, world| {
        world.helped
    }),
    ("a machine is undone", |_, world| !world.undoing.is_empty()),
    ("a session is barred", |_, world| {
        world.sessions().any(|(_, record)| record.bar.is_some())
    }),
    (
        "a save is resumed and was stored",
        |_: &Net, world: &World| {
            world.resumed && outs(world).any(|(actor, out)| actor.op == Op::Save && out == Out::Ok)
        },
    ),
    ("a limit ends a session", |_, world| {
        !world.evicted.is_empty()
    }),
    ("a log-in is refused by the limit", |_, world| {
        outs(world).any(|(_, out)| out == Out::Outdone)
    }),
    ("a log-out meets a faster log-in", |_, world| {
        outs(world).any(|(_, out)| out == Out::LoggedInSince)
    }),
];

pub(crate) fn is_sometimes(name: &str) -> bool {
    SOMETIMES.iter().any(|(sometimes, _)| *sometimes == name)
}

/// The requests that have been answered.
fn outs(world: &World) -> impl Iterator<Item = (&Actor, Out)> {
    world.actors.iter().filter_map(|actor| match actor.phase {
        Phase::Done(out) => Some((actor, out)),
        _ => None,
    })
}

fn has(net: &Net, is_it: impl Fn(Op) -> bool) -> bool {
    net.ops.iter().any(|(op, _)| is_it(*op))
}

fn may_have_counted(actor: &Actor) -> bool {
    let is_open = matches!(actor.phase, Phase::Cancelled | Phase::Crashed)
        || matches!(
            actor.phase,
            Phase::Done(Out::Failed | Out::InDoubt(_) | Out::Outdone | Out::Dropped)
        );
    actor.op.counts() && (is_open || actor.has_saved)
}

fn counted(world: &World) -> usize {
    outs(world)
        .filter(|(actor, out)| actor.op.counts() && *out == Out::Ok)
        .count()
}

/// Answered 200, an increment counts once; answered 503, at most once.
fn sums_are_exact(net: &Net, world: &World) -> bool {
    if !world.is_settled() || has(net, |op| op == Op::Create) {
        return true;
    }
    let at_most = counted(world)
        + world
            .actors
            .iter()
            .filter(|actor| may_have_counted(actor))
            .count();
    world
        .sessions()
        .all(|(_, record)| usize::from(record.count) <= at_most)
}

/// An increment that was stored is in the session that its visitor goes on with.
fn increments_are_kept(net: &Net, world: &World) -> bool {
    let other = |op: Op| {
        op.ends()
            || op == Op::Create
            || op
                .user()
                .is_some_and(|user| net.user != 0 && user != net.user)
    };
    if !world.is_settled()
        || has(net, other)
        || net.limit.is_some()
        || world.spent.evicted > 0
        || net.starts > 1
    {
        return true;
    }
    let most = world
        .sessions()
        .map(|(_, record)| usize::from(record.count))
        .max();
    most.unwrap_or(0) >= counted(world)
}

/// All places where the voucher is, or can still be claimed from.
fn voucher_at_most_once(net: &Net, world: &World) -> bool {
    if net.starts > 1 || net.ops.iter().filter(|(op, _)| *op == Op::Insert).count() > 1 {
        return true;
    }
    let holders = world.sessions().filter(|(id, record)| {
        let is_given = world.given.iter().any(|given| given.0 == *id);
        let is_owned = *id < net.starts || is_given || world.imported() == Some(*id);
        record.voucher && is_owned && world.is_readable(*id)
    });
    // A request with the old token may import it.
    let is_kept = world.old && world.imported().is_none();
    taken(world) + holders.count() + usize::from(is_kept) <= 1
}

/// The request that took it has it, or failed.
fn claims_are_told(_: &Net, world: &World) -> bool {
    world.actors.iter().enumerate().all(|(nth, actor)| {
        let was_stored = world.claimed & 1 << nth != 0;
        !was_stored || !matches!(actor.phase, Phase::Done(Out::NotThere | Out::Dropped))
    })
}

fn taken(world: &World) -> usize {
    outs(world)
        .filter(|(actor, out)| match actor.op {
            Op::LogInTake(_) => out.is_answered_move(),
            _ => *out == Out::Got,
        })
        .count()
}

/// If no request got it, it is still there, or a request failed.
fn voucher_is_not_lost(net: &Net, world: &World) -> bool {
    let inserts = has(net, |op| op == Op::Insert);
    let inserted = outs(world).any(|(actor, out)| actor.op == Op::Insert && out == Out::Ok);
    let leaves = |op: Op| {
        op.ends()
            || op
                .user()
                .is_some_and(|user| net.user != 0 && net.user != user)
    };
    if !world.is_settled()
        || inserts && !inserted
        || has(net, leaves)
        || net.limit.is_some()
        || world.spent.evicted > 0
    {
        return true;
    }
    let is_told = world.actors.iter().any(|actor| {
        matches!(
            actor.phase,
            Phase::Cancelled | Phase::Crashed | Phase::Done(Out::Failed | Out::InDoubt(_))
        )
    });
    let is_kept = world.old && world.imported().is_none();
    taken(world) > 0 || is_told || is_kept || world.sessions().any(|(_, record)| record.voucher)
}

/// Neither the session nor its data comes back.
fn ended_stays_ended(net: &Net, world: &World) -> bool {
    let is_back = |id: &u8| world.live(*id).is_some();
    if world.ended.iter().any(is_back) {
        return false;
    }
    // After a response without the session, its data must not be found again.
    let is_gone = outs(world).any(|(actor, out)| {
        let ends = matches!(actor.op, Op::Destroy | Op::Revoke);
        // If the marker of a cycle has expired, the old token leads nowhere.
        let is_known = out == Out::Closed || out == Out::Gone && world.spent.reaped == 0;
        ends && actor.with == With::Old(0) && is_known
    });
    if !is_gone
        || !world.is_settled()
        || net.starts > 1
        || has(net, |op| matches!(op, Op::Insert | Op::Create | Op::Import))
    {
        return true;
    }
    let by_log_out = has(net, |op| matches!(op, Op::Destroy | Op::Revoke));
    world.sessions().all(|(id, record)| {
        let is_another =
            record.user != 0 && record.user != net.user || has(net, |op| op.user().is_some());
        let is_owned = id < net.starts || world.given.iter().any(|given| given.0 == id);
        let is_open = is_owned && world.is_readable(id);
        !is_open
            || is_another
                && (!by_log_out || !world.ended.contains(&0) || !record.voucher && !record.cart)
    })
}

/// A request with an old token does not end the session of a later log-in.
fn log_outs_spare_log_ins(net: &Net, world: &World) -> bool {
    let reaches = |(op, with): &(Op, With)| match op {
        Op::RevokeUser(_) => true,
        Op::Destroy | Op::Revoke => matches!(with, With::New(_)),
        _ => false,
    };
    if net.ops.iter().any(reaches) || net.limit.is_some() {
        return true;
    }
    let log_ins =
        outs(world).filter(|(actor, out)| actor.op.user().is_some() && out.is_answered_move());
    let mut sessions = log_ins.filter_map(|(_, out)| out.given());
    !sessions.any(|id| world.ended.contains(&id))
}

/// A double click keeps what the visitor had.
fn one_cart(net: &Net, world: &World) -> bool {
    let mut users = net.ops.iter().filter_map(|(op, _)| op.user());
    let first = users.next();
    let exception =
        |op: Op| op.ends() || matches!(op, Op::Cycle | Op::LogInTake(_) | Op::Create | Op::Import);
    let is_visited = net.ops.iter().any(|(_, with)| matches!(with, With::New(_)));
    if !world.is_settled()
        || users.any(|user| Some(user) != first)
        || first.is_none()
        || net.user != 0 && Some(net.user) != first
        || has(net, exception)
        || is_visited
        || net.starts > 1
        || world.spent.reaped + world.spent.evicted > 0
    {
        return true;
    }
    let mut answered = outs(world)
        .filter(|(_, out)| out.is_answered_move())
        .filter_map(|(_, out)| out.given());
    let Some(session) = answered.next() else {
        return true;
    };
    answered.all(|other| other == session) && world.live(session).is_some_and(|record| record.cart)
}

/// A visitor who still waited has a token that works.
fn old_or_new_works(net: &Net, world: &World) -> bool {
    if !world.is_settled()
        || has(net, Op::ends)
        || world.spent.evicted > 0
        || net.starts > 1 && net.limit.is_some()
    {
        return true;
    }
    outs(world).all(|(actor, out)| {
        let rivals = world
            .actors
            .iter()
            .filter(|other| other.id == actor.id && other.op.moves());
        // A session with an unknown result may have ended since.
        let was_in_doubt = |of: u8| {
            matches!(
                world.actors[of as usize].phase,
                Phase::Done(Out::InDoubt(_))
            )
        };
        let is_certain = !matches!(actor.with, With::New(of) if was_in_doubt(of));
        let is_alone = rivals.count() < 2 && is_certain;
        match out {
            Out::Failed | Out::Outdone if actor.op.moves() && is_alone => {
                world.live(actor.id).is_some()
            }
            Out::InDoubt(id) if is_alone => moved_on(world, id),
            _ => true,
        }
    })
}

/// The session is live, or continues under another id.
fn moved_on(world: &World, id: u8) -> bool {
    world.live(id).is_some()
        || world
            .get(id)
            .and_then(|marker| marker.successor)
            .is_some_and(|to| moved_on(world, index(to.id)))
}

fn abandoned(world: &World) -> bool {
    world.spent.cancelled + world.spent.late + world.spent.crashed + world.spent.undo_lost > 0
}

fn limit_holds(net: &Net, world: &World) -> bool {
    let Some(limit) = net.limit else { return true };
    if !world.is_settled() || abandoned(world) {
        return true;
    }
    let in_doubt = outs(world)
        .filter(|(_, out)| matches!(out, Out::InDoubt(_)))
        .count();
    world
        .sessions()
        .filter(|(_, record)| record.user == 1)
        .count()
        <= limit + in_doubt
}

/// The old session stays, and only a newer answered log-in ends an answered one.
fn refused_costs_nothing(net: &Net, world: &World) -> bool {
    if net.limit.is_none() || !world.is_settled() || has(net, Op::ends) {
        return true;
    }
    outs(world).all(|(actor, out)| {
        let is_alone = net
            .ops
            .iter()
            .filter(|(_, with)| *with == actor.with)
            .count()
            < 2;
        match out {
            // A session of the user is among those that the limit ends.
            Out::Outdone => {
                let is_limited = net.user != 0 && actor.id == 0;
                !is_alone || is_limited || world.live(actor.id).is_some()
            }
            // A log-in that failed may have ended older sessions before.
            Out::Moved(id)
                if !abandoned(world) && !outs(world).any(|(_, out)| out == Out::Failed) =>
            {
                let rank = |id: u8| world.live(id).map_or(0, |record| record.rank);
                let is_replaced = outs(world).any(|(_, other)| {
                    other.given().is_some_and(|other| {
                        other != id && world.live(other).is_some() && rank(other) > 0
                    })
                });
                moved_on(world, id) || is_replaced
            }
            _ => true,
        }
    })
}

fn users_do_not_meet(_: &Net, world: &World) -> bool {
    world.sessions().all(|(_, record)| {
        let own = if record.user == 0 {
            0
        } else {
            1 << record.user
        };
        record.private & !own == 0
    })
}

/// A live session without a visitor exists only if a move succeeded after its request was cancelled.
fn no_ownerless_session(net: &Net, world: &World) -> bool {
    if !world.is_settled() || world.spent.crashed + world.spent.undo_lost > 0 {
        return true;
    }
    world.sessions().all(|(id, record)| {
        let has_moved = || {
            let markers = world
                .store
                .iter()
                .flatten()
                .filter_map(|record| record.successor);
            let reaped = world.spent.reaped > 0 && record.origin.is_some();
            markers.map(|to| index(to.id)).any(|to| to == id) || reaped
        };
        id < net.starts || world.given.iter().any(|given| given.0 == id) || has_moved()
    })
}

fn nothing_fails_without_faults(_: &Net, world: &World) -> bool {
    let spent = &world.spent;
    let is_undisturbed =
        spent.lost + spent.cancelled + spent.late + spent.crashed + spent.evicted == 0;
    // A refused `try_update` fails.
    let fails = |(actor, out): (&Actor, Out)| {
        matches!(out, Out::Failed | Out::InDoubt(_)) && !matches!(actor.op, Op::LogInTake(_))
    };
    !is_undisturbed || !outs(world).any(fails)
}

fn imports(world: &World) -> impl Iterator<Item = u8> {
    let imports = outs(world).filter(|(actor, _)| actor.op == Op::Import);
    imports.filter_map(|(_, out)| out.given())
}

/// All answers with a session have the same session.
fn imported_once(_: &Net, world: &World) -> bool {
    let mut imports = imports(world);
    let first = imports.next();
    imports.all(|other| Some(other) == first)
}

/// If no request was answered with the session, the next one with the old token is.
fn imports_are_not_lost(net: &Net, world: &World) -> bool {
    if !world.is_settled()
        || !has(net, |op| op == Op::Import)
        || has(net, Op::ends)
        || world.spent.evicted + world.spent.reaped > 0
        || imports(world).next().is_some()
    {
        return true;
    }
    match world.imported() {
        None => world.old,
        Some(id) => world.live(id).is_some_and(|record| !record.is_used),
    }
}

/// A request that has not ended asks something.
fn nothing_waits_for_ever(_: &Net, world: &World) -> bool {
    world.actors.iter().all(|actor| match &actor.phase {
        Phase::Running { machine, .. } | Phase::Helping(machine) | Phase::Ending(machine, _) => {
            machine.ask().is_some()
        }
        _ => true,
    }) && world.store.iter().flatten().all(|record| {
        record.successor.is_none_or(|to| {
            record.is_marker && (to.kind == MoveKind::Cycle || to.kind == MoveKind::LogIn)
        })
    })
}

#[test]
fn the_properties_have_the_names_that_other_tests_share() {
    let names: Vec<_> = all().iter().map(|property| property.name).collect();
    let rules: Vec<_> = include_str!("rules.txt").lines().collect();
    assert_eq!(names, rules);
}
