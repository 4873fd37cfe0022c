//! What the routes for the server's operator have in common: they name a tenant, and take no field that they do not know.

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::{App, body};
use crate::caller::TenantName;
use crate::claude::Claude;
use crate::openai::error::ApiError;

/// Reads a body that may be left out.
///
/// # Errors
/// As [`body::json`], and for fields that nobody reads: an order must not be half understood.
pub async fn order<T: DeserializeOwned + Default + Send + 'static>(request: Request) -> Result<T, ApiError> {
    // Its headers do not tell: of a body that comes packed they were taken away.
    if request.body().size_hint().exact() == Some(0) {
        return Ok(T::default());
    }
    let parsed = body::json::<T>(request).await?;
    match parsed.ignored.first() {
        None => Ok(parsed.request),
        Some(field) => {
            let message = format!("Unknown field '{field}'.");
            Err(ApiError::invalid_request(field, message).with_code("unknown_parameter"))
        }
    }
}

/// The tenant of that name; the default one without a name.
///
/// # Errors
/// 404 where there is none.
pub fn tenant<'a>(app: &'a App, name: Option<&str>) -> Result<(TenantName, &'a Claude), ApiError> {
    let name = name.map_or_else(|| Some(TenantName::default()), TenantName::new);
    let known = name.and_then(|name| app.tenants.of(&name).map(|claude| (name.clone(), claude)));
    known.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "There is no tenant of that name.")
            .with_code("tenant_not_found")
            .with_param("tenant")
    })
}
