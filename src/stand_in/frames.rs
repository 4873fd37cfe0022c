//! The frames that go out: events as they come, and what the CLI says around them.

use serde_json::{Map, Value, json};

use super::client::{Failure, Limits};

/// The frames of one answer.
#[derive(Debug, Default)]
pub struct AnswerFrames {
    message: Value,
    /// The content blocks so far; a tool's input is kept as text until it is whole.
    blocks: Vec<Value>,
    call: Option<Value>,
    stop_reason: Value,
    usage: Value,
}

impl AnswerFrames {
    /// The frames of an event, which is kept for the frames at the end. A block that ends is told of as a message first.
    pub fn event(&mut self, event: &Value) -> Vec<Value> {
        let mut frames = Vec::new();
        match event["type"].as_str() {
            Some("message_start") => {
                self.message = event["message"].clone();
                self.usage = event["message"]["usage"].clone();
            }
            Some("content_block_start") => self.begin(event["content_block"].clone()),
            Some("content_block_delta") => self.delta(&event["delta"]),
            Some("content_block_stop") => frames.extend(self.end_block()),
            Some("message_delta") => {
                self.stop_reason = event["delta"]["stop_reason"].clone();
                if let (Value::Object(usage), Value::Object(update)) = (&mut self.usage, &event["usage"]) {
                    usage.extend(update.clone());
                }
            }
            _ => {}
        }
        frames.push(
            json!({"type": "stream_event", "event": event, "session_id": "", "parent_tool_use_id": null}),
        );
        frames
    }

    fn begin(&mut self, mut block: Value) {
        if block["type"] == "tool_use" {
            block["input"] = json!("");
        }
        self.blocks.push(block);
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

    fn end_block(&mut self) -> Option<Value> {
        let block = self.blocks.last_mut()?;
        if block["type"] == "tool_use" {
            self.call = Some(block.clone());
            let input: Option<Map<_, _>> =
                block["input"].as_str().and_then(|input| serde_json::from_str(input).ok());
            block["input"] = json!(input.unwrap_or_default());
        }
        let mut message = self.message.clone();
        message["content"] = json!([block]);
        Some(json!({"type": "assistant", "message": message, "parent_tool_use_id": null, "session_id": ""}))
    }

    /// The call that has just ended, its input as it was written.
    pub fn take_call(&mut self) -> Option<Value> {
        self.call.take()
    }

    /// The message, with all its blocks, as the conversation is to hold it.
    #[must_use]
    pub fn message(&self) -> Value {
        json!({"message": {"role": "assistant", "content": self.blocks}})
    }

    /// Whether it calls tools.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.blocks.iter().any(|block| block["type"] == "tool_use")
    }

    /// The result.
    #[must_use]
    pub fn result(&self) -> Value {
        let text: String = self.blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        json!({"type": "result", "subtype": "success", "is_error": false, "api_error_status": null,
            "terminal_reason": "completed", "stop_reason": self.stop_reason, "result": text, "usage": self.usage,
            "modelUsage": {}})
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
}

/// The result of an answer that was interrupted.
#[must_use]
pub fn interrupted() -> Value {
    json!({"type": "result", "subtype": "error_during_execution", "is_error": true,
        "terminal_reason": "aborted_streaming", "result": null})
}

/// The frame with which a turn begins.
#[must_use]
pub fn turn_begins<'a>(tools: impl Iterator<Item = &'a str>) -> Value {
    json!({"type": "system", "subtype": "init", "tools": tools.collect::<Vec<_>>(), "session_id": ""})
}

/// Results of tools, as they are taken into the conversation.
#[must_use]
pub fn tool_results(results: &[Value]) -> Value {
    json!({"type": "user", "message": {"role": "user", "content": results}, "parent_tool_use_id": null, "session_id": ""})
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

/// The limits, as the headers of an answer tell of them.
#[must_use]
pub fn rate_limit(limits: &Limits) -> Value {
    let header = |name: &str| limits.get(&format!("anthropic-ratelimit-unified-{name}"));
    let resets_at = header("reset").and_then(|seconds| seconds.parse::<u64>().ok());
    json!({"type": "rate_limit_event", "rate_limit_info": {
        "status": header("status").map_or("allowed", String::as_str), "resetsAt": resets_at,
        "rateLimitType": header("representative-claim")}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(frames: &[Value]) -> Vec<&str> {
        frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_block_that_ends_is_a_message_of_its_own_and_all_make_one_turn() {
        let mut frames = AnswerFrames::default();
        frames.event(&json!({"type": "message_start", "message": {"id": "m", "usage": {}}}));
        frames.event(&json!({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}));
        frames.event(&json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "so"}}));
        let ended = frames.event(&json!({"type": "content_block_stop"}));
        assert_eq!(kinds(&ended), ["assistant", "stream_event"]);
        assert_eq!(ended[0]["message"]["content"], json!([{"type": "text", "text": "so"}]));
        assert_eq!((frames.has_calls(), frames.take_call()), (false, None));

        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        frames.event(&json!({"type": "content_block_start", "content_block": call}));
        for piece in ["", "{\"x\"", ":1}"] {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            assert_eq!(
                kinds(&frames.event(&json!({"type": "content_block_delta", "delta": delta}))),
                ["stream_event"]
            );
        }
        let ended = frames.event(&json!({"type": "content_block_stop"}));
        assert_eq!(ended[0]["message"]["content"][0]["input"], json!({"x": 1}));
        assert_eq!(frames.take_call().unwrap()["input"], "{\"x\":1}");
        assert_eq!((frames.has_calls(), frames.take_call()), (true, None));
        let content = &frames.message()["message"]["content"];
        assert_eq!((&content[0]["text"], &content[1]["input"]), (&json!("so"), &json!({"x": 1})));
    }
}
