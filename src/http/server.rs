//! Connections: accepting, serving and closing them.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::logging::bounded::{BoundedLines, LeftOut};

/// How long a client may take to send a request's head, and how long an idle connection is kept. `axum::serve` sets no
/// timer, which leaves hyper's own limit without effect; a few slow clients could then hold all connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when no connection can be accepted (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open connections may take to send the end of their last response once the server stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often in vain a connection was to be accepted without a line in the log.
#[derive(Debug, Default)]
struct NotAccepted;

impl LeftOut for NotAccepted {
    type One = ();
    const LINES: u32 = 1;
    const WINDOW: Duration = Duration::from_secs(10);

    fn count(&mut self, (): ()) {}

    fn tell(&self, count: u64) {
        tracing::warn!(count, "no connection could be accepted, again and again");
    }
}

/// Serves connections until `stop`, then lets the open ones end. From `drain` on each ends with the response it is at, which
/// says so (`connection: close`), and those that are idle end at once. New ones are accepted until `stop`, for a request each:
/// whoever asks whether the server is ready is to be told that it is not.
pub async fn serve(listener: TcpListener, router: Router, drain: CancellationToken, stop: CancellationToken) {
    let (mut connections, late_ones) = (Some(GracefulShutdown::new()), GracefulShutdown::new());
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let not_accepted = BoundedLines::<NotAccepted>::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = drain.cancelled(), if connections.is_some() => {
                if let Some(connections) = connections.take() {
                    tasks.spawn(connections.shutdown());
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _address)) => {
                let (watch, keep_alive) = connections.as_ref().map_or((&late_ones, false), |all| (all, true));
                serve_connection(stream, &router, watch, keep_alive, &tasks, cut.clone());
            }
            // Those that wait are accepted as soon as it can be done again.
            Err(error) => {
                if not_accepted.have_room(()) {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.spawn(late_ones.shutdown());
    if let Some(connections) = connections {
        tasks.spawn(connections.shutdown());
    }
    tasks.close();
    if tokio::time::timeout(LAST_WORDS, tasks.wait()).await.is_err() {
        tracing::warn!("some connections were closed in the middle of a response");
        cut.cancel();
        tasks.wait().await;
    }
}

fn serve_connection(
    stream: TcpStream,
    router: &Router,
    connections: &GracefulShutdown,
    keep_alive: bool,
    tasks: &TaskTracker,
    cut: CancellationToken,
) {
    // Each event of a stream goes out at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = TowerToHyperService::new(router.clone());
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tasks.spawn(async move {
        // A client that breaks its connection is no event worth a line.
        let _ = cut.run_until_cancelled(connection).await;
    });
}
