//! The server drains: what becomes of those who come then, who are idle, who are not done asking, and who wait too long.

use std::time::{Duration, Instant};

use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, SOON};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::couplet_process::streamed;
use crate::support::fake_cli::frames::{message, message_start, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{self, Asked, Class, Tried};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const MESSAGES: &str = "/v1/messages";

fn body(path: &str, stream: bool) -> Value {
    let mut body = match path {
        COMPLETIONS => json!({"model": "claude-sonnet-5-5", "prompt": "hello"}),
        MESSAGES => {
            let mut body = ask("hello");
            body["max_tokens"] = json!(100);
            body
        }
        _ => ask("hello"),
    };
    body["stream"] = json!(stream);
    body
}

/// A server that drains for a minute at most, as it has an answer open; that ends when the file is there.
async fn draining(fake: &FakeCli) -> (TestApp, Response) {
    let whole = message("msg_1", "the answer");
    let steps = [
        Step::Frames(whole[..3].to_vec()),
        Step::AwaitFile(fake.file("go-on")),
        Step::Frames([&whole[3..], &[success()]].concat()),
    ];
    fake.follow(&Script { plays: vec![play("slowly", steps)], ..Script::default() });
    let app = fake.app_with(|config| config.shutdown_grace = Duration::from_secs(60)).await;
    let open = app.chat(&streamed(&ask("slowly"))).await;
    (app, open)
}

async fn drains(app: &TestApp) {
    app.begin_shutdown();
    let begun = Instant::now();
    while app.get("/health/ready").send().await.expect("an answer").status() != 503 {
        assert!(begun.elapsed() < PATIENCE);
    }
}

async fn ends_well(fake: &FakeCli, mut app: TestApp, open: Response) {
    std::fs::write(fake.file("go-on"), "").expect("a file");
    let answer = Streamed::read(open).await;
    assert_eq!((answer.contents(), answer.done), (vec!["the answer"], true));
    app.shut_down().await;
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn who_comes_then_is_sent_elsewhere_and_health_is_told_all_along() {
    let fake = FakeCli::new(&Script::default());
    let (app, open) = draining(&fake).await;
    drains(&app).await;
    for path in [CHAT, COMPLETIONS, MESSAGES] {
        for stream in [true, false] {
            let refused = app.post(path).json(&body(path, stream)).send().await.expect("an answer");
            let header = |name: &str| {
                refused.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
            };
            let told = (refused.status().as_u16(), header("retry-after"), header("connection"));
            assert_eq!(told, (503, Some("2".to_owned()), Some("close".to_owned())), "{path}: {refused:?}");
            let error: Value = refused.json().await.expect("JSON");
            assert!(
                error["error"]["message"].as_str().is_some_and(|told| told.contains("shutting down")),
                "{error}"
            );
            if path != MESSAGES {
                assert_eq!(error["error"]["code"], "shutting_down");
            }
        }
    }
    for (path, status) in [("/health/live", 200), ("/health/ready", 503), ("/health", 503)] {
        assert_eq!(app.get(path).send().await.expect("an answer").status(), status, "{path}");
    }
    ends_well(&fake, app, open).await;
    fault_table::saw(
        Class::Drain,
        "a request after the server was told to end, on a connection that was open or a new one",
        Asked::Either,
        "503 `shutting_down`, `retry-after`, `connection: close`",
        Tried::Times(6),
    );
}

/// Connects, and asks something on a connection that stays open.
async fn connected(app: &TestApp) -> TcpStream {
    let address = app.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /health/live HTTP/1.1\r\nhost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = vec![0; 4096];
    let read = connection.read(&mut answer).await.expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    connection
}

#[tokio::test]
async fn idle_connections_end_and_who_is_not_done_asking_is_told() {
    let fake = FakeCli::new(&Script::default());
    let (app, open) = draining(&fake).await;
    let mut idle = connected(&app).await;
    let mut asking = connected(&app).await;
    let half = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
    );
    asking.write_all(half.as_bytes()).await.expect("half a request");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drains(&app).await;
    let mut nothing = [0];
    let ended = tokio::time::timeout(SOON, idle.read(&mut nothing)).await.expect("within a second");
    assert_eq!(ended.expect("an end"), 0);
    let mut told = String::new();
    let read = tokio::time::timeout(SOON, asking.read_to_string(&mut told)).await;
    read.expect("within a second").expect("text");
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("shutting_down"), "{told}");
    assert!(told.contains("connection: close"), "{told}");
    ends_well(&fake, app, open).await;
    fault_table::saw(
        Class::Drain,
        "the server is told to end while the body of a request is on its way",
        Asked::Either,
        "503 `shutting_down`, `connection: close`, at once",
        Tried::Times(1),
    );
}

#[rstest]
#[tokio::test]
async fn what_has_no_end_is_told_so_in_every_form(
    #[values(CHAT, COMPLETIONS, MESSAGES)] path: &str,
    #[values(true, false)] stream: bool,
) {
    let fake = FakeCli::new(&Script::default());
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let steps = [half, Step::MakeFile(fake.file("begun")), Step::Hang];
    fake.follow(&Script { plays: vec![play("", steps)], ignores_interrupt: true, ..Script::default() });
    let mut app = fake.app_with(|config| config.shutdown_grace = Duration::from_millis(500)).await;
    let body = body(path, stream);
    let stop = async {
        eventually(PATIENCE, "it has begun", || fake.file("begun").exists()).await;
        // Its beginning is with the client by then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.begin_shutdown();
    };
    let (answer, ()) = tokio::join!(app.post(path).json(&body).send(), stop);
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let read = answer.text().await.expect("to its end");
    assert_eq!(status, if stream { 200 } else { 503 }, "{read}");
    let last = read.trim_end().rsplit("\n\n").next().expect("an event");
    assert!(last.contains(r#""error":{"#) && last.contains("shutting down"), "{read}");
    assert!(!read.contains("[DONE]") && !read.contains("message_stop"), "{read}");
    if stream && path == MESSAGES {
        assert!(last.starts_with("event: error\n"), "{read}");
    }
    app.shut_down().await;
    fake.gone_within(SOON).await;
    let saw = if stream { "error frame `shutting_down`" } else { "503 `shutting_down`" };
    let fault = "an answer that outlasts the grace time, in OpenAI's two forms and Anthropic's";
    fault_table::saw(Class::Drain, fault, Asked::with(stream), saw, Tried::Times(3));
}
