//! Bodies that come slowly, that nobody reads, and that are asked for first.

use std::path::Path;
use std::time::{Duration, Instant};

use couplet::http::connections::ConnectionSettings;
use couplet::http::connections::pace::Pace;
use rstest::rstest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, connect, cut, exchange, read_to_end, short, statuses};
use crate::support::app::{Builder, TestApp, ask};
use crate::support::couplet_process::{descriptors_of, streamed};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class, Tried, saw};

const CHAT: &str = "/v1/chat/completions";
const KEY: &str = "a-key-of-the-tests";

/// It answers with 503 to what it finds nothing wrong with.
async fn app_with(settings: ConnectionSettings) -> TestApp {
    let builder = Builder::new(Path::new("/no/such/cli")).await.with_keys(&[KEY]);
    builder.with(|config| config.connections = settings).start().await
}

/// The head of a POST with a key and these headers.
fn head(path: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\n{headers}\r\n\r\n"
    )
}

/// The body of an answer that is JSON.
fn json(read: &str) -> Value {
    let (_, body) = read.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("JSON in {read}"))
}

/// Sends that again and again, and reads until the connection is closed.
async fn trickle(mut connection: TcpStream, piece: &[u8], pause: Duration) -> String {
    let (mut reader, mut writer) = connection.split();
    let mut read = Vec::new();
    let sending = async {
        while writer.write_all(piece).await.is_ok() {
            sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = timeout(PATIENCE, reader.read_to_end(&mut read));
    tokio::select! {
        () = sending => {}
        ended = reading => drop(ended.expect("the server closes it")),
    }
    String::from_utf8(read).expect("text")
}

#[rstest]
#[case::a_body_that_trickles("content-length: 100000", b"  ")]
#[case::chunks_that_trickle("transfer-encoding: chunked", b"1\r\n \r\n")]
#[case::a_body_that_does_not_come("content-length: 100000", b"")]
#[tokio::test]
async fn a_body_that_is_too_slow_ends_with_408(#[case] headers: &str, #[case] piece: &[u8]) {
    let app = app_with(short()).await;
    for path in [CHAT, "/v1/messages"] {
        let mut connection = connect(&app).await;
        connection.write_all(head(path, headers).as_bytes()).await.expect("written");
        let begun = Instant::now();
        let read = trickle(connection, piece, Duration::from_millis(50)).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "not at once");
        assert_eq!(statuses(&read), [408], "{read}");
        assert!(read.contains("\r\nconnection: close\r\n"), "{read}");
        let (answer, in_anthropic_s) = (json(&read), path == "/v1/messages");
        assert_eq!(answer["type"] == "error", in_anthropic_s, "{answer}");
        assert!(in_anthropic_s || answer["error"]["code"] == "request_timeout", "{answer}");
    }
    assert_eq!(cut(&app, "body").await, 2);
    let told = "408 in the form of the API, and the connection is closed";
    saw(Class::Connection, "a body trickles, or hangs", Asked::Either, told, Tried::Times(6));
}

#[tokio::test]
async fn a_body_over_a_slow_line_is_waited_for() {
    let body = Pace { pause: Duration::from_secs(3), bytes_per_second: 1024 };
    let app = app_with(ConnectionSettings { body, ..short() }).await;
    let question = ask("hi").to_string();
    let padding = vec![b' '; 1024];
    let pieces = 25;
    let mut connection = connect(&app).await;
    let length = format!("content-length: {}", padding.len() * pieces + question.len());
    connection.write_all(head(CHAT, &length).as_bytes()).await.expect("written");
    let begun = Instant::now();
    for _ in 0..pieces {
        connection.write_all(&padding).await.expect("written");
        sleep(Duration::from_millis(200)).await;
    }
    connection.write_all(question.as_bytes()).await.expect("written");
    assert!(begun.elapsed() > body.pause, "longer than a pause may be");
    let read = read_to_end(&mut connection).await;
    assert_eq!(statuses(&read), [503], "it was read: {read}");
}

#[tokio::test]
async fn slow_senders_of_large_bodies_make_room_where_all_places_are_taken() {
    const PLACES: usize = 8;
    let body = Pace { pause: Duration::from_secs(1), bytes_per_second: 32 * 1024 };
    let app = app_with(ConnectionSettings { body, ..short() }).await;
    let slow = (0..PLACES).map(|_| async {
        let mut connection = connect(&app).await;
        connection.write_all(head(CHAT, "content-length: 33000000").as_bytes()).await.expect("written");
        connection.write_all(&vec![b' '; 1200 * 1024]).await.expect("written");
        trickle(connection, &[b' '; 6400], Duration::from_millis(100)).await
    });
    let honest = async {
        // After them: alone they have half a minute and more.
        sleep(Duration::from_secs(3)).await;
        let question = format!("{}{}", " ".repeat(2 << 20), ask("hi"));
        let mut connection = connect(&app).await;
        connection
            .write_all(head(CHAT, &format!("content-length: {}", question.len())).as_bytes())
            .await
            .expect("written");
        let begun = Instant::now();
        connection.write_all(question.as_bytes()).await.expect("written");
        assert_eq!(statuses(&read_to_end(&mut connection).await), [503], "it was read");
        // Alone, each of them would have had half a minute and more.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    };
    let mut honest = std::pin::pin!(honest);
    tokio::select! {
        () = &mut honest => {}
        _ = futures_util::future::join_all(slow) => honest.await,
    }
    assert!(cut(&app, "body").await >= 1, "somebody made room");
    let told = "an answer for the next one; 408 for those who are slow meanwhile";
    saw(
        Class::Connection,
        "large bodies come slowly and take all places",
        Asked::Either,
        told,
        Tried::Times(8),
    );
}

/// A request that is refused with a large body: the method and target, whether it has a key, and headers.
#[rstest]
#[case::without_a_key(401, "POST /v1/chat/completions", "x: ", "application/json")]
#[case::to_no_endpoint(404, "POST /v1/nothing", "authorization: ", "application/json")]
#[case::with_a_wrong_method(405, "PUT /v1/chat/completions", "authorization: ", "application/json")]
#[case::of_a_wrong_type(415, "POST /v1/chat/completions", "authorization: ", "text/plain")]
#[case::that_is_too_large(413, "POST /v1/chat/completions", "authorization: ", "application/json")]
#[tokio::test]
async fn a_refused_body_is_not_read_and_its_client_sees_why(
    #[case] status: u16,
    #[case] line: &str,
    #[case] key: &str,
    #[case] kind: &str,
) {
    let leaving = Duration::from_secs(3);
    let app = app_with(ConnectionSettings { leaving, ..short() }).await;
    let length = if status == 413 { 40 << 20 } else { 8 << 20 };
    let head = |more: &str| {
        format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\n{key}Bearer {KEY}\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n{more}\r\n"
        )
    };
    // One that sends all of it before it reads.
    let mut eager = connect(&app).await;
    eager.write_all(head("").as_bytes()).await.expect("written");
    eager.write_all(&vec![b' '; length]).await.expect("it is taken");
    let read = read_to_end(&mut eager).await;
    assert_eq!(statuses(&read), [status], "{read}");
    assert!(read.contains("\r\nconnection: close\r\n"), "{read}");
    // One that asks before, and one that sends nothing and stays.
    for more in ["expect: 100-continue\r\n", ""] {
        let mut connection = connect(&app).await;
        connection.write_all(head(more).as_bytes()).await.expect("written");
        let begun = Instant::now();
        let read = read_to_end(&mut connection).await;
        assert_eq!(statuses(&read), [status], "no 100: {read}");
        // The end of the answers is told at once, whatever is still to come.
        assert!(begun.elapsed() < leaving, "{:?}", begun.elapsed());
    }
    let told = "the error at once, without `100 Continue`; what is still sent is thrown away for a while";
    saw(
        Class::Connection,
        "a large body comes with a request that is refused",
        Asked::Either,
        told,
        Tried::Times(15),
    );
}

#[tokio::test]
async fn a_body_that_will_be_read_is_asked_for() {
    let app = app_with(short()).await;
    let question = ask("hi").to_string();
    let mut connection = connect(&app).await;
    let more = format!("content-length: {}\r\nexpect: 100-continue\r\nconnection: close", question.len());
    connection.write_all(head(CHAT, &more).as_bytes()).await.expect("written");
    let mut go_on = [0; 25];
    timeout(PATIENCE, connection.read_exact(&mut go_on)).await.expect("soon").expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(question.as_bytes()).await.expect("written");
    assert_eq!(statuses(&read_to_end(&mut connection).await), [503]);
}

#[tokio::test]
async fn a_client_that_ends_its_side_is_taken_for_gone() {
    let fake = FakeCli::new(&Script { plays: vec![play("wait", [Step::Hang])], ..Script::default() });
    let app = fake.app().await;
    for stream in [false, true] {
        fake.forget_reports();
        let question = if stream { streamed(&ask("wait")) } else { ask("wait") }.to_string();
        let mut connection = connect(&app).await;
        let request = head(CHAT, &format!("content-length: {}", question.len())) + &question;
        connection.write_all(request.as_bytes()).await.expect("written");
        eventually(PATIENCE, "the CLI is asked", || fake.heard().contains("wait")).await;
        connection.shutdown().await.expect("ended");
        fake.gone_within(Duration::from_secs(3)).await;
        assert_eq!(read_to_end(&mut connection).await, "");
        let told = "the connection is closed and the turn interrupted: a client that has gone looks the same";
        saw(
            Class::Connection,
            "a client ends its side while it waits",
            Asked::with(stream),
            told,
            Tried::Times(1),
        );
    }
}

#[tokio::test]
async fn a_reset_at_any_moment_leaves_nothing() {
    let app = app_with(short()).await;
    let question = ask("hi").to_string();
    let whole = head(CHAT, &format!("content-length: {}", question.len())) + &question;
    let first = whole.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    assert_eq!(statuses(&exchange(&app, first.as_bytes()).await), [503]);
    let before = descriptors_of(std::process::id());
    let moments = (0..whole.len()).step_by(7);
    let count = moments.len() as u64;
    for sent in moments {
        let mut connection = connect(&app).await;
        connection.write_all(&whole.as_bytes()[..sent]).await.expect("written");
        // Closed without an end.
        connection.set_zero_linger().expect("an option");
    }
    let open = || descriptors_of(std::process::id());
    eventually(PATIENCE, "no descriptor is left open", || open() <= before).await;
    let told = "nothing; the server keeps nothing of the connection";
    saw(
        Class::Connection,
        "a connection is reset in the middle of a request",
        Asked::Either,
        told,
        Tried::Times(count),
    );
}
