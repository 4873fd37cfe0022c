//! `/metrics`: what it tells is what the log tells, and no client can make it grow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use couplet::claude::command_line::CliProgram;
use couplet::metrics::docs;
use couplet::metrics::table::{Kind, TABLE};
use couplet::translate::models::{Alias, Aliases};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{ADMIN_KEY, Builder, TestApp, ask};
use crate::support::exposition::{Sample, read};
use crate::support::server::Server;

const CHAT: &str = "/v1/chat/completions";

/// Couplet with the stand-in, which needs no CLI.
async fn builder() -> Builder {
    let program = CliProgram::StandIn {
        path: env!("CARGO_BIN_EXE_couplet").into(),
        subcommand: couplet::stand_in::SUBCOMMAND,
    };
    Builder::new(Path::new("unused")).await.with(|config| config.claude.process.program = program)
}

async fn metrics(app: &TestApp) -> Vec<Sample> {
    read(&exposition(app).await)
}

async fn exposition(app: &TestApp) -> String {
    let response = app.get("/metrics").bearer_auth(ADMIN_KEY).send().await.expect("an answer");
    response.text().await.expect("text")
}

/// The sum of the samples of that name that have these labels.
fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let is_it = |sample: &&Sample| {
        sample.name == name
            && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
    };
    samples.iter().filter(is_it).map(|sample| sample.value).sum()
}

