//! Whatever comes as a key: nobody comes in but who has one, and on whose behalf he asks is what his token says.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use couplet::access::jwt::{JwtAlgorithm, JwtSettings, JwtVerifier, looks_like_one};
use couplet::access::{Access, AccessSettings};
use couplet::caller::TenantName;
use couplet::store::Store;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use serde_json::{Value, json};

const KEY: &str = "sk-couplet-of-the-settings";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// In the year 2100.
const LATE: u64 = 4_102_444_800;

#[derive(Debug, Arbitrary)]
enum Given {
    Bytes(Vec<u8>),
    Claims {
        subject: String,
        name: Option<String>,
        tenant: Option<String>,
        models: Option<Vec<String>>,
        change: Change,
    },
    /// A token of another header.
    Forged {
        header: String,
        payload: String,
        signature: Vec<u8>,
    },
}

#[derive(Debug, Arbitrary)]
enum Change {
    Nothing,
    Byte { at: u16, to: u8 },
    Issuer(String),
    Audience(String),
    Expired(u32),
    NotYet(u32),
    OtherSecret,
    WithoutExpiry,
}

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let settings = JwtSettings {
        algorithm: JwtAlgorithm::Hs256,
        key: SecretString::from(SECRET),
        issuer: "issuer".to_owned(),
        audience: "couplet".to_owned(),
    };
    let jwt = JwtVerifier::new(&settings).expect("a verifier");
    let settings = AccessSettings { keys: vec![SecretString::from(KEY)], jwt: Some(jwt), admin_key: None };
    Access::new(&settings, Store::in_memory().expect("a store")).expect("access")
});

fn signed(claims: &Value, secret: &str) -> Vec<u8> {
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a key");
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token").into_bytes()
}

fn expect_stranger(offered: &[u8]) {
    let denied = ACCESS.caller(Some(offered)).expect_err("he has no key");
    assert!(ACCESS.admin(Some(offered)).is_err() && ACCESS.observer(Some(offered)).is_err());
    assert!(!denied.to_string().is_empty());
}

fn is_word(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 256 && !text.contains(char::is_control)
}

fuzz_target!(|given: Given| match given {
    Given::Bytes(bytes) if bytes == KEY.as_bytes() => {
        ACCESS.caller(Some(&bytes)).expect("he has a key");
    }
    Given::Bytes(bytes) => expect_stranger(&bytes),
    Given::Forged { header, payload, signature } => {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let [header, payload, signature] =
            [header.as_bytes(), payload.as_bytes(), &signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        expect_stranger(format!("{header}.{payload}.{signature}").as_bytes());
    }
    Given::Claims { subject, name, tenant, models, change } => {
        let mut claims = json!({"iss": "issuer", "aud": "couplet", "exp": LATE, "sub": subject});
        let optional = [("name", json!(name)), ("tenant", json!(tenant)), ("models", json!(models))];
        for (key, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
            claims[key] = value;
        }
        let mut token = signed(&claims, SECRET);
        let untouched = token.clone();
        match &change {
            Change::Nothing => {}
            Change::Byte { at, to } => {
                let at = usize::from(*at) % token.len();
                token[at] = *to;
            }
            Change::Issuer(issuer) => claims["iss"] = json!(issuer),
            Change::Audience(audience) => claims["aud"] = json!(audience),
            Change::Expired(at) => claims["exp"] = json!(at % 1_700_000_000),
            Change::NotYet(after) => claims["nbf"] = json!(LATE - 1 - u64::from(after % 1000)),
            Change::OtherSecret => token = signed(&claims, "fedcba9876543210fedcba9876543210"),
            Change::WithoutExpiry => drop(claims.as_object_mut().map(|claims| claims.remove("exp"))),
        }
        if !matches!(change, Change::Byte { .. } | Change::OtherSecret | Change::Nothing) {
            token = signed(&claims, SECRET);
        }
        if token != untouched {
            return expect_stranger(&token);
        }
        assert!(looks_like_one(&token));
        let tenant_is_one = tenant.as_deref().is_none_or(|name| TenantName::new(name).is_some());
        let is_taken =
            is_word(&subject) && name.as_deref().is_none_or(is_word) && tenant_is_one && token.len() <= 8192;
        match ACCESS.caller(Some(&token)) {
            Ok(caller) => {
                assert!(is_taken, "{caller:?}");
                assert_eq!(&*caller.name, name.as_deref().unwrap_or(&subject));
                let expected = tenant.and_then(|name| TenantName::new(&name)).unwrap_or_default();
                assert_eq!(caller.tenant, expected);
                assert_eq!(caller.models.map(|models| models.to_vec()), models);
            }
            Err(denied) => assert!(!is_taken || token.len() > 2048, "{denied}"),
        }
    }
});
