//! The server, over real connections.

use std::time::{Duration, Instant};

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Client, Response};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

const SOON: Duration = Duration::from_secs(5);

async fn start() -> Upstream {
    Upstream::start_on_loopback().await.unwrap()
}

fn request(upstream: &Upstream, prompt: &str, stream: bool) -> reqwest::RequestBuilder {
    let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    Client::new().post(format!("{}/v1/messages?beta=true", upstream.base_url())).json(&body)
}

async fn ask(upstream: &Upstream, prompt: &str) -> Response {
    request(upstream, prompt, true).send().await.unwrap()
}

/// The text of a streamed answer, and whether it came to its end.
async fn text(response: Response) -> (String, bool) {
    let mut text = String::new();
    let mut ended = false;
    let mut events = response.bytes_stream().eventsource();
    while let Some(Ok(event)) = events.next().await {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["type"], event.event.as_str());
        text.push_str(data["delta"]["text"].as_str().unwrap_or_default());
        ended = event.event == "message_stop";
    }
    (text, ended)
}

async fn answer(upstream: &Upstream, prompt: &str) -> String {
    let (text, ended) = text(ask(upstream, prompt).await).await;
    assert!(ended);
    text
}

#[tokio::test]
async fn a_prompt_is_streamed_its_scripted_answer() {
    let upstream = start().await;
    let response = ask(&upstream, "[[words 3]]").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["request-id"], "req_000001");
    assert_eq!(response.headers()["anthropic-ratelimit-unified-5h-utilization"], "0.42");
    assert_eq!(text(response).await, ("w0 w1 w2".to_owned(), true));
}

#[tokio::test]
async fn without_stream_the_answer_is_one_body() {
    let upstream = start().await;
    let body: Value = request(&upstream, "[[words 3]]", false).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["content"], json!([{"type": "text", "text": "w0 w1 w2"}]));
    assert_eq!(body["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_prompt_without_a_script_gets_the_demo_answer() {
    let upstream = start().await;
    let text = answer(&upstream, "hello").await;
    assert_eq!(text, "This is a scripted demo answer: no model was asked. You wrote: “hello”");
}

#[tokio::test]
async fn pushed_replies_come_first_and_in_order() {
    let upstream = start().await;
    upstream.push_reply(Reply::text("one"));
    upstream.push_reply(Reply::text("two"));
    for expected in ["one", "two", "w0"] {
        assert_eq!(answer(&upstream, "[[words 1]]").await, expected);
    }
}

#[tokio::test]
async fn the_default_reply_answers_what_has_no_directive() {
    let upstream = start().await;
    upstream.set_default(Reply::text("default").header("x-mine", "yes"));
    assert_eq!(answer(&upstream, "hello").await, "default");
    assert_eq!(answer(&upstream, "[[words 1]]").await, "w0");
    assert_eq!(ask(&upstream, "[[slow 0]]").await.headers()["x-mine"], "yes");
}

#[rstest]
#[case("[[err 529]]", 529, "overloaded_error")]
#[case("[[err 418 teapot]]", 418, "teapot")]
#[case("[[errevent start api_error]]", 500, "api_error")]
#[case("[[limit 60]]", 429, "rate_limit_error")]
#[case("[[refuse messages]]", 400, "invalid_request_error")]
#[tokio::test]
async fn errors_come_in_anthropics_form(#[case] prompt: &str, #[case] status: u16, #[case] kind: &str) {
    let upstream = start().await;
    let response = ask(&upstream, &format!("{prompt} [[header retry-after 7]]")).await;
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["retry-after"], "7");
    let limited =
        response.headers().get("anthropic-ratelimit-unified-status").is_some_and(|value| value == "rejected");
    assert_eq!(limited, prompt.starts_with("[[limit"));
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
}

