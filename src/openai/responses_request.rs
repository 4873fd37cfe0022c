//! The request of the Responses API, as far as it can be answered as a chat completion.
//!
//! Cursor posts it to `/v1/chat/completions`. As with [`super::chat_request`], what the types do not hold is accepted,
//! ignored and reported, and items and parts are flat so that errors keep their path.

use async_openai::types::chat::{ReasoningEffort, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::chat_request::StreamOptions;
use super::text_or::{TextOrList, TextOrObject};

/// A request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct ResponsesRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// A message of the user, or the conversation.
    pub input: TextOrList<InputItem>,
    /// The system prompt, before those in `input`.
    pub instructions: Option<String>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// What a stream holds beside the answer. (Chat completions have it; Cursor sends it along.)
    pub stream_options: Option<StreamOptions>,
    /// The largest number of tokens of the answer, reasoning included.
    pub max_output_tokens: Option<u32>,
    /// 0 to 2; Claude's scale ends at 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How the model thinks.
    pub reasoning: Option<Reasoning>,
    /// The form of the answer's text.
    pub text: Option<TextSettings>,
    /// What the model may call.
    pub tools: Option<Vec<FlatTool>>,
    /// Whether it may call, must call, or which of them.
    pub tool_choice: Option<TextOrObject<FlatToolChoice>>,
    /// Whether it may make several calls in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// A stored response that this one follows.
    pub previous_response_id: Option<Value>,
    /// A stored conversation that this belongs to.
    pub conversation: Option<Value>,
    /// A stored prompt.
    pub prompt: Option<Value>,
}

/// One item of `input`. Only the fields that belong to its type matter.
#[derive(Debug, Deserialize)]
pub struct InputItem {
    /// `message`, also where it is absent; `function_call`, `function_call_output` or `reasoning`. Others are refused.
    pub r#type: Option<String>,
    /// Who speaks in a message.
    pub role: Option<Role>,
    /// What a message says.
    pub content: Option<TextOrList<InputPart>>,
    /// The id of a call, or of the call that is answered.
    pub call_id: Option<String>,
    /// The function that was called.
    pub name: Option<String>,
    /// Its arguments, a JSON object as text.
    pub arguments: Option<String>,
    /// What a function answered.
    pub output: Option<TextOrList<InputPart>>,
}

/// One part of a message or of a function's output. Only the fields that belong to its type matter.
#[derive(Debug, Deserialize)]
pub struct InputPart {
    /// `input_text`, `output_text`, `text`, `refusal`, `input_image` or `input_file`.
    pub r#type: String,
    /// The text.
    pub text: Option<String>,
    /// What the model said when it declined.
    pub refusal: Option<String>,
    /// The image, as a `data:` or `https:` URL.
    pub image_url: Option<String>,
    /// The file, as a `data:` URL or as base64.
    pub file_data: Option<String>,
    /// The id of an uploaded image or file.
    pub file_id: Option<String>,
    /// Where a file could be fetched.
    pub file_url: Option<String>,
    /// The file's name.
    pub filename: Option<String>,
}

/// `reasoning`.
#[derive(Debug, Deserialize)]
pub struct Reasoning {
    /// How hard the model thinks.
    pub effort: Option<ReasoningEffort>,
}

/// `text`.
#[derive(Debug, Deserialize)]
pub struct TextSettings {
    /// The form of the answer's text.
    pub format: Option<TextFormat>,
}

/// `text.format`.
#[derive(Debug, Deserialize)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    pub r#type: String,
    /// A label of the schema.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The schema.
    pub schema: Option<Map<String, Value>>,
    /// Whether the answer must keep to the schema.
    pub strict: Option<bool>,
}

/// One of the `tools`. The Responses API has the function's fields beside the type.
#[derive(Debug, Deserialize)]
pub struct FlatTool {
    /// `function`; `custom` and OpenAI's own tools are refused.
    pub r#type: String,
    /// The function's name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Option<Map<String, Value>>,
    /// Whether the arguments must keep to the schema to the letter.
    pub strict: Option<bool>,
}

/// The long form of `tool_choice`.
#[derive(Debug, Deserialize)]
pub struct FlatToolChoice {
    /// `function` or `allowed_tools`.
    pub r#type: String,
    /// The function that must be called.
    pub name: Option<String>,
    /// `auto` or `required`, where several are allowed.
    pub mode: Option<String>,
    /// The tools that are allowed.
    pub tools: Option<Vec<FlatAllowedTool>>,
}

/// One of the tools that are allowed.
#[derive(Debug, Deserialize)]
pub struct FlatAllowedTool {
    /// `function`.
    pub r#type: String,
    /// Its name.
    pub name: Option<String>,
}
