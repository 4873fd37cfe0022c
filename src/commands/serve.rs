//! `couplet` and `couplet serve`: the server.

use std::process::ExitCode;

use couplet::config::{Config, ServeArguments};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use super::{complain, in_runtime, shutdown_signal};

/// Runs the server until it is asked to end.
pub fn run(arguments: ServeArguments) -> ExitCode {
    let filter = EnvFilter::try_from_env("COUPLET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Config::new(arguments, |name| std::env::var_os(name)) {
        Ok(config) => in_runtime(serve(config)),
        Err(error) => complain(&error),
    }
}

async fn serve(config: Config) -> std::io::Result<()> {
    let version = config.claude.process.program.version().await.map_err(|error| {
        let message = format!(
            "The Claude Code CLI cannot be used: {error}. Install it with `npm install -g \
            @anthropic-ai/claude-code`, or name it in CLAUDE_CLI_PATH."
        );
        std::io::Error::new(error.kind(), message)
    })?;
    tracing::debug!(version, "the Claude Code CLI is there");
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("Cannot listen on {}: {error}.", config.address))
    })?;
    let address = listener.local_addr()?;
    let shutdown = shutdown_signal()?;
    tracing::info!("listening on http://{address}/v1");
    couplet::run(listener, config, shutdown).await
}
