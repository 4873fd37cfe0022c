//! The Responses API's request becomes a chat completion's, and so a [`Turn`](crate::turn::Turn). Errors name the fields
//! that were sent.

use async_openai::types::chat::Role;

use super::chat_request::{self, Translated};
use super::sent_fields::{self, Origin, Origins};
use crate::openai::chat_request::{
    AllowedTool, AllowedTools, ChatMessage, ChatRequest, ChosenFunction, ChosenTool, Content, ContentPart,
    FilePart, FunctionCall, FunctionDefinition, ImageUrl, JsonSchemaFormat, ResponseFormat, ToolCall,
    ToolDefinition,
};
use crate::openai::error::ApiError;
use crate::openai::responses_request::{
    FlatTool, FlatToolChoice, InputItem, InputPart, ResponsesRequest, TextFormat,
};
use crate::openai::text_or::{TextOrList, TextOrObject};
use crate::turn::{MediaSource, Parameter};

/// What a parameter is called here.
#[must_use]
pub fn name_of(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Effort => "reasoning.effort",
        other => chat_request::name_of(other),
    }
}

/// What a field of a chat completion request is called here, once the conversation has been read.
#[must_use]
pub fn sent_as(field: &str) -> Option<String> {
    sent_fields::sent_as(field)
}

/// Translates a request. The model stays as the client named it.
///
/// # Errors
/// 400 that names the field, for what is wrong and for what Couplet cannot do.
pub fn turn(request: ResponsesRequest) -> Result<Translated, ApiError> {
    let mut conversation = Conversation::default();
    let chat = chat(request, &mut conversation)?;
    let origins = conversation.origins;
    let Translated { turn, n, calls, mut adjusted } =
        chat_request::turn(chat).map_err(|error| error.in_words_of(|field| origins.sent_as(field)))?;
    for field in &mut adjusted {
        if *field == "tools[].function.strict" {
            *field = "tools[].strict";
        }
    }
    let turn = turn.map_media(|source: MediaSource| MediaSource {
        field: origins.sent_as(&source.field).unwrap_or(source.field),
        ..source
    });
    Ok(Translated { turn, n, calls, adjusted })
}

/// The chat completion request that says the same. What is wrong with it is told in its own words.
fn chat(request: ResponsesRequest, conversation: &mut Conversation) -> Result<ChatRequest, ApiError> {
    refuse_stored(&request)?;
    if let Some(instructions) = request.instructions {
        conversation.say("instructions", Role::System, Some(TextOrList::Text(instructions)))?;
    }
    match request.input {
        TextOrList::Text(text) => conversation.ask(text),
        TextOrList::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                conversation.take(&format!("input[{index}]"), item)?;
            }
        }
    }
    Ok(ChatRequest {
        model: request.model,
        messages: std::mem::take(&mut conversation.messages),
        stream: request.stream,
        stream_options: request.stream_options,
        max_completion_tokens: request.max_output_tokens,
        max_tokens: None,
        stop: None,
        temperature: request.temperature,
        top_p: request.top_p,
        reasoning_effort: request.reasoning.and_then(|reasoning| reasoning.effort),
        n: None,
        tools: request.tools.map(tools).transpose()?,
        tool_choice: request.tool_choice.map(tool_choice).transpose()?,
        parallel_tool_calls: request.parallel_tool_calls,
        functions: None,
        function_call: None,
        response_format: request.text.and_then(|text| text.format).map(response_format),
        modalities: None,
        audio: None,
    })
}

/// What is kept on OpenAI's servers is not here, and leaving it out would change what the model is asked.
fn refuse_stored(request: &ResponsesRequest) -> Result<(), ApiError> {
    let fields = [
        ("previous_response_id", &request.previous_response_id),
        ("conversation", &request.conversation),
        ("prompt", &request.prompt),
    ];
    match fields.into_iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((field, _)) => {
            let message =
                format!("Couplet stores nothing: send the whole conversation in 'input', without '{field}'.");
            Err(ApiError::invalid_request(field, message).with_code("unsupported_parameter"))
        }
    }
}

/// Messages under construction.
#[derive(Default)]
struct Conversation {
    messages: Vec<ChatMessage>,
    origins: Origins,
}

