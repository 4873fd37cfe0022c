//! An error in the form of Anthropic's API. What went wrong is decided elsewhere, for all endpoints alike
//! ([`super::failure`] and the checks of requests); this is only how it is told.

use axum::http::StatusCode;

use crate::anthropic::error::ErrorBody;
use crate::openai::error::ApiError;

/// Anthropic's own status for an API that is overloaded.
const OVERLOADED: u16 = 529;

/// The status and the body. Anthropic's form has no place for the field that an error is about, so the message begins with it.
#[must_use]
pub fn of(error: &ApiError) -> (StatusCode, ErrorBody) {
    let is_overloaded = error.code == Some("overloaded");
    let status =
        if is_overloaded { StatusCode::from_u16(OVERLOADED).unwrap_or(error.status) } else { error.status };
    let message = match &error.param {
        Some(param) if !error.message.contains(param.as_str()) => format!("{param}: {}", error.message),
        _ => error.message.clone(),
    };
    (status, ErrorBody::new(kind(status), message))
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(400, None, (400, "invalid_request_error"))]
    #[case(401, Some("invalid_api_key"), (401, "authentication_error"))]
    #[case(403, Some("host_not_allowed"), (403, "permission_error"))]
    #[case(404, Some("model_not_found"), (404, "not_found_error"))]
    #[case(405, Some("method_not_allowed"), (405, "invalid_request_error"))]
    #[case(408, None, (408, "timeout_error"))]
    #[case(413, Some("request_too_large"), (413, "request_too_large"))]
    #[case(415, Some("unsupported_media_type"), (415, "invalid_request_error"))]
    #[case(429, Some("insufficient_quota"), (429, "rate_limit_error"))]
    #[case(500, Some("upstream_error"), (500, "api_error"))]
    #[case(502, Some("upstream_broken"), (502, "api_error"))]
    #[case(503, Some("overloaded"), (529, "overloaded_error"))]
    #[case(503, Some("cli_unavailable"), (503, "api_error"))]
    #[case(504, Some("timeout"), (504, "timeout_error"))]
    fn each_error_has_its_class(
        #[case] status: u16,
        #[case] code: Option<&'static str>,
        #[case] told: (u16, &str),
    ) {
        let error = ApiError { code, ..ApiError::new(StatusCode::from_u16(status).unwrap(), "x", "m") };
        let (status, body) = of(&error);
        assert_eq!((status.as_u16(), body.error.r#type), told);
    }

    #[rstest]
    #[case("'max_tokens' must be at least 1.", "'max_tokens' must be at least 1.")]
    #[case("Must be at least 1.", "max_tokens: Must be at least 1.")]
    fn the_message_names_the_field(#[case] message: &str, #[case] told: &str) {
        let (_, body) = of(&ApiError::invalid_request("max_tokens", message));
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            serde_json::json!({"type": "error", "error": {"type": "invalid_request_error", "message": told}})
        );
    }
}
