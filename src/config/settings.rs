//! The table of settings. To add one, add it here, and use it where a [`Config`](super::Config) is made: its variable,
//! flag, key in couplet.toml, checks, `--help`, `couplet config`, .env.example, couplet.example.toml and
//! docs/configuration.md follow. (`cargo run -- config --example …` renews the files; a test tells when that is due.)

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::LazyLock;

use super::effective::{Effective, read_one};
use super::layers::Layers;
use super::table::{BLANK, Setting, settings};
use super::tenants::TenantTable;
use super::values::{
    BaseUrl, Bytes, DemoChoice, HostName, OneWord, Origin, Seconds, SecretText, Text, Value, Whole, Words,
};
use crate::access::jwt::JwtAlgorithm;
use crate::claude::sandbox::{MorePath, SandboxMode};
use crate::logging::{LogFilter, LogFormat};
use crate::media::ImageUrls;
use crate::translate::models::Aliases;

settings! {
    "Your sign-in to Claude (the first that is set counts)" {
        /// The token that `claude setup-token` prints. It reaches the CLI through a descriptor and shows up nowhere else.
        claude_code_oauth_token: Option<OneWord>, "CLAUDE_CODE_OAUTH_TOKEN", unset = "the next sign-in is used";
        /// A key of Anthropic's console, which is paid by use.
        anthropic_api_key: Option<OneWord>, "ANTHROPIC_API_KEY", unset = "the next sign-in is used";
        /// A configuration folder with a login that the CLI keeps by itself.
        claude_config_dir: Option<PathBuf>, "COUPLET_CLAUDE_CONFIG_DIR",
            unset = "the token that `couplet login` keeps; without one see `COUPLET_DEMO`", example = "/home/ann/.claude";
    }
    "The Claude Code CLI" {
        /// The program.
        claude_cli_path: Option<PathBuf>, "CLAUDE_CLI_PATH",
            unset = "`claude` is looked for in PATH and where its installers put it", example = "/usr/local/bin/claude";
        /// Where the CLI finds Anthropic's API. It is handed to the CLI.
        anthropic_base_url: Option<BaseUrl>, "ANTHROPIC_BASE_URL",
            unset = "the CLI's own default", example = "https://gateway.example.org";
        /// Folder for what the CLI keeps.
        state_dir: Option<PathBuf>, "COUPLET_STATE_DIR",
            unset = "`couplet` in XDG_STATE_HOME or ~/.local/state", example = "/var/lib/couplet";
    }
    "What the CLI may touch" {
        /// Whether the kernel (Linux, with Landlock and seccomp) keeps processes of the CLI from all files, programs and ports that
        /// they do not need: as far as it can; or nothing is started where files and system calls cannot be confined; or not at all.
        sandbox: SandboxMode, "COUPLET_SANDBOX", default = "auto";
        /// Files and folders that the CLI may read and execute nevertheless, for an installation out of the ordinary.
        sandbox_paths: Vec<MorePath>, "COUPLET_SANDBOX_PATHS", unset = "none", example = "/opt/node";
    }
    "Trying it without an account" {
        /// When to answer with a demo instead of Claude: where no sign-in is configured, always, or never.
        demo: DemoChoice, "COUPLET_DEMO", default = "auto";
    }
    "Where to listen" {
        /// Address to listen on; beyond loopback only with keys.
        host: IpAddr, "HOST", default = "127.0.0.1";
        /// Port to listen on; 0 takes a free one.
        port: u16, "PORT", default = "8000";
    }
    "Who may come in" {
        /// Keys that open the server, beside those that `couplet keys new` makes. Without any, every key will do, on loopback
        /// only.
        api_keys: Words, "COUPLET_API_KEYS", unset = "every key will do, on loopback only";
        /// The key that opens what only the operator may do: `/admin/…`, `/auth/logout` and `/metrics`.
        admin_key: Option<OneWord>, "COUPLET_ADMIN_KEY",
            unset = "nobody may do that, but keys of the default tenant see `/metrics`";
        /// How JSON Web Tokens are signed that open the server too. What a token says of it counts for nothing.
        jwt_algorithm: Option<JwtAlgorithm>, "COUPLET_JWT_ALGORITHM", unset = "tokens open nothing", example = "EdDSA";
        /// What their signatures are checked with: the secret of HS256 (32 characters at least), or the issuer's public key.
        jwt_key: Option<SecretText>, "COUPLET_JWT_KEY", unset = "tokens open nothing";
        /// Who must have issued them (`iss`).
        jwt_issuer: Option<Text>, "COUPLET_JWT_ISSUER", unset = "tokens open nothing", example = "https://login.example.org";
        /// For whom they must be (`aud`).
        jwt_audience: Option<Text>, "COUPLET_JWT_AUDIENCE", unset = "tokens open nothing", example = "couplet";
        /// Host names the server may be called by, beside loopback's own.
        allowed_hosts: Vec<HostName>, "COUPLET_ALLOWED_HOSTS",
            unset = "loopback's own names; with keys, every name", example = "chat.example.org";
        /// Origins of web pages that may use the server.
        allowed_origins: Vec<Origin>, "COUPLET_ALLOWED_ORIGINS",
            unset = "the server's own", example = "https://chat.example.org";
    }
    "How much at once, and how long" {
        /// Answers at once; each needs a process of about 180 MB.
        max_concurrency: Whole<1, 10_000>, "COUPLET_MAX_CONCURRENCY", default = "16";
        /// Connections open at once. The next one takes the place of one that is idle or slow; if all are needed it gets a 503.
        max_connections: Option<Whole<1, 1_000_000>>, "COUPLET_MAX_CONNECTIONS",
            unset = "what there are file descriptors for, 4096 at most", example = "1000";
        /// Requests that may wait for a place; the next one gets a 429.
        queue_size: Whole<0, 1_000_000>, "COUPLET_QUEUE_SIZE", default = "64";
        /// Seconds a request may wait for a place, or for the memory of a process; then it gets a 429.
        queue_timeout: Seconds, "COUPLET_QUEUE_TIMEOUT", default = "30";
        /// Seconds until the model must have begun to answer.
        first_frame_timeout: Seconds, "COUPLET_FIRST_FRAME_TIMEOUT", default = "120";
        /// Seconds an answer that has begun may be silent.
        idle_timeout: Seconds, "COUPLET_IDLE_TIMEOUT", default = "300";
        /// Seconds an answer may take as a whole.
        total_timeout: Seconds, "COUPLET_TOTAL_TIMEOUT", default = "1800";
        /// Seconds that open answers, and requests that wait for their place, are given when the server is told to stop (SIGTERM
        /// or SIGINT). Three seconds later it has ended, whatever hangs; a second signal ends it at once.
        shutdown_grace: Seconds, "COUPLET_SHUTDOWN_GRACE", default = "8";
    }
    "Conversations that go on" {
        /// Processes that wait with a conversation in them, for its next message or for the results of its tools: there it
        /// goes on at once, and Anthropic's prompt cache holds. With 0 each request gets a process of its own.
        max_kept: Whole<0, 10_000>, "COUPLET_MAX_KEPT", default = "16";
        /// Seconds a process waits for the next message of its conversation.
        live_ttl: Seconds, "COUPLET_LIVE_TTL", default = "600";
        /// Seconds a process waits for the results of its tools.
        parked_ttl: Seconds, "COUPLET_PARKED_TTL", default = "900";
    }
    "Processes that wait for the next conversation" {
        /// Processes that wait at least: a chat client often sends two or three requests at once. They are set up ahead for the
        /// system prompts and tools that are asked for most, and one in three for any.
        warm_min: Whole<0, 1000>, "COUPLET_WARM_MIN", default = "3";
        /// Processes that wait at most, when many are needed at once. With 0 each new conversation waits for the start of a
        /// process.
        warm_max: Whole<0, 1000>, "COUPLET_WARM_MAX", default = "8";
        /// Seconds after a burst of requests until fewer processes wait again.
        warm_idle: Seconds, "COUPLET_WARM_IDLE", default = "300";
        /// Seconds a process waits until a younger one takes its place.
        warm_max_age: Seconds, "COUPLET_WARM_MAX_AGE", default = "1800";
        /// Memory for all processes together, whatever they do; each takes about 180 MB. It bounds how many answer at once.
        /// Those that wait end when it runs short; requests never do.
        memory_budget: Option<Bytes>, "COUPLET_MEMORY_BUDGET",
            unset = "half of what the machine or its container has", example = "4GiB";
    }
    "How much may be asked" {
        /// Requests a minute of each key that has no limit of its own. Each request counts, whatever it is for.
        rate_limit_rpm: Option<NonZeroU32>, "COUPLET_RATE_LIMIT_RPM", unset = "no limit", example = "60";
        /// Tokens a minute of each key that has no limit of its own: those of prompts, cached or not, and of answers.
        rate_limit_tpm: Option<NonZeroU32>, "COUPLET_RATE_LIMIT_TPM", unset = "no limit", example = "200000";
        /// Answers at the same time of each key that has no limit of its own; a request with `n` answers takes `n`.
        rate_limit_concurrency: Option<NonZeroU32>, "COUPLET_RATE_LIMIT_CONCURRENCY",
            unset = "no limit but `COUPLET_MAX_CONCURRENCY`", example = "4";
        /// Tokens a day (UTC) of each key that has no quota of its own.
        quota_daily: Option<NonZeroU64>, "COUPLET_QUOTA_DAILY", unset = "no quota", example = "2000000";
        /// Tokens a month (UTC) of each key that has no quota of its own.
        quota_monthly: Option<NonZeroU64>, "COUPLET_QUOTA_MONTHLY", unset = "no quota", example = "40000000";
        /// Requests a minute of all keys together.
        total_rpm: Option<NonZeroU32>, "COUPLET_TOTAL_RPM", unset = "no limit", example = "600";
        /// Tokens a minute of all keys together.
        total_tpm: Option<NonZeroU32>, "COUPLET_TOTAL_TPM", unset = "no limit", example = "2000000";
    }
    "Images" {
        /// What to do with images by https: fetch them here, from public addresses only and past all proxies; pass the URL
        /// on, for Anthropic to fetch; or refuse them. Images as `data:` are always taken.
        image_urls: ImageUrls, "COUPLET_IMAGE_URLS", default = "fetch";
    }
    "The log" {
        /// What is logged: a level for Couplet itself, and `target=level` for parts of it.
        /// No level logs what was said, or a secret.
        log: LogFilter, "COUPLET_LOG", default = "info";
        /// How: lines for people, JSON objects, or `auto`, which is `human` on a terminal and `json` elsewhere.
        log_format: LogFormat, "COUPLET_LOG_FORMAT", default = "human";
    }
    "Other people's sign-ins" {
        /// Tenants: people beside you whose keys are answered with a sign-in, processes and limits of their own. Each has a
        /// name, and a file with its token or key, or a configuration folder.
        tenants: TenantTable, "COUPLET_TENANTS",
            unset = "there is no sign-in but yours",
            example = "{\"ann\": {\"claude_code_oauth_token_file\": \"/home/ann/token\"}}",
            table = "[tenants.ann]\nclaude_code_oauth_token_file = \"/home/ann/token\"\nmax_concurrency = 4\ntokens_per_day = 2_000_000";
    }
    "Names of your own for models" {
        /// An alias stands for a model, and may set an effort, for requests that name none, and a system prompt, which is
        /// put before the client's own.
        model_aliases: Aliases, "COUPLET_MODEL_ALIASES",
            unset = "none", example = "gpt-4o=sonnet,gpt-4o-mini=haiku@low",
            table = "[model_aliases.gpt-4o]\nmodel = \"sonnet\"\neffort = \"high\"\n\
                     system_prompt = \"Answer in the language of the question.\"";
    }
}
