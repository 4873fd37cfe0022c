//! `GET /version`: what runs here.

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::App;
use super::guard::Asker;

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/version", get(version))
}

async fn version(State(app): State<App>, Extension(asker): Extension<Asker>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "claude_cli_version": asker.claude.cli_version().await.ok(),
        "mode": app.http.mode.as_str(),
    }))
}
