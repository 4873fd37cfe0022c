//! The CLI cannot be started, or not all at once.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use couplet::claude::command_line::CliProgram;
use futures_util::future::join_all;
use rstest::rstest;
use rustix::process::Resource;

use super::{PATIENCE, SOON, is_as_before, refused, said};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::couplet_process::CoupletProcess;
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, program};
use crate::support::fault_table::{Asked, Class, Tried, saw};
use crate::support::seen::{self, Seen};

fn nothing(_: &Path) {}

fn not_executable(path: &Path) {
    std::fs::write(path, "#!/bin/sh\n").expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("a file of one's own");
}

fn another_program(path: &Path) {
    symlink("/bin/echo", path).expect("a link");
}

fn failing_program(path: &Path) {
    symlink("/bin/false", path).expect("a link");
}

fn folder(path: &Path) {
    std::fs::create_dir(path).expect("a folder");
}

/// What the server says of a CLI that cannot be started: it must be 503, to be tried again, with the reason.
async fn sentence(app: &TestApp) -> String {
    let response = app.chat(&ask("hello")).await;
    assert_eq!(response.headers()["retry-after"], "2");
    let refused = Streamed::read(response).await;
    assert_eq!(seen::of_answer(&refused), "503 `cli_unavailable`, `retry-after`");
    refused.error().expect("an error")["message"].as_str().expect("a sentence").to_owned()
}

/// What was seen where [`sentence`] was, and this was in it.
fn refusal(reason: &str) -> String {
    format!("503 `cli_unavailable`, `retry-after`, \"{reason}\"")
}

#[rstest]
#[case("is missing", nothing, "No such file")]
#[case("may not be executed", not_executable, "Permission denied")]
#[case("is another program", another_program, "is not the Claude Code CLI")]
#[case("fails at once", failing_program, "exit status: 1")]
#[case("is a folder", folder, "Permission denied")]
#[tokio::test]
async fn a_cli_is_503_with_the_reason_until_it_is_there(
    #[case] what: &str,
    #[case] put: fn(&Path),
    #[case] reason: &str,
) {
    let fake = FakeCli::new(&Script::default());
    let path = fake.file("claude");
    put(&path);
    let app =
        fake.app_with(|config| config.claude.process.program = CliProgram::Installed(path.clone())).await;
    let sentence = sentence(&app).await;
    assert!(sentence.contains(reason) && sentence.contains("CLAUDE_CLI_PATH"), "{sentence}");
    let ready = app.get("/health/ready").send().await.expect("an answer");
    assert_eq!(ready.status(), 503);

    let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    symlink(program(), &path).expect("a link");
    is_as_before(&app, &fake, 16).await;
    assert_eq!(app.get("/health/ready").send().await.expect("an answer").status(), 200);
    let fault = format!("it {what}, until it is as it should be");
    seen::tell(Class::Start, &fault, Asked::NotStreaming, refusal(reason));
}

#[tokio::test]
async fn a_cli_that_vanishes_is_503_until_it_is_back() {
    let fake = FakeCli::new(&Script::default());
    let path = fake.file("claude");
    symlink(program(), &path).expect("a link");
    let app =
        fake.app_with(|config| config.claude.process.program = CliProgram::Installed(path.clone())).await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "fine");
    std::fs::remove_file(&path).expect("the link");
    let sentence = sentence(&app).await;
    assert!(sentence.contains("No such file"), "{sentence}");
    symlink(program(), &path).expect("a link");
    is_as_before(&app, &fake, 16).await;
    let fault = "it vanishes while the server runs, until it is back";
    seen::tell(Class::Start, fault, Asked::NotStreaming, refusal("No such file"));
}

#[tokio::test]
async fn a_launcher_that_cannot_be_started_is_503() {
    let fake = FakeCli::new(&Script::default());
    let path = fake.file("launcher");
    let app = fake.app_with(|config| config.claude.process.launcher.clone_from(&path)).await;
    let sentence = sentence(&app).await;
    assert!(sentence.contains("No such file"), "{sentence}");
    symlink(env!("CARGO_BIN_EXE_couplet"), &path).expect("a link");
    is_as_before(&app, &fake, 16).await;
    let fault = "Couplet's own program, which becomes it, cannot be started";
    seen::tell(Class::Start, fault, Asked::NotStreaming, refusal("No such file"));
}

