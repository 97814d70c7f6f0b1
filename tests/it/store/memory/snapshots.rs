use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionLayer, SessionStore, Timestamp,
    store::{FlawKind, Query, RemovalReason, RemovalSink, Restored, WhenFull},
};
use futures::{FutureExt, executor::block_on};
use parking_lot::Mutex;
use proptest::prelude::*;
use scopeguard::defer;
use uuid::Uuid;

use crate::support::{Client, FixedClock, Log, former, process::Directory};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn id(number: u64) -> SessionId {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uuid::from_u128(u128::from(mixed ^ (mixed >> 31)) << 64 | u128::from(number)).into()
}

/// A record with these fields beside the necessary ones.
fn record(fields: &str, data: &str) -> Arc<Record> {
    let json = format!(
        r#"{{"format":1,"version":"1-0000000000000007","verifier":"{}","created_at":0,{fields}"data":{data}}}"#,
        "A".repeat(43),
    );
    Arc::new(Record::from_bytes(json.as_bytes()).unwrap())
}

fn until(expires_at: Option<Timestamp>) -> Activity {
    Activity {
        last_seen_at: NOW,
        expires_at,
    }
}

fn create(store: &MemoryStore, number: u64, record: &Arc<Record>, activity: Activity) {
    let created = store.create(id(number), record, activity).now_or_never();
    created.unwrap().unwrap();
}

/// Sessions 0 to `count`, each of another size.
fn of(count: u64) -> MemoryStore {
    let store = MemoryStore::default();
    for number in 0..count {
        let data = format!(
            r#"{{"n":{number},"pad":"{}"}}"#,
            "x".repeat(number as usize * 3)
        );
        create(&store, number, &record("", &data), until(Some(NOW)));
    }
    store
}

type Contents = BTreeMap<SessionId, (Vec<u8>, Activity)>;

fn contents(store: &MemoryStore) -> Contents {
    let (filter, mut after, mut contents) = (Query::default(), None, Contents::new());
    loop {
        let page = store
            .list(&filter, after.as_ref(), usize::MAX)
            .now_or_never();
        let page = page.unwrap().unwrap();
        let entries = page.sessions.into_iter();
        contents.extend(entries.map(|listed| {
            let kept = (listed.record.to_bytes(), listed.activity);
            (listed.id, kept)
        }));
        after = page.next;
        if after.is_none() {
            return contents;
        }
    }
}

// Without a runtime the work is done at once, on this thread.

fn save(store: &MemoryStore, path: &Path) -> usize {
    block_on(store.save_to(path)).unwrap()
}

fn restore(path: &Path) -> (MemoryStore, Restored) {
    let store = MemoryStore::default();
    let report = block_on(store.restore_from(path)).unwrap().unwrap();
    (store, report)
}

