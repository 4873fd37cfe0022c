//! What the tests stand on.

pub mod app;
pub mod command;
pub mod hostile_prompts;
pub mod python;
pub mod real_cli;
pub mod server;
pub mod tools;
