use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rsa::PrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of more than thirty-two characters";
const ISSUER: &str = "https://login.example.org";

/// A key pair: what signs, and what is given to Couplet.
struct Pair {
    algorithm: JwtAlgorithm,
    private: EncodingKey,
    public: String,
}

fn hs256() -> Pair {
    let private = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    Pair { algorithm: JwtAlgorithm::Hs256, private, public: SECRET.to_owned() }
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

fn eddsa() -> Pair {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let private = EncodingKey::from_ed_pem(pem("PRIVATE KEY", &pair.serialize_der()).as_bytes()).unwrap();
    let public = pem("PUBLIC KEY", &pair.subject_public_key_info());
    Pair { algorithm: JwtAlgorithm::EdDsa, private, public }
}

fn rs256_of(bits: usize) -> Pair {
    let key = PrivateKey::new(&mut UnwrapErr(SysRng), bits).unwrap();
    let private = key.to_pkcs1_pem(LineEnding::LF).unwrap();
    let public = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    Pair {
        algorithm: JwtAlgorithm::Rs256,
        private: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
        public,
    }
}

/// Made once: it takes a while.
fn rs256() -> &'static Pair {
    static PAIR: LazyLock<Pair> = LazyLock::new(|| rs256_of(2048));
    &PAIR
}

impl Pair {
    fn settings(&self) -> JwtSettings {
        JwtSettings {
            algorithm: self.algorithm,
            key: self.public.clone().into(),
            issuer: ISSUER.to_owned(),
            audience: "couplet".to_owned(),
        }
    }

    fn verifier(&self) -> JwtVerifier {
        JwtVerifier::new(&self.settings()).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm.in_header()), claims, &self.private).unwrap()
    }
}

fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "couplet", "sub": "ann", "exp": seconds_from_now(60)})
}

/// The claims with one of them changed, or left out where it is `null`.
fn claims_but(name: &str, value: &Value) -> Value {
    let mut claims = claims();
    let fields = claims.as_object_mut().unwrap();
    fields.remove(name);
    if !value.is_null() {
        fields.insert(name.to_owned(), value.clone());
    }
    claims
}

fn verdict(verifier: &JwtVerifier, token: &str) -> Result<Caller, Denied> {
    assert!(looks_like_one(token.as_bytes()), "{token}");
    verifier.bearer(token.as_bytes())
}

#[test]
fn a_token_of_each_algorithm_lets_its_subject_in() {
    for pair in [&hs256(), &eddsa(), rs256()] {
        let caller = verdict(&pair.verifier(), &pair.sign(&claims())).unwrap();
        assert_eq!((&*caller.name, caller.tenant), ("ann", TenantName::default()), "{:?}", pair.algorithm);
        assert_eq!(caller.models, None);
    }
}

#[test]
fn a_token_may_name_a_tenant_models_and_a_name() {
    let pair = hs256();
    let mut claims = claims();
    claims["tenant"] = json!("team");
    claims["models"] = json!(["sonnet"]);
    claims["name"] = json!("Ann");
    let caller = verdict(&pair.verifier(), &pair.sign(&claims)).unwrap();
    assert_eq!((&*caller.name, caller.tenant.as_str()), ("Ann", "team"));
    assert_eq!(caller.models.as_deref(), Some(&["sonnet".to_owned()][..]));
}

#[test]
fn each_subject_of_each_issuer_is_another_caller() {
    let pair = hs256();
    let other = JwtSettings { issuer: "https://other.example.org".to_owned(), ..pair.settings() };
    let other = JwtVerifier::new(&other).unwrap();
    let id = |verifier: &JwtVerifier, claims: &Value| verdict(verifier, &pair.sign(claims)).unwrap().id;
    let ann = id(&pair.verifier(), &claims());
    assert_eq!(ann, id(&pair.verifier(), &claims()));
    assert_ne!(ann, id(&pair.verifier(), &claims_but("sub", &json!("bob"))));
    assert_ne!(ann, id(&other, &claims_but("iss", &json!("https://other.example.org"))));
}

