//! Messages of events on disk, until the broker has them and for a while longer, and which events are open.
//!
//! One SQLite file in the state folder, in WAL mode. [`EventStore::put`] returns when the kernel has the message, so that a crash of
//! perceptd loses nothing; a thread of the store's own syncs the disk at most [`StoreSettings::sync_within`] later, so that a power
//! cut loses no more than that and corrupts nothing (a torn end of the WAL is left out by its checksums). What becomes of messages
//! afterwards is written with the next sync: a crash before it makes duplicates, never losses.

mod database;
mod files;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use crate::time::{MonoTime, now};
use database::Database;

/// Size of the WAL from which it is written back into the database.
const CHECKPOINT_BYTES: u64 = 4 << 20;

/// How to keep messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The state folder; made if it is not there.
    pub folder: PathBuf,
    /// At most this long after a message was put, the disk is told to write it.
    pub sync_within: Duration,
    /// How long a message is kept after the broker took it, or nobody wanted it.
    pub keep_for: Duration,
    /// Bytes of payload that are kept so at most.
    pub keep_bytes: u64,
}

impl StoreSettings {
    /// The usual [`Self::sync_within`].
    pub const SYNC_WITHIN: Duration = Duration::from_millis(500);

    /// The usual bounds.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder, sync_within: Self::SYNC_WITHIN, keep_for: Duration::from_secs(600), keep_bytes: 16 << 20 }
    }
}

/// Why messages cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another perceptd has the folder.
    #[error("the state folder {folder} is in use by another perceptd: give each its own [state] folder")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used.
    #[error("the state folder {path}: {source}")]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not do what it is asked.
    #[error("the events in the state folder: {0}")]
    Database(#[from] rusqlite::Error),
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its event.
    pub event: Uuid,
    /// The sensor that it is about.
    pub sensor: String,
    /// Its topic.
    pub topic: String,
    /// The boot that its sequence number belongs to.
    pub boot_id: String,
    /// Its sequence number within topic and boot.
    pub seq: u64,
    /// When it was accepted: on this boot's clock, and on the wall clock in nanoseconds.
    pub accepted_at: (MonoTime, i64),
    /// The encoded message.
    pub payload: Vec<u8>,
}

/// A message that waits, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// Its number in the store; rises with every message.
    pub id: u64,
    /// Its event.
    pub event: Uuid,
    /// The sensor that it is about.
    pub sensor: String,
    /// Its payload's size.
    pub bytes: usize,
    /// The boot that it was accepted in.
    pub boot_id: String,
    /// When it was accepted: on that boot's clock, and on the wall clock in nanoseconds.
    pub accepted_at: (MonoTime, i64),
}

/// What a message says about its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// It is open; this message has its whole state.
    Open,
    /// It has ended.
    Ended,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it, or nobody wanted it: kept for a while.
    Kept,
    /// Dropped, or refused.
    Gone,
}

/// What a run before this one has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Messages that wait, oldest first.
    pub waiting: Vec<WaitingMessage>,
    /// The last message of every event that is still open.
    pub open: Vec<Vec<u8>>,
    /// The next message's number.
    pub next_id: u64,
    /// Files set aside because they could not be read; what could be read of them is here.
    pub set_aside: u64,
}

/// The store of events.
pub struct EventStore {
    inner: Arc<Inner>,
    syncing: Option<JoinHandle<()>>,
    /// Held for as long as the store is open.
    _lock: File,
}

struct Inner {
    settings: StoreSettings,
    database: Mutex<Database>,
    /// Whether something waits for the disk, and whether the store closes.
    state: Mutex<SyncState>,
    changed: Condvar,
    failed: AtomicU64,
    is_failing: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct SyncState {
    is_dirty: bool,
    is_closing: bool,
}

impl EventStore {
    /// Opens the store in the state folder, with what is left there. A file that cannot be read is set aside with one line in the log.
    ///
    /// # Errors
    /// When the folder cannot be used, or another perceptd uses it.
    pub fn open(settings: StoreSettings) -> Result<(Self, Left), StoreError> {
        let lock = files::lock(&settings.folder)?;
        let (mut database, set_aside) = files::open(&settings.folder)?;
        let left = Left { set_aside, ..database.left()? };
        database.begin(now())?;
        files::sync_folder(&settings.folder)?;
        let inner = Arc::new(Inner {
            settings,
            database: Mutex::new(database),
            state: Mutex::default(),
            changed: Condvar::new(),
            failed: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        });
        let syncing = {
            let inner = Arc::clone(&inner);
            std::thread::Builder::new().name("store-sync".to_owned()).spawn(move || inner.keep_synced())
        };
        let syncing = syncing.map_err(|source| StoreError::Folder { path: inner.settings.folder.clone(), source })?;
        Ok((Self { inner, syncing: Some(syncing), _lock: lock }, left))
    }

