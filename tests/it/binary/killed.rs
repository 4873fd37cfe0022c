//! It is killed, and can do nothing more: whatever its CLI is at, that ends too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::app::{ADMIN_KEY, ask, said};
use crate::support::command::Running;
use crate::support::couplet_process::{
    CoupletProcess, PROGRAM, arguments, children_of, environment, streamed,
};
use crate::support::fake_cli::frames::{event, message_delta, message_start, message_stop, text};
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{self, Asked, Class, Tried};

const PATIENCE: Duration = Duration::from_secs(20);

/// Within this after its end no CLI lives.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What its CLI is at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Start,
    Waiting,
    SettingUp,
    Answer,
    Kept,
    Parked,
    Command,
}

fn script(at: At) -> Script {
    let half = [Step::Frames(vec![message_start("msg_1"), text("half an ")]), Step::Hang];
    let stubborn = Script { ignores_interrupt: true, ignores_end_of_input: true, ..Script::default() };
    match at {
        At::Start => Script { at_start: vec![Step::Hang], ..stubborn },
        At::SettingUp => {
            Script { controls: BTreeMap::from([("initialize".to_owned(), OnControl::Ignore)]), ..stubborn }
        }
        At::Answer => Script { plays: vec![play("", half)], ..stubborn },
        At::Parked => Script { plays: vec![play("", call())], ..stubborn },
        At::Command => {
            Script { commands: BTreeMap::from([("doctor".to_owned(), vec![Step::Hang])]), ..stubborn }
        }
        At::Waiting | At::Kept => stubborn,
    }
}

fn call() -> Vec<Step> {
    let start = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}});
    let stop = json!({"type": "content_block_stop", "index": 0});
    let asked = json!({"method": "tools/call", "jsonrpc": "2.0", "id": 2, "params": {
        "name": "f", "arguments": {}, "_meta": {"claudecode/toolUseId": "toolu_1", "progressToken": 2}}});
    vec![
        Step::Frames(vec![
            message_start("msg_1"),
            event(&start),
            event(&stop),
            message_delta(Some("tool_use"), 5),
            message_stop(),
        ]),
        Step::Ask(json!({"subtype": "mcp_message", "server_name": "couplet", "message": asked})),
    ]
}

