//! The steps of a script.
#![expect(
    clippy::disallowed_types,
    reason = "a fake CLI starts a child to see whether it goes with its group"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

use crate::frames;
use crate::script::{OnControl, Recital, Script, Step};
use crate::talk::{Input, Talk, answer_control, until, write, write_frame};

/// The argument of a process that only sleeps.
pub const SLEEP: &str = "__sleep";

/// The end of the world.
pub const FOR_EVER: Duration = Duration::from_secs(120);

/// How often a file that is waited for is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// How a piece of a play ended.
#[derive(PartialEq)]
pub enum Went {
    /// To its end.
    On,
    /// An interrupt ended it.
    Interrupted,
}

/// A process that follows its script.
pub struct Player {
    pub script: Script,
    /// None before the start is over: nothing is read until then.
    pub talk: Option<Talk>,
    /// Turns that came while a play went on.
    pub waiting: VecDeque<Value>,
    /// Whether stdin has ended.
    pub ended: bool,
    /// What it was told, and has answered by [`Step::Answer`] or [`Step::Recite`].
    pub holds: Recital,
}

impl Player {
    /// Does the steps, unless an interrupt comes.
    pub fn play(&mut self, steps: &[Step]) -> io::Result<Went> {
        for step in steps {
            if self.heed(Duration::ZERO)? == Went::Interrupted || self.step(step)? == Went::Interrupted {
                return Ok(Went::Interrupted);
            }
        }
        Ok(Went::On)
    }

    fn step(&mut self, step: &Step) -> io::Result<Went> {
        match step {
            Step::Answer(text) => self.answer(&frames::message("msg_fake", text), text)?,
            Step::Recite(text) => {
                let mut message = frames::message("msg_fake", text);
                message.insert(1, thinking(&serde_json::to_string(&self.holds)?));
                self.answer(&message, text)?;
            }
            Step::Once { file, steps } => {
                if File::create_new(file).is_ok() {
                    return self.play(steps);
                }
            }
            Step::StopReading => self.talk.iter().for_each(Talk::stop_reading),
            Step::Frames(frames) => frames.iter().try_for_each(write_frame)?,
            Step::Replay { file, frames, half } => replay(file, *frames, *half)?,
            Step::Bytes(bytes) => write(bytes)?,
            Step::BytesOf(path) => write(&std::fs::read(path)?)?,
            Step::Texts { count, size } => {
                (0..*count).try_for_each(|number| write_frame(&frames::text(&numbered(number, *size))))?;
            }
            Step::Repeat { times, steps } => {
                for _ in 0..*times {
                    if self.play(steps)? == Went::Interrupted {
                        return Ok(Went::Interrupted);
                    }
                }
            }
            Step::Ask(request) => {
                return Ok(if self.ask(request)?.is_some() { Went::On } else { Went::Interrupted });
            }
            Step::Sleep { milliseconds } => return self.heed(Duration::from_millis(*milliseconds)),
            Step::AwaitFile(path) => {
                while !path.exists() {
                    if self.heed(LOOK)? == Went::Interrupted {
                        return Ok(Went::Interrupted);
                    }
                }
            }
            Step::MakeFile(path) => {
                // Others may make the same one in this moment.
                let id = std::process::id().to_string();
                let unfinished = path.with_extension(format!("{id}-unfinished"));
                std::fs::write(&unfinished, id)?;
                std::fs::rename(unfinished, path)?;
            }
            Step::Hang => return self.heed(FOR_EVER),
            Step::Exit(code) => exit(*code),
            Step::Die => kill_process(getpid(), Signal::KILL)?,
            Step::Terminate => kill_process(getpid(), Signal::TERM)?,
            Step::FloodStdout { bytes, line } => flood(&mut io::stdout().lock(), *bytes, *line)?,
            Step::FloodStderr(bytes) => flood(&mut io::stderr().lock(), *bytes, 80)?,
            Step::Complain(text) => writeln!(io::stderr(), "{text}")?,
            Step::CloseStdout => rustix::stdio::dup2_stdout(File::open("/dev/null")?)?,
            Step::StartChild { keeps_output } => start_child(*keeps_output)?,
        }
        Ok(Went::On)
    }

    fn answer(&mut self, message: &[Value], text: &str) -> io::Result<()> {
        message.iter().try_for_each(write_frame)?;
        self.holds.said.push(("assistant".to_owned(), vec![text.to_owned()]));
        write_frame(&frames::success())
    }

    /// What came in next; `None` when nothing did within that time.
    pub fn next(&self, time: Duration) -> Option<Input> {
        if let Some(talk) = &self.talk {
            return talk.next(time);
        }
        std::thread::sleep(time);
        None
    }

