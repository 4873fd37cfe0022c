//! The wire of OpenAI's API: what its clients send and what they expect to read.
//!
//! Types of `async-openai` are used where they fit (roles, finish reasons, usage, the error object, models). Requests
//! have types of their own, because an error must name the field it is about and unknown fields must be reported.

pub mod chat_answer;
pub mod chat_request;
pub mod completion_answer;
pub mod completion_request;
pub mod error;
pub mod model;
pub mod parse;
pub mod responses_request;
pub mod text_or;
