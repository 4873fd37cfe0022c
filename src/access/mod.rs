//! Who may come in, on whose behalf, and how much they may ask.
//!
//! - [`denied`]: why somebody is not let in.
//! - [`api_key`], [`key_ring`]: keys, those of the settings and those that `couplet keys` makes; [`jwt`]: JSON Web Tokens.
//!
//! [`Access`] decides, for every form in which a key can come.

pub mod api_key;
pub mod denied;
pub mod jwt;
pub mod key_ring;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use secrecy::SecretString;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, TenantName};
use crate::store::keys::StoredKeys;
use crate::store::{Seen, Store, StoreError};
use crate::wall_clock;
use api_key::KeyHash;
use denied::Denied;
use jwt::{JwtSettings, JwtVerifier};
use key_ring::KeyRing;

/// How often the store is looked at for keys that were made or revoked. A stream of a revoked key ends within a second.
const LOOK: Duration = Duration::from_millis(250);

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct AccessSettings {
    /// Keys that open the server, beside those of the store.
    pub keys: Vec<SecretString>,
    /// Which JSON Web Tokens open it.
    pub jwt: Option<JwtVerifier>,
    /// The key that opens what only the operator may do.
    pub admin_key: Option<SecretString>,
}

/// Decides who comes in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: RwLock<KeyRing>,
    /// Whether everybody may come in. Once that is over it stays over, whatever becomes of the keys.
    is_open: AtomicBool,
    jwt: Option<JwtVerifier>,
    admin_key: Option<KeyHash>,
    store: Store,
    /// What the log was told of keys that cannot be read.
    told: Mutex<BTreeSet<String>>,
}

impl Access {
    /// Lets in whom the settings and the store say.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(settings: &AccessSettings, store: Store) -> Result<Self, StoreError> {
        let inner = Inner {
            is_open: AtomicBool::new(settings.jwt.is_none()),
            ring: RwLock::new(KeyRing::of_settings(&settings.keys)),
            jwt: settings.jwt.clone(),
            admin_key: settings.admin_key.as_ref().map(api_key::hash_of),
            store,
            told: Mutex::default(),
        };
        let access = Self { inner: Arc::new(inner) };
        let stored = access.inner.store.keys()?;
        access.take_in(stored);
        Ok(access)
    }

    /// Whether everybody may come in: there is no key, no revoked one either, and no tokens are believed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.is_open.load(Ordering::Acquire)
    }

    /// Whether there is an admin key.
    #[must_use]
    pub fn has_admin_key(&self) -> bool {
        self.inner.admin_key.is_some()
    }

    /// On whose behalf somebody asks who offers this key, in whichever form it came.
    ///
    /// # Errors
    /// Why he is not let in.
    pub fn caller(&self, offered: Option<&[u8]>) -> Result<Caller, Denied> {
        if self.is_open() {
            return Ok(Caller::anyone());
        }
        let offered = offered.ok_or(Denied::NoKey)?;
        match (self.ring(|ring| ring.holder(offered, wall_clock::timestamp()).cloned()), &self.inner.jwt) {
            (Err(Denied::UnknownKey), Some(jwt)) if jwt::looks_like_one(offered) => jwt.bearer(offered),
            (verdict, _) => verdict,
        }
    }

    /// Whether who offers this key may do what only the operator may.
    ///
    /// # Errors
    /// Why he may not.
    pub fn admin(&self, offered: Option<&[u8]>) -> Result<(), Denied> {
        let known = self.inner.admin_key.as_ref().ok_or(Denied::NoAdminKey)?;
        let offered = api_key::hash(offered.ok_or(Denied::NotTheAdminKey)?);
        if bool::from(known.ct_eq(&offered)) { Ok(()) } else { Err(Denied::NotTheAdminKey) }
    }

    /// Whether who offers this key may see how the server is doing: the operator; where there is no admin key, everybody who
    /// may come in and asks with the server's own credential. Other tenants' callers must not see each other's affairs.
    ///
    /// # Errors
    /// Why he may not.
    pub fn observer(&self, offered: Option<&[u8]>) -> Result<(), Denied> {
        if self.has_admin_key() {
            return self.admin(offered);
        }
        let caller = self.caller(offered)?;
        if caller.tenant == TenantName::default() { Ok(()) } else { Err(Denied::NoAdminKey) }
    }

    /// Notices what `couplet keys` does, and what is over, until `stop`. To be run as long as the server serves.
    pub async fn keep_up(self, stop: CancellationToken) {
        let mut seen = None;
        let mut failed = false;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let access = self.clone();
            let looked = tokio::task::spawn_blocking(move || access.look(seen)).await;
            match looked.map_err(|error| StoreError::Content(error.to_string())).flatten() {
                Ok(now) => {
                    seen = Some(now);
                    failed = false;
                }
                // Those who are in stay in, and nobody else comes in.
                Err(error) if !failed => {
                    tracing::error!(%error, "keys that were made or revoked meanwhile are not noticed");
                    failed = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Takes in what is new since the store was `seen`; what there is to be seen of it now.
    fn look(&self, seen: Option<Seen>) -> Result<Seen, StoreError> {
        let seen_now = self.inner.store.seen()?;
        let now = wall_clock::timestamp();
        if seen == Some(seen_now) {
            if self.ring(|ring| ring.end_what_is_over(now)) {
                self.inner.ring.write().unwrap_or_else(PoisonError::into_inner).begin_again(now);
            }
        } else {
            let stored = self.inner.store.keys()?;
            if self.take_in(stored) {
                tracing::info!("there are keys now: from here on only they open the server");
            }
        }
        Ok(seen_now)
    }

    /// Takes in what the store holds now; whether the server was open until then, and no longer is. One that cannot be read
    /// opens nothing, but is a key all the same: it closes the server.
    fn take_in(&self, stored: StoredKeys) -> bool {
        let StoredKeys { readable, unreadable } = stored;
        let has_unreadable = !unreadable.is_empty();
        self.tell_unreadable(&unreadable);
        let mut ring = self.inner.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.renew(readable, wall_clock::timestamp());
        let has_keys = has_unreadable || !ring.is_empty();
        has_keys && self.inner.is_open.swap(false, Ordering::AcqRel)
    }

    /// Tells once of each.
    fn tell_unreadable(&self, unreadable: &[StoreError]) {
        let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<String> = unreadable.iter().map(ToString::to_string).collect();
        for error in now.difference(&told) {
            tracing::error!(error, "a key in the database cannot be read: it opens nothing");
        }
        *told = now;
    }

    fn ring<T>(&self, look: impl FnOnce(&KeyRing) -> T) -> T {
        look(&self.inner.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AccessSettings {
    /// Believes such tokens too.
    ///
    /// # Errors
    /// As [`JwtVerifier::new`].
    pub fn with_jwt(self, settings: &JwtSettings) -> Result<Self, String> {
        Ok(Self { jwt: Some(JwtVerifier::new(settings)?), ..self })
    }
}