fn names_in(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn whatever_a_store_holds_comes_back_as_it_was() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = MemoryStore::default();
    let long = format!(r#"{{"long":"{}"}}"#, "\\u0000".repeat(200_000));
    let records = [
        record("", "{}"),
        record("", r#"{"ключ":"значение","\n":[1,2.5,null]}"#),
        record("", &long),
        record(
            r#""user":"Zoë","authenticated_at":5,"persistent":true,"#,
            "{}",
        ),
        record(r#""idle_timeout":7,"absolute_timeout":"never","#, "{}"),
        record(r#""moved_at":9,"recent":["0000000000000001"],"#, "{}"),
        record(r#""of_tomorrow":{"a":[]},"#, r#"{"n":1}"#),
    ];
    let times = [
        None,
        Some(Timestamp::EPOCH),
        Some(NOW),
        Some(Timestamp::MAX),
    ];
    for (number, record) in (0..).zip(&records) {
        create(&store, number, record, until(times[number as usize % 4]));
    }
    assert_eq!(store.save_to(&path).await.unwrap(), records.len());

    let restarted = MemoryStore::default();
    let report = restarted.restore_from(&path).await.unwrap().unwrap();
    assert_eq!((report.restored, report.no_room), (records.len(), 0));
    assert_eq!((report.flaws.as_slice(), report.kept_as), (&[][..], None));
    assert_eq!(contents(&restarted), contents(&store));
    assert_eq!(restarted.bytes(), store.bytes());
}

#[tokio::test]
async fn a_visitor_goes_on_after_a_restart() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let mut cookie = None;
    for visit in 1..=3 {
        let store = MemoryStore::default();
        let report = store.restore_from(&path).await.unwrap();
        assert_eq!(
            report.map(|report| report.restored),
            cookie.as_ref().map(|_| 1)
        );
        let layer = SessionLayer::new(store.clone());
        let client = match cookie {
            None => Client::new(layer),
            Some(cookie) => Client::with_cookie(layer, cookie),
        };
        let counted = client.visit(async |session| {
            session.update("visits", |visits: Option<u32>| visits.unwrap_or(0) + 1)
        });
        assert_eq!(counted.await.unwrap(), visit);
        cookie = client.cookie();
        assert_eq!(store.save_to(&path).await.unwrap(), 1);
    }
}

#[test]
fn who_leaves_first_is_the_same_after_a_restart() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let full = || MemoryStore::builder().max_sessions(40).build();
    let store = full();
    for number in 0..40 {
        let user = if number % 5 == 0 {
            r#""user":"ann","#
        } else {
            ""
        };
        create(&store, number, &record(user, "{}"), until(None));
    }
    for number in [31, 7, 12, 0, 25, 8, 7] {
        store.load(id(number)).now_or_never().unwrap().unwrap();
    }
    save(&store, &path);
    let restarted = full();
    block_on(restarted.restore_from(&path)).unwrap();
    let [before, after] = [&store, &restarted].map(|store| {
        let gone = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&gone);
        store.report_removals(RemovalSink::new(move |ending| told.lock().push(ending.id)));
        for number in 100..139 {
            create(
                store,
                number,
                &record(r#""user":"bob","#, "{}"),
                until(None),
            );
        }
        gone.lock().clone()
    });
    assert_eq!(before.len(), 39);
    assert_eq!(before, after);
}

#[test]
fn keys_that_are_left_out_are_not_in_the_file_and_their_sessions_are() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = MemoryStore::default();
    let data = r#"{"card":"4111","cart":[1],"cvc":"SECRET"}"#;
    create(&store, 0, &record("", data), until(None));
    create(&store, 1, &record("", r#"{"cvc":"SECRET"}"#), until(None));
    let snapshot = store.snapshot().without_keys(|key| key == "card");
    let snapshot = snapshot.without_keys(|key| key == "cvc");
    assert_eq!(block_on(snapshot.save_to(&path)).unwrap(), 2);
    let file = fs::read(&path).unwrap();
    assert!(!file.windows(6).any(|part| part == b"SECRET"));
    assert!(!file.windows(4).any(|part| part == b"4111"));
    let expected = MemoryStore::default();
    create(&expected, 0, &record("", r#"{"cart":[1]}"#), until(None));
    create(&expected, 1, &record("", "{}"), until(None));
    assert_eq!(contents(&restore(&path).0), contents(&expected));
    // The store itself keeps them.
    let (kept, _) = block_on(store.load(id(0))).unwrap().unwrap();
    assert!(
        String::from_utf8(kept.to_bytes())
            .unwrap()
            .contains("SECRET")
    );
}

#[test]
fn a_save_replaces_the_file_and_leaves_nothing_else_behind() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    save(&of(3), &path);
    save(&of(5), &path);
    assert_eq!(restore(&path).1.restored, 5);
    save(&MemoryStore::default(), &path);
    assert_eq!(restore(&path).1, Restored::default());
    assert_eq!(names_in(folder.path()), ["sessions"]);
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    fs::write(&path, "open to all").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    save(&of(1), &path);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_save_that_fails_says_where_and_leaves_the_former_file() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let missing = folder.path().join("missing/sessions");
    let failed = block_on(of(1).save_to(&missing)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::NotFound);
    assert!(failed.to_string().contains("missing/sessions"), "{failed}");

    save(&of(2), &path);
    let panics = of(3).snapshot().without_keys(|_| panic!("as planned"));
    let saving = std::panic::AssertUnwindSafe(|| block_on(panics.save_to(&path)));
    assert!(std::panic::catch_unwind(saving).is_err());
    assert_eq!(restore(&path).1.restored, 2);
    assert_eq!(names_in(folder.path()), ["sessions"]);
}

#[test]
fn what_a_killed_process_left_is_removed_after_an_hour() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let hour = Duration::from_secs(60 * 60);
    let names = [
        "sessions.0123456789abcdef.tmp",
        "sessions.0123456789abcdee.tmp",
        "sessions.old.tmp",
        "others.0123456789abcdef.tmp",
    ];
    for (name, age) in names
        .iter()
        .zip([hour + hour, hour / 2, hour * 9, hour * 9])
    {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
    }
    save(&of(1), &path);
    let mut left = names[1..].to_vec();
    left.push("sessions");
    left.sort_unstable();
    assert_eq!(names_in(folder.path()), left);
}

#[test]
fn without_a_file_nothing_is_restored() {
    let folder = Directory::new();
    let store = MemoryStore::default();
    let report = block_on(store.restore_from(folder.path().join("sessions"))).unwrap();
    assert_eq!((report, store.len()), (None, 0));
    let failed = block_on(store.restore_from(folder.path())).unwrap_err();
    assert_ne!(failed.kind(), ErrorKind::NotFound);
}

#[test]
fn a_folder_that_is_missing_is_an_error_at_the_start_and_not_only_at_the_end() {
    let folder = Directory::new();
    let missing = folder.path().join("unmounted/sessions");
    let failed = block_on(MemoryStore::default().restore_from(&missing)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::NotFound);
    let text = failed.to_string();
    assert!(
        text.contains("unmounted/sessions") && text.contains("folder"),
        "{text}"
    );
}

#[test]
fn what_is_no_snapshot_is_an_error_that_changes_nothing() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    for text in ["", "cloakroom", "x", &"Dear diary! ".repeat(99_999)] {
        fs::write(&path, text).unwrap();
        let store = of(1);
        let failed = block_on(store.restore_from(&path)).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::InvalidData);
        assert!(failed.to_string().contains("is not a snapshot"), "{failed}");
        assert_eq!((store.len(), fs::read(&path).unwrap()), (1, text.into()));
    }
    assert_eq!(names_in(folder.path()), ["sessions"]);
}

#[test]
fn restoring_twice_does_no_harm_and_overwrites_nobody() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = of(5);
    save(&store, &path);
    let at_first = contents(&store);
    block_on(store.delete(id(0))).unwrap();
    let newer = record("", r#"{"n":"newer"}"#);
    let version = newer.version();
    block_on(store.update(id(1), &newer, until(None), former(version))).unwrap();
    let report = block_on(store.restore_from(&path)).unwrap().unwrap();
    assert_eq!((report.restored, report.already_there), (1, 4));
    let again = block_on(store.restore_from(&path)).unwrap().unwrap();
    assert_eq!((again.restored, again.already_there), (0, 5));
    let mut expected = at_first;
    expected.insert(id(1), (newer.to_bytes(), until(None)));
    assert_eq!(contents(&store), expected);
}

#[test]
fn restoring_more_than_fits_evicts_or_is_refused() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    save(&of(50), &path);
    let bounds = MemoryStore::builder().max_sessions(20);
    let store = bounds.build();
    let report = block_on(store.restore_from(&path)).unwrap().unwrap();
    assert_eq!((report.restored, report.no_room, store.len()), (50, 0, 20));

    let store = bounds.when_full(WhenFull::Refuse).build();
    create(&store, 99, &record("", "{}"), until(None));
    let report = block_on(store.restore_from(&path)).unwrap().unwrap();
    assert_eq!((report.restored, report.no_room, store.len()), (19, 31, 20));
    assert!(block_on(store.load(id(99))).unwrap().is_some());
}

#[tokio::test]
async fn l3_a_session_that_expired_meanwhile_opens_nothing_and_ends_in_the_first_sweep() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let clock = FixedClock::default();
    let store = MemoryStore::default();
    let layer = SessionLayer::new(store.clone()).clock(clock.clone());
    let client = Client::new(layer);
    let id = client.visit(async |session| {
        session.insert("n", 1).unwrap();
        session.save().await.unwrap();
        session.id().unwrap()
    });
    let id = id.await;
    store.save_to(&path).await.unwrap();

    clock.advance(Duration::from_secs(2 * 60 * 60));
    let restarted = MemoryStore::default();
    let report = restarted.restore_from(&path).await.unwrap().unwrap();
    assert_eq!(report.restored, 1);
    // Who begins to listen only now hears of it all the same.
    let (told, mut endings) = tokio::sync::mpsc::unbounded_channel();
    restarted.report_removals(RemovalSink::new(move |ending| {
        told.send((ending.id, ending.reason)).unwrap();
    }));
    let layer = SessionLayer::new(restarted.clone()).clock(clock);
    let late = Client::with_cookie(layer, client.cookie().unwrap());
    assert!(late.visit(async |session| session.is_new()).await);
    assert_eq!(endings.recv().await, Some((id, RemovalReason::Expired)));
    assert!(restarted.is_empty());
}

