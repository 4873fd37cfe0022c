//! A program that speaks the CLI's frames and answers as its question says, so that the relay is measured and not the CLI.
//!
//! The question names how many deltas come and how far apart: `deltas 20000 0` in one burst, `deltas 250 4000` with 4,000
//! µs between two. After the first delta there is a pause ([`PAUSE`]): what comes behind it is what is measured, without
//! the start of the process.

use std::io::{BufRead, Write};
use std::time::Duration;

use serde_json::{Value, json};

/// How long the pause behind the first delta is.
pub const PAUSE: Duration = Duration::from_millis(400);

/// Whether the program was started as the CLI would be. If so it is the CLI until its stdin ends.
pub fn run() -> bool {
    let mut arguments = std::env::args();
    let Some(as_what) = arguments.find_map(|argument| match &*argument {
        "--version" => Some("2.1.329 (frame source)"),
        "--help" => Some("--thinking-display"),
        "stream-json" => Some(""),
        _ => None,
    }) else {
        return false;
    };
    if as_what.is_empty() {
        speak();
    } else {
        println!("{as_what}");
    }
    true
}

fn speak() {
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let frame: Value = serde_json::from_str(&line.unwrap()).unwrap();
        // A reader that has gone is none of its business.
        let _ = match frame["type"].as_str() {
            Some("control_request") => {
                let models =
                    json!([{"value": "default", "resolvedModel": super::MODEL, "displayName": "Default"}]);
                let response = json!({"subtype": "success", "request_id": frame["request_id"],
                    "response": {"models": models}});
                writeln!(stdout, "{}", json!({"type": "control_response", "response": response}))
            }
            Some("user") => answer(&mut stdout, &frame),
            _ => Ok(()),
        };
    }
}

fn answer(stdout: &mut impl Write, question: &Value) -> std::io::Result<()> {
    let content = &question["message"]["content"];
    let asked = content.as_str().or_else(|| content[0]["text"].as_str()).unwrap();
    let mut numbers = asked.split(' ').filter_map(|word| word.parse::<u64>().ok());
    let (deltas, apart) = (numbers.next().unwrap(), numbers.next().unwrap());

    let usage = json!({"input_tokens": 25, "output_tokens": 1});
    let message = json!({"id": "msg_1", "model": super::MODEL, "content": [], "usage": usage});
    let init = json!({"type": "system", "subtype": "init", "tools": [], "session_id": ID});
    let first = [
        format!("{init}\n"),
        event(&json!({"type": "message_start", "message": message})),
        event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        delta(0),
    ];
    stdout.write_all(first.concat().as_bytes())?;
    stdout.flush()?;
    let rest: Vec<String> = (1..deltas).map(delta).collect();
    std::thread::sleep(PAUSE);
    if apart == 0 {
        stdout.write_all(rest.concat().as_bytes())?;
    } else {
        for line in rest {
            std::thread::sleep(Duration::from_micros(apart));
            stdout.write_all(line.as_bytes())?;
            stdout.flush()?;
        }
    }
    let whole: String = (0..deltas).map(text).collect();
    let message = json!({"id": "msg_1", "model": super::MODEL, "content": [{"type": "text", "text": whole}], "usage": usage});
    let result = json!({"type": "result", "subtype": "success", "is_error": false, "result": whole,
        "stop_reason": "end_turn", "usage": usage, "modelUsage": {}, "session_id": ID});
    let last = [
        format!(
            "{}\n",
            json!({"type": "assistant", "message": message, "parent_tool_use_id": null, "session_id": ID})
        ),
        event(&json!({"type": "content_block_stop", "index": 0})),
        event(&json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})),
        event(&json!({"type": "message_stop"})),
        format!("{result}\n"),
    ];
    stdout.write_all(last.concat().as_bytes())?;
    stdout.flush()
}

const ID: &str = "4f1c2d9e-6a44-4f0e-9d52-0a1b2c3d4e5f";

fn event(event: &Value) -> String {
    let frame = json!({"type": "stream_event", "event": event, "session_id": ID, "parent_tool_use_id": null, "uuid": ID});
    format!("{frame}\n")
}

fn delta(number: u64) -> String {
    let delta = json!({"type": "text_delta", "text": text(number)});
    event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
}

fn text(number: u64) -> String {
    format!("word{number} ")
}
