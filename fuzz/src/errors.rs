//! What every refusal keeps to.

use couplet::openai::error::ApiError;
use couplet::translate::anthropic_error;
use serde_json::Value;

/// The longest message of a refusal, in bytes. It may name a field, but does not send a request back.
const LONGEST_MESSAGE: usize = 2048;

/// Looks whether an error is the client's, and can be told in both forms.
///
/// # Panics
/// When it is not.
pub fn expect_refusal(error: &ApiError) {
    assert!(error.status.is_client_error(), "{error:?}");
    assert!(!error.message.is_empty() && error.message.len() <= LONGEST_MESSAGE, "{error:?}");
    let body = serde_json::to_value(error.body()).expect("an error is JSON");
    let fields = body["error"].as_object().expect("an object");
    for key in ["message", "type", "param", "code"] {
        assert!(fields.contains_key(key), "{body}");
    }
    assert_eq!(fields["type"], "invalid_request_error", "{body}");
    let (status, body) = anthropic_error::of(error);
    let body = serde_json::to_value(body).expect("an error is JSON");
    assert!(status.is_client_error());
    assert_eq!(body["type"], "error");
    assert!(matches!(&body["error"]["message"], Value::String(text) if !text.is_empty()), "{body}");
}

/// Looks whether the names of ignored fields are fit for a header.
///
/// # Panics
/// When they are not.
pub fn expect_names(ignored: &[String]) {
    for name in ignored {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
}
