//! Packages from npm, pinned by a lockfile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::run;
use super::tools::made_once;

const LIST: &str = "package.json";
const LOCK: &str = "package-lock.json";
const TRIES: u32 = 3;
/// For one try. The largest package is some 100 MB to fetch.
const LIMIT: Duration = Duration::from_secs(180);

/// What is to be installed.
#[derive(Clone, Copy)]
pub struct Packages {
    /// The text of a package.json.
    pub list: &'static str,
    /// The text of its package-lock.json.
    pub lock: &'static str,
}

impl Packages {
    /// The folder `name` under Cargo's target directory, with the packages in its `node_modules`: installed on first use,
    /// then looked at by `check`.
    pub fn installed(
        self,
        name: &str,
        check: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let complete =
            |folder: &Path| fs::read_to_string(folder.join(LOCK)).is_ok_and(|made_for| made_for == self.lock);
        made_once(name, complete, |folder| {
            fs::write(folder.join(LIST), self.list)
                .and_then(|()| fs::write(folder.join(LOCK), self.lock))
                .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
            // `--include=optional`: programs are in optional packages, which a user's npm settings may leave out.
            npm(folder, &["ci", "--include=optional"])?;
            check(folder)
        })
    }
}

/// Runs an npm command that installs, in `folder`. Registries have bad minutes, so a failure is tried again.
pub fn npm(folder: &Path, command: &[&str]) -> Result<(), String> {
    let quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"];
    let arguments: Vec<&str> = command.iter().chain(&quietly).copied().collect();
    let mut problem = String::new();
    for _ in 0..TRIES {
        let ended = run(Path::new("npm"), &arguments, &[], Some(folder), LIMIT)
            .map_err(|error| format!("npm does not start: {error}"))?;
        if ended.success {
            return Ok(());
        }
        problem = ended.to_string();
    }
    Err(format!("{TRIES} times:\n{problem}"))
}
