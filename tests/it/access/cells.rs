//! Every route with every form in which a key can come: the verdict depends on who may do what, never on the way it is asked.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use couplet::access::AccessSettings;
use couplet::access::jwt::{JwtAlgorithm, JwtSettings};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{StoredKey, store, stored};
use crate::support::app::{Builder, TestApp};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

const SECRET: &str = "a secret of the tests, longer than thirty-two characters";

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    /// Everybody.
    All,
    /// Whoever holds a key of the server.
    Holders,
    /// The operator; where there is no admin key, whoever holds a key.
    Observers,
    /// The operator alone.
    Operator,
}

const ROUTES: &[(For, &str, &str)] = &[
    (For::All, "GET", "/health"),
    (For::All, "GET", "/health/live"),
    (For::All, "GET", "/health/ready"),
    (For::All, "GET", "/openapi.json"),
    (For::All, "GET", "/docs"),
    (For::Holders, "POST", "/v1/chat/completions"),
    (For::Holders, "POST", "/chat/completions"),
    (For::Holders, "POST", "/v1/completions"),
    (For::Holders, "POST", "/completions"),
    (For::Holders, "POST", "/v1/messages"),
    (For::Holders, "POST", "/messages"),
    (For::Holders, "POST", "/v1/messages/count_tokens"),
    (For::Holders, "POST", "/messages/count_tokens"),
    (For::Holders, "GET", "/v1/models"),
    (For::Holders, "GET", "/models"),
    (For::Holders, "GET", "/v1/models/x"),
    (For::Holders, "GET", "/models/x/y"),
    (For::Holders, "GET", "/version"),
    (For::Holders, "GET", "/auth/status"),
    (For::Holders, "GET", "/auth/login-instructions"),
    (For::Holders, "GET", "/"),
    (For::Holders, "GET", "/v1/nothing"),
    (For::Holders, "POST", "/v1/embeddings"),
    (For::Holders, "DELETE", "/v1/models"),
    (For::Holders, "GET", "/v1/chat/completions"),
    (For::Observers, "GET", "/metrics"),
    (For::Operator, "POST", "/auth/logout"),
    (For::Operator, "POST", "/admin/cli"),
    (For::Operator, "GET", "/admin/usage"),
    (For::Operator, "GET", "/admin/nothing"),
];

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Nobody,
    Holder,
    Operator,
}

