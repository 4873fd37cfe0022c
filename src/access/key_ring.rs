//! The keys that open the server, in memory: as hashes.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::api_key::{self, KeyHash};
use super::denied::Denied;
use crate::caller::Caller;
use crate::store::keys::StoredKey;

/// All keys that are known: those of the settings, and those of the store, whether they are in use or not.
///
/// A key is found by its hash. How long that takes depends on the hash of what was offered alone, which nobody can choose, so
/// time tells nothing of the keys there are; a hash that was found is compared in constant time all the same.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: HashMap<KeyHash, Known>,
}

#[derive(Debug)]
struct Known {
    hash: KeyHash,
    caller: Caller,
    expires_at: Option<Timestamp>,
    is_revoked: bool,
}

impl KeyRing {
    /// The keys of the settings.
    #[must_use]
    pub fn of_settings<'a>(keys: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let keys = keys.into_iter().map(|key| {
            let hash = api_key::hash_of(key);
            let id = api_key::id_of_configured(&hash);
            let caller = Caller { name: id.as_str().into(), id, ..Caller::anyone() };
            (hash, Known { hash, caller, expires_at: None, is_revoked: false })
        });
        Self { keys: keys.collect() }
    }

    /// Takes in what the store holds now. What is not to be used any more ends, with all that is being done for it.
    pub fn renew(&mut self, stored: Vec<StoredKey>, now: Timestamp) {
        let mut gone: HashSet<KeyHash> =
            self.keys.values().filter(|key| key.is_stored()).map(|key| key.hash).collect();
        for key in stored {
            gone.remove(&key.hash);
            match self.keys.get_mut(&key.hash) {
                Some(known) if known.is_stored() => {
                    known.is_revoked = key.revoked_at.is_some();
                    known.expires_at = key.expires_at;
                }
                // One of the settings counts as that: it is there whatever the store says.
                Some(_) => {}
                None => {
                    self.keys.insert(key.hash, Known::from(key));
                }
            }
        }
        for hash in gone {
            if let Some(key) = self.keys.remove(&hash) {
                key.caller.ended.cancel();
            }
        }
        if self.end_what_is_over(now) {
            self.begin_again(now);
        }
    }

    /// Ends what is being done for keys that are not in use any more. Whether one that was over is in use again: the system's
    /// time was put back, or a database from before its revocation was.
    #[must_use]
    pub fn end_what_is_over(&self, now: Timestamp) -> bool {
        let mut again = false;
        for key in self.keys.values() {
            if key.state(now).is_err() {
                key.caller.ended.cancel();
            } else {
                again |= key.caller.ended.is_cancelled();
            }
        }
        again
    }

    /// Something may be done again for keys that were over and are in use.
    pub fn begin_again(&mut self, now: Timestamp) {
        for key in self.keys.values_mut() {
            if key.caller.ended.is_cancelled() && key.state(now).is_ok() {
                key.caller.ended = CancellationToken::new();
            }
        }
    }

    /// Who holds the key.
    ///
    /// # Errors
    /// When nobody does, or the key is not in use any more.
    pub fn holder(&self, key: &[u8], now: Timestamp) -> Result<&Caller, Denied> {
        let hash = api_key::hash(key);
        let known = self.keys.get(&hash).filter(|known| bool::from(known.hash.ct_eq(&hash)));
        let known = known.ok_or(Denied::UnknownKey)?;
        known.state(now).map(|()| &known.caller)
    }

    /// Whether there is none, in use or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Known {
    fn is_stored(&self) -> bool {
        self.caller.id.is_stored_key()
    }

    fn state(&self, now: Timestamp) -> Result<(), Denied> {
        if self.is_revoked {
            Err(Denied::RevokedKey)
        } else if self.expires_at.is_some_and(|end| now >= end) {
            Err(Denied::ExpiredKey)
        } else {
            Ok(())
        }
    }
}

