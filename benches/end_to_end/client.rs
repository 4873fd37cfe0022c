//! A client of Couplet: a conversation over one connection.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::prompt::Prompt;
use super::support::statistics::Stopwatch;

/// How long a tool works, on either side: nobody answers a call the moment it comes.
pub const TOOL_WORKS: Duration = Duration::from_millis(20);

/// What it says.
pub const RESULT: &str = "22 degrees";

/// How long an answer may be silent.
const PATIENCE: Duration = Duration::from_secs(120);

/// A conversation over one connection.
pub struct Client {
    connection: BufReader<TcpStream>,
    prompt: Prompt,
    messages: Vec<Value>,
}

/// An answer that came to a good end.
struct Answer {
    /// Milliseconds to the first text in it, if it has any.
    first_text: Option<f64>,
    message: Value,
}

impl Client {
    /// Connects.
    pub fn connect(port: u16, prompt: &Prompt) -> Self {
        let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.set_nodelay(true).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { connection: BufReader::new(connection), prompt: prompt.clone(), messages: Vec::new() }
    }

    /// Asks a question; the milliseconds to the first text of the answer, or what came instead of one.
    pub fn try_ask(&mut self, question: &str) -> Result<f64, String> {
        self.messages.push(json!({"role": "user", "content": question}));
        self.turn()?.ok_or_else(|| "an answer without text".to_owned())
    }

    /// Asks a question that must be answered; the milliseconds to the first text.
    pub fn ask(&mut self, question: &str) -> f64 {
        self.try_ask(question).unwrap()
    }

    /// Asks a question that the model answers by one call; the milliseconds from the call's result to the first text.
    pub fn ask_for_a_call(&mut self, question: &str) -> f64 {
        self.messages.push(json!({"role": "user", "content": question}));
        assert_eq!(self.turn(), Ok(None), "a call, no text");
        let id = self.messages.last().unwrap()["tool_calls"][0]["id"].clone();
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": RESULT}));
        std::thread::sleep(TOOL_WORKS);
        self.turn().unwrap().unwrap()
    }

    /// Sends the conversation and reads what comes next in it; the milliseconds to its first text, if it has any.
    fn turn(&mut self) -> Result<Option<f64>, String> {
        let body = self.prompt.request(&self.messages).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let begun = Stopwatch::start();
        self.connection.get_mut().write_all(&request).map_err(|error| error.to_string())?;
        let answer = self.answer(begun)?;
        self.messages.push(answer.message);
        Ok(answer.first_text)
    }

    fn answer(&mut self, begun: Stopwatch) -> Result<Answer, String> {
        let status = self.line()?;
        if status.split(' ').nth(1) != Some("200") {
            return Err(status);
        }
        let (mut first_text, mut content, mut calls) = (None, String::new(), Vec::<Value>::new());
        loop {
            let line = self.line()?;
            let Some(data) = line.strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                break;
            }
            let chunk: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
            if !chunk["error"].is_null() {
                return Err(chunk["error"].to_string());
            }
            let delta = &chunk["choices"][0]["delta"];
            if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
                first_text.get_or_insert_with(|| begun.milliseconds());
                content.push_str(text);
            }
            for piece in delta["tool_calls"].as_array().into_iter().flatten() {
                if piece["id"].is_string() {
                    calls.push(piece.clone());
                } else if let Some(Value::String(arguments)) =
                    calls.last_mut().map(|call| &mut call["function"]["arguments"])
                {
                    arguments.push_str(piece["function"]["arguments"].as_str().unwrap_or_default());
                }
            }
        }
        // The rest of the chunked body: its end, and the empty line behind it.
        while self.line()? != "0" {}
        self.line()?;
        let mut message = json!({"role": "assistant", "content": content});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        Ok(Answer { first_text, message })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.connection.read_line(&mut line) {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