/// A form of a key: its name, the headers that are sent, and whose key it is.
type Form = (String, Vec<(&'static str, String)>, Whose);

/// Forms of keys: what is sent, and whose key the server must take it for.
fn forms() -> Vec<Form> {
    let keys = [
        ("a key of the settings", "of-the-settings".to_owned(), Whose::Holder),
        ("a key that was made", "made".to_owned(), Whose::Holder),
        ("a token", token(&json!({})), Whose::Holder),
        ("the admin key", "of-the-operator".to_owned(), Whose::Operator),
        ("a wrong key", "wrong".to_owned(), Whose::Nobody),
        ("a key with more behind it", "made2".to_owned(), Whose::Nobody),
        ("a key in capitals", "MADE".to_owned(), Whose::Nobody),
        ("the name of a key", "key_made".to_owned(), Whose::Nobody),
        ("a revoked key", "revoked".to_owned(), Whose::Nobody),
        ("an expired key", "expired".to_owned(), Whose::Nobody),
        ("an expired token", token(&json!({"exp": 1000})), Whose::Nobody),
        ("a token for others", token(&json!({"aud": "others"})), Whose::Nobody),
        (
            "an unsigned token",
            format!("eyJhbGciOiJub25lIn0.{}.", token(&json!({})).split('.').nth(1).expect("claims")),
            Whose::Nobody,
        ),
    ];
    let mut forms = vec![
        ("nothing".to_owned(), vec![], Whose::Nobody),
        ("an empty bearer".to_owned(), vec![("authorization", "Bearer ".to_owned())], Whose::Nobody),
        ("an empty key".to_owned(), vec![("x-api-key", String::new())], Whose::Nobody),
    ];
    for (name, key, whose) in &keys {
        for (header, scheme) in
            [("authorization", "Bearer "), ("authorization", "bEARER  "), ("x-api-key", "")]
        {
            forms.push((
                format!("{name}, {header}: {scheme}"),
                vec![(header, format!("{scheme}{key}"))],
                *whose,
            ));
        }
        for scheme in ["", "Basic ", "Token "] {
            let header = ("authorization", format!("{scheme}{key}"));
            forms.push((format!("{name}, authorization: {scheme}"), vec![header], Whose::Nobody));
        }
        // The bearer counts.
        let both = |bearer: &str, other: &str| {
            vec![("authorization", format!("Bearer {bearer}")), ("x-api-key", other.to_owned())]
        };
        forms.push((format!("{name} before a wrong one"), both(key, "wrong"), *whose));
        forms.push((format!("{name} behind a wrong one"), both("wrong", key), Whose::Nobody));
        forms.push((
            format!("{name} in a cookie"),
            vec![("cookie", format!("api_key={key}"))],
            Whose::Nobody,
        ));
        forms.push((format!("{name} in another header"), vec![("api-key", key.clone())], Whose::Nobody));
    }
    forms
}

fn token(changed: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let mut claims = json!({"iss": "issuer", "aud": "couplet", "sub": "ann", "exp": now + 600});
    for (name, value) in changed.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(SECRET.as_bytes()).expect("a secret"),
    )
    .expect("a token")
}

async fn app(admin_key: Option<&str>) -> TestApp {
    let jwt = JwtSettings {
        algorithm: JwtAlgorithm::Hs256,
        key: SECRET.into(),
        issuer: "issuer".to_owned(),
        audience: "couplet".to_owned(),
    };
    let access = AccessSettings {
        keys: vec!["of-the-settings".into()],
        admin_key: admin_key.map(Into::into),
        ..AccessSettings::default()
    };
    let access = access.with_jwt(&jwt).expect("a verifier");
    let app = Builder::new(std::path::Path::new("/no/such/cli"))
        .await
        .with(|config| config.access = access)
        .start()
        .await;
    let made = Timestamp::now() - Duration::from_secs(60);
    for key in [
        stored("made"),
        StoredKey { revoked_at: Some(Timestamp::now()), ..stored("revoked") },
        StoredKey { created_at: made, expires_at: Some(made + Duration::from_secs(1)), ..stored("expired") },
    ] {
        assert!(store(&app).add_key(&key).expect("kept"));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    app
}

/// What is said of who asks: `in` for whatever the route itself says.
async fn verdict(
    app: &TestApp,
    method: &str,
    path: &str,
    headers: &[(&'static str, String)],
) -> &'static str {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = reqwest::Client::new().request(method.clone(), format!("{}{path}", app.url));
    if method == Method::POST {
        // What no route takes, so that nothing is done.
        request = request.header("content-type", "application/json").body("[]");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = request.send().await.expect("an answer");
    let (status, is_asked) =
        (response.status().as_u16(), response.headers().contains_key("www-authenticate"));
    assert_eq!(status == 401, is_asked, "a 401 says how to ask: {method} {path}");
    match status {
        401 => "unauthorized",
        403 => "forbidden",
        _ => "in",
    }
}

fn expected(route: For, whose: Whose, has_admin_key: bool) -> &'static str {
    // Where there is no admin key, that of the operator is a wrong key.
    let whose = if whose == Whose::Operator && !has_admin_key { Whose::Nobody } else { whose };
    let may = match route {
        For::All => true,
        For::Holders => whose == Whose::Holder,
        For::Observers => whose == if has_admin_key { Whose::Operator } else { Whose::Holder },
        For::Operator if !has_admin_key => return "forbidden",
        For::Operator => whose == Whose::Operator,
    };
    if may { "in" } else { "unauthorized" }
}

async fn every_cell_is_as_expected(admin_key: Option<&str>) {
    let app = app(admin_key).await;
    let forms = forms();
    let mut cells = BTreeMap::new();
    for (name, headers, whose) in &forms {
        for (route, method, path) in ROUTES {
            let got = verdict(&app, method, path, headers).await;
            assert_eq!(got, expected(*route, *whose, admin_key.is_some()), "{method} {path} with {name}");
            *cells.entry((*route, got)).or_insert(0_u32) += 1;
        }
    }
    println!(
        "{} forms × {} routes = {} cells: {cells:?}",
        forms.len(),
        ROUTES.len(),
        forms.len() * ROUTES.len()
    );
    assert!(forms.len() * ROUTES.len() >= 300);
    let mut seen = Seen::default();
    for ((_, got), times) in cells {
        let is_in = got == "in";
        seen.note_all(if is_in { "in, for the same who are in in any form" } else { got }, times as usize);
    }
    let operator = if admin_key.is_some() { "with an admin key" } else { "without an admin key" };
    let fault = format!("every form in which a key or none can come, at every route, {operator}");
    seen.tell(Class::Hostile, &fault, Asked::Either);
}

#[tokio::test]
async fn each_route_says_the_same_of_each_form_of_a_key() {
    every_cell_is_as_expected(Some("of-the-operator")).await;
}

#[tokio::test]
async fn without_an_admin_key_nobody_is_the_operator() {
    every_cell_is_as_expected(None).await;
}

/// Keys in URLs end up in logs and histories.
#[tokio::test]
async fn a_key_in_the_url_opens_nothing() {
    let app = app(None).await;
    for path in ["/v1/models?key=made", "/v1/models?api_key=made", "/v1/models?access_token=made"] {
        assert_eq!(verdict(&app, "GET", path, &[]).await, "unauthorized", "{path}");
    }
}
