//! What goes wrong with the CLI, its clients and the system, and what must then be true.

mod bodies;
mod clients;
mod clock;
mod crashes;
mod draining;
mod escaped;
mod floods;
mod hangs;
mod lines;
mod memory;
mod resources;
mod shutdown;
mod slow_reader;
mod starting;
mod store;
mod turns;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::app::{Streamed, TestApp, ask, said};
use crate::support::couplet_process::streamed;
use crate::support::fake_cli::{FakeCli, eventually};

/// Within this a process must be gone after its end was decided.
const SOON: Duration = Duration::from_secs(1);

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream that ended with an error frame, or was one from the beginning: the error's code. It holds nothing that an
/// SDK could take for a good end.
fn broken(answer: &Streamed) -> &str {
    assert!(!answer.done, "no [DONE] after a failure: {answer:?}");
    assert_eq!(answer.finish_reason(), None, "{answer:?}");
    let error = answer.error().unwrap_or_else(|| panic!("an error at the end of {answer:?}"));
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    error["code"].as_str().expect("a code")
}

/// The status and the error's code of an answer that is not streamed.
fn refused((status, answer): &(u16, Value)) -> (u16, &str) {
    (*status, answer["error"]["code"].as_str().unwrap_or_else(|| panic!("an error, not {answer}")))
}

/// The places for turns that `/health` counts as free.
async fn free_places(app: &TestApp) -> u64 {
    let health: Value = app.health().await;
    health["free_places"].as_u64().expect("a number")
}

/// The server is as it was: a question is answered, then no process is left and no place taken.
async fn is_as_before(app: &TestApp, fake: &FakeCli, places: u64) {
    assert_eq!(said(&app.answer(&ask("are you well?")).await), "fine");
    fake.gone_within(2 * SOON).await;
    // The place is given back once the process is gone.
    let begun = Instant::now();
    while free_places(app).await != places {
        assert!(begun.elapsed() < SOON, "{} of {places} places are free", free_places(app).await);
    }
}

/// Asks for a stream, over a connection that takes little unread.
async fn ask_unread(app: &TestApp, text: &str) -> TcpStream {
    let address: SocketAddr = app.url.trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    let mut connection = socket.connect(address).await.expect("a connection");
    let body = streamed(&ask(text)).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.expect("a request");
    connection
}

/// Waits until the CLI can write no more, for `time`; says since when.
async fn stalled(fake: &FakeCli, time: Duration) -> Instant {
    eventually(PATIENCE, "the CLI is asked", || fake.reports().len() == 1).await;
    let counts = format!("/proc/{}/io", fake.report().process_id);
    let (mut written, mut since) = (0, Instant::now());
    eventually(PATIENCE, "the CLI can write no more", || {
        let now = std::fs::read_to_string(&counts).expect("a process");
        let now = now.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("a count");
        let now: usize = now.parse().expect("a number");
        let much = now > 100_000;
        if std::mem::replace(&mut written, now) != written {
            since = Instant::now();
        }
        much && since.elapsed() > time
    })
    .await;
    since
}
