//! A Messages API request body, read.

use serde_json::Value;

/// A parsed request body. Missing or odd fields read as absent: what is wrong is the scripted API's to say, not this type's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    body: Value,
}

impl Asked {
    /// Wraps a body.
    #[must_use]
    pub fn new(body: Value) -> Self {
        Self { body }
    }

    /// The whole body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The field at a dotted path, such as `output_config.format`; a number counts in an array, from 0.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.body, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => value.get(key),
        })
    }

    /// `model`.
    #[must_use]
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// `stream`.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.body["stream"].as_bool().unwrap_or_default()
    }

    /// `max_tokens`.
    #[must_use]
    pub fn max_tokens(&self) -> Option<u64> {
        self.body["max_tokens"].as_u64()
    }

    /// `stop_sequences`, empty ones left out.
    pub fn stop_sequences(&self) -> impl Iterator<Item = &str> {
        array(&self.body["stop_sequences"]).iter().filter_map(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The offered tools.
    #[must_use]
    pub fn tools(&self) -> &[Value] {
        array(&self.body["tools"])
    }

    /// The names of the offered tools.
    pub fn tool_names(&self) -> impl Iterator<Item = &str> {
        self.tools().iter().filter_map(|tool| tool["name"].as_str())
    }

    /// `messages`, all of them.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        array(&self.body["messages"])
    }

    /// The messages without those of role `system`, which the CLI writes itself.
    #[must_use]
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.messages().iter().filter(|message| message["role"] != "system")
    }

    /// The turns as (role, joined text).
    #[must_use]
    pub fn turn_texts(&self) -> Vec<(&str, String)> {
        self.turns()
            .map(|turn| (turn["role"].as_str().unwrap_or_default(), texts(&turn["content"]).concat()))
            .collect()
    }

    /// The joined text of a turn, counted from 0.
    #[must_use]
    pub fn turn_text(&self, index: usize) -> Option<String> {
        self.turns().nth(index).map(|turn| texts(&turn["content"]).concat())
    }

    /// The last message of role `user`.
    #[must_use]
    pub fn last_user(&self) -> Option<&Value> {
        self.messages().iter().rev().find(|message| message["role"] == "user")
    }

    /// The joined text of the last user message; empty where it has none.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        self.last_user_texts().concat()
    }

    /// The text blocks of the last user message.
    #[must_use]
    pub fn last_user_texts(&self) -> Vec<&str> {
        self.last_user().map(|message| texts(&message["content"])).unwrap_or_default()
    }

    /// Whether the last thing said is a tool's result.
    #[must_use]
    pub fn ends_with_tool_result(&self) -> bool {
        let blocks = self.last_user().map(|message| array(&message["content"])).unwrap_or_default();
        blocks.last().is_some_and(|block| block["type"] == "tool_result")
    }

    /// The texts of the tool results in the last user message.
    #[must_use]
    pub fn last_tool_results(&self) -> Vec<String> {
        let blocks = self.last_user().map(|message| array(&message["content"])).unwrap_or_default();
        blocks
            .iter()
            .filter(|block| block["type"] == "tool_result")
            .map(|block| texts(&block["content"]).concat())
            .collect()
    }

    /// The texts of the top-level `system`, block by block.
    #[must_use]
    pub fn system_texts(&self) -> Vec<&str> {
        texts(&self.body["system"])
    }

    /// The joined texts of the messages of role `system`.
    #[must_use]
    pub fn system_message_texts(&self) -> Vec<String> {
        let system = self.messages().iter().filter(|message| message["role"] == "system");
        system.map(|message| texts(&message["content"]).concat()).collect()
    }
}

/// The texts in a `content` or `system`, which may be a string or blocks.
pub(super) fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        _ => array(content)
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str())
            .collect(),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked() -> Asked {
        Asked::new(json!({
            "system": [{"type": "text", "text": "billing"}, {"type": "text", "text": "Be terse."}],
            "output_config": {"format": {"type": "json_schema"}},
            "stop_sequences": ["END", "", 7],
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "system", "content": "# Environment"},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t"}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "22"}]},
                    {"type": "text", "text": "and "},
                    {"type": "image"},
                    {"type": "text", "text": "now?"},
                ]},
                {"role": "system", "content": [{"type": "text", "text": "Today's date"}]},
            ],
        }))
    }

    #[test]
    fn system_messages_are_no_turns() {
        let asked = asked();
        assert_eq!(
            asked.turn_texts(),
            [("user", "hello".to_owned()), ("assistant", "a".to_owned()), ("user", "and now?".to_owned())]
        );
        assert_eq!(asked.turn_text(1).as_deref(), Some("a"));
        assert_eq!(asked.turn_text(3), None);
        assert_eq!(asked.system_message_texts(), ["# Environment", "Today's date"]);
        assert_eq!(asked.system_texts(), ["billing", "Be terse."]);
    }

    #[test]
    fn the_last_user_message_is_found_behind_system_messages() {
        assert_eq!(asked().last_user_text(), "and now?");
        assert_eq!(asked().last_tool_results(), ["22"]);
        assert!(!asked().ends_with_tool_result(), "a question follows it");
        assert_eq!(Asked::default().last_user_text(), "");
    }

    #[test]
    fn fields_are_found_by_dotted_path() {
        assert_eq!(asked().field("output_config.format.type"), Some(&json!("json_schema")));
        assert_eq!(asked().field("output_config.effort"), None);
        assert_eq!(asked().field("messages.3.content.1.text"), Some(&json!("and ")));
        assert_eq!(asked().field("messages.5.content"), None);
        assert_eq!(asked().field("messages.x"), None);
        assert_eq!(asked().stop_sequences().collect::<Vec<_>>(), ["END"]);
    }
}
