//! The SQL of the store.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::files::wal_of;
use super::{Fate, Left, Openness, StoredMessage, WaitingMessage};
use crate::time::{MonoTime, now};

/// The layout of the tables; another one is not ours.
const LAYOUT: i64 = 1;
/// `state` of a message that waits for the broker, and of one that is only kept.
const WAITING: i64 = 0;
const KEPT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        event BLOB NOT NULL,
        sensor TEXT NOT NULL,
        topic TEXT NOT NULL,
        boot TEXT NOT NULL,
        seq INTEGER NOT NULL,
        accepted_mono INTEGER NOT NULL,
        accepted_unix INTEGER NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE INDEX kept ON messages (seq, topic) WHERE state = 1;
    CREATE TABLE open_events (event BLOB PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE run (is_clean INTEGER NOT NULL, next_id INTEGER NOT NULL);
    INSERT INTO run VALUES (1, 0);
    PRAGMA user_version = 1;
";

const WAITING_COLUMNS: &str = "id, event, sensor, length(payload), boot, accepted_mono, accepted_unix";

/// A message that is only kept: deleted when its time is up or its bytes are too many.
struct Kept {
    id: u64,
    bytes: u64,
    since: MonoTime,
}

/// The open database, and what is not written to it yet.
pub(super) struct Database {
    connection: Connection,
    wal: PathBuf,
    settled: Vec<(u64, Fate)>,
    /// Oldest first.
    kept: VecDeque<Kept>,
    kept_bytes: u64,
}

type Done<T> = rusqlite::Result<T>;

impl Database {
    /// Opens or makes it. After a run that did not end well the whole file is checked.
    pub(super) fn open(path: &Path) -> Done<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        let layout: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if layout == 0 {
            let making = connection.transaction()?;
            making.execute_batch(TABLES)?;
            making.commit()?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        } else if layout != LAYOUT {
            return Err(damage(format!("its layout is {layout}, this perceptd knows {LAYOUT}")));
        }
        let is_clean: bool = connection.query_row("SELECT is_clean FROM run", [], |row| row.get(0))?;
        if !is_clean {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(damage(found));
            }
        }
        Ok(Self { connection, wal: wal_of(path), settled: Vec::new(), kept: VecDeque::new(), kept_bytes: 0 })
    }

    /// What the run before has left.
    pub(super) fn left(&self) -> Done<Left> {
        let waiting = format!("SELECT {WAITING_COLUMNS} FROM messages WHERE state = {WAITING} ORDER BY id");
        let waiting = rows(&self.connection, &waiting, [], waiting_row)?;
        let open = rows(&self.connection, "SELECT payload FROM open_events", [], |row| row.get(0))?;
        let newest = "SELECT max((SELECT next_id FROM run), coalesce((SELECT max(id) + 1 FROM messages), 0))";
        let next_id = self.connection.query_row(newest, [], |row| row.get(0))?;
        Ok(Left { waiting, open, next_id, set_aside: 0 })
    }

    /// Notes that a run has begun, and what is kept from the one before.
    pub(super) fn begin(&mut self, time: MonoTime) -> Done<()> {
        self.connection.execute("UPDATE run SET is_clean = 0", [])?;
        let kept = format!("SELECT id, length(payload) FROM messages WHERE state = {KEPT} ORDER BY id");
        for (id, bytes) in rows(&self.connection, &kept, [], |row| Ok((row.get(0)?, row.get(1)?)))? {
            self.keep(id, bytes, time);
        }
        Ok(())
    }

    /// Writes what is left of the WAL back into the database, and makes the file short again.
    pub(super) fn empty_wal(&self) -> Done<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Notes that the run has ended well.
    pub(super) fn end(&mut self) -> Done<()> {
        self.connection.execute(
            "UPDATE run SET is_clean = 1, next_id = max(next_id, coalesce((SELECT max(id) + 1 FROM messages), 0))",
            [],
        )?;
        self.empty_wal()
    }

    pub(super) fn put(&mut self, id: u64, message: &StoredMessage, openness: Openness) -> Done<()> {
        let transaction = self.connection.transaction()?;
        insert(&transaction, id, message)?;
        match openness {
            Openness::Open => transaction
                .prepare_cached("INSERT OR REPLACE INTO open_events VALUES (?1, ?2)")?
                .execute(params![message.event.as_bytes(), message.payload])?,
            Openness::Ended => transaction
                .prepare_cached("DELETE FROM open_events WHERE event = ?1")?
                .execute([message.event.as_bytes()])?,
        };
        transaction.commit()
    }

    pub(super) fn get(&self, id: u64) -> Done<Option<StoredMessage>> {
        self.connection.prepare_cached("SELECT * FROM messages WHERE id = ?1")?.query_row([id], message_row).optional()
    }

    pub(super) fn settle(&mut self, id: u64, fate: Fate) {
        self.settled.push((id, fate));
    }

    /// Writes what became of messages and deletes what was kept long enough. Gives the WAL, which the disk is to write.
    pub(super) fn write_settled(&mut self, time: MonoTime, keep_for: Duration, keep_bytes: u64) -> Done<PathBuf> {
        self.write_fates_now(time)?;
        self.forget(time, keep_for, keep_bytes)?;
        Ok(self.wal.clone())
    }

    /// What cannot be written is written later.
    fn write_fates_now(&mut self, time: MonoTime) -> Done<()> {
        let settled = std::mem::take(&mut self.settled);
        let written = self.write_fates(&settled, time);
        if written.is_err() {
            self.settled.splice(0..0, settled);
        }
        written
    }

    fn write_fates(&mut self, settled: &[(u64, Fate)], time: MonoTime) -> Done<()> {
        if settled.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::new();
        let transaction = self.connection.transaction()?;
        for (id, fate) in settled {
            match fate {
                Fate::Kept => {
                    let keep = "UPDATE messages SET state = 1 WHERE id = ?1 RETURNING length(payload)";
                    let bytes = transaction.prepare_cached(keep)?.query_row([id], |row| row.get(0)).optional()?;
                    kept.extend(bytes.map(|bytes| (*id, bytes)));
                }
                Fate::Gone => {
                    transaction.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
                }
            }
        }
        transaction.commit()?;
        for (id, bytes) in kept {
            self.keep(id, bytes, time);
        }
        Ok(())
    }

    fn keep(&mut self, id: u64, bytes: u64, since: MonoTime) {
        self.kept_bytes += bytes;
        self.kept.push_back(Kept { id, bytes, since });
    }

    fn forget(&mut self, time: MonoTime, keep_for: Duration, keep_bytes: u64) -> Done<()> {
        let is_over = |kept: &Kept, bytes: u64| bytes > keep_bytes || kept.since + keep_for < time;
        if !self.kept.front().is_some_and(|kept| is_over(kept, self.kept_bytes)) {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let (mut count, mut bytes) = (0, self.kept_bytes);
        for kept in &self.kept {
            if !is_over(kept, bytes) {
                break;
            }
            transaction.prepare_cached("DELETE FROM messages WHERE id = ?1 AND state = 1")?.execute([kept.id])?;
            (count, bytes) = (count + 1, bytes - kept.bytes);
        }
        transaction.commit()?;
        self.kept.drain(..count);
        self.kept_bytes = bytes;
        Ok(())
    }

    pub(super) fn again(&mut self, from_seq: u64, topic: Option<&str>) -> Done<Vec<WaitingMessage>> {
        self.write_fates_now(now())?;
        let sql = format!(
            "UPDATE messages SET state = {WAITING} WHERE state = {KEPT} AND seq >= ?1 AND (?2 IS NULL OR topic = ?2)
             RETURNING {WAITING_COLUMNS}"
        );
        let mut again = rows(&self.connection, &sql, params![from_seq.cast_signed(), topic], waiting_row)?;
        again.sort_by_key(|message| message.id);
        self.no_longer_keep(&again);
        Ok(again)
    }

    pub(super) fn again_by_id(&mut self, ids: &[u64]) -> Done<Vec<WaitingMessage>> {
        self.write_fates_now(now())?;
        let sql = format!(
            "UPDATE messages SET state = {WAITING} WHERE id = ?1 AND state = {KEPT} RETURNING {WAITING_COLUMNS}"
        );
        let transaction = self.connection.transaction()?;
        let mut again = Vec::new();
        for id in ids {
            again.extend(transaction.prepare_cached(&sql)?.query_row([id], waiting_row).optional()?);
        }
        transaction.commit()?;
        self.no_longer_keep(&again);
        Ok(again)
    }

    /// These wait again; else each repeat would take the place of another message.
    fn no_longer_keep(&mut self, again: &[WaitingMessage]) {
        let ids: BTreeSet<u64> = again.iter().map(|message| message.id).collect();
        self.kept.retain(|kept| !ids.contains(&kept.id));
        self.kept_bytes = self.kept.iter().map(|kept| kept.bytes).sum();
    }

    pub(super) fn oldest_seq(&self, topic: Option<&str>) -> Done<Option<u64>> {
        let sql = "SELECT min(seq) FROM messages WHERE ?1 IS NULL OR topic = ?1";
        let oldest: Option<i64> = self.connection.query_row(sql, [topic], |row| row.get(0))?;
        Ok(oldest.map(i64::cast_unsigned))
    }

    pub(super) fn waiting(&self, from_seq: u64, topic: Option<&str>) -> Done<u64> {
        let sql = format!(
            "SELECT count(*) FROM messages WHERE state = {WAITING} AND seq >= ?1 AND (?2 IS NULL OR topic = ?2)"
        );
        self.connection.query_row(&sql, params![from_seq.cast_signed(), topic], |row| row.get(0))
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Copies what can be read of a damaged file; tells how many messages that was.
    pub(super) fn save_from(&mut self, damaged: &Path) -> usize {
        let Ok(old) = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return 0 };
        let Ok(mut select) = old.prepare("SELECT * FROM messages ORDER BY id") else { return 0 };
        let Ok(messages) = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, message_row(row)?))) else {
            return 0;
        };
        let readable = messages.map_while(Result::ok).filter(|(_, state, _): &(u64, i64, _)| *state == WAITING);
        let saved = readable.map_while(|(id, _, message)| insert(&self.connection, id, &message).ok()).count();
        let Ok(mut select) = old.prepare("SELECT event, payload FROM open_events") else { return saved };
        let open = select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)));
        for (event, payload) in open.into_iter().flatten().map_while(Result::ok) {
            let put = self.connection.execute("INSERT OR REPLACE INTO open_events VALUES (?1, ?2)", (event, payload));
            if put.is_err() {
                break;
            }
        }
        saved
    }
}

