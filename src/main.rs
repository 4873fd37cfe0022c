//! The `couplet` binary: arguments in, exit status out.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Parser;
use couplet::claude::launcher;
use couplet::config::{Config, ServeArguments};
use couplet::upstream::Upstream;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Exit status for settings that cannot be used.
const UNUSABLE: u8 = 2;

/// Speaks the OpenAI API and answers through the official Claude Code CLI.
#[derive(Debug, Parser)]
#[command(name = "couplet", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the server (the same as no command).
    Serve(Box<ServeArguments>),
    /// Run a scripted Messages API on loopback: give the CLI its address in `ANTHROPIC_BASE_URL` and try things without
    /// an account. Prompts script it with [[…]] directives; see the documentation of `couplet::upstream`.
    Upstream {
        /// Port to listen on; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|command| command == launcher::SUBCOMMAND) {
        // Before anything else: this process is about to become the CLI.
        return launcher::main(&arguments[2..]);
    }
    let Arguments { command, serve } = Arguments::parse_from(arguments);
    match command {
        None => run_server(serve),
        Some(Command::Serve(arguments)) => run_server(*arguments),
        Some(Command::Upstream { port }) => in_runtime(run_upstream(port)),
    }
}

fn run_server(arguments: ServeArguments) -> ExitCode {
    let filter = EnvFilter::try_from_env("COUPLET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Config::new(arguments, |name| std::env::var_os(name)) {
        Ok(config) => in_runtime(serve(config)),
        Err(error) => complain(&error),
    }
}

fn in_runtime(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stdout, reason = "the address is the command's output")]
async fn run_upstream(port: u16) -> std::io::Result<()> {
    let upstream = Upstream::start(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)?;
    println!("{}", upstream.base_url());
    shutdown_signal()?.await;
    upstream.shutdown().await;
    Ok(())
}

async fn serve(config: Config) -> std::io::Result<()> {
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("Cannot listen on {}: {error}.", config.address))
    })?;
    let address = listener.local_addr()?;
    let shutdown = shutdown_signal()?;
    tracing::info!("listening on http://{address}/v1");
    couplet::run(listener, config, shutdown).await
}

/// Ready when the process is asked to end: SIGTERM by process managers, SIGINT by Ctrl-C.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Says why the server cannot run.
#[expect(clippy::print_stderr, reason = "the one sentence the user must see, whatever the log's level")]
fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("couplet: {error}");
    ExitCode::from(UNUSABLE)
}
