//! The messages of a request to `/v1/messages` become history and question.

use super::calls::{Calls, Reference};
use super::content::{self, MAX_FILE_NAME, Part};
use super::turns::{self, Conversation, Turns};
use crate::anthropic::messages_request::{Content, ContentBlock, InputMessage, Source, SystemBlock};
use crate::openai::error::ApiError;
use crate::openai::text_or::TextOrList;
use crate::turn::{AssistantBlock, Declared, MediaData, MediaSource, UserBlock, is_blank};

/// Sorts the messages into history and question; see [`super::history::conversation`] for what happens to blanks, results
/// and messages of one role that follow each other. Thinking of the model is left out: the CLI drops it.
pub(super) fn conversation(
    system: Option<TextOrList<SystemBlock>>,
    messages: Vec<InputMessage>,
) -> Result<Conversation, ApiError> {
    let last = turns::last_of(&messages)?;
    let mut turns = Turns::default();
    let mut calls = Calls::of(call_ids(&messages));
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("messages[{index}]");
        match message.role.as_str() {
            "user" => {
                let blocks = user_blocks(&field, message.content, &mut calls)?;
                expect_answered(&calls, &field)?;
                if index == last && blocks.is_empty() {
                    return Err(turns::blank_question(&field));
                }
                turns.push_user(blocks);
            }
            "assistant" => {
                expect_answered(&calls, &field)?;
                turns.push_assistant(assistant_blocks(&field, message.content, &mut calls)?);
            }
            _ => {
                let message = "'role' must be 'user' or 'assistant'; a system prompt goes into 'system'.";
                return Err(invalid(format!("{field}.role"), message));
            }
        }
    }
    expect_answered(&calls, &format!("messages[{last}]"))?;
    turns.into_conversation(self::system(system)?, last)
}

fn call_ids(messages: &[InputMessage]) -> impl Iterator<Item = &str> {
    let blocks = messages.iter().flat_map(|message| match &message.content {
        TextOrList::Text(_) => [].iter(),
        TextOrList::List(blocks) => blocks.iter(),
    });
    blocks.filter_map(|block| block.id.as_deref())
}

/// The texts of the system prompt, joined with a newline.
fn system(system: Option<TextOrList<SystemBlock>>) -> Result<String, ApiError> {
    let blocks = match system {
        None => return Ok(String::new()),
        Some(TextOrList::Text(text)) => return Ok(text),
        Some(TextOrList::List(blocks)) => blocks,
    };
    let text = |(index, block): (usize, SystemBlock)| {
        let field = format!("system[{index}]");
        if block.r#type != "text" {
            return Err(invalid(
                format!("{field}.type"),
                "The system prompt may hold blocks of type 'text' only.",
            ));
        }
        required(block.text, &field, "text")
    };
    let texts: Vec<String> = blocks.into_iter().enumerate().map(text).collect::<Result<_, _>>()?;
    Ok(texts.join("\n"))
}

fn user_blocks(
    field: &str,
    content: Content,
    calls: &mut Calls,
) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
    let mut results = Vec::new();
    let mut parts = Vec::new();
    for (field, block) in blocks(field, content) {
        if block.r#type == "tool_result" {
            if !parts.is_empty() {
                let message = "The results of tools must come before anything else in their message.";
                return Err(invalid(field, message));
            }
            results.extend(result(&field, block, calls)?);
        } else {
            parts.push(part(&field, block)?);
        }
    }
    results.extend(content::without_blanks(parts).into_iter().map(UserBlock::from));
    Ok(results)
}

/// A result. Gives those of all calls once the last is there.
fn result(
    field: &str,
    block: ContentBlock,
    calls: &mut Calls,
) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
    let reference = Reference::Id(required(block.tool_use_id, field, "tool_use_id")?);
    let wrong = "A 'tool_result' must answer a 'tool_use' of the assistant message before it, once.";
    let content = block.content.map(|content| *content);
    let parts = content.map(|content| blocks(field, content)).into_iter().flatten();
    let parts = parts.map(|(field, block)| part(&field, block)).collect::<Result<_, _>>()?;
    calls.answer(&reference, (format!("{field}.tool_use_id"), wrong), parts, block.is_error.unwrap_or(false))
}

