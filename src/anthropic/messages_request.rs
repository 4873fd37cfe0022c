//! The request of `POST /v1/messages` and `POST /v1/messages/count_tokens`.
//!
//! The types hold the fields that are honoured or refused; what they do not hold is accepted, ignored and reported. Blocks
//! are flat on purpose: tagged and untagged enums of serde lose the path of an error.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::openai::text_or::TextOrList;

/// A request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct MessagesRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// The conversation, at least one message.
    pub messages: Vec<InputMessage>,
    /// The largest number of tokens of the answer. Absent only where tokens are counted.
    pub max_tokens: Option<u32>,
    /// The system prompt.
    pub system: Option<TextOrList<SystemBlock>>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// Texts that end the answer.
    pub stop_sequences: Option<Vec<String>>,
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are considered.
    pub top_k: Option<u32>,
    /// Whether, and how much, the model thinks.
    pub thinking: Option<Thinking>,
    /// How hard the model thinks, and the form of the answer's text.
    pub output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    pub output_format: Option<OutputFormat>,
    /// What the model may call.
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether it may call, must call, or which of them.
    pub tool_choice: Option<ToolChoice>,
    /// Servers of tools that Anthropic would call itself.
    pub mcp_servers: Option<Vec<Value>>,
}

/// A text block of the system prompt.
#[derive(Debug, Deserialize)]
pub struct SystemBlock {
    /// `text`.
    pub r#type: String,
    /// The text.
    pub text: Option<String>,
}

/// `thinking`.
#[derive(Debug, Deserialize)]
pub struct Thinking {
    /// `enabled`, `disabled` or `adaptive`.
    pub r#type: String,
    /// How many tokens the model may think, where thinking is `enabled`.
    pub budget_tokens: Option<u32>,
}

/// `output_config`.
#[derive(Debug, Deserialize)]
pub struct OutputConfig {
    /// `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// The form of the answer's text.
    pub format: Option<OutputFormat>,
}

/// The form of the answer's text.
#[derive(Debug, Deserialize)]
pub struct OutputFormat {
    /// `json_schema`.
    pub r#type: String,
    /// The schema.
    pub schema: Option<Map<String, Value>>,
}

/// One of the `tools`.
#[derive(Debug, Deserialize)]
pub struct ToolDefinition {
    /// Absent or `custom`; Anthropic's own tools are refused.
    pub r#type: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub input_schema: Option<Map<String, Value>>,
    /// Whether the arguments must keep to the schema to the letter.
    pub strict: Option<bool>,
}

/// `tool_choice`.
#[derive(Debug, Deserialize)]
pub struct ToolChoice {
    /// `auto`, `any`, `tool` or `none`.
    pub r#type: String,
    /// The tool that must be called, where it is one.
    pub name: Option<String>,
    /// Whether one call at most may be in an answer.
    pub disable_parallel_tool_use: Option<bool>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub struct InputMessage {
    /// `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: Content,
}

/// A text, or a list of blocks.
pub type Content = TextOrList<ContentBlock>;

/// One block of a message. Only the fields that belong to its type matter.
#[derive(Debug, Deserialize)]
pub struct ContentBlock {
    /// `text`, `image`, `document`, `tool_use`, `tool_result`, `thinking` or `redacted_thinking`.
    pub r#type: String,
    /// The text of a `text` block.
    pub text: Option<String>,
    /// Where the image or document is.
    pub source: Option<Source>,
    /// The title of a `document`.
    pub title: Option<String>,
    /// The id of a `tool_use`.
    pub id: Option<String>,
    /// The tool of a `tool_use`.
    pub name: Option<String>,
    /// The arguments of a `tool_use`.
    pub input: Option<Map<String, Value>>,
    /// The call that a `tool_result` answers.
    pub tool_use_id: Option<String>,
    /// What the tool said.
    pub content: Option<Box<Content>>,
    /// Whether the tool failed.
    pub is_error: Option<bool>,
}

impl ContentBlock {
    /// A plain text as a block.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        Self {
            r#type: "text".to_owned(),
            text: Some(text),
            source: None,
            title: None,
            id: None,
            name: None,
            input: None,
            tool_use_id: None,
            content: None,
            is_error: None,
        }
    }
}

/// Where an image or a document is.
#[derive(Debug, Deserialize)]
pub struct Source {
    /// `base64`, `text` or `url`.
    pub r#type: String,
    /// The thing itself, as base64 or as text.
    pub data: Option<String>,
    /// Where to get it.
    pub url: Option<String>,
}
