//! What the memory store counts, against what the allocator gave out.

use std::sync::Arc;

use allocation_counter::measure;
use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp,
    store::{Created, StoreError},
};
use futures::FutureExt;
use uuid::Uuid;

fn id(number: u64) -> SessionId {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Uuid::from_u128(u128::from(mixed ^ (mixed >> 31))).into()
}

fn at_once<T>(call: impl Future<Output = Result<T, StoreError>>) -> T {
    call.now_or_never().expect("it waits for nothing").unwrap()
}

/// A store, and how many bytes it has by the allocator's account.
struct Measured {
    store: MemoryStore,
    held: i64,
    size: usize,
}

impl Measured {
    /// For sessions with `size` bytes of data.
    fn new(build: impl FnOnce() -> MemoryStore, size: usize) -> Self {
        let mut store = None;
        let held = measure(|| store = Some(build())).bytes_current;
        let store = store.unwrap();
        Self { store, held, size }
    }

    fn create(&mut self, numbers: impl Iterator<Item = u64>) {
        let activity = Activity {
            last_seen_at: Timestamp::EPOCH,
            expires_at: Some(Timestamp::MAX),
        };
        // One in two with a user.
        let records = ["", r#""user":"ann","#].map(|user| {
            let json = format!(
                r#"{{"format":1,"version":"1-0000000000000007","verifier":"{}","created_at":0,{user}"data":{{"k":"{}"}}}}"#,
                "A".repeat(43),
                "x".repeat(self.size),
            );
            Record::from_bytes(json.as_bytes()).unwrap()
        });
        let info = measure(|| {
            for number in numbers {
                let record = Arc::new(records[(number % 2) as usize].clone());
                let created = at_once(self.store.create(id(number), &record, activity));
                assert_eq!(created, Created::Yes);
            }
        });
        self.held += info.bytes_current;
    }

    fn delete(&mut self, numbers: impl Iterator<Item = u64>) {
        let info = measure(|| {
            for number in numbers {
                assert!(at_once(self.store.delete(id(number))));
            }
        });
        self.held += info.bytes_current;
    }

    /// No less is counted than there is, and no more than twice that, empty tables aside.
    #[track_caller]
    fn check(&self, empty: usize) {
        let (held, counted) = (usize::try_from(self.held).unwrap(), self.store.bytes());
        assert!(
            held <= counted && counted <= 2 * held + empty,
            "{held} bytes are allocated and {counted} counted for {} sessions of {}",
            self.store.len(),
            self.size
        );
    }
}

const COUNTS: [u64; 4] = [1, 100, 5_000, 50_000];
const SIZES: [usize; 2] = [1, 1_000];

#[test]
fn what_the_allocator_gave_out_is_counted_however_few_sessions_there_are() {
    for size in SIZES {
        for count in COUNTS {
            let mut measured = Measured::new(MemoryStore::default, size);
            let empty = measured.store.bytes();
            measured.check(empty);
            measured.create(0..count);
            measured.check(empty);
            // After a spike.
            measured.create(count..3 * count);
            measured.delete(0..2 * count);
            measured.check(empty);
            measured.delete(2 * count..3 * count);
            measured.check(empty);
        }
    }
}

#[test]
fn what_the_allocator_gave_out_is_counted_while_sessions_are_evicted() {
    for size in SIZES {
        for count in COUNTS {
            let max = usize::try_from(count).unwrap();
            let build = || MemoryStore::builder().max_sessions(max).build();
            let mut measured = Measured::new(build, size);
            let empty = measured.store.bytes();
            measured.create(0..3 * count);
            assert_eq!(measured.store.len(), max);
            measured.check(empty);
        }
        // By bytes, of which there are just enough for a few shards.
        let max_bytes = 8 << 20;
        let build = || MemoryStore::builder().max_bytes(max_bytes).build();
        let mut measured = Measured::new(build, size);
        let empty = measured.store.bytes();
        measured.create(0..30_000);
        measured.check(empty);
        assert!(usize::try_from(measured.held).unwrap() <= max_bytes);
    }
}
