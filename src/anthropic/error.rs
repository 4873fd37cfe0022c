//! The error object of Anthropic's API.

use serde::Serialize;

/// `{"type":"error", …}`: the body of a failed request, and the data of the event that ends a broken stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorBody {
    /// Always `error`.
    pub r#type: &'static str,
    /// What went wrong.
    pub error: ErrorDetail,
    /// The id of the request; in a stream its headers have told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorDetail {
    /// The class of the error: `invalid_request_error`, `overloaded_error`, ….
    pub r#type: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl ErrorBody {
    /// An error of that class.
    #[must_use]
    pub fn new(kind: &'static str, message: String) -> Self {
        Self { r#type: "error", error: ErrorDetail { r#type: kind, message }, request_id: None }
    }
}
