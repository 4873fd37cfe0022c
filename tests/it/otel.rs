//! Traces: what a receiver of OTLP gets to see of requests.

use reqwest::Method;
use serde_json::json;

use crate::support::app::ask;
use crate::support::collector::{Collector, Span};
use crate::support::server::Server;

const KEY: &str = "key-canary";
const SAID: &str = "said-canary";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_S: &str = "b7ad6b7169203331";

/// A demo that sends its traces there.
async fn start(endpoint: &str, variables: &[(&str, &str)]) -> Server {
    let needed = [("PATH", "/nowhere"), ("COUPLET_API_KEYS", KEY), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
    Server::start(&[&needed[..], variables].concat()).await
}

/// Asks as a part of the client's trace, and reads the answer to its end.
async fn chat(server: &Server, text: &str, stream: bool) -> u16 {
    let mut body = ask(&format!("{text} {SAID}"));
    body["stream"] = json!(stream);
    let request = reqwest::Client::new().post(format!("{}/v1/chat/completions", server.url));
    let request = request.header("traceparent", format!("00-{TRACE}-{CLIENT_S}-01")).bearer_auth(KEY);
    let response = request.json(&body).send().await.expect("an answer");
    let status = response.status().as_u16();
    response.text().await.expect("to its end");
    status
}

/// The steps below the span, in their order.
fn steps<'a>(spans: &'a [Span], request: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent == request.id).collect()
}

#[tokio::test]
async fn a_request_is_a_span_of_its_client_s_trace_with_its_steps_in_order() {
    let collector = Collector::start().await;
    let server = start(&collector.url, &[("COUPLET_LOG", "trace")]).await;
    assert_eq!(chat(&server, "[[words 20]]", true).await, 200);
    let log = server.stop().await;

    let spans = collector.spans();
    let [request] = spans.iter().filter(|span| span.name == "request").collect::<Vec<_>>()[..] else {
        panic!("one request: {spans:#?}\n{log}")
    };
    assert_eq!((request.trace_id.as_str(), request.parent.as_str()), (TRACE, CLIENT_S));
    assert_eq!((request.kind, request.status), (2, 0));
    let attribute = |name: &str| request.attributes.get(name).map(String::as_str);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/chat/completions"),
        ("http.response.status_code", "200"),
        ("couplet.outcome", "complete"),
        ("couplet.stream", "true"),
        ("couplet.tenant", "default"),
        ("gen_ai.request.model", "claude-sonnet-5-5"),
        ("gen_ai.response.model", "claude-sonnet-5-5"),
    ] {
        assert_eq!(attribute(name), Some(value), "{name} of {request:#?}");
    }
    assert!(attribute("gen_ai.usage.output_tokens").is_some_and(|tokens| tokens != "0"), "{request:#?}");
    assert!(attribute("couplet.process").is_some() && attribute("error.type").is_none(), "{request:#?}");
    assert!(attribute("couplet.request_id").is_some_and(|id| log.contains(id)), "{request:#?}");

    let steps = steps(&spans, request);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["queue", "claim", "lay down", "first delta", "done"], "{spans:#?}");
    for step in &steps {
        assert_eq!(step.trace_id, TRACE);
        assert!(
            request.start <= step.start && step.start <= step.end && step.end <= request.end,
            "{spans:#?}"
        );
    }
    assert!(steps.windows(2).all(|pair| pair[0].end <= pair[1].start), "one behind the other: {spans:#?}");
    assert_eq!(collector.resource()["service.name"], "couplet");

    for body in collector.bodies() {
        let seen = String::from_utf8_lossy(&body).into_owned();
        assert!(!seen.contains("canary") && !seen.contains("/src/"), "{seen}");
    }
    assert!(!log.contains("request{") && !log.contains("canary"), "the log is as it was: {log}");
}

#[tokio::test]
async fn what_fails_is_an_error_and_what_is_the_client_s_fault_is_none() {
    let collector = Collector::start().await;
    let server = start(&collector.url, &[("OTEL_SERVICE_NAME", "mine")]).await;
    assert_eq!(chat(&server, "[[err 529 overloaded_error]]", false).await, 503);
    assert_eq!(chat(&server, "[[words 5]][[cut 2]]", true).await, 200);
    let client = reqwest::Client::new();
    for (method, path) in
        [(Method::GET, "/v1/canary-secret"), (Method::GET, "/health"), (Method::GET, "/metrics")]
    {
        let request = client.request(method, format!("{}{path}", server.url)).header("traceparent", "canary");
        request.send().await.expect("an answer").text().await.expect("to its end");
    }
    let log = server.stop().await;
    let spans = collector.spans();
    let requests: Vec<&Span> = spans.iter().filter(|span| span.name == "request").collect();
    assert_eq!(requests.len(), 3, "neither health nor metrics: {spans:#?}\n{log}");
    let error = |request: &Span| (request.status, request.attributes.get("error.type").cloned());
    assert_eq!(error(requests[0]), (2, Some("api_overloaded".to_owned())), "{:#?}", requests[0]);
    assert_eq!(error(requests[1]), (2, Some("broken_off".to_owned())), "{:#?}", requests[1]);
    assert_eq!(error(requests[2]), (0, None), "{:#?}", requests[2]);
    assert!(requests[2].parent.is_empty() && requests[2].trace_id != TRACE);
    assert!(!requests[2].attributes.contains_key("http.route"), "it has none: {:#?}", requests[2]);
    assert_eq!(collector.resource()["service.name"], "mine");
    for body in collector.bodies() {
        assert!(!String::from_utf8_lossy(&body).contains("canary"));
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_costs_a_line_and_no_request() {
    let server = start("http://127.0.0.1:9", &[("OTEL_BSP_SCHEDULE_DELAY", "100")]).await;
    for _ in 0..3 {
        assert_eq!(chat(&server, "hi", false).await, 200);
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    let log = server.stop().await;
    assert_eq!(log.matches("traces cannot be sent").count(), 1, "{log}");
}
