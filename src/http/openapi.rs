//! `GET /openapi.json`: what is served here, for programs. Written by hand; `tests/it/openapi` holds it to what is true.

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;

use super::App;

/// The document as it is written.
const WRITTEN: &str = include_str!("openapi/openapi.json");

/// What stands in it for the version.
const NO_VERSION: &str = r#""version": "0.0.0""#;

/// What it says of keys.
const WITH_A_KEY: &str = r#""security": [{"bearer": []}, {"apiKey": []}]"#;

/// And where none is needed.
const WITH_ANY_KEY: &str = r#""security": [{}, {"bearer": []}, {"apiKey": []}]"#;

/// The route; it opts out of the key: the document tells nothing of users.
pub fn router() -> Router<App> {
    let (keyed, keyless) = (Bytes::from(document(false)), Bytes::from(document(true)));
    let answer = move |State(app): State<App>| async move {
        // The first key that is made closes an open server.
        let document = if app.access.is_open() { keyless } else { keyed };
        ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], document).into_response()
    };
    Router::new().route("/openapi.json", get(answer))
}

/// The document for this server. `is_keyless`: any key will do, and none.
fn document(is_keyless: bool) -> String {
    let version = format!(r#""version": "{}""#, env!("CARGO_PKG_VERSION"));
    let document = WRITTEN.replacen(NO_VERSION, &version, 1);
    if is_keyless { document.replacen(WITH_A_KEY, WITH_ANY_KEY, 1) } else { document }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn it_tells_the_version_and_whether_a_key_is_needed() {
        let read = |is_keyless| serde_json::from_str::<Value>(&document(is_keyless)).unwrap();
        let (keyed, keyless) = (read(false), read(true));
        assert_eq!(keyed["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(keyed["security"], json!([{"bearer": []}, {"apiKey": []}]));
        assert_eq!(keyless["security"], json!([{}, {"bearer": []}, {"apiKey": []}]));
    }
}