/// Each of the frames' markers; the last is the end's.
fn frames(file: &[u8]) -> Vec<usize> {
    const MARKER: [u8; 8] = [0xff, 0xc1, b'c', b'o', b'a', b't', 0xfe, 0xf9];
    let at = |start: &usize| file[*start..].starts_with(&MARKER);
    (0..file.len()).filter(at).collect()
}

fn flaws(report: &Restored) -> Vec<(u64, FlawKind)> {
    let flaws = report.flaws.iter();
    flaws.map(|flaw| (flaw.offset, flaw.kind)).collect()
}

/// Restores `file`, and checks that what came back is as it was in `whole`.
fn restore_damaged(path: &Path, file: &[u8], whole: &Contents) -> Option<(Contents, Restored)> {
    let _ = fs::remove_file(path.with_extension("damaged"));
    fs::write(path, file).unwrap();
    let store = MemoryStore::default();
    match block_on(store.restore_from(path)) {
        Ok(report) => {
            let (report, contents) = (report.unwrap(), contents(&store));
            assert_eq!(report.restored, contents.len());
            assert!(contents.iter().all(|(id, kept)| whole[id] == *kept));
            assert_eq!(report.kept_as.is_some(), !report.flaws.is_empty());
            Some((contents, report))
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(store.is_empty());
            None
        }
    }
}

