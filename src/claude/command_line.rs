//! The CLI's command line and environment, as a pure function.
//!
//! Each switch is there for a reason that was measured on the real CLI; `tests/it/real_cli` proves those that matter.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::features::CliFeatures;
use super::prompt_cache::CacheTtl;
use super::sandbox::{self, Configuration, Rules, SandboxSettings};

/// How often the CLI repeats a failed request by itself. Its default of 10 attempts is far too long for an HTTP client,
/// and an answer that has begun cannot be repeated; one repeat is cheaper than a new process.
const MAX_RETRIES: &str = "1";

/// Variables handed through from Couplet's own environment, where they are set.
pub const PASSED_THROUGH: [&str; 8] =
    ["PATH", "TZ", "TMPDIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "NODE_EXTRA_CA_CERTS"];

/// The folders a CLI process lives in.
#[derive(Debug, Clone)]
pub struct Folders {
    /// `HOME`: private, so that nothing of the owner's own is found there.
    pub home: PathBuf,
    /// `CLAUDE_CONFIG_DIR`: one per credential; a fresh one for every process doubles its start-up time.
    pub config: PathBuf,
    /// The working directory: the same neutral, empty one for every process, because its name reaches the model.
    pub work: PathBuf,
}

/// What is started as the CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CliProgram {
    /// The real one.
    Installed(PathBuf),
    /// A program with a subcommand that speaks the CLI's frames.
    StandIn {
        /// The program: this one.
        path: PathBuf,
        /// The subcommand.
        subcommand: &'static str,
    },
}

impl CliProgram {
    /// The program's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Installed(path) | Self::StandIn { path, .. } => path,
        }
    }

    /// The same, wherever a process is started: a path that is relative to where Couplet runs would lead nowhere there. A name
    /// without a folder is looked for in PATH.
    #[must_use]
    pub fn anywhere(self) -> Self {
        let anywhere = |path: PathBuf| match path.parent() {
            Some(folder) if folder != Path::new("") => std::path::absolute(&path).unwrap_or(path),
            _ => path,
        };
        match self {
            Self::Installed(path) => Self::Installed(anywhere(path)),
            Self::StandIn { path, subcommand } => Self::StandIn { path: anywhere(path), subcommand },
        }
    }

    /// What comes before the CLI's own arguments.
    #[must_use]
    pub fn subcommand(&self) -> Option<&'static str> {
        match self {
            Self::Installed(_) => None,
            Self::StandIn { subcommand, .. } => Some(subcommand),
        }
    }
}

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The CLI.
    pub program: PathBuf,
    /// Its arguments; never anything a client sent.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub work: PathBuf,
    /// What it may touch; everything, if there are no rules.
    pub rules: Option<Rules>,
}

impl CommandLine {
    /// The same, confined. Its temporary files, if it has any, are to be in `temporary`.
    #[must_use]
    pub fn confined(
        mut self,
        settings: &SandboxSettings,
        temporary: &Path,
        configuration: Configuration,
    ) -> Self {
        let folders = ["TMPDIR", sandbox::TEMPORARY];
        self.environment.retain(|(name, _)| folders.iter().all(|folder| name != folder));
        self.environment.extend(folders.map(|name| (name.into(), temporary.into())));
        self.rules = Some(Rules::of(settings, Some(&self.work), &self.environment, configuration));
        self
    }
}

/// The switches that make the CLI a plain chat model, on every supported release.
const CHAT_SWITCHES: [&str; 22] = [
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-partial-messages",
    // No built-in tools, no settings files, no MCP servers, no skills, no transcripts on disk.
    "--tools",
    "",
    "--setting-sources",
    "",
    "--strict-mcp-config",
    "--disable-slash-commands",
    "--no-session-persistence",
    "--permission-mode",
    "dontAsk",
    // The client's tools, which run at the client's.
    "--allowedTools",
    "mcp__couplet",
    // One of three locks against `@file` in a prompt; the others are CLAUDE_CODE_DISABLE_ATTACHMENTS and
    // `--restricted`.
    "--settings",
    r#"{"permissions":{"deny":["Read"]},"attribution":{"commit":"","pr":""}}"#,
    // Without it the newest models send no thinking text.
    "--thinking-display",
    "summarized",
];

