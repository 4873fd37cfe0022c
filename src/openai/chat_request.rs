//! The request of `POST /v1/chat/completions`.
//!
//! The types hold the fields that are honoured or refused; what they do not hold is accepted, ignored and reported.
//! Message parts are flat on purpose: tagged and untagged enums of serde lose the path of an error.

use async_openai::types::chat::{ReasoningEffort, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::wire::text_or::{TextOrList, TextOrObject};

/// A chat completion request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// The conversation, at least one message.
    pub messages: Vec<ChatMessage>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// What a stream holds beside the answer.
    pub stream_options: Option<StreamOptions>,
    /// The largest number of tokens of the answer, reasoning included.
    pub max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    pub max_tokens: Option<u32>,
    /// Up to four texts that end the answer.
    pub stop: Option<TextOrList<String>>,
    /// 0 to 2; Claude's scale ends at 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How hard the model thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// How many answers.
    pub n: Option<u32>,
    /// What the model may call.
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether it may call, must call, or which of them.
    pub tool_choice: Option<TextOrObject<ChosenTool>>,
    /// Whether it may make several calls in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// The older form of `tools`.
    pub functions: Option<Vec<FunctionDefinition>>,
    /// The older form of `tool_choice`.
    pub function_call: Option<TextOrObject<ChosenFunction>>,
    /// The form of the answer's text.
    pub response_format: Option<ResponseFormat>,
    /// What the answer may consist of.
    pub modalities: Option<Vec<String>>,
    /// How spoken answers should sound.
    pub audio: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: Option<bool>,
}

/// `response_format`.
#[derive(Debug, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    pub r#type: String,
    /// The schema of a format of that type.
    pub json_schema: Option<JsonSchemaFormat>,
}

/// `json_schema` of a `response_format`.
#[derive(Debug, Deserialize)]
pub struct JsonSchemaFormat {
    /// A label.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The schema; without one any JSON will do.
    pub schema: Option<Map<String, Value>>,
    /// Whether the answer must keep to the schema. Here it always must.
    pub strict: Option<bool>,
}

/// One of the `tools`.
#[derive(Debug, Deserialize)]
pub struct ToolDefinition {
    /// `function`; `custom` and OpenAI's own tools are refused.
    pub r#type: String,
    /// The function of a tool of that type.
    pub function: Option<FunctionDefinition>,
}

/// A function that the model may call.
#[derive(Debug, Deserialize)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Option<Map<String, Value>>,
    /// Whether the arguments must keep to the schema to the letter.
    pub strict: Option<bool>,
}

/// The long form of `tool_choice`.
#[derive(Debug, Deserialize)]
pub struct ChosenTool {
    /// `function` or `allowed_tools`.
    pub r#type: String,
    /// The function that must be called, where it is one.
    pub function: Option<ChosenFunction>,
    /// Those that may be called, where it is several.
    pub allowed_tools: Option<AllowedTools>,
}

/// `allowed_tools` of a `tool_choice`.
#[derive(Debug, Deserialize)]
pub struct AllowedTools {
    /// `auto` or `required`.
    pub mode: String,
    /// The tools.
    pub tools: Vec<AllowedTool>,
}

/// One of the tools that may be called.
#[derive(Debug, Deserialize)]
pub struct AllowedTool {
    /// `function`.
    pub r#type: String,
    /// Which one.
    pub function: Option<ChosenFunction>,
}

/// The function that must be called.
#[derive(Debug, Deserialize)]
pub struct ChosenFunction {
    /// Its name.
    pub name: String,
}

/// One message of any role.
#[derive(Debug, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// The function that a message of role `function` answers for. With other roles it means nothing to Claude.
    pub name: Option<String>,
    /// What is said; assistant messages may have none.
    pub content: Option<Content>,
    /// The calls an assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The older form of `tool_calls`.
    pub function_call: Option<FunctionCall>,
    /// What an assistant said when it declined.
    pub refusal: Option<String>,
}

/// A text, or a list of parts.
pub type Content = TextOrList<ContentPart>;

/// One part of a message's content. Only the field that belongs to its type matters.
#[derive(Debug, Deserialize)]
pub struct ContentPart {
    /// `text`, `refusal`, `image_url`, `input_audio` or `file`.
    pub r#type: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
    /// The image of an `image_url` part.
    pub image_url: Option<ImageUrl>,
    /// The file of a `file` part.
    pub file: Option<FilePart>,
}

/// `image_url`. Its `detail` has no meaning to Claude, so it is not read and reported as ignored.
#[derive(Debug, Deserialize)]
pub struct ImageUrl {
    /// A `data:` or `https:` URL.
    pub url: String,
}

/// `file`.
#[derive(Debug, Deserialize)]
pub struct FilePart {
    /// The file, as a `data:` URL or as base64.
    pub file_data: Option<String>,
    /// The id of an uploaded file.
    pub file_id: Option<String>,
    /// The file's name.
    pub filename: Option<String>,
}

/// A call of a function in the history.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    /// The id its result refers to.
    pub id: String,
    /// Absent or `function`.
    pub r#type: Option<String>,
    /// What was called.
    pub function: Option<FunctionCall>,
}

/// Name and arguments of a call.
#[derive(Debug, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// The arguments, a JSON object as text.
    pub arguments: Option<String>,
}
