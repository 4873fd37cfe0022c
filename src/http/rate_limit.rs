//! Requests are counted, and each answer tells how things stand with the caller's limits, as OpenAI's answers do.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::guard::Asker;
use crate::limits::refusal::Refusal;
use crate::limits::standing::{Level, Standing};
use crate::openai::error::ApiError;
use crate::translate::limit_refusal;

/// What tells how things stand: limit, rest, and the time until all of it is there again; of requests, then of tokens.
pub(super) const HEADERS: [HeaderName; 6] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Counts the request of whoever was let in, or refuses it, and tells how things stand when the headers are sent. A part of the
/// layer that lets in: a refusal is to cost little.
pub(super) async fn hold_to_limits(app: &App, asker: Asker, mut request: Request, next: Next) -> Response {
    if let Err(refusal) = app.limiter.count_request(&asker.caller) {
        let mut response = refused(app, &refusal).into_response();
        tell(app.limiter.standing(&asker.caller), response.headers_mut());
        return response;
    }
    let caller = asker.caller.clone();
    request.extensions_mut().insert(asker);
    // For the headers. Whoever asks the model is told if that fails.
    drop(app.limiter.learn_usage(&caller).await);
    let mut response = next.run(request).await;
    tell(app.limiter.standing(&caller), response.headers_mut());
    response
}

/// What the client is told of a refusal, which is counted.
pub(super) fn refused(app: &App, refusal: &Refusal) -> ApiError {
    app.metrics.rate_limited(refusal);
    limit_refusal::api_error(refusal)
}

/// Where nothing is limited there is nothing to be told.
fn tell(standing: Standing, headers: &mut HeaderMap) {
    let [limit_requests, remaining_requests, reset_requests, limit_tokens, remaining_tokens, reset_tokens] =
        HEADERS;
    let mut insert = |level: Option<Level>, names: [HeaderName; 3]| {
        let Some(level) = level else { return };
        let [limit, remaining, reset] = names;
        headers.insert(limit, HeaderValue::from(level.limit));
        headers.insert(remaining, HeaderValue::from(level.remaining));
        headers.extend(
            HeaderValue::from_str(&limit_refusal::duration(level.reset)).ok().map(|value| (reset, value)),
        );
    };
    insert(standing.requests, [limit_requests, remaining_requests, reset_requests]);
    insert(standing.tokens, [limit_tokens, remaining_tokens, reset_tokens]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_is_limited_is_told() {
        let mut headers = HeaderMap::new();
        tell(Standing::default(), &mut headers);
        assert!(headers.is_empty());
        let level = Level { limit: 60, remaining: 59, reset: Duration::from_secs(360) };
        tell(Standing { requests: Some(level), tokens: None }, &mut headers);
        let told: Vec<_> =
            HEADERS.iter().map(|name| headers.get(name).map(|value| value.to_str().unwrap())).collect();
        assert_eq!(told, [Some("60"), Some("59"), Some("6m0s"), None, None, None]);
    }
}
