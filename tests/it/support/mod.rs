//! What the tests stand on.

pub mod app;
#[cfg(feature = "otel")]
pub mod collector;
pub mod command;
#[cfg(target_os = "linux")]
pub mod couplet_process;
#[cfg(target_os = "linux")]
pub mod exposition;
pub mod fake_cli;
pub mod fault_table;
pub mod hostile_prompts;
pub mod media;
pub mod messages;
pub mod node;
pub mod npm;
pub mod opencode;
pub mod outside;
pub mod prompt_cache;
pub mod python;
pub mod real_cli;
pub mod received;
pub mod resumer;
pub mod seen;
pub mod server;
pub mod tools;
