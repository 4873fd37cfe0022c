//! The real Claude Code CLI, in the version that tests/claude-cli/package.json names and nowhere else.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::command::run;
use super::npm::{Packages, npm};
use super::tools::{left_out, made_once};

const PACKAGES: Packages = Packages {
    list: include_str!("../../claude-cli/package.json"),
    lock: include_str!("../../claude-cli/package-lock.json"),
};

const VARIABLE: &str = "COUPLET_SKIP_REAL_CLI";
/// In the installation's folder: the program's path within it.
const PROGRAM_PATH: &str = "program-path";
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// The program, installed on first use; `None` (after a word on stderr) if the tests that need it are to be left out.
///
/// # Panics
/// With a sentence that says what to do, where it cannot be installed.
pub fn real_cli() -> Option<PathBuf> {
    if left_out(VARIABLE, "the real Claude Code CLI") {
        return None;
    }
    let program = installed().unwrap_or_else(|problem| {
        panic!(
            "This test runs the real Claude Code CLI, which could not be installed. Install Node.js with npm (Debian: \
             apt-get install npm) and see that npm reaches its registry, or set {VARIABLE}=1 to leave such tests out.\
             \n{problem}"
        )
    });
    Some(program)
}

/// The version that is installed, like `1.2.3`.
pub fn pinned_version() -> String {
    let package: Value = serde_json::from_str(PACKAGES.list).expect("tests/claude-cli/package.json is JSON");
    let version = &package["dependencies"]["@anthropic-ai/claude-code"];
    version.as_str().expect("tests/claude-cli/package.json pins the CLI").to_owned()
}

/// The program of a release, installed with npm on first use. But for the pinned one no lockfile pins its package: for
/// comparison, not for proof.
///
/// # Panics
/// When it cannot be installed.
pub fn release(version: &str) -> PathBuf {
    if version == pinned_version() {
        return installed().expect("the pinned release");
    }
    let complete = |folder: &Path| program_in(folder).is_some();
    let folder = made_once(&format!("claude-cli-{version}"), complete, |folder| {
        let platform = platforms()?.swap_remove(0);
        let package = format!("@anthropic-ai/claude-code-{platform}@{version}");
        let path = format!("node_modules/@anthropic-ai/claude-code-{platform}/claude");
        let write = |name, text: &str| fs::write(folder.join(name), text).map_err(|error| error.to_string());
        write("package.json", r#"{"private":true}"#)?;
        npm(folder, &["install", &package])?;
        write(PROGRAM_PATH, &path)
    });
    program_in(&folder.expect("the release")).expect("a program")
}

fn installed() -> Result<PathBuf, String> {
    let version = pinned_version();
    let name = format!("claude-cli-{version}");
    let folder = PACKAGES.installed(&name, |folder| {
        let path = right_program(folder, &version)?;
        fs::write(folder.join(PROGRAM_PATH), path).map_err(|error| format!("cannot write: {error}"))
    })?;
    program_in(&folder).ok_or_else(|| format!("{} holds no program", folder.display()))
}

fn program_in(folder: &Path) -> Option<PathBuf> {
    let program = folder.join(fs::read_to_string(folder.join(PROGRAM_PATH)).ok()?);
    program.is_file().then_some(program)
}

/// The first program, of those that may be for this machine, that runs and says the version.
///
/// Running it is the surest way to tell glibc from musl; older npms install the packages for both.
fn right_program(folder: &Path, version: &str) -> Result<String, String> {
    let mut problems = Vec::new();
    for platform in platforms()? {
        let path = format!("node_modules/@anthropic-ai/claude-code-{platform}/claude");
        match run(&folder.join(&path), &["--version"], &[], None, VERSION_LIMIT) {
            Ok(ended) if ended.stdout.split_whitespace().next() == Some(version) => return Ok(path),
            Ok(ended) => problems.push(format!("not version {version}: {ended}")),
            Err(error) => problems.push(format!("{path} does not start: {error}")),
        }
    }
    Err(format!("npm installed no program that runs here:\n{}", problems.join("\n")))
}

fn platforms() -> Result<Vec<String>, String> {
    let arch = match ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => return Err(format!("the CLI is not made for the processor {other}")),
    };
    match OS {
        "linux" => Ok(vec![format!("linux-{arch}"), format!("linux-{arch}-musl")]),
        "macos" => Ok(vec![format!("darwin-{arch}")]),
        other => Err(format!("the tests do not know the CLI for {other}")),
    }
}
