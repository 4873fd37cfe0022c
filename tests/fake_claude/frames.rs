//! Frames as the CLI writes them, without what nobody reads. The fake CLI and the tests compile this file.

use serde_json::{Value, json};

/// The model that answers.
pub const MODEL: &str = "claude-sonnet-5-5";

/// An event of an answer.
pub fn event(event: &Value) -> Value {
    json!({"type": "stream_event", "event": event, "session_id": "s", "parent_tool_use_id": null, "uuid": "u"})
}

/// A message begins; its prompt has 10 tokens beside 20 from the cache and 30 for it.
pub fn message_start(id: &str) -> Value {
    let usage = json!({
        "input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30, "output_tokens": 1
    });
    let message = json!({"id": id, "type": "message", "role": "assistant", "model": MODEL, "usage": usage});
    event(&json!({"type": "message_start", "message": message}))
}

/// A piece of text.
pub fn text(text: &str) -> Value {
    event(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

/// A message ends: why, and with how many tokens.
pub fn message_delta(stop_reason: Option<&str>, output_tokens: u64) -> Value {
    let delta = json!({"stop_reason": stop_reason, "stop_sequence": null});
    event(&json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}))
}

/// A message is over.
pub fn message_stop() -> Value {
    event(&json!({"type": "message_stop"}))
}

/// The end of a good turn.
pub fn success() -> Value {
    json!({
        "type": "result", "subtype": "success", "is_error": false, "stop_reason": "end_turn",
        "terminal_reason": "completed", "result": "", "modelUsage": {}
    })
}

/// A message with its text in one piece.
pub fn message(id: &str, said: &str) -> Vec<Value> {
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let end = event(&json!({"type": "content_block_stop", "index": 0}));
    vec![
        message_start(id),
        event(&block),
        text(said),
        end,
        message_delta(Some("end_turn"), 5),
        message_stop(),
    ]
}
