//! The binary itself, as a process.
#![expect(clippy::disallowed_types, reason = "it starts the program under test")]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// A running `couplet`; killed when dropped.
pub struct Server {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    child: Child,
    stderr: BufReader<ChildStderr>,
    log: String,
    _state: tempfile::TempDir,
}

impl Server {
    /// Starts it with these variables and no others, on a free port, and waits until it listens.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let (mut child, state) = spawn(variables);
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let mut log = String::new();
        let url = loop {
            let before = log.len();
            let read = tokio::time::timeout(Duration::from_secs(20), stderr.read_line(&mut log));
            let read = read.await.expect("it listens soon").expect("UTF-8");
            assert!(read > 0, "it ended: {log}");
            if let Some((_, url)) = log[before..].split_once("listening on ") {
                break url.split_once("/v1").expect("a base URL").0.to_owned();
            }
        };
        Self { url, child, stderr, log, _state: state }
    }

    /// Starts it, expects that it refuses to run with exit status 2, and returns what it said.
    pub async fn refused(variables: &[(&str, &str)]) -> String {
        let (child, _state) = spawn(variables);
        let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
        let output = output.await.expect("it ends soon").expect("an exit status");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    }

    /// Asks it to end (SIGTERM), expects exit status 0, and returns its log.
    pub async fn stop(&mut self) -> String {
        let id =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("it runs"), rustix::process::Signal::TERM).expect("a signal");
        self.stderr.read_to_string(&mut self.log).await.expect("UTF-8");
        let status = self.child.wait().await.expect("an exit status");
        assert!(status.success(), "{status}: {}", self.log);
        std::mem::take(&mut self.log)
    }
}

fn spawn(variables: &[(&str, &str)]) -> (Child, tempfile::TempDir) {
    let state = tempfile::tempdir().expect("a folder");
    let child = Command::new(env!("CARGO_BIN_EXE_couplet"))
        .env_clear()
        .env("PORT", "0")
        .env("HOME", state.path())
        .env("NO_COLOR", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    (child, state)
}
