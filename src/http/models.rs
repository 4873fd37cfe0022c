//! `GET /v1/models` and `/v1/models/{id}`, for clients of either API.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::guard::Asker;
use super::{App, anthropic_form};
use crate::anthropic;
use crate::openai::error::ApiError;
use crate::openai::model::{Model, ModelList};
use crate::translate::{failure, models};
use crate::turn::Turn;
use crate::wall_clock;

/// The routes. Ids may contain slashes.
pub fn router() -> Router<App> {
    Router::new().route("/models", get(list)).route("/models/{*id}", get(one))
}

async fn list(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let listed = listed(&app, &who).await?;
    if anthropic_form::is_asked_for(&headers) {
        let listed: Vec<_> = listed.into_iter().map(models::in_anthropic_s_form).collect();
        return Ok(Json(anthropic::model::ModelList::from(listed)).into_response());
    }
    Ok(Json(ModelList::from(listed)).into_response())
}

async fn one(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // What is no text is the name of no model.
    let Path(id) = id.map_err(|_not_utf8| ApiError::model_not_found("\u{fffd}"))?;
    let found = listed(&app, &who).await?.into_iter().find(|model| model.base.id == id);
    let found = found.ok_or_else(|| ApiError::model_not_found(&id))?;
    if anthropic_form::is_asked_for(&headers) {
        return Ok(Json(models::in_anthropic_s_form(found)).into_response());
    }
    Ok(Json(found).into_response())
}

async fn listed(app: &App, who: &Asker) -> Result<Vec<Model>, ApiError> {
    let claude = &who.claude;
    let known = claude.models().await.map_err(|error| failure::api_error(&error, wall_clock::now()))?;
    let aliases = &app.http.aliases;
    let mut listed = models::listed(&known, aliases, |id| claude.catalog().sizes(id));
    if let Some(allowed) = &who.caller.models {
        let target =
            |name: &String| aliases.get(name).map_or_else(|| name.clone(), |alias| alias.model.clone());
        listed.retain(|model| {
            let id = &model.base.id;
            models::is_allowed(id, &target(id), allowed, &known, aliases)
        });
    }
    Ok(listed)
}

/// Puts in the model that the client's name stands for, as the CLI is to be told, with what the alias adds.
///
/// # Errors
/// 404 for a name that is neither an alias nor listed nor a full id, or that the caller may not ask; failures of the listing.
pub async fn resolve<M>(app: &App, who: &Asker, turn: &mut Turn<M>) -> Result<(), ApiError> {
    let name = turn.model.clone();
    models::apply_alias(turn, &app.http.aliases);
    let passes = models::passes_unlisted(&turn.model);
    let allowed = who.caller.models.as_deref();
    if passes && allowed.is_none() {
        return Ok(());
    }
    let known = who.claude.models().await.map_err(|error| failure::api_error(&error, wall_clock::now()))?;
    let may_ask = allowed
        .is_none_or(|allowed| models::is_allowed(&name, &turn.model, allowed, &known, &app.http.aliases));
    if may_ask && (passes || models::is_listed(&turn.model, &known)) {
        Ok(())
    } else {
        Err(ApiError::model_not_found(&name))
    }
}
