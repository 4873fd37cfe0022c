//! The settings of the server: read from flags and environment, checked once, typed from then on.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::claude::ClaudeSettings;
use crate::claude::command_line::PASSED_THROUGH;
use crate::claude::conversation::Deadlines;
use crate::claude::credential::Credential;
use crate::claude::process::own_program;
use crate::claude::supply::{CliProgram, ProcessSettings};
use crate::http::keys::ApiKeys;
use crate::http::{HttpSettings, Mode};
use crate::stand_in;
use crate::translate::models::Aliases;

/// Flags of `couplet serve`; each has a variable of its own. Secrets have variables only: flags are there for all to
/// see.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArguments {
    /// Address to listen on; beyond loopback only with `COUPLET_API_KEYS`.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// The Claude Code CLI; without it `claude` is looked for in PATH and where its installers put it.
    #[arg(long, env = "CLAUDE_CLI_PATH")]
    pub claude_cli_path: Option<PathBuf>,
    /// Use the CLI's own login kept in this configuration folder, instead of a token.
    #[arg(long, env = "COUPLET_CLAUDE_CONFIG_DIR")]
    pub claude_config_dir: Option<PathBuf>,
    /// Where the CLI finds Anthropic's API, if not at its own default.
    #[arg(long, env = "ANTHROPIC_BASE_URL")]
    pub anthropic_base_url: Option<String>,
    /// Folder for what the CLI keeps [default: couplet in the user's state folder].
    #[arg(long, env = "COUPLET_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Host names the server may be called by, beside loopback's own.
    #[arg(long, env = "COUPLET_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may use the server, as <https://chat.example.org>.
    #[arg(long, env = "COUPLET_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
    /// Answers at once; each needs a process of about 180 MB.
    #[arg(long, env = "COUPLET_MAX_CONCURRENCY", default_value_t = 16)]
    pub max_concurrency: usize,
    /// Requests that may wait for a place; the next one gets a 429.
    #[arg(long, env = "COUPLET_QUEUE_SIZE", default_value_t = 64)]
    pub queue_size: usize,
    /// Seconds until the model must have begun to answer.
    #[arg(long, env = "COUPLET_FIRST_FRAME_TIMEOUT", default_value = "120", value_parser = seconds)]
    pub first_frame_timeout: Duration,
    /// Seconds an answer that has begun may be silent.
    #[arg(long, env = "COUPLET_IDLE_TIMEOUT", default_value = "300", value_parser = seconds)]
    pub idle_timeout: Duration,
    /// Seconds an answer may take as a whole.
    #[arg(long, env = "COUPLET_TOTAL_TIMEOUT", default_value = "1800", value_parser = seconds)]
    pub total_timeout: Duration,
    /// Seconds that open answers are given when the server is told to stop.
    #[arg(long, env = "COUPLET_SHUTDOWN_GRACE", default_value = "8", value_parser = seconds)]
    pub shutdown_grace: Duration,
    /// When to answer with a demo instead of Claude: where no sign-in is configured, always, or never.
    #[arg(long, env = "COUPLET_DEMO", value_enum, default_value = "auto")]
    pub demo: DemoChoice,
    /// Names of your own for models, as gpt-4o=sonnet,gpt-4o-mini=haiku.
    #[arg(long, env = "COUPLET_MODEL_ALIASES", value_delimiter = ',', value_parser = alias)]
    pub model_aliases: Vec<(String, String)>,
}

/// When to run in demo mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoChoice {
    /// Where no sign-in is configured.
    Auto,
    /// Even where one is.
    Always,
    /// Never: without a sign-in the server does not start.
    Never,
}

/// The checked settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// How the model is reached.
    pub claude: ClaudeSettings,
    /// Who may come in, and how requests are served.
    pub http: HttpSettings,
    /// How long open answers may go on when the server is told to stop.
    pub shutdown_grace: Duration,
    /// Whether the CLI is asked for its models at once. It costs a process, but the first request that names a model by
    /// an alias need not wait for the list, and a CLI that does not work shows in the log at the start.
    pub list_models_at_start: bool,
}