/// Texts that follow each other become one, as the answer was before its thinking was left out: so the process that gave the
/// answer is found again.
fn assistant_blocks(
    field: &str,
    content: Content,
    calls: &mut Calls,
) -> Result<Vec<AssistantBlock>, ApiError> {
    let mut said: Vec<AssistantBlock> = Vec::new();
    for (field, block) in blocks(field, content) {
        match block.r#type.as_str() {
            "text" => {
                let text = required(block.text, &field, "text")?;
                match said.last_mut() {
                    Some(AssistantBlock::Text(before)) => before.push_str(&text),
                    _ => said.push(AssistantBlock::Text(text)),
                }
            }
            "tool_use" => {
                let id = required(block.id, &field, "id")?;
                let name = required(block.name, &field, "name")?;
                let input = required(block.input, &field, "input")?;
                let fields = (&*format!("{field}.id"), &*format!("{field}.name"));
                said.push(calls.open(fields, id, name, input)?);
            }
            "thinking" | "redacted_thinking" => {}
            _ => {
                let message = "Blocks of the assistant may be of type 'text', 'tool_use', 'thinking' or 'redacted_thinking'.";
                return Err(unsupported(format!("{field}.type"), message));
            }
        }
    }
    said.retain(|block| !matches!(block, AssistantBlock::Text(text) if is_blank(text)));
    Ok(said)
}

/// The blocks of a content with their fields, one for a plain string.
fn blocks(field: &str, content: Content) -> Vec<(String, ContentBlock)> {
    match content {
        TextOrList::Text(text) => vec![(format!("{field}.content"), ContentBlock::of_text(text))],
        TextOrList::List(blocks) => {
            let with_field = |(index, block)| (format!("{field}.content[{index}]"), block);
            blocks.into_iter().enumerate().map(with_field).collect()
        }
    }
}

/// A block that the user or a tool may send.
fn part(field: &str, block: ContentBlock) -> Result<Part, ApiError> {
    match block.r#type.as_str() {
        "text" => required(block.text, field, "text").map(Part::Text),
        "image" => {
            let source = required(block.source, field, "source")?;
            media(&format!("{field}.source"), source, Declared::Image)
        }
        "document" => {
            let source = required(block.source, field, "source")?;
            let name = block.title.filter(|title| !is_blank(title));
            if name.as_ref().is_some_and(|name| name.chars().count() > MAX_FILE_NAME) {
                let message = format!("A document's title may be {MAX_FILE_NAME} characters long.");
                return Err(invalid(format!("{field}.title"), &message));
            }
            media(&format!("{field}.source"), source, Declared::File { name })
        }
        _ => {
            let message = "Blocks of the user may be of type 'text', 'image', 'document' or 'tool_result', those of a result of the first three.";
            Err(unsupported(format!("{field}.type"), message))
        }
    }
}

fn media(field: &str, source: Source, declared: Declared) -> Result<Part, ApiError> {
    let (name, data): (_, fn(String) -> MediaData) = match (source.r#type.as_str(), &declared) {
        ("base64", _) => ("data", MediaData::Base64),
        ("url", _) => ("url", MediaData::Url),
        ("text", Declared::File { .. }) => ("data", MediaData::Text),
        ("file", _) => {
            let message = "Couplet stores no files: send the file itself, as a source of type 'base64'.";
            return Err(unsupported(format!("{field}.type"), message));
        }
        (_, Declared::Image) => {
            return Err(unsupported(
                format!("{field}.type"),
                "The source of an image may be of type 'base64' or 'url'.",
            ));
        }
        (_, Declared::File { .. }) => {
            let message = "The source of a document may be of type 'base64', 'text' or 'url'.";
            return Err(unsupported(format!("{field}.type"), message));
        }
    };
    let text = if name == "url" { source.url } else { source.data };
    let data = data(required(text, field, name)?);
    Ok(Part::Media(MediaSource { field: format!("{field}.{name}"), declared, data }))
}

fn expect_answered(calls: &Calls, field: &str) -> Result<(), ApiError> {
    if calls.are_answered() {
        return Ok(());
    }
    let message = "Every 'tool_use' must be answered by a 'tool_result' in the message after it.";
    Err(invalid(field, message))
}

pub(super) fn required<T>(value: Option<T>, field: &str, name: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::missing_parameter(&format!("{field}.{name}")))
}

pub(super) fn invalid(field: impl Into<String>, message: &str) -> ApiError {
    ApiError::invalid_request(field, message).with_code("invalid_value")
}

pub(super) fn unsupported(field: impl Into<String>, message: &str) -> ApiError {
    ApiError::invalid_request(field, message).with_code("unsupported_parameter")
}

#[cfg(test)]
mod tests;
