//! The kernel holds the real CLI, also one that has its tools and reads files that are mentioned: all of Couplet's other locks
//! are open here, and the model's words are those of somebody who has got hold of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use couplet::claude::command_line::{CliProgram, CommandLine, Folders, chat_process};
use couplet::claude::credential::Credential;
use couplet::claude::features::CliFeatures;
use couplet::claude::process::Spawner;
use couplet::claude::prompt_cache::CacheTtl;
use couplet::claude::sandbox::{Configuration, MorePath, SandboxSettings, Support};
use couplet::upstream::Upstream;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::TOKEN;
use crate::support::real_cli::real_cli;

/// What the file holds that nobody may read.
const SECRET: &str = "canary-of-the-sandbox-5d1f";

/// How long an answer may take, with everything that the CLI does for it.
const PATIENCE: Duration = Duration::from_secs(40);

/// A machine with a file on it, and an upstream.
struct Stage {
    folder: TempDir,
    upstream: Upstream,
    cli: PathBuf,
}

/// How a process is confined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Confined {
    No,
    Yes,
    /// It may write temporary files.
    WithTemporaryFiles,
}

impl Stage {
    async fn new(cli: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["home", "config", "work", "others", &own_temporary()] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("others/canary.txt"), format!("{SECRET}\n")).expect("a file");
        Self { folder, upstream: Upstream::start_on_loopback().await.expect("an upstream"), cli }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A process that has all tools, is allowed them, and takes what is mentioned for files.
    fn command_line(&self, confined: Confined) -> CommandLine {
        let passed: Vec<_> = std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect();
        let mut line = chat_process(
            &CliProgram::Installed(self.cli.clone()),
            CliFeatures { restricted: false, permission_prompts: false },
            &Folders { home: self.path("home"), config: self.path("config"), work: self.path("work") },
            CacheTtl::OneHour,
            Some(&self.upstream.base_url()),
            &passed,
        );
        let arguments = [
            "-p",
            "--input-format",
            "stream-json",
            "--output-format",
            "stream-json",
            "--verbose",
            "--setting-sources",
            "",
            "--strict-mcp-config",
            "--no-session-persistence",
            "--permission-mode",
            "dontAsk",
            "--allowedTools",
            "Read",
            "Bash",
            "Write",
            "Edit",
            "Glob",
            "Grep",
            "WebFetch",
            "Task",
        ];
        line.arguments = arguments.map(Into::into).into();
        let locks = ["CLAUDE_CODE_DISABLE_ATTACHMENTS", "CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS"];
        line.environment.retain(|(name, _)| locks.iter().all(|lock| name != lock));
        let temporary = self.path("tmp");
        let more = vec![MorePath { path: temporary.clone(), is_writable: true }];
        match confined {
            Confined::No => line,
            Confined::Yes => line.confined(&SandboxSettings::auto(), &temporary, Configuration::Couplets),
            Confined::WithTemporaryFiles => {
                let settings = SandboxSettings { more, ..SandboxSettings::auto() };
                line.confined(&settings, &temporary, Configuration::Couplets)
            }
        }
    }

    /// Asks, and waits until `is_over`, by all that the model was sent.
    async fn ask(&self, confined: Confined, prompt: &str, is_over: impl Fn(&str) -> bool) -> String {
        let spawner = Spawner::start(env!("CARGO_BIN_EXE_couplet").into()).expect("a thread");
        let line = self.command_line(confined);
        let mut process =
            spawner.spawn(&line, &Credential::OauthToken(TOKEN.into())).await.expect("a process");
        let frame = json!({"type": "user", "message": {"role": "user", "content": prompt}});
        process.write(format!("{frame}\n").as_bytes()).await.expect("it reads");
        let answered = async {
            while let Some(line) = process.next_line().await.expect("a line") {
                if serde_json::from_slice::<Value>(line).is_ok_and(|frame| frame["type"] == "result") {
                    return;
                }
            }
            panic!("it ended: {}", process.stderr_tail().await);
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time");
        let begun = Instant::now();
        while !is_over(&self.sent()) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process.kill_and_wait().await;
        self.sent()
    }

    /// All that the model was sent.
    fn sent(&self) -> String {
        self.upstream.log().requests().iter().map(|request| request.json().to_string()).collect()
    }
}

fn own_temporary() -> String {
    format!("tmp/claude-{}", rustix::process::getuid().as_raw())
}

/// The call of a tool, for the scripted model to make; `%` stands for the folder with the file.
fn call(tool: &str, input: &Value) -> String {
    format!("[[tool {tool} {input}]]")
}

fn aimed(prompt: &str, folder: &Path) -> String {
    prompt.replace('%', folder.to_str().expect("UTF-8"))
}

/// Whether the model has read the file, or the attempt left a file behind.
fn has_succeeded(stage: &Stage, sent: &str) -> bool {
    sent.contains(SECRET) || stage.path("others/new").exists()
}

#[rstest]
#[case::read(call("Read", &json!({"file_path": "%/canary.txt"})))]
#[case::bash(call("Bash", &json!({"command": "cat %/canary.txt; touch %/new"})))]
#[case::grep(call("Grep", &json!({"pattern": "canary-of", "path": "%", "output_mode": "content"})))]
#[case::write(call("Write", &json!({"file_path": "%/new", "content": "x"})))]
#[case::agent(call("Task", &json!({
    "description": "d", "subagent_type": "general-purpose", "prompt": call("Read", &json!({"file_path": "%/canary.txt"})),
})))]
#[case::mention("@%/canary.txt [[words 1]]".to_owned())]
#[tokio::test]
async fn whatever_a_cli_with_tools_is_told_to_do_it_cannot(#[case] prompt: String) {
    let Some(cli) = real_cli() else { return };
    if Support::of_this_kernel().confines().is_empty() {
        eprintln!("left out: nothing can be confined here");
        return;
    }
    let free = Stage::new(cli.clone()).await;
    let prompt_at = |stage: &Stage| aimed(&prompt, &stage.path("others"));
    let sent = free.ask(Confined::No, &prompt_at(&free), |sent| has_succeeded(&free, sent)).await;
    assert!(has_succeeded(&free, &sent), "unconfined it must succeed, or this test sees nothing: {sent}");

    for confined in [Confined::Yes, Confined::WithTemporaryFiles] {
        let stage = Stage::new(cli.clone()).await;
        // A tool that was refused tells the model so.
        let is_over = |sent: &str| {
            !prompt.starts_with("[[tool") || sent.contains("EACCES") || sent.contains("is_error\":true")
        };
        let sent = stage.ask(confined, &prompt_at(&stage), is_over).await;
        assert!(is_over(&sent) && !has_succeeded(&stage, &sent), "{sent}");
        if confined == Confined::Yes {
            let left = fs::read_dir(stage.path(&own_temporary())).expect("a folder").count();
            assert_eq!(left, 0, "temporary files are left");
        }
    }
}