#[rstest]
#[case(At::Start)]
#[case(At::Waiting)]
#[case(At::SettingUp)]
#[case(At::Answer)]
#[case(At::Kept)]
#[case(At::Parked)]
#[case(At::Command)]
#[tokio::test]
async fn whatever_its_cli_is_at_it_does_not_outlive_it(#[case] at: At) {
    let fake = FakeCli::new(&Script { ignores_end_of_input: true, ..Script::default() });
    let warm = if at == At::Waiting { "1" } else { "0" };
    let couplet = CoupletProcess::start(
        &fake,
        &[
            ("COUPLET_WARM_MIN", warm),
            ("COUPLET_WARM_MAX", warm),
            ("COUPLET_MAX_KEPT", "4"),
            ("COUPLET_ADMIN_KEY", ADMIN_KEY),
        ],
    )
    .await;
    if at != At::Waiting {
        fake.follow(&script(at));
    }
    let mut question = ask("hello");
    let parameters = json!({"type": "object", "properties": {}});
    question["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]);
    let doing = async {
        match at {
            At::Start | At::SettingUp | At::Answer => {
                let mut answer = couplet.chat(&streamed(&question)).await;
                while let Ok(Some(_)) = answer.chunk().await {}
            }
            At::Command => {
                let order = couplet.post("/admin/cli", &json!({"command": "doctor"}));
                drop(order.bearer_auth(ADMIN_KEY).send().await);
            }
            At::Kept => assert_eq!(said(&couplet.answer(&question).await), "fine"),
            At::Parked => assert_eq!(couplet.answer(&question).await.0, 200),
            At::Waiting => {}
        }
        std::future::pending::<()>().await;
    };
    let waiting: &[&str] = match at {
        At::Waiting => &["generic", "prepared"],
        At::Kept => &["live"],
        At::Parked => &["parked"],
        _ => &[],
    };
    let killed = async {
        // It has begun, and a moment later it is where it is to be.
        loop {
            let health = couplet.health().await;
            let is_there = waiting.is_empty() || waiting.iter().any(|kind| health["processes"][kind] == 1);
            if is_there && !fake.living().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!fake.living().is_empty(), "{}", couplet.running.said());
        couplet.signal(Signal::KILL);
        fake.dead_within(AFTERWARDS).await;
    };
    tokio::select! {
        () = doing => unreachable!(),
        killed = tokio::time::timeout(PATIENCE, killed) => killed.expect("it comes to that"),
    }
    fault_table::saw(
        Class::Drain,
        "the server is killed (SIGKILL) while a CLI starts, waits, is set up, answers, keeps a conversation, is parked or \
         runs a command, and ignores all it is told",
        Asked::Either,
        "the connection breaks; no CLI outlives the server by 2 s",
        Tried::Times(7),
    );
}

/// What has no parent-death signal is beyond a server that was killed. This holds what docs/faults.md says of it: as long as it
/// is so, the service manager or the container must end such processes.
#[tokio::test]
async fn what_a_cli_has_started_outlives_a_killed_server() {
    let fake = FakeCli::new(&Script::default());
    let couplet = CoupletProcess::start(&fake, &[]).await;
    let steps = [
        Step::StartChild { keeps_output: true },
        Step::Frames(vec![message_start("msg_1"), text("half an ")]),
        Step::Hang,
    ];
    fake.follow(&Script { plays: vec![play("", steps)], ..Script::default() });
    let mut answer = couplet.chat(&streamed(&ask("hello"))).await;
    answer.chunk().await.expect("a chunk").expect("not the end");
    let cli = fake.report().process_id;
    let children = children_of(cli);
    assert_eq!(children.len(), 1);
    couplet.signal(Signal::KILL);
    eventually(AFTERWARDS, "the CLI is dead", || !fake.living().contains(&cli)).await;
    assert_eq!(fake.living(), children, "its child is not");
    let child = Pid::from_raw(i32::try_from(children[0]).expect("an id")).expect("an id");
    kill_process(child, Signal::KILL).expect("it lives");
    fault_table::saw(
        Class::Drain,
        "the server is killed (SIGKILL) while a CLI has a child of its own",
        Asked::Either,
        "the connection breaks; the child lives on, unless the container or the service manager ends it (nothing of the real CLI was seen to)",
        Tried::Times(1),
    );
}

/// As in a container without an init: the kernel takes all with it.
#[tokio::test]
async fn as_process_one_it_takes_everything_with_it() {
    let wrapped = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let permitted = Running::start(Path::new("/usr/bin/unshare"), &[&wrapped[..], &["true"]].concat(), &[]);
    let is_permitted = permitted.is_ok_and(|mut tried| {
        let begun = std::time::Instant::now();
        while tried.has_ended().is_none() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        tried.has_ended().is_some_and(|status| status.success())
    });
    if !is_permitted {
        eprintln!("LEFT OUT: this system permits no namespaces");
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let fake = FakeCli::new(&Script::default());
        let flags = arguments(&fake);
        let flags: Vec<&str> =
            wrapped.into_iter().chain([PROGRAM]).chain(flags.iter().map(String::as_str)).collect();
        let variables = environment(&[("COUPLET_SHUTDOWN_GRACE", "0.5")]);
        let mut running =
            Running::start(Path::new("/usr/bin/unshare"), &flags, &variables).expect("it starts");
        let url = |said: String| {
            let (_, rest) = said.split_once("listening on ")?;
            rest.split_once("/v1").map(|(url, _)| url.to_owned())
        };
        eventually(PATIENCE, "it listens", || url(running.said()).is_some()).await;
        let url = url(running.said()).expect("an address");
        let steps = [
            Step::StartChild { keeps_output: true },
            Step::Frames(vec![message_start("msg_1"), text("half an ")]),
            Step::Hang,
        ];
        fake.follow(&Script { plays: vec![play("", steps)], ignores_interrupt: true, ..Script::default() });
        let request = reqwest::Client::new().post(format!("{url}/v1/chat/completions"));
        let mut answer = request.json(&streamed(&ask("hello"))).send().await.expect("an answer");
        answer.chunk().await.expect("a chunk").expect("not the end");
        let one = children_of(running.id());
        assert_eq!(one.len(), 1, "process 1 of the namespace");
        let one = Pid::from_raw(i32::try_from(one[0]).expect("an id")).expect("an id");
        kill_process(one, signal).expect("it lives");
        if signal == Signal::TERM {
            let rest = answer.text().await.expect("to its end");
            assert!(rest.contains("shutting_down"), "{rest}");
        }
        eventually(PATIENCE, "it ends", || running.has_ended().is_some()).await;
        let status = running.has_ended().expect("it has ended");
        assert_eq!(status.success(), signal == Signal::TERM, "{status}");
        fake.dead_within(AFTERWARDS).await;
    }
}
