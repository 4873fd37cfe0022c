//! `POST /admin/cli`: harmless commands of the CLI, for the server's operator.

use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, operator};
use crate::claude::cli_command::CliCommand;
use crate::openai::error::ApiError;
use crate::translate::failure;
use crate::wall_clock;

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/admin/cli", post(run))
}

#[derive(Debug, Default, Deserialize)]
struct Order {
    /// Anything: what is no command is told so, whatever it is.
    #[serde(default)]
    command: Value,
    tenant: Option<String>,
}

async fn run(State(app): State<App>, request: Request) -> Result<Json<Value>, ApiError> {
    let order: Order = operator::order(request).await?;
    let command = order.command.as_str().and_then(CliCommand::named).ok_or_else(not_allowed)?;
    let (_, claude) = operator::tenant(&app, order.tenant.as_deref())?;
    let output = claude.run_command(command).await;
    let output = output.map_err(|error| failure::api_error(&error, wall_clock::now()))?;
    Ok(Json(json!({
        "command": command.name(),
        "exit_code": output.exit_code,
        "stdout": output.stdout,
        "stderr": output.stderr,
        "truncated": output.is_cut,
        "timed_out": !output.in_time,
        "duration_ms": u64::try_from(output.took.as_millis()).unwrap_or(u64::MAX),
    })))
}

fn not_allowed() -> ApiError {
    let allowed = CliCommand::ALL.map(|command| format!("\"{}\"", command.name())).join(", ");
    ApiError::invalid_request("command", format!("'command' must be one of {allowed}."))
        .with_code("invalid_value")
}
