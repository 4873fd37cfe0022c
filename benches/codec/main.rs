//! Translation and codec, without processes or network.
//!
//!     cargo bench --bench codec
#![expect(clippy::unwrap_used, reason = "a benchmark is a program of its own")]

mod dialogue;

use std::hint::black_box;

use couplet::claude::conversation_key::ConversationKey;
use couplet::claude::frame_out;
use couplet::media::{Intake, MediaSettings};
use couplet::openai::chat_request::ChatRequest;
use couplet::scope::Scope;
use couplet::translate::chat_request;
use couplet::turn::Turn;
use couplet::wire::parse::parse;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

use dialogue::{answer, recording};

criterion_group!(benches, requests, frames, answers, keys);
criterion_main!(benches);

/// A request with so many turns of history and so many tools.
fn request(turns: usize, tools: usize) -> Vec<u8> {
    let text = "What the one says and the other answers, in a sentence or two. ".repeat(4);
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("{turn}: {text}")}));
        messages.push(json!({"role": "assistant", "content": text}));
    }
    messages.push(json!({"role": "user", "content": "And now?"}));
    let mut body =
        json!({"model": "claude-sonnet-5-5", "stream": true, "temperature": 0.5, "messages": messages});
    if tools > 0 {
        let properties =
            json!({"path": {"type": "string", "description": "Where it is."}, "lines": {"type": "integer"}});
        let schema = json!({"type": "object", "properties": properties, "required": ["path"]});
        let tool = |number| {
            let function =
                json!({"name": format!("tool_{number}"), "description": text, "parameters": schema});
            json!({"type": "function", "function": function})
        };
        body["tools"] = (0..tools).map(tool).collect::<Vec<Value>>().into();
    }
    body.to_string().into_bytes()
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request to turn");
    for (name, body) in
        [("small", request(0, 0)), ("200 turns of history", request(200, 0)), ("20 tools", request(3, 20))]
    {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &body, |bencher, body| {
            bencher
                .iter(|| chat_request::turn(parse::<ChatRequest>(black_box(body)).unwrap().request).unwrap());
        });
    }
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let recorded = [recording("text"), recording("tool-call")].concat();
    for (name, mark) in [
        ("text delta", "text_delta"),
        ("message_start", "message_start"),
        ("message_delta", "message_delta"),
        ("tool arguments", "input_json_delta"),
        ("assistant", "\"type\":\"assistant\""),
        ("result", "\"type\":\"result\""),
        ("init", "\"subtype\":\"init\""),
        ("control_response", "\"type\":\"control_response\""),
        ("control_request", "\"type\":\"control_request\""),
    ] {
        let has_mark = |line: &&Vec<u8>| String::from_utf8_lossy(line).contains(mark);
        let line = recorded.iter().find(has_mark).unwrap();
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), line, |bencher, line| {
            bencher.iter(|| frame_out::parse(black_box(line)).map(|frame| drop(black_box(frame))));
        });
    }
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames to server-sent events");
    for name in ["text", "thinking", "unicode"] {
        let lines = recording(name);
        group.throughput(Throughput::Elements(lines.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &lines, |bencher, lines| {
            bencher.iter(|| answer(black_box(lines)));
        });
    }
}

fn keys(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let turn: Turn = runtime.block_on(async {
        let translated =
            chat_request::turn(parse::<ChatRequest>(&request(200, 20)).unwrap().request).unwrap();
        Intake::new(MediaSettings::default()).unwrap().prepare(translated.turn).await.unwrap()
    });
    criterion.bench_function("conversation key of 200 turns and 20 tools", |bencher| {
        bencher.iter(|| ConversationKey::of_history(&Scope::anyone(), "credential", black_box(&turn)));
    });
}
