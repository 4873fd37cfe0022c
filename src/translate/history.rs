//! The messages of a request become system prompt, history and question.

use async_openai::types::chat::Role;

use super::content::{self, Part};
use crate::openai::chat_request::ChatMessage;
use crate::openai::error::ApiError;
use crate::turn::{AssistantBlock, MediaSource, Message, UserBlock};

mod calls;

use calls::Calls;

/// How the `name` of a message is reported: Claude knows speakers only by their role.
const NAME: &str = "messages[].name";

/// What the messages of a request say.
pub(super) struct Conversation {
    pub(super) system: String,
    pub(super) history: Vec<Message<MediaSource>>,
    pub(super) question: Vec<UserBlock<MediaSource>>,
}

/// Sorts messages into system prompt, history and question.
///
/// System and developer messages are hoisted and joined with a newline. Consecutive messages of one role become one
/// turn, since the CLI would merge separate frames with a newline of its own. Texts of nothing but white space are
/// dropped from the history: Anthropic's API refuses them. Results come in the order of their calls, whatever order the
/// client sent them in, and before what else the user says. Names of speakers are added to `adjusted`.
pub(super) fn conversation(
    messages: Vec<ChatMessage>,
    adjusted: &mut Vec<&'static str>,
) -> Result<Conversation, ApiError> {
    let last = messages.len().checked_sub(1).ok_or_else(|| {
        ApiError::invalid_request("messages", "'messages' must hold at least one message.")
            .with_code("invalid_value")
    })?;
    let mut system = Vec::new();
    let mut turns = Turns::default();
    let mut calls = Calls::of(&messages);
    if messages.iter().any(|message| message.name.is_some() && message.role != Role::Function) {
        adjusted.push(NAME);
    }
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("messages[{index}]");
        match message.role {
            Role::System | Role::Developer => system.extend(content::texts(&field, message.content)?),
            Role::User => {
                calls.expect_answered(&field)?;
                let parts = content::without_blanks(content::parts(&field, message.content)?);
                if index == last && parts.is_empty() {
                    let message = "The last message must hold more than white space.";
                    return Err(ApiError::invalid_request(format!("{field}.content"), message)
                        .with_code("invalid_value"));
                }
                turns.push_user(parts.into_iter().map(|part| match part {
                    Part::Text(text) => UserBlock::Text(text),
                    Part::Media(source) => UserBlock::Media(source),
                }));
            }
            Role::Assistant => {
                calls.expect_answered(&field)?;
                turns.push_assistant(assistant_blocks(&field, message, &mut calls)?);
            }
            Role::Tool => {
                turns.push_user(calls.tool_message(&field, message.tool_call_id, message.content)?);
            }
            Role::Function => {
                turns.push_user(calls.function_message(&field, message.name, message.content)?);
            }
        }
    }
    calls.expect_answered(&format!("messages[{last}]"))?;
    match turns.done.pop() {
        Some(Message::User(question)) => Ok(Conversation { system: system.join("\n"), history: turns.done, question }),
        Some(Message::Assistant(_)) => Err(ApiError::invalid_request(
            format!("messages[{last}].role"),
            "The last message must not be the assistant's: an answer that has been begun (prefill) cannot be continued.",
        )
        .with_code("invalid_value")),
        None => Err(ApiError::invalid_request("messages", "'messages' must hold a message of the user.")
            .with_code("invalid_value")),
    }
}

/// Turns under construction.
#[derive(Default)]
struct Turns {
    done: Vec<Message<MediaSource>>,
}

impl Turns {
    fn push_user(&mut self, blocks: impl IntoIterator<Item = UserBlock<MediaSource>>) {
        let mut blocks = blocks.into_iter().peekable();
        match self.done.last_mut() {
            Some(Message::User(before)) => before.extend(blocks),
            _ if blocks.peek().is_some() => self.done.push(Message::User(blocks.collect())),
            _ => {}
        }
    }

    fn push_assistant(&mut self, blocks: Vec<AssistantBlock>) {
        match self.done.last_mut() {
            Some(Message::Assistant(before)) => before.extend(blocks),
            _ if !blocks.is_empty() => self.done.push(Message::Assistant(blocks)),
            _ => {}
        }
    }
}

fn assistant_blocks(
    field: &str,
    message: ChatMessage,
    calls: &mut Calls,
) -> Result<Vec<AssistantBlock>, ApiError> {
    let texts = content::texts(field, message.content)?.into_iter().chain(message.refusal);
    let texts =
        content::without_blanks(texts.map(Part::Text).collect()).into_iter().filter_map(Part::into_text);
    let mut blocks: Vec<_> = texts.map(AssistantBlock::Text).collect();
    blocks.extend(calls.made(field, message.tool_calls, message.function_call)?);
    Ok(blocks)
}

#[cfg(test)]
mod tests;
