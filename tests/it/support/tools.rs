//! What the installers of test tools share: where the tools live, one installation at a time, tests that are left out.

use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::{env, fs, io, thread};

/// The folder under Cargo's target directory that the tools are kept in from one test run to the next.
pub fn tools_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Waits until no other process holds the lock `name`, and holds it until the file is dropped.
///
/// nextest runs each test in a process of its own: all but one of them wait here while that one installs.
pub fn lock(name: &str) -> io::Result<File> {
    create_dir_all(tools_folder())?;
    let file = File::create(tools_folder().join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The folder `name`, which `make` fills where it is not there or not `complete`.
///
/// It is filled under another name: whoever is killed meanwhile leaves only that behind, and the next one clears it away.
pub fn made_once(
    name: &str,
    complete: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = tools_folder().join(name);
    if complete(&folder) {
        return Ok(folder);
    }
    let _lock = lock(name).map_err(|error| format!("cannot lock the installation: {error}"))?;
    if complete(&folder) {
        return Ok(folder);
    }
    let partial = tools_folder().join(format!("{name}.partial"));
    let told = |error: io::Error| format!("cannot make {}: {error}", folder.display());
    remove_folder(&partial).and_then(|()| create_dir_all(&partial)).map_err(told)?;
    make(&partial)?;
    remove_folder(&folder).and_then(|()| fs::rename(&partial, &folder)).map_err(told)?;
    Ok(folder)
}

/// Whether `variable` says to leave out the tests that need `what`. Then it says so, with the test's name.
pub fn left_out(variable: &str, what: &str) -> bool {
    let asked = env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    if asked {
        eprintln!("LEFT OUT, because {variable} is set: {}, which needs {what}", this_test());
    }
    asked
}

/// Removes a folder, and is content if there is none.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// libtest names a test's thread after it; where it uses the main thread, nextest tells the name.
fn this_test() -> String {
    let of_thread = thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    of_thread.or_else(|| env::var("NEXTEST_TEST_NAME").ok()).unwrap_or_else(|| "a test".to_owned())
}
