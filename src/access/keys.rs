//! The keys that let a client in.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, CallerId, TenantName};
use crate::limits::Limits;

/// The accepted keys, kept as hashes.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    hashes: Vec<[u8; 32]>,
    /// Those that belong to somebody in particular.
    named: Vec<([u8; 32], Caller)>,
}

impl ApiKeys {
    /// Keeps the hashes of `keys`.
    #[must_use]
    pub fn from_secrets(keys: impl IntoIterator<Item = SecretString>) -> Self {
        let hashes = keys.into_iter().map(|key| hash(key.expose_secret().as_bytes())).collect();
        Self { hashes, named: Vec::new() }
    }

    /// Accepts one more key, which is held by that caller.
    #[must_use]
    pub fn with_caller(mut self, key: &SecretString, caller: Caller) -> Self {
        self.named.push((hash(key.expose_secret().as_bytes()), caller));
        self
    }

    /// Whether no key is configured; then any key, or none, is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.named.is_empty()
    }

    /// Who holds `key`, if it is one of them. Takes the same time for each key of a length, right or wrong.
    #[must_use]
    pub fn accept(&self, key: &[u8]) -> Option<Caller> {
        let offered = hash(key);
        let found = self.hashes.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&offered));
        let named = self.named.iter().fold(None, |found, (known, caller)| {
            if bool::from(known.ct_eq(&offered)) { Some(caller) } else { found }
        });
        named.cloned().or_else(|| bool::from(found).then(|| configured(&offered)))
    }
}

/// Whoever holds a key of the settings. Its hash tells such keys apart; a part of it is enough to name one, and too little to
/// find the key by.
fn configured(hash: &[u8; 32]) -> Caller {
    let id = format!("env_{}", hex(&hash[..8]));
    Caller {
        id: CallerId::new(&id),
        name: id.into(),
        tenant: TenantName::default(),
        models: None,
        limits: Limits::default(),
        ended: CancellationToken::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_keys_are_accepted() {
        let keys = ApiKeys::from_secrets(["alpha".into(), "beta".into()]);
        let (alpha, beta) = (keys.accept(b"alpha").unwrap().id, keys.accept(b"beta").unwrap().id);
        assert_ne!(alpha, beta);
        assert_eq!(keys.accept(b"alpha").unwrap().id, alpha);
        for wrong in ["", "alph", "alpha ", "ALPHA", "alphabeta"] {
            assert!(keys.accept(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(ApiKeys::default().accept(b"").is_none());
        assert!(!format!("{keys:?}").contains("alpha"));
    }
}
