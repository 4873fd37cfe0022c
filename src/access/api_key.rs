//! What a key looks like, and the hash it is known by.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::caller::CallerId;

/// What every key made here begins with, so that people and scanners for leaked secrets know one when they see it.
const PREFIX: &str = "sk-couplet-";

/// Random bytes of a key: 192 bits, so that a plain hash of it tells nothing.
const RANDOM: usize = 24;

/// The longest name of a key, in characters.
const MAX_NAME: usize = 64;

/// SHA-256 of a key.
pub type KeyHash = [u8; 32];

/// Makes a new key and its id.
///
/// # Errors
/// When the system has no randomness to give.
pub fn make() -> Result<(CallerId, SecretString), getrandom::Error> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random)?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    getrandom::fill(&mut random[..8])?;
    let id = format!("{}{}", CallerId::OF_STORED_KEYS, hex(&random[..8]));
    Ok((CallerId::new(&id), key.into()))
}

/// The hash of a key.
#[must_use]
pub fn hash(key: &[u8]) -> KeyHash {
    Sha256::digest(key).into()
}

/// The hash of a key that is a secret of the settings.
#[must_use]
pub fn hash_of(key: &SecretString) -> KeyHash {
    hash(key.expose_secret().as_bytes())
}

/// The id of a key of the settings. Its hash tells such keys apart; a part of it is enough to name one, and too little to find
/// the key by.
#[must_use]
pub fn id_of_configured(hash: &KeyHash) -> CallerId {
    CallerId::new(&format!("env_{}", hex(&hash[..8])))
}

/// Why a text cannot be the name of a key; `None` where it can.
#[must_use]
pub fn problem_of_name(name: &str) -> Option<&'static str> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME {
        Some("a name has 1 to 64 characters")
    } else if name.chars().any(char::is_control) || name.trim() != name {
        Some("a name has no control characters, and no blanks at its ends")
    } else if name.starts_with(CallerId::OF_STORED_KEYS) {
        Some("a name does not begin with key_, as ids do")
    } else {
        None
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a text cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashSet;

    #[test]
    fn each_key_is_another_of_192_bits() {
        let made: Vec<_> = (0..1000).map(|_| make().unwrap()).collect();
        let keys: HashSet<_> = made.iter().map(|(_, key)| key.expose_secret()).collect();
        let ids: HashSet<_> = made.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((keys.len(), ids.len()), (1000, 1000));
        for (id, key) in &made {
            let random = key.expose_secret().strip_prefix(PREFIX).unwrap();
            assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len() * 8, 192);
            assert!(
                !random.contains(&id.as_str()[CallerId::OF_STORED_KEYS.len()..]),
                "the id tells nothing of the key"
            );
        }
    }

    #[rstest]
    #[case("laptop", true)]
    #[case("Ann's phone", true)]
    #[case("", false)]
    #[case(" laptop", false)]
    #[case("two\nlines", false)]
    #[case("key_0123", false)]
    fn a_name_is_a_short_line_that_is_no_id(#[case] name: &str, #[case] is: bool) {
        assert_eq!(problem_of_name(name).is_none(), is);
    }
}
