//! Clients that are slow on purpose, two thousand at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use couplet::http::connections::ConnectionSettings;
use couplet::http::connections::pace::Pace;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, cut, exchange, statuses};
use crate::support::app::{Builder, TestApp};
use crate::support::couplet_process::descriptors_of;
use crate::support::fake_cli::eventually;
use crate::support::fault_table::{Asked, Class, Tried, saw};

/// So many in all.
const ALL: usize = 2000;

/// How long each part of a client's may take.
const PAUSE: Duration = Duration::from_secs(5);

/// How a client is slow.
#[derive(Debug, Clone, Copy)]
enum Slow {
    /// A head that never ends, a byte at a time.
    Head,
    /// A body that never ends, a byte at a time.
    Body,
    /// Nothing is sent.
    Idle,
    /// Much is asked, nothing is read.
    Reader,
}

/// Each kind, and how many of it. What readers leave unread takes memory of the system's, so there are fewer.
const KINDS: [(Slow, usize); 4] =
    [(Slow::Head, 700), (Slow::Body, 600), (Slow::Idle, 600), (Slow::Reader, 100)];

fn settings() -> ConnectionSettings {
    let pace = Pace { pause: PAUSE, bytes_per_second: 1024 };
    ConnectionSettings {
        max: Some(4000),
        head: PAUSE,
        idle: PAUSE,
        kept: PAUSE,
        body: pace,
        answer: pace,
        refusal: pace,
        leaving: Duration::from_secs(1),
    }
}

async fn connect(app: &TestApp) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = app.url.trim_start_matches("http://").parse().expect("an address");
    socket.connect(address).await.expect("a connection")
}

impl Slow {
    /// Is slow until the server closes the connection.
    async fn be(self, mut connection: TcpStream) {
        let begin: &[u8] = match self {
            Self::Head => b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: ",
            Self::Body => {
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                  content-length: 1000000\r\n\r\n"
            }
            Self::Idle => b"",
            Self::Reader => {
                let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
                // More than all buffers on the way take; then until the connection is reset.
                let _ = connection.write_all(&request.repeat(200)).await;
                while connection.write_all(request).await.is_ok() {
                    sleep(PAUSE / 10).await;
                }
                return;
            }
        };
        let _ = connection.write_all(begin).await;
        let (mut reader, mut writer) = connection.split();
        let sending = async {
            while !matches!(self, Self::Idle) && writer.write_all(b" ").await.is_ok() {
                sleep(PAUSE / 10).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut answer = [0; 1024];
            while reader.read(&mut answer).await.is_ok_and(|length| length > 0) {}
        };
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_hold_up_nobody_and_are_all_sent_away() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more descriptors");
    let app = Builder::new(Path::new("/no/such/cli")).await.with(|config| config.connections = settings());
    let app = app.start().await;
    assert_eq!(app.get("/version").send().await.expect("an answer").status(), 200);
    let before = descriptors_of(std::process::id());

    let mut slow = JoinSet::new();
    let open = Arc::new(AtomicUsize::new(0));
    let all_are_there = CancellationToken::new();
    for (kind, count) in KINDS {
        for _ in 0..count {
            let connection = connect(&app).await;
            let (open, begin) = (open.clone(), all_are_there.clone());
            open.fetch_add(1, Ordering::Relaxed);
            slow.spawn(async move {
                begin.cancelled().await;
                kind.be(connection).await;
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
    assert_eq!(open.load(Ordering::Relaxed), ALL);
    all_are_there.cancel();
    let all_came = Instant::now();
    // New connections, and one that is kept.
    let request = b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (mut answered, mut among_most) = (0, 0);
    while !slow.is_empty() {
        assert!(all_came.elapsed() < PAUSE * 3 + PATIENCE, "{} are still open", slow.len());
        assert_eq!(statuses(&exchange(&app, request).await), [200]);
        assert_eq!(app.get("/version").send().await.expect("an answer").status(), 200);
        answered += 2;
        if open.load(Ordering::Relaxed) > ALL / 2 {
            among_most += 2;
        }
        while slow.try_join_next().is_some() {}
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        answered >= 50 && among_most >= 10,
        "{answered} answered, {among_most} beside most of the slow ones"
    );
    for (reason, (_, least)) in ["head", "body", "idle", "unread"].into_iter().zip(KINDS) {
        let cut = cut(&app, reason).await;
        assert!(cut >= least as u64, "{cut} for {reason}");
    }
    let now = || descriptors_of(std::process::id());
    eventually(PATIENCE, "no descriptor is left open", || now() <= before).await;
    let count = Tried::Times(ALL as u64);
    let told =
        "honest clients are answered; the slow ones are closed when their time is over, bodies with 408";
    saw(Class::Connection, "2,000 slow connections: heads, bodies, idle, unread", Asked::Either, told, count);
}
