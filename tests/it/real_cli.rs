//! Tests with the real, pinned Claude Code CLI.

mod chat;
mod doctor;
mod errors;
mod history;
mod leaving;
mod media;
mod prompts;
mod tools;

use std::time::Duration;

use crate::support::command::run;
use crate::support::real_cli::{pinned_version, real_cli};

#[test]
fn the_installed_cli_is_the_pinned_one() {
    let Some(cli) = real_cli() else { return };
    let said = run(&cli, &["--version"], &[], None, Duration::from_secs(30)).expect("it starts");
    assert!(said.success, "{said}");
    assert_eq!(said.stdout.split_whitespace().next(), Some(pinned_version().as_str()), "{said}");
}
