//! The store of files: damage, crashes, other processes, and what else lies in its directory.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use cloakroom::{
    Activity, Record, Session, SessionId, SessionLayer, SessionStore as _, StoreError, Timestamp,
    store::{
        Created, FileStore, Former, Query, Reaped, RemovalReason, RemovalSink, StoreErrorKind,
        Touched, Updated,
    },
    testing::Conformance,
};
use futures::{FutureExt as _, executor::block_on, poll};
use http::StatusCode;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    population,
    processes::{self, Worker},
    sample::{HOUR, NOW, id, record, seen, version},
};
use crate::support::{Log, Visitor, former, process::Directory};

struct Home {
    directory: Directory,
    store: FileStore,
}

impl Home {
    fn new() -> Self {
        let directory = Directory::new();
        let store = FileStore::open(directory.path()).unwrap();
        Self { directory, store }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, id: SessionId) -> PathBuf {
        let name = id.to_string();
        self.path().join(&name[..2]).join(name)
    }

    fn lock_file(&self, id: SessionId) -> PathBuf {
        self.file(id).with_file_name("lock")
    }

    fn create(&self, id: SessionId, record: &Arc<Record>) {
        let created = block_on(self.store.create(id, record, seen(Duration::ZERO)));
        assert_eq!(created.unwrap(), Created::Yes);
    }

    fn load(&self, id: SessionId) -> Result<Option<(Vec<u8>, Activity)>, StoreErrorKind> {
        match block_on(self.store.load(id)) {
            Ok(kept) => Ok(kept.map(|(record, activity)| (record.to_bytes(), activity))),
            Err(error) => Err(error.kind()),
        }
    }

    fn listed(&self, filter: &Query, limit: usize) -> Vec<SessionId> {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = block_on(self.store.list(filter, after.as_ref(), limit)).unwrap();
            assert!(page.sessions.len() <= limit);
            listed.extend(page.sessions.iter().map(|session| session.id));
            let Some(next) = page.next else {
                return listed;
            };
            after = Some(next);
        }
    }

    /// The sessions that were set aside.
    fn corrupt(&self) -> Vec<PathBuf> {
        let mut files = files_below(self.path());
        files.retain(|file| file.extension().is_some_and(|ext| ext == "corrupt"));
        files
    }
}