#[tokio::test]
async fn what_is_refused_for_the_session_is_refused_whatever_is_scripted() {
    let upstream = start().await;
    upstream.push_reply(Reply::text("pushed"));
    upstream.refuse_for("other", "messages", "not asked of this one");
    upstream.refuse("messages.1", "Only one message.");
    assert_eq!(answer(&upstream, "hello").await, "pushed");
    upstream.push_reply(Reply::text("pushed"));
    upstream.refuse_for("m", "messages", "Nothing at all.");
    for _ in 0..2 {
        let response = ask(&upstream, "[[words 1]]").await;
        assert_eq!(response.status(), 400);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"], json!({"type": "invalid_request_error", "message": "Nothing at all."}));
    }
}

#[tokio::test]
async fn a_strict_upstream_keeps_to_the_api_s_rules() {
    let upstream = start().await;
    let send = async || {
        let body = json!({"stream": true, "temperature": 1, "top_p": 1, "messages": [{"role": "user", "content": "hi"}]});
        let request = Client::new().post(format!("{}/v1/messages", upstream.base_url())).json(&body);
        request.send().await.unwrap().status()
    };
    assert_eq!(send().await, 200);
    upstream.be_strict();
    assert_eq!(send().await, 400);
}

#[tokio::test]
async fn a_failure_scripted_once_does_not_come_back_for_the_same_prompt() {
    let upstream = start().await;
    let prompt = "[[words 1]] [[err 500]] [[once]]";
    assert_eq!(ask(&upstream, prompt).await.status(), 500);
    assert_eq!(answer(&upstream, prompt).await, "w0");
    assert_eq!(ask(&upstream, &format!("{prompt} another")).await.status(), 500);
}

#[tokio::test]
async fn an_error_event_ends_the_stream() {
    let upstream = start().await;
    let body = ask(&upstream, "[[words 3]] [[errevent 1 overloaded_error Busy]]").await.text().await.unwrap();
    let expected = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Busy\"}}\n\n";
    assert!(body.ends_with(expected), "{body}");
}

#[rstest]
#[case("[[words 3]] [[cut 2]]", "w0 w1 ")]
#[case("[[words 3]] [[cut]]", "w0 w1 w2")]
#[tokio::test]
async fn a_cut_ends_the_connection_behind_the_deltas_before_it(#[case] prompt: &str, #[case] before: &str) {
    let upstream = start().await;
    assert_eq!(text(ask(&upstream, prompt).await).await, (before.to_owned(), false));
    assert!(ask(&upstream, prompt).await.bytes().await.is_err());
    assert_eq!(upstream.log().wait_until_over(0, SOON).await.unwrap().gone(), None);
}

#[tokio::test]
async fn a_cut_at_the_start_gives_no_response() {
    let upstream = start().await;
    for stream in [true, false] {
        assert!(request(&upstream, "[[cut start]]", stream).send().await.is_err());
    }
    assert!(request(&upstream, "[[cut]]", false).send().await.unwrap().bytes().await.is_err());
}

#[rstest]
#[case("[[words 3]] [[stall 1]]", true)]
#[case("[[stall]]", false)]
#[case("[[stall start]]", true)]
#[case("[[delay 60]]", true)]
#[case("[[words 9]] [[slow 60]]", true)]
#[tokio::test]
async fn a_client_that_leaves_is_noticed(#[case] prompt: &str, #[case] stream: bool) {
    let upstream = start().await;
    let sending = request(&upstream, prompt, stream).send();
    let client = tokio::spawn(async move { sending.await.unwrap().bytes().await });
    upstream.log().wait_for(1, SOON).await.unwrap();
    let early = upstream.log().wait_for_disconnect(0, Duration::from_millis(50)).await;
    assert!(early.is_err(), "the client is still there");
    client.abort();
    let after = upstream.log().wait_for_disconnect(0, SOON).await.unwrap();
    assert!(after >= Duration::from_millis(50), "{after:?}");
}

