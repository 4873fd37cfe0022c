//! Tests with the real, pinned Claude Code CLI.

mod account;
mod broken_api;
#[cfg(target_os = "linux")]
mod canaries;
mod chat;
mod completions;
mod cursor;
mod demands;
mod doctor;
#[cfg(target_os = "linux")]
mod drain;
mod errors;
mod history;
mod hostile;
mod killed;
mod leaving;
mod media;
mod messages;
mod parameters;
mod prefix;
mod prompts;
mod refused;
#[cfg(target_os = "linux")]
mod sandbox;
mod several;
mod tenants;
mod tools;
mod warm;

use std::time::Duration;

use crate::support::app::{Builder, TestApp};
use crate::support::command::run;
use crate::support::real_cli::{pinned_version, real_cli};

/// Couplet in front of it; `None` where it is left out.
async fn app() -> Option<TestApp> {
    let cli = real_cli()?;
    Some(Builder::new(&cli).await.start().await)
}

#[test]
fn the_installed_cli_is_the_pinned_one() {
    let Some(cli) = real_cli() else { return };
    let said = run(&cli, &["--version"], &[], None, Duration::from_secs(30)).expect("it starts");
    assert!(said.success, "{said}");
    assert_eq!(said.stdout.split_whitespace().next(), Some(pinned_version().as_str()), "{said}");
}
