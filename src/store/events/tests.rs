use super::*;

fn settings(folder: &Path) -> StoreSettings {
    StoreSettings { sync_within: Duration::from_millis(10), ..StoreSettings::new(folder.to_owned()) }
}

fn message(event: u128, seq: u64) -> StoredMessage {
    StoredMessage {
        event: Uuid::from_u128(event),
        sensor: "mic".to_owned(),
        topic: format!("t/{}", seq % 2),
        boot_id: "boot".to_owned(),
        seq,
        accepted_at: (MonoTime::from_nanos(7), 9),
        payload: vec![u8::try_from(seq % 251).unwrap(); 100],
    }
}

fn ids(left: &Left) -> Vec<u64> {
    left.waiting.iter().map(|waiting| waiting.id).collect()
}

/// A copy of the folder's files as they are now: what a crash would leave.
fn crashed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[test]
fn what_was_put_is_there_after_a_crash_and_what_was_settled_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = EventStore::open(settings(folder.path())).unwrap();
    assert_eq!(left, Left::default());
    for id in 0..10 {
        store.put(id, &message(u128::from(id % 3), id), Openness::Open).unwrap();
    }
    store.put(10, &message(2, 10), Openness::Ended).unwrap();
    store.settle(0, Fate::Kept);
    store.settle(1, Fate::Gone);
    store.sync().unwrap();
    let copy = crashed(folder.path());
    let (store, left) = EventStore::open(settings(copy.path())).unwrap();
    assert_eq!((ids(&left), left.next_id, left.set_aside), ((2..=10).collect(), 11, 0));
    assert_eq!(left.open.len(), 2, "the third has ended");
    assert_eq!(left.waiting[0].accepted_at, (MonoTime::from_nanos(7), 9));
    assert_eq!((store.get(3).unwrap(), store.get(1).unwrap(), store.kept()), (Some(message(0, 3)), None, 1));
    assert_eq!(store.again(0, None).unwrap().len(), 1);
}

#[test]
fn numbers_go_on_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = EventStore::open(settings(folder.path())).unwrap();
    store.put(41, &message(1, 1), Openness::Ended).unwrap();
    store.settle(41, Fate::Gone);
    drop(store);
    let (_, left) = EventStore::open(settings(folder.path())).unwrap();
    assert!(left.waiting.is_empty() && left.open.is_empty());
    assert!(left.next_id <= 42);
}

#[test]
fn kept_messages_wait_again_by_topic_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = EventStore::open(settings(folder.path())).unwrap();
    for id in 0..10 {
        store.put(id, &message(1, id), Openness::Open).unwrap();
        store.settle(id, Fate::Kept);
    }
    assert_eq!(store.again_by_id(&[9, 77]).unwrap().len(), 1);
    assert_eq!(store.oldest_seq(Some("t/1")).unwrap(), Some(1));
    let again = store.again(5, Some("t/1")).unwrap();
    assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), [5, 7], "9 waits already");
    assert_eq!([store.waiting(0, None), store.waiting(6, Some("t/1"))].map(Result::unwrap), [3, 2]);
    assert_eq!(store.oldest_seq(Some("t/1")).unwrap(), Some(1), "what waits is there too");
    assert_eq!(store.oldest_seq(Some("t/2")).unwrap(), None);
}

#[test]
fn kept_messages_go_when_they_are_too_many_or_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut few = settings(folder.path());
    few.keep_bytes = 500;
    let (store, _) = EventStore::open(few).unwrap();
    for id in 0..10 {
        store.put(id, &message(1, id), Openness::Open).unwrap();
        store.settle(id, Fate::Kept);
    }
    store.sync().unwrap();
    assert_eq!((store.kept(), store.oldest_seq(None).unwrap()), (5, Some(5)));
    let later = now() + Duration::from_secs(601);
    store.inner.write_out(later).unwrap();
    assert_eq!((store.kept(), store.get(9).unwrap()), (0, None));
}

#[test]
fn a_message_that_waited_again_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut few = settings(folder.path());
    few.keep_bytes = 500;
    let (store, _) = EventStore::open(few).unwrap();
    for id in 0..4 {
        store.put(id, &message(1, id), Openness::Open).unwrap();
        store.settle(id, Fate::Kept);
    }
    for _ in 0..10 {
        assert_eq!(store.again_by_id(&[2, 3]).unwrap().len(), 2);
        store.settle(2, Fate::Kept);
        store.settle(3, Fate::Kept);
        store.sync().unwrap();
        assert_eq!((store.kept(), store.oldest_seq(None).unwrap()), (4, Some(0)));
    }
    assert_eq!(store.again(1, None).unwrap().len(), 3);
    assert_eq!(store.kept(), 1);
}

#[test]
fn a_second_perceptd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = EventStore::open(settings(folder.path())).unwrap();
    assert!(matches!(EventStore::open(settings(folder.path())), Err(StoreError::InUse { .. })));
}

#[test]
fn a_torn_end_loses_the_end_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = EventStore::open(settings(folder.path())).unwrap();
    for id in 0..50 {
        store.put(id, &message(1, id), Openness::Open).unwrap();
    }
    let whole = std::fs::metadata(files::wal_of(&database_file(folder.path()))).unwrap().len();
    for cut in [1, 100, 5000, 20_000, 60_000] {
        let copy = crashed(folder.path());
        let wal = files::wal_of(&database_file(copy.path()));
        File::options().write(true).open(&wal).unwrap().set_len(whole - cut).unwrap();
        let (_, left) = EventStore::open(settings(copy.path())).unwrap();
        assert_eq!(left.set_aside, 0);
        assert!(left.waiting.len() < 50, "{cut} bytes less");
        assert_eq!(ids(&left), (0..left.waiting.len() as u64).collect::<Vec<_>>(), "a gap after a cut of {cut} bytes");
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_what_can_be_read_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = EventStore::open(settings(folder.path())).unwrap();
    for id in 0..500 {
        store.put(id, &message(u128::from(id), id), Openness::Ended).unwrap();
    }
    drop(store);
    let path = database_file(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let (middle, end) = (bytes.len() / 2, bytes.len() * 3 / 4);
    bytes[middle..end].fill(0xa5);
    // The run that damaged it did not end well.
    std::fs::write(&path, &bytes).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE run SET is_clean = 0", []).unwrap();
    let (store, left) = EventStore::open(settings(folder.path())).unwrap();
    assert_eq!(left.set_aside, 1);
    assert!(!left.waiting.is_empty() && left.waiting.len() < 500, "{}", left.waiting.len());
    assert_eq!(store.get(0).unwrap(), Some(message(0, 0)));
    store.put(1000, &message(1, 1), Openness::Open).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        std::fs::write(database_file(folder.path()), vec![b'x'; 10_000]).unwrap();
        let (store, left) = EventStore::open(settings(folder.path())).unwrap();
        assert_eq!((left.set_aside, left.waiting.len()), (1, 0), "{round}");
        drop(store);
    }
    let aside = std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
    assert!(aside <= 3, "{aside} files set aside");
}