fn insert(connection: &Connection, id: u64, message: &StoredMessage) -> Done<()> {
    let (mono, unix) = message.accepted_at;
    connection
        .prepare_cached("INSERT INTO messages VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            id,
            message.event.as_bytes(),
            message.sensor,
            message.topic,
            message.boot_id,
            message.seq.cast_signed(),
            mono.nanos(),
            unix,
            message.payload
        ])
        .map(|_| ())
}

fn message_row(row: &Row<'_>) -> Done<StoredMessage> {
    Ok(StoredMessage {
        event: Uuid::from_bytes(row.get(2)?),
        sensor: row.get(3)?,
        topic: row.get(4)?,
        boot_id: row.get(5)?,
        seq: row.get::<_, i64>(6)?.cast_unsigned(),
        accepted_at: (MonoTime::from_nanos(row.get(7)?), row.get(8)?),
        payload: row.get(9)?,
    })
}

fn waiting_row(row: &Row<'_>) -> Done<WaitingMessage> {
    Ok(WaitingMessage {
        id: row.get(0)?,
        event: Uuid::from_bytes(row.get(1)?),
        sensor: row.get(2)?,
        bytes: row.get(3)?,
        boot_id: row.get(4)?,
        accepted_at: (MonoTime::from_nanos(row.get(5)?), row.get(6)?),
    })
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Done<T>,
) -> Done<Vec<T>> {
    connection.prepare(sql)?.query_map(parameters, read)?.collect()
}

