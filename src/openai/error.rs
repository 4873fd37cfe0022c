//! The error object of OpenAI's API and what goes with it on the wire.

use std::time::Duration;

use async_openai::error::ApiError as ErrorObject;
use axum::http::StatusCode;
use serde::Serialize;

/// An error as a client of OpenAI's API is to see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The HTTP status, where the headers are not sent yet.
    pub status: StatusCode,
    /// `error.type`: the class of the error.
    pub kind: &'static str,
    /// `error.code`: what programs look at.
    pub code: Option<&'static str>,
    /// `error.param`: the field of the request the error is about, as `messages[2].content[0].text`.
    pub param: Option<String>,
    /// `error.message`: a sentence for people, with the way out where there is one.
    pub message: String,
    /// How long the client should wait before it tries again.
    pub retry_after: Option<Duration>,
    /// Whether a retry can help. The SDKs repeat 408, 409, 429 and every 5xx unless told not to
    /// (`x-should-retry`, read from openai-python 3.52 and openai-node 7.55).
    pub retry_can_help: bool,
}

impl ApiError {
    /// An error of the given status and class that a retry does not mend.
    #[must_use]
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
            retry_can_help: false,
        }
    }

    /// 400: the request cannot be served as it is; `param` names the field.
    #[must_use]
    pub fn invalid_request(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message).with_param(param)
    }

    /// 400: the request lacks that field.
    #[must_use]
    pub fn missing_parameter(field: &str) -> Self {
        let message = format!("Missing required parameter: '{field}'.");
        Self::invalid_request(field, message).with_code("missing_required_parameter")
    }

    /// 404 for a model that is not known.
    #[must_use]
    pub fn model_not_found(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .with_code("model_not_found")
            .with_param("model")
    }

    /// The same error with `error.code` set.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The same error with `error.param` set.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error, with fields under the names that they have in the request that was sent, where `sent_as` knows others.
    #[must_use]
    pub fn in_words_of(mut self, sent_as: impl Fn(&str) -> Option<String>) -> Self {
        // Messages quote fields in apostrophes. What else stands between two of them is no field's name.
        let words = self.message.split('\'').map(|word| sent_as(word).unwrap_or_else(|| word.to_owned()));
        self.message = words.collect::<Vec<_>>().join("'");
        self.param = self.param.map(|field| sent_as(&field).unwrap_or(field));
        self
    }

    /// The same error, which may pass by itself, with the wait the client should keep if it is known.
    #[must_use]
    pub fn worth_a_retry(mut self, after: Option<Duration>) -> Self {
        self.retry_can_help = true;
        self.retry_after = after;
        self
    }

    /// The JSON body `{"error":{"message","type","param","code"}}`, all four keys present.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                r#type: Some(self.kind.to_owned()),
                param: self.param.clone(),
                code: self.code.map(ToOwned::to_owned),
                misalignment: None,
            },
        }
    }
}

/// `{"error": …}`: the body of a failed request, and the frame that ends a broken stream.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    error: ErrorObject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field_that_was_sent() {
        let error =
            || ApiError::invalid_request("messages[0]", "The client's 'messages[0]' and 'messages' are odd.");
        let renamed = error().in_words_of(|field| (field == "messages[0]").then(|| "input".to_owned()));
        assert_eq!(renamed.message, "The client's 'input' and 'messages' are odd.");
        assert_eq!(renamed.param.as_deref(), Some("input"));
        assert_eq!(error().in_words_of(|_| None), error());
    }

    #[test]
    fn the_body_carries_all_four_keys_even_when_empty() {
        let error = ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "broken");
        let body = serde_json::to_value(error.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"error": {"message": "broken", "type": "server_error", "param": null, "code": null}})
        );
    }
}
