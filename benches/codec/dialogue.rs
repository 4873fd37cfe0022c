//! What the CLI says, and what becomes of it.

use couplet::claude::answer::{AnswerEvent, AnswerReader, Progress};
use couplet::claude::frame_out;
use couplet::translate::chat_answer::{CallForm, ChunkWriter};
use serde_json::Value;

/// What the CLI wrote in a recorded dialogue.
pub fn recording(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/fixtures/claude-2.1.329/{name}.ndjson", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["dir"] == "out").map(|line| line["frame"].to_string().into_bytes()).collect()
}

/// The server-sent events of the first answer in a dialogue.
pub fn answer(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut reader = AnswerReader::default();
    let mut writer =
        ChunkWriter::new("chatcmpl-benchmark", 1_795_208_000, "couplet", true, CallForm::ToolCalls);
    let mut bytes = Vec::new();
    let mut write = |event: AnswerEvent| {
        writer.write(0, event, |chunk| {
            bytes.extend_from_slice(b"data: ");
            chunk.write_to(&mut bytes).unwrap();
            bytes.extend_from_slice(b"\n\n");
        });
    };
    for line in lines {
        match reader.on(frame_out::parse(line).unwrap()).unwrap() {
            Progress::Silent => {}
            Progress::Event(event) => write(event),
            Progress::Events(events) => events.into_iter().for_each(&mut write),
            Progress::Complete(end, _) => {
                write(AnswerEvent::Ended(end));
                break;
            }
        }
    }
    bytes
}
