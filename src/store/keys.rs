//! The keys that `couplet keys` makes: all about them but the keys themselves, of which only hashes are kept.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Store, StoreError};
use crate::caller::{CallerId, Limits, TenantName};

/// The table.
pub(super) const SCHEMA: &str = "
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        about TEXT NOT NULL,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX names_of_keys_in_use ON keys (name) WHERE revoked_at IS NULL;
";

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredKey {
    /// What it is known by. No secret.
    pub id: CallerId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// Its name for people. No two keys in use have the same.
    pub name: String,
    /// With whose credential it asks.
    pub tenant: TenantName,
    /// The models it may ask; `None` for all.
    pub models: Option<Vec<String>>,
    /// Its own limits.
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it does not open the server any more, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// What nobody looks for: one column, as JSON.
#[derive(Serialize, Deserialize)]
struct About {
    tenant: String,
    models: Option<Vec<String>>,
    limits: Limits,
}

/// All keys of the store.
#[derive(Debug, Default)]
pub struct StoredKeys {
    /// Those that can be read, revoked and over ones too, the oldest first.
    pub readable: Vec<StoredKey>,
    /// Why the others cannot.
    pub unreadable: Vec<StoreError>,
}

impl StoredKey {
    /// Whether it opens the server.
    #[must_use]
    pub fn is_in_use(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// All about it but its hash, as `couplet keys list --json` shows it.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id.as_str(),
            "name": self.name,
            "tenant": self.tenant.as_str(),
            "models": self.models,
            "limits": self.limits,
            "created_at": self.created_at.to_string(),
            "expires_at": self.expires_at.map(|at| at.to_string()),
            "revoked_at": self.revoked_at.map(|at| at.to_string()),
        })
    }
}

impl Store {
    /// All keys. A row that cannot be read is no reason to miss what became of the others.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keys(&self) -> Result<StoredKeys, StoreError> {
        let rows = self.with(|connection| {
            let mut rows = connection.prepare_cached("SELECT * FROM keys ORDER BY created_at, id")?;
            rows.query_map((), |row| Ok(read(row)))?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut keys = StoredKeys::default();
        for row in rows {
            match row {
                Ok(key) => keys.readable.push(key),
                Err(error) => keys.unreadable.push(error),
            }
        }
        Ok(keys)
    }

    /// Whether there is any key, revoked, over or not to be read.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has_keys(&self) -> Result<bool, StoreError> {
        self.with(|connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM keys)", (), |row| row.get(0))
        })
    }

    /// Keeps a new key; `false` where a key in use has its name.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn add_key(&self, key: &StoredKey) -> Result<bool, StoreError> {
        let about =
            About { tenant: key.tenant.as_str().to_owned(), models: key.models.clone(), limits: key.limits };
        let about = serde_json::to_string(&about).map_err(|error| StoreError::Content(error.to_string()))?;
        let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        self.with(|connection| {
            // One that is over gives its name up.
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE keys SET revoked_at = expires_at WHERE name = ?1 AND revoked_at IS NULL AND expires_at <= ?2",
                (&key.name, key.created_at.as_second()),
            )?;
            let is_taken = "SELECT EXISTS (SELECT 1 FROM keys WHERE name = ?1 AND revoked_at IS NULL)";
            if transaction.query_row(is_taken, (&key.name,), |row| row.get(0))? {
                return Ok(false);
            }
            transaction.execute(
                "INSERT INTO keys (id, hash, about, name, created_at, expires_at, revoked_at) \
                 VALUES (:id, :hash, :about, :name, :created_at, :expires_at, :revoked_at)",
                named_params! {
                    ":id": key.id.as_str(),
                    ":hash": key.hash,
                    ":about": about,
                    ":name": key.name,
                    ":created_at": key.created_at.as_second(),
                    ":expires_at": seconds(key.expires_at),
                    ":revoked_at": seconds(key.revoked_at),
                },
            )?;
            transaction.commit()?;
            Ok(true)
        })
    }

    /// Revokes the key in use of that id or name, and returns it; `None` where there is none.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn revoke_key(&self, id_or_name: &str, now: Timestamp) -> Result<Option<StoredKey>, StoreError> {
        // No name looks like an id; see [`crate::access::api_key`].
        let sql =
            "UPDATE keys SET revoked_at = ?2 WHERE revoked_at IS NULL AND (id = ?1 OR name = ?1) RETURNING *";
        let revoke = |connection: &mut Connection| {
            connection.query_row(sql, (id_or_name, now.as_second()), |row| Ok(read(row))).optional()
        };
        self.with(revoke)?.transpose()
    }
}

