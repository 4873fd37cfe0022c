//! The server ends, with the real CLI in the middle of its answers.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use couplet::upstream::Upstream;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use crate::support::app::{TOKEN, ask};
use crate::support::command::Running;
use crate::support::couplet_process::{PROGRAM, descendants_of};
use crate::support::fake_cli::eventually;
use crate::support::fault_table::{self, Asked, Class, Tried};
use crate::support::real_cli::real_cli;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with two open streams: one that will be over in a second or two, and one that would go on for a minute.
struct Open {
    running: Running,
    upstream: Upstream,
    _state: tempfile::TempDir,
    short: reqwest::Response,
    long: reqwest::Response,
}

async fn open(cli: &Path) -> Open {
    let (upstream, state) =
        (Upstream::start_on_loopback().await.expect("an upstream"), tempfile::tempdir().expect("a folder"));
    let (url, folder) = (upstream.base_url(), state.path().to_str().expect("UTF-8").to_owned());
    let flags =
        ["--port", "0", "--claude-cli-path", cli.to_str().expect("UTF-8"), "--anthropic-base-url", &url];
    let variables = [
        ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN),
        ("NO_COLOR", "1"),
        ("COUPLET_STATE_DIR", &*folder),
        ("COUPLET_WARM_MIN", "1"),
        ("COUPLET_WARM_MAX", "1"),
        ("COUPLET_SHUTDOWN_GRACE", "4"),
        ("PATH", "/usr/bin:/bin"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let running = Running::start(Path::new(PROGRAM), &flags, &variables).expect("it starts");
    let url = |said: String| {
        let (_, rest) = said.split_once("listening on ")?;
        rest.split_once("/v1").map(|(url, _)| url.to_owned())
    };
    eventually(PATIENCE, "it listens", || url(running.said()).is_some()).await;
    let url = url(running.said()).expect("an address");
    let client = reqwest::Client::new();
    let begin = async |text: &str| {
        let mut body = ask(text);
        body["stream"] = json!(true);
        let request = client.post(format!("{url}/v1/chat/completions")).json(&body);
        let mut answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", running.said());
        answer.chunk().await.expect("a chunk").expect("not the end");
        answer
    };
    let long = begin("[[words 1000]][[slow 0.05]]").await;
    let short = begin("[[words 20]][[slow 0.05]]").await;
    Open { running, upstream, _state: state, short, long }
}

/// Whether a process lives: the dead that were not waited for do not.
fn lives(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn drain(cli: &Path) {
    let Open { mut running, upstream, _state, short, long } = open(cli).await;
    let processes = descendants_of(running.id());
    assert!(processes.len() >= 2, "{processes:?}");
    let begun = Instant::now();
    running.signal(Signal::TERM);
    let read = join_all([short.text(), long.text()]).await;
    let [short, long] = &read[..] else { panic!("two") };
    let (short, long) = (short.as_ref().expect("to its end"), long.as_ref().expect("to its end"));
    assert!(short.ends_with("data: [DONE]\n\n") && short.contains("w19"), "{short}");
    assert!(!long.contains("[DONE]") && long.contains("shutting_down"), "{long}");
    eventually(PATIENCE, "it ends", || running.has_ended().is_some()).await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert!(running.has_ended().is_some_and(|status| status.success()), "{}", running.said());
    eventually(Duration::from_secs(1), "no CLI lives", || !processes.iter().any(|id| lives(*id))).await;
    upstream.shutdown().await;
}

async fn kill(cli: &Path) {
    let Open { running, upstream, _state, short, long } = open(cli).await;
    let processes = descendants_of(running.id());
    assert!(processes.len() >= 2, "{processes:?}");
    running.signal(Signal::KILL);
    eventually(Duration::from_secs(2), "no CLI lives", || !processes.iter().any(|id| lives(*id))).await;
    for answer in join_all([short.text(), long.text()]).await {
        assert!(answer.is_err(), "the connection was broken off");
    }
    upstream.shutdown().await;
}

fn tell_drained(tried: Tried) {
    let saw = "the whole answer, or an error frame `shutting_down` after the grace time; exit status 0, no process left";
    fault_table::saw(Class::Drain, "SIGTERM with the real CLI in two answers", Asked::Streaming, saw, tried);
}

fn tell_killed(tried: Tried) {
    let saw = "the connection breaks; no CLI, nor anything it has started, outlives the server by 2 s";
    fault_table::saw(Class::Drain, "SIGKILL with the real CLI in two answers", Asked::Streaming, saw, tried);
}

#[tokio::test]
async fn open_answers_end_well_or_with_an_error() {
    let Some(cli) = real_cli() else { return };
    drain(&cli).await;
    tell_drained(Tried::Times(2));
}

#[tokio::test]
async fn killed_it_leaves_no_cli_behind() {
    let Some(cli) = real_cli() else { return };
    kill(&cli).await;
    tell_killed(Tried::Times(1));
}

#[tokio::test]
#[ignore = "ten servers with two processes of the CLI each"]
async fn ten_times_open_answers_end_well_or_with_an_error() {
    let Some(cli) = real_cli() else { return };
    for _ in 0..10 {
        drain(&cli).await;
    }
    tell_drained(Tried::LongRun(20));
}

#[tokio::test]
#[ignore = "ten servers with two processes of the CLI each"]
async fn killed_ten_times_it_leaves_no_cli_behind() {
    let Some(cli) = real_cli() else { return };
    for _ in 0..10 {
        kill(&cli).await;
    }
    tell_killed(Tried::LongRun(10));
}
