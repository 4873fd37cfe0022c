//! Errors as responses.

use std::any::Any;

use axum::Json;
use axum::http::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::ask::SentAs;
use super::request_log::{ErrorCode, RequestLog};
use crate::claude::failure::TurnFailure;
use crate::openai::error::ApiError;
use crate::translate::failure;
use crate::wall_clock;

/// Tells the SDKs whether to repeat a request, above what they make of its status.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The wait in milliseconds; read by the SDKs before `retry-after`.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The code of those who come too late.
const SHUTTING_DOWN: &str = "shutting_down";

/// What tells when to come again, and whether at all.
pub(super) const RETRY_HEADERS: [HeaderName; 3] = [RETRY_AFTER, RETRY_AFTER_MS, SHOULD_RETRY];

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if !self.retry_can_help {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(after) = self.retry_after {
            // Rounded up: a client that comes a little too early is sent away once more.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(seconds.saturating_mul(1000)));
        }
        if self.code == Some(SHUTTING_DOWN) {
            // The next request is to find another instance.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let extensions = response.extensions_mut();
        extensions.insert(ErrorCode(self.code.unwrap_or(self.kind)));
        // For those who tell it in another form.
        extensions.insert(self);
        response
    }
}

/// For a turn that failed. The log gets the cause, which the client does not need to know.
#[must_use]
pub fn failed_turn(failure: &TurnFailure, log: &RequestLog, sent_as: SentAs) -> ApiError {
    log.cause(failure.kind());
    failure::api_error(failure, wall_clock::now()).in_words_of(sent_as)
}

/// For methods that a path does not have.
pub async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}.", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
        .with_code("method_not_allowed")
}

/// For a defect of Couplet that made a handler panic. The log has it already: see [`crate::logging`].
#[must_use]
pub fn after_panic(_panic: Box<dyn Any + Send>) -> Response {
    own_failure().into_response()
}

/// What the client reads of a defect of Couplet.
#[must_use]
pub fn own_failure() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Couplet itself failed. See its log.")
        .with_code("internal_error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    #[tokio::test]
    async fn a_handler_that_panics_is_500_with_a_sentence() {
        async fn defective() -> Response {
            panic!("a defect")
        }
        let router = Router::new().route("/", get(defective)).layer(CatchPanicLayer::custom(after_panic));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "internal_error");
        assert_eq!(body["error"]["message"], "Couplet itself failed. See its log.");
    }
}
