//! A Claude Code CLI that misbehaves on command.
//!
//! It answers `--version` and `--help`, and as a chat process speaks the CLI's frames. What it does beyond that is in a
//! script ([`script::Script`]) whose path comes as `ANTHROPIC_BASE_URL=script:<path>`, because its environment is what
//! Couplet gives it and nothing else. Beside the script it leaves a [`script::Report`] of itself.

mod attempt;
mod frames;
mod play;
mod script;
mod talk;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use attempt::{ATTEMPT, attempt};
use play::{FOR_EVER, Player, SLEEP, Went};
use script::{Recital, Report, SCHEME, Script, Step};
use talk::{Input, Talk, texts_of, write, write_frame};

/// What `--version` says.
const VERSION: &str = "2.1.329 (Claude Code)\n";

/// What `--help` says, as far as Couplet looks for it.
const HELP: &str = "Usage: claude\n  --restricted\n  --permission-prompts <mode>\n";

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    let done = match &*first {
        "--version" => write(VERSION.as_bytes()),
        "--help" => write(HELP.as_bytes()),
        SLEEP => {
            std::thread::sleep(FOR_EVER);
            Ok(())
        }
        ATTEMPT => {
            let word = |place| std::env::args().nth(place).unwrap_or_default();
            write(attempt(&word(2), &word(3)).as_bytes())
        }
        "auth" | "doctor" => command(&std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        _ => match note_of_session() {
            Ok(note) => chat().and_then(|()| fs::remove_file(note)),
            // Confined, it does without, as the CLI does.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => chat(),
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fake_claude: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The CLI keeps a note of each session that runs, and removes it at its end.
fn note_of_session() -> io::Result<PathBuf> {
    let config =
        std::env::var_os("CLAUDE_CONFIG_DIR").ok_or_else(|| io::Error::other("no CLAUDE_CONFIG_DIR"))?;
    let notes = PathBuf::from(config).join("sessions");
    fs::create_dir_all(&notes)?;
    let note = notes.join(format!("{}.json", std::process::id()));
    fs::write(&note, "{}")?;
    Ok(note)
}

/// A command beside the chat.
fn command(arguments: &str) -> io::Result<()> {
    let path = path_of_script()?;
    let script = read(&path)?;
    report(&path)?;
    let steps = script.commands.get(arguments).cloned().unwrap_or_default();
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;
    fs::write(beside(&path, "stdin"), stdin)?;
    player(script).play(&steps).map(|_| ())
}

fn path_of_script() -> io::Result<PathBuf> {
    let url = std::env::var("ANTHROPIC_BASE_URL").unwrap_or_default();
    let path = url.strip_prefix(SCHEME).map(PathBuf::from);
    path.ok_or_else(|| io::Error::other(format!("no script in ANTHROPIC_BASE_URL: {url:?}")))
}

fn player(script: Script) -> Player {
    let nothing = Recital { process_id: std::process::id(), ..Recital::default() };
    Player { script, talk: None, waiting: VecDeque::new(), ended: false, holds: nothing }
}

fn chat() -> io::Result<()> {
    let path = path_of_script()?;
    let script = read(&path)?;
    report(&path)?;
    let at_start = script.at_start.clone();
    let mut player = player(script);
    let copy = File::create(beside(&path, "stdin"))?;
    player.play(&at_start)?;
    player.talk = Some(Talk::start(copy));
    loop {
        if let Some(turn) = player.waiting.pop_front() {
            take_turn(&mut player, &path, &turn)?;
            continue;
        }
        if player.ended && !player.script.ignores_end_of_input {
            return Ok(());
        }
        match player.next(FOR_EVER) {
            Some(Input::Frame(frame)) if frame["type"] == "control_request" => {
                player.control(&frame)?;
            }
            Some(Input::Frame(frame)) => player.waiting.push_back(frame),
            Some(Input::End) => player.ended = true,
            None => return Ok(()),
        }
    }
}

/// Takes a turn of the history, or answers a question.
fn take_turn(player: &mut Player, path: &Path, turn: &Value) -> io::Result<()> {
    let texts = texts_of(turn);
    let asked = texts.concat();
    if turn["type"] == "user" && turn["shouldQuery"] != false && asked.trim().is_empty() {
        let first = player.script.at_blank.clone();
        player.play(&first)?;
        write_frame(
            &json!({"type": "system", "subtype": "init", "session_id": "s", "tools": player.holds.tools}),
        )?;
        return write_frame(
            &json!({"type": "result", "subtype": "success", "is_error": false, "result": ""}),
        );
    }
    player.holds.said.push((turn["type"].as_str().unwrap_or_default().to_owned(), texts));
    if turn["type"] != "user" {
        return Ok(());
    }
    write_frame(
        &json!({"type": "system", "subtype": "init", "session_id": "s", "model": frames::MODEL, "tools": player.holds.tools}),
    )?;
    if turn["shouldQuery"] == false {
        return write_frame(
            &json!({"type": "result", "subtype": "success", "is_error": false, "result": ""}),
        );
    }
    player.script = read(path)?;
    let play = player.script.plays.iter().find(|play| asked.contains(&play.asked));
    let steps = play.map_or_else(|| vec![Step::Answer("fine".to_owned())], |play| play.steps.clone());
    if player.play(&steps)? == Went::Interrupted {
        write_frame(&json!({
            "type": "result", "subtype": "error_during_execution", "is_error": true, "stop_reason": null,
            "terminal_reason": "aborted_streaming", "modelUsage": {}
        }))?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Script> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    Ok(serde_json::from_slice(&fs::read(path).map_err(named)?)?)
}

/// A file of this process beside the script.
fn beside(script: &Path, kind: &str) -> PathBuf {
    script.with_file_name(format!("{}.{kind}", std::process::id()))
}

/// Tells of this process: complete as soon as the file has its name.
fn report(script: &Path) -> io::Result<()> {
    let descriptor = std::env::var("CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR").ok();
    let credential =
        descriptor.map(|descriptor| fs::read_to_string(format!("/dev/fd/{descriptor}"))).transpose()?;
    let environment = std::env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    let report = Report {
        process_id: std::process::id(),
        arguments: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        environment: environment.collect(),
        credential,
    };
    let unfinished = beside(script, "unfinished");
    fs::write(&unfinished, serde_json::to_vec(&report)?)?;
    fs::rename(unfinished, beside(script, "json"))
}
