//! What the CLI has started leaves its group, and holds its output open.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use couplet::claude::command_line::CommandLine;
use couplet::claude::credential::Credential;
use couplet::claude::process::Spawner;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::SOON;
use crate::support::couplet_process::PROGRAM;

/// The shell in the place of the CLI.
fn shell(script: &str) -> CommandLine {
    CommandLine {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        rules: None,
        work: std::env::temp_dir(),
    }
}

#[tokio::test]
async fn the_end_of_the_cli_is_noticed_all_the_same() {
    let spawner = Spawner::start(PathBuf::from(PROGRAM)).expect("a thread");
    let script = shell("setsid sleep 60 & echo $!; echo two; echo three; exit 3");
    let mut process = spawner.spawn(&script, &Credential::Missing).await.expect("a process");
    // All of it is there before any is read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let mut lines = Vec::new();
    while let Some(line) = process.next_line().await.expect("lines") {
        lines.push(String::from_utf8(line.to_vec()).expect("UTF-8"));
    }
    assert_eq!(lines[1..], ["two", "three"], "what it said is read to the end");
    assert_eq!(process.reap().await, "exit status: 3");
    process.stderr_tail().await;
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
    let escaped = Pid::from_raw(lines[0].parse().expect("an id")).expect("an id");
    // It is in nobody's hands any more.
    test_kill_process(escaped).expect("it lives");
    kill_process(escaped, Signal::KILL).expect("it lives");
}
