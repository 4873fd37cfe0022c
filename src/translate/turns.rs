//! Messages become turns, whichever wire they came by.

use super::content::Part;
use crate::openai::error::ApiError;
use crate::turn::{AssistantBlock, MediaSource, Message, UserBlock};

/// What the messages of a request say.
pub(super) struct Conversation {
    pub(super) system: String,
    pub(super) history: Vec<Message<MediaSource>>,
    pub(super) question: Vec<UserBlock<MediaSource>>,
}

/// Turns under construction. Consecutive messages of one role become one turn, since the CLI would merge separate frames
/// with a newline of its own.
#[derive(Default)]
pub(super) struct Turns {
    done: Vec<Message<MediaSource>>,
}

impl Turns {
    pub(super) fn push_user(&mut self, blocks: impl IntoIterator<Item = UserBlock<MediaSource>>) {
        let mut blocks = blocks.into_iter().peekable();
        match self.done.last_mut() {
            Some(Message::User(before)) => before.extend(blocks),
            _ if blocks.peek().is_some() => self.done.push(Message::User(blocks.collect())),
            _ => {}
        }
    }

    pub(super) fn push_assistant(&mut self, blocks: Vec<AssistantBlock>) {
        match self.done.last_mut() {
            Some(Message::Assistant(before)) => before.extend(blocks),
            _ if !blocks.is_empty() => self.done.push(Message::Assistant(blocks)),
            _ => {}
        }
    }

    /// The turns as history and question. `last` is the place of the last message.
    pub(super) fn into_conversation(mut self, system: String, last: usize) -> Result<Conversation, ApiError> {
        match self.done.pop() {
            Some(Message::User(question)) => Ok(Conversation { system, history: self.done, question }),
            Some(Message::Assistant(_)) => Err(ApiError::invalid_request(
                format!("messages[{last}].role"),
                "The last message must not be the assistant's: an answer that has been begun (prefill) cannot be continued.",
            )
            .with_code("invalid_value")),
            None => Err(ApiError::invalid_request("messages", "'messages' must hold a message of the user.")
                .with_code("invalid_value")),
        }
    }
}

/// The place of the last message; there must be one.
pub(super) fn last_of<T>(messages: &[T]) -> Result<usize, ApiError> {
    messages.len().checked_sub(1).ok_or_else(|| {
        ApiError::invalid_request("messages", "'messages' must hold at least one message.")
            .with_code("invalid_value")
    })
}

/// The error of a question that asks nothing.
pub(super) fn blank_question(field: &str) -> ApiError {
    let message = "The last message must hold more than white space.";
    ApiError::invalid_request(format!("{field}.content"), message).with_code("invalid_value")
}

impl From<Part> for UserBlock<MediaSource> {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Media(source) => Self::Media(source),
        }
    }
}
