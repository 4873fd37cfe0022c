//! The CLI without Couplet: the same switches, environment and frames.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use couplet::claude::command_line::{CliProgram, CommandLine, Folders, chat_process};
use couplet::claude::features::CliFeatures;
use couplet::claude::frame_in::{FrameIn, of_turn};
use couplet::claude::frame_out::{self, Event, Frame};
use couplet::claude::prompt_cache::CacheTtl;
use couplet::claude::tool_server::{Reply, ToolServer};
use couplet::turn::{Parameters, ResultBlock, Tool, Turn, UserBlock};

use super::{MODEL, TOKEN};

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

/// `PATH`, which every program here gets.
pub fn path() -> Vec<(OsString, OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect()
}

/// A process of the bare CLI.
pub struct BareCli {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    tools: ToolServer,
}

impl BareCli {
    /// Starts it, with the first question written to it at once; with tools it is asked once it knows them.
    pub fn start(line: &CommandLine, question: &str, tools: &[Tool]) -> Self {
        let mut child = Command::new(&line.program)
            .args(&line.arguments)
            .env_clear()
            .envs(line.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&line.work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut bare =
            Self { stdin: child.stdin.take(), child, lines, tools: ToolServer::new(tools.to_vec()) };
        let turn = Turn {
            model: MODEL.to_owned(),
            system: String::new(),
            history: Vec::new(),
            question: text(question),
            tools: tools.to_vec(),
            parameters: Parameters::default(),
        };
        let mut frames = of_turn(&turn, None);
        let question = frames.pop().unwrap();
        bare.write(&frames);
        while !bare.tools.is_ready() {
            bare.read(|_| true);
        }
        bare.write(&[question]);
        bare
    }

    /// Asks a question, and gives the time to the first text of its answer, which is then read to its end.
    pub fn ask(&mut self, question: &str) -> Duration {
        let question = text(question);
        let frame = [FrameIn::question(&question)];
        let begun = Instant::now();
        self.write(&frame);
        let time = self.first_text(begun);
        self.end();
        time
    }

    /// The time to the first text of the answer.
    pub fn first_text(&mut self, begun: Instant) -> Duration {
        self.read(|frame| matches!(frame, Frame::Event(Event::Text(_))));
        begun.elapsed()
    }

    /// Reads the answer to its end.
    pub fn end(&mut self) {
        self.read(|frame| matches!(frame, Frame::Result(_)));
    }

    /// Asks a question that the model answers by one call; the time from the call's result to the first text.
    pub fn ask_for_a_call(&mut self, question: &str) -> Duration {
        let question = text(question);
        self.write(&[FrameIn::question(&question)]);
        self.answer_call()
    }

    /// The time from the result of the call that comes to the first text.
    pub fn answer_call(&mut self) -> Duration {
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
        let result = [ResultBlock::Text("22 degrees".to_owned())];
        let begun = Instant::now();
        self.write(&[FrameIn::call_result(&call, &result)]);
        let time = self.first_text(begun);
        self.end();
        time
    }

    /// Reads frames, and answers what the CLI asks, until one that is looked for.
    fn read(&mut self, mut is_it: impl FnMut(&Frame<'_>) -> bool) {
        loop {
            let line = self.lines.next().unwrap().unwrap();
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
        self.stdin.as_mut().unwrap().write_all(&lines).unwrap();
    }
}

impl Drop for BareCli {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(text: &str) -> Vec<UserBlock> {
    vec![UserBlock::Text(text.to_owned())]
}
