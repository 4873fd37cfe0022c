//! Reading the body of a request.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::openai::error::ApiError;
use crate::openai::parse::{Parsed, parse};

/// The largest body, in bytes. Anthropic's API takes 32 MB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// How long a client may take to send its body.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads and parses a JSON body.
///
/// # Errors
/// 415 for another content type (a web page may send `text/plain` without asking first), 413 for too large a body,
/// 408 for too slow a client, 400 for what is no such request.
pub async fn json<T: DeserializeOwned>(request: Request) -> Result<Parsed<T>, ApiError> {
    parse(&bytes(request).await?)
}

/// Reads a body that says it is JSON.
///
/// # Errors
/// As those of [`json`], but for the last.
pub async fn bytes(request: Request) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        let message = "The body must be JSON: send `content-type: application/json`.";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
            .with_code("unsupported_media_type"));
    }
    read(request).await
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), MAX_BODY);
    let invalid = |status, message: String| ApiError::new(status, "invalid_request_error", message);
    match tokio::time::timeout(PATIENCE, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("The body is larger than {} MiB.", MAX_BODY / 1024 / 1024);
            Err(invalid(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("request_too_large"))
        }
        Ok(Err(_)) => {
            Err(invalid(StatusCode::BAD_REQUEST, "The body could not be read to its end.".to_owned()))
        }
        Err(_elapsed) => {
            let message = format!("The body did not arrive within {} s.", PATIENCE.as_secs());
            Err(invalid(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
