//! The CLI without Couplet: the same switches, environment and frames.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use couplet::claude::command_line::{CliProgram, CommandLine, Folders, chat_process};
use couplet::claude::features::CliFeatures;
use couplet::claude::frame_in::{FrameIn, of_turn};
use couplet::claude::frame_out::{self, Event, Frame};
use couplet::claude::prompt_cache::CacheTtl;
use couplet::claude::tool_server::{Reply, ToolServer};
use couplet::turn::{ResultBlock, Turn};

use super::client::{RESULT, TOOL_WORKS};
use super::prompt::text;
use super::support::children::Bound;
use super::support::processes::wait_for_rest;
use super::support::statistics::Stopwatch;
use super::support::{TOKEN, path};

/// How the bare CLI is started.
pub fn command_line(cli: &Path, state: &Path, base_url: &str) -> CommandLine {
    let folder = |name: &str| {
        let folder = state.join("bare").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let folders = Folders { home: folder("home"), config: folder("config"), work: folder("empty") };
    let help = Command::new(cli).arg("--help").env_clear().output().unwrap();
    let features = CliFeatures::from_help(&String::from_utf8_lossy(&help.stdout));
    let mut line = chat_process(
        &CliProgram::Installed(cli.to_owned()),
        features,
        &folders,
        CacheTtl::OneHour,
        Some(base_url),
        &path(),
    );
    line.environment.push(("CLAUDE_CODE_OAUTH_TOKEN".into(), TOKEN.into()));
    line
}

/// A process of the bare CLI.
pub struct BareCli {
    /// What a killed process leaves in its configuration folder, where later ones look.
    note: PathBuf,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    tools: ToolServer,
    child: Bound,
}

impl BareCli {
    /// Starts it.
    pub fn start(line: &CommandLine) -> Self {
        let mut child = Bound::start(
            Command::new(&line.program)
                .args(&line.arguments)
                .env_clear()
                .envs(line.environment.iter().map(|(name, value)| (name, value)))
                .current_dir(&line.work)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let config = line.environment.iter().find(|variable| variable.0 == "CLAUDE_CONFIG_DIR").unwrap();
        let note = Path::new(&config.1).join("sessions").join(format!("{}.json", child.0.id()));
        Self { stdin: child.0.stdin.take().unwrap(), lines, tools: ToolServer::default(), note, child }
    }

    /// Waits until it has nothing more to do.
    pub fn wait_for_rest(&self) {
        wait_for_rest(self.child.0.id());
    }

    /// Sets it up for a conversation and waits until that is done.
    pub fn set_up(&mut self, turn: &Turn) {
        self.tools = ToolServer::new(turn.tools.clone());
        let mut frames = of_turn(turn, None);
        frames.pop();
        let mut unanswered = frames.len();
        self.write(&frames);
        while unanswered > 0 || !self.tools.is_ready() {
            self.read(|frame| {
                unanswered -= usize::from(matches!(frame, Frame::ControlResponse(_)));
                true
            });
        }
    }

    /// Sets it up for a conversation and asks its first question, the quickest way: set-up and question are written at
    /// once, except that tools must be known before.
    pub fn set_up_and_ask(&mut self, turn: &Turn) {
        self.tools = ToolServer::new(turn.tools.clone());
        let mut frames = of_turn(turn, None);
        let question = frames.pop().unwrap();
        if turn.tools.is_empty() {
            frames.push(question);
            return self.write(&frames);
        }
        self.write(&frames);
        while !self.tools.is_ready() {
            self.read(|_| true);
        }
        self.write(&[question]);
    }

    /// Asks a question in a process that is set up.
    pub fn ask(&mut self, question: &str) {
        let question = text(question);
        self.write(&[FrameIn::question(&question)]);
    }

    /// Reads the first text of the answer.
    pub fn first_text(&mut self) {
        self.read(|frame| matches!(frame, Frame::Event(Event::Text(text)) if !text.is_empty()));
    }

    /// Reads the answer to its end.
    pub fn end(&mut self) {
        self.read(|frame| matches!(frame, Frame::Result(_)));
    }

    /// Answers the call that comes; the time from its result to the first text, in milliseconds.
    pub fn answer_call(&mut self) -> f64 {
        let mut id = None;
        self.read(|frame| {
            if let Frame::Event(Event::ToolUse { id: call, .. }) = frame {
                id = Some(call.clone().into_owned());
            }
            matches!(frame, Frame::Event(Event::MessageStop))
        });
        let id = id.unwrap();
        while self.tools.waiting(&id).is_none() {
            self.read(|_| true);
        }
        let call = self.tools.take(&id).unwrap();
        let result = [ResultBlock::Text(RESULT.to_owned())];
        std::thread::sleep(TOOL_WORKS);
        let begun = Stopwatch::start();
        self.write(&[FrameIn::call_result(&call, &result, false)]);
        self.first_text();
        let time = begun.milliseconds();
        self.end();
        time
    }

    /// Reads frames, and answers what the CLI asks, until one that is looked for.
    fn read(&mut self, mut is_it: impl FnMut(&Frame<'_>) -> bool) {
        loop {
            let line = self.lines.next().expect("the CLI has ended").unwrap();
            let Ok(frame) = frame_out::parse(line.as_bytes()) else { continue };
            if let Frame::ControlRequest(request) = &frame
                && let Some(message) = request.message
                && let Ok(Reply::Now(answer)) = self.tools.on(&request.request_id, message.get())
            {
                self.write(&[FrameIn::mcp_answer(&request.request_id, &answer)]);
            }
            if is_it(&frame) {
                return;
            }
        }
    }

    fn write(&mut self, frames: &[FrameIn<'_>]) {
        let mut lines = Vec::new();
        for frame in frames {
            frame.write_to(&mut lines).unwrap();
        }
        self.stdin.write_all(&lines).unwrap();
    }
}

impl Drop for BareCli {
    fn drop(&mut self) {
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
        let _ = std::fs::remove_file(&self.note);
    }
}
