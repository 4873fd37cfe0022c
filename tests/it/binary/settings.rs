//! Settings that cannot be used: exit status 2, and the way out on stderr.

use std::path::Path;
use std::time::Duration;

use rstest::rstest;

use crate::support::command::{Ended, run_with_only};
use crate::support::couplet_process::PROGRAM;
use crate::support::fake_cli::program;
use crate::support::fault_table::{Asked, Class, Tried, saw};

const TOKEN: (&str, &str) = ("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-canary");
const CLI: (&str, &str) = ("CLAUDE_CLI_PATH", "the fake one");
const HOME: (&str, &str) = ("HOME", "/no/such/home");

fn couplet(arguments: &[&str], environment: &[(&'static str, &'static str)]) -> Ended {
    let limit = Duration::from_secs(20);
    let fake = program();
    let fake = fake.to_str().expect("a path");
    let path = |(name, value): &(&'static str, &'static str)| {
        (*name, if (*name, *value) == CLI { fake } else { value })
    };
    let environment: Vec<(&str, &str)> = environment.iter().map(path).collect();
    run_with_only(Path::new(PROGRAM), arguments, &environment, limit).expect("it starts")
}

#[rstest]
#[case::without_a_credential(&["--demo", "never"], &[CLI, HOME], "claude setup-token")]
#[case::without_a_cli(&[], &[TOKEN, HOME, ("PATH", "/no/such/folder")], "CLAUDE_CLI_PATH")]
#[case::with_a_cli_that_is_not_there(&[], &[TOKEN, HOME, ("CLAUDE_CLI_PATH", "/no/such/claude")], "npm install -g")]
#[case::with_a_cli_that_is_none(&[], &[TOKEN, HOME, ("CLAUDE_CLI_PATH", "/bin/echo")], "npm install -g")]
#[case::beyond_loopback_by_variable(&["serve"], &[TOKEN, CLI, HOME, ("HOST", "::")], "COUPLET_API_KEYS")]
#[case::with_an_impossible_flag(&["--port", "70000"], &[TOKEN, CLI, HOME], "--port")]
#[case::with_an_impossible_variable(&[], &[TOKEN, CLI, HOME, ("COUPLET_IDLE_TIMEOUT", "soon")], "variable COUPLET_IDLE_TIMEOUT")]
#[case::with_an_unknown_flag(&["--no-such-flag"], &[TOKEN, CLI, HOME], "--no-such-flag")]
#[case::with_a_token_in_a_missing_file(&[], &[CLI, HOME, ("CLAUDE_CODE_OAUTH_TOKEN_FILE", "/no/such/file")], "/no/such/file")]
#[case::without_a_home(&[], &[TOKEN, CLI], "COUPLET_STATE_DIR")]
#[case::on_a_port_of_somebody_else(&["--host", "192.0.2.1", "--port", "9"], &[TOKEN, CLI, ("COUPLET_API_KEYS", "k"), ("COUPLET_STATE_DIR", "/no/such/state")], "192.0.2.1:9")]
fn settings_that_cannot_be_used_end_it_with_2_and_the_remedy(
    #[case] arguments: &[&str],
    #[case] environment: &[(&'static str, &'static str)],
    #[case] remedy: &str,
) {
    let ended = couplet(arguments, environment);
    assert!(ended.how.ends_with("exit status: 2"), "{ended}");
    assert!(ended.stderr.contains(remedy), "{ended}");
    assert!(!ended.to_string().contains("canary"), "{ended}");
}

#[test]
fn beyond_loopback_no_server_starts_without_a_key() {
    const ADDRESSES: [&str; 4] = ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"];
    for address in ADDRESSES {
        let ended = couplet(&["--host", address, "--port", "0"], &[TOKEN, CLI, HOME]);
        assert!(ended.how.ends_with("exit status: 2"), "{address}: {ended}");
        assert!(ended.stderr.contains("COUPLET_API_KEYS"), "{address}: {ended}");
    }
    let told = "no server: it ends with exit status 2, and a sentence that names the setting";
    let fault = "it is to listen beyond loopback, and there is no key";
    saw(Class::Hostile, fault, Asked::Either, told, Tried::Times(ADDRESSES.len() as u64));
}

#[test]
fn the_launcher_called_by_hand_says_that_it_is_none_of_your_business() {
    let ended = couplet(&["__exec"], &[]);
    assert!(ended.how.ends_with("exit status: 127"), "{ended}");
    assert!(ended.stderr.contains("is for Couplet itself"), "{ended}");
}

#[test]
fn the_launcher_starts_nothing_for_a_server_that_is_gone() {
    // Not this process's parent: the server died before the launcher asked for the signal.
    let ended = couplet(&["__exec", "1", "-", "-", "/bin/echo", "it ran"], &[]);
    assert!(ended.how.ends_with("exit status: 127"), "{ended}");
    assert_eq!((ended.stdout.as_str(), ended.stderr.trim()), ("", "the server is gone"));
}