#[tokio::test]
async fn a_working_folder_that_is_gone_is_503() {
    let fake = FakeCli::new(&Script::default());
    let app = fake.app().await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "fine");
    let work = app.state.path().join("state/empty");
    std::fs::remove_dir(&work).expect("it is empty");
    let sentence = sentence(&app).await;
    assert!(sentence.contains("No such file"), "{sentence}");
    std::fs::create_dir(&work).expect("a folder");
    is_as_before(&app, &fake, 16).await;
    let fault = "its working folder is gone, until it is back";
    seen::tell(Class::Start, fault, Asked::NotStreaming, refusal("No such file"));
}

#[tokio::test]
async fn of_many_starts_only_some_go_on_at_once() {
    const HERD: usize = 12;
    let cores = std::thread::available_parallelism().expect("a number").get();
    let fake = FakeCli::new(&Script::default());
    let go = fake.file("go");
    fake.follow(&Script { at_start: vec![Step::AwaitFile(go.clone())], ..Script::default() });
    let app = fake.app().await;
    let look = async {
        let at_once = cores.min(HERD);
        eventually(PATIENCE, "the first are starting", || fake.reports().len() == at_once).await;
        // Time enough for others, were they allowed.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(fake.reports().len(), at_once);
        std::fs::write(&go, "").expect("a file");
    };
    let question = ask("hello");
    let (answers, ()) = tokio::join!(join_all((0..HERD).map(|_| app.answer(&question))), look);
    assert!(answers.iter().all(|answer| said(answer) == "fine"));
    let mut seen = Seen::default();
    for answer in &answers {
        seen.note(seen::of_whole(answer));
    }
    let fault = "a herd of cold starts: no more at once than there are cores, the others wait";
    seen.tell(Class::Start, fault, Asked::NotStreaming);
    is_as_before(&app, &fake, 16).await;
}

#[tokio::test]
async fn clients_that_leave_while_a_cli_is_starting_leave_no_process_behind() {
    let fake = FakeCli::new(&Script { at_start: vec![Step::Hang], ..Script::default() });
    let app = fake.app().await;
    let question = ask("hello");
    let herd = join_all((0..12).map(|_| app.answer(&question)));
    tokio::select! {
        answers = herd => panic!("no answer was to come, but {answers:?}"),
        () = eventually(PATIENCE, "a CLI is starting", || !fake.reports().is_empty()) => {}
    }
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
    assert_eq!(refused(&app.answer(&ask("")).await).0, 400, "an empty question never gets that far");
    let fault = "twelve go away while it is being started";
    let outcome = "nothing, they have left; no process is left, all places are free";
    seen::tell(Class::Client, fault, Asked::NotStreaming, outcome);
}

#[tokio::test]
async fn without_free_descriptors_a_request_is_503_until_there_are_some() {
    let fake = FakeCli::new(&Script::default());
    let couplet = CoupletProcess::start(&fake, &[]).await;
    assert_eq!(said(&couplet.answer(&ask("hello")).await), "fine");
    fake.gone_within(SOON).await;
    let before = couplet.limit(Resource::Nofile, Some(64));
    // The connection of the request that is refused takes one, so do the pipes of a process.
    let open = couplet.descriptors() as u64;
    couplet.limit(Resource::Nofile, Some(open + 2));
    let (status, body) = couplet.answer(&ask("hello")).await;
    assert_eq!((status, &body["error"]["code"]), (503, &"cli_unavailable".into()), "{body}");
    let sentence = body["error"]["message"].as_str().expect("a sentence");
    assert!(sentence.contains("Too many open files") && sentence.contains("ulimit -n"), "{sentence}");
    let told = "503 `cli_unavailable`, with the limit to be raised";
    saw(Class::Start, "no descriptors are left for its pipes", Asked::NotStreaming, told, Tried::Times(1));
    couplet.limit(Resource::Nofile, before);
    assert_eq!(said(&couplet.answer(&ask("hello")).await), "fine");
    fake.gone_within(SOON).await;
    couplet.has_free_places(16).await;
}
