//! `couplet record`: dialogues with the installed CLI, for the tests to replay.
//!
//! Each scenario is one turn, or two, in a fresh process against the scripted API. All lines are kept in their order, those
//! written to the CLI and those read from it; what differs from run to run, and long lists that nobody reads, are left out.
//!
//! - `scenarios`: what is recorded.
//! - `tape`: a process and its lines.
//! - `scrubbing`: what is left out of them.

mod scenarios;
mod scrubbing;
mod tape;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::claude::command_line::CliProgram;
use crate::claude::credential::Credential;
use crate::claude::frame_in::{self, ControlRequest, FrameIn};
use crate::claude::installed::Probe;
use crate::claude::prompt_cache::CacheTtl;
use crate::claude::sandbox::SandboxSettings;
use crate::claude::supply::{ProcessSettings, ProcessSupply};
use crate::upstream::Upstream;
use scenarios::{Scenario, Then};
use tape::Tape;

/// Records every scenario into `<folder>/claude-<version>/<name>.ndjson` and returns that folder. `launcher` is a program
/// that knows the launcher's subcommand: this one.
///
/// # Errors
/// When the CLI cannot be run, falls silent, or a file cannot be written.
pub async fn record(cli: PathBuf, launcher: PathBuf, folder: &Path) -> io::Result<PathBuf> {
    let state = tempfile::tempdir()?;
    let upstream = Upstream::start_on_loopback().await?;
    let settings = ProcessSettings {
        program: CliProgram::Installed(cli),
        launcher,
        credential: Credential::OauthToken("sk-ant-oat01-made-up-by-couplet-record".into()),
        state_dir: state.path().to_owned(),
        base_url: Some(upstream.base_url()),
        passed_through: std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect(),
        sandbox: SandboxSettings::auto(),
        version: None,
    };
    let folder = folder.join(format!("claude-{}", Probe::new(&settings).version().await?));
    std::fs::create_dir_all(&folder)?;
    let supply = ProcessSupply::new(settings)?;
    for scenario in scenarios::all() {
        let lines = dialogue(&supply, &scenario).await?;
        write(&folder, scenario.name, &lines)?;
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

/// A command as Couplet never writes it, without its guards: what the CLI then answers by itself must not pass for an
/// answer of the model.
async fn bare_command(supply: &ProcessSupply) -> io::Result<Vec<Value>> {
    let process = supply.start_process().await.map_err(io::Error::other)?;
    let mut tape = Tape::new(process, &[]);
    let request = ControlRequest::Initialize { system_prompt: "", servers: &[] };
    tape.write(&FrameIn::ControlRequest { request_id: "setup-0".to_owned(), request }).await?;
    tape.read_until("control_response").await?;
    let message = json!({"role": "user", "content": "/help"});
    tape.write_value(
        json!({"type": "user", "message": message, "parent_tool_use_id": null, "session_id": ""}),
    )
    .await?;
    tape.read_until("result").await?;
    Ok(tape.end().await)
}

/// A scenario, line by line.
async fn dialogue(supply: &ProcessSupply, scenario: &Scenario) -> io::Result<Vec<Value>> {
    let Scenario { turn, then, .. } = scenario;
    let process = supply.start_process().await.map_err(io::Error::other)?;
    let mut tape = Tape::new(process, &turn.tools);
    for frame in frame_in::of_turn(turn, Some(CacheTtl::OneHour)) {
        tape.write(&frame).await?;
        match &frame {
            FrameIn::ControlRequest { .. } => {
                tape.read_until("control_response").await?;
                tape.read_until_ready().await?;
            }
            _ if frame.is_confirmed() => tape.read_until("result").await?,
            _ => {}
        }
    }
    match then {
        Then::Answer => {}
        Then::Interrupt => {
            tape.read_until("content_block_delta").await?;
            let request = ControlRequest::Interrupt;
            tape.write(&FrameIn::ControlRequest { request_id: "stop".to_owned(), request }).await?;
        }
        Then::Results(results) => {
            tape.read_until("message_stop").await?;
            let calls = tape.read_calls().await?;
            for (index, (call, result)) in calls.iter().zip(results).enumerate() {
                if index > 0 {
                    // Until the one before is taken into the conversation, as in `Conversation::go_on`.
                    tape.read_until("user").await?;
                }
                tape.write_result(call, std::slice::from_ref(result)).await?;
            }
        }
        Then::Turn(next) => {
            tape.read_until("result").await?;
            if let Some(settings) = frame_in::changed_settings(&turn.parameters, next) {
                let request = ControlRequest::ApplyFlagSettings { settings };
                tape.write(&FrameIn::ControlRequest { request_id: "settings".to_owned(), request }).await?;
            }
            tape.write(&FrameIn::question(&next.question)).await?;
        }
    }
    tape.read_until("result").await?;
    Ok(tape.end().await)
}
