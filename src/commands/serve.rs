//! `couplet` and `couplet serve`: the server.

use std::process::ExitCode;

use couplet::claude::installed::Probe;
use couplet::claude::sandbox::Support;
use couplet::config::{Config, ConfigError, ServeArguments, Settings, Surroundings};
use couplet::logging;
use couplet::telemetry::Traces;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::{complain, in_runtime, shutdown_signal};

/// Runs the server until it is asked to end.
pub fn run(arguments: &ServeArguments) -> ExitCode {
    match configure(arguments) {
        // The traces are held to the end, so that the last of them are sent.
        Ok((config, _traces)) => in_runtime(serve(config)),
        Err(error) => complain(&error),
    }
}

fn configure(arguments: &ServeArguments) -> Result<(Config, Traces), ConfigError> {
    let around = Surroundings::of_this_process();
    let loaded = Settings::load(arguments, &around)?;
    let traces = logging::start(loaded.settings.log.clone(), loaded.settings.log_format);
    for hint in &loaded.hints {
        tracing::warn!("{hint}");
    }
    Ok((Config::new(loaded.settings, &around)?, traces))
}

async fn serve(mut config: Config) -> std::io::Result<()> {
    config.claude.process.sandbox.mode.announce(Support::of_this_kernel())?;
    let version = Probe::new(&config.claude.process).version().await.map_err(|error| {
        let message = format!(
            "The Claude Code CLI cannot be used: {error}. Install it with `npm install -g \
            @anthropic-ai/claude-code`, or name it in CLAUDE_CLI_PATH."
        );
        std::io::Error::new(error.kind(), message)
    })?;
    tracing::debug!(version, "the Claude Code CLI is there");
    config.claude.process.version = Some(version);
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("Cannot listen on {}: {error}.", config.address))
    })?;
    raise_descriptor_limit();
    let address = listener.local_addr()?;
    let shutdown = shutdown_signal()?;
    tracing::info!("listening on http://{address}/v1");
    couplet::run(listener, config, shutdown).await
}

/// Allows as many open descriptors as the system lets this process have: each answer takes five, and the usual limit of
/// 1,024 would be reached with 200 of them.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open descriptors stays as it is");
    }
}
