//! Whatever the CLI writes, split wherever the pipe splits it: lines, frames, events, and what clients read.

#![no_main]

use couplet::claude::answer::{AnswerEvent, AnswerReader, Progress};
use couplet::claude::frame_in::FrameIn;
use couplet::claude::frame_out::{self, Frame};
use couplet::claude::line_reader::LineReader;
use couplet::claude::tool_server::{Reply, ToolServer};
use couplet::turn::Tool;
use couplet_fuzz::pieces::{InPieces, Sizes};
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

/// So few tools and lines that what is done with them all stays quick.
const LIMITS: [usize; 4] = [usize::MAX / 2, 4096, 200, 10];

/// The lines that are in it, and whether one is too long.
fn lines_in(output: &[u8], limit: usize) -> (Vec<&[u8]>, bool) {
    let mut lines = Vec::new();
    let mut pieces: Vec<_> = output.split(|byte| *byte == b'\n').collect();
    let rest = pieces.pop().unwrap_or_default();
    for piece in pieces {
        if piece.len() > limit {
            return (lines, true);
        }
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        if !line.is_empty() {
            lines.push(line);
        }
    }
    (lines, rest.len() > limit)
}

fn lines_read(output: &[u8], limit: usize, sizes: Sizes) -> (Vec<Vec<u8>>, bool) {
    let mut reader = LineReader::with_limit(InPieces { bytes: output, sizes }, limit);
    let mut lines = Vec::new();
    loop {
        match reader.next_line().now_or_never().expect("nothing is waited for") {
            Ok(Some(line)) => lines.push(line.to_vec()),
            Ok(None) => return (lines, false),
            Err(_too_long) => return (lines, true),
        }
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str| Tool { name: name.to_owned(), description: String::new(), schema: Map::new() };
    vec![tool("f"), tool("get_weather")]
}

/// What the CLI asks for is answered by one line of JSON, or not yet.
fn serve(server: &mut ToolServer, frame: &Frame<'_>) {
    let Frame::ControlRequest(request) = frame else { return };
    let Some(message) = request.message else { return };
    let mut line = Vec::new();
    match server.on(&request.request_id, message.get()) {
        Ok(Reply::Now(answer)) => {
            FrameIn::mcp_answer(&request.request_id, &answer).write_to(&mut line).expect("JSON");
        }
        Ok(Reply::Later) => {}
        Err(_) => FrameIn::decline(&request.request_id).write_to(&mut line).expect("JSON"),
    }
    if let Some(line) = line.strip_suffix(b"\n") {
        let _: Value = serde_json::from_slice(line).expect("JSON");
        assert!(!line.contains(&b'\n'), "one line");
    }
}

/// The events of one answer after the other, as far as there are frames.
fn events_of(lines: &[Vec<u8>]) -> Vec<Vec<AnswerEvent>> {
    let mut server = ToolServer::new(tools());
    let mut answers = Vec::new();
    let (mut reader, mut events) = (AnswerReader::new(&tools()), Vec::new());
    for line in lines {
        let Ok(frame) = frame_out::parse(line) else { continue };
        serve(&mut server, &frame);
        let is_over = match reader.on(frame) {
            Ok(Progress::Silent) => false,
            Ok(Progress::Event(event)) => {
                events.push(event);
                false
            }
            Ok(Progress::Events(several)) => {
                events.extend(several);
                false
            }
            Ok(Progress::Complete(end, _)) => {
                events.push(AnswerEvent::Ended(end));
                true
            }
            Err(failure) => {
                let _ = (failure.kind(), failure.to_string());
                true
            }
        };
        if is_over {
            answers.push(std::mem::take(&mut events));
            let _ = std::mem::replace(&mut reader, AnswerReader::new(&tools())).into_said();
        }
    }
    answers.push(events);
    answers
}

// The last two bytes say how the others come.
fuzz_target!(|input: &[u8]| {
    let Some((output, &[seed, limit])) = input.split_last_chunk::<2>() else { return };
    let limit = LIMITS[usize::from(limit % 4)];
    let (read, failed) = lines_read(output, limit, Sizes::of(seed));
    let (there, is_too_long) = lines_in(output, limit);
    assert_eq!(failed, is_too_long);
    assert_eq!(read, there);
    for events in events_of(&read) {
        couplet_fuzz::streams::expect_readable(&events, &mut Sizes::of(seed));
    }
});
