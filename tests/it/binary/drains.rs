//! Many servers are told to end, each with many answers open of all kinds: every client has a whole answer or an error.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::app::{ask, said};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{
    event, message, message_delta, message_start, message_stop, success, text,
};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{self, Asked, Class, Tried};

/// Requests of each server.
const STREAMS: usize = 50;

/// Of these, those that have a place; the others wait in the queue.
const PLACES: usize = 40;

const GRACE: Duration = Duration::from_millis(1500);

const PATIENCE: Duration = Duration::from_secs(60);

/// How something is asked, and whether its answer ends within the grace time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    form: Form,
    /// Its answer ends as soon as the server drains, or never.
    ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Stream,
    /// By a client that reads a little at a time.
    SlowStream,
    Whole,
    Messages,
    /// An answer that is a call of a tool.
    Call,
}

/// What a client has in the end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Got {
    /// All of the answer, with its proper end.
    Whole,
    /// An error that says so.
    Error,
    /// Neither.
    Cut,
}

const KINDS: [Kind; 10] = [
    Kind { form: Form::Stream, ends: true },
    Kind { form: Form::Stream, ends: false },
    Kind { form: Form::Whole, ends: true },
    Kind { form: Form::Whole, ends: false },
    Kind { form: Form::SlowStream, ends: true },
    Kind { form: Form::SlowStream, ends: false },
    Kind { form: Form::Messages, ends: true },
    Kind { form: Form::Messages, ends: false },
    Kind { form: Form::Call, ends: true },
    Kind { form: Form::Call, ends: false },
];

/// What the answer to the request of that number says.
fn answer_to(number: usize) -> String {
    format!("the answer to {number}, which is long enough to be read in pieces")
}

/// How it is answered: half, then the rest when the server drains, or nothing more.
fn steps(fake: &FakeCli, number: usize, kind: Kind) -> Vec<Step> {
    let frames = if kind.form == Form::Call { call() } else { message("msg_1", &answer_to(number)) };
    let half = if kind.form == Form::Call { frames[..2].to_vec() } else { vec![frames[0].clone(), text("")] };
    let rest = match kind.form {
        Form::Call => frames[2..].to_vec(),
        _ => frames[1..].to_vec(),
    };
    let begun = [Step::Frames(half), Step::MakeFile(fake.file(&format!("begun-{number}")))];
    let end = match (kind.ends, kind.form) {
        (false, _) => vec![Step::Hang],
        (true, Form::Call) => {
            vec![Step::AwaitFile(fake.file("go-on")), Step::Frames(rest), Step::Ask(asked_tool())]
        }
        (true, _) => {
            vec![Step::AwaitFile(fake.file("go-on")), Step::Frames([rest, vec![success()]].concat())]
        }
    };
    begun.into_iter().chain(end).collect()
}

/// The frames of a call of the tool `f`.
fn call() -> Vec<Value> {
    let start = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}});
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{\"x\":1}"}});
    let stop = json!({"type": "content_block_stop", "index": 0});
    vec![
        message_start("msg_1"),
        event(&start),
        event(&delta),
        event(&stop),
        message_delta(Some("tool_use"), 5),
        message_stop(),
    ]
}

/// What the CLI asks once the model has called the tool.
fn asked_tool() -> Value {
    let message = json!({"method": "tools/call", "jsonrpc": "2.0", "id": 2, "params": {
        "name": "f", "arguments": {"x": 1}, "_meta": {"claudecode/toolUseId": "toolu_1", "progressToken": 2}}});
    json!({"subtype": "mcp_message", "server_name": "couplet", "message": message})
}

fn body(number: usize, kind: Kind) -> Value {
    let question = ask(&format!("<{number}>"));
    match kind.form {
        Form::Whole => question,
        Form::Stream | Form::SlowStream => streamed(&question),
        Form::Messages => {
            let mut body = streamed(&question);
            body["max_tokens"] = json!(100);
            body
        }
        Form::Call => {
            let mut body = streamed(&question);
            let parameters = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
            body["tools"] =
                json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]);
            body
        }
    }
}

