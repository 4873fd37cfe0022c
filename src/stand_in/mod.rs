//! A stand-in for the Claude Code CLI, for demo mode on a machine that has none.
//!
//! It speaks the CLI's frames, as far as Couplet uses them, and asks a Messages API on loopback, which in demo mode is
//! the scripted one. It holds no model and signs in nowhere.
//!
//! - [`conversation`]: what was said and set so far, and the request body made of it. Pure.
//! - [`client`]: one request to the API, its events as they come.
//! - [`frames`]: the frames that go out. Pure.

pub mod client;
pub mod conversation;
pub mod frames;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader, Stdin, Stdout};

use crate::claude::line_reader::LineReader;
use client::{Api, Failure, Streamed};
use conversation::Conversation;
use frames::AnswerFrames;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "__stand-in";

/// The version it claims: that of the CLI whose frames it speaks.
const VERSION: &str = "2.1.329 (stand-in of Couplet's demo mode)";

/// Runs the stand-in as the CLI would run: arguments and environment as the CLI's, frames on stdin and stdout.
#[must_use]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program of its own")]
pub fn main(arguments: &[OsString]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--version") {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--help") {
        println!("Usage: the switches of the Claude Code CLI; all but --version and --help are ignored");
        return ExitCode::SUCCESS;
    }
    let api = std::env::var("ANTHROPIC_BASE_URL").ok().and_then(|url| Api::on_loopback(&url));
    let Some(api) = api else {
        eprintln!("the stand-in asks only an API on loopback, named in ANTHROPIC_BASE_URL");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(speak(api))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Speaker {
    lines: LineReader<BufReader<Stdin>>,
    stdout: Stdout,
    conversation: Conversation,
    api: Api,
}

/// Takes frames until stdin ends.
async fn speak(api: Api) -> io::Result<()> {
    let mut speaker = Speaker {
        lines: LineReader::new(BufReader::new(tokio::io::stdin())),
        stdout: tokio::io::stdout(),
        conversation: Conversation::default(),
        api,
    };
    while let Some(frame) = speaker.next_frame().await? {
        match frame["type"].as_str() {
            Some("control_request") => {
                let answer = speaker.conversation.control(&frame);
                speaker.write(&answer).await?;
            }
            Some("assistant") => speaker.conversation.say(&frame),
            Some("user") => {
                speaker.conversation.say(&frame);
                if frame["shouldQuery"] == false {
                    speaker.write(&frames::empty_result()).await?;
                } else {
                    speaker.answer().await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl Speaker {
    /// The next frame of stdin; `None` at its end.
    async fn next_frame(&mut self) -> io::Result<Option<Value>> {
        let line = self.lines.next_line().await?;
        line.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).transpose()
    }

    async fn write(&mut self, frame: &Value) -> io::Result<()> {
        let mut line = frame.to_string();
        line.push('\n');
        self.stdout.write_all(line.as_bytes()).await?;
        self.stdout.flush().await
    }

    /// Asks the API what was said last, and passes its answer on until it ends or is interrupted.
    async fn answer(&mut self) -> io::Result<()> {
        let mut frames = AnswerFrames::default();
        let mut streamed = match self.api.ask(&self.conversation.request()).await {
            Ok(streamed) => streamed,
            Err(failure) => return self.fail(&frames, &failure).await,
        };
        loop {
            tokio::select! {
                event = streamed.next() => match event {
                    Ok(Some(event)) => self.write(&frames.event(&event)).await?,
                    Ok(None) => return self.finish(frames, streamed).await,
                    Err(failure) => return self.fail(&frames, &failure).await,
                },
                line = self.lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    let frame: Value = serde_json::from_slice(line)?;
                    let answer = self.conversation.control(&frame);
                    self.write(&answer).await?;
                    if frame["request"]["subtype"] == "interrupt" {
                        return self.write(&frames.interrupted()).await;
                    }
                }
            }
        }
    }

    async fn finish(&mut self, frames: AnswerFrames, streamed: Streamed) -> io::Result<()> {
        for frame in frames.finish(&streamed.limits) {
            if frame["type"] == "assistant" {
                self.conversation.say(&frame);
            }
            self.write(&frame).await?;
        }
        Ok(())
    }

    async fn fail(&mut self, frames: &AnswerFrames, failure: &Failure) -> io::Result<()> {
        for frame in frames.failed(failure) {
            self.write(&frame).await?;
        }
        Ok(())
    }
}
