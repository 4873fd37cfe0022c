//! Python with the packages that tests/python/requirements.txt pins, to run the clients that people use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{run, run_with_only};
use super::tools::{left_out, lock, remove_folder, tools_folder};

/// The pinned packages, a line each.
pub const REQUIREMENTS: &str = include_str!("../../python/requirements.txt");

const VARIABLE: &str = "COUPLET_SKIP_PYTHON";
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");
/// In the virtual environment, written last: the requirements it holds.
const COMPLETE: &str = ".complete";
const TRIES: u32 = 3;
const INSTALL_LIMIT: Duration = Duration::from_secs(180);

/// The interpreter of a virtual environment with the packages, made on first use; `None` (after a word on stderr) if the
/// tests that need it are to be left out.
///
/// # Panics
/// With a sentence that says what to do, where it cannot be made.
pub fn python() -> Option<PathBuf> {
    if left_out(VARIABLE, "Python") {
        return None;
    }
    let python = installed().unwrap_or_else(|problem| {
        panic!(
            "This test runs a Python client, and the packages for it could not be installed. Install Python 3.11 or \
             later with its venv module (Debian: apt-get install python3-venv) and see that pip reaches its index, or \
             set {VARIABLE}=1 to leave such tests out.\n{problem}"
        )
    });
    Some(python)
}

/// Runs `script` of tests/python with nothing in its environment but PATH, UTF-8 and `environment`; what it printed.
///
/// It blocks: an async test wraps it in `spawn_blocking`.
///
/// # Panics
/// With all that the script said, when it fails or has not ended after `limit`.
pub fn run_script(
    python: &Path,
    script: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> String {
    let path = format!("{SCRIPTS}/{script}");
    let search = std::env::var("PATH").unwrap_or_default();
    // Without bytecode the source tree stays clean; unbuffered, a script that is killed has still said what it said.
    let fixed = [
        ("PATH", search.as_str()),
        ("PYTHONUTF8", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONUNBUFFERED", "1"),
    ];
    let arguments: Vec<&str> = [path.as_str()].into_iter().chain(arguments.iter().copied()).collect();
    let environment: Vec<(&str, &str)> = fixed.into_iter().chain(environment.iter().copied()).collect();
    let ended = run_with_only(python, &arguments, &environment, limit).expect("Python starts");
    assert!(ended.success, "{script}: {ended}");
    ended.stdout
}

fn installed() -> Result<PathBuf, String> {
    let folder = tools_folder().join("python");
    let python = folder.join("bin/python");
    if is_complete(&folder) {
        return Ok(python);
    }
    let _lock = lock("python").map_err(|error| format!("cannot lock the installation: {error}"))?;
    if is_complete(&folder) {
        return Ok(python);
    }
    // A virtual environment knows its own path and cannot be renamed, so it is made in place.
    remove_folder(&folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    let path = folder.to_str().ok_or("the target directory's path is not UTF-8")?;
    succeed(Path::new("python3"), &["-m", "venv", path])?;
    let requirements = format!("{SCRIPTS}/requirements.txt");
    let install = [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--only-binary=:all:",
        "-r",
        &requirements,
    ];
    let mut installed = succeed(&python, &install);
    for _ in 1..TRIES {
        installed = installed.or_else(|_| succeed(&python, &install));
    }
    installed?;
    fs::write(folder.join(COMPLETE), REQUIREMENTS).map_err(|error| format!("cannot write: {error}"))?;
    Ok(python)
}

/// Whether it was finished, and for these requirements.
fn is_complete(folder: &Path) -> bool {
    fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|made_for| made_for == REQUIREMENTS)
}

fn succeed(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let ended = run(program, arguments, &[], None, INSTALL_LIMIT)
        .map_err(|error| format!("{} does not start: {error}", program.display()))?;
    if ended.success { Ok(()) } else { Err(ended.to_string()) }
}
