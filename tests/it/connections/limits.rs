//! More connections than there is room for.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{PATIENCE, connect, cut, exchange, read_to_end, statuses};
use crate::support::app::{Builder, TestApp, ask, said};
use crate::support::couplet_process::descriptors_of;
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class, Tried, saw};

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

async fn app_for(max: usize) -> TestApp {
    let builder = Builder::new(Path::new("/no/such/cli")).await;
    builder.with(|config| config.connections.max = Some(max)).start().await
}

#[tokio::test]
async fn connections_that_wait_make_room_the_longest_first() {
    let app = app_for(8).await;
    let mut idle = Vec::new();
    for number in 0..8 {
        let mut connection = connect(&app).await;
        if number % 2 == 1 {
            connection.write_all(b"GET /health/live HTTP/1.1\r\nx: ").await.expect("written");
        }
        idle.push(connection);
        sleep(Duration::from_millis(20)).await;
    }
    // None of them is new any more.
    sleep(Duration::from_millis(1500)).await;
    let mut held = Vec::new();
    for first in idle.drain(..4) {
        let mut first = first;
        let honest = exchange(&app, LIVE).await;
        assert_eq!(statuses(&honest), [200], "{honest}");
        // There is room again for one more, who takes it.
        held.push(connect(&app).await);
        assert_eq!(read_to_end(&mut first).await, "", "it was closed");
    }
    drop((idle, held));
    let evicted = cut(&app, "evicted").await;
    assert!(evicted >= 4, "{evicted}");
    let told = "a new client is answered; the connection that has done nothing for longest is closed";
    saw(
        Class::Connection,
        "all connections are taken, some of them idle or slow",
        Asked::Either,
        told,
        Tried::Times(4),
    );
}

#[tokio::test]
async fn where_all_are_needed_the_next_one_is_told_to_come_again() {
    let plays = vec![play("wait", [Step::Hang])];
    let fake = FakeCli::new(&Script { plays, ..Script::default() });
    let app = fake.app_with(|config| config.connections.max = Some(2)).await;
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(app.chat_later(&ask("wait")))).collect();
    eventually(PATIENCE, "both are asked", || fake.heard().matches("wait").count() >= 2).await;
    let ready = b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for request in [&ready[..], b"POST /v1/chat/completions HTTP/1.1\r\n", b""] {
        let read = exchange(&app, request).await;
        assert_eq!(statuses(&read), [503], "{read}");
        assert!(read.contains("too_many_connections") && read.contains("\r\nretry-after: 1\r\n"), "{read}");
    }
    let alive = exchange(&app, LIVE).await;
    assert_eq!(statuses(&alive), [200], "the process works: {alive}");
    assert!(alive.ends_with(r#"{"status":"ok"}"#), "{alive}");
    for one in waiting {
        one.abort();
    }
    fake.gone_within(PATIENCE).await;
    assert_eq!(said(&app.answer(&ask("are you well?")).await), "fine");
    assert_eq!(cut(&app, "turned_away").await, 4);
    let told = "503 `too_many_connections` at once, with `retry-after`; /health/live is answered as ever";
    saw(Class::Connection, "all connections are taken by turns", Asked::Either, told, Tried::Times(3));
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    const COUNT: u64 = 10_000;
    let app = app_for(1000).await;
    assert_eq!(statuses(&exchange(&app, LIVE).await), [200]);
    let before = descriptors_of(std::process::id());
    let address = app.url.strip_prefix("http://").expect("a URL");
    for number in 0..COUNT {
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        if number % 4 == 0 {
            connection.write_all(b"GET /health/live HTTP/1.1\r\n").await.expect("written");
        }
        // Most are reset, so that no ports of the system's are used up; one in ten ends well.
        if number % 10 != 0 {
            connection.set_zero_linger().expect("an option");
        }
    }
    let open = || descriptors_of(std::process::id());
    eventually(PATIENCE, "no descriptor is left open", || open() <= before).await;
    assert_eq!(statuses(&exchange(&app, LIVE).await), [200]);
    let told = "nothing; no descriptor is left";
    saw(Class::Connection, "connections come and go", Asked::Either, told, Tried::Times(COUNT));
}