fn of_user(user: &str) -> Query {
    Query::default().with_user(user)
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_p3_ending_sessions_and_their_limit_hold_among_nodes() {
    let home = Home::new();
    let there = FileStore::open(home.path()).unwrap();
    population::is_kept_by(vec![home.store, there]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract() {
    let home = Home::new();
    let root = home.path().to_owned();
    Conformance::new(async || FileStore::open(home.path()).unwrap())
        .damage(move |_, id, bytes| plant(root.clone(), id, bytes))
        .run()
        .await;
}

/// Replaces the record of a session, with the checksums that belong to it.
async fn plant(root: PathBuf, id: SessionId, bytes: Vec<u8>) {
    let name = id.to_string();
    let file = root.join(&name[..2]).join(name);
    let planted = with_record(&bytes, &fs::read(&file).unwrap());
    fs::write(file, planted).unwrap();
}

#[test]
fn what_was_stored_is_there_when_the_store_is_opened_again() {
    let home = Home::new();
    home.create(id(1), &record(1, "ann"));
    home.create(id(2), &record(1, ""));
    let next = record(2, "ann");
    let updated = home
        .store
        .update(id(1), &next, seen(HOUR), former(version(1)));
    assert_eq!(block_on(updated).unwrap(), Updated::Saved);
    let touched = home.store.touch(id(2), former(version(1)), seen(HOUR));
    assert_eq!(block_on(touched).unwrap(), Touched::Yes);
    let again = FileStore::open(home.path()).unwrap();
    let home = Home {
        directory: home.directory,
        store: again,
    };
    let first = (record(2, "ann").to_bytes(), seen(HOUR));
    let second = (record(1, "").to_bytes(), seen(HOUR));
    assert_eq!(home.load(id(1)), Ok(Some(first)));
    assert_eq!(home.load(id(2)), Ok(Some(second)));
    assert_eq!(block_on(home.store.count(&Query::default())).unwrap(), 2);
}

/// Puts `damaged` in the place of the session, which then is set aside as it
/// is, unless it is the record still, with an activity it has had.
#[track_caller]
fn check_damaged(home: &Home, damaged: &[u8], record: &Record, activities: &[Activity]) {
    fs::write(home.file(id(1)), damaged).unwrap();
    match home.load(id(1)) {
        Ok(Some((bytes, activity))) => {
            assert_eq!(bytes, record.to_bytes());
            assert!(activities.contains(&activity));
        }
        Ok(None) => panic!("a damaged file is no session that never was"),
        Err(kind) => {
            assert_eq!(kind, StoreErrorKind::Corrupt);
            let corrupt = home.corrupt();
            assert_eq!(corrupt.len(), 1);
            assert_eq!(fs::read(&corrupt[0]).unwrap(), damaged);
            assert_eq!(home.load(id(1)), Ok(None));
            fs::remove_file(&corrupt[0]).unwrap();
        }
    }
    assert!(home.load(id(2)).unwrap().is_some());
}

#[test]
fn damage_at_any_byte_sets_the_file_aside_and_never_gives_other_data() {
    let home = Home::new();
    let record = record(3, "ann");
    home.create(id(1), &record);
    home.create(id(2), &record);
    block_on(home.store.touch(id(1), former(version(3)), seen(HOUR))).unwrap();
    let whole = fs::read(home.file(id(1))).unwrap();
    let activities = [seen(Duration::ZERO), seen(HOUR)];
    let mut set_aside = 0;
    for place in 0..whole.len() {
        for bits in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[place] ^= bits;
            check_damaged(&home, &damaged, &record, &activities);
            set_aside += usize::from(!home.file(id(1)).exists());
        }
    }
    // The two slots stand in for each other, and nothing else does.
    assert_eq!(set_aside, 3 * (whole.len() - 64));
}

#[test]
fn a_file_of_any_other_length_is_set_aside() {
    let home = Home::new();
    let record = record(3, "ann");
    home.create(id(1), &record);
    home.create(id(2), &record);
    let whole = fs::read(home.file(id(1))).unwrap();
    for length in 0..whole.len() {
        check_damaged(&home, &whole[..length], &record, &[]);
    }
    let longer = [&whole[..], b"\0"].concat();
    check_damaged(&home, &longer, &record, &[]);
}

#[test]
fn what_looks_damaged_is_looked_at_again_when_nobody_writes_to_it() {
    let home = Home::new();
    home.create(id(1), &record(1, ""));
    let whole = fs::read(home.file(id(1))).unwrap();
    let lock = File::create(home.lock_file(id(1))).unwrap();
    lock.lock().unwrap();
    fs::write(home.file(id(1)), b"not whole yet").unwrap();
    std::thread::scope(|scope| {
        let loaded = scope.spawn(|| home.load(id(1)));
        // It looks again and again, and sets nothing aside without the lock.
        std::thread::sleep(Duration::from_millis(100));
        fs::write(home.file(id(1)), &whole).unwrap();
        lock.unlock().unwrap();
        assert!(loaded.join().unwrap().unwrap().is_some());
    });
    assert_eq!(home.corrupt().len(), 0);
}

#[test]
fn an_update_replaces_the_file_and_never_writes_into_it() {
    let home = Home::new();
    home.create(id(1), &record(1, ""));
    let before = fs::read(home.file(id(1))).unwrap();
    let mut opened = File::open(home.file(id(1))).unwrap();
    let next = record(2, "");
    let updated = home
        .store
        .update(id(1), &next, seen(HOUR), former(version(1)));
    assert_eq!(block_on(updated).unwrap(), Updated::Saved);
    let mut still = Vec::new();
    opened.read_to_end(&mut still).unwrap();
    assert_eq!(still, before);
}

#[test]
fn a_second_damaged_file_of_one_id_does_not_replace_the_first() {
    let home = Home::new();
    let contents: [&[u8]; 3] = [b"one", b"two", b""];
    for damaged in contents {
        fs::write(home.file(id(1)), damaged).unwrap();
        assert_eq!(home.load(id(1)), Err(StoreErrorKind::Corrupt));
    }
    let kept: BTreeSet<_> = home
        .corrupt()
        .iter()
        .map(|file| fs::read(file).unwrap())
        .collect();
    assert_eq!(kept, contents.map(Vec::from).into());
}

#[test]
fn every_call_sets_a_damaged_file_aside() {
    let home = Home::new();
    let damage = || fs::write(home.file(id(1)), b"damaged").unwrap();
    let corrupt = |error: cloakroom::StoreError| assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    damage();
    let next = record(2, "");
    let call = home
        .store
        .update(id(1), &next, seen(HOUR), former(version(1)));
    corrupt(block_on(call).unwrap_err());
    damage();
    corrupt(block_on(home.store.touch(id(1), former(version(1)), seen(HOUR))).unwrap_err());
    damage();
    assert!(block_on(home.store.delete(id(1))).unwrap());
    damage();
    let swept = block_on(home.store.delete_expired(Timestamp::MAX, 10)).unwrap();
    assert_eq!(swept, Reaped::default());
    damage();
    assert_eq!(home.listed(&Query::default(), 10), []);
    assert_eq!(home.corrupt().len(), 5);
    assert_eq!(block_on(home.store.count(&Query::default())).unwrap(), 0);
}

#[tokio::test]
async fn f4_the_visitor_of_a_damaged_file_gets_one_error_and_is_new() {
    let home = Home::new();
    let log = Log::capture();
    // No sweep comes by while the file is being damaged.
    let layer = SessionLayer::new(home.store.clone()).reap_every(None);
    let visitor = Visitor::new(&layer);
    let insert = async |session: Session| session.insert("k", "a secret of the visitor");
    visitor.visit(insert).await;
    let mut files = files_below(home.path());
    files.retain(|file| file.file_name().is_some_and(|name| name.len() == 36));
    let name = files[0].file_name().unwrap().to_str().unwrap();
    let mut bytes = fs::read(&files[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&files[0], bytes).unwrap();
    let reply = visitor.visit(insert).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(visitor.cookie(), None);
    assert_eq!(log.count(tracing::Level::WARN, name), 1);
    assert!(!log.text().contains("a secret of the visitor"));
    assert_eq!(visitor.visit(insert).await.status, StatusCode::OK);
    assert!(visitor.cookie().is_some());
}

/// The file with another format in its header, and the checksum that belongs to it.
fn of_format(format: u32, file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[4..8].copy_from_slice(&format.to_le_bytes());
    let sum = Sha256::digest(&file[..72]);
    file[72..80].copy_from_slice(&sum[..8]);
    file
}

/// The file with this record, and the checksums that belong to it.
fn with_record(record: &[u8], file: &[u8]) -> Vec<u8> {
    let mut file = [&file[..144], record].concat();
    file[24..32].copy_from_slice(&(record.len() as u64).to_le_bytes());
    let sum = Sha256::digest(record);
    file[64..72].copy_from_slice(&sum[..8]);
    of_format(1, &file)
}

#[test]
fn a_newer_format_is_incompatible_and_stays_as_it_is() {
    let home = Home::new();
    home.create(id(1), &record(1, "ann"));
    let file = fs::read(home.file(id(1))).unwrap();
    let record_bytes = String::from_utf8(record(1, "ann").to_bytes()).unwrap();
    let newer_record = record_bytes.replacen(r#""format":1"#, r#""format":3"#, 1);
    for (newer, is_swept) in [
        (of_format(2, &file), false),
        (with_record(newer_record.as_bytes(), &file), true),
    ] {
        fs::write(home.file(id(1)), &newer).unwrap();
        assert_eq!(home.load(id(1)), Err(StoreErrorKind::Incompatible));
        assert_eq!(home.listed(&Query::default(), 10), []);
        assert_eq!(home.listed(&of_user("ann"), 10), []);
        let page = block_on(home.store.list(&of_user("ann"), None, 10)).unwrap();
        assert_eq!(page.incompatible, 1);
        let sessions = SessionLayer::new(home.store.clone())
            .reap_every(None)
            .sessions();
        let error = block_on(sessions.revoke_user("ann")).unwrap_err();
        assert_eq!(error.kind(), cloakroom::ErrorKind::Incompatible);
        // Whether the filter means it is not known, so it is left alone without a word.
        let anonymous = cloakroom::SessionFilter::default().anonymous();
        assert_eq!(
            block_on(sessions.revoke_matching(&anonymous, |_| {})).unwrap(),
            0
        );
        let swept = block_on(home.store.delete_expired(NOW, 10)).unwrap();
        assert_eq!(swept, Reaped::default());
        assert_eq!(fs::read(home.file(id(1))).unwrap(), newer);
        // Its own header says that the time of the second has come.
        let swept = block_on(home.store.delete_expired(Timestamp::MAX, 10)).unwrap();
        assert_eq!(swept.removed, usize::from(is_swept));
        assert_eq!(home.file(id(1)).exists(), !is_swept);
    }
    fs::write(home.file(id(1)), of_format(2, &file)).unwrap();
    assert!(block_on(home.store.delete(id(1))).unwrap());
    assert!(!home.file(id(1)).exists());
    assert_eq!(home.corrupt().len(), 0);
}

#[test]
fn a_touch_writes_into_the_file_and_its_readers_see_it_whole() {
    let home = Home::new();
    home.create(id(1), &record(90, ""));
    let before = fs::metadata(home.file(id(1))).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut latest = NOW;
            for _ in 0..3000 {
                let (_, activity) = home.load(id(1)).unwrap().unwrap();
                assert!(activity.last_seen_at >= latest);
                latest = activity.last_seen_at;
            }
        });
        let mut touches = 0;
        while touches < 3000 || !reader.is_finished() {
            touches += 1;
            let touch = home.store.touch(
                id(1),
                former(version(90)),
                seen(Duration::from_millis(touches)),
            );
            assert_eq!(block_on(touch).unwrap(), Touched::Yes);
        }
    });
    let after = fs::metadata(home.file(id(1))).unwrap();
    assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_of_four_processes_add_up() {
    let home = Home::new();
    let place = home.path().to_str().unwrap();
    processes::add_up(
        "store::file::incrementing_worker",
        place,
        home.store.clone(),
    )
    .await;
    assert_eq!(home.corrupt().len(), 0);
    assert_eq!(fs::read_dir(home.path().join("tmp")).unwrap().count(), 0);
}

/// Does nothing unless another process is started for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incrementing_worker() {
    if let Some(path) = processes::place() {
        processes::increment(FileStore::open(path).unwrap()).await;
    }
}

