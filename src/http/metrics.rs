//! `GET /metrics`: what Prometheus reads.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;

/// The text format that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/metrics", get(read))
}

async fn read(State(app): State<App>) -> Response {
    let cli_version = app.tenants.cli_version().await.ok().map(ToOwned::to_owned);
    ([(CONTENT_TYPE, TEXT)], app.metrics.read(cli_version).await).into_response()
}
