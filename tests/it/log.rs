//! The log of the binary: a line for each request, and nothing of what was said.

use std::path::Path;
use std::time::{Duration, Instant};

use couplet::claude::command_line::CliProgram;
use couplet::translate::models::{Alias, Aliases};
use couplet::turn::Effort;
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Builder, ask};
use crate::support::server::Server;

const KEY: &str = "key-canary";
const SAID: &str = "said-canary";
const SYSTEM: &str = "system-canary";
const CHAT: &str = "/v1/chat/completions";

/// A demo, with keys: it needs no CLI.
async fn start(variables: &[(&str, &str)]) -> Server {
    let needed = [("PATH", "/nowhere"), ("COUPLET_API_KEYS", KEY)];
    Server::start(&[&needed[..], variables].concat()).await
}

fn request(server: &Server, method: Method, path: &str, id: &str) -> RequestBuilder {
    let request = reqwest::Client::new().request(method, format!("{}{path}", server.url));
    request.header("x-request-id", id)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Asks in ways that end well and badly, each with an id that says how.
async fn ask_around(server: &Server) -> String {
    let chat = |id: &str, body: Value| request(server, Method::POST, CHAT, id).bearer_auth(KEY).json(&body);
    let body = |text: &str, stream: bool| {
        json!({"model": "gpt-4o", "stream": stream, "seed": 1, "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": format!("{text} {SAID}")}]})
    };
    let mut read = String::new();
    for request in [
        chat("well", body("", false)),
        chat("streamed", body("", true)),
        chat("failed", body("[[err 529 overloaded_error]]", false)),
        chat("broken", body("[[words 5]][[cut 2]]", true)),
        chat("unknown-model", json!({"model": "wombat", "messages": [{"role": "user", "content": SAID}]})),
        chat("malformed", json!({"model": "m", "messages": [{"role": SAID, "content": SAID}]})),
        request(server, Method::GET, "/v1/models", "models").bearer_auth(KEY),
        request(server, Method::GET, "/v1/models/sonnet", "one-model").bearer_auth(KEY),
        request(server, Method::GET, "/v1/models", "keyless"),
        request(server, Method::GET, "/v1/models", "wrong-key").bearer_auth("wrong-key-canary"),
        request(server, Method::GET, &format!("/v1/{KEY}-123/files?key={KEY}"), "no-route").bearer_auth(KEY),
        request(server, Method::DELETE, "/v1/models", "wrong-method").bearer_auth(KEY),
        request(server, Method::GET, "/health/live", "health"),
        request(server, Method::HEAD, "/health/live", "head"),
    ] {
        read.push_str(&send(request).await.text().await.unwrap_or_default());
    }
    read
}