const WRITTEN: u64 = 4;

#[test]
fn a_process_killed_in_the_middle_of_its_writes_leaves_whole_records() {
    let home = Home::new();
    let place = home.path().to_str().unwrap();
    let latest = |number| {
        let kept = block_on(home.store.load(id(number))).unwrap();
        kept.map_or(0, |(record, _)| record.version().counter)
    };
    for round in 1..=20 {
        let started = latest(0);
        let worker = Worker::start("store::file::writing_worker", place, &[]);
        // Somewhere in the middle, another place each time.
        let began = Instant::now();
        while latest(0) < started + 3 + round {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it writes nothing"
            );
            std::thread::yield_now();
        }
        drop(worker);
        for number in 0..WRITTEN {
            let (record_kept, activity) = block_on(home.store.load(id(number))).unwrap().unwrap();
            let counter = record_kept.version().counter;
            assert_eq!(record_kept.to_bytes(), record(counter, "ann").to_bytes());
            assert!(activity == seen(Duration::ZERO) || activity == seen(HOUR));
        }
        let mut listed = home.listed(&of_user("ann"), 10);
        // The fleeting one is there or not.
        listed.retain(|listed| *listed != id(WRITTEN));
        let mut all: Vec<_> = (0..WRITTEN).map(id).collect();
        all.sort();
        assert_eq!(listed, all);
    }
    assert_eq!(home.corrupt().len(), 0);
}

