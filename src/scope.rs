//! Within which processes and conversations may be shared.

use sha2::{Digest, Sha256};

/// Within which processes and conversations may be shared: what one caller of one tenant asks, or anyone where there are no
/// keys. Nothing that belongs to one scope is ever used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

impl Scope {
    /// Everyone, on a server without keys.
    #[must_use]
    pub fn anyone() -> Self {
        Self(Sha256::digest(b"couplet: anyone").into())
    }

    /// The caller with this id, of this tenant.
    #[must_use]
    pub fn of_caller(tenant: &str, caller: &str) -> Self {
        let mut hash = Sha256::new().chain_update("couplet scope\n");
        for part in [tenant, caller] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// What tells scopes apart. It is a hash and no secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_of_each_tenant_has_its_own() {
        let scopes = [("a", "bc"), ("ab", "c"), ("a", "b"), ("", "abc")]
            .map(|(tenant, caller)| Scope::of_caller(tenant, caller));
        for (index, scope) in scopes.iter().enumerate() {
            assert!(!scopes[..index].contains(scope) && *scope != Scope::anyone(), "{index}");
        }
    }
}
