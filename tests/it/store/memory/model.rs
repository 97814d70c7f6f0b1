//! The lock-free parts of the memory store, in every interleaving a model checker finds.

use loom::{sync::Arc, thread};

use self::{
    budget::Budget,
    eviction::{Stamp, Ticks, Tier},
};

/// The sources below ask their parent for their atomics: here they get the checker's.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
}

#[allow(dead_code)]
#[path = "../../../../src/store/memory/budget.rs"]
mod budget;

#[allow(dead_code)]
#[path = "../../../../src/store/memory/eviction.rs"]
mod eviction;

#[test]
fn reservations_never_exceed_either_bound_and_nothing_leaks() {
    loom::model(|| {
        let budget = Arc::new(Budget::new(2, 10));
        let threads = [(1, 6), (1, 5)].map(|(sessions, bytes)| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                let reserved = budget.try_reserve(sessions, bytes);
                if reserved {
                    budget.release(sessions, bytes);
                }
                reserved
            })
        });
        assert!(budget.sessions() <= 2 && budget.bytes() <= 10);
        let reserved = threads.map(|thread| thread.join().unwrap());
        assert!(reserved.contains(&true));
        assert_eq!((budget.sessions(), budget.bytes()), (0, 0));
    });
}

#[test]
fn if_two_sessions_do_not_fit_together_one_is_stored() {
    for (sessions, bytes) in [(1, 10), (2, 7)] {
        loom::model(move || {
            let budget = Arc::new(Budget::new(sessions, bytes));
            let threads = [(1, 4), (1, 5)].map(|(sessions, bytes)| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.try_reserve(sessions, bytes).then_some(bytes))
            });
            let held = threads.map(|thread| thread.join().unwrap());
            let held: Vec<usize> = held.into_iter().flatten().collect();
            assert_eq!(held.len(), 1);
            assert_eq!(budget.sessions(), 1);
            assert_eq!(budget.bytes(), held.iter().sum::<usize>());
        });
    }
}

#[test]
fn a_refused_reservation_gives_back_what_it_took() {
    loom::model(|| {
        let budget = Arc::new(Budget::new(2, 10));
        let other = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.try_reserve(1, 11))
        };
        assert!(budget.try_reserve(1, 10));
        assert!(!other.join().unwrap());
        assert_eq!((budget.sessions(), budget.bytes()), (1, 10));
        assert!(!budget.try_reserve(usize::MAX, 0) && !budget.try_reserve(0, usize::MAX));
        budget.release(1, 10);
        assert_eq!((budget.sessions(), budget.bytes()), (0, 0));
    });
}

#[test]
fn ticks_are_unique_and_a_stamp_is_one_of_those_stored() {
    loom::model(|| {
        let ticks = Arc::new(Ticks::default());
        let stamp = Arc::new(Stamp::new(Tier::New, ticks.next()));
        let threads = [Tier::Seen, Tier::User].map(|tier| {
            let (ticks, stamp) = (Arc::clone(&ticks), Arc::clone(&stamp));
            thread::spawn(move || {
                let tick = ticks.next();
                stamp.store(tier, tick);
                (tick, Stamp::new(tier, tick).key())
            })
        });
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        assert_ne!(first.0, second.0);
        assert!(first.0 > 0 && second.0 > 0);
        assert!([first.1, second.1].contains(&stamp.key()));
    });
}

#[test]
fn after_two_uses_at_once_the_stamp_is_the_last_tick_or_the_one_before() {
    loom::model(|| {
        let ticks = Arc::new(Ticks::default());
        let stamp = Arc::new(Stamp::new(Tier::Seen, ticks.next()));
        let other = {
            let (ticks, stamp) = (Arc::clone(&ticks), Arc::clone(&stamp));
            thread::spawn(move || stamp.use_again(Tier::User, &ticks))
        };
        stamp.use_again(Tier::User, &ticks);
        other.join().unwrap();
        let next = ticks.next();
        let mut last = (1..=2).map(|back| Stamp::new(Tier::User, next - back).key());
        assert!(last.any(|key| key == stamp.key()));
        // A session that is the last one used gets no other tick.
        let last = Stamp::new(Tier::User, next);
        last.use_again(Tier::User, &ticks);
        assert_eq!(last.key(), Stamp::new(Tier::User, next).key());
        assert_eq!(ticks.next(), next + 1);
    });
}

#[test]
fn a_tier_outweighs_every_tick() {
    loom::model(|| {
        let key = |tier, tick| Stamp::new(tier, tick).key();
        let late = (1 << 62) - 1;
        assert!(key(Tier::New, late) < key(Tier::Seen, 0));
        assert!(key(Tier::Seen, late) < key(Tier::User, 0));
        assert!(key(Tier::User, 0) < key(Tier::User, late));
    });
}