/// Does nothing unless another process is started for it, and killed.
#[test]
fn writing_worker() {
    let Some(path) = processes::place() else {
        return;
    };
    let store = FileStore::open(path).unwrap();
    for number in (0..WRITTEN).cycle() {
        let kept = block_on(store.load(id(number))).unwrap();
        let counter = kept
            .as_ref()
            .map_or(0, |(record, _)| record.version().counter);
        let counter = counter + 1;
        let next = record(counter, "ann");
        match kept {
            None => {
                let created = store.create(id(number), &next, seen(Duration::ZERO));
                assert_eq!(block_on(created).unwrap(), Created::Yes);
            }
            Some((record, activity)) => {
                let former = Former::new(&record, activity);
                let updated = store.update(id(number), &next, seen(Duration::ZERO), former);
                assert_eq!(block_on(updated).unwrap(), Updated::Saved);
            }
        }
        let touched = store.touch(id(number), former(version(counter)), seen(HOUR));
        assert_eq!(block_on(touched).unwrap(), Touched::Yes);
        let fleeting = store.create(id(WRITTEN), &next, seen(HOUR));
        block_on(fleeting).unwrap();
        assert!(block_on(store.delete(id(WRITTEN))).unwrap());
    }
}

#[test]
fn a_write_for_which_there_is_no_room_fails_and_leaves_everything_as_it_was() {
    let home = Home::new();
    let place = home.path().to_str().unwrap();
    home.create(id(1), &record(2, "ann"));
    Worker::start_with_little_room("store::file::worker_without_room", place).pass();
    let former = (record(2, "ann").to_bytes(), seen(Duration::ZERO));
    assert_eq!(home.load(id(1)), Ok(Some(former)));
    assert_eq!(home.listed(&Query::default(), 10), [id(1)]);
    assert_eq!(files_below(&home.path().join("tmp")).len(), 0);
}

/// Does nothing unless another process is started for it.
#[test]
fn worker_without_room() {
    let Some(path) = processes::place() else {
        return;
    };
    let store = FileStore::open(path).unwrap();
    let large = record(96 + 97, "ann");
    let updated = block_on(store.update(id(1), &large, seen(HOUR), former(version(2))));
    assert_eq!(updated.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let created = block_on(store.create(id(2), &large, seen(HOUR)));
    assert_eq!(created.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[test]
fn sessions_of_one_user_that_come_and_go_at_once_are_all_found() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let home = &home;
            scope.spawn(move || {
                for turn in 0..40 {
                    let own = id(thread * 1_000 + turn);
                    home.create(own, &record(1, "ann"));
                    assert!(home.listed(&of_user("ann"), 100).contains(&own));
                    assert!(block_on(home.store.delete(own)).unwrap());
                }
            });
        }
    });
    assert_eq!(home.listed(&of_user("ann"), 100), []);
    assert_eq!(fs::read_dir(home.path().join("users")).unwrap().count(), 0);
}

/// Runs `test` where a single thread does all that blocks.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Each call that changes something, with what it changes.
async fn changes(store: &FileStore) -> (Option<u64>, bool) {
    let kept = store.load(id(1)).await.unwrap();
    let counter = kept.as_ref().map(|(record, _)| record.version().counter);
    (
        counter,
        kept.is_some_and(|(_, activity)| activity == seen(HOUR)),
    )
}

#[test]
fn a_call_that_is_dropped_before_it_began_never_happens() {
    with_one_blocking_thread(async {
        let home = Home::new();
        let store = &home.store;
        let (release, released) = mpsc::channel::<()>();
        let occupied = tokio::task::spawn_blocking(move || released.recv());
        store_create_is_dropped(store).await;
        release.send(()).unwrap();
        occupied.await.unwrap().unwrap();
        assert_eq!(changes(store).await, (None, false));

        store
            .create(id(1), &record(1, ""), seen(Duration::ZERO))
            .await
            .unwrap();
        let (release, released) = mpsc::channel::<()>();
        let occupied = tokio::task::spawn_blocking(move || released.recv());
        let next = record(2, "");
        drop_pending(store.update(id(1), &next, seen(HOUR), former(version(1)))).await;
        drop_pending(store.touch(id(1), former(version(1)), seen(HOUR))).await;
        drop_pending(store.delete(id(1))).await;
        drop_pending(store.delete_expired(Timestamp::MAX, 10)).await;
        release.send(()).unwrap();
        occupied.await.unwrap().unwrap();
        assert_eq!(changes(store).await, (Some(1), false));
    });
}

