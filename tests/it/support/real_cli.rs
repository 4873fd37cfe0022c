//! The real Claude Code CLI, in the version that tests/claude-cli/package.json names and nowhere else.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::command::run;
use super::tools::{left_out, lock, remove_folder, tools_folder};

const PACKAGE: &str = include_str!("../../claude-cli/package.json");
const PACKAGE_LOCK: &str = include_str!("../../claude-cli/package-lock.json");

const VARIABLE: &str = "COUPLET_SKIP_REAL_CLI";
/// In the installation's folder: the program's path within it. Written before the folder gets its final name.
const PROGRAM_PATH: &str = "program-path";
const TRIES: u32 = 3;
/// For one `npm ci`. The package is some 100 MB to fetch.
const INSTALL_LIMIT: Duration = Duration::from_secs(180);
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
    let package: Value = serde_json::from_str(PACKAGE).expect("tests/claude-cli/package.json is JSON");
    let version = &package["dependencies"]["@anthropic-ai/claude-code"];
    version.as_str().expect("tests/claude-cli/package.json pins the CLI").to_owned()
}

/// The program of another release, installed with npm on first use. Its package is not pinned by a lockfile: for
/// comparison, not for proof.
///
/// # Panics
/// When it cannot be installed.
pub fn release(version: &str) -> PathBuf {
    let folder = tools_folder().join(format!("claude-cli-{version}"));
    if let Some(program) = program_in(&folder) {
        return program;
    }
    let _lock = lock("claude-cli").expect("the lock");
    let platform = platforms().expect("a platform").swap_remove(0);
    remove_folder(&folder).and_then(|()| fs::create_dir_all(&folder)).expect("a folder");
    fs::write(folder.join("package.json"), r#"{"private":true}"#).expect("written");
    let package = format!("@anthropic-ai/claude-code-{platform}@{version}");
    let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund", &package];
    let ended = run(Path::new("npm"), &arguments, &[], Some(&folder), INSTALL_LIMIT).expect("npm starts");
    assert!(ended.success, "{ended}");
    let path = format!("node_modules/@anthropic-ai/claude-code-{platform}/claude");
    fs::write(folder.join(PROGRAM_PATH), path).expect("written");
    program_in(&folder).expect("a program")
}

fn installed() -> Result<PathBuf, String> {
    let version = pinned_version();
    let folder = tools_folder().join(format!("claude-cli-{version}"));
    if let Some(program) = program_in(&folder) {
        return Ok(program);
    }
    let _lock = lock("claude-cli").map_err(|error| format!("cannot lock the installation: {error}"))?;
    if let Some(program) = program_in(&folder) {
        return Ok(program);
    }
    // Whoever is killed while it installs leaves only this behind, and the next one clears it away.
    let partial = tools_folder().join(format!("claude-cli-{version}.partial"));
    install(&partial, &version)?;
    remove_folder(&folder)
        .and_then(|()| fs::rename(&partial, &folder))
        .map_err(|error| format!("cannot put the CLI into {}: {error}", folder.display()))?;
    program_in(&folder).ok_or_else(|| format!("{} holds no program", folder.display()))
}

fn program_in(folder: &Path) -> Option<PathBuf> {
    let program = folder.join(fs::read_to_string(folder.join(PROGRAM_PATH)).ok()?);
    program.is_file().then_some(program)
}

fn install(folder: &Path, version: &str) -> Result<(), String> {
    remove_folder(folder)
        .and_then(|()| fs::create_dir_all(folder))
        .and_then(|()| fs::write(folder.join("package.json"), PACKAGE))
        .and_then(|()| fs::write(folder.join("package-lock.json"), PACKAGE_LOCK))
        .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
    fetch(folder)?;
    let path = right_program(folder, version)?;
    fs::write(folder.join(PROGRAM_PATH), path).map_err(|error| format!("cannot write: {error}"))
}

/// Registries have bad minutes, so a failure is tried again.
fn fetch(folder: &Path) -> Result<(), String> {
    // `--include=optional`: the program is in an optional package, which a user's npm settings may leave out.
    let arguments =
        ["ci", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund", "--no-update-notifier"];
    let mut problem = String::new();
    for _ in 0..TRIES {
        let ended = run(Path::new("npm"), &arguments, &[], Some(folder), INSTALL_LIMIT)
            .map_err(|error| format!("npm does not start: {error}"))?;
        if ended.success {
            return Ok(());
        }
        problem = ended.to_string();
    }
    Err(format!("{TRIES} times:\n{problem}"))
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
