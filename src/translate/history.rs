//! The messages of a request become system prompt, history and question.

use async_openai::types::chat::Role;

use super::calls::Calls;
use super::content::{self, Part};
use super::turns::{self, Conversation, Turns};
use crate::openai::chat_request::ChatMessage;
use crate::openai::error::ApiError;
use crate::turn::{AssistantBlock, UserBlock};

mod calls;

/// How the `name` of a message is reported: Claude knows speakers only by their role.
const NAME: &str = "messages[].name";

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
    let last = turns::last_of(&messages)?;
    let mut system = Vec::new();
    let mut turns = Turns::default();
    let calls = messages.iter().flat_map(|message| message.tool_calls.iter().flatten());
    let mut calls = Calls::of(calls.map(|call| call.id.as_str()));
    if messages.iter().any(|message| message.name.is_some() && message.role != Role::Function) {
        adjusted.push(NAME);
    }
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("messages[{index}]");
        match message.role {
            Role::System | Role::Developer => system.extend(content::texts(&field, message.content)?),
            Role::User => {
                calls::expect_answered(&calls, &field)?;
                let parts = content::without_blanks(content::parts(&field, message.content)?);
                if index == last && parts.is_empty() {
                    return Err(turns::blank_question(&field));
                }
                turns.push_user(parts.into_iter().map(UserBlock::from));
            }
            Role::Assistant => {
                calls::expect_answered(&calls, &field)?;
                turns.push_assistant(assistant_blocks(&field, message, &mut calls)?);
            }
            Role::Tool => {
                turns.push_user(calls::tool_message(
                    &mut calls,
                    &field,
                    message.tool_call_id,
                    message.content,
                )?);
            }
            Role::Function => {
                turns.push_user(calls::function_message(&mut calls, &field, message.name, message.content)?);
            }
        }
    }
    calls::expect_answered(&calls, &format!("messages[{last}]"))?;
    turns.into_conversation(system.join("\n"), last)
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
    blocks.extend(calls::made(calls, field, message.tool_calls, message.function_call)?);
    Ok(blocks)
}

#[cfg(test)]
mod tests;
