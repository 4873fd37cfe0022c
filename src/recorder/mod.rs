//! `couplet record`: dialogues with the installed CLI, for the tests to replay.
//!
//! Each scenario is one turn in a fresh process against the scripted API. All lines are kept in their order, those written
//! to the CLI and those read from it; what differs from run to run, and long lists that nobody reads, are left out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::claude::command_line::CliProgram;
use crate::claude::credential::Credential;
use crate::claude::frame_in::{self, ControlRequest, FrameIn};
use crate::claude::process::CliProcess;
use crate::claude::supply::{ProcessSettings, ProcessSupply};
use crate::turn::{AssistantBlock, Effort, Message, Parameters, ResultBlock, Turn, UserBlock};
use crate::upstream::Upstream;

/// How long a dialogue may be silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is recorded: a name, and the question that scripts the API.
const QUESTIONS: [(&str, &str); 18] = [
    ("text", "[[words 12]] hello"),
    ("thinking", "[[think]] [[words 6]]"),
    ("stop-sequence", "[[say one END two]]"),
    ("length", "[[words 4]] [[stop max_tokens]]"),
    ("refusal", "[[words 4]] [[stop refusal]]"),
    ("empty", "[[empty]]"),
    ("unicode", "[[say Grüße 👩‍👩‍👧 \u{202e}abc\u{0}\u{1b}[0m]]"),
    ("cut", "[[words 6]] [[cut 3]]"),
    ("error-event", "[[words 6]] [[errevent 3 overloaded_error]]"),
    (
        "error-400-too-long",
        "[[err 400 invalid_request_error prompt is too long: 250000 tokens > 200000 maximum]]",
    ),
    ("error-401", "[[err 401 authentication_error]]"),
    ("error-403", "[[err 403 permission_error]]"),
    ("error-404-model", "[[err 404 not_found_error]]"),
    ("error-413", "[[err 413 request_too_large]]"),
    ("error-429-burst", "[[err 429 rate_limit_error]]"),
    ("error-429-usage-limit", "[[limit 3600]]"),
    ("error-500", "[[err 500 api_error]]"),
    ("error-529", "[[err 529 overloaded_error]]"),
];

/// Records every scenario into `<folder>/claude-<version>/<name>.ndjson` and returns that folder. `launcher` is a program
/// that knows the launcher's subcommand: this one.
///
/// # Errors
/// When the CLI cannot be run, falls silent, or a file cannot be written.
pub async fn record(cli: PathBuf, launcher: PathBuf, folder: &Path) -> io::Result<PathBuf> {
    let state = tempfile::tempdir()?;
    let upstream = Upstream::start_on_loopback().await?;
    let program = CliProgram::Installed(cli);
    let folder = folder.join(format!("claude-{}", program.version().await?));
    std::fs::create_dir_all(&folder)?;
    let supply = ProcessSupply::new(ProcessSettings {
        program,
        launcher,
        credential: Credential::OauthToken("sk-ant-oat01-made-up-by-couplet-record".into()),
        state_dir: state.path().to_owned(),
        base_url: Some(upstream.base_url()),
        passed_through: std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect(),
    })?;
    let mut scenarios: Vec<(&str, Turn, bool)> =
        QUESTIONS.iter().map(|(name, question)| (*name, turn(question), false)).collect();
    scenarios.push(("history", history(), false));
    scenarios.push(("parameters", parameters(), false));
    scenarios.push(("interrupt", turn("[[words 200]] [[slow 0.02]]"), true));
    for (name, turn, interrupted) in scenarios {
        let lines = dialogue(&supply, &turn, interrupted).await?;
        write(&folder, name, &lines)?;
    }
    let lines = bare_command(&supply).await?;
    write(&folder, "slash-command", &lines)?;
    upstream.shutdown().await;
    Ok(folder)
}

fn write(folder: &Path, name: &str, lines: &[Value]) -> io::Result<()> {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(folder.join(format!("{name}.ndjson")), lines.join("\n") + "\n")
}

fn turn(question: &str) -> Turn {
    Turn {
        model: "sonnet".to_owned(),
        system: "You are terse.".to_owned(),
        history: Vec::new(),
        question: vec![UserBlock::Text(question.to_owned())],
        tools: Vec::new(),
        parameters: Parameters { stop: vec!["END".to_owned()], ..Parameters::default() },
    }
}

fn history() -> Turn {
    let user = |text: &str| Message::User(vec![UserBlock::Text(text.to_owned())]);
    let assistant = |text: &str| Message::Assistant(vec![AssistantBlock::Text(text.to_owned())]);
    let input = [("city".to_owned(), json!("Paris"))].into_iter().collect();
    let call = AssistantBlock::ToolUse { id: "call_1".to_owned(), name: "get_weather".to_owned(), input };
    let result = UserBlock::ToolResult {
        call_id: "call_1".to_owned(),
        content: vec![ResultBlock::Text("22".to_owned())],
    };
    let history = vec![
        user("question 0"),
        assistant("answer 0"),
        user("/command"),
        Message::Assistant(vec![call]),
        Message::User(vec![result]),
        assistant("22 degrees"),
    ];
    Turn { history, ..turn("[[words 4]] and now?") }
}

