//! Recordings through the readers and writers, and requests of real clients through to the frames.
//!
//! No process, no clock, no network. What a client reads is compared with the snapshots in `tests/it/snapshots`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use couplet::claude::answer::{AnswerEvent, AnswerReader, Progress};
use couplet::claude::failure::TurnFailure;
use couplet::claude::frame_in;
use couplet::claude::frame_out;
use couplet::claude::line_reader::LineReader;
use couplet::claude::prompt_cache::CacheTtl;
use couplet::media::{ImageUrls, Intake, MediaSettings};
use couplet::openai::error::ApiError;
use couplet::translate::chat_answer::{CallForm, ChunkFold, ChunkWriter};
use couplet::translate::chat_body::{self, ChatBody};
use couplet::translate::{failure, media_failure};
use couplet::turn::{Parameters, Tool};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::io::StreamReader;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

/// A recorded dialogue.
struct Recording {
    name: String,
    /// The tools that the CLI was given.
    tools: Vec<Tool>,
    /// For each question, and for the results of calls, the bytes that the CLI wrote after it.
    answers: Vec<Vec<u8>>,
}

impl Recording {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a recording");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let mut recording = Self { name: name(path), tools: Vec::new(), answers: Vec::new() };
        // Results of calls that were not answered yet, as when several are brought one after the other.
        let mut taken = true;
        for line in lines {
            let frame = &line["frame"];
            let result = &frame["response"]["response"]["mcp_response"]["result"];
            recording.tools.extend(result["tools"].as_array().into_iter().flatten().map(tool));
            let is_question = frame["type"] == "user" && frame["shouldQuery"] != false;
            match (line["dir"] == "in", recording.answers.last_mut()) {
                (true, _) if is_question || (result["content"].is_array() && taken) => {
                    taken = false;
                    recording.answers.push(Vec::new());
                }
                (false, Some(answer)) => {
                    taken |= frame["type"] != "user" && frame["type"] != "rate_limit_event";
                    answer.extend(format!("{frame}\n").into_bytes());
                }
                _ => {}
            }
        }
        assert!(!recording.answers.is_empty(), "{}: a question", recording.name);
        recording
    }
}

fn tool(listed: &Value) -> Tool {
    let text = |field: &str| listed[field].as_str().expect("a text").to_owned();
    let schema = listed["inputSchema"].as_object().cloned().expect("a schema");
    Tool { name: text("name"), description: text("description"), schema }
}

/// What is read of those bytes when they come in pieces of that size.
fn events(bytes: &[u8], tools: &[Tool], piece: usize) -> Vec<Result<AnswerEvent, TurnFailure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let pieces = bytes.chunks(piece).map(Ok::<_, std::io::Error>);
        let mut lines = LineReader::new(StreamReader::new(futures_util::stream::iter(pieces)));
        let mut reader = AnswerReader::new(tools);
        let mut events = Vec::new();
        while let Some(line) = lines.next_line().await.expect("bytes in memory") {
            match reader.on(frame_out::parse(line).expect("a frame")) {
                Ok(Progress::Silent) => {}
                Ok(Progress::Event(event)) => events.push(Ok(event)),
                Ok(Progress::Events(more)) => events.extend(more.into_iter().map(Ok)),
                Ok(Progress::Complete(end, _)) => {
                    events.push(Ok(AnswerEvent::Ended(end)));
                    break;
                }
                Err(failure) => {
                    events.push(Err(failure));
                    break;
                }
            }
        }
        events
    })
}

fn writer(include_usage: bool) -> ChunkWriter {
    ChunkWriter::new("chatcmpl-golden", 1_795_208_000, "couplet-golden", include_usage, CallForm::ToolCalls)
}

fn error(failure: &TurnFailure) -> String {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_200_000);
    let error = failure::api_error(failure, now);
    format!("{} {}", error.status.as_u16(), json!(error.body()))
}

fn streamed(events: Vec<Result<AnswerEvent, TurnFailure>>) -> String {
    let mut writer = writer(true);
    let lines = events.into_iter().flat_map(|event| match event {
        Ok(event) => writer.on(0, event).iter().map(|chunk| json!(chunk).to_string()).collect(),
        Err(failure) => vec![error(&failure)],
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn whole(events: Vec<Result<AnswerEvent, TurnFailure>>) -> String {
    let (mut writer, mut fold) = (writer(true), ChunkFold::default());
    for event in events {
        match event {
            Ok(event) => writer.on(0, event).into_iter().for_each(|chunk| fold.push(chunk)),
            Err(failure) => return error(&failure),
        }
    }
    fold.finish().map_or_else(|| "no end".to_owned(), |answer| format!("{:#}", json!(answer)))
}

#[test]
fn each_recording_reads_as_before_streamed_and_not() {
    for folder in ["fixtures/claude-2.1.329"] {
        let recordings = files(folder, "ndjson");
        assert!(recordings.len() >= 20, "{folder}");
        for recording in recordings {
            let Recording { name, tools, answers } = Recording::read(&recording);
            for (index, answer) in answers.iter().enumerate() {
                let name = if index == 0 { name.clone() } else { format!("{name}-{}", index + 1) };
                let events = |piece: usize| events(answer, &tools, piece);
                insta::assert_snapshot!(format!("{name}-streamed"), streamed(events(65536)));
                insta::assert_snapshot!(format!("{name}-whole"), whole(events(65536)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn where_the_bytes_are_split_does_not_matter(which in 0_usize..1000, piece in 1_usize..200) {
        let recordings = files("fixtures/claude-2.1.329", "ndjson");
        let Recording { tools, answers, .. } = Recording::read(&recordings[which % recordings.len()]);
        for answer in answers {
            prop_assert_eq!(streamed(events(&answer, &tools, piece)), streamed(events(&answer, &tools, 65536)));
        }
    }
}

#[tokio::test]
async fn each_client_s_request_becomes_the_frames_it_should() {
    let settings = MediaSettings { image_urls: ImageUrls::Pass, ..MediaSettings::default() };
    let intake = Intake::new(settings).expect("an intake");
    let requests = files("tests/clients", "json");
    assert!(requests.len() >= 12);
    for request in requests {
        let body = fs::read(&request).expect("a request");
        let written = frames_of(&body, &intake).await;
        let refused = |error: ApiError| format!("{} {}", error.status.as_u16(), json!(error.body()));
        let written = written.unwrap_or_else(refused);
        insta::assert_snapshot!(format!("client-{}", name(&request)), written);
    }
}

async fn frames_of(body: &[u8], intake: &Intake) -> Result<String, ApiError> {
    let ChatBody { translated, ignored, .. } = chat_body::read(body)?;
    let turn = intake.prepare(translated.turn).await.map_err(|failure| media_failure::api_error(&failure))?;
    let mut lines = Vec::new();
    for frame in frame_in::of_turn(&turn, Some(CacheTtl::OneHour)) {
        frame.write_to(&mut lines).expect("JSON");
    }
    for Tool { name, description, schema } in &turn.tools {
        let tool = json!({"name": name, "description": description, "schema": schema});
        writeln!(lines, "tool: {tool}").expect("memory");
    }
    if !turn.tools.is_empty() {
        let Parameters { tool_choice, calls, .. } = turn.parameters;
        let form = translated.calls;
        writeln!(lines, "choice: {tool_choice:?}, calls: {calls:?}, told as: {form:?}").expect("memory");
    }
    let frames = String::from_utf8(lines).expect("UTF-8");
    Ok(format!("{frames}ignored: {ignored:?}, adjusted: {:?}", translated.adjusted))
}
