//! Couplet listens like the OpenAI API and answers through the official Claude Code CLI.
//!
//! The way of a request: [`http`] → [`translate`] → [`turn::Turn`] → [`media`] → [`claude`] → frames → [`translate`] → chunks →
//! [`http`].

pub mod access;
pub mod answer_schema;
pub mod anthropic;
pub mod caller;
pub mod claude;
pub mod config;
pub mod doctor;
pub mod http;
pub mod limits;
pub mod logging;
pub mod media;
pub mod metrics;
pub mod openai;
pub mod recorder;
pub mod scope;
pub mod stand_in;
pub mod store;
pub mod telemetry;
pub mod tenants;
pub mod translate;
pub mod turn;
pub mod upstream;
pub mod wall_clock;
pub mod wire;

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use access::Access;
use claude::ClaudeSettings;
use config::Config;
use http::Mode;
use http::connections::{self, Connections};
use limits::accounts::Accounts;
use limits::limiter::Limiter;
use metrics::Metrics;
use store::Store;
use tenants::Tenants;
use upstream::Upstream;

/// How long the server waits at most while another process writes to its database. What could not be written is tried again.
const STORE_PATIENCE: Duration = Duration::from_millis(500);

/// Serves `listener` until `shutdown` is ready; then in phases:
/// 1. `/health/ready` answers 503, new chat requests are refused and idle connections closed, while open answers, and those that
///    wait for their turn, go on for the grace time;
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
    let store = Store::open(&config.claude.process.state_dir).map_err(io::Error::other)?;
    let accounts = Accounts::new(store.clone())?;
    let limiter = Limiter::new(config.limits, accounts.clone());
    let access = Access::new(&config.access, store.clone()).map_err(io::Error::other)?;
    // Somebody else's long write must not keep revocations and quotas from being read.
    store.wait_at_most(STORE_PATIENCE).map_err(io::Error::other)?;
    let processes = most_processes(&config.claude);
    let tenants = Tenants::new(config.claude, config.tenants)?;
    let media = media::Intake::new(config.media)?;
    let targets = config.http.aliases.values().map(|alias| alias.model.clone()).collect();
    let connections = Connections::new(config.connections, connections::room::for_connections(processes));
    let metrics =
        Metrics::new(tenants.clone(), connections.counts().clone(), targets, config.http.mode.as_str());
    let router = http::router(http::App::new(http::Parts {
        access: access.clone(),
        limiter,
        tenants: tenants.clone(),
        media,
        metrics,
        http: config.http,
    }));
    if config.list_models_at_start
        && let Some(default) = tenants.default()
    {
        default.list_models_soon();
    }
    tenants.keep_warm();
    // A thread for what blocks: where no more can be started later, this one does all of it. `keep_up` keeps it alive.
    tokio::task::spawn_blocking(|| ()).await.map_err(io::Error::other)?;
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let keeping_up = access.keep_up(stop.clone());
    let open = connections.clone();
    let server = http::server::serve(listener, router, connections, drain.clone(), stop.clone());
    let end = async {
        shutdown.await;
        tracing::info!("shutting down");
        drain.cancel();
        let until = Instant::now() + config.shutdown_grace;
        tenants.shut_down(config.shutdown_grace).await;
        // Its turn is over, but not every client has read all of its answer.
        open.answers_ended(until).await;
        stop.cancel();
    };
    tokio::join!(server, keeping_up, end);
    // What was used last; it may wait for the disk.
    let written = tokio::task::spawn_blocking(move || {
        store.wait_at_most(store::BUSY)?;
        accounts.write()
    })
    .await;
    if let Err(error) =
        written.map_err(io::Error::other).and_then(|written| written.map_err(io::Error::other))
    {
        tracing::error!(%error, "what was used last is lost: it cannot be written");
    }
    tracing::info!("stopped");
    Ok(())
}

/// How many processes of the CLI there may be at once.
fn most_processes(claude: &ClaudeSettings) -> usize {
    claude.max_concurrency + claude.keep.processes + claude.warm.max
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