async fn store_create_is_dropped(store: &FileStore) {
    let first = record(1, "");
    drop_pending(store.create(id(1), &first, seen(Duration::ZERO))).await;
}

async fn drop_pending<T>(call: impl Future<Output = T>) {
    let mut call = pin!(call);
    assert!(poll!(&mut call).is_pending());
}

#[test]
fn a_call_that_is_dropped_after_it_began_happens_whole() {
    with_one_blocking_thread(async {
        let home = Home::new();
        let store = &home.store;
        let (first, next) = (record(1, "ann"), record(2, "ann"));
        begin_and_drop(store.create(id(1), &first, seen(Duration::ZERO))).await;
        assert_eq!(changes(store).await, (Some(1), false));
        begin_and_drop(store.touch(id(1), former(version(1)), seen(HOUR))).await;
        assert_eq!(changes(store).await, (Some(1), true));
        begin_and_drop(store.update(id(1), &next, seen(Duration::ZERO), former(version(1)))).await;
        assert_eq!(changes(store).await, (Some(2), false));
        begin_and_drop(store.delete(id(1))).await;
        assert_eq!(changes(store).await, (None, false));
        assert_eq!(
            store
                .list(&of_user("ann"), None, 10)
                .await
                .unwrap()
                .sessions
                .len(),
            0
        );
    });
}

/// Drops `call` once its work has begun: the one blocking thread does things in their order.
async fn begin_and_drop<T>(call: impl Future<Output = T>) {
    let (release, released) = mpsc::channel::<()>();
    let occupied = tokio::task::spawn_blocking(move || released.recv());
    let mut call = pin!(call);
    assert!(poll!(&mut call).is_pending());
    release.send(()).unwrap();
    occupied.await.unwrap().unwrap();
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

#[test]
fn a_call_that_is_dropped_while_it_waits_for_a_lock_never_happens() {
    with_one_blocking_thread(async {
        let home = Home::new();
        let lock = File::create(home.lock_file(id(1))).unwrap();
        lock.lock().unwrap();
        begin_and_drop(home.store.create(id(1), &record(1, "ann"), seen(HOUR))).await;
        lock.unlock().unwrap();
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(changes(&home.store).await, (None, false));
        // Who comes next does not wait for it.
        home.store
            .create(id(1), &record(1, "ann"), seen(HOUR))
            .await
            .unwrap();
    });
}

#[test]
fn a_directory_that_cannot_be_written_to_is_an_error_that_names_it() {
    let directory = Directory::new();
    let file = directory.path().join("a-file");
    fs::write(&file, "").unwrap();
    // Not even root makes anything in the last.
    for path in [file.clone(), file.join("below"), PathBuf::from("/proc")] {
        let error = FileStore::open(&path).unwrap_err().to_string();
        let named = format!("the session directory {} cannot be used", path.display());
        assert!(error.starts_with(&named), "{error}");
    }
    let home = Home::new();
    fs::remove_dir(home.path().join("tmp")).unwrap();
    fs::write(home.path().join("tmp"), "").unwrap();
    assert!(FileStore::open(home.path()).is_err());
}

#[test]
fn foreign_files_in_the_directory_are_passed_over() {
    let home = Home::new();
    home.create(id(1), &record(1, "ann"));
    let folder = home.file(id(1)).parent().unwrap().to_owned();
    let upper = id(1).to_string().to_uppercase();
    let elsewhere = home.path().join("00").join(id(1).to_string());
    let mut foreign = vec![home.path().join("README"), elsewhere];
    for name in [
        "README",
        ".hidden",
        "not-an-id",
        &upper,
        &upper.replace('-', ""),
    ] {
        foreign.push(folder.join(name));
    }
    foreign.push(folder.join(format!("{}.bak", id(1))));
    for path in &foreign {
        fs::write(path, "of somebody else").unwrap();
    }
    let session_folder = folder.join(Uuid::from_bytes([id(1).as_bytes()[0]; 16]).to_string());
    fs::create_dir(&session_folder).unwrap();
    assert!(home.load(id(1)).unwrap().is_some());
    assert_eq!(home.listed(&of_user("ann"), 10), [id(1)]);
    let swept = block_on(home.store.delete_expired(Timestamp::MAX, 10)).unwrap();
    assert_eq!(swept, Reaped::new(1, false));
    assert!(
        foreign
            .iter()
            .all(|path| fs::read(path).unwrap() == b"of somebody else")
    );
    assert!(session_folder.is_dir());
    FileStore::open(home.path()).unwrap();
}

#[test]
fn only_the_owner_can_read_it() {
    let directory = Directory::new();
    let root = directory.path().join("new/sessions");
    let store = FileStore::open(&root).unwrap();
    block_on(store.create(id(1), &record(1, "ann"), seen(HOUR))).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    for entry in fs::read_dir(&root).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o700);
    }
    let files = files_below(&root);
    assert!(files.len() >= 3);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_sweep_goes_on_where_the_last_one_ended() {
    let home = Home::new();
    let ids: Vec<SessionId> = (0..40).map(|n| Uuid::from_u128(n << 122).into()).collect();
    for id in &ids[1..] {
        home.create(*id, &record(1, ""));
    }
    let sweep = |limit| block_on(home.store.delete_expired(Timestamp::MAX, limit)).unwrap();
    assert_eq!(sweep(2), Reaped::new(2, true));
    assert_eq!(home.listed(&Query::default(), 100), ids[3..]);
    home.create(ids[0], &record(1, ""));
    assert_eq!(sweep(2), Reaped::new(2, true));
    assert!(home.load(ids[0]).unwrap().is_some());
    let sweep_rest = sweep(100);
    assert_eq!(sweep_rest, Reaped::new(36, false));
    assert_eq!(sweep(100), Reaped::default());
}

