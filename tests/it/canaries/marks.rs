//! Canaries: texts that nothing else holds, and the search for them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every canary begins with.
pub const CANARY: &str = "zqcanary";

/// The sign-in.
pub const TOKEN: &str = "sk-ant-oat01-zqcanary-token";
/// A key of the settings.
pub const KEY: &str = "zqcanary-key-of-the-settings";
/// The operator's key.
pub const ADMIN_KEY: &str = "zqcanary-adminkey";
/// What JSON Web Tokens are signed with.
pub const JWT_SECRET: &str = "zqcanary-jwtsecret-of-more-than-thirty-two-characters";

/// The kinds of canaries that nobody is ever told, not even whoever sent them.
pub const SECRETS: [&str; 5] = ["token", "key", "adminkey", "jwtsecret", "encoded"];

/// Other forms in which a canary might be written.
static ENCODED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let hex = CANARY.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    // Where it stands among the bytes decides how base64 writes it; what its neighbours touch is left out.
    let in_base64 = (0..3).map(|before| {
        let encoded = STANDARD.encode([&b"xxx"[..before], CANARY.as_bytes()].concat());
        let inner = (before * 8).div_ceil(6)..(before + CANARY.len()) * 8 / 6;
        encoded[inner].to_owned()
    });
    in_base64.chain([hex]).collect()
});

/// A canary of this kind, of one scenario.
pub fn mark(kind: &str, scenario: usize) -> String {
    format!("{CANARY}-{kind}-{scenario}")
}

/// The kinds of all canaries in there; `encoded` for those in base64 or hexadecimal digits.
pub fn found(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let plain = text.to_ascii_lowercase();
    let kind = |(at, _): (usize, &str)| -> String {
        plain[at + CANARY.len()..].chars().skip(1).take_while(char::is_ascii_lowercase).collect()
    };
    let mut found: BTreeSet<String> = plain.match_indices(CANARY).map(kind).collect();
    if ENCODED.iter().any(|form| text.contains(form)) {
        found.insert("encoded".to_owned());
    }
    found
}

#[test]
fn a_canary_is_found_in_every_form() {
    for text in [
        mark("user", 7),
        mark("user", 7).to_uppercase(),
        format!("\0\u{ff}{}", mark("user", 7)),
        format!(r#"{{"a":"{}"}}"#, mark("user", 7)),
    ] {
        assert_eq!(found(text.as_bytes()), ["user".to_owned()].into(), "{text}");
    }
    for before in ["", "a", "ab", "abc"] {
        let encoded = STANDARD.encode(format!("{before}{}", mark("user", 7)));
        assert_eq!(found(encoded.as_bytes()), ["encoded".to_owned()].into(), "{encoded}");
    }
    assert!(found(b"a canary, and zq").is_empty());
}
