//! A stand-in for the Claude Code CLI, for demo mode on a machine that has none.
//!
//! It speaks the CLI's frames, as far as Couplet uses them, and asks a Messages API on loopback, which in demo mode is
//! the scripted one. It holds no model and signs in nowhere.
//!
//! - [`conversation`]: what was said and set so far, and the request body made of it. Pure.
//! - [`tools`]: the host's tools, and the calls under way. Pure.
//! - [`client`]: one request to the API, its events as they come.
//! - [`frames`]: the frames that go out. Pure.

pub mod client;
pub mod conversation;
pub mod frames;
pub mod tools;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, Stdin, Stdout};

use crate::claude::line_reader::LineReader;
use client::{Api, Failure};
use conversation::Conversation;
use frames::AnswerFrames;
use tools::Tools;

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
    lines: LineReader<Stdin>,
    stdout: Stdout,
    conversation: Conversation,
    tools: Tools,
    api: Api,
}

/// What comes after a message of the model.
enum After {
    /// Its calls are answered, and it is asked again.
    Asked,
    /// The turn is over, or so is everything.
    Over,
}

/// Takes frames until stdin ends.
async fn speak(api: Api) -> io::Result<()> {
    let mut speaker = Speaker {
        lines: LineReader::new(tokio::io::stdin()),
        stdout: tokio::io::stdout(),
        conversation: Conversation::default(),
        tools: Tools::default(),
        api,
    };
    while let Some(frame) = speaker.next_frame().await? {
        match frame["type"].as_str() {
            Some("assistant") => speaker.conversation.say(&frame),
            // As the CLI does: no question to the model, and nothing of it in the conversation.
            Some("user") if frame["shouldQuery"] != false && conversation::is_blank(&frame) => {
                let begins = frames::turn_begins(speaker.tools.names());
                speaker.write_all(&[begins, frames::empty_result()]).await?;
            }
            Some("user") => {
                speaker.conversation.say(&frame);
                if frame["shouldQuery"] == false {
                    speaker.write(&frames::empty_result()).await?;
                } else {
                    let begins = frames::turn_begins(speaker.tools.names());
                    speaker.write(&begins).await?;
                    while let After::Asked = speaker.answer().await? {}
                }
            }
            _ => speaker.control(&frame).await?,
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

    async fn write_all(&mut self, frames: &[Value]) -> io::Result<()> {
        for frame in frames {
            self.write(frame).await?;
        }
        Ok(())
    }

    /// Does what a control request asks for, or takes the answer to one of its own.
    async fn control(&mut self, frame: &Value) -> io::Result<()> {
        match frame["type"].as_str() {
            Some("control_request") => {
                if let Some(server) = frame["request"]["sdkMcpServers"][0].as_str() {
                    let greeting = self.tools.greet(server);
                    self.write(&greeting).await?;
                }
                let answer = self.conversation.control(frame);
                self.write(&answer).await?;
                if frame["request"]["message"]["method"] == "notifications/tools/list_changed" {
                    let list = self.tools.list();
                    self.write(&list).await?;
                }
                Ok(())
            }
            Some("control_response") => {
                let frames = self.tools.on_response(frame);
                self.write_all(&frames).await
            }
            _ => Ok(()),
        }
    }

    /// Asks the API what was said last, passes its answer on until it ends or is interrupted, and has its calls answered.
    async fn answer(&mut self) -> io::Result<After> {
        let mut frames = AnswerFrames::default();
        let mut streamed = match self.api.ask(&self.conversation.request(&self.tools.for_api())).await {
            Ok(streamed) => streamed,
            Err(failure) => return self.fail(&frames, &failure).await,
        };
        loop {
            tokio::select! {
                event = streamed.next() => match event {
                    Ok(Some(event)) => {
                        self.write_all(&frames.event(&event)).await?;
                        if let Some(call) = frames.take_call()
                            && let Some(request) = self.tools.call(&call)
                        {
                            self.write(&request).await?;
                        }
                    }
                    Ok(None) => break,
                    Err(failure) => return self.fail(&frames, &failure).await,
                },
                line = self.lines.next_line() => {
                    let Some(line) = line? else { return Ok(After::Over) };
                    let frame: Value = serde_json::from_slice(line)?;
                    if self.is_interrupted_by(&frame).await? {
                        return Ok(After::Over);
                    }
                }
            }
        }
        self.conversation.say(&frames.message());
        self.write(&frames::rate_limit(&streamed.limits)).await?;
        if frames.has_calls() {
            return self.take_results().await;
        }
        self.write(&frames.result()).await?;
        Ok(After::Over)
    }

    /// Waits for the results of all calls, and takes each into the conversation when it comes.
    async fn take_results(&mut self) -> io::Result<After> {
        let mut taken = Vec::new();
        loop {
            while let Some(result) = self.tools.next_result() {
                self.write(&frames::tool_results(std::slice::from_ref(&result))).await?;
                taken.push(result);
            }
            if !self.tools.is_waiting() {
                self.conversation.say(&frames::tool_results(&taken));
                return Ok(After::Asked);
            }
            let Some(frame) = self.next_frame().await? else { return Ok(After::Over) };
            if self.is_interrupted_by(&frame).await? {
                return Ok(After::Over);
            }
        }
    }

    /// Serves a frame that comes in the middle of a turn; `true` if it ended that.
    async fn is_interrupted_by(&mut self, frame: &Value) -> io::Result<bool> {
        self.control(frame).await?;
        let is_interrupt = frame["request"]["subtype"] == "interrupt";
        if is_interrupt {
            self.tools.give_up();
            self.write(&frames::interrupted()).await?;
        }
        Ok(is_interrupt)
    }

    async fn fail(&mut self, frames: &AnswerFrames, failure: &Failure) -> io::Result<After> {
        self.tools.give_up();
        self.write_all(&frames.failed(failure)).await?;
        Ok(After::Over)
    }
}