/// What is wrong with the file, in SQLite's own terms.
fn damage(what: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_does_not_take_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join("events.db")).unwrap();
        let message = |seq| StoredMessage {
            event: Uuid::from_u128(1),
            sensor: "mic".to_owned(),
            topic: "t".to_owned(),
            boot_id: "boot".to_owned(),
            seq,
            accepted_at: (MonoTime::default(), 0),
            payload: vec![1],
        };
        for id in 0..4 {
            database.put(id, &message(id), Openness::Open).unwrap();
        }
        let writes = |database: &Database, does: bool| database.connection.pragma_update(None, "query_only", !does);
        database.settle(0, Fate::Gone);
        database.settle(1, Fate::Kept);
        writes(&database, false).unwrap();
        assert!(database.again(0, None).is_err() && database.again_by_id(&[1]).is_err());
        database.settle(2, Fate::Gone);
        assert!(database.write_settled(now(), Duration::MAX, u64::MAX).is_err());
        writes(&database, true).unwrap();
        let again: Vec<u64> = database.again(0, None).unwrap().into_iter().map(|message| message.id).collect();
        assert_eq!(again, [1], "it was kept");
        let waiting: Vec<u64> = database.left().unwrap().waiting.into_iter().map(|message| message.id).collect();
        assert_eq!(waiting, [1, 3], "the others are gone");
    }
}
