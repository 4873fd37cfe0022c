//! The fake CLI, as the tests use it: its script, what it told of itself, and which of its processes live.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use couplet::claude::sandbox::{MorePath, SandboxMode, SandboxSettings};
use couplet::config::Config;
use tempfile::TempDir;

use super::app::{Builder, TestApp};
use script::{Play, Report, SCHEME, Script, Step};

#[path = "../../fake_claude/frames.rs"]
pub mod frames;
#[path = "../../fake_claude/script.rs"]
pub mod script;

/// The program's name, which the system keeps of the dead too.
const NAME: &str = "fake_claude";

/// A folder with a script, for all processes that one test's Couplet starts.
pub struct FakeCli {
    folder: TempDir,
}

impl FakeCli {
    /// A fake CLI that follows `script`.
    pub fn new(script: &Script) -> Self {
        let fake = Self { folder: tempfile::tempdir().expect("a folder") };
        fake.follow(script);
        fake
    }

    /// A fake CLI that does these steps when it is asked, whatever it is asked.
    pub fn that_does(steps: impl Into<Vec<Step>>) -> Self {
        Self::new(&Script { plays: vec![play("", steps)], ..Script::default() })
    }

    /// Gives it another script; processes that run look at it for their next question.
    pub fn follow(&self, script: &Script) {
        let unfinished = self.file("script.unfinished");
        fs::write(&unfinished, serde_json::to_vec(script).expect("JSON")).expect("a script");
        fs::rename(unfinished, self.file("script.json")).expect("a script");
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How its processes are confined: they may read and write in its folder, and read recordings.
    pub fn sandbox(&self) -> SandboxSettings {
        let of = |path: &Path, is_writable| MorePath { path: path.to_owned(), is_writable };
        let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        SandboxSettings {
            mode: SandboxMode::Auto,
            more: vec![of(self.folder.path(), true), of(&recordings, false)],
        }
    }

    /// The same as a setting.
    pub fn sandbox_paths(&self) -> String {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
        format!("{}:rw,{fixtures}", self.folder.path().display())
    }

    /// What `ANTHROPIC_BASE_URL` must be for it.
    pub fn base_url(&self) -> String {
        format!("{SCHEME}{}", self.file("script.json").display())
    }

    /// A Couplet in front of it that gives each turn a process of its own.
    pub async fn app(&self) -> TestApp {
        self.app_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn app_with(&self, change: impl FnOnce(&mut Config)) -> TestApp {
        self.builder().await.with(change).start().await
    }

    /// The same before its start.
    pub async fn builder(&self) -> Builder {
        Builder::new(&program()).await.with(|config: &mut Config| {
            config.claude.process.base_url = Some(self.base_url());
            config.claude.process.sandbox = self.sandbox();
            config.claude.keep.processes = 0;
        })
    }

    /// What its processes told of themselves, in no order.
    pub fn reports(&self) -> Vec<Report> {
        let files =
            fs::read_dir(self.folder.path()).expect("a folder").map(|file| file.expect("a file").path());
        let reports = files.filter(|path| {
            path.extension().is_some_and(|kind| kind == "json") && !path.ends_with("script.json")
        });
        reports
            .map(|path| serde_json::from_slice(&fs::read(path).expect("a report")).expect("a report"))
            .collect()
    }

    /// Forgets the processes there were.
    pub fn forget_reports(&self) {
        for report in self.reports() {
            for kind in ["json", "stdin"] {
                fs::remove_file(self.file(&format!("{}.{kind}", report.process_id)))
                    .expect("a file of its own");
            }
        }
    }

    /// The one process there was.
    pub fn report(&self) -> Report {
        let mut reports = self.reports();
        assert_eq!(reports.len(), 1, "one process: {reports:?}");
        reports.remove(0)
    }

    /// All that its processes have read from stdin.
    pub fn heard(&self) -> String {
        let copies =
            self.reports().into_iter().map(|report| self.file(&format!("{}.stdin", report.process_id)));
        copies.map(|copy| fs::read_to_string(copy).expect("a copy of stdin")).collect()
    }

    /// Its processes that live, their children and their launchers included.
    pub fn living(&self) -> Vec<u32> {
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        let of_ours = |id: &u32| {
            // The dead have none.
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.windows(folder.len()).any(|part| part == folder)
        };
        process_ids().filter(of_ours).collect()
    }

    /// Its processes that are dead but were not waited for.
    fn zombies(&self) -> Vec<u32> {
        let started = self.reports().into_iter().map(|report| report.process_id);
        started.filter(|id| is_zombie(*id)).collect()
    }

    /// Waits until none of its processes lives, for at most `limit`. Where the server is gone too, it is for the system
    /// to clear the dead away.
    pub async fn dead_within(&self, limit: Duration) {
        eventually(limit, "no process of the CLI lives", || self.living().is_empty()).await;
    }

    /// Waits until none of its processes is left, alive or dead, for at most `limit`.
    pub async fn gone_within(&self, limit: Duration) {
        let is_gone = || self.living().is_empty() && self.zombies().is_empty();
        eventually(limit, "no process of the CLI is left", is_gone).await;
    }
}

/// A play for questions with that text in them.
pub fn play(asked: &str, steps: impl Into<Vec<Step>>) -> Play {
    Play { asked: asked.to_owned(), steps: steps.into() }
}

/// A recorded dialogue.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/claude-2.1.329").join(format!("{name}.ndjson"))
}

/// The fake CLI's program.
///
/// # Panics
/// When it was not built, or not since it was changed: `cargo nextest run` and `cargo test` build it, `cargo test` with
/// the name of a test does not.
pub fn program() -> PathBuf {
    let own = env::current_exe().expect("a path");
    let profile = own.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let program = profile.join("examples").join(NAME);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(NAME);
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    // Where the sources are not, as when the tests were built elsewhere, the program is what it is.
    let sources = fs::read_dir(sources).into_iter().flatten().filter_map(Result::ok);
    let is_old = sources.into_iter().any(|source| changed(&source.path()) > changed(&program));
    assert!(
        program.is_file() && !is_old,
        "The fake CLI, {}, is missing or old. Build it with `cargo build --example {NAME}`, in the profile of the tests.",
        program.display()
    );
    program
}

/// Waits until something is true.
///
/// # Panics
/// When it is not within `limit`.
pub async fn eventually(limit: Duration, what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_zombie(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    status.contains(&format!("({NAME}) Z"))
}