/// Asks, and reads to the end.
async fn ask_and_read(couplet: &CoupletProcess, number: usize, kind: Kind) -> Got {
    let path = if kind.form == Form::Messages { "/v1/messages" } else { "/v1/chat/completions" };
    let Ok(mut response) = couplet.post(path, &body(number, kind)).send().await else { return Got::Cut };
    let status = response.status().as_u16();
    let mut read = Vec::new();
    loop {
        if kind.form == Form::SlowStream {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match response.chunk().await {
            Ok(Some(piece)) => read.extend_from_slice(&piece),
            Ok(None) => break,
            Err(_) => return Got::Cut,
        }
    }
    judge(number, kind, status, &String::from_utf8(read).expect("UTF-8"))
}

/// What it was; never half an answer with a good end, and never another's.
fn judge(number: usize, kind: Kind, status: u16, read: &str) -> Got {
    if status != 200 {
        let error: Value = serde_json::from_str(read).expect("JSON");
        assert_eq!((status, error["error"]["message"].as_str().is_some()), (503, true), "{error}");
        return Got::Error;
    }
    let answer = answer_to(number);
    if kind.form == Form::Whole {
        let read: Value = serde_json::from_str(read).expect("JSON");
        assert_eq!(said(&(status, read)), answer);
        return Got::Whole;
    }
    let is_right = match kind.form {
        Form::Call => read.contains(r#""finish_reason":"tool_calls""#) && read.contains(r#"\"x\":1"#),
        Form::Messages => read.contains(&answer) && read.contains(r#""stop_reason":"end_turn""#),
        _ => read.contains(&answer) && read.contains(r#""finish_reason":"stop""#),
    };
    let end = if kind.form == Form::Messages { "event: message_stop\n" } else { "data: [DONE]\n\n" };
    let last = read.trim_end().rsplit("\n\n").next().unwrap_or_default();
    match (read.contains(end), last.contains(r#""error":{"#)) {
        (true, false) => {
            assert!(is_right, "{kind:?}: {read}");
            Got::Whole
        }
        (false, true) => {
            assert!(
                !read.contains(r#""finish_reason":"stop""#) && read.ends_with("\n\n"),
                "{kind:?}: {read}"
            );
            Got::Error
        }
        (true, true) => panic!("an error and a good end: {read}"),
        (false, false) => Got::Cut,
    }
}

/// What became of the requests of one server, or of many.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    errors: usize,
    cut: usize,
    /// The longest time from the signal to the end.
    longest: Duration,
}

async fn drain(tally: &mut Tally) {
    let fake = FakeCli::new(&Script::default());
    let kinds: Vec<Kind> = KINDS.iter().copied().cycle().take(STREAMS).collect();
    let plays = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| play(&format!("<{number}>"), steps(&fake, number, *kind)));
    let script = Script {
        plays: plays.collect(),
        ignores_interrupt: true,
        ignores_end_of_input: true,
        ..Script::default()
    };
    let (places, grace) = (PLACES.to_string(), GRACE.as_secs_f64().to_string());
    let mut couplet = CoupletProcess::start(
        &fake,
        &[
            ("COUPLET_MAX_CONCURRENCY", &*places),
            ("COUPLET_MEMORY_BUDGET", "64GiB"),
            ("COUPLET_MAX_KEPT", "8"),
            ("COUPLET_SHUTDOWN_GRACE", &*grace),
        ],
    )
    .await;
    fake.follow(&script);
    let signalled = async {
        let begun = Instant::now();
        loop {
            let health = couplet.health().await;
            let files = (0..STREAMS).filter(|number| fake.file(&format!("begun-{number}")).exists()).count();
            if files == PLACES && health["queued"] == STREAMS - PLACES {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{files} have begun: {health}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        couplet.signal(Signal::TERM);
        let signalled = Instant::now();
        eventually(PATIENCE, "it drains", || couplet.running.said().contains("shutting down")).await;
        std::fs::write(fake.file("go-on"), "").expect("a file");
        signalled
    };
    let asked = kinds.iter().enumerate().map(|(number, kind)| ask_and_read(&couplet, number, *kind));
    let (got, signalled) = tokio::join!(join_all(asked), signalled);
    assert_eq!(couplet.ended_within(PATIENCE).await, Some(0), "{}", couplet.running.said());
    let took = signalled.elapsed();
    assert!(took < GRACE + Duration::from_secs(3), "{took:?}");
    fake.dead_within(Duration::from_secs(1)).await;
    let count = |what: Got| got.iter().filter(|got| **got == what).count();
    for (number, (kind, got)) in kinds.iter().zip(&got).enumerate() {
        assert!(*got != Got::Cut, "{number}, {kind:?}, of {got:?}: {}", couplet.running.said());
        assert!(kind.ends || *got == Got::Error, "{number}, {kind:?}: it has no end");
    }
    tally.whole += count(Got::Whole);
    tally.errors += count(Got::Error);
    tally.cut += count(Got::Cut);
    tally.longest = tally.longest.max(took);
}

async fn drains(number: usize) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..number {
        drain(&mut tally).await;
    }
    eprintln!("{number} drains of {STREAMS} requests: {tally:?}");
    assert_eq!((tally.whole + tally.errors, tally.cut), (number * STREAMS, 0));
    // A slow machine may not get to the end of all that could end.
    assert!(tally.whole > number * STREAMS / 10, "{tally:?}");
    tally
}

fn tell(tried: Tried) {
    let fault =
        "SIGTERM with 50 requests open: streams, slow readers, whole answers, calls, some in the queue";
    let saw =
        "the whole answer, or 503 or an error frame `shutting_down` after the grace time; exit status 0";
    fault_table::saw(Class::Drain, fault, Asked::Either, saw, tried);
}

#[tokio::test]
async fn every_open_answer_is_whole_or_ends_with_an_error() {
    drains(3).await;
    tell(Tried::Times(3 * STREAMS as u64));
}

#[tokio::test]
#[ignore = "two hundred servers with fifty streams each take a quarter of an hour"]
async fn every_open_answer_of_two_hundred_servers_is_whole_or_ends_with_an_error() {
    drains(200).await;
    tell(Tried::LongRun(200 * STREAMS as u64));
}
