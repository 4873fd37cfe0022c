//! What must outlive the server: an SQLite database in the state folder.
//!
//! - [`keys`]: the keys that `couplet keys` makes.
//! - [`usage`]: what was used.
//!
//! The server and the commands open the same file; SQLite keeps them apart.

pub mod keys;
pub mod usage;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// The name of the database in the state folder.
const FILE: &str = "couplet.db";

/// How long to wait while another process writes; see [`Store::wait_at_most`].
pub const BUSY: Duration = Duration::from_secs(5);

/// What makes each version of the schema of the one before; `PRAGMA user_version` counts them. What stands here once was used,
/// and is never changed: changes are added.
const MIGRATIONS: &[&str] = &[keys::SCHEMA, usage::SCHEMA];

/// The database. Cheap to clone; the clones are one connection. Its functions wait for the disk.
#[derive(Debug, Clone)]
pub struct Store(Arc<Mutex<Opened>>);

#[derive(Debug)]
struct Opened {
    connection: Connection,
    /// Where the file is, and which it is; `None` for one in memory.
    file: Option<(PathBuf, FileId)>,
    /// How many files were opened one after another.
    number: u64,
    /// How long to wait while another process writes.
    patience: Duration,
    /// Whether what was read was no database. SQLite goes on with what it holds in memory, also when the file was put right.
    is_suspect: bool,
}

/// Tells a file from another that was put into its place.
type FileId = (u64, u64);

/// What was seen of the database. It differs when another process has changed something since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    file: u64,
    counter: i64,
}

/// Why something cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("the database {} cannot be opened: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was written by a later version.
    #[error(
        "the database was made by a later version of Couplet (its schema is {found}, this version knows {known})"
    )]
    TooNew {
        /// The version of its schema.
        found: usize,
        /// The last one that is known.
        known: usize,
    },
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What stands in it cannot be read.
    #[error("the database holds what cannot be read: {0}")]
    Content(String),
}

/// Where the database is.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

impl Store {
    /// Opens the database of a state folder, and makes what is not there: for its owner's eyes only.
    ///
    /// # Errors
    /// When it cannot be opened, is of a later version, or is no database.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = path(state_dir);
        let (connection, id) = Self::open_file(state_dir, &path)?;
        Self::ready(connection, Some((path.clone(), id))).map_err(|error| match error {
            StoreError::Sqlite(error) => StoreError::Open { path, source: io::Error::other(error) },
            other => other,
        })
    }

    fn open_file(state_dir: &Path, path: &Path) -> Result<(Connection, FileId), StoreError> {
        let failed = |source: io::Error| StoreError::Open { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
        // SQLite gives its other files the mode of this one.
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .and_then(|file| file.metadata())
            .map_err(failed)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok((Connection::open_with_flags(path, flags)?, id_of(&file)))
    }

    /// Opens the database of a state folder as it is, to look into it; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn look(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = path(state_dir);
        if fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
            Self::open(state_dir).map(Some)
        } else {
            Ok(None)
        }
    }

    /// One that is gone when it is dropped.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::ready(Connection::open_in_memory()?, None)
    }

    fn ready(mut connection: Connection, file: Option<(PathBuf, FileId)>) -> Result<Self, StoreError> {
        set_up(&mut connection, BUSY)?;
        Ok(Self(Arc::new(Mutex::new(Opened {
            connection,
            file,
            number: 0,
            patience: BUSY,
            is_suspect: false,
        }))))
    }

    /// From here on waits so long at most while another process writes; [`BUSY`] until then. Whoever waits holds up all that
    /// share this connection.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn wait_at_most(&self, patience: Duration) -> Result<(), StoreError> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.patience = patience;
        Ok(opened.connection.busy_timeout(patience)?)
    }

    /// What there is to be seen of the database now. If another one was put into the place of its file, or none is there any
    /// more, that one, or a new one, is opened: keys that were made or lost in that way are noticed too. One that could not be
    /// read is opened again.
    ///
    /// # Errors
    /// When SQLite fails, or the file in that place cannot be opened.
    pub fn seen(&self) -> Result<Seen, StoreError> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.follow()?;
        let counter = opened.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(Seen { file: opened.number, counter })
    }

    /// Does something in the database, alone.
    fn with<T>(&self, act: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        // Whoever panicked held a transaction, which SQLite rolled back.
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut opened.connection);
        opened.is_suspect |= done.as_ref().is_err_and(is_spoilt);
        Ok(done?)
    }
}

