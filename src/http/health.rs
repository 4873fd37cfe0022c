//! `/health`: for people, process managers and load balancers. Open to all; tells nothing of users or prompts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::App;
use crate::claude::session::unknown_frames;

/// The routes; they opt out of the key.
pub fn router() -> Router<App> {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

/// What the server is and how it is doing.
async fn health(State(app): State<App>) -> Response {
    let (status, reason) = state(&app).await;
    let processes = app.tenants.processes();
    let sandbox = app.tenants.sandbox();
    let body = json!({
        "status": if status == StatusCode::OK { "ok" } else { "unavailable" },
        "reason": reason,
        "mode": app.http.mode.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "claude_cli_version": app.tenants.cli_version().await.ok(),
        "tenants": app.tenants.number(),
        "free_places": app.tenants.free_places(),
        "usage_limit": app.tenants.default().map(|claude| claude.subscription().standing.as_str()),
        "queued": processes.queued,
        "processes": {
            "starting": processes.warm.starting,
            "generic": processes.warm.generic,
            "prepared": processes.warm.prepared,
            "working": processes.working,
            "live": processes.kept.live,
            "parked": processes.kept.parked,
        },
        "memory": {"used_bytes": processes.memory_used, "budget_bytes": processes.memory_budget},
        "sandbox": {"mode": sandbox.as_str(), "confines": sandbox.confines()},
        "unknown_frames": unknown_frames(),
    });
    (status, Json(body)).into_response()
}

/// Whether the process works at all.
async fn live() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

/// Whether requests should be sent here.
async fn ready(State(app): State<App>) -> Response {
    let (status, reason) = state(&app).await;
    let word = if status == StatusCode::OK { "ok" } else { "unavailable" };
    (status, Json(json!({"status": word, "reason": reason}))).into_response()
}

async fn state(app: &App) -> (StatusCode, Option<String>) {
    if app.tenants.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Some("the server is shutting down".to_owned()));
    }
    match app.tenants.cli_version().await {
        Ok(_) => (StatusCode::OK, None),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, Some(failure.to_string())),
    }
}
