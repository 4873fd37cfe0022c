//! Pure translation between OpenAI's wire and the neutral middle: no I/O, no clock, no randomness.
//!
//! - [`chat_body`]: the body of a chat completion request, in either form; [`responses_request`]: that of the Responses API.
//! - [`chat_request`]: a chat completion request → a [`Turn`](crate::turn::Turn).
//! - [`chat_answer`]: events of an answer → chat chunks, and their fold into one answer.
//! - [`completion_request`], [`completion_answer`]: the same for a text completion request.
//! - [`failure`]: the one table that turns a failed turn into an error of the API.
//! - [`media_failure`]: the same for images and files that cannot go to the model.
//! - [`models`]: the CLI's list of models → OpenAI's, and which model a name means.

pub mod anthropic_error;
mod calls;
pub mod chat_answer;
pub mod chat_body;
pub mod chat_request;
pub mod chunk_json;
pub mod completion_answer;
pub mod completion_request;
mod content;
pub mod failure;
mod history;
pub mod limit_refusal;
pub mod media_failure;
pub mod messages_answer;
mod messages_history;
pub mod messages_request;
pub mod models;
pub mod responses_request;
mod sent_fields;
mod stop;
mod tool_choice;
mod tools;
mod turns;