#[test]
fn any_damaged_byte_costs_the_session_it_is_in() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = of(4);
    let whole = contents(&store);
    save(&store, &path);
    let file = fs::read(&path).unwrap();
    let starts = frames(&file);
    assert_eq!((starts[0], starts.len()), (24, 5));
    for position in 0..file.len() {
        let mut damaged = file.clone();
        damaged[position] ^= 1 << (position % 8);
        let (restored, report) = restore_damaged(&path, &damaged, &whole).unwrap();
        let frame = starts.iter().rposition(|start| *start <= position);
        let (lost, flaw) = match frame {
            None => (0, (0, FlawKind::Damaged)),
            Some(4) => (0, (starts[4] as u64, FlawKind::CutShort)),
            Some(frame) => (1, (starts[frame] as u64, FlawKind::Damaged)),
        };
        assert_eq!(flaws(&report), [flaw], "byte {position}");
        assert_eq!(restored.len(), 4 - lost, "byte {position}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_gives_what_is_before_the_cut() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = of(4);
    let whole = contents(&store);
    save(&store, &path);
    let file = fs::read(&path).unwrap();
    let starts = frames(&file);
    for length in 0..file.len() {
        let restored = restore_damaged(&path, &file[..length], &whole);
        assert_eq!(restored.is_none(), length < starts[0], "{length} bytes");
        if let Some((restored, report)) = restored {
            let begun = starts.iter().rposition(|start| *start <= length).unwrap();
            assert_eq!(restored.len(), begun);
            let flaw = (starts[begun] as u64, FlawKind::CutShort);
            assert_eq!(flaws(&report), [flaw], "{length} bytes");
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Flip(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = 0_usize..100_000;
    let edit = prop_oneof![
        3 => (place.clone(), 1_u8..).prop_map(|(place, bits)| Edit::Flip(place, bits)),
        1 => (place.clone(), 1_usize..2_000).prop_map(|(place, len)| Edit::Remove(place, len)),
        1 => (place, prop::collection::vec(any::<u8>(), 1..300))
            .prop_map(|(place, bytes)| Edit::Insert(place, bytes)),
    ];
    prop::collection::vec(edit, 1..8)
}

/// The file after the edits, and for each of its bytes whether it was touched.
fn edited(file: &[u8], edits: &[Edit]) -> (Vec<u8>, Vec<bool>) {
    // What each byte of the file becomes, and what is put before it.
    let mut bytes: Vec<(Vec<u8>, Option<u8>)> =
        file.iter().map(|byte| (Vec::new(), Some(*byte))).collect();
    let mut is_touched = vec![false; file.len()];
    for edit in edits {
        match edit {
            Edit::Flip(place, bits) => {
                let place = place % file.len();
                bytes[place].1 = bytes[place].1.map(|byte| byte ^ bits);
                is_touched[place] = true;
            }
            Edit::Remove(place, len) => {
                let start = place % file.len();
                let end = file.len().min(start + len);
                for place in start..end {
                    bytes[place].1 = None;
                    is_touched[place] = true;
                }
            }
            Edit::Insert(place, inserted) => {
                let place = place % file.len();
                bytes[place].0.extend(inserted);
                is_touched[place] = true;
                // In front of a frame it touches that one, within it both sides.
            }
        }
    }
    let edited = bytes
        .into_iter()
        .flat_map(|(mut before, byte)| {
            before.extend(byte);
            before
        })
        .collect();
    (edited, is_touched)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn whatever_is_done_to_a_snapshot_every_session_that_it_missed_comes_back(edits in edits()) {
        // One for all cases.
        static FOLDER: LazyLock<Directory> = LazyLock::new(Directory::new);
        let path = FOLDER.path().join("sessions");
        let store = of(40);
        let whole = contents(&store);
        save(&store, &path);
        let file = fs::read(&path).unwrap();
        let starts = frames(&file);
        let (damaged, is_touched) = edited(&file, &edits);
        let intact = starts.windows(2).filter(|frame| {
            !is_touched[frame[0]..frame[1]].contains(&true)
        });
        let ids = intact.map(|frame| {
            let id = <[u8; 16]>::try_from(&file[frame[0] + 24..][..16]).unwrap();
            SessionId::from(Uuid::from_bytes(id))
        });
        let ids: Vec<SessionId> = ids.collect();
        match restore_damaged(&path, &damaged, &whole) {
            Some((restored, _)) => {
                for id in ids {
                    prop_assert!(restored.contains_key(&id));
                }
            }
            None => prop_assert_eq!(ids, []),
        }
    }
}

#[test]
fn a_damaged_file_is_kept_out_of_the_next_ones_way() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    let store = of(3);
    let mut flawed = Vec::new();
    for byte in [0, 1] {
        save(&store, &path);
        let mut file = fs::read(&path).unwrap();
        let start = frames(&file)[1];
        file[start + 30] ^= 1 << byte;
        fs::write(&path, &file).unwrap();
        let log = Log::capture();
        let (_, report) = restore(&path);
        let kept = report.kept_as.unwrap();
        assert_eq!(restore(&path).1.kept_as.as_ref(), Some(&kept));
        assert!(log.text().contains(&format!("damaged at byte {start}")));
        assert_eq!(log.count(tracing::Level::WARN, "flaw"), 2);
        flawed.push((kept, file));
    }
    save(&store, &path);
    for (kept, file) in flawed {
        assert_eq!(fs::read(kept).unwrap(), file);
    }
    let names = ["sessions", "sessions.damaged", "sessions.damaged-2"];
    assert_eq!(names_in(folder.path()), names);
    assert_eq!(restore(&path).1.flaws, []);
}

#[test]
fn a_snapshot_that_is_taken_while_others_come_and_go_has_all_that_stayed() {
    let folder = Directory::new();
    let path = folder.path().join("sessions");
    // One shard, which is read in many holds of its lock.
    let store = MemoryStore::builder().max_sessions(8_000).build();
    let small = record("", "{}");
    let stay = 0..2_000;
    for number in stay.clone() {
        create(&store, number, &small, until(None));
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        defer! { is_over.store(true, Ordering::Relaxed) }
        scope.spawn(|| {
            // Waves, so that the table grows and shrinks.
            while !is_over.load(Ordering::Relaxed) {
                let wave = 10_000..14_000;
                for number in wave.clone() {
                    create(&store, number, &small, until(None));
                }
                for number in wave {
                    block_on(store.delete(id(number))).unwrap();
                }
            }
        });
        for _ in 0..10 {
            let saved = save(&store, &path);
            let (restored, report) = restore(&path);
            assert_eq!((report.restored, report.already_there), (saved, 0));
            let restored = contents(&restored);
            let lost = stay
                .clone()
                .find(|number| !restored.contains_key(&id(*number)));
            assert_eq!(lost, None, "a session is missing");
        }
    });
}
