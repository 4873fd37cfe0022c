//! What was said and set so far.

use serde_json::{Map, Value, json};

/// The models it lists: aliases and the ids behind them, as the CLI had them when its frames were recorded.
const MODELS: [(&str, &str, &str); 5] = [
    ("default", "claude-sonnet-5-5", "Default (demo)"),
    ("sonnet", "claude-sonnet-5-5", "Sonnet (demo)"),
    ("fable", "claude-fable-5-2", "Fable (demo)"),
    ("opus", "claude-opus-5-5", "Opus (demo)"),
    ("haiku", "claude-haiku-5-5", "Haiku (demo)"),
];

/// The model where none is set.
const DEFAULT: &str = "default";

/// `max_tokens` where none is set, as the CLI sends it.
const MAX_TOKENS: u64 = 128_000;

/// The state of a process.
#[derive(Debug, Default)]
pub struct Conversation {
    system: String,
    settings: Value,
    messages: Vec<Value>,
}

impl Conversation {
    /// Takes the `message` of a user or assistant frame.
    pub fn say(&mut self, frame: &Value) {
        let message = &frame["message"];
        self.messages.push(json!({"role": message["role"], "content": message["content"]}));
    }

    /// Takes settings: what they do not name stays, and null takes back.
    fn set(&mut self, settings: &Value) {
        for (name, value) in settings.as_object().into_iter().flatten() {
            match (value, &mut self.settings[name]) {
                (Value::Object(changes), Value::Object(before)) => before.extend(changes.clone()),
                (_, before) => *before = value.clone(),
            }
        }
    }

    /// Does what a control request asks for, and gives the answer.
    pub fn control(&mut self, frame: &Value) -> Value {
        let request = &frame["request"];
        let response = match request["subtype"].as_str() {
            Some("initialize") => {
                request["systemPrompt"].as_str().unwrap_or_default().clone_into(&mut self.system);
                let models = MODELS.map(|(value, resolved, name)| {
                    json!({"value": value, "resolvedModel": resolved, "displayName": name})
                });
                json!({"models": models, "account": {"tokenSource": "demo"}})
            }
            Some("apply_flag_settings") => {
                self.set(&request["settings"]);
                Value::Null
            }
            Some("set_max_thinking_tokens" | "interrupt" | "mcp_message") => Value::Null,
            Some("get_context_usage") => self.context(request["detail"] == "summary"),
            other => {
                let error = format!("Unsupported control request subtype: {}", other.unwrap_or_default());
                return json!({"type": "control_response",
                    "response": {"subtype": "error", "request_id": frame["request_id"], "error": error}});
            }
        };
        json!({"type": "control_response",
            "response": {"subtype": "success", "request_id": frame["request_id"], "response": response}})
    }

    /// The tokens of what was said: a quarter of the bytes, as the scripted API counts, or an estimate, as the CLI has one
    /// where nothing counts. Those of tools are left out.
    fn context(&self, is_estimate: bool) -> Value {
        let bytes = json!([self.system, self.messages]).to_string().len();
        let tokens = if is_estimate { bytes.div_ceil(3) } else { bytes / 4 };
        json!({"categories": [{"name": "Messages", "tokens": tokens, "kind": "used"}]})
    }

    /// The body of a request to the API.
    #[must_use]
    pub fn request(&self, tools: &[Value]) -> Value {
        let env = &self.settings["env"];
        let max_tokens = env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"].as_str().and_then(|tokens| tokens.parse().ok());
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(full_id(self.settings["model"].as_str().unwrap_or(DEFAULT))));
        body.insert("max_tokens".to_owned(), json!(max_tokens.unwrap_or(MAX_TOKENS)));
        if !self.system.is_empty() {
            body.insert("system".to_owned(), json!([{"type": "text", "text": self.system}]));
        }
        if !tools.is_empty() {
            body.insert("tools".to_owned(), json!(tools));
        }
        body.insert("messages".to_owned(), json!(self.messages));
        body.insert("stream".to_owned(), json!(true));
        if let Some(effort) = self.settings["effortLevel"].as_str() {
            body.insert("output_config".to_owned(), json!({"effort": effort}));
        }
        let extra = env["CLAUDE_CODE_EXTRA_BODY"].as_str().and_then(|extra| serde_json::from_str(extra).ok());
        if let Some(Value::Object(extra)) = extra {
            body.extend(extra);
        }
        Value::Object(body)
    }
}

/// Whether a user frame says nothing but white space.
#[must_use]
pub fn is_blank(frame: &Value) -> bool {
    frame["message"]["content"].as_str().is_some_and(|text| text.trim().is_empty())
}

fn full_id(model: &str) -> &str {
    MODELS.iter().find(|(alias, ..)| *alias == model).map_or(model, |(_, id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_set_is_in_the_request() {
        let mut conversation = Conversation::default();
        let mut control = |request: Value| {
            let answer = conversation.control(&json!({"request_id": "7", "request": request}));
            assert_eq!(answer["response"]["request_id"], "7");
            answer["response"]["subtype"].clone()
        };
        assert_eq!(control(json!({"subtype": "initialize", "systemPrompt": "be brief"})), "success");
        let settings = json!({"model": "haiku", "env": {"CLAUDE_CODE_EXTRA_BODY": "{\"temperature\":0.5}",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9"}, "effortLevel": "low"});
        assert_eq!(control(json!({"subtype": "apply_flag_settings", "settings": settings})), "success");
        assert_eq!(control(json!({"subtype": "get_context_usage", "detail": "full"})), "success");
        assert_eq!(control(json!({"subtype": "sing"})), "error");
        conversation.say(
            &json!({"type": "user", "message": {"role": "user", "content": "hi"}, "shouldQuery": false}),
        );
        assert_eq!(
            conversation.request(&[json!({"name": "f"})]),
            json!({"model": "claude-haiku-5-5", "max_tokens": 9, "system": [{"type": "text", "text": "be brief"}],
                "tools": [{"name": "f"}], "messages": [{"role": "user", "content": "hi"}], "stream": true,
                "output_config": {"effort": "low"}, "temperature": 0.5})
        );
    }

    #[test]
    fn the_next_turn_takes_parameters_back_and_keeps_the_model() {
        let mut conversation = Conversation::default();
        for settings in [
            json!({"model": "haiku", "env": {"CLAUDE_CODE_EXTRA_BODY": "{\"top_p\":0.5}"}, "effortLevel": "low"}),
            json!({"env": {"CLAUDE_CODE_EXTRA_BODY": "", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "7"}, "effortLevel": null}),
        ] {
            conversation
                .control(&json!({"request": {"subtype": "apply_flag_settings", "settings": settings}}));
        }
        assert_eq!(
            conversation.request(&[]),
            json!({"model": "claude-haiku-5-5", "max_tokens": 7, "messages": [], "stream": true})
        );
    }
}
