//! The host's side of the conversation: what comes in on stdin, and frames out.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What comes in.
pub enum Input {
    /// A frame.
    Frame(Value),
    /// The end of stdin.
    End,
}

/// A conversation with the host.
pub struct Talk {
    input: Receiver<Input>,
    is_deaf: Arc<AtomicBool>,
}

impl Talk {
    /// Reads stdin from now on, and keeps a copy of it in `copy`.
    pub fn start(mut copy: File) -> Self {
        let (sender, input) = channel();
        let is_deaf = Arc::new(AtomicBool::new(false));
        let listens = Arc::clone(&is_deaf);
        thread::spawn(move || {
            // Whatever goes wrong with reading looks like the end.
            let _ = read_frames(&mut copy, &sender, &listens);
            let _ = sender.send(Input::End);
        });
        Self { input, is_deaf }
    }

    /// Reads no more than one line from now on.
    pub fn stop_reading(&self) {
        self.is_deaf.store(true, Ordering::Release);
    }

    /// What came in next; `None` when nothing did within that time.
    pub fn next(&self, time: Duration) -> Option<Input> {
        match self.input.recv_timeout(time) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            // The end was handed out before; there is nothing else to wait for.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(time);
                None
            }
        }
    }
}

fn read_frames(copy: &mut File, frames: &Sender<Input>, is_deaf: &AtomicBool) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        while is_deaf.load(Ordering::Acquire) {
            thread::park();
        }
        let mut line = Vec::new();
        if stdin.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        copy.write_all(&line)?;
        let frame = serde_json::from_slice(&line)?;
        if frames.send(Input::Frame(frame)).is_err() {
            return Ok(());
        }
    }
}

/// Writes bytes to stdout, at once.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a frame as a line.
pub fn write_frame(frame: &Value) -> io::Result<()> {
    write(format!("{frame}\n").as_bytes())
}

/// Answers a control request: with a body, or an error.
pub fn answer_control(request: &Value, answer: Result<Value, &str>) -> io::Result<()> {
    let id = &request["request_id"];
    let response = match answer {
        Ok(body) => json!({"subtype": "success", "request_id": id, "response": body}),
        Err(error) => json!({"subtype": "error", "request_id": id, "error": error}),
    };
    write_frame(&json!({"type": "control_response", "response": response}))
}

/// The texts in the blocks of a user or assistant frame.
pub fn texts_of(frame: &Value) -> Vec<String> {
    match &frame["message"]["content"] {
        Value::String(text) => vec![text.clone()],
        blocks => {
            let blocks = blocks.as_array().into_iter().flatten();
            blocks.filter_map(|block| Some(block["text"].as_str()?.to_owned())).collect()
        }
    }
}

/// How long until `end`.
pub fn until(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
