//! On whose behalf a question is asked.

use sha2::{Digest, Sha256};

/// On whose behalf a question is asked: whoever holds one of the server's keys, or anyone where there are none. Nothing
/// that belongs to one tenant is ever used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenant([u8; 32]);

impl Tenant {
    /// Everyone, on a server without keys.
    #[must_use]
    pub fn anyone() -> Self {
        Self(Sha256::digest(b"couplet: anyone").into())
    }

    /// The holder of the key with this hash.
    #[must_use]
    pub fn of_key(key_hash: [u8; 32]) -> Self {
        Self(Sha256::new().chain_update(b"couplet tenant\n").chain_update(key_hash).finalize().into())
    }

    /// What tells tenants apart. It is a hash and no secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
