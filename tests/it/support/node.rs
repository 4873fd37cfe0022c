//! Node.js with the packages that tests/node/package-lock.json pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::run_with_only;
use super::npm::Packages;

const PACKAGES: Packages = Packages {
    list: include_str!("../../node/package.json"),
    lock: include_str!("../../node/package-lock.json"),
};
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node");

/// The folder with the packages, installed on first use. Whoever has npm for the CLI has all that it needs.
///
/// # Panics
/// Where they cannot be installed.
pub fn node_packages() -> PathBuf {
    PACKAGES
        .installed("node", |_| Ok(()))
        .unwrap_or_else(|problem| panic!("The packages for Node.js could not be installed.\n{problem}"))
}

/// Runs `script` of tests/node with nothing in its environment but PATH; what it printed.
///
/// It blocks: an async test wraps it in `spawn_blocking`.
///
/// # Panics
/// With all that the script said, when it fails or has not ended after `limit`.
pub fn run_script(packages: &Path, script: &str, arguments: &[&str], limit: Duration) -> String {
    // Node looks for packages in the folders above a script's own.
    let folder = tempfile::tempdir_in(packages).expect("a folder");
    let copy = folder.path().join(script);
    fs::copy(format!("{SCRIPTS}/{script}"), &copy).expect("the script");
    let path = copy.to_str().expect("a path in UTF-8");
    let arguments: Vec<&str> = [path].into_iter().chain(arguments.iter().copied()).collect();
    let search = std::env::var("PATH").unwrap_or_default();
    let ended =
        run_with_only(Path::new("node"), &arguments, &[("PATH", &search)], limit).expect("Node starts");
    assert!(ended.success, "{script}: {ended}");
    ended.stdout
}