    /// Keeps a message under a number that rises; returns when the kernel has it.
    ///
    /// # Errors
    /// When the database does not take it, for instance because the disk is full.
    pub fn put(&self, id: u64, message: &StoredMessage, openness: Openness) -> Result<(), StoreError> {
        self.inner.database().put(id, message, openness)?;
        self.inner.wake();
        Ok(())
    }

    /// A message by its number; none when it is not there.
    ///
    /// # Errors
    /// When the database cannot be read there.
    pub fn get(&self, id: u64) -> Result<Option<StoredMessage>, StoreError> {
        Ok(self.inner.database().get(id)?)
    }

    /// Notes what became of a message; written with the next sync.
    pub fn settle(&self, id: u64, fate: Fate) {
        self.inner.database().settle(id, fate);
        self.inner.wake();
    }

    /// Kept messages with at least this sequence number become waiting ones again: of one topic, or of all.
    ///
    /// # Errors
    /// When the database does not do it.
    pub fn again(&self, from_seq: u64, topic: Option<&str>) -> Result<Vec<WaitingMessage>, StoreError> {
        let again = self.inner.database().again(from_seq, topic)?;
        self.inner.wake();
        Ok(again)
    }

    /// The kept messages of these numbers, those that still are, become waiting ones again.
    ///
    /// # Errors
    /// When the database does not do it.
    pub fn again_by_id(&self, ids: &[u64]) -> Result<Vec<WaitingMessage>, StoreError> {
        let again = self.inner.database().again_by_id(ids)?;
        self.inner.wake();
        Ok(again)
    }

    /// How many messages with at least this sequence number wait, of one topic or of all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn waiting(&self, from_seq: u64, topic: Option<&str>) -> Result<u64, StoreError> {
        Ok(self.inner.database().waiting(from_seq, topic)?)
    }

    /// The lowest sequence number that is there, kept or waiting, of one topic or of all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn oldest_seq(&self, topic: Option<&str>) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.database().oldest_seq(topic)?)
    }

    /// Messages kept although the broker has them or nobody wanted them.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.inner.database().kept()
    }

    /// Times that the disk could not be synced so far.
    #[must_use]
    pub fn failed_syncs(&self) -> u64 {
        self.inner.failed.load(Ordering::Relaxed)
    }

    /// Writes everything to the disk now.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.inner.write_out(now())
    }
}

impl Drop for EventStore {
    fn drop(&mut self) {
        self.inner.lock_state().is_closing = true;
        self.inner.changed.notify_all();
        // A panic of the thread was told by the panic itself.
        let _ended = self.syncing.take().map(JoinHandle::join);
        if let Err(error) = self.inner.database().end() {
            tracing::error!(%error, "the store of events does not close well");
        }
    }
}

impl Inner {
    fn database(&self) -> MutexGuard<'_, Database> {
        // Transactions that a panic leaves behind are rolled back by SQLite.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_state(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let mut state = self.lock_state();
        if !state.is_dirty {
            state.is_dirty = true;
            self.changed.notify_all();
        }
    }

    /// The thread: waits for something to sync, lets a little more come, syncs.
    fn keep_synced(&self) {
        // The disk needs some of the time itself.
        let gather = self.settings.sync_within.mul_f64(0.8);
        loop {
            let idle = self.changed.wait_while(self.lock_state(), |state| !state.is_dirty && !state.is_closing);
            let state = idle.unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(state, gather, |state| !state.is_closing);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_dirty = false;
            let is_closing = state.is_closing;
            drop(state);
            self.report(self.write_out(now()));
            if is_closing {
                return;
            }
        }
    }

    fn write_out(&self, time: MonoTime) -> Result<(), StoreError> {
        let (keep_for, keep_bytes) = (self.settings.keep_for, self.settings.keep_bytes);
        let wal = self.database().write_settled(time, keep_for, keep_bytes)?;
        files::sync(&wal)?;
        if files::size(&wal) > CHECKPOINT_BYTES {
            // Most of it while nobody waits, the rest while nobody writes: else a burst would let the WAL grow without bound.
            files::checkpoint(&self.settings.folder)?;
            self.database().empty_wal()?;
        }
        Ok(())
    }

    fn report(&self, written: Result<(), StoreError>) {
        let was_failing = self.is_failing.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if !was_failing {
                    tracing::error!(%error, "events are not safe from a power cut: the disk does not take them");
                }
            }
            Ok(()) if was_failing => tracing::info!("the disk takes events again"),
            Ok(()) => {}
        }
    }
}

/// The file's path, for messages and tests.
#[must_use]
pub fn database_file(folder: &Path) -> PathBuf {
    folder.join("events.db")
}
