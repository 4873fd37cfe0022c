//! What Couplet does not do: a conversation goes on from a transcript, hand-written, that the CLI resumes.
//!
//! The rows of a transcript are not documented; these are the pinned release's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use couplet::claude::catalog::Catalog;
use couplet::claude::command_line::{CliProgram, CommandLine, Folders, chat_process};
use couplet::claude::conversation::Conversation;
use couplet::claude::credential::Credential;
use couplet::claude::features::CliFeatures;
use couplet::claude::frame_in;
use couplet::claude::frame_out::Frame;
use couplet::claude::process::Spawner;
use couplet::claude::prompt_cache::CacheTtl;
use couplet::claude::session::Session;
use couplet::claude::warm::profile::Prepared;
use couplet::turn::{Parameters, Turn, UserBlock};
use couplet::upstream::Upstream;
use serde_json::{Value, json};

use super::app::TOKEN;
use super::real_cli::pinned_version;

/// Asks in processes that resume from transcripts.
pub struct Resumer {
    line: CommandLine,
    spawner: Spawner,
    catalog: Catalog,
    /// What the CLI tells the model of its surroundings, in the form in which transcripts hold it.
    attachments: Vec<Value>,
    folder: tempfile::TempDir,
}

impl Resumer {
    /// With that CLI, against that upstream.
    pub async fn new(cli: &Path, upstream: &Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [home, config, work] = ["home", "config", "work"].map(|name| folder.path().join(name));
        for folder in [&home, &config, &work] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let passed: Vec<_> = std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect();
        let line = chat_process(
            &CliProgram::Installed(cli.to_owned()),
            CliFeatures { restricted: true, permission_prompts: true },
            &Folders { home, config, work },
            CacheTtl::OneHour,
            Some(&upstream.base_url()),
            &passed,
        );
        let spawner = Spawner::start(env!("CARGO_BIN_EXE_couplet").into()).expect("a thread");
        let mut resumer =
            Self { line, spawner, catalog: Catalog::default(), attachments: Vec::new(), folder };
        resumer.attachments = resumer.written_attachments().await;
        resumer
    }

    /// Those of the CLI's own transcript of another conversation.
    async fn written_attachments(&self) -> Vec<Value> {
        let mut line = self.line.clone();
        line.arguments.retain(|argument| argument != "--no-session-persistence");
        let upstream = Upstream::start_on_loopback().await.expect("an upstream");
        let base_url = ("ANTHROPIC_BASE_URL".into(), upstream.base_url().into());
        line.environment.push(base_url);
        let any = Turn {
            model: "claude-sonnet-5-5".to_owned(),
            system: String::new(),
            history: Vec::new(),
            question: vec![UserBlock::Text("hi".to_owned())],
            tools: Vec::new(),
            parameters: Parameters::default(),
        };
        let mut session = self.begin(&line, &any).await;
        while !matches!(session.next().await.expect("a frame"), Frame::Result(_)) {}
        session.into_process().end().await;
        let projects = self.folder.path().join("config/projects");
        let mut transcripts =
            walk(&projects).into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
        let transcript = std::fs::read_to_string(transcripts.next().expect("a transcript")).expect("a text");
        let rows = transcript.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        let attachments =
            rows.filter(|row| row["type"] == "attachment").map(|mut row| row["attachment"].take());
        let wanted = ["environment", "model", "session_context", "date"];
        attachments.filter(|attachment| wanted.iter().any(|kind| attachment["type"] == *kind)).collect()
    }

    /// Has a turn asked, in a process of its own, and no more.
    pub async fn ask(&self, turn: Turn) {
        let mut line = self.line.clone();
        if !turn.history.is_empty() {
            let path = self.folder.path().join(format!("{}.jsonl", turn.history.len()));
            std::fs::write(&path, self.transcript(&turn)).expect("written");
            line.arguments.extend(["--resume".into(), path.into()]);
        }
        let mut session = self.begin(&line, &Turn { history: Vec::new(), ..turn }).await;
        while !matches!(session.next().await.expect("a frame"), Frame::Event(_)) {}
        // Left to itself it would take the end of its input for the result of a call, and ask once more.
        session.into_process().kill_and_wait().await;
    }

    /// One row for each message, and the attachments behind the first.
    fn transcript(&self, turn: &Turn) -> String {
        let mut rows = String::new();
        let mut parent = Value::Null;
        let session = "00000000-0000-4000-8000-000000000000";
        let mut write = |row: Value| {
            let number = rows.lines().count() + 1;
            let id = json!(format!("00000000-0000-4000-8000-{number:012}"));
            let mut whole = json!({"parentUuid": parent, "uuid": id, "sessionId": session, "isSidechain": false,
                "userType": "external", "cwd": self.line.work, "version": pinned_version(), "gitBranch": "",
                "timestamp": "2026-01-01T00:00:00.000Z"});
            whole
                .as_object_mut()
                .into_iter()
                .for_each(|whole| whole.extend(row.as_object().cloned().unwrap_or_default()));
            writeln!(rows, "{whole}").expect("written");
            parent = id;
        };
        for (number, frame) in frame_in::history(turn, None).iter().enumerate() {
            let mut frame = serde_json::to_value(frame).expect("JSON");
            let (kind, mut message) = (frame["type"].take(), frame["message"].take());
            if kind == "assistant" {
                message["type"] = json!("message");
                message["model"] = json!(turn.model);
                message["usage"] = json!({"input_tokens": 1, "output_tokens": 1});
            }
            write(json!({"type": kind, "message": message}));
            if number == 0 {
                for attachment in &self.attachments {
                    write(json!({"type": "attachment", "attachment": attachment}));
                }
            }
        }
        rows
    }

    async fn begin(&self, line: &CommandLine, turn: &Turn) -> Session {
        let process =
            self.spawner.spawn(line, &Credential::OauthToken(TOKEN.into())).await.expect("a process");
        let mut session = Session::new(process);
        Conversation::begin(&mut session, &Prepared::Not, turn, None, &self.catalog).await.expect("asked");
        session
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
