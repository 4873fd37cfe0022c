//! `couplet` and `couplet serve`: the server.

use std::net::SocketAddr;
use std::process::ExitCode;

use couplet::claude::installed::Probe;
use couplet::claude::sandbox::Support;
use couplet::config::{Config, ConfigError, ServeArguments, Settings, Surroundings};
use couplet::http::server::BACKLOG;
use couplet::logging::{self, Log};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::signals;
use super::{complain, in_runtime};

/// Runs the server until it is asked to end.
pub fn run(arguments: &ServeArguments) -> ExitCode {
    match configure(arguments) {
        // Held to the end, so that the last lines and traces are written.
        Ok((config, _log)) => match signals::end_when_asked(config.shutdown_grace) {
            Ok(asked) => in_runtime(serve(config, asked)),
            Err(error) => complain(&error),
        },
        Err(error) => complain(&error),
    }
}

fn configure(arguments: &ServeArguments) -> Result<(Config, Log), ConfigError> {
    let around = Surroundings::of_this_process();
    let loaded = Settings::load(arguments, &around)?;
    let log = logging::start(loaded.settings.log.clone(), loaded.settings.log_format);
    for hint in &loaded.hints {
        tracing::warn!("{hint}");
    }
    Ok((Config::new(loaded.settings, &around)?, log))
}

async fn serve(mut config: Config, asked: CancellationToken) -> std::io::Result<()> {
    config.claude.process.sandbox.mode.announce(Support::of_this_kernel())?;
    // The CLI may take its time to say its version.
    let Some(listener) = asked.run_until_cancelled(listen(&mut config)).await.transpose()? else {
        return Ok(());
    };
    raise_descriptor_limit();
    survive_full_files()?;
    tracing::info!("listening on http://{}/v1", listener.local_addr()?);
    couplet::run(listener, config, asked.cancelled_owned()).await
}

async fn listen(config: &mut Config) -> std::io::Result<TcpListener> {
    let version = Probe::new(&config.claude.process).version().await.map_err(|error| {
        let message = format!(
            "The Claude Code CLI cannot be used: {error}. Install it with `npm install -g \
            @anthropic-ai/claude-code`, or name it in CLAUDE_CLI_PATH."
        );
        std::io::Error::new(error.kind(), message)
    })?;
    tracing::debug!(version, "the Claude Code CLI is there");
    config.claude.process.version = Some(version);
    listen_on(config.address).map_err(|error| {
        std::io::Error::new(error.kind(), format!("Cannot listen on {}: {error}.", config.address))
    })
}

/// As [`TcpListener::bind`] does, but the system keeps more connections until they are accepted: of 200 clients that come in the
/// same moment it would leave some without an answer, and these would try again a second later.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that was ended just now leaves connections that nobody closed.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has a write beyond the largest file that this process may make (`ulimit -f`) fail like one to a full disk. Left alone, the signal
/// that comes of it ends the process.
fn survive_full_files() -> std::io::Result<()> {
    // Its handler stays when the stream of signals is dropped. Programs that are started do not inherit it.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

/// Allows as many open descriptors as the system lets this process have: each answer takes five, and the usual limit of
/// 1,024 would be reached with 200 of them.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open descriptors stays as it is");
    }
}
