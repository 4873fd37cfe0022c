//! The wire of Anthropic's own API: what its clients send and what they expect to read.

pub mod answer;
pub mod error;
pub mod messages_request;
pub mod model;