fn parameters() -> Turn {
    let parameters = Parameters {
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        temperature: Some(0.2),
        top_p: Some(0.9),
        effort: Some(Effort::Off),
        ..Parameters::default()
    };
    Turn { parameters, ..turn("[[words 3]]") }
}

/// A command as Couplet never writes it, without its guards: what the CLI then answers by itself must not pass for an
/// answer of the model.
async fn bare_command(supply: &ProcessSupply) -> io::Result<Vec<Value>> {
    let (process, _starting) = supply.take().await.map_err(io::Error::other)?;
    let mut tape = Tape { process, lines: Vec::new() };
    let request = ControlRequest::Initialize { system_prompt: "", servers: &[] };
    tape.write(&FrameIn::ControlRequest { request_id: "setup-0".to_owned(), request }).await?;
    tape.read_until("control_response").await?;
    let message = json!({"role": "user", "content": "/help"});
    tape.write_value(
        json!({"type": "user", "message": message, "parent_tool_use_id": null, "session_id": ""}),
    )
    .await?;
    tape.read_until("result").await?;
    let Tape { process, lines } = tape;
    process.end().await;
    Ok(lines)
}

/// One turn, line by line.
async fn dialogue(supply: &ProcessSupply, turn: &Turn, interrupted: bool) -> io::Result<Vec<Value>> {
    let (process, _starting) = supply.take().await.map_err(io::Error::other)?;
    let mut tape = Tape { process, lines: Vec::new() };
    for frame in frame_in::of_turn(turn) {
        tape.write(&frame).await?;
        match &frame {
            FrameIn::ControlRequest { .. } => tape.read_until("control_response").await?,
            _ if frame.is_confirmed() => tape.read_until("result").await?,
            _ => {}
        }
    }
    if interrupted {
        tape.read_until("content_block_delta").await?;
        let request = ControlRequest::Interrupt;
        tape.write(&FrameIn::ControlRequest { request_id: "stop".to_owned(), request }).await?;
    }
    tape.read_until("result").await?;
    let Tape { process, lines } = tape;
    process.end().await;
    Ok(lines)
}

struct Tape {
    process: CliProcess,
    lines: Vec<Value>,
}

impl Tape {
    async fn write(&mut self, frame: &FrameIn<'_>) -> io::Result<()> {
        let mut line = Vec::new();
        frame.write_to(&mut line)?;
        self.write_value(serde_json::from_slice(&line)?).await
    }

    async fn write_value(&mut self, frame: Value) -> io::Result<()> {
        let line = format!("{frame}\n");
        self.lines.push(json!({"dir": "in", "frame": frame}));
        self.process.write(line.as_bytes()).await
    }

    /// Reads up to a frame, or an event, of that type.
    async fn read_until(&mut self, kind: &str) -> io::Result<()> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.process.next_line())
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no {kind} came")))??
                .ok_or_else(|| {
                    io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ended before a {kind}"))
                })?;
            let frame: Value = serde_json::from_slice(line)?;
            let found = frame["type"] == kind || frame["event"]["type"] == kind;
            self.lines.push(json!({"dir": "out", "frame": scrubbed(frame)}));
            if found {
                return Ok(());
            }
        }
    }
}

/// A frame without what differs from run to run, and without lists that no reader of frames looks at.
fn scrubbed(frame: Value) -> Value {
    const LEFT_OUT: [&str; 31] = [
        "uuid",
        "session_id",
        "timestamp",
        "stream_id",
        "duration_ms",
        "duration_api_ms",
        "ttft_ms",
        "ttft_stream_ms",
        "time_to_request_ms",
        "first_content_frame_ms",
        "thinking_duration_ms",
        "pid",
        "cwd",
        "original_cwd",
        "commands",
        "agents",
        "available_output_styles",
        "user_output_styles_dir",
        "capabilities",
        "plugins",
        "skills",
        "subagent_stats",
        "slash_commands",
        "additional_directories",
        "retry_delay_ms",
        "api_message_id",
        "model_usage_since_last_result",
        "refused_user_message_uuid",
        "permission_denials",
        "total_cost_usd",
        "costUSD",
    ];
    match frame {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            Value::Object(
                kept.map(|(name, value)| (name.clone(), fixed(&name, value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(scrubbed).collect()),
        other => other,
    }
}

/// A value that changes with every run, made the same for all.
fn fixed(name: &str, value: Value) -> Value {
    match (name, value) {
        ("resetsAt", Value::Number(_)) => json!(1_795_208_576),
        // A message made up by the CLI has a random id; the scripted API counts.
        ("id", Value::String(id)) if id.len() == 36 => json!("made-up"),
        ("result" | "text", Value::String(text)) if text.contains("resets ") => {
            json!("You've hit your 5-hour limit")
        }
        ("result" | "text", Value::String(text)) if text.contains("(127.0.0.1:") => {
            let (before, rest) = text.split_once("(127.0.0.1:").unwrap_or((&text, ""));
            json!(format!("{before}(127.0.0.1:9{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())))
        }
        (_, value) => scrubbed(value),
    }
}
