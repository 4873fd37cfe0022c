//! opencode, a coding agent that speaks to Couplet by way of the Vercel AI SDK, in the version that
//! tests/agent/package.json names.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Ended, run_in};
use super::npm::Packages;

const PACKAGES: Packages = Packages {
    list: include_str!("../../agent/package.json"),
    lock: include_str!("../../agent/package-lock.json"),
};

/// The program, installed on first use; `None` (after a word on stderr) on a machine that its packages here are not for.
///
/// # Panics
/// Where it cannot be installed.
pub fn opencode() -> Option<PathBuf> {
    let platform = match (OS, ARCH) {
        ("linux", "x86_64") => "linux-x64-baseline",
        ("linux", "aarch64") => "linux-arm64",
        _ => {
            eprintln!("LEFT OUT: tests/agent pins no opencode for {OS} on {ARCH}");
            return None;
        }
    };
    let folder = PACKAGES
        .installed("opencode", |_| Ok(()))
        .unwrap_or_else(|problem| panic!("opencode could not be installed.\n{problem}"));
    Some(folder.join(format!("node_modules/opencode-{platform}/bin/opencode")))
}

/// Gives it a task in `folder`, with nothing of this machine's settings and nothing to ask the network for; all tools
/// may be used.
///
/// It blocks: an async test wraps it in `spawn_blocking`.
pub fn run_task(program: &Path, folder: &Path, base_url: &str, task: &str, limit: Duration) -> Ended {
    let home = tempfile::tempdir().expect("a folder");
    let model = "couplet/claude-sonnet-5-5";
    let settings = json!({
        "model": model,
        "small_model": model,
        "provider": {"couplet": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": base_url, "apiKey": "any"},
            "models": {"claude-sonnet-5-5": {"tool_call": true, "limit": {"context": 200_000, "output": 32_000}}},
        }},
        "permission": "allow",
        "share": "disabled",
        "snapshot": false,
    });
    let settings = settings.to_string();
    let search = std::env::var("PATH").unwrap_or_default();
    let environment = [
        ("PATH", search.as_str()),
        ("HOME", home.path().to_str().expect("a path in UTF-8")),
        ("OPENCODE_CONFIG_CONTENT", &settings),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        // It installs packages for plugins that nobody has, and goes on when that fails.
        ("npm_config_offline", "true"),
    ];
    // It would put an argument with blanks in it into quotation marks.
    let words = task.split(' ');
    let arguments: Vec<&str> = ["run", "--format", "json"].into_iter().chain(words).collect();
    run_in(folder, program, &arguments, &environment, limit).expect("opencode starts")
}

/// The events it printed, of one type: their `part`s.
pub fn parts(ended: &Ended, kind: &str) -> Vec<Value> {
    let events = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an event"));
    events.filter(|event: &Value| event["type"] == kind).map(|event| event["part"].clone()).collect()
}