#[test]
fn a_sweep_reports_removals_and_reads_records_only_for_that() {
    let home = Home::new();
    let endings: Arc<Mutex<Vec<_>>> = Arc::default();
    let kept = Arc::clone(&endings);
    home.store
        .report_removals(RemovalSink::new(move |ending| kept.lock().push(ending)));
    for number in 0..3 {
        home.create(id(number), &record(number + 1, "ann"));
    }
    let later = home.store.touch(id(1), former(version(2)), seen(HOUR));
    block_on(later).unwrap();
    let swept = block_on(
        home.store
            .delete_expired(seen(Duration::ZERO).expires_at.unwrap(), 10),
    );
    assert_eq!(swept.unwrap(), Reaped::new(2, false));
    let mut ended = std::mem::take(&mut *endings.lock());
    ended.sort_by_key(|ending| ending.record.as_ref().unwrap().0.version().counter);
    let counters = ended
        .iter()
        .map(|ending| ending.record.as_ref().unwrap().0.version().counter);
    assert_eq!(counters.collect::<Vec<_>>(), [1, 3]);
    assert!(
        ended
            .iter()
            .all(|ending| ending.reason == RemovalReason::Expired)
    );
    assert_eq!(home.listed(&of_user("ann"), 10), [id(1)]);
    // A damaged record behind a sound header is set aside, where somebody wants it.
    let mut bytes = fs::read(home.file(id(1))).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(home.file(id(1)), bytes).unwrap();
    let swept = block_on(home.store.delete_expired(Timestamp::MAX, 10)).unwrap();
    assert_eq!(swept, Reaped::default());
    assert_eq!(home.corrupt().len(), 1);
}

#[test]
fn nothing_of_a_user_reaches_a_path() {
    let home = Home::new();
    let users = [
        "../../etc/passwd",
        "a/b",
        "nul\0",
        "ünï",
        "x".repeat(5000).leak(),
        "\n",
    ];
    for (number, user) in (0..).zip(users) {
        home.create(id(number), &record(1, user));
    }
    for (number, user) in (0..).zip(users) {
        assert_eq!(home.listed(&of_user(user), 10), [id(number)]);
    }
    let is_plain = |path: &Path| {
        let below = path.strip_prefix(home.path()).unwrap().to_str().unwrap();
        below
            .bytes()
            .all(|byte| b"0123456789abcdef-/".contains(&byte))
            || below.ends_with("/lock")
            || below.starts_with("users/")
    };
    assert!(files_below(home.path()).iter().all(|file| is_plain(file)));
    for number in 0..6 {
        assert!(block_on(home.store.delete(id(number))).unwrap());
    }
    assert_eq!(fs::read_dir(home.path().join("users")).unwrap().count(), 0);
}

#[test]
fn a_user_is_listed_page_by_page_in_the_order_of_the_ids() {
    let home = Home::new();
    let mut of_ann = Vec::new();
    for number in 0..30 {
        let user = if number % 3 == 0 { "ann" } else { "bob" };
        home.create(id(number), &record(1, user));
        if user == "ann" {
            of_ann.push(id(number));
        }
    }
    of_ann.sort();
    for limit in [1, 3, 10, 100] {
        assert_eq!(home.listed(&of_user("ann"), limit), of_ann);
        assert_eq!(home.listed(&Query::default(), limit).len(), 30);
    }
    assert!(home.listed(&Query::default(), 7).is_sorted());
    // The session goes on without its user.
    let next = record(2, "");
    let moved = home
        .store
        .update(of_ann[0], &next, seen(HOUR), former(version(1)));
    block_on(moved).unwrap();
    assert_eq!(home.listed(&of_user("ann"), 100), of_ann[1..]);
}

