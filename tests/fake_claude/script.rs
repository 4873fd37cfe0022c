//! What a fake CLI is told to do. The tests write it, the fake CLI reads it: both compile this file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the base URL of a scripted CLI begins with; the path of the script follows.
pub const SCHEME: &str = "http://script.invalid";

/// What a process does from its start to its end. The empty one behaves well and answers every question.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Before anything is read.
    pub at_start: Vec<Step>,
    /// Before a blank question is answered.
    pub at_blank: Vec<Step>,
    /// What becomes of control requests, by their subtype. Those that are not here succeed.
    pub controls: BTreeMap<String, OnControl>,
    /// Whether an interrupt is neither answered nor followed.
    pub ignores_interrupt: bool,
    /// Whether it lives on when its stdin ends.
    pub ignores_end_of_input: bool,
    /// What is done as a command, by its arguments (`auth status`).
    pub commands: BTreeMap<String, Vec<Step>>,
    /// Answers to questions: the first whose `asked` is in the question's text. Read anew for each question.
    pub plays: Vec<Play>,
}

/// How questions are answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Play {
    /// A part of the question's text; the empty text is part of all.
    pub asked: String,
    /// What is done, in order. An interrupt is heeded before each step and in those that wait.
    pub steps: Vec<Step>,
}

/// What becomes of a control request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum OnControl {
    /// It is never answered.
    Ignore,
    /// It is answered with this error.
    Decline(String),
    /// Steps are done, then it succeeds.
    After(Vec<Step>),
}

/// One thing that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// Streams this text, in one piece, as a whole and successful answer.
    Answer(String),
    /// Thinks aloud a [`Recital`] of all that it holds, in JSON, and answers with this text.
    Recite(String),
    /// Does the steps where the file is not there yet, and makes it: of all processes only one does them.
    Once {
        /// The file.
        file: PathBuf,
        /// The steps.
        steps: Vec<Step>,
    },
    /// Reads nothing any more.
    StopReading,
    /// Writes these frames.
    Frames(Vec<Value>),
    /// Writes the first `frames` frames that followed the last question of a recorded dialogue and, where `half`, the
    /// first half of the next.
    Replay {
        /// The recording.
        file: PathBuf,
        /// How many.
        frames: usize,
        /// Whether half a line follows.
        half: bool,
    },
    /// Writes these bytes as they are.
    Bytes(Vec<u8>),
    /// Writes what a file holds, as it is.
    BytesOf(PathBuf),
    /// Streams pieces of text, each with its number in eight digits at the front, of `size` bytes.
    Texts {
        /// How many.
        count: usize,
        /// How long each is.
        size: usize,
    },
    /// Does the steps over and over.
    Repeat {
        /// How often.
        times: usize,
        /// The steps.
        steps: Vec<Step>,
    },
    /// Sends a control request with this body and waits for the answer.
    Ask(Value),
    /// Waits.
    Sleep {
        /// For so long.
        milliseconds: u64,
    },
    /// Waits until a file is there.
    AwaitFile(PathBuf),
    /// Makes a file that holds this process's id, complete as soon as it is there.
    MakeFile(PathBuf),
    /// Waits for the end of the world, which is two minutes away: no process outlives its test for long.
    Hang,
    /// Ends with this exit status.
    Exit(i32),
    /// Dies of SIGKILL.
    Die,
    /// Dies of SIGTERM.
    Terminate,
    /// Writes `bytes` bytes to stdout in lines of the length `line`; 0 stands for no line ends at all.
    FloodStdout {
        /// How many in all.
        bytes: usize,
        /// How many before a line end.
        line: usize,
    },
    /// Writes so many bytes to stderr.
    FloodStderr(usize),
    /// Writes this line to stderr.
    Complain(String),
    /// Closes stdout, and lives on.
    CloseStdout,
    /// Starts a process that sleeps, in the same process group.
    StartChild {
        /// Whether it holds stdout and stderr open.
        keeps_output: bool,
    },
}

/// What a process holds: what a model would be sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recital {
    /// Its id.
    pub process_id: u32,
    /// The system prompt it was given.
    pub system: String,
    /// The names of the tools it was given.
    pub tools: Vec<String>,
    /// What was said, the question included: who, and the texts of the blocks.
    pub said: Vec<(String, Vec<String>)>,
}

/// What a process tells of itself, in `<process id>.json` beside the script. What it reads goes to
/// `<process id>.stdin`, word for word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Its id.
    pub process_id: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// What it read from the descriptor that `CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR` names.
    pub credential: Option<String>,
}