/// The same of a count.
fn count(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> u64 {
    format!("{}", sum(samples, name, labels)).parse().expect("a whole number")
}

#[test]
fn the_document_is_made_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(docs::PATH);
    if std::env::var_os("COUPLET_UPDATE_DOCS").is_some() {
        std::fs::write(&path, docs::text()).expect("written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == docs::text(), "{} is not up to date: run this with COUPLET_UPDATE_DOCS=1", docs::PATH);
}

#[tokio::test]
async fn they_are_for_those_with_a_key_and_in_prometheus_own_form() {
    let builder = builder().await.with_keys(&["key"]).with(|config| config.access.admin_key = None);
    let app = builder.start().await;
    assert_eq!(app.get("/metrics").bearer_auth(ADMIN_KEY).send().await.expect("an answer").status(), 401);
    let response = app.get("/metrics").bearer_auth("key").send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    // Nothing was asked yet, and what is looked at is there all the same.
    let samples = read(&response.text().await.expect("text"));
    assert!(sum(&samples, "couplet_free_places", &[("tenant", "default")]) >= 1.0, "{samples:?}");
    assert!(sum(&samples, "process_resident_memory_bytes", &[]) > 1e6, "{samples:?}");
    assert_eq!(app.get("/v1/metrics").bearer_auth("key").send().await.expect("an answer").status(), 404);
}

#[tokio::test]
async fn an_answer_is_told_by_its_tokens_its_process_and_how_long_it_took() {
    let aliases = Aliases::from([("poet".to_owned(), Alias::of("claude-sonnet-5-5"))]);
    let app = builder().await.with(|config| config.http.aliases = aliases).start().await;
    let mut asked = ask("[[words 3]]");
    asked["model"] = json!("poet");
    let (status, answer) = app.answer(&asked).await;
    assert_eq!(status, 200, "{answer}");
    let mut asked = ask("[[words 3]]");
    asked["stream_options"] = json!({"include_usage": true});
    let streamed = app.stream(&asked).await;
    assert!(streamed.done);
    let (status, _) = app.answer(&ask("[[err 529 overloaded_error]]")).await;
    assert_eq!(status, 503);

    let samples = metrics(&app).await;
    let model = [("model", "claude-sonnet-5-5"), ("tenant", "default")];
    let tokens =
        |kind: &str| sum(&samples, "couplet_tokens_total", &[&model[..], &[("kind", kind)]].concat());
    let told = |field: &str| {
        let of = |usage: &Value| usage[field].as_f64().expect("a number");
        of(&answer["usage"]) + of(streamed.usage())
    };
    assert!((tokens("output") - told("completion_tokens")).abs() < 0.5, "{samples:?}");
    let of_prompt = tokens("input") + tokens("cache_read") + tokens("cache_creation");
    assert!((of_prompt - told("prompt_tokens")).abs() < 0.5, "{samples:?}");
    let count = |name: &str, labels: &[(&str, &str)]| count(&samples, name, labels);
    assert_eq!(count("couplet_time_to_first_delta_seconds_count", &[("process", "started")]), 2);
    assert_eq!(count("couplet_errors_total", &[("kind", "api_overloaded")]), 1);
    let ended = |status: &str, outcome: &str| {
        count("couplet_requests_total", &[("route", CHAT), ("status", status), ("outcome", outcome)])
    };
    assert_eq!((ended("200", "complete"), ended("503", "overloaded")), (2, 1));
    assert_eq!(count("couplet_request_duration_seconds_count", &[("route", CHAT)]), 3);
    let within = |le: &str| count("couplet_request_duration_seconds_bucket", &[("route", CHAT), ("le", le)]);
    assert_eq!((within("600"), within("+Inf")), (3, 3));
}

#[tokio::test]
async fn they_agree_with_the_log() {
    let variables = [("PATH", "/nowhere"), ("COUPLET_LOG_FORMAT", "json"), ("COUPLET_LOG", "debug")];
    let server = Server::start(&variables).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", server.url);
    for (number, text) in
        ["", "[[words 7]]", "[[err 529 overloaded_error]]", "[[words 5]][[cut 2]]"].iter().enumerate()
    {
        for stream in [false, true] {
            let mut body = ask(text);
            body["stream"] = json!(stream);
            body["messages"][0]["content"] = json!(format!("{number} {text}"));
            let response = client.post(url(CHAT)).json(&body).send().await.expect("an answer");
            let _ = response.text().await;
        }
    }
    for (method, path) in [
        (Method::GET, "/v1/models"),
        (Method::DELETE, "/v1/models"),
        (Method::GET, "/no/where"),
        (Method::GET, "/health"),
    ] {
        let response = client.request(method, url(path)).send().await.expect("an answer");
        let _ = response.text().await;
    }
    let text = client.get(url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let samples = read(&text);
    let log = server.stop().await;

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["target"] == "couplet::request" && line["route"] != "/metrics")
        .collect();
    let mut ended: BTreeMap<[String; 4], f64> = BTreeMap::new();
    for line in &lines {
        let word = |field: &str| line[field].as_str().expect("a word").to_owned();
        let route = if line["route"] == "/no/where" { "unmatched".to_owned() } else { word("route") };
        *ended.entry([route, word("method"), line["status"].to_string(), word("outcome")]).or_default() +=
            1.0;
    }
    let counted: BTreeMap<[String; 4], f64> = samples
        .iter()
        .filter(|sample| sample.name == "couplet_requests_total")
        .map(|sample| {
            (["route", "method", "status", "outcome"].map(|label| sample.labels[label].clone()), sample.value)
        })
        .collect();
    assert_eq!(counted, ended);
    assert_eq!(lines.len(), 12, "{log}");

    let of_lines = |field: &str| lines.iter().filter_map(|line| line[field].as_f64()).sum::<f64>();
    for (kind, field) in [
        ("input", "input_tokens"),
        ("cache_read", "cache_read_tokens"),
        ("cache_creation", "cache_creation_tokens"),
        ("output", "output_tokens"),
    ] {
        let tokens = sum(&samples, "couplet_tokens_total", &[("kind", kind)]);
        assert!((tokens - of_lines(field)).abs() < 0.5, "{kind}: {tokens}");
    }
    let with = |is: fn(&Value) -> bool| lines.iter().filter(|line| is(line)).count() as u64;
    let causes = with(|line| line["cause"].is_string());
    assert!(causes >= 3, "{log}");
    assert_eq!(count(&samples, "couplet_errors_total", &[]), causes);
    let begun = with(|line| line["first_delta_ms"].is_u64());
    assert!(begun >= 4, "{log}");
    assert_eq!(count(&samples, "couplet_time_to_first_delta_seconds_count", &[]), begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_makes_them_grow() {
    let app = builder().await.start().await;
    // All ways there are, once.
    let ways = async |number: usize| {
        let id = format!("id-{number}");
        let get = |path: String| app.get(&path).header("x-request-id", &id);
        let mut asked = ask("hi");
        asked["model"] = json!(format!("wombat-{number}"));
        let method = Method::from_bytes(format!("M{number}").as_bytes()).expect("a method");
        let odd = reqwest::Client::new().request(method, format!("{}/v1/models", app.url));
        let requests = [
            get(format!("/p{number}/{number}?key={number}")),
            get(format!("/v1/models/m{number}")),
            odd.header("x-request-id", &id),
            app.post(CHAT).header("x-request-id", &id).json(&asked),
        ];
        for request in requests {
            let response = request.send().await.expect("an answer");
            assert!(response.status().is_client_error(), "{}", response.status());
            let _ = response.bytes().await;
        }
    };
    ways(0).await;
    metrics(&app).await;
    let series = |samples: &[Sample]| -> BTreeSet<String> {
        samples.iter().map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    };
    let before = series(&metrics(&app).await);
    futures_util::stream::iter(1..1250).for_each_concurrent(16, ways).await;
    let samples = metrics(&app).await;
    assert_eq!(series(&samples), before);
    for route in ["unmatched", "/v1/models/{*id}", "/v1/models", CHAT] {
        assert!(
            (sum(&samples, "couplet_requests_total", &[("route", route)]) - 1250.0).abs() < 0.5,
            "{route}"
        );
    }

    // Models that are asked and answer, because whoever answers here takes any name.
    for number in 0..60 {
        let mut asked = ask("hi");
        asked["model"] = json!(format!("claude-made-up-{number}"));
        let (status, answer) = app.answer(&asked).await;
        assert_eq!(status, 200, "{answer}");
    }
    let samples = metrics(&app).await;
    let models: BTreeSet<&String> = samples
        .iter()
        .filter(|sample| sample.name == "couplet_tokens_total")
        .map(|sample| &sample.labels["model"])
        .collect();
    assert_eq!(models.len(), 51, "{models:?}");
    assert!(models.contains(&"other".to_owned()));
    assert!(series(&samples).len() < 600, "{}", series(&samples).len());
}

#[tokio::test]
async fn every_metric_that_is_told_is_in_the_table() {
    let app = builder().await.start().await;
    app.answer(&ask("hi")).await;
    metrics(&app).await;
    let text = exposition(&app).await;
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &kinds {
        let metric = TABLE.iter().find(|metric| metric.name == *name);
        assert!(metric.is_some_and(|metric| metric.kind.as_str() == *kind), "{name} {kind}");
    }
    for sample in read(&text) {
        let is_of = |name: &str| {
            sample.name == name || kinds.get(name) == Some(&"histogram") && sample.name.starts_with(name)
        };
        let metric = TABLE.iter().find(|metric| is_of(metric.name)).expect("it is in the table");
        let declared = metric.labels.iter().map(|(label, _)| *label);
        let bounds = (metric.kind == Kind::Histogram && sample.name.ends_with("_bucket")).then_some("le");
        let declared: BTreeSet<&str> = declared.chain(bounds).collect();
        let told: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        assert_eq!(told, declared, "{}", sample.name);
    }
}
