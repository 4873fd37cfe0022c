//! Couplet listens like the OpenAI API and answers through the official Claude Code CLI.

pub mod upstream;
