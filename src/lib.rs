//! Couplet listens like the OpenAI API and answers through the official Claude Code CLI.
//!
//! The way of a request: [`http`] → [`translate`] → [`turn::Turn`] → [`media`] → [`claude`] → frames → [`translate`] → chunks →
//! [`http`].

pub mod answer_schema;
pub mod anthropic;
pub mod claude;
pub mod config;
pub mod doctor;
pub mod http;
pub mod logging;
pub mod media;
pub mod openai;
pub mod recorder;
pub mod stand_in;
pub mod tenant;
pub mod translate;
pub mod turn;
pub mod upstream;

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use config::Config;
use http::Mode;
use upstream::Upstream;

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
    let mut config = config;
    let _scripted = match config.http.mode {
        Mode::Live => None,
        Mode::Demo => Some(prepare_demo(&mut config).await?),
    };
    let claude = claude::Claude::new(config.claude)?;
    let media = media::Intake::new(config.media)?;
    let router = http::router(http::App { claude: claude.clone(), media, http: Arc::new(config.http) });
    if config.list_models_at_start {
        claude.list_models_soon();
    }
    claude.keep_warm();
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

/// Starts the scripted API that answers in demo mode, and says loudly that it does.
async fn prepare_demo(config: &mut Config) -> io::Result<Upstream> {
    let upstream = Upstream::start_on_loopback().await?;
    config.claude.process.base_url = Some(upstream.base_url());
    tracing::warn!(
        "DEMO MODE: no model answers, all answers are scripted. For answers from Claude run `claude setup-token` and set \
         its token as CLAUDE_CODE_OAUTH_TOKEN. (COUPLET_DEMO=never refuses to start like this.)"
    );
    Ok(upstream)
}
