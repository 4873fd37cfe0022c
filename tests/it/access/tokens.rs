//! JSON Web Tokens beside keys, as the operator sets them up.

use std::time::SystemTime;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::server::Server;

const SECRET: &str = "a secret of the tests, longer than thirty-two characters";

fn token(secret: &str, algorithm: Algorithm, changed: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let mut claims =
        json!({"iss": "https://login.example.org", "aud": "couplet", "sub": "ann", "exp": now + 60});
    for (name, value) in changed.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
    encode(&Header::new(algorithm), &claims, &key).expect("a token")
}

const SETTINGS: [(&str, &str); 5] = [
    ("PATH", "/nowhere"),
    ("COUPLET_JWT_ALGORITHM", "HS256"),
    ("COUPLET_JWT_KEY", SECRET),
    ("COUPLET_JWT_ISSUER", "https://login.example.org"),
    ("COUPLET_JWT_AUDIENCE", "couplet"),
];

async fn verdict(server: &Server, header: &str, value: &str) -> (u16, Value) {
    let request = reqwest::Client::new().get(format!("{}/v1/models", server.url)).header(header, value);
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn tokens_and_keys_open_the_same_door_in_the_same_forms() {
    let server = Server::start(&[&SETTINGS[..], &[("COUPLET_API_KEYS", "a-key")]].concat()).await;
    let good = token(SECRET, Algorithm::HS256, &json!({}));
    for right in [good.as_str(), "a-key"] {
        assert_eq!(verdict(&server, "authorization", &format!("Bearer {right}")).await.0, 200, "{right}");
        assert_eq!(verdict(&server, "x-api-key", right).await.0, 200, "{right}");
    }
    let forged = token(&SECRET.replace('a', "b"), Algorithm::HS256, &json!({}));
    let other_algorithm = token(SECRET, Algorithm::HS512, &json!({}));
    let expired = token(SECRET, Algorithm::HS256, &json!({"exp": 1000}));
    let of_a_tenant = token(SECRET, Algorithm::HS256, &json!({"tenant": "nobody"}));
    for (wrong, status, word) in [
        (&forged, 401, "signature"),
        (&other_algorithm, 401, "algorithm"),
        (&expired, 401, "expired"),
        (&of_a_tenant, 403, "COUPLET_TENANTS"),
        (&"eyJ.x.y".to_owned(), 401, "malformed"),
    ] {
        let (got, body) = verdict(&server, "authorization", &format!("Bearer {wrong}")).await;
        assert_eq!(got, status, "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains(word)), "{word}: {body}");
    }
    let log = server.stop().await;
    for secret in [SECRET, &good, &forged, "a-key"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn with_tokens_alone_nobody_comes_in_without_one() {
    let server = Server::start(&SETTINGS).await;
    assert_eq!(verdict(&server, "x-api-key", "anything").await.0, 401);
    let good = token(SECRET, Algorithm::HS256, &json!({"models": ["haiku"]}));
    let (status, list) = verdict(&server, "x-api-key", &good).await;
    assert_eq!(status, 200);
    let ids =
        list["data"].as_array().expect("a list").iter().map(|model| model["id"].as_str().expect("an id"));
    assert!(ids.clone().any(|id| id == "haiku") && ids.clone().all(|id| id.contains("haiku")), "{list}");
}

#[rstest]
#[case::without_an_issuer(&[("COUPLET_JWT_ISSUER", "")], "all of COUPLET_JWT_ALGORITHM")]
#[case::without_a_key(&[("COUPLET_JWT_KEY", "")], "all of COUPLET_JWT_ALGORITHM")]
#[case::with_a_short_secret(&[("COUPLET_JWT_KEY", "short")], "at least 32 characters")]
#[case::with_a_secret_as_public_key(&[("COUPLET_JWT_ALGORITHM", "EdDSA")], "PEM")]
#[case::with_an_algorithm_that_is_none(&[("COUPLET_JWT_ALGORITHM", "none")], "HS256, RS256, EdDSA")]
fn settings_that_would_let_anybody_in_are_refused(#[case] changed: &[(&str, &str)], #[case] reason: &str) {
    let said = Server::refused(&[&SETTINGS[..], changed].concat());
    assert!(said.contains(reason) && !said.contains(SECRET), "{said}");
}
