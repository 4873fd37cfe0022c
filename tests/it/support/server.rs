//! The binary itself, as a process with the environment it is given and no other.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::command::{Ended, Running, run_with_only, run_with_stdin};

const PROGRAM: &str = env!("CARGO_BIN_EXE_couplet");

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `couplet`; killed when dropped.
pub struct Server {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    running: Running,
    state: tempfile::TempDir,
}

impl Server {
    /// Starts it with these variables and no others, on a free port, and waits until it listens.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let home = state.path().to_str().expect("UTF-8");
        let own = [("PORT", "0"), ("HOME", home), ("NO_COLOR", "1")];
        let environment: Vec<(String, String)> = own
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut running = Running::start(Path::new(PROGRAM), &[], &environment).expect("it starts");
        let begun = Instant::now();
        let url = loop {
            let said = running.said();
            if let Some((_, url)) = said.split_once("listening on ")
                && let Some((url, _)) = url.split_once("/v1")
            {
                break url.to_owned();
            }
            assert!(
                running.has_ended().is_none() && begun.elapsed() < PATIENCE,
                "it does not listen: {said}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Self { url, running, state }
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        self.state.path()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Starts it, expects that it refuses to run with exit status 2, and returns what it said.
    pub fn refused(variables: &[(&str, &str)]) -> String {
        let state = tempfile::tempdir().expect("a folder");
        let home = state.path().to_str().expect("UTF-8");
        let variables: Vec<(&str, &str)> =
            [("PORT", "0"), ("HOME", home)].into_iter().chain(variables.iter().copied()).collect();
        let ended = run_with_only(Path::new(PROGRAM), &[], &variables, PATIENCE).expect("it starts");
        assert!(!ended.success && ended.how.ends_with("exit status: 2"), "{ended}");
        ended.stderr
    }

    /// Asks it to end (SIGTERM), expects exit status 0, and returns its log.
    pub async fn stop(mut self) -> String {
        self.running.signal(Signal::TERM);
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.running.has_ended() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.running.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(status.success(), "{status}: {}", self.running.said());
        self.running.said()
    }
}

/// Runs `couplet login` with that on its stdin.
pub fn login(variables: &[(&str, &str)], token: &str) -> Ended {
    run_with_stdin(Path::new(PROGRAM), &["login"], variables, token, PATIENCE).expect("it starts")
}