impl Opened {
    /// Opens what is in the file's place, if that is something else by now.
    fn follow(&mut self) -> Result<(), StoreError> {
        let Some((path, id)) = &self.file else { return Ok(()) };
        let is_another = fs::metadata(path).map_or(true, |file| id_of(&file) != *id);
        if !is_another && !self.is_suspect {
            return Ok(());
        }
        let (path, folder) = (path.clone(), path.parent().unwrap_or(Path::new(".")).to_owned());
        // SQLite goes by names: closing the old one must not clear away what belongs to the new one.
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let (mut connection, id) = Store::open_file(&folder, &path)?;
        set_up(&mut connection, self.patience)?;
        if is_another {
            tracing::warn!(path = %path.display(), "another database is in the place of the one that was open; it is read from now on");
        }
        let (number, patience) = (self.number + 1, self.patience);
        *self = Self { connection, file: Some((path, id)), number, patience, is_suspect: false };
        Ok(())
    }
}

fn is_spoilt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

fn id_of(file: &fs::Metadata) -> FileId {
    (file.dev(), file.ino())
}

fn set_up(connection: &mut Connection, patience: Duration) -> Result<(), StoreError> {
    connection.busy_timeout(patience)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A key that was revoked stays revoked, also after a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version = |connection: &Connection| -> rusqlite::Result<usize> {
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(usize::try_from(found).unwrap_or(usize::MAX))
    };
    if version(connection)? == MIGRATIONS.len() {
        return Ok(());
    }
    // Another process may be at the same.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let due = MIGRATIONS.get(found..).ok_or(StoreError::TooNew { found, known: MIGRATIONS.len() })?;
    for migration in due {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_database_is_for_its_owner_only_and_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(Store::look(&state).unwrap().is_none());
        let first = Store::open(&state).unwrap();
        let second = Store::open(&state).unwrap();
        let before = second.seen().unwrap();
        first.with(|connection| connection.execute_batch("CREATE TABLE t (x)")).unwrap();
        assert_ne!(second.seen().unwrap(), before);
        for file in fs::read_dir(&state).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
        assert!(Store::look(&state).unwrap().is_some());
    }

    #[test]
    fn a_database_in_the_place_of_another_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let store = Store::open(&state).unwrap();
        let mark = |store: &Store, number: i64| {
            store.with(|connection| connection.pragma_update(None, "application_id", number)).unwrap();
        };
        let marked = |store: &Store| -> i64 {
            store
                .with(|connection| connection.pragma_query_value(None, "application_id", |row| row.get(0)))
                .unwrap()
        };
        mark(&store, 1);
        let first = store.seen().unwrap();
        // It was deleted, and a command made a new one.
        for file in fs::read_dir(&state).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        let other = Store::open(&state).unwrap();
        mark(&other, 2);
        assert_eq!(marked(&store), 1);
        let second = store.seen().unwrap();
        assert_ne!(first, second);
        assert_eq!(marked(&store), 2);
        // Both go on with the same.
        mark(&other, 3);
        assert_ne!(store.seen().unwrap(), second);
        assert_eq!(marked(&store), 3);
        fs::remove_dir_all(&state).unwrap();
        store.seen().unwrap();
        assert_eq!(marked(&store), 0, "a new one");
    }

    #[test]
    fn a_database_that_was_spoilt_and_put_right_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let file = path(folder.path());
        let whole = fs::read(&file).unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(&file, vec![0xA5; whole.len()]).unwrap();
        assert!(store.keys().is_err());
        assert!(store.seen().is_err());
        fs::write(&file, whole).unwrap();
        store.seen().unwrap();
        assert!(store.keys().unwrap().readable.is_empty());
    }

    #[test]
    fn a_database_of_a_later_version_or_none_at_all_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path())
            .unwrap()
            .with(|connection| connection.pragma_update(None, "user_version", 999))
            .unwrap();
        let refused = Store::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("later version"), "{refused}");
        fs::write(path(folder.path()), "this is no database, but long enough to be looked at".repeat(20))
            .unwrap();
        let refused = Store::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("couplet.db") && refused.contains("not a database"), "{refused}");
    }
}