fn read(row: &Row<'_>) -> Result<StoredKey, StoreError> {
    let id: String = row.get("id")?;
    let unreadable = |what: &str| StoreError::Content(format!("the key {id}: {what}"));
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| unreadable(&error.to_string()));
    let about: String = row.get("about")?;
    let about: About = serde_json::from_str(&about).map_err(|error| unreadable(&error.to_string()))?;
    Ok(StoredKey {
        hash: row.get("hash")?,
        name: row.get("name")?,
        tenant: TenantName::new(&about.tenant).ok_or_else(|| unreadable("its tenant has no name"))?,
        models: about.models,
        limits: about.limits,
        created_at: time(row.get("created_at")?)?,
        expires_at: row.get::<_, Option<i64>>("expires_at")?.map(time).transpose()?,
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(time).transpose()?,
        id: CallerId::new(&id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn key(number: u8, name: &str) -> StoredKey {
        StoredKey {
            id: CallerId::new(&format!("key_{number}")),
            hash: [number; 32],
            name: name.to_owned(),
            tenant: TenantName::default(),
            models: Some(vec!["sonnet".to_owned()]),
            limits: Limits { requests_per_minute: NonZeroU32::new(7), ..Limits::default() },
            created_at: Timestamp::from_second(1000).unwrap(),
            expires_at: Timestamp::from_second(2000).ok(),
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_comes_back_as_it_was_kept() {
        let store = Store::in_memory().unwrap();
        assert!(store.add_key(&key(1, "one")).unwrap());
        assert_eq!(store.keys().unwrap().readable, [key(1, "one")]);
    }

    #[test]
    fn a_name_is_taken_until_its_key_is_revoked_or_over() {
        let store = Store::in_memory().unwrap();
        assert!(store.add_key(&key(1, "one")).unwrap());
        assert!(!store.add_key(&key(2, "one")).unwrap());
        let now = Timestamp::from_second(1500).unwrap();
        let revoked = store.revoke_key("one", now).unwrap().unwrap();
        assert_eq!(revoked, StoredKey { revoked_at: Some(now), ..key(1, "one") });
        assert!(store.add_key(&key(2, "one")).unwrap());
        let later = StoredKey { created_at: Timestamp::from_second(2000).unwrap(), ..key(3, "one") };
        assert!(store.add_key(&later).unwrap());
        assert_eq!(store.keys().unwrap().readable.len(), 3);
    }

    #[test]
    fn a_key_is_revoked_once_by_id_or_name() {
        let store = Store::in_memory().unwrap();
        store.add_key(&key(1, "one")).unwrap();
        store.add_key(&key(2, "two")).unwrap();
        let now = Timestamp::from_second(1500).unwrap();
        assert_eq!(store.revoke_key("key_2", now).unwrap().unwrap().name, "two");
        assert!(store.revoke_key("key_2", now).unwrap().is_none());
        assert!(store.revoke_key("nobody", now).unwrap().is_none());
        let in_use: Vec<_> =
            store.keys().unwrap().readable.into_iter().filter(|key| key.is_in_use(now)).collect();
        assert_eq!(in_use, [key(1, "one")]);
    }

    #[test]
    fn a_row_that_cannot_be_read_does_not_hide_the_others() {
        let store = Store::in_memory().unwrap();
        assert!(!store.has_keys().unwrap());
        for (number, name) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
            store.add_key(&key(number, name)).unwrap();
        }
        let spoil = "UPDATE keys SET about = '{' WHERE name = 'one';
            UPDATE keys SET about = json_set(about, '$.tenant', '../x') WHERE name = 'two';
            UPDATE keys SET created_at = 9223372036854775807 WHERE name = 'three';";
        store.with(|connection| connection.execute_batch(spoil)).unwrap();
        let keys = store.keys().unwrap();
        assert_eq!(keys.readable, [key(4, "four")]);
        let told: Vec<_> = keys.unreadable.iter().map(ToString::to_string).collect();
        for (id, told) in ["key_1", "key_2", "key_3"].iter().zip(&told) {
            assert!(told.contains(id), "{told}");
        }
        store.with(|connection| connection.execute_batch("DELETE FROM keys WHERE name = 'four'")).unwrap();
        assert!(store.has_keys().unwrap());
    }

    #[test]
    fn a_key_is_over_at_its_second() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(key(1, "one").is_in_use(at(1999)) && !key(1, "one").is_in_use(at(2000)));
    }
}
