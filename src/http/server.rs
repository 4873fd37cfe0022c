//! Connections: accepting, serving and closing them.

use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::connection::Connection;
use super::connections::service::WatchedService;
use super::connections::stream::WatchedStream;
use super::connections::{Connections, turned_away};
use crate::logging::bounded::{BoundedLines, LeftOut};

/// The longest head, in bytes. A connection keeps as much of one until it is complete.
const MAX_HEAD: usize = 64 * 1024;

/// How long to wait when no connection can be accepted (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open connections may take to send the end of their last response once the server stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How much of an answer the system keeps for a client that has not taken it, in bytes (Linux counts what it takes itself as
/// well, and doubles this). Left alone it keeps 4 MB for each, and says that there is room again when a third of it is free:
/// from a client that reads 2 KB in a second nothing would be heard for ten minutes.
const UNSENT: usize = 128 * 1024;

/// How many connections the system is to keep until they are accepted.
pub const BACKLOG: u32 = 1024;

/// How often a connection is looked at whose first request has not come when it is to end.
const LOOK: Duration = Duration::from_millis(10);

/// A connection's requests.
type Requests = http1::Connection<TokioIo<WatchedStream>, WatchedService>;

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
/// says so (`connection: close`), and those that are idle end at once; one that has come just now is given a moment for its
/// request. New ones are accepted until `stop`, for a request each: whoever asks whether the server is ready is to be told that
/// it is not.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    all: Connections,
    drain: CancellationToken,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(all.interval());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let not_accepted = BoundedLines::<NotAccepted>::default();
    let server =
        Server { router, all, drain, stop, tasks: TaskTracker::new(), cut: CancellationToken::new() };
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.stop.cancelled() => break,
            _ = looks.tick() => {
                server.all.cut_overdue();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _address)) => server.take(stream),
            // Those that wait are accepted as soon as it can be done again.
            Err(error) => {
                // Most often there is no descriptor left: then another connection's will do.
                let made_room = server.all.evict();
                if not_accepted.have_room(()) {
                    tracing::warn!(%error, made_room, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    server.take_those_that_wait(listener);
    let Server { tasks, cut, all, .. } = server;
    tasks.close();
    if tokio::time::timeout(LAST_WORDS, tasks.wait()).await.is_err() {
        // The others have their answers, and only go on sending.
        let count = all.in_the_middle();
        if count > 0 {
            tracing::warn!(count, "connections were closed in the middle of a response");
        }
        cut.cancel();
        tasks.wait().await;
    }
}

/// What serves connections.
struct Server {
    router: Router,
    all: Connections,
    drain: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Cuts all of them.
    cut: CancellationToken,
}

impl Server {
    /// Serves a connection, or says that there is no room for it.
    fn take(&self, stream: TcpStream) {
        let Some(place) = self.all.admit(&self.cut) else {
            drop(self.tasks.spawn(turned_away::tell(stream)));
            return;
        };
        // Each event of a stream goes out at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        if let Err(error) = SockRef::from(&stream).set_send_buffer_size(UNSENT) {
            tracing::debug!(%error, "the size of a send buffer could not be set");
        }
        let is_late = self.drain.is_cancelled();
        let ends = if is_late { &self.stop } else { &self.drain }.clone();
        let service = WatchedService::new(self.router.clone(), place.connection.clone(), ends.clone());
        let stream = TokioIo::new(WatchedStream::new(stream, place.connection.clone()));
        // Its timeouts are those of the connections.
        let requests = http1::Builder::new()
            .keep_alive(!is_late)
            .max_buf_size(MAX_HEAD)
            .serve_connection(stream, service);
        self.tasks.spawn(async move {
            let served = serve_requests(requests, &place.connection, &ends);
            place.connection.close().run_until_cancelled(served).await;
        });
    }

    /// Serves those that were connected before the server stopped listening: closed with the listener, they would be reset.
    fn take_those_that_wait(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, _address)) = listener.accept() else { return };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.take(stream);
            }
        }
    }
}

