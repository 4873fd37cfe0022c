//! The settings of the server: a flag over an environment variable over `.env` over couplet.toml over the default; read
//! and checked once, typed from then on.
//!
//! - [`settings`]: the table. Settings are added there and nowhere else; [`table`] is what it is made of.
//! - [`values`], [`aliases`], [`tenants`], [`limit_fields`]: what the text of a setting can mean.
//! - [`layers`]: where the texts come from; [`flags`], [`env_file`], [`toml_file`] are read there, [`secrets`] says which
//!   files may hold what, [`unknown`] refuses names that are none, [`nearest`] finds what they were meant to be.
//! - [`effective`], [`docs`]: the settings shown and documented.
//!
//! [`Config`] is what the rest of Couplet gets.

pub mod aliases;
pub mod docs;
pub mod effective;
pub mod env_file;
pub mod flags;
pub mod kept_token;
pub mod layers;
pub mod limit_fields;
pub mod nearest;
pub mod secrets;
pub mod settings;
pub mod table;
pub mod tenants;
pub mod toml_file;
pub mod unknown;
pub mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::access::AccessSettings;
use crate::access::jwt::JwtSettings;
use crate::caller::{Limits, TenantName};
use crate::claude::ClaudeSettings;
use crate::claude::account::{AccountSettings, CredentialOrigin};
use crate::claude::command_line::CliProgram;
use crate::claude::command_line::PASSED_THROUGH;
use crate::claude::conversation::Deadlines;
use crate::claude::credential::Credential;
use crate::claude::kept::KeepLimits;
use crate::claude::memory;
use crate::claude::process::own_program;
use crate::claude::sandbox::SandboxSettings;
use crate::claude::supply::ProcessSettings;
use crate::claude::warm::WarmLimits;
use crate::http::connections::ConnectionSettings;
use crate::http::connections::pace::Pace;
use crate::http::{HttpSettings, Mode};
use crate::limits::limiter::LimitSettings;
use crate::media::MediaSettings;
use crate::stand_in;
use crate::store::Store;
use crate::tenants::TenantSettings;
use effective::Loaded;
use layers::Layers;
use values::{DemoChoice, Whole};

pub use flags::ServeArguments;
pub use layers::Surroundings;
pub use settings::Settings;

/// How long after a turn that nobody reads its connection ends.
const LATER: Duration = Duration::from_secs(30);

/// The checked settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// How the model is reached.
    pub claude: ClaudeSettings,
    /// Who else has a sign-in of his own.
    pub tenants: BTreeMap<TenantName, TenantSettings>,
    /// Who may come in.
    pub access: AccessSettings,
    /// How much may be asked.
    pub limits: LimitSettings,
    /// How requests are served.
    pub http: HttpSettings,
    /// How many connections there may be, and how long clients may take.
    pub connections: ConnectionSettings,
    /// What is done with images and files.
    pub media: MediaSettings,
    /// How long open answers may go on when the server is told to stop.
    pub shutdown_grace: Duration,
    /// Whether the CLI is asked for its models at once. It costs a process, but the first request that names a model by
    /// an alias need not wait for the list, and a CLI that does not work shows in the log at the start.
    pub list_models_at_start: bool,
}

/// Settings that cannot be used: each problem a line that names the setting and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Settings {
    /// Reads all layers and checks each setting by itself.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub fn load(arguments: &ServeArguments, around: &Surroundings) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let layers = Layers::read(arguments, around, &mut problems);
        match Self::read(&layers, &mut problems) {
            Some((settings, effective)) if problems.is_empty() => {
                Ok(Loaded { settings, effective, hints: layers.hints })
            }
            _ => Err(ConfigError(problems.join("\n"))),
        }
    }
}