/// A setting that cannot be used. The message names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Checks the settings. `variable` reads the environment.
    ///
    /// # Errors
    /// When something is missing or impossible.
    pub fn new(
        arguments: ServeArguments,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let keys = secret(&variable, "COUPLET_API_KEYS")?.unwrap_or_default();
        let keys = ApiKeys::from_secrets(list(&keys).map(SecretString::from));
        if keys.is_empty() && !arguments.host.is_loopback() {
            return Err(ConfigError(format!(
                "Refusing to listen on {} without keys: anyone who can reach it could use your Claude account. Set \
                 COUPLET_API_KEYS to one or more keys (for example the output of `openssl rand -hex 24`), or listen on \
                 127.0.0.1.",
                arguments.host
            )));
        }
        if arguments.max_concurrency == 0 {
            return Err(ConfigError("COUPLET_MAX_CONCURRENCY must be at least 1.".to_owned()));
        }
        let launcher = own_program()
            .map_err(|error| ConfigError(format!("the path of this program cannot be found: {error}")))?;
        let configured = match arguments.demo {
            DemoChoice::Always => None,
            DemoChoice::Auto | DemoChoice::Never => credential(&variable, arguments.claude_config_dir)?,
        };
        let cli = arguments.claude_cli_path.or_else(|| find_cli(&variable));
        let (mode, credential, program) = match configured {
            Some(credential) => (Mode::Live, credential, CliProgram::Installed(cli.ok_or_else(no_cli)?)),
            None if arguments.demo == DemoChoice::Never => return Err(no_credential()),
            None => {
                let stand_in =
                    CliProgram::StandIn { path: launcher.clone(), subcommand: stand_in::SUBCOMMAND };
                (Mode::Demo, demo_credential(), cli.map_or(stand_in, CliProgram::Installed))
            }
        };
        let state_dir = match arguments.state_dir {
            Some(folder) => folder,
            None => default_state_dir(&variable)?,
        };
        let state_dir = std::path::absolute(&state_dir)
            .map_err(|error| ConfigError(format!("COUPLET_STATE_DIR cannot be used: {error}.")))?;
        let passed_through = PASSED_THROUGH
            .iter()
            .filter_map(|name| variable(name).map(|value| (OsString::from(name), value)))
            .collect();
        Ok(Self {
            address: SocketAddr::new(arguments.host, arguments.port),
            claude: ClaudeSettings {
                process: ProcessSettings {
                    program,
                    launcher,
                    credential,
                    state_dir,
                    base_url: arguments.anthropic_base_url,
                    passed_through,
                },
                deadlines: Deadlines {
                    first_frame: arguments.first_frame_timeout,
                    idle: arguments.idle_timeout,
                    total: arguments.total_timeout,
                },
                max_concurrency: arguments.max_concurrency,
                queue_size: arguments.queue_size,
            },
            http: HttpSettings {
                keys,
                allowed_hosts: arguments.allowed_hosts,
                allowed_origins: arguments.allowed_origins,
                aliases: Aliases::from_iter(arguments.model_aliases),
                mode,
            },
            shutdown_grace: arguments.shutdown_grace,
            list_models_at_start: true,
        })
    }
}

/// Seconds, whole or with a fraction, more than none.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds <= 0.0 {
        return Err("must be more than 0 seconds".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// `name=model`.
fn alias(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, model)) if !name.trim().is_empty() && !model.trim().is_empty() => {
            Ok((name.trim().to_owned(), model.trim().to_owned()))
        }
        _ => Err("must be name=model".to_owned()),
    }
}

/// The parts of a list, separated by commas or lines, that hold something.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty())
}

/// A secret, from the variable itself or from the file that `<name>_FILE` names.
fn secret(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<String>, ConfigError> {
    if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
        let not_text = |_| ConfigError(format!("{name} is not valid UTF-8."));
        return value.into_string().map(Some).map_err(not_text);
    }
    let file_name = format!("{name}_FILE");
    let Some(path) = variable(&file_name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let path = PathBuf::from(path);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        ConfigError(format!("{file_name} names {}, which cannot be read: {error}.", path.display()))
    })?;
    Ok(Some(text))
}

fn credential(
    variable: &impl Fn(&str) -> Option<OsString>,
    config_dir: Option<PathBuf>,
) -> Result<Option<Credential>, ConfigError> {
    if let Some(token) = one_line_secret(variable, "CLAUDE_CODE_OAUTH_TOKEN")? {
        return Ok(Some(Credential::OauthToken(token)));
    }
    if let Some(key) = one_line_secret(variable, "ANTHROPIC_API_KEY")? {
        return Ok(Some(Credential::ApiKey(key)));
    }
    Ok(config_dir.map(Credential::ConfigDir))
}

/// What the CLI is signed in with in demo mode. It makes a folder of its own for what the CLI keeps, so that the owner's
/// login is never looked at.
fn demo_credential() -> Credential {
    Credential::OauthToken("demo-mode-has-no-token".into())
}

fn no_credential() -> ConfigError {
    ConfigError(
        "No sign-in to Claude is configured. Run `claude setup-token` and set its output as CLAUDE_CODE_OAUTH_TOKEN (or put \
         it into a file and name that in CLAUDE_CODE_OAUTH_TOKEN_FILE); ANTHROPIC_API_KEY, or COUPLET_CLAUDE_CONFIG_DIR for a \
         login the CLI keeps, will do too."
            .to_owned(),
    )
}

fn no_cli() -> ConfigError {
    ConfigError(
        "A sign-in is configured, but the Claude Code CLI is not found. Install it with `npm install -g \
         @anthropic-ai/claude-code`, or name it in CLAUDE_CLI_PATH."
            .to_owned(),
    )
}

fn one_line_secret(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<SecretString>, ConfigError> {
    let Some(text) = secret(variable, name)? else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ConfigError(format!("{name} must be one word, as `claude setup-token` prints it.")));
    }
    Ok(Some(text.into()))
}

