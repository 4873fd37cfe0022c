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
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// The name of the database in the state folder.
const FILE: &str = "couplet.db";

/// How long to wait while another process writes.
const BUSY: Duration = Duration::from_secs(5);

/// What makes each version of the schema of the one before; `PRAGMA user_version` counts them. What stands here once was used,
/// and is never changed: changes are added.
const MIGRATIONS: &[&str] = &[keys::SCHEMA, usage::SCHEMA];

/// The database. Cheap to clone; the clones are one connection. Its functions wait for the disk.
#[derive(Debug, Clone)]
pub struct Store(Arc<Mutex<Connection>>);

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
        let failed = |source: io::Error| StoreError::Open { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
        // SQLite gives its other files the mode of this one.
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::ready(Connection::open_with_flags(&path, flags)?)
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
        Self::ready(Connection::open_in_memory()?)
    }

    fn ready(mut connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A key that was revoked stays revoked, also after a loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// A number that changes when another process has changed something.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn change_counter(&self) -> Result<i64, StoreError> {
        self.with(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// Does something in the database, alone.
    fn with<T>(&self, act: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        // Whoever panicked held a transaction, which SQLite rolled back.
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(&mut connection)?)
    }
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
        let before = second.change_counter().unwrap();
        first.with(|connection| connection.execute_batch("CREATE TABLE t (x)")).unwrap();
        assert_ne!(second.change_counter().unwrap(), before);
        for file in fs::read_dir(&state).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
        assert!(Store::look(&state).unwrap().is_some());
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
        assert!(Store::open(folder.path()).is_err());
    }
}