impl Config {
    /// Makes the configuration of a server, with what `around` it is needed for that: PATH, HOME and what the CLI gets of
    /// the environment.
    ///
    /// # Errors
    /// When something is missing, or settings do not go together.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, ConfigError> {
        let state_dir = state_dir(settings.state_dir.clone(), around)?;
        let access = access(&settings)?;
        let limits = limits(&settings);
        let is_keyless = access.keys.is_empty() && access.jwt.is_none() && !has_keys(&state_dir)?;
        if is_keyless && !settings.host.is_loopback() {
            return Err(ConfigError(format!(
                "Refusing to listen on {} without keys: anyone who can reach it could use your Claude account. Make \
                 one with `couplet keys new`, set COUPLET_API_KEYS to one or more of your own (for example the output of \
                 `openssl rand -hex 24`), or listen on 127.0.0.1.",
                settings.host
            )));
        }
        let launcher = own_program()
            .map_err(|error| ConfigError(format!("the path of this program cannot be found: {error}")))?;
        let of = |name: &str| CredentialOrigin::Setting(name.to_owned());
        let token = settings.claude_code_oauth_token.map(|token| Credential::OauthToken(token.0));
        let token = token.map(|token| (token, of("CLAUDE_CODE_OAUTH_TOKEN")));
        let key = settings.anthropic_api_key.map(|key| Credential::ApiKey(key.0));
        let key = || key.map(|key| (key, of("ANTHROPIC_API_KEY")));
        let login = settings.claude_config_dir.map(Credential::ConfigDir);
        let login = || login.map(|login| (login, of("COUPLET_CLAUDE_CONFIG_DIR")));
        let kept = kept_token::read(&state_dir).map_err(ConfigError)?.map(Credential::OauthToken);
        let kept = kept.map(|token| (token, CredentialOrigin::Kept(kept_token::path(&state_dir))));
        let configured =
            token.or_else(key).or_else(login).or(kept).filter(|_| settings.demo != DemoChoice::Always);
        let cli = settings.claude_cli_path.or_else(|| find_cli(around));
        let (mode, (credential, origin), program) = match configured {
            Some(credential) => (Mode::Live, credential, CliProgram::Installed(cli.ok_or_else(no_cli)?)),
            // Those who have one of their own are answered, and nobody else.
            None if !settings.tenants.is_empty() && settings.demo != DemoChoice::Always => {
                let credential = (Credential::Missing, of("COUPLET_TENANTS"));
                (Mode::Live, credential, CliProgram::Installed(cli.ok_or_else(no_cli)?))
            }
            None if settings.demo == DemoChoice::Never => return Err(no_credential()),
            None => {
                let stand_in =
                    CliProgram::StandIn { path: launcher.clone(), subcommand: stand_in::SUBCOMMAND };
                let credential = (demo_credential(), CredentialOrigin::MadeUp);
                (Mode::Demo, credential, cli.map_or(stand_in, CliProgram::Installed))
            }
        };
        let tenants = match mode {
            Mode::Live => settings.tenants.signed_in(&credential),
            Mode::Demo => settings.tenants.for_demo(&credential),
        }
        .map_err(ConfigError)?;
        let limits = LimitSettings {
            tenants: tenants.iter().map(|(name, tenant)| (name.clone(), tenant.limits)).collect(),
            ..limits
        };
        Ok(Self {
            address: SocketAddr::new(settings.host, settings.port),
            claude: ClaudeSettings {
                process: ProcessSettings {
                    program,
                    launcher,
                    credential,
                    state_dir,
                    base_url: settings.anthropic_base_url.map(|url| url.0),
                    passed_through: passed_through(around),
                    sandbox: SandboxSettings { mode: settings.sandbox, more: settings.sandbox_paths },
                    version: None,
                },
                deadlines: Deadlines {
                    first_frame: settings.first_frame_timeout.0,
                    idle: settings.idle_timeout.0,
                    total: settings.total_timeout.0,
                },
                max_concurrency: settings.max_concurrency.get(),
                queue_size: settings.queue_size.get(),
                keep: KeepLimits {
                    live: settings.live_ttl.0,
                    parked: settings.parked_ttl.0,
                    processes: settings.max_kept.get(),
                },
                queue_timeout: settings.queue_timeout.0,
                warm: WarmLimits {
                    min: settings.warm_min.get(),
                    max: settings.warm_max.get(),
                    idle: settings.warm_idle.0,
                    max_age: settings.warm_max_age.0,
                },
                account: AccountSettings { origin, ..AccountSettings::default() },
                memory_budget: settings.memory_budget.map_or_else(memory::default_budget, |budget| budget.0),
            },
            access,
            limits,
            tenants,
            http: HttpSettings {
                allowed_hosts: settings.allowed_hosts.into_iter().map(|host| host.0).collect(),
                allowed_origins: settings.allowed_origins.into_iter().map(|origin| origin.0).collect(),
                aliases: settings.model_aliases,
                mode,
            },
            connections: connections(settings.max_connections, settings.idle_timeout.0),
            media: MediaSettings { image_urls: settings.image_urls, ..MediaSettings::default() },
            shutdown_grace: settings.shutdown_grace.0,
            list_models_at_start: true,
        })
    }
}

/// The variables that the CLI gets of the environment.
fn passed_through(around: &Surroundings) -> Vec<(OsString, OsString)> {
    let value_of = |name: &&str| around.variable(name).map(|value| (OsString::from(name), value.to_owned()));
    PASSED_THROUGH.iter().filter_map(value_of).collect()
}

/// How many connections there may be, beside turns that end if nobody reads them for so long.
fn connections(max: Option<Whole<1, 1_000_000>>, unread: Duration) -> ConnectionSettings {
    let defaults = ConnectionSettings::default();
    // First the turn ends with an error, then the connection.
    let answer = Pace { pause: unread + LATER, ..defaults.answer };
    ConnectionSettings { max: max.map(Whole::get), answer, ..defaults }
}

/// How much callers may ask, those of tenants left out.
fn limits(settings: &Settings) -> LimitSettings {
    LimitSettings {
        caller: Limits {
            requests_per_minute: settings.rate_limit_rpm,
            tokens_per_minute: settings.rate_limit_tpm,
            concurrent_turns: settings.rate_limit_concurrency,
            tokens_per_day: settings.quota_daily,
            tokens_per_month: settings.quota_monthly,
        },
        tenants: BTreeMap::new(),
        all: Limits {
            requests_per_minute: settings.total_rpm,
            tokens_per_minute: settings.total_tpm,
            ..Limits::default()
        },
    }
}