/// Serves the requests of a connection until it is over, or it `ends`.
async fn serve_requests(mut requests: Requests, of: &Connection, ends: &CancellationToken) {
    let end = async {
        ends.cancelled().await;
        // Its client cannot know that nobody will read its first request, which may be here already.
        while of.is_new(Instant::now()) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let is_over = tokio::select! {
        biased;
        // A client that breaks its connection is no event worth a line.
        _ = &mut requests => true,
        () = end => false,
    };
    if !is_over {
        Pin::new(&mut requests).graceful_shutdown();
        let _ = (&mut requests).await;
    }
    // hyper leaves it to others to close a connection on which another protocol was offered. Nobody takes it up.
    let _ = requests.into_parts().io.into_inner().shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::connections::ConnectionSettings;
    use crate::http::connections::pace::Pace;
    use crate::metrics::connections::Cut;
    use axum::routing::get;
    use std::io::Write;
    use std::net::TcpStream as Client;
    use tokio::io::AsyncReadExt;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    struct Tried {
        listener: TcpListener,
        router: Router,
        all: Connections,
        drain: CancellationToken,
        stop: CancellationToken,
    }

    impl Tried {
        async fn new() -> Self {
            Self {
                listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
                router: Router::new().route("/", get(|| async { "here" })),
                all: Connections::new(ConnectionSettings::default(), 100),
                drain: CancellationToken::new(),
                stop: CancellationToken::new(),
            }
        }

        fn client(&self) -> Client {
            Client::connect(self.listener.local_addr().unwrap()).unwrap()
        }
    }

    async fn answer_to(client: Client) -> String {
        client.set_nonblocking(true).unwrap();
        let mut answer = String::new();
        let mut client = TcpStream::from_std(client).unwrap();
        let read = client.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn who_is_connected_and_about_to_ask_when_the_server_drains_is_answered() {
        let tried = Tried::new().await;
        let (mut client, silent) = (tried.client(), tried.client());
        let Tried { listener, router, all, drain, stop } = tried;
        let server = tokio::spawn(serve(listener, router, all.clone(), drain.clone(), stop.clone()));
        while all.counts().open() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drain.cancel();
        client.write_all(REQUEST).unwrap();
        let answer = answer_to(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(answer_to(silent).await, "", "it had its moment");
        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn those_that_wait_to_be_accepted_when_the_server_stops_are_answered() {
        let tried = Tried::new().await;
        let mut clients: Vec<_> = (0..5).map(|_| tried.client()).collect();
        for client in &mut clients {
            client.write_all(REQUEST).unwrap();
        }
        tried.drain.cancel();
        tried.stop.cancel();
        serve(tried.listener, tried.router, tried.all, tried.drain, tried.stop).await;
        for client in clients {
            let answer = answer_to(client).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_but_steadily_is_not_cut() {
        let pause = Duration::from_secs(3);
        let mut tried = Tried::new().await;
        let settings = ConnectionSettings {
            refusal: Pace { pause, bytes_per_second: 1024 },
            ..ConnectionSettings::default()
        };
        tried.all = Connections::new(settings, 100);
        let large = axum::body::Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
        tried.router = Router::new().route("/", get(move || async move { large }));
        let address = tried.listener.local_addr().unwrap();
        let Tried { listener, router, all, drain, stop } = tried;
        let server = tokio::spawn(serve(listener, router, all.clone(), drain, stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        let mut piece = vec![0; 64 * 1024];
        for _ in 0..24 {
            client.read_exact(&mut piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!((all.counts().cut(Cut::Unread), all.counts().open()), (0, 1));
        drop(client);
        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_beside_an_offer_of_another_protocol_reaches_a_client_that_still_sends() {
        let tried = Tried::new().await;
        let address = tried.listener.local_addr().unwrap();
        let Tried { listener, router, all, drain, stop } = tried;
        let server = tokio::spawn(serve(listener, router, all, drain, stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let body = vec![b' '; 16 * 1024 * 1024];
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.expect("it is not reset");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer:?}");
        stop.cancel();
        server.await.unwrap();
    }
}
