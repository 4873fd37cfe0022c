//! `GET /v1/models` and `/v1/models/{id}`.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};

use super::App;
use crate::openai::error::ApiError;
use crate::openai::model::{Model, ModelList};
use crate::translate::{failure, models};
use crate::turn::Turn;

/// The routes. Ids may contain slashes.
pub fn router() -> Router<App> {
    Router::new().route("/models", get(list)).route("/models/{*id}", get(one))
}

async fn list(State(app): State<App>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(listed(&app).await?.into()))
}

async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Model>, ApiError> {
    let found = listed(&app).await?.into_iter().find(|model| model.base.id == id);
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&id))
}

async fn listed(app: &App) -> Result<Vec<Model>, ApiError> {
    let known = app.claude.models().await.map_err(|error| failure::api_error(&error, SystemTime::now()))?;
    Ok(models::listed(&known, &app.http.aliases, |id| app.claude.catalog().sizes(id)))
}

/// Puts in the model that the client's name stands for, as the CLI is to be told, with what the alias adds.
///
/// # Errors
/// 404 for a name that is neither an alias nor listed nor a full id; other failures of the listing.
pub async fn resolve<M>(app: &App, turn: &mut Turn<M>) -> Result<(), ApiError> {
    let name = turn.model.clone();
    models::apply_alias(turn, &app.http.aliases);
    if models::passes_unlisted(&turn.model) {
        return Ok(());
    }
    let known = app.claude.models().await.map_err(|error| failure::api_error(&error, SystemTime::now()))?;
    if models::is_listed(&turn.model, &known) { Ok(()) } else { Err(ApiError::model_not_found(&name)) }
}