/// The CLI, in PATH or where its installers put it. `variable` reads the environment.
pub fn find_cli(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let home = variable("HOME").map(PathBuf::from);
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("claude"));
    let of_installers =
        home.iter().flat_map(|home| [home.join(".local/bin/claude"), home.join(".claude/local/claude")]);
    in_path.chain(of_installers).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn default_state_dir(variable: &impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ConfigError> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let of_home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder = state.or_else(of_home);
    folder.map(|folder| folder.join("couplet")).ok_or_else(|| {
        ConfigError(
            "Neither HOME nor COUPLET_STATE_DIR is set: there is no place for what the CLI keeps.".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rstest::rstest;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArguments,
    }

    const GOOD: [(&str, &str); 3] =
        [("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-canary"), ("HOME", "/home/ann"), ("COUPLET_API_KEYS", "k1, k2")];

    fn config(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flags = ["couplet", "--claude-cli-path", "/opt/claude"].iter().chain(flags);
        let arguments = Cli::try_parse_from(flags).map(|cli| cli.serve);
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let variable =
            |name: &str| variables.iter().rev().find(|(known, _)| known == name).map(|(_, v)| v.clone());
        Config::new(arguments.map_err(|error| ConfigError(error.to_string()))?, variable)
    }

    #[test]
    fn defaults_are_loopback_and_port_8000() {
        let config = config(&[], &GOOD).unwrap();
        assert_eq!(config.address.to_string(), "127.0.0.1:8000");
        assert_eq!(config.claude.process.state_dir, Path::new("/home/ann/.local/state/couplet"));
        assert_eq!(config.claude.deadlines.first_frame, Duration::from_secs(120));
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn beyond_loopback_without_keys_it_refuses() {
        let without_keys = &GOOD[..2];
        let error = config(&["--host", "0.0.0.0"], without_keys).unwrap_err().to_string();
        assert!(error.contains("COUPLET_API_KEYS"), "{error}");
        assert!(config(&["--host", "::"], without_keys).is_err());
        assert!(config(&["--host", "::1"], without_keys).is_ok());
        assert!(config(&["--host", "0.0.0.0"], &GOOD).is_ok());
        assert!(config(&["--host", "0.0.0.0"], &[GOOD[0], GOOD[1], ("COUPLET_API_KEYS", " , ")]).is_err());
    }

    #[test]
    fn a_missing_credential_says_how_to_get_one() {
        let error = config(&["--demo", "never"], &[("HOME", "/home/ann")]).unwrap_err().to_string();
        assert!(error.contains("claude setup-token"), "{error}");
        assert!(config(&["--claude-config-dir", "/x"], &[("HOME", "/home/ann")]).is_ok());
    }

    #[test]
    fn a_demo_is_for_those_without_a_credential_and_never_uses_the_owner_s() {
        let mode = |flags: &[&str], variables: &[(&str, &str)]| config(flags, variables).unwrap().http.mode;
        assert_eq!(mode(&[], &GOOD), Mode::Live);
        assert_eq!(mode(&[], &GOOD[1..]), Mode::Demo);
        let always = config(&["--demo", "always", "--claude-config-dir", "/x"], &GOOD).unwrap();
        assert_eq!(always.http.mode, Mode::Demo);
        assert!(
            always
                .claude
                .process
                .credential
                .secret()
                .is_some_and(|token| { secrecy::ExposeSecret::expose_secret(token).starts_with("demo-") })
        );
    }

    #[rstest]
    #[case(&["--port", "70000"])]
    #[case(&["--demo", "perhaps"])]
    #[case(&["--idle-timeout", "0"])]
    #[case(&["--idle-timeout", "soon"])]
    #[case(&["--total-timeout", "1e40"])]
    #[case(&["--max-concurrency", "0"])]
    #[case(&["--model-aliases", "gpt-4o"])]
    #[case(&["--model-aliases", "=sonnet"])]
    fn impossible_values_are_refused(#[case] flags: &[&str]) {
        assert!(config(flags, &GOOD).is_err());
    }

    #[test]
    fn a_secret_may_be_in_a_file_and_must_be_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "sk-ant-from-file\n").unwrap();
        let variables = [("HOME", "/home/ann"), ("CLAUDE_CODE_OAUTH_TOKEN_FILE", file.to_str().unwrap())];
        let Credential::OauthToken(token) = config(&[], &variables).unwrap().claude.process.credential else {
            panic!("no token")
        };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&token), "sk-ant-from-file");
        std::fs::write(&file, "two words").unwrap();
        let error = config(&[], &variables).unwrap_err().to_string();
        assert!(error.contains("CLAUDE_CODE_OAUTH_TOKEN") && !error.contains("two words"), "{error}");
        let missing = [("HOME", "/home/ann"), ("CLAUDE_CODE_OAUTH_TOKEN_FILE", "/no/such/file")];
        assert!(config(&[], &missing).unwrap_err().to_string().contains("/no/such/file"));
    }
}