/// Who may come in.
fn access(settings: &Settings) -> Result<AccessSettings, ConfigError> {
    let access = AccessSettings {
        keys: settings.api_keys.0.clone(),
        jwt: None,
        admin_key: settings.admin_key.clone().map(|key| key.0),
    };
    let Settings { jwt_algorithm, jwt_key, jwt_issuer, jwt_audience, .. } = settings;
    let is =
        |one: &SecretString, other: &SecretString| one.expose_secret().trim() == other.expose_secret().trim();
    let others = access.keys.iter().map(|key| ("COUPLET_API_KEYS", key));
    let others = others.chain(jwt_key.iter().map(|key| ("COUPLET_JWT_KEY", &key.0)));
    let twin = |admin: &SecretString| others.clone().find(|(_, other)| is(admin, other));
    if let Some((name, _)) = access.admin_key.as_ref().and_then(twin) {
        return Err(ConfigError(format!(
            "COUPLET_ADMIN_KEY is in {name} too: whoever has that could do what only the operator may. Take another one."
        )));
    }
    let of_tokens = |jwt: &SecretString| access.keys.iter().any(|key| is(key, jwt));
    if jwt_key.as_ref().is_some_and(|key| of_tokens(&key.0)) {
        return Err(ConfigError(
            "COUPLET_JWT_KEY is in COUPLET_API_KEYS too: whoever has that key could sign tokens of any tenant. Take another \
             one."
                .to_owned(),
        ));
    }
    match (jwt_algorithm, jwt_key, jwt_issuer, jwt_audience) {
        (None, None, None, None) => Ok(access),
        (Some(algorithm), Some(key), Some(issuer), Some(audience)) => {
            let jwt = JwtSettings {
                algorithm: *algorithm,
                key: key.0.clone(),
                issuer: issuer.0.clone(),
                audience: audience.0.clone(),
            };
            access
                .with_jwt(&jwt)
                .map_err(|reason| ConfigError(format!("COUPLET_JWT_KEY cannot be used: {reason}.")))
        }
        _ => Err(ConfigError(
            "JSON Web Tokens take all of COUPLET_JWT_ALGORITHM, COUPLET_JWT_KEY (or COUPLET_JWT_KEY_FILE), \
             COUPLET_JWT_ISSUER and COUPLET_JWT_AUDIENCE, or none of them."
                .to_owned(),
        )),
    }
}

/// Whether `couplet keys` ever made a key for this server.
fn has_keys(state_dir: &Path) -> Result<bool, ConfigError> {
    let store = Store::look(state_dir).map_err(|error| ConfigError(error.to_string()))?;
    let has_keys = store.map(|store| store.has_keys()).transpose();
    Ok(has_keys.map_err(|error| ConfigError(error.to_string()))?.unwrap_or(false))
}

/// What the CLI is signed in with in demo mode. It makes a folder of its own for what the CLI keeps, so that the owner's
/// login is never looked at.
fn demo_credential() -> Credential {
    Credential::OauthToken("demo-mode-has-no-token".into())
}

fn no_credential() -> ConfigError {
    ConfigError(
        "No sign-in to Claude is configured. Run `couplet login`; or run `claude setup-token` and set its output as \
         CLAUDE_CODE_OAUTH_TOKEN (or put it into a file and name that in CLAUDE_CODE_OAUTH_TOKEN_FILE). ANTHROPIC_API_KEY, \
         or COUPLET_CLAUDE_CONFIG_DIR for a login the CLI keeps, will do too."
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

/// The CLI, in PATH or where its installers put it.
#[must_use]
pub fn find_cli(around: &Surroundings) -> Option<PathBuf> {
    let path = around.variable("PATH").unwrap_or_default();
    let home = around.variable("HOME").map(PathBuf::from);
    let in_path = std::env::split_paths(path).map(|folder| folder.join("claude"));
    let of_installers =
        home.iter().flat_map(|home| [home.join(".local/bin/claude"), home.join(".claude/local/claude")]);
    in_path.chain(of_installers).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The folder for what the CLI keeps: the configured one, or that of the user.
///
/// # Errors
/// When there is no place for it.
pub fn state_dir(configured: Option<PathBuf>, around: &Surroundings) -> Result<PathBuf, ConfigError> {
    let folder = configured.map_or_else(|| default_state_dir(around), Ok)?;
    std::path::absolute(&folder)
        .map_err(|error| ConfigError(format!("COUPLET_STATE_DIR cannot be used: {error}.")))
}

fn default_state_dir(around: &Surroundings) -> Result<PathBuf, ConfigError> {
    let of_home = || around.variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder = around.path("XDG_STATE_HOME").or_else(of_home);
    folder.map(|folder| folder.join("couplet")).ok_or_else(|| {
        ConfigError(
            "Neither HOME nor COUPLET_STATE_DIR is set: there is no place for what the CLI keeps.".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests;
