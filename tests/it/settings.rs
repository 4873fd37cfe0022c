//! The settings as the operator meets them: the documents in the repository, `couplet config`, the exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use couplet::config::docs::Example;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Ended, run_in};

const PROGRAM: &str = env!("CARGO_BIN_EXE_couplet");

#[rstest]
#[case(Example::Env, "env")]
#[case(Example::Toml, "toml")]
#[case(Example::Markdown, "markdown")]
fn the_documents_in_the_repository_are_those_made_from_the_settings(
    #[case] example: Example,
    #[case] kind: &str,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(example.path());
    let there = fs::read_to_string(path).unwrap_or_default();
    let renew = format!("cargo run -- config --example {kind} > {}", example.path());
    assert!(there == example.text(), "{} is not up to date. Renew it: {renew}", example.path());
}

#[test]
fn the_readme_names_only_settings_that_there_are() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let documented =
        Example::Env.text() + "COUPLET_CONFIG COUPLET_SKIP_REAL_CLI COUPLET_SKIP_PYTHON COUPLET_UPDATE_DOCS";
    let names = readme.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    for name in names.filter(|name| name.starts_with("COUPLET_") && name.len() > 8) {
        assert!(documented.contains(name), "{name} is no setting");
    }
}

fn couplet(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    run_in(folder.path(), Path::new(PROGRAM), arguments, variables, Duration::from_secs(20))
        .expect("it starts")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    folder
}

#[test]
fn config_shows_what_counts_where_it_comes_from_and_no_secret() {
    let folder = folder(&[
        (".env", "COUPLET_QUEUE_SIZE=3\nPORT=1\n"),
        ("couplet.toml", "idle_timeout = 9.5\napi_keys = [\"key-canary\"]\nqueue_size = 4\n"),
        ("token", "token-canary"),
    ]);
    let token = folder.path().join("token");
    let variables = [
        ("PORT", "2"),
        ("HOST", "127.0.0.3"),
        ("CLAUDE_CODE_OAUTH_TOKEN_FILE", token.to_str().expect("a path")),
        ("CLAUDE_CLI_PATH", "/no/such/cli"),
        ("HOME", "/nowhere"),
        ("COUPLET_STATE_DIR", ""),
    ];
    let flags = ["--port", "3", "--model-aliases", "fast=haiku@low"];
    let shown = couplet(&folder, &[&["config", "--json"][..], &flags].concat(), &variables);
    assert!(shown.success, "{shown}");
    let settings: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let is = |name: &str, value: Value, source: &str| {
        assert_eq!(settings[name], json!({"value": value, "source": source}));
    };
    is("PORT", json!(3), "flag --port");
    is("HOST", json!("127.0.0.3"), "variable HOST");
    is("COUPLET_QUEUE_SIZE", json!(3), "COUPLET_QUEUE_SIZE in .env line 1");
    is("COUPLET_IDLE_TIMEOUT", json!(9.5), "idle_timeout in couplet.toml line 1");
    is("COUPLET_API_KEYS", json!("set"), "api_keys in couplet.toml line 2");
    is("COUPLET_SHUTDOWN_GRACE", json!(8), "default");
    is("ANTHROPIC_API_KEY", json!("not set"), "default: the next sign-in is used");
    is("COUPLET_MODEL_ALIASES", json!({"fast": {"model": "haiku", "effort": "low"}}), "flag --model-aliases");
    let file = format!("file {}, variable CLAUDE_CODE_OAUTH_TOKEN_FILE", token.display());
    is("CLAUDE_CODE_OAUTH_TOKEN", json!("set"), &file);

    let table = couplet(&folder, &[&["config", "--no-env-file"][..], &flags].concat(), &variables);
    assert!(table.success, "{table}");
    let line = |name: &str| table.stdout.lines().find(|line| line.starts_with(name)).expect("a line");
    assert!(line("COUPLET_QUEUE_SIZE").ends_with("queue_size in couplet.toml line 3"), "{table}");
    let words: Vec<&str> = line("PORT").split_whitespace().collect();
    assert_eq!(words, ["PORT", "3", "flag", "--port"]);
    for output in [&shown, &table] {
        assert!(!output.to_string().contains("canary"), "{output}");
    }
}

#[rstest]
#[case(&["config"], &[("COUPLET_PROT", "1")], "There is no setting COUPLET_PROT")]
#[case(&[], &[("COUPLET_PROT", "1")], "did you mean \"PORT\"?")]
#[case(&["serve"], &[("PORT", "x")], "PORT cannot be \"x\" (variable PORT)")]
#[case(&["serve", "--port", "x"], &[], "PORT cannot be \"x\" (flag --port)")]
#[case(&["config"], &[("HOST", "0.0.0.0")], "without keys")]
#[case(&["--wombat"], &[], "--wombat")]
#[case(&["--port", "1", "config"], &[], "cannot be used with")]
fn what_cannot_be_used_ends_with_status_2_and_says_why(
    #[case] arguments: &[&str],
    #[case] variables: &[(&str, &str)],
    #[case] told: &str,
) {
    let needed =
        [("CLAUDE_CODE_OAUTH_TOKEN", "t"), ("CLAUDE_CLI_PATH", "/no/such/cli"), ("HOME", "/nowhere")];
    let ended = couplet(&folder(&[]), arguments, &[&needed[..], variables].concat());
    assert!(ended.how.ends_with("exit status: 2"), "{ended}");
    assert!(ended.stderr.contains(told), "{ended}");
}

#[test]
fn an_example_is_shown_whatever_the_settings_are() {
    let ended = couplet(&folder(&[]), &["config", "--example", "env"], &[("COUPLET_PROT", "1")]);
    assert!(ended.success && ended.stdout == Example::Env.text(), "{ended}");
}

#[test]
fn help_lists_each_flag_with_its_variable() {
    let help = couplet(&folder(&[]), &["serve", "--help"], &[]).stdout;
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in ["--port <NUMBER>", "[env: PORT] [default: 8000]", "--claude-code-oauth-token-file <FILE>"] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    assert!(!help.contains("--api-keys ") && !help.contains("--claude-code-oauth-token "), "{help}");
}
