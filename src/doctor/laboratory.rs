//! Where the CLI is examined.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::Finding;
use crate::claude::account::AccountSettings;
use crate::claude::answer::{AnswerEnd, AnswerEvent};
use crate::claude::command_line::CliProgram;
use crate::claude::conversation::Deadlines;
use crate::claude::credential::Credential;
use crate::claude::failure::TurnFailure;
use crate::claude::installed::Probe;
use crate::claude::kept::KeepLimits;
use crate::claude::said::Said;
use crate::claude::sandbox::SandboxSettings;
use crate::claude::supply::{ProcessSettings, ProcessSupply};
use crate::claude::warm::WarmLimits;
use crate::claude::{Claude, ClaudeSettings};
use crate::scope::Scope;
use crate::turn::{AssistantBlock, Message, Parameters, Turn, UserBlock};
use crate::upstream::{Asked, Received, Upstream};

/// The token the CLI is given; no account has it.
pub const TOKEN: &str = "sk-ant-oat01-made-up-by-couplet-doctor";

/// The model asked, unless a check asks another: the one the CLI would take by itself.
const MODEL: &str = "default";

/// Longer than any check should take, in place of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// The CLI, the scripted API it takes for Anthropic's, and folders of its own.
pub struct Laboratory {
    settings: ProcessSettings,
    claude: Claude,
    upstream: Upstream,
    folder: TempDir,
}

/// A turn that was tried.
pub struct Trial {
    /// The text of the answer, in the pieces it came in.
    pub texts: Vec<String>,
    /// The thinking.
    pub reasoning: String,
    /// What the model said, as a later turn holds it; `None` where it said nothing.
    pub said: Option<Vec<AssistantBlock>>,
    /// How it ended.
    pub end: Result<AnswerEnd, TurnFailure>,
    /// What the API was asked for it.
    pub requests: Vec<Received>,
}

impl Laboratory {
    /// Makes it.
    ///
    /// # Errors
    /// When a folder cannot be made or no port is to be had.
    pub async fn open(cli: PathBuf, launcher: PathBuf, sandbox: SandboxSettings) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let upstream = Upstream::start_on_loopback().await?;
        let settings = ProcessSettings {
            program: CliProgram::Installed(cli),
            launcher,
            credential: Credential::OauthToken(TOKEN.into()),
            state_dir: folder.path().join("state"),
            base_url: Some(upstream.base_url()),
            passed_through: std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect(),
            sandbox,
            version: None,
        };
        let claude = Claude::new(self::settings(&settings, 0))?;
        Ok(Self { settings, claude, upstream, folder })
    }

    /// The CLI's version.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn version(&self) -> io::Result<String> {
        self.probe().version().await
    }

    /// Asks the CLI about itself.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe::new(&self.settings)
    }

    /// The model behind the CLI.
    #[must_use]
    pub fn claude(&self) -> &Claude {
        &self.claude
    }

    /// The scripted API.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A folder to put things into.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Processes of its own, beside those of [`Laboratory::claude`].
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn processes(&self) -> io::Result<ProcessSupply> {
        ProcessSupply::new(self.settings.clone())
    }

    /// The model behind the CLI once more, with so many processes that wait before they are needed.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn with_waiting(&self, number: usize) -> io::Result<Claude> {
        let claude = Claude::new(settings(&self.settings, number))?;
        claude.keep_warm();
        Ok(claude)
    }

    /// Asks a turn, reads its answer to the end, and waits a moment for requests that the CLI might add.
    pub async fn ask(&self, turn: Turn) -> Trial {
        self.ask_of(&self.claude, turn).await
    }

    /// The same, in a process of `claude`.
    pub async fn ask_of(&self, claude: &Claude, turn: Turn) -> Trial {
        let before = self.upstream.log().model_count();
        let mut answer = claude.answer(Scope::anyone(), turn);
        let mut trial = Trial {
            texts: Vec::new(),
            reasoning: String::new(),
            said: None,
            end: Err(TurnFailure::Busy),
            requests: Vec::new(),
        };
        let mut said = Said::default();
        trial.end = loop {
            match answer.next().await {
                Ok(AnswerEvent::Started { .. } | AnswerEvent::Signature(_)) => {}
                Ok(AnswerEvent::Text(text)) => {
                    said.text(&text);
                    trial.texts.push(text);
                }
                Ok(AnswerEvent::Reasoning(text)) => trial.reasoning.push_str(&text),
                Ok(AnswerEvent::ToolCall { id, name }) => said.call(&id, &name),
                Ok(AnswerEvent::ToolArguments(json)) => said.arguments(&json),
                Ok(AnswerEvent::Ended(end)) => break Ok(end),
                Err(failure) => break Err(failure),
            }
        };
        trial.said = said.into_blocks();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A process that was killed holds its connection a while longer on a busy machine.
        for request in self.requests_since(before) {
            let _ = self.upstream.log().wait_until_over(request.index, Duration::from_secs(2)).await;
        }
        trial.requests = self.requests_since(before);
        trial
    }

    /// What the API was asked after the first `before` requests.
    fn requests_since(&self, before: usize) -> Vec<Received> {
        let requests = self.upstream.log().model_requests();
        let new = self.upstream.log().model_count() - before;
        requests.into_iter().rev().take(new).rev().collect()
    }

    /// Ends all processes.
    pub async fn close(self) {
        self.claude.shut_down(Duration::from_secs(2)).await;
    }
}