#[test]
fn what_a_crash_left_in_the_index_is_neither_listed_nor_kept() {
    let home = Home::new();
    home.create(id(1), &record(1, "ann"));
    home.create(id(2), &record(1, "bob"));
    let mut folders: Vec<_> = fs::read_dir(home.path().join("users")).unwrap().collect();
    let folder = folders.pop().unwrap().unwrap().path();
    let user = if folder.join(id(1).to_string()).exists() {
        "ann"
    } else {
        "bob"
    };
    let own = home.listed(&of_user(user), 10);
    for stale in [1, 2, 3, 4].map(id) {
        fs::write(folder.join(stale.to_string()), "").unwrap();
    }
    assert_eq!(home.listed(&of_user(user), 10), own);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn old_temporary_files_are_removed_and_young_ones_stay() {
    let home = Home::new();
    let temp = home.path().join("tmp");
    let leave = |name: &str, age: Duration| {
        let file = File::create(temp.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    for remove in [true, false] {
        leave("old", 2 * HOUR);
        leave("young", HOUR / 2);
        if remove {
            FileStore::open(home.path()).unwrap();
        } else {
            block_on(home.store.delete_expired(NOW, 10)).unwrap();
        }
        let left = files_below(&temp);
        assert_eq!(left, [temp.join("young")]);
    }
}

#[test]
fn outside_of_a_runtime_it_answers_at_once() {
    let home = Home::new();
    let first = record(1, "");
    let call = home.store.create(id(1), &first, seen(HOUR));
    assert_eq!(call.now_or_never().unwrap().unwrap(), Created::Yes);
}

/// Every call of the contract about the session 1, and the kind of its failure.
async fn failures(store: &FileStore) -> Vec<(&'static str, Option<StoreErrorKind>)> {
    let next = record(2, "ann");
    let kind = |error: StoreError| error.kind();
    vec![
        (
            "create",
            store.create(id(9), &next, seen(HOUR)).await.err().map(kind),
        ),
        ("load", store.load(id(1)).await.err().map(kind)),
        (
            "load_latest",
            store.load_latest(id(1)).await.err().map(kind),
        ),
        (
            "update",
            store
                .update(id(1), &next, seen(HOUR), former(version(1)))
                .await
                .err()
                .map(kind),
        ),
        (
            "touch",
            store
                .touch(id(1), former(version(1)), seen(HOUR))
                .await
                .err()
                .map(kind),
        ),
        ("delete", store.delete(id(1)).await.err().map(kind)),
        (
            "delete_expired",
            store.delete_expired(NOW, 10).await.err().map(kind),
        ),
        (
            "list",
            store
                .list(&Query::default(), None, 10)
                .await
                .err()
                .map(kind),
        ),
        (
            "list of a user",
            store.list(&of_user("ann"), None, 10).await.err().map(kind),
        ),
        (
            "count",
            store.count(&Query::default()).await.err().map(kind),
        ),
        (
            "count of a user",
            store.count(&of_user("ann")).await.err().map(kind),
        ),
        ("ping", store.ping().await.err().map(kind)),
    ]
}

#[tokio::test]
async fn a_store_whose_directory_is_gone_is_unavailable_until_it_is_back() {
    let directory = Directory::new();
    let (here, away) = (directory.path().join("here"), directory.path().join("away"));
    let store = FileStore::open(&here).unwrap();
    let created = store.create(id(1), &record(1, "ann"), seen(HOUR)).await;
    assert_eq!(created.unwrap(), Created::Yes);
    fs::rename(&here, &away).unwrap();
    for place in ["nothing", "a file", "an empty directory", "another store"] {
        match place {
            "nothing" => {}
            "a file" => fs::write(&here, "").unwrap(),
            "an empty directory" => {
                fs::remove_file(&here).unwrap();
                fs::create_dir(&here).unwrap();
            }
            _ => drop(FileStore::open(&here).unwrap()),
        }
        for (call, failure) in failures(&store).await {
            let unavailable = Some(StoreErrorKind::Unavailable);
            assert_eq!(failure, unavailable, "{call}, {place}");
        }
    }
    fs::remove_dir_all(&here).unwrap();
    fs::rename(&away, &here).unwrap();
    assert!(store.load(id(1)).await.unwrap().is_some());
    let listed = store.list(&of_user("ann"), None, 10).await.unwrap();
    assert_eq!(listed.sessions.len(), 1);
}

#[tokio::test]
async fn a_store_under_a_directory_that_became_a_file_is_unavailable() {
    let directory = Directory::new();
    let above = directory.path().join("above");
    let store = FileStore::open(above.join("here")).unwrap();
    fs::remove_dir_all(&above).unwrap();
    fs::write(&above, "").unwrap();
    for (call, failure) in failures(&store).await {
        assert_eq!(failure, Some(StoreErrorKind::Unavailable), "{call}");
    }
}

#[tokio::test]
async fn empty_folders_that_were_removed_are_made_again() {
    let home = Home::new();
    let folders = || -> Vec<PathBuf> {
        let entries = fs::read_dir(home.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let made = folders().len();
    for folder in folders() {
        fs::remove_dir_all(folder).unwrap();
    }
    assert_eq!(home.load(id(1)), Ok(None));
    assert_eq!(home.listed(&Query::default(), 10), []);
    assert!(!block_on(home.store.delete(id(1))).unwrap());
    home.store.delete_expired(NOW, 10).await.unwrap();
    home.create(id(1), &record(1, "ann"));
    assert_eq!(home.listed(&of_user("ann"), 10), [id(1)]);
    assert!(home.load(id(1)).unwrap().is_some());
    home.store.ping().await.unwrap();
    assert!(folders().len() < made, "only what was needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_another_process_has_locked_takes_no_threads() {
    let home = Home::new();
    let others = id(2);
    home.create(id(1), &record(1, "ann"));
    home.create(others, &record(1, "ann"));
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(home.lock_file(id(1)))
        .unwrap();
    lock.lock().unwrap();

    let waiting: Vec<_> = (0..600)
        .map(|number: u64| {
            let store = home.store.clone();
            tokio::spawn(async move {
                let seen = seen(Duration::from_secs(number));
                store.touch(id(1), former(version(1)), seen).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // What needs a thread gets one: the process's own work, loads, and other folders.
    let second = Duration::from_secs(5);
    let read = tokio::time::timeout(second, tokio::fs::metadata("/"));
    read.await.unwrap().unwrap();
    let loaded = tokio::time::timeout(second, home.store.load(id(1))).await;
    assert!(loaded.unwrap().unwrap().is_some());
    let touched = tokio::time::timeout(
        second,
        home.store.touch(others, former(version(1)), seen(HOUR)),
    );
    assert_eq!(touched.await.unwrap().unwrap(), Touched::Yes);
    assert!(waiting.iter().all(|task| !task.is_finished()));

    drop(lock);
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap(), Touched::Yes);
    }
    let (_, activity) = home.load(id(1)).unwrap().unwrap();
    assert_eq!(activity, seen(Duration::from_secs(599)));
}

#[test]
fn a_directory_that_goes_away_during_a_call_is_unavailable_and_never_empty() {
    let directory = Directory::new();
    let (here, away) = (directory.path().join("here"), directory.path().join("away"));
    let store = FileStore::open(&here).unwrap();
    let (session, next) = (record(1, "ann"), record(3, "ann"));
    block_on(store.create(id(1), &session, seen(HOUR))).unwrap();
    for _ in 0..200 {
        let until_it_fails = {
            let (store, next) = (store.clone(), Arc::clone(&next));
            thread::spawn(move || {
                loop {
                    // Of another version, so that nothing is written.
                    let other = former(version(2));
                    let missing = match block_on(store.load(id(1))) {
                        Ok(None) => Some("load"),
                        Ok(Some(_)) => None,
                        Err(_) => return None,
                    };
                    let updated = block_on(store.update(id(1), &next, seen(HOUR), other));
                    let updated = updated.is_ok_and(|it| it == Updated::Missing);
                    let touched = block_on(store.touch(id(1), other, seen(HOUR)));
                    let touched = touched.is_ok_and(|it| it == Touched::Missing);
                    let missing = missing
                        .or(updated.then_some("update"))
                        .or(touched.then_some("touch"));
                    if missing.is_some() {
                        return missing;
                    }
                }
            })
        };
        thread::sleep(Duration::from_micros(500));
        fs::rename(&here, &away).unwrap();
        assert_eq!(until_it_fails.join().unwrap(), None);
        assert!(!here.exists(), "the directory itself is not made again");
        fs::rename(&away, &here).unwrap();
    }
}

/// Holds the lock of a session's folder, as another process would.
fn held(home: &Home, id: SessionId) -> File {
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(home.lock_file(id))
        .unwrap();
    lock.lock().unwrap();
    lock
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_folder_that_another_process_has_locked_holds_up_no_sweep() {
    let home = Home::new();
    let (locked, free) = (id(1), id(2));
    for session in [locked, free] {
        home.create(session, &record(1, "ann"));
    }
    let lock = held(&home, locked);
    let after = NOW.saturating_add(HOUR * 24);
    let sweep = tokio::time::timeout(Duration::from_secs(5), home.store.delete_expired(after, 10));
    assert_eq!(sweep.await.unwrap().unwrap().removed, 1);
    assert_eq!(home.load(free), Ok(None));
    // Sweeps that are given up keep no threads for long.
    for _ in 0..100 {
        let sweep = home.store.delete_expired(after, 10);
        let _ = tokio::time::timeout(Duration::from_millis(1), sweep).await;
    }
    let load = tokio::time::timeout(Duration::from_secs(5), home.store.load(locked));
    assert!(load.await.unwrap().unwrap().is_some());
    drop(lock);
    // It may be one of those sweeps that deletes it.
    home.store.delete_expired(after, 10).await.unwrap();
    assert_eq!(home.load(locked), Ok(None));
}

#[test]
fn a_folder_that_another_process_has_locked_keeps_no_store_from_opening() {
    let home = Home::new();
    let last = (0..).map(id).find(|id| id.to_string().starts_with("ff"));
    let _lock = held(&home, last.unwrap());
    let (sender, opened) = mpsc::channel();
    let path = home.path().to_owned();
    thread::spawn(move || sender.send(FileStore::open(path).is_ok()));
    assert_eq!(opened.recv_timeout(Duration::from_secs(5)), Ok(true));
    block_on(home.store.ping()).unwrap();
}

#[test]
fn an_index_entry_in_a_locked_folder_holds_up_no_list() {
    let home = Home::new();
    let (gone, there) = (id(1), id(2));
    for session in [gone, there] {
        home.create(session, &record(1, "ann"));
    }
    fs::remove_file(home.file(gone)).unwrap();
    let _lock = held(&home, gone);
    let started = std::time::Instant::now();
    assert_eq!(home.listed(&of_user("ann"), 10), [there]);
    assert!(started.elapsed() < Duration::from_secs(5));
}