impl From<StoredKey> for Known {
    fn from(key: StoredKey) -> Self {
        let caller = Caller {
            id: key.id,
            name: key.name.into(),
            tenant: key.tenant,
            models: key.models.map(Into::into),
            limits: key.limits,
            ended: CancellationToken::new(),
        };
        Self { hash: key.hash, caller, expires_at: key.expires_at, is_revoked: key.revoked_at.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Limits;
    use crate::caller::{CallerId, TenantName};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn stored(key: &str) -> StoredKey {
        StoredKey {
            id: CallerId::new(&format!("key_{key}")),
            hash: api_key::hash(key.as_bytes()),
            name: key.to_owned(),
            tenant: TenantName::new("ann").unwrap(),
            models: None,
            limits: Limits::default(),
            created_at: NOW,
            expires_at: None,
            revoked_at: None,
        }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_the_keys_there_are_open_and_each_is_another_caller() {
        let mut ring = KeyRing::of_settings([&"alpha".into(), &"beta".into()]);
        ring.renew(vec![stored("gamma")], NOW);
        let ids: Vec<_> =
            ["alpha", "beta", "gamma"].map(|key| ring.holder(key.as_bytes(), NOW).unwrap().id.clone()).into();
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        for wrong in ["", "alph", "alpha ", "ALPHA", "alphabeta", "key_gamma"] {
            assert_eq!(ring.holder(wrong.as_bytes(), NOW).unwrap_err(), Denied::UnknownKey, "{wrong}");
        }
        assert!(!format!("{ring:?}").contains("alpha"));
    }

    #[test]
    fn what_is_done_for_a_key_ends_when_it_is_revoked_or_over_or_gone() {
        let mut ring = KeyRing::default();
        let expiring = StoredKey { expires_at: Some(second(10)), ..stored("two") };
        ring.renew(vec![stored("one"), expiring.clone(), stored("three"), stored("four")], NOW);
        let ended =
            |ring: &KeyRing, key: &str| ring.keys[&api_key::hash(key.as_bytes())].caller.ended.clone();
        let tokens = ["one", "two", "three", "four"].map(|key| ended(&ring, key));
        let revoked = StoredKey { revoked_at: Some(second(5)), ..stored("one") };
        ring.renew(vec![revoked, expiring, stored("four")], second(5));
        assert_eq!(tokens.each_ref().map(CancellationToken::is_cancelled), [true, false, true, false]);
        assert_eq!(ring.holder(b"one", second(5)).unwrap_err(), Denied::RevokedKey);
        assert_eq!(ring.holder(b"three", second(5)).unwrap_err(), Denied::UnknownKey);
        assert!(ring.holder(b"two", second(9)).is_ok());
        assert_eq!(ring.holder(b"two", second(10)).unwrap_err(), Denied::ExpiredKey);
        assert!(!ring.end_what_is_over(second(10)), "none is in use again");
        assert_eq!(tokens.each_ref().map(CancellationToken::is_cancelled), [true, true, true, false]);
    }

    #[test]
    fn a_key_that_is_in_use_again_is_served_again() {
        let mut ring = KeyRing::default();
        let expiring = StoredKey { expires_at: Some(second(10)), ..stored("one") };
        ring.renew(vec![expiring.clone(), stored("two")], NOW);
        let before = ring.holder(b"one", NOW).unwrap().ended.clone();
        // The system's time was wrong for a moment.
        assert!(!ring.end_what_is_over(second(10)));
        assert!(ring.end_what_is_over(second(5)));
        ring.begin_again(second(5));
        assert!(before.is_cancelled() && !ring.holder(b"one", second(5)).unwrap().ended.is_cancelled());
        // A database from before the revocation was put back.
        let revoked = StoredKey { revoked_at: Some(NOW), ..stored("two") };
        ring.renew(vec![expiring.clone(), revoked], second(5));
        ring.renew(vec![expiring, stored("two")], second(5));
        assert!(!ring.holder(b"two", second(5)).unwrap().ended.is_cancelled());
    }

    #[test]
    fn very_many_keys_are_taken_in_at_once() {
        let many = || (0..50_000).map(|number| stored(&number.to_string())).collect::<Vec<_>>();
        let mut ring = KeyRing::default();
        ring.renew(many(), NOW);
        let again = many();
        let begun = std::time::Instant::now();
        ring.renew(again, NOW);
        // Nobody is let in meanwhile.
        assert!(begun.elapsed().as_secs() < 3, "{:?}", begun.elapsed());
        assert!(ring.holder(b"7", NOW).is_ok());
    }

    #[test]
    fn a_key_of_the_settings_stays_whatever_the_store_says() {
        let mut ring = KeyRing::of_settings([&"alpha".into()]);
        ring.renew(vec![StoredKey { revoked_at: Some(NOW), ..stored("alpha") }], NOW);
        assert_eq!(ring.holder(b"alpha", NOW).unwrap().tenant, TenantName::default());
        ring.renew(Vec::new(), NOW);
        assert!(ring.holder(b"alpha", NOW).is_ok());
    }
}
