//! The frames that go out: events as they come, and what the CLI says around them.

use serde_json::{Value, json};

use super::client::{Failure, Limits};

/// The frames of one answer.
#[derive(Debug, Default)]
pub struct AnswerFrames {
    message: Value,
    /// The content blocks so far; a tool's input is kept as text until it is whole.
    blocks: Vec<Value>,
    stop_reason: Value,
    usage: Value,
}

impl AnswerFrames {
    /// The frame of an event, which is kept for the frames at the end.
    pub fn event(&mut self, event: &Value) -> Value {
        match event["type"].as_str() {
            Some("message_start") => {
                self.message = event["message"].clone();
                self.usage = event["message"]["usage"].clone();
            }
            Some("content_block_start") => self.blocks.push(event["content_block"].clone()),
            Some("content_block_delta") => self.delta(&event["delta"]),
            Some("message_delta") => {
                self.stop_reason = event["delta"]["stop_reason"].clone();
                if let (Value::Object(usage), Value::Object(update)) = (&mut self.usage, &event["usage"]) {
                    usage.extend(update.clone());
                }
            }
            _ => {}
        }
        json!({"type": "stream_event", "event": event, "session_id": "", "parent_tool_use_id": null})
    }

    fn delta(&mut self, delta: &Value) {
        let Some(block) = self.blocks.last_mut() else { return };
        for (from, to) in [
            ("text", "text"),
            ("thinking", "thinking"),
            ("partial_json", "input"),
            ("signature", "signature"),
        ] {
            if let Some(piece) = delta[from].as_str() {
                let before = block[to].as_str().unwrap_or_default();
                block[to] = json!(format!("{before}{piece}"));
            }
        }
    }

    /// The finished message, the limits and the result.
    #[must_use]
    pub fn finish(mut self, limits: &Limits) -> Vec<Value> {
        for block in self.blocks.iter_mut().filter(|block| block["type"] == "tool_use") {
            let input = block["input"].as_str().and_then(|input| serde_json::from_str(input).ok());
            block["input"] = input.unwrap_or_else(|| json!({}));
        }
        let text: String = self.blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        self.message["content"] = json!(self.blocks);
        vec![
            json!({"type": "assistant", "message": self.message, "parent_tool_use_id": null, "session_id": ""}),
            rate_limit(limits),
            json!({"type": "result", "subtype": "success", "is_error": false, "api_error_status": null,
                "terminal_reason": "completed", "stop_reason": self.stop_reason, "result": text, "usage": self.usage,
                "modelUsage": {}}),
        ]
    }

    /// The frames of a failure.
    #[must_use]
    pub fn failed(&self, failure: &Failure) -> Vec<Value> {
        let (status, error, word) = match failure {
            Failure::Api { status, error, .. } => (json!(status), error.clone(), word(*status)),
            Failure::Connection(reason) => (Value::Null, json!({"message": reason}), "server_error"),
        };
        let sentence =
            format!("API Error: {}", error["message"].as_str().unwrap_or("the connection was lost"));
        let too_long =
            error["message"].as_str().is_some_and(|message| message.starts_with("prompt is too long"));
        let rejected = |limits: &Limits| {
            limits.get("anthropic-ratelimit-unified-status").is_some_and(|s| s == "rejected")
        };
        let (limits, api_error) = match failure {
            Failure::Api { limits, .. } if rejected(limits) => (Some(limits), json!("usage_limit_reached")),
            Failure::Api { .. } => (None, Value::Null),
            Failure::Connection(_) => (None, json!("connection_failed")),
        };
        let made_up = json!({"model": "<synthetic>", "role": "assistant", "content": [{"type": "text", "text": sentence}]});
        let mut frames: Vec<Value> = limits.map(rate_limit).into_iter().collect();
        frames.push(
            json!({"type": "assistant", "message": made_up, "error": word, "api_error_status": status}),
        );
        frames.push(
            json!({"type": "result", "subtype": "success", "is_error": true, "api_error_status": status,
            "api_error_type": error["type"], "api_error": api_error, "result": sentence,
            "terminal_reason": if too_long { "prompt_too_long" } else { "api_error" }}),
        );
        frames
    }

    /// The result of an answer that was interrupted.
    #[must_use]
    pub fn interrupted(&self) -> Value {
        json!({"type": "result", "subtype": "error_during_execution", "is_error": true,
            "terminal_reason": "aborted_streaming", "result": null})
    }
}

/// The result of a turn that was history only.
#[must_use]
pub fn empty_result() -> Value {
    json!({"type": "result", "subtype": "success", "is_error": false, "result": "", "num_turns": 0})
}

/// The CLI's word for a status.
fn word(status: u16) -> &'static str {
    match status {
        401 | 403 => "authentication_failed",
        404 => "model_not_found",
        429 => "rate_limit",
        500.. => "server_error",
        _ => "invalid_request",
    }
}

fn rate_limit(limits: &Limits) -> Value {
    let header = |name: &str| limits.get(&format!("anthropic-ratelimit-unified-{name}"));
    let resets_at = header("reset").and_then(|seconds| seconds.parse::<u64>().ok());
    json!({"type": "rate_limit_event", "rate_limit_info": {
        "status": header("status").map_or("allowed", String::as_str), "resetsAt": resets_at,
        "rateLimitType": header("representative-claim")}})
}
