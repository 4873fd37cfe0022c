//! Couplet listens like the OpenAI API and answers through the official Claude Code CLI.
//!
//! The way of a request: [`http`] → [`translate`] → [`turn::Turn`] → [`claude`] → frames → [`translate`] → chunks →
//! [`http`].

pub mod claude;
pub mod config;
pub mod http;
pub mod logging;
pub mod openai;
pub mod translate;
pub mod turn;
pub mod upstream;

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use config::Config;

/// Serves `listener` until `shutdown` is ready; then in phases:
/// 1. `/health/ready` answers 503 and new chat requests are refused, while open answers go on for the grace time;
/// 2. answers that are still open end with an error, and all processes with them;
/// 3. connections are closed.
///
/// # Errors
/// When the server cannot be set up.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let claude = claude::Claude::new(config.claude)?;
    let router = http::router(http::App { claude: claude.clone(), http: Arc::new(config.http) });
    if config.list_models_at_start {
        claude.list_models_soon();
    }
    let stop = CancellationToken::new();
    let server = http::server::serve(listener, router, stop.clone());
    let end = async {
        shutdown.await;
        tracing::info!("shutting down");
        claude.shut_down(config.shutdown_grace).await;
        stop.cancel();
    };
    tokio::join!(server, end);
    tracing::info!("stopped");
    Ok(())
}
