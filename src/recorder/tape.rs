//! A process, and every line that goes into it and comes out of it.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::scrubbing::{numbered, scrubbed};
use crate::claude::frame_in::FrameIn;
use crate::claude::process::CliProcess;
use crate::claude::tool_server::{Reply, ToolServer};
use crate::turn::{ResultBlock, Tool};

/// How long a dialogue may be silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose dialogue is recorded. What it asks of the server of the tools is answered while it is read.
pub(super) struct Tape {
    process: CliProcess,
    tools: ToolServer,
    lines: Vec<Value>,
}

impl Tape {
    pub(super) fn new(process: CliProcess, tools: &[Tool]) -> Self {
        Self { process, tools: ToolServer::new(tools.to_vec()), lines: Vec::new() }
    }

    pub(super) async fn write(&mut self, frame: &FrameIn<'_>) -> io::Result<()> {
        let mut line = Vec::new();
        frame.write_to(&mut line)?;
        self.write_value(serde_json::from_slice(&line)?).await
    }

    pub(super) async fn write_value(&mut self, frame: Value) -> io::Result<()> {
        let line = format!("{frame}\n");
        self.lines.push(json!({"dir": "in", "frame": frame}));
        self.process.write(line.as_bytes()).await
    }

    /// Reads up to a frame, or an event, of that type.
    pub(super) async fn read_until(&mut self, kind: &str) -> io::Result<()> {
        while !self.read(kind).await? {}
        Ok(())
    }

    /// Reads until the CLI knows the tools.
    pub(super) async fn read_until_ready(&mut self) -> io::Result<()> {
        while !self.tools.is_ready() {
            self.read("tools/list").await?;
        }
        Ok(())
    }

    /// Reads until the CLI has asked for all calls of the message that ended last.
    pub(super) async fn read_calls(&mut self) -> io::Result<Vec<String>> {
        let started = |line: &Value| line["frame"]["event"]["type"] == "message_start";
        let message = self.lines.iter().rposition(started).unwrap_or(0);
        let calls = self.lines[message..].iter().filter_map(|line| {
            let block = &line["frame"]["event"]["content_block"];
            block["id"].as_str().filter(|_| block["type"] == "tool_use")
        });
        let calls: Vec<String> = calls.map(ToOwned::to_owned).collect();
        while !calls.iter().all(|call| self.tools.waiting(call).is_some()) {
            self.read("tools/call").await?;
        }
        Ok(calls)
    }

    /// Answers a call that waits.
    pub(super) async fn write_result(&mut self, call: &str, result: &[ResultBlock]) -> io::Result<()> {
        let waiting = self.tools.take(call).ok_or_else(|| io::Error::other("the call does not wait"))?;
        self.write(&FrameIn::call_result(&waiting, result, false)).await
    }

    /// Ends the process and gives what was said.
    pub(super) async fn end(self) -> Vec<Value> {
        self.process.end().await;
        numbered(self.lines)
    }

    /// Reads a frame; `true` if it, or its event, is of that type.
    async fn read(&mut self, kind: &str) -> io::Result<bool> {
        let line = tokio::time::timeout(PATIENCE, self.process.next_line())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no {kind} came")))??
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ended before a {kind}"))
            })?;
        let frame: Value = serde_json::from_slice(line)?;
        let found = frame["type"] == kind || frame["event"]["type"] == kind;
        self.lines.push(json!({"dir": "out", "frame": scrubbed(frame.clone())}));
        if frame["type"] == "control_request" {
            self.serve(&frame).await?;
        }
        Ok(found)
    }

    async fn serve(&mut self, frame: &Value) -> io::Result<()> {
        let request_id = frame["request_id"].as_str().unwrap_or_default();
        match self.tools.on(request_id, &frame["request"]["message"].to_string()) {
            Ok(Reply::Now(answer)) => self.write(&FrameIn::mcp_answer(request_id, &answer)).await,
            Ok(Reply::Later) => Ok(()),
            Err(_) => self.write(&FrameIn::decline(request_id)).await,
        }
    }
}