#[rstest]
#[case::no_expiry("exp", json!(null), "it lacks one of `exp`, `iss`, `aud` and `sub`")]
#[case::no_issuer("iss", json!(null), "it lacks one of `exp`, `iss`, `aud` and `sub`")]
#[case::no_audience("aud", json!(null), "it lacks one of `exp`, `iss`, `aud` and `sub`")]
#[case::expired("exp", json!(seconds_from_now(-60)), "it has expired")]
#[case::of_the_future("nbf", json!(seconds_from_now(300)), "it is not valid yet")]
#[case::another_issuer("iss", json!("https://evil.example.org"), "it is of another issuer")]
#[case::another_audience("aud", json!("other"), "it is for another audience")]
#[case::other_audiences("aud", json!(["other", "more"]), "it is for another audience")]
#[case::a_blank_subject("sub", json!(" "), "its `sub` or `name` is empty, too long or no plain text")]
#[case::a_long_subject("sub", json!("x".repeat(257)), "its `sub` or `name` is empty, too long or no plain text")]
#[case::a_name_of_two_lines("name", json!("a\nb"), "its `sub` or `name` is empty, too long or no plain text")]
#[case::a_tenant_that_is_a_path("tenant", json!("../x"), "its `tenant` is no name of a tenant")]
fn a_token_that_says_something_else_is_refused(#[case] claim: &str, #[case] value: Value, #[case] why: &str) {
    let pair = hs256();
    let verdict = verdict(&pair.verifier(), &pair.sign(&claims_but(claim, &value)));
    assert_eq!(verdict.unwrap_err().to_string(), format!("The JSON Web Token is not accepted: {why}."));
}

#[rstest]
#[case::no_subject("sub", json!(null))]
#[case::a_number_as_subject("sub", json!(7))]
#[case::a_text_as_expiry("exp", json!("tomorrow"))]
#[case::models_that_are_no_list("models", json!("sonnet"))]
fn a_token_with_claims_of_the_wrong_kind_is_refused(#[case] claim: &str, #[case] value: Value) {
    let pair = hs256();
    assert!(matches!(
        verdict(&pair.verifier(), &pair.sign(&claims_but(claim, &value))),
        Err(Denied::Token(_))
    ));
}

#[test]
fn one_of_several_audiences_is_enough() {
    let pair = hs256();
    let claims = claims_but("aud", &json!(["other", "couplet"]));
    assert!(verdict(&pair.verifier(), &pair.sign(&claims)).is_ok());
}

#[test]
fn a_signature_by_another_key_or_algorithm_is_refused() {
    let (pair, rsa) = (eddsa(), rs256());
    let refused = |verifier: &JwtVerifier, token: &str| verdict(verifier, token).unwrap_err().to_string();
    assert!(refused(&pair.verifier(), &eddsa().sign(&claims())).contains("signature"));
    for other in [&hs256(), rsa] {
        assert!(refused(&pair.verifier(), &other.sign(&claims())).contains("another algorithm"));
    }
    // The public key taken for the secret of HS256: the classic confusion.
    let forged = EncodingKey::from_secret(rsa.public.trim().as_bytes()).unwrap();
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &forged).unwrap();
    assert!(refused(&rsa.verifier(), &forged).contains("another algorithm"));
}

#[test]
fn a_token_that_is_not_signed_or_was_changed_is_refused() {
    let pair = hs256();
    let token = pair.sign(&claims());
    let [_, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    assert!(matches!(verdict(&pair.verifier(), &unsigned), Err(Denied::Token(_))));
    let other = pair.sign(&claims_but("sub", &json!("root")));
    let parts: Vec<&str> = other.split('.').collect();
    let changed = format!("{}.{}.{signature}", parts[0], parts[1]);
    assert!(matches!(verdict(&pair.verifier(), &changed), Err(Denied::Token("its signature is wrong"))));
    let long = format!("ey{}.x.y", "A".repeat(MAX_TOKEN));
    assert_eq!(verdict(&pair.verifier(), &long).unwrap_err(), Denied::Token("it is too long"));
}

#[test]
fn keys_that_are_too_weak_or_of_another_kind_are_refused_without_being_told() {
    let with = |algorithm, key: &str| {
        let settings = JwtSettings { algorithm, key: key.into(), ..hs256().settings() };
        JwtVerifier::new(&settings).map(drop)
    };
    let short = &SECRET[..31];
    let weak = rs256_of(1024).public;
    for (algorithm, key) in [
        (JwtAlgorithm::Hs256, short),
        (JwtAlgorithm::Hs256, &*eddsa().public),
        (JwtAlgorithm::EdDsa, SECRET),
        (JwtAlgorithm::EdDsa, &*rs256().public),
        (JwtAlgorithm::Rs256, SECRET),
        (JwtAlgorithm::Rs256, &*weak),
    ] {
        let refused = with(algorithm, key).unwrap_err();
        assert!(!refused.contains(short) && refused.len() < 100, "{refused}");
    }
}
