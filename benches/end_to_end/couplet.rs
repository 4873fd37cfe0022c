//! A running Couplet and a client of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bare_cli::path;
use super::{MODEL, TOKEN};

/// A running Couplet, ended when dropped.
pub struct Couplet {
    child: Child,
    port: u16,
}

impl Couplet {
    /// Starts it; at most so many processes wait with a conversation.
    pub fn start(cli: &Path, state: &Path, base_url: &str, kept: usize) -> Self {
        Self::start_with(cli, state, base_url, kept, &[])
    }

    /// Starts it with further settings.
    pub fn start_with(cli: &Path, state: &Path, base_url: &str, kept: usize, more: &[(&str, &str)]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .env_clear()
            .envs(path())
            .env("PORT", port.to_string())
            .env("CLAUDE_CLI_PATH", cli)
            .env("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)
            .env("ANTHROPIC_BASE_URL", base_url)
            .env("COUPLET_STATE_DIR", state.join(format!("couplet-{kept}")))
            .env("COUPLET_MAX_KEPT", kept.to_string())
            .env("COUPLET_LOG", "warn")
            .envs(more.iter().copied())
            .spawn()
            .unwrap();
        let couplet = Self { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        couplet
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client with a conversation of its own.
    pub fn client(&self, tools: &Value) -> Client {
        let connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_nodelay(true).unwrap();
        Client { connection: BufReader::new(connection), messages: Vec::new(), tools: tools.clone() }
    }
}

impl Drop for Couplet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A conversation over one connection.
pub struct Client {
    connection: BufReader<TcpStream>,
    messages: Vec<Value>,
    tools: Value,
}

impl Client {
    /// Asks a question; the time to the first text of the answer.
    pub fn ask(&mut self, question: &str) -> Duration {
        self.messages.push(json!({"role": "user", "content": question}));
        self.turn().unwrap()
    }

    /// Asks a question that the model answers by one call; the time from the call's result to the first text.
    pub fn ask_for_a_call(&mut self, question: &str) -> Duration {
        self.messages.push(json!({"role": "user", "content": question}));
        assert!(self.turn().is_none(), "a call, no text");
        let id = self.messages.last().unwrap()["tool_calls"][0]["id"].clone();
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": "22 degrees"}));
        self.turn().unwrap()
    }

    /// Sends the conversation and reads what comes next in it; the time to its first text, if it has any.
    fn turn(&mut self) -> Option<Duration> {
        let mut body = json!({"model": MODEL, "stream": true, "messages": self.messages});
        if self.tools.is_array() {
            body["tools"] = self.tools.clone();
        }
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let begun = Instant::now();
        self.connection.get_mut().write_all(&request).unwrap();
        let (mut first, mut content, mut calls) = (None, String::new(), Vec::<Value>::new());
        loop {
            let mut line = String::new();
            assert!(self.connection.read_line(&mut line).unwrap() > 0, "the answer ended early");
            let Some(data) = line.trim_end().strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                break;
            }
            let chunk: Value = serde_json::from_str(data).unwrap();
            let delta = &chunk["choices"][0]["delta"];
            if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
                first.get_or_insert_with(|| begun.elapsed());
                content.push_str(text);
            }
            for piece in delta["tool_calls"].as_array().into_iter().flatten() {
                if piece["id"].is_string() {
                    calls.push(piece.clone());
                } else if let Some(Value::String(arguments)) =
                    calls.last_mut().map(|call| &mut call["function"]["arguments"])
                {
                    arguments.push_str(piece["function"]["arguments"].as_str().unwrap());
                }
            }
        }
        // The rest of the chunked body: its end.
        let mut line = String::new();
        while line.trim_end() != "0" {
            line.clear();
            assert!(self.connection.read_line(&mut line).unwrap() > 0, "the body ended early");
        }
        self.connection.read_line(&mut line).unwrap();
        let mut message = json!({"role": "assistant", "content": content});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        self.messages.push(message);
        first
    }
}