#[tokio::test]
async fn each_request_has_one_line_of_json_with_its_id_and_outcome() {
    let variables = [
        ("COUPLET_LOG_FORMAT", "json"),
        ("COUPLET_LOG", "debug"),
        ("COUPLET_MODEL_ALIASES", "gpt-4o=sonnet@low"),
    ];
    let server = start(&variables).await;
    ask_around(&server).await;
    let log = server.stop().await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}")))
        .collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.len() == 27 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{line}");
        assert!(
            line["level"].is_string() && line["target"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    let chat = |route: &str| format!("/v1/{route}");
    for (id, level, route, status, outcome) in [
        ("well", "INFO", chat("chat/completions"), 200, "complete"),
        ("streamed", "INFO", chat("chat/completions"), 200, "complete"),
        ("failed", "WARN", chat("chat/completions"), 503, "overloaded"),
        ("broken", "WARN", chat("chat/completions"), 200, "upstream_broken"),
        ("unknown-model", "INFO", chat("chat/completions"), 404, "model_not_found"),
        ("malformed", "INFO", chat("chat/completions"), 400, "invalid_value"),
        ("models", "INFO", chat("models"), 200, "complete"),
        ("one-model", "INFO", chat("models/{*id}"), 200, "complete"),
        ("keyless", "INFO", chat("models"), 401, "invalid_api_key"),
        ("wrong-key", "INFO", chat("models"), 401, "invalid_api_key"),
        ("no-route", "INFO", chat("…/files"), 404, "unsupported_endpoint"),
        ("wrong-method", "INFO", chat("models"), 405, "method_not_allowed"),
        ("health", "DEBUG", "/health/live".to_owned(), 200, "complete"),
        ("head", "DEBUG", "/health/live".to_owned(), 200, "complete"),
    ] {
        let of_request: Vec<&Value> = lines.iter().filter(|line| line["request_id"] == id).collect();
        let [line] = of_request[..] else { panic!("one line for {id}: {log}") };
        assert_eq!(
            (&line["level"], &line["route"], &line["status"], &line["outcome"]),
            (&json!(level), &json!(route), &json!(status), &json!(outcome)),
            "{line}"
        );
        assert!(line["total_ms"].is_u64() && line["target"] == "couplet::request", "{line}");
        let is_asked = matches!(id, "well" | "streamed" | "failed" | "broken");
        assert_eq!(line["resolved_model"] == "sonnet" && line["model"] == "gpt-4o", is_asked, "{line}");
        assert_eq!(line["ignored"] == "seed", is_asked, "{line}");
        assert_eq!(line["output_tokens"].is_u64(), matches!(id, "well" | "streamed"), "{line}");
        assert_eq!(line["first_delta_ms"].is_u64(), matches!(id, "well" | "streamed" | "broken"), "{line}");
        assert_eq!(line["cause"].is_string(), matches!(id, "failed" | "broken"), "{line}");
    }
}

#[tokio::test]
async fn a_flood_of_refused_requests_is_told_by_its_number() {
    const FLOOD: usize = 400;
    let server = start(&[("COUPLET_LOG_FORMAT", "json"), ("COUPLET_RATE_LIMIT_RPM", "5")]).await;
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let waves = (0..8).map(async |_| {
        for _ in 0..FLOOD / 8 {
            let request = client.get(format!("{}/v1/models", server.url)).bearer_auth("no-key");
            assert_eq!(send(request).await.status(), 401);
        }
    });
    futures_util::future::join_all(waves).await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a number");
    // Whoever has a key is told of whatever others do, unless he is beyond his limit.
    for number in 0..30 {
        let request = client.get(format!("{}/v1/models", server.url)).bearer_auth(KEY);
        assert_eq!(send(request).await.status(), if number < 5 { 200 } else { 429 });
    }
    let log = server.stop().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_status = |status: u16| lines.iter().filter(|line| line["status"] == status).count();
    let left_out = |of: &str| lines.iter().filter_map(|line| line[of].as_u64()).sum::<u64>();
    assert!(of_status(401) <= 20 * (seconds + 2), "{} lines in {seconds} s", of_status(401));
    assert_eq!(of_status(401) as u64 + left_out("unauthorized"), FLOOD as u64, "{log}");
    assert_eq!(of_status(429) as u64 + left_out("rate_limited"), 25, "{log}");
    assert_eq!(of_status(200), 5, "{log}");
}

#[rstest]
#[case("info", "human")]
#[case("debug", "json")]
#[case("trace", "human")]
#[tokio::test]
async fn nothing_that_was_said_and_no_secret_is_logged_at_any_level(
    #[case] level: &str,
    #[case] format: &str,
) {
    let aliases = format!(r#"{{"gpt-4o": {{"model": "sonnet", "system_prompt": "{SYSTEM} of the alias"}}}}"#);
    let variables = [
        ("COUPLET_LOG", level),
        ("COUPLET_LOG_FORMAT", format),
        ("COUPLET_MODEL_ALIASES", aliases.as_str()),
        ("COUPLET_DEMO", "always"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "token-canary"),
        ("NO_COLOR", ""),
    ];
    let server = start(&variables).await;
    let read = ask_around(&server).await;
    assert!(read.contains(SAID), "the answers say it: {read}");
    let log = server.stop().await;
    assert!(log.matches("unsupported_endpoint").count() == 1, "there is a log: {log}");
    assert!(!log.contains("canary"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours are for terminals: {log}");
}

#[tokio::test]
async fn a_client_that_leaves_shows_in_the_line_of_its_request() {
    let server = start(&[("COUPLET_LOG_FORMAT", "json")]).await;
    let body = json!({"model": "sonnet", "stream": true,
        "messages": [{"role": "user", "content": "[[words 1000]][[slow 0.1]]"}]});
    let streaming = request(&server, Method::POST, CHAT, "left").bearer_auth(KEY).json(&body);
    let mut response = send(streaming).await;
    response.chunk().await.expect("a piece");
    drop(response);
    // The server learns of it when it next writes.
    let begun = Instant::now();
    let free = async || {
        let health = send(request(&server, Method::GET, "/health", "h")).await.json::<Value>().await;
        health.expect("JSON")["free_places"] == 16
    };
    while !free().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "the turn ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = server.stop().await;
    let line = log.lines().find(|line| line.contains(r#""request_id":"left""#)).expect("its line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(
        (&line["outcome"], &line["level"], &line["status"]),
        (&json!("client_gone"), &json!("INFO"), &json!(200))
    );
    assert!(line["total_ms"].as_u64() < Some(5000) && line["output_tokens"].is_null(), "{line}");
}

#[rstest]
#[case::too_long("x".repeat(129))]
#[case::with_white_space("a b".to_owned())]
#[tokio::test]
async fn an_id_that_is_not_short_and_visible_is_replaced_in_answer_and_log(#[case] id: String) {
    let server = start(&[]).await;
    let response = send(request(&server, Method::GET, "/v1/models", &id).bearer_auth(KEY)).await;
    let made = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(made.len(), 36);
    let log = server.stop().await;
    assert!(log.contains(&made) && !log.contains(&id), "{log}");
}

#[tokio::test]
async fn an_alias_adds_its_effort_and_its_system_prompt_on_the_way_to_the_model() {
    let stand_in = CliProgram::StandIn {
        path: env!("CARGO_BIN_EXE_couplet").into(),
        subcommand: couplet::stand_in::SUBCOMMAND,
    };
    let poet =
        Alias { effort: Some(Effort::High), system_prompt: Some("Rhyme.".to_owned()), ..Alias::of("sonnet") };
    let aliases = Aliases::from([("poet".to_owned(), poet)]);
    let builder = Builder::new(Path::new("unused")).await;
    let app = builder
        .with(|config| {
            config.http.aliases = aliases;
            config.claude.process.program = stand_in;
        })
        .start()
        .await;
    let mut body = ask("hi");
    body["model"] = json!("poet");
    body["messages"]
        .as_array_mut()
        .expect("messages")
        .insert(0, json!({"role": "system", "content": "Be short."}));
    let (status, answer) = app.answer(&body).await;
    assert_eq!(status, 200, "{answer}");
    let received = app.upstream.log().last().expect("a request");
    assert_eq!(received.json()["output_config"]["effort"], "high");
    assert!(received.asked().system_texts().concat().ends_with("Rhyme.\nBe short."), "{}", received.json());
    let list: Value = app.get("/v1/models").send().await.expect("an answer").json().await.expect("JSON");
    let listed = list["data"].as_array().expect("a list").iter().any(|model| model["id"] == "poet");
    assert!(listed, "{list}");
}
