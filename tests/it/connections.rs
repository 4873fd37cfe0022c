//! Connections that are misused: slow ones, very many, and requests that can be read in two ways.

mod bodies;
mod limits;
mod slow;
mod smuggling;

use std::time::Duration;

use couplet::http::connections::ConnectionSettings;
use couplet::http::connections::pace::Pace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{ADMIN_KEY, TestApp};
use crate::support::exposition;

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Times that a test can wait for.
fn short() -> ConnectionSettings {
    let pause = Duration::from_secs(1);
    ConnectionSettings {
        max: None,
        head: pause,
        idle: 2 * pause,
        kept: 2 * pause,
        body: Pace { pause, bytes_per_second: 1024 },
        answer: Pace { pause: 2 * pause, bytes_per_second: 1024 },
        refusal: Pace { pause, bytes_per_second: 1024 },
        leaving: pause,
    }
}

/// A connection to a server.
async fn connect(app: &TestApp) -> TcpStream {
    let address = app.url.strip_prefix("http://").expect("a URL");
    TcpStream::connect(address).await.expect("a connection")
}

/// Reads until the server closes the connection. A reset is a close too, once the end of the answer was there.
async fn read_to_end(connection: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match timeout(PATIENCE, connection.read(&mut piece)).await.expect("the server closes it") {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&read).into_owned(),
            Ok(length) => read.extend_from_slice(&piece[..length]),
        }
    }
}

/// Sends that, and reads all answers until the server closes the connection.
async fn exchange(app: &TestApp, sent: &[u8]) -> String {
    let mut connection = connect(app).await;
    // It may be closed before all of it is sent.
    let _ = connection.write_all(sent).await;
    read_to_end(&mut connection).await
}

/// The statuses of the answers in what was read.
fn statuses(read: &str) -> Vec<u16> {
    let lines = read.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

/// The sum of the samples of a metric with that value of a label.
async fn metric(app: &TestApp, name: &str, label: &str, value: &str) -> u64 {
    let response = app.get("/metrics").bearer_auth(ADMIN_KEY).send().await.expect("an answer");
    let samples = exposition::read(&response.text().await.expect("text"));
    let is_it = |sample: &&exposition::Sample| {
        sample.name == name && (label.is_empty() || sample.labels.get(label).is_some_and(|is| is == value))
    };
    let sum: f64 = samples.iter().filter(is_it).map(|sample| sample.value).sum();
    format!("{sum}").parse().expect("a whole number")
}

/// How many connections were cut for that reason.
async fn cut(app: &TestApp, reason: &str) -> u64 {
    metric(app, "couplet_connections_cut_total", "reason", reason).await
}