impl Conversation {
    fn take(&mut self, field: &str, item: InputItem) -> Result<(), ApiError> {
        let missing = |name: &str| ApiError::missing_parameter(&format!("{field}.{name}"));
        let refused = |message: &str| {
            let error = ApiError::invalid_request(format!("{field}.type"), message);
            Err(error.with_code("unsupported_parameter"))
        };
        match item.r#type.as_deref() {
            None | Some("message") => match item.role.ok_or_else(|| missing("role"))? {
                Role::Tool | Role::Function => {
                    let message =
                        format!("'{field}.role' must be 'user', 'assistant', 'system' or 'developer'.");
                    Err(ApiError::invalid_request(format!("{field}.role"), message)
                        .with_code("invalid_value"))
                }
                role => self.say(field, role, item.content),
            },
            Some("function_call") => {
                let id = item.call_id.ok_or_else(|| missing("call_id"))?;
                let name = item.name.ok_or_else(|| missing("name"))?;
                let function = Some(FunctionCall { name, arguments: item.arguments });
                self.call(field, ToolCall { id, r#type: None, function });
                Ok(())
            }
            Some("function_call_output") => {
                let id = item.call_id.ok_or_else(|| missing("call_id"))?;
                let output = item.output.ok_or_else(|| missing("output"))?;
                let (content, parts) = content(&format!("{field}.output"), output)?;
                let message = ChatMessage { tool_call_id: Some(id), ..message(Role::Tool, Some(content)) };
                self.push(message, origin(field, "output", parts));
                Ok(())
            }
            // What the model thought cannot be handed back to it through the CLI.
            Some("reasoning") => Ok(()),
            Some("item_reference") => refused("Couplet stores no items: send the item itself."),
            Some(_) => refused(
                "Only items of type 'message', 'function_call', 'function_call_output' and 'reasoning' are supported.",
            ),
        }
    }

    /// The text that is the whole input.
    fn ask(&mut self, text: String) {
        let origin = Origin { content: "input".to_owned(), ..origin("input", "", Vec::new()) };
        self.push(message(Role::User, Some(Content::Text(text))), origin);
    }

    fn say(&mut self, field: &str, role: Role, said: Option<TextOrList<InputPart>>) -> Result<(), ApiError> {
        let said = said.map(|said| content(&format!("{field}.content"), said)).transpose()?;
        let (content, parts) = said.map_or((None, Vec::new()), |(content, parts)| (Some(content), parts));
        if role == Role::Assistant {
            // The parts of one answer are items of their own here; a chat's message holds all of them.
            let (message, origin) = self.assistant(field);
            let said = content.map(into_parts).unwrap_or_default();
            match &mut message.content {
                Some(Content::List(before)) => before.extend(said),
                other => *other = Some(Content::List(said)),
            }
            origin.content = format!("{field}.content");
            let text = (parts.is_empty()).then(|| origin.content.clone());
            origin.parts.extend(parts.into_iter().chain(text));
        } else {
            self.push(message(role, content), origin(field, "content", parts));
        }
        Ok(())
    }

    fn call(&mut self, field: &str, call: ToolCall) {
        let (message, origin) = self.assistant(field);
        message.tool_calls.get_or_insert_default().push(call);
        origin.calls.push(field.to_owned());
    }

    /// The assistant's message that an item belongs to: the last one, or a new one.
    fn assistant(&mut self, field: &str) -> (&mut ChatMessage, &mut Origin) {
        if self.messages.last().is_none_or(|last| last.role != Role::Assistant) {
            self.push(message(Role::Assistant, None), origin(field, "content", Vec::new()));
        }
        let last = self.messages.len() - 1;
        let origin = &mut self.origins.0[last];
        field.clone_into(&mut origin.item);
        (&mut self.messages[last], origin)
    }

    fn push(&mut self, message: ChatMessage, origin: Origin) {
        self.messages.push(message);
        self.origins.0.push(origin);
    }
}

fn message(role: Role, content: Option<Content>) -> ChatMessage {
    ChatMessage {
        role,
        name: None,
        content,
        tool_calls: None,
        tool_call_id: None,
        function_call: None,
        refusal: None,
    }
}

fn origin(item: &str, content: &str, parts: Vec<String>) -> Origin {
    Origin { item: item.to_owned(), content: format!("{item}.{content}"), parts, calls: Vec::new() }
}

/// The content that says the same, and what each of its parts was called.
fn content(field: &str, said: TextOrList<InputPart>) -> Result<(Content, Vec<String>), ApiError> {
    let parts = match said {
        TextOrList::Text(text) => return Ok((Content::Text(text), Vec::new())),
        TextOrList::List(parts) => parts,
    };
    let names: Vec<String> = (0..parts.len()).map(|index| format!("{field}[{index}]")).collect();
    let parts = names.iter().zip(parts).map(|(name, part)| self::part(name, part));
    Ok((Content::List(parts.collect::<Result<_, _>>()?), names))
}

fn into_parts(content: Content) -> Vec<ContentPart> {
    match content {
        Content::List(parts) => parts,
        Content::Text(text) => vec![ContentPart { text: Some(text), ..empty_part("text") }],
    }
}

fn empty_part(kind: &str) -> ContentPart {
    ContentPart { r#type: kind.to_owned(), text: None, refusal: None, image_url: None, file: None }
}

fn part(field: &str, part: InputPart) -> Result<ContentPart, ApiError> {
    let not_here = |name: &str, message: &str| {
        let error = ApiError::invalid_request(format!("{field}.{name}"), message);
        Err(error.with_code("unsupported_parameter"))
    };
    Ok(match part.r#type.as_str() {
        "input_text" | "output_text" | "text" => ContentPart { text: part.text, ..empty_part("text") },
        "refusal" => ContentPart { refusal: part.refusal, ..empty_part("refusal") },
        "input_image" if part.file_id.is_some() => {
            return not_here("file_id", "Couplet stores no files: send the image itself, in 'image_url'.");
        }
        "input_image" => {
            ContentPart { image_url: part.image_url.map(|url| ImageUrl { url }), ..empty_part("image_url") }
        }
        "input_file" if part.file_url.is_some() => {
            return not_here("file_url", "Couplet fetches no files: send the file itself, in 'file_data'.");
        }
        "input_file" => {
            let file = FilePart { file_data: part.file_data, file_id: part.file_id, filename: part.filename };
            ContentPart { file: Some(file), ..empty_part("file") }
        }
        "input_audio" => empty_part("input_audio"),
        _ => {
            let field = format!("{field}.type");
            let message = format!(
                "'{field}' must be one of 'input_text', 'output_text', 'refusal', 'input_image', 'input_file'."
            );
            return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
        }
    })
}

fn tools(tools: Vec<FlatTool>) -> Result<Vec<ToolDefinition>, ApiError> {
    let tool = |(index, tool): (usize, FlatTool)| {
        let FlatTool { r#type: kind, name, description, parameters, strict } = tool;
        let function = if kind == "function" {
            let name = name.ok_or_else(|| ApiError::missing_parameter(&format!("tools[{index}].name")))?;
            Some(FunctionDefinition { name, description, parameters, strict })
        } else {
            None
        };
        Ok(ToolDefinition { r#type: kind, function })
    };
    tools.into_iter().enumerate().map(tool).collect()
}

fn tool_choice(choice: TextOrObject<FlatToolChoice>) -> Result<TextOrObject<ChosenTool>, ApiError> {
    let chosen = match choice {
        TextOrObject::Text(text) => return Ok(TextOrObject::Text(text)),
        TextOrObject::Object(chosen) => chosen,
    };
    let allowed_tools = if chosen.r#type == "allowed_tools" {
        let mode = chosen.mode.ok_or_else(|| ApiError::missing_parameter("tool_choice.mode"))?;
        let tools = chosen.tools.unwrap_or_default().into_iter().map(|tool| AllowedTool {
            r#type: tool.r#type,
            function: tool.name.map(|name| ChosenFunction { name }),
        });
        Some(AllowedTools { mode, tools: tools.collect() })
    } else {
        None
    };
    let function = chosen.name.map(|name| ChosenFunction { name });
    Ok(TextOrObject::Object(ChosenTool { r#type: chosen.r#type, function, allowed_tools }))
}

fn response_format(format: TextFormat) -> ResponseFormat {
    let TextFormat { r#type: kind, name, description, schema, strict } = format;
    let json_schema =
        (kind == "json_schema").then_some(JsonSchemaFormat { name, description, schema, strict });
    ResponseFormat { r#type: kind, json_schema }
}

#[cfg(test)]
mod tests;