/// The process that is a plain chat model: no tools, no files, no commands, no settings of the host. What it may touch is
/// added by whoever starts it.
///
/// `passed_through` holds those variables of [`PASSED_THROUGH`] that are set.
#[must_use]
pub fn chat_process(
    program: &CliProgram,
    features: CliFeatures,
    folders: &Folders,
    cache_ttl: CacheTtl,
    base_url: Option<&str>,
    passed_through: &[(OsString, OsString)],
) -> CommandLine {
    let mut arguments: Vec<OsString> = program.subcommand().map(OsString::from).into_iter().collect();
    arguments.extend(CHAT_SWITCHES.map(OsString::from));
    if features.restricted {
        arguments.push("--restricted".into());
    }
    if features.permission_prompts {
        arguments.extend(["--permission-prompts".into(), "none".into()]);
    }

    let fixed = [
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
        ("CLAUDE_AGENT_SDK_MCP_NO_PREFIX", "1"),
        ("ENABLE_TOOL_SEARCH", "false"),
        ("ENABLE_CLAUDEAI_MCP_SERVERS", "false"),
        ("CLAUDE_CODE_MCP_AUTO_BACKGROUND_MS", "0"),
        // Neither descriptions nor results of tools are cut short, nor written to disk.
        ("CLAUDE_CODE_MAX_MCP_DESCRIPTION_LENGTH", "1000000000"),
        ("MAX_MCP_OUTPUT_TOKENS", "1000000000"),
        // A tool of the client's that is called like one of the CLI's own, `Bash` or `Agent`, brings nothing of the CLI's into
        // the conversation: no rules about git, no list of agents.
        ("CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS", "1"),
        ("CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS", "1"),
        // All calls of an answer are asked at once, however many.
        ("CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY", "10000"),
        ("DISABLE_AUTO_COMPACT", "1"),
        // Whether a prompt is too long is for the API to say: the CLI's own guess, three characters a token, refuses
        // prompts that fit.
        ("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", "1000000000"),
        ("CLAUDE_CODE_MAX_RETRIES", MAX_RETRIES),
        // A stream that broke must not be answered by a second, unstreamed request whose text would follow the first's.
        ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1"),
        // A refusal is the answer: no second request with a notice of the CLI's own, no other model.
        ("CLAUDE_CODE_DISABLE_REFUSAL_RETRY", "1"),
        ("CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK", "1"),
    ];
    let mut environment: Vec<(OsString, OsString)> = passed_through.to_vec();
    environment.push(("HOME".into(), folders.home.clone().into()));
    environment.push(("CLAUDE_CONFIG_DIR".into(), folders.config.clone().into()));
    let pinned = cache_ttl.environment();
    environment.extend(fixed.iter().chain(pinned).map(|(name, value)| (name.into(), value.into())));
    if let Some(url) = base_url {
        environment.push(("ANTHROPIC_BASE_URL".into(), url.into()));
    }
    let (program, work) = (program.path().to_owned(), folders.work.clone());
    CommandLine { program, arguments, environment, work, rules: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn shown(features: CliFeatures, cache_ttl: CacheTtl, base_url: Option<&str>) -> String {
        let folders = Folders {
            home: "/state/home".into(),
            config: "/state/config".into(),
            work: "/state/empty".into(),
        };
        let passed = [("PATH".into(), "/usr/bin".into()), ("TZ".into(), "UTC".into())];
        let program = CliProgram::Installed("/opt/claude".into());
        let line = chat_process(&program, features, &folders, cache_ttl, base_url, &passed);
        let mut shown = format!("{}\nin {}\n", line.program.display(), line.work.display());
        for argument in &line.arguments {
            writeln!(shown, "  {argument:?}").unwrap();
        }
        for (name, value) in &line.environment {
            writeln!(shown, "{}={}", name.display(), value.display()).unwrap();
        }
        shown
    }

    #[test]
    fn a_current_cli_gets_every_switch() {
        let features = CliFeatures { restricted: true, permission_prompts: true };
        insta::assert_snapshot!(shown(features, CacheTtl::OneHour, Some("http://127.0.0.1:9")));
    }

    #[test]
    fn the_cache_s_time_is_never_left_open() {
        let features = CliFeatures { restricted: true, permission_prompts: true };
        let [short, long] = [CacheTtl::FiveMinutes, CacheTtl::OneHour].map(|ttl| shown(features, ttl, None));
        let only_in = |one: &str, other: &str| {
            let lines = one.lines().filter(|line| !other.contains(line)).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        assert_eq!(only_in(&short, &long), ["FORCE_PROMPT_CACHING_5M=1"]);
        assert_eq!(only_in(&long, &short), ["ENABLE_PROMPT_CACHING_1H=1", "CLAUDE_CODE_PROMPT_CACHE_TTL=1h"]);
    }

    #[test]
    fn a_relative_path_leads_to_the_same_program_from_every_folder() {
        let anywhere = |path: &str| CliProgram::Installed(path.into()).anywhere().path().to_owned();
        assert_eq!(anywhere("tools/claude"), std::env::current_dir().unwrap().join("tools/claude"));
        assert_eq!(
            [anywhere("/opt/claude"), anywhere("claude")],
            [Path::new("/opt/claude"), Path::new("claude")]
        );
    }

    #[test]
    fn an_older_cli_is_spared_the_switches_it_lacks() {
        let old =
            shown(CliFeatures { restricted: false, permission_prompts: false }, CacheTtl::OneHour, None);
        let new = shown(CliFeatures { restricted: true, permission_prompts: true }, CacheTtl::OneHour, None);
        let missing: Vec<_> = new.lines().filter(|line| !old.contains(line)).collect();
        assert_eq!(missing, [r#"  "--restricted""#, r#"  "--permission-prompts""#, r#"  "none""#]);
    }
}