    /// Answers what comes in for that time.
    fn heed(&mut self, time: Duration) -> io::Result<Went> {
        let end = Instant::now() + time;
        loop {
            match self.next(until(end)) {
                None => return Ok(Went::On),
                Some(Input::End) => self.ended = true,
                Some(Input::Frame(frame)) => match frame["type"].as_str() {
                    Some("control_request") if self.control(&frame)? == Went::Interrupted => {
                        return Ok(Went::Interrupted);
                    }
                    Some("user" | "assistant") => self.waiting.push_back(frame),
                    _ => {}
                },
            }
        }
    }

    /// Answers a control request.
    pub fn control(&mut self, request: &Value) -> io::Result<Went> {
        let subtype = request["request"]["subtype"].as_str().unwrap_or_default().to_owned();
        if subtype == "interrupt" && self.script.ignores_interrupt {
            return Ok(Went::On);
        }
        match self.script.controls.get(&subtype).cloned() {
            Some(OnControl::Ignore) => return Ok(Went::On),
            Some(OnControl::Decline(reason)) => {
                answer_control(request, Err(&reason))?;
                return Ok(Went::On);
            }
            Some(OnControl::After(steps)) => {
                self.play(&steps)?;
            }
            None => {}
        }
        let models = json!({"models": [
            {"value": "sonnet", "resolvedModel": frames::MODEL, "displayName": "Sonnet"},
            {"value": "haiku", "resolvedModel": "claude-haiku-4-5", "displayName": "Haiku"},
        ]});
        answer_control(request, Ok(if subtype == "initialize" { models } else { json!({}) }))?;
        if subtype == "initialize" {
            let system = &request["request"]["systemPrompt"];
            self.holds.system = system.as_str().map(ToOwned::to_owned).unwrap_or_default();
            if let Some(server) = request["request"]["sdkMcpServers"][0].as_str() {
                self.list_tools(server)?;
            }
        }
        if request["request"]["message"]["method"] == "notifications/tools/list_changed" {
            let server = request["request"]["server_name"].as_str().unwrap_or_default().to_owned();
            self.list_tools(&server)?;
        }
        Ok(if subtype == "interrupt" { Went::Interrupted } else { Went::On })
    }

    fn list_tools(&mut self, server: &str) -> io::Result<()> {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let request = json!({"subtype": "mcp_message", "server_name": server, "message": message});
        let answer = self.ask(&request)?.unwrap_or_default();
        let tools = answer["response"]["response"]["mcp_response"]["result"]["tools"].as_array();
        let names = tools.into_iter().flatten().filter_map(|tool| tool["name"].as_str());
        self.holds.tools = names.map(ToOwned::to_owned).collect();
        Ok(())
    }

    /// Sends a control request and waits for its answer; `None` when an interrupt came instead.
    fn ask(&mut self, request: &Value) -> io::Result<Option<Value>> {
        write_frame(&json!({"type": "control_request", "request_id": "fake-1", "request": request}))?;
        let end = Instant::now() + FOR_EVER;
        while let Some(input) = self.next(until(end)) {
            let Input::Frame(frame) = input else { continue };
            match frame["type"].as_str() {
                Some("control_response") => return Ok(Some(frame)),
                Some("control_request") if self.control(&frame)? == Went::Interrupted => return Ok(None),
                // A question may come while the tools are listed for the second time.
                Some("user" | "assistant") => self.waiting.push_back(frame),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Writes the beginning of what followed the last question of a recording.
fn replay(file: &Path, frames: usize, half: bool) -> io::Result<()> {
    let recording = std::fs::read_to_string(file)?;
    let lines: Vec<Value> = recording.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let is_question = |line: &Value| line["dir"] == "in" && line["frame"]["type"] == "user";
    let question = lines.iter().rposition(is_question).unwrap_or_default();
    let answer = lines[question + 1..].iter().filter(|line| line["dir"] == "out");
    for (index, line) in answer.enumerate() {
        let frame = line["frame"].to_string();
        if index < frames {
            write(format!("{frame}\n").as_bytes())?;
        } else if half {
            return write(&frame.as_bytes()[..frame.len() / 2]);
        }
    }
    Ok(())
}

/// Writes so many bytes in lines of that length; 0 is no line end at all.
fn flood(output: &mut impl Write, bytes: usize, line: usize) -> io::Result<()> {
    let piece = vec![b'x'; if line == 0 { 64 * 1024 } else { line }];
    let mut written = 0;
    while written < bytes {
        output.write_all(&piece)?;
        if line > 0 {
            output.write_all(b"\n")?;
        }
        written += piece.len();
    }
    output.flush()
}

fn start_child(keeps_output: bool) -> io::Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg(SLEEP).stdin(Stdio::null());
    if !keeps_output {
        child.stdout(Stdio::null()).stderr(Stdio::null());
    }
    // Nobody waits for it: it ends after this process, or with it.
    child.spawn().map(drop)
}

/// A text of `size` bytes that begins with its number in eight digits.
fn numbered(number: usize, size: usize) -> String {
    format!("{:x<size$}", format!("{number:08}"))
}

/// A piece of a thought.
fn thinking(text: &str) -> Value {
    frames::event(
        &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}),
    )
}
