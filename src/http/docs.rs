//! `GET /docs`: what is served here, for people. A page of its own that asks nobody else for anything: it draws
//! `/openapi.json`, and lets its reader try requests.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::App;

const PAGE: &str = include_str!("docs/page.html");
const STYLE: &str = include_str!("docs/style.css");

/// The script, in the order in which its parts build on each other.
const SCRIPT: &str = concat!(
    "'use strict';\n",
    include_str!("docs/schema.js"),
    include_str!("docs/request.js"),
    include_str!("docs/page.js"),
);

/// Nothing but what this server has, no script or style within the page, and no page around it. The key that a reader
/// types can go nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes; they opt out of the key: the page tells nothing of users.
pub fn router() -> Router<App> {
    Router::new()
        .route("/docs", get(|| async { file("text/html; charset=utf-8", PAGE) }))
        // The page names its parts from where it is.
        .route("/docs/", get(|| async { Redirect::permanent("../docs") }))
        .route("/docs/style.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/docs/script.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