fn settings(process: &ProcessSettings, waiting: usize) -> ClaudeSettings {
    ClaudeSettings {
        process: process.clone(),
        deadlines: Deadlines { first_frame: PATIENCE, idle: PATIENCE, total: PATIENCE * 2 },
        max_concurrency: 2,
        queue_size: 8,
        queue_timeout: PATIENCE,
        keep: KeepLimits { live: PATIENCE, parked: PATIENCE, processes: 2 },
        warm: WarmLimits { min: waiting, max: waiting, idle: PATIENCE, max_age: PATIENCE * 10 },
        memory_budget: u64::MAX,
        account: AccountSettings::default(),
    }
}

impl Trial {
    /// The one request there should be.
    ///
    /// # Errors
    /// When there was none, or more than one.
    pub fn request(&self) -> Result<Asked, String> {
        match &self.requests[..] {
            [request] => Ok(request.asked()),
            requests => Err(format!("the API was asked {} times instead of once", requests.len())),
        }
    }

    /// Whether the model was not made to answer a second time: it was asked once, or a second request of the CLI's own was
    /// cut off before its answer. On a busy machine the CLI may be faster than its end.
    ///
    /// # Errors
    /// When more was asked.
    pub fn asked_once(&self) -> Finding {
        let added = self.requests.get(1..).unwrap_or_default();
        match added.iter().filter(|request| request.gone().is_none()).count() {
            0 if self.requests.is_empty() => Err("the API was not asked".to_owned()),
            0 if added.is_empty() => Ok("asked once".to_owned()),
            0 => Ok("a second request was cut off".to_owned()),
            answered => Err(format!("{answered} more requests were answered")),
        }
    }

    /// The end of the answer.
    ///
    /// # Errors
    /// When it failed.
    pub fn end(&self) -> Result<&AnswerEnd, String> {
        self.end.as_ref().map_err(|failure| format!("the turn failed: {failure}"))
    }
}

/// The turn after `turn`, whose answer was `trial`, in the same conversation.
///
/// # Errors
/// When the answer is nothing that a client could send back.
pub fn next_turn(turn: &Turn, trial: &Trial, question: Vec<UserBlock>) -> Result<Turn, String> {
    trial.end()?;
    let said = trial.said.clone().ok_or("the model said nothing")?;
    let mut next = turn.clone();
    next.history.extend([Message::User(turn.question.clone()), Message::Assistant(said)]);
    next.question = question;
    Ok(next)
}

/// The session that a request belongs to: each process of the CLI has its own.
pub fn session(asked: &Asked) -> String {
    asked.field("metadata.user_id").map(Value::to_string).unwrap_or_default()
}

/// A question without history.
pub fn question(text: &str) -> Turn {
    Turn {
        model: MODEL.to_owned(),
        system: String::new(),
        history: Vec::new(),
        question: vec![UserBlock::Text(text.to_owned())],
        tools: Vec::new(),
        parameters: Parameters::default(),
    }
}

/// The texts of the user's and the assistant's turns. Releases up to 2.1.240 put their environment text into blocks of its
/// own before the first user text; those are left out.
pub fn turn_texts(asked: &Asked) -> Vec<(String, String)> {
    let text_of = |content: &Value| -> String {
        let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts = blocks.iter().filter_map(|block| block["text"].as_str());
        let said = texts.filter(|text| !text.starts_with("<system-reminder>\n"));
        content.as_str().map_or_else(|| said.collect(), ToOwned::to_owned)
    };
    let turn =
        |turn: &Value| (turn["role"].as_str().unwrap_or_default().to_owned(), text_of(&turn["content"]));
    asked.turns().map(turn).collect()
}

/// A user turn of the history.
pub fn user(text: &str) -> Message {
    Message::User(vec![UserBlock::Text(text.to_owned())])
}

/// An assistant turn of the history.
pub fn assistant(text: &str) -> Message {
    Message::Assistant(vec![AssistantBlock::Text(text.to_owned())])
}

/// `Ok` with what was seen if it is what was expected.
pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> Finding {
    if seen == expected {
        Ok(format!("{seen:?}"))
    } else {
        Err(format!("{what}: {seen:?} instead of {expected:?}"))
    }
}
