//! The files of the store: the lock, the database or what can be saved of it, and the disk's own sync.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::database::Database;
use super::{StoreError, database_file};
use crate::time::unix_now_nanos;

/// Files set aside that are kept for whoever wants to look at them.
const SET_ASIDE_KEPT: usize = 2;

fn told(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |source| StoreError::Folder { path: path.to_owned(), source }
}

/// Makes the folder if need be, and takes it for this process alone.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    std::fs::create_dir_all(folder).map_err(told(folder))?;
    let path = folder.join("events.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(told(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(told(&path)(source)),
    }
}

/// Opens the database; one that cannot be used is set aside, and what can be read of it goes into a new one. Tells how many were.
pub(super) fn open(folder: &Path) -> Result<(Database, u64), StoreError> {
    let path = database_file(folder);
    let error = match Database::open(&path) {
        Ok(database) => return Ok((database, 0)),
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(error.into()),
    };
    let aside = set_aside(folder, &path).map_err(told(&path))?;
    let mut database = Database::open(&path)?;
    let saved = database.save_from(&aside);
    tracing::error!(
        "{} cannot be used ({error}): set aside as {}; {saved} of its messages could be read and are kept",
        path.display(),
        aside.display()
    );
    Ok((database, 1))
}

/// Whether the file is at fault, not the disk or its permissions.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    match error.sqlite_error_code() {
        Some(code) => matches!(code, DatabaseCorrupt | NotADatabase | Unknown),
        None => true,
    }
}

fn set_aside(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let aside = folder.join(format!("events.db.damaged-{}", unix_now_nanos() / 1_000_000));
    std::fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        let with = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        match std::fs::rename(with(path), with(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    old.retain(|path| is_set_aside(path));
    old.sort();
    for path in old.iter().rev().skip(SET_ASIDE_KEPT) {
        for end in ["", "-wal", "-shm"] {
            // It is in nobody's way if it stays.
            let _gone = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
    Ok(aside)
}

fn is_set_aside(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("events.db.damaged-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// The write-ahead log of the database at `path`.
pub(super) fn wal_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Tells the disk to write a file; one that is not there has nothing to write.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    match File::open(path) {
        Ok(file) => file.sync_data().map_err(told(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(told(path)(error)),
    }
}

/// Tells the disk to write the folder's list of files.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(told(folder))
}

pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Writes the WAL back into the database, on a connection of its own so that nobody waits for the disk.
pub(super) fn checkpoint(folder: &Path) -> Result<(), StoreError> {
    let connection = rusqlite::Connection::open(database_file(folder))?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}