#[tokio::test]
async fn a_client_that_stays_to_the_end_is_not_gone() {
    let upstream = start().await;
    answer(&upstream, "[[words 3]]").await;
    let received = upstream.log().wait_until_over(0, SOON).await.unwrap();
    assert!(matches!(received.progress, Progress::Finished(_)), "{:?}", received.progress);
    assert!(upstream.log().wait_for_disconnect(0, Duration::from_millis(20)).await.is_err());
}

#[tokio::test]
async fn slow_deltas_are_sent_one_by_one() {
    let upstream = start().await;
    let started = Instant::now();
    let mut chunks = ask(&upstream, "[[words 3]] [[delay 0.1]] [[slow 0.15]]").await.bytes_stream();
    let mut times = Vec::new();
    while let Some(chunk) = chunks.next().await {
        if String::from_utf8_lossy(&chunk.unwrap()).contains("content_block_delta") {
            times.push(started.elapsed().as_millis());
        }
    }
    assert_eq!(times.len(), 3, "{times:?}");
    assert!(times[0] >= 100 && times[2] - times[0] >= 150, "{times:?}");
}

#[tokio::test]
async fn everything_received_is_in_the_log() {
    let upstream = start().await;
    let client = Client::new();
    let unknown = client.get(format!("{}/v1/elsewhere?a=b", upstream.base_url())).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json::<Value>().await.unwrap()["error"]["type"], "not_found_error");
    let count = client.post(format!("{}/v1/messages/count_tokens", upstream.base_url()));
    let counted: Value = count.json(&json!({"messages": []})).send().await.unwrap().json().await.unwrap();
    assert!(counted["input_tokens"].is_u64());
    let garbage = client.post(format!("{}/v1/messages", upstream.base_url())).body("no JSON");
    assert_eq!(garbage.send().await.unwrap().status(), 400);
    let asked = request(&upstream, "[[words 1]]", true).bearer_auth("secret-token").send().await.unwrap();
    assert_eq!(asked.headers()["request-id"], "req_000001", "only answers are numbered");

    let log = upstream.log();
    let paths: Vec<_> = log.requests().iter().map(|received| received.path.clone()).collect();
    assert_eq!(paths, ["/v1/elsewhere", "/v1/messages/count_tokens", "/v1/messages", "/v1/messages"]);
    assert_eq!((log.count(), log.model_count()), (4, 2));
    let last = log.last().unwrap();
    assert_eq!((last.index, last.query.as_str()), (3, "beta=true"));
    assert_eq!(
        (last.last_user_text(), last.turn_text(0)),
        ("[[words 1]]".to_owned(), Some("[[words 1]]".to_owned()))
    );
    assert_eq!(last.header("authorization"), Some("Bearer secret-token"));
    assert!(!format!("{last:?}").contains("secret-token"), "a debug print must not show credentials");
}

#[tokio::test]
async fn waiting_in_vain_says_what_came_instead() {
    let upstream = start().await;
    let error = upstream.log().wait_for(1, Duration::from_millis(5)).await.unwrap_err();
    assert_eq!(error.to_string(), "after 5ms: no request");
    answer(&upstream, "[[words 1]]").await;
    upstream.log().wait_until_over(0, SOON).await.unwrap();
    let error = upstream.log().wait_for(2, Duration::from_millis(5)).await.unwrap_err();
    assert!(
        error.to_string().starts_with("after 5ms: 1 requests: #0 POST /v1/messages Finished("),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_it_closes_the_listener_and_every_connection() {
    let upstream = start().await;
    let address = upstream.address();
    let stalled = ask(&upstream, "[[stall]]").await;
    drop(upstream);
    assert!(tokio::time::timeout(SOON, stalled.bytes()).await.unwrap().is_err());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_stalled_answers() {
    let upstream = start().await;
    let _stalled = ask(&upstream, "[[stall]]").await;
    tokio::time::timeout(SOON, upstream.shutdown()).await.unwrap();
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert_eq!(Upstream::start(listener).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
