//! Connections: accepting, serving and closing them.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::service::WatchedService;
use super::connections::stream::WatchedStream;
use super::connections::{Connections, Place, turned_away};
use crate::logging::bounded::{BoundedLines, LeftOut};

/// The longest head, in bytes. A connection keeps as much of one until it is complete.
const MAX_HEAD: usize = 64 * 1024;

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
pub async fn serve(
    listener: TcpListener,
    router: Router,
    all: Connections,
    drain: CancellationToken,
    stop: CancellationToken,
) {
    let (mut connections, late_ones) = (Some(GracefulShutdown::new()), GracefulShutdown::new());
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let not_accepted = BoundedLines::<NotAccepted>::default();
    let mut looks = tokio::time::interval(all.interval());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            _ = looks.tick() => {
                all.cut_overdue();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _address)) => match all.admit(&cut) {
                Some(place) => {
                    let (watch, keep_alive) =
                        connections.as_ref().map_or((&late_ones, false), |early| (early, true));
                    serve_connection(stream, &router, watch, keep_alive, &tasks, place);
                }
                None => drop(tasks.spawn(turned_away::tell(stream))),
            },
            // Those that wait are accepted as soon as it can be done again.
            Err(error) => {
                // Most often there is no descriptor left: then another connection's will do.
                let made_room = all.evict();
                if not_accepted.have_room(()) {
                    tracing::warn!(%error, made_room, "a connection could not be accepted");
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
    place: Place,
) {
    // Each event of a stream goes out at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = WatchedService::new(router.clone(), place.connection.clone());
    let stream = TokioIo::new(WatchedStream::new(stream, place.connection.clone()));
    // Its timeouts are those of the connections.
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(keep_alive)
        .max_buf_size(MAX_HEAD)
        .serve_connection(stream, service);
    let connection = connections.watch(connection);
    tasks.spawn(async move {
        // A client that breaks its connection is no event worth a line.
        let _ = place.connection.close().run_until_cancelled(connection).await;
    });
}
