//! Errors on Anthropic's paths are told in Anthropic's form, wherever they come from: the handlers, the checks before them,
//! wrong methods and paths.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::openai::error::ApiError;
use crate::translate::anthropic_error;

/// The id of a request, as clients of Anthropic's API look for it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What every client of Anthropic's API sends.
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Whether a request to an endpoint that both APIs have is one of Anthropic's.
#[must_use]
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

/// Whether the answer to a request is to be in Anthropic's form.
#[must_use]
pub fn is_due(request: &Request) -> bool {
    is_anthropic_s(request.uri().path(), request.headers())
}

/// The response in Anthropic's form, to the request of that id.
#[must_use]
pub fn of(mut response: Response, id: &HeaderValue) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = in_its_form(&error, response, id);
    }
    response.headers_mut().insert(REQUEST_ID, id.clone());
    response
}

fn is_anthropic_s(path: &str, headers: &HeaderMap) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let is_below =
        |root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below("/messages") || (is_below("/models") && is_asked_for(headers))
}

fn in_its_form(error: &ApiError, response: Response, id: &HeaderValue) -> Response {
    let (status, mut body) = anthropic_error::of(error);
    body.request_id = id.to_str().ok().map(ToOwned::to_owned);
    let (mut head, _openai_s) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(CONTENT_TYPE);
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().extend(head.headers);
    *response.extensions_mut() = head.extensions;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/v1/messages", false, true)]
    #[case("/messages", false, true)]
    #[case("/v1/messages/count_tokens", false, true)]
    #[case("/v1/messages/batches/x", false, true)]
    #[case("/v1/messagesx", true, false)]
    #[case("/v1/models", false, false)]
    #[case("/v1/models", true, true)]
    #[case("/v1/models/a/b", true, true)]
    #[case("/v1/chat/completions", true, false)]
    fn the_path_decides_and_for_models_the_version_too(
        #[case] path: &str,
        #[case] with_version: bool,
        #[case] is: bool,
    ) {
        let mut headers = HeaderMap::new();
        if with_version {
            headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        }
        assert_eq!(is_anthropic_s(path, &headers), is);
    }
}
