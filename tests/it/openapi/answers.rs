//! Real answers are as the document says: statuses, headers, bodies, and each event of a stream.

use std::path::Path;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::{document, operations, resolved};
use crate::support::app::Builder;
use crate::support::server::Server;

/// Where answers are looked up.
struct Document(Value);

impl Document {
    fn new() -> Self {
        Self(document())
    }

    /// What is wrong with a value, by one of the document's schemas.
    fn mistakes(&self, schema: &Value, value: &Value) -> Vec<String> {
        let components = &self.0["components"];
        let root = json!({"allOf": [schema], "components": components});
        let validator = jsonschema::draft202012::new(&root).expect("a schema");
        let say = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
        validator.iter_errors(value).map(say).collect()
    }

    fn expect(&self, schema: &Value, value: &Value, what: &str) {
        let mistakes = self.mistakes(schema, value);
        assert!(mistakes.is_empty(), "{what}: {mistakes:#?}\n{value}");
    }

    /// Holds an answer against what is said of it; gives its status, and its body or the data of its events.
    async fn check(&self, method: &str, path: &str, answer: reqwest::Response) -> (u16, Vec<Value>) {
        let status = answer.status().as_u16();
        let what = format!("{method} {path} {status}");
        let told = &self.0["paths"][path][method]["responses"][status.to_string()];
        assert!(!told.is_null(), "{what} is not in the document");
        let told = resolved(&self.0, told);
        self.check_headers(&told["headers"], answer.headers(), &what);
        let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let kind = kind.split(';').next().expect("a kind");
        let schema = &told["content"][kind]["schema"];
        assert!(!schema.is_null(), "{what}: {kind} is not in the document");
        if kind == "text/event-stream" {
            let events = self.check_events(schema, answer, &what).await;
            return (status, events);
        }
        let text = answer.text().await.expect("a body");
        let body =
            if kind == "application/json" { serde_json::from_str(&text).expect("JSON") } else { json!(text) };
        self.expect(schema, &body, &what);
        (status, vec![body])
    }

    /// All that must be there is, and all that is Couplet's own is in the document.
    fn check_headers(&self, told: &Value, headers: &HeaderMap, what: &str) {
        let told = told.as_object().unwrap_or_else(|| panic!("{what} has no headers in the document"));
        for (name, header) in told {
            let header = resolved(&self.0, header);
            let Some(value) = headers.get(name) else {
                assert_ne!(header["required"], true, "{what}: {name} is missing");
                continue;
            };
            let text = value.to_str().expect("text");
            let value = text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
            let value = if header["schema"]["type"] == "string" { json!(text) } else { value };
            self.expect(&header["schema"], &value, &format!("{what}: {name}"));
        }
        let own = ["x-", "openai-", "retry-", "request-id", "allow"];
        for name in headers.keys().map(reqwest::header::HeaderName::as_str) {
            let is_own = own.iter().any(|prefix| name.starts_with(prefix));
            // These are for what is between server and client.
            let is_for_others = ["x-accel-buffering", "x-content-type-options"].contains(&name);
            assert!(
                !is_own || is_for_others || told.contains_key(name),
                "{what}: {name} is not in the document"
            );
        }
    }

    async fn check_events(&self, schema: &Value, answer: reqwest::Response, what: &str) -> Vec<Value> {
        let mut events = answer.bytes_stream().eventsource();
        let mut read = Vec::new();
        while let Some(event) = events.next().await {
            let event = event.expect("a whole stream");
            let shown = json!({"event": event.event, "data": event.data});
            self.expect(schema, &shown, what);
            let data = &resolved(&self.0, schema)["properties"]["data"];
            let forms = data["anyOf"].as_array().map_or_else(|| vec![data], |forms| forms.iter().collect());
            let of_json = forms.iter().find_map(|form| form.get("contentSchema")).expect("the form of data");
            match serde_json::from_str::<Value>(&event.data) {
                Ok(value) => {
                    self.expect(of_json, &value, &format!("an event of {what}"));
                    read.push(value);
                }
                Err(_) => assert_eq!(event.data, "[DONE]"),
            }
        }
        read
    }

    /// Posts a request, and holds the answer against the document.
    async fn post(&self, url: &str, path: &str, body: &Value) -> (u16, Vec<Value>) {
        let request = reqwest::Client::new().post(format!("{url}{path}")).json(body);
        self.check("post", path, request.send().await.expect("an answer")).await
    }
}

async fn demo(variables: &[(&str, &str)]) -> Server {
    let nothing = tempfile::tempdir().expect("a folder");
    let path = nothing.path().to_str().expect("UTF-8").to_owned();
    let variables: Vec<(&str, &str)> =
        [("PATH", path.as_str())].into_iter().chain(variables.iter().copied()).collect();
    Server::start(&variables).await
}

fn chat(prompt: &str) -> Value {
    json!({"model": "sonnet", "messages": [{"role": "user", "content": prompt}]})
}

fn message(prompt: &str) -> Value {
    let mut body = chat(prompt);
    body["max_tokens"] = json!(2000);
    body
}

fn completion(prompt: &str) -> Value {
    json!({"model": "sonnet", "prompt": prompt})
}

/// What a path is asked for a prompt.
type Ask = fn(&str) -> Value;

const ENDPOINTS: [(&str, Ask); 3] =
    [("/v1/chat/completions", chat), ("/v1/completions", completion), ("/v1/messages", message)];

#[tokio::test]
async fn each_example_works_as_it_is_and_streamed() {
    let (document, server) = (Document::new(), demo(&[]).await);
    let mut tried = 0;
    for (path, _, operation) in operations(&document.0) {
        let Some(json) = operation["requestBody"]["content"].get("application/json") else { continue };
        // The operator's take a key.
        if operation.get("security").is_some() {
            continue;
        }
        for (name, example) in json["examples"].as_object().expect("examples") {
            let mut body = example["value"].clone();
            document.expect(&json["schema"], &body, name);
            let streams = [body["stream"].clone(), json!(true)];
            for stream in streams {
                body["stream"] = stream;
                let (status, data) = document.post(&server.url, path, &body).await;
                assert_eq!(status, 200, "{path} {name}: {data:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 20, "{tried}");
}

#[tokio::test]
async fn answers_of_all_kinds_are_as_the_document_says() {
    let (document, server) = (Document::new(), demo(&[]).await);
    let prompts = [
        "[[words 3]]",
        "[[think]][[say a]]",
        "[[stop refusal]]",
        "[[empty]]",
        "[[words 9]][[stop max_tokens]]",
    ];
    let calls = r#"[[say Let me see.]][[tool f {"a":1}]][[tool f {"b":2}]]"#;
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let with = |mut body: Value, more: &Value| {
        body.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        body
    };
    let mut bodies = Vec::new();
    for (path, ask) in ENDPOINTS {
        bodies.extend(prompts.map(|prompt| (path, ask(prompt))));
        bodies.push((path, with(ask("[[words 3]]"), &json!({"seed": 1, "user": "x", "metadata": {}}))));
    }
    let [(chats, _), (completions, _), (messages, _)] = ENDPOINTS;
    bodies.extend([
        (chats, with(chat("[[words 3]]"), &json!({"n": 2, "stream_options": {"include_usage": true}}))),
        (chats, with(chat(calls), &json!({"tools": [{"type": "function", "function": function}]}))),
        (chats, with(chat(calls), &json!({"functions": [function]}))),
        (
            completions,
            with(completion("a"), &json!({"n": 2, "echo": true, "stream_options": {"include_usage": true}})),
        ),
        (
            messages,
            with(message(calls), &json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]})),
        ),
    ]);
    for (path, body) in bodies {
        for stream in [false, true] {
            let body = with(body.clone(), &json!({"stream": stream}));
            let (status, data) = document.post(&server.url, path, &body).await;
            assert!(status == 200 || body.to_string().contains("[[empty]]"), "{path} {body}: {data:?}");
        }
    }
    let (status, _) = document.post(&server.url, "/v1/messages/count_tokens", &chat("a")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn failures_of_all_kinds_are_as_the_document_says() {
    let (document, server) = (Document::new(), demo(&[]).await);
    let failures = [
        "[[err 400 invalid_request_error]]",
        "[[err 401 authentication_error]]",
        "[[err 403 permission_error]]",
        "[[err 404 not_found_error]]",
        "[[err 413 request_too_large]]",
        "[[err 429 rate_limit_error]]",
        "[[err 500 api_error]]",
        "[[err 529 overloaded_error]]",
        "[[limit 600]]",
        "[[words 5]][[cut 2]]",
        "[[words 5]][[errevent overloaded_error]]",
    ];
    for (path, ask) in ENDPOINTS {
        for prompt in failures {
            for stream in [false, true] {
                let mut body = ask(prompt);
                body["stream"] = json!(stream);
                let (status, data) = document.post(&server.url, path, &body).await;
                let last = data.last().expect("something was said");
                assert!(last.get("error").is_some(), "{path} {prompt} {stream}: {status} {data:?}");
            }
        }
        let empty = json!({});
        assert_eq!(document.post(&server.url, path, &empty).await.0, 400);
        assert_eq!(document.post(&server.url, path, &json!({"model": 5})).await.0, 400);
        let mut unknown = ask("a");
        unknown["model"] = json!("no-such-model");
        assert_eq!(document.post(&server.url, path, &unknown).await.0, 404);
        let client = reqwest::Client::new();
        let url = format!("{}{path}", server.url);
        let plain = client.post(&url).body("{}").send().await.expect("an answer");
        assert_eq!(document.check("post", path, plain).await.0, 415);
        let wrong = client.delete(&url).send().await.expect("an answer");
        assert_eq!(document.check("post", path, wrong).await.0, 405);
        let foreign = client.post(&url).header("host", "evil.example").json(&empty).send().await;
        assert_eq!(document.check("post", path, foreign.expect("an answer")).await.0, 403);
        let large = client.post(&url).json(&vec![0; 300_000]).send().await.expect("an answer");
        assert_eq!(document.check("post", path, large).await.0, 413);
    }
}

#[rstest]
#[case::openai_s(&[])]
#[case::anthropic_s(&[("anthropic-version", "2023-06-01")])]
#[tokio::test]
async fn what_is_got_is_as_the_document_says(#[case] headers: &[(&str, &str)]) {
    let (document, server) =
        (Document::new(), demo(&[("COUPLET_API_KEYS", "key"), ("COUPLET_ADMIN_KEY", "admin")]).await);
    let mut statuses = Map::new();
    for (path, method, operation) in operations(&document.0) {
        if method != "get" {
            continue;
        }
        let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
        let security = operation["security"].as_array().into_iter().flatten();
        let is_operator_s = security.into_iter().any(|one| one.get("admin").is_some());
        let right = if is_operator_s { "admin" } else { "key" };
        for id in ["sonnet", "no-such-model", "with/slash", "%ff"] {
            for key in [right, "wrong"] {
                let url = format!("{}{}", server.url, path.replace("{id}", id));
                let mut request = reqwest::Client::new().get(url).header("x-api-key", key);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let (status, _) =
                    document.check(method, path, request.send().await.expect("an answer")).await;
                assert_eq!(status == 401, key == "wrong" && !is_open, "{path} {status}");
                statuses.insert(status.to_string(), json!(path));
            }
        }
    }
    let found: Vec<&String> = statuses.keys().collect();
    assert!(["200", "401", "404"].iter().all(|status| statuses.contains_key(*status)), "{found:?}");
}

#[tokio::test]
async fn what_the_operator_is_told_is_as_the_document_says() {
    let (document, server) = (Document::new(), demo(&[("COUPLET_ADMIN_KEY", "admin")]).await);
    let post = async |path: &str, key: &str, body: Option<Value>| {
        let request = reqwest::Client::new().post(format!("{}{path}", server.url)).header("x-api-key", key);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        document.check("post", path, request.send().await.expect("an answer")).await.0
    };
    // The stand-in of demo mode has one command.
    for (command, status) in [("version", 200), ("auth status", 503), ("doctor", 503)] {
        assert_eq!(post("/admin/cli", "admin", Some(json!({"command": command}))).await, status, "{command}");
    }
    assert_eq!(post("/admin/cli", "admin", Some(json!({"command": "login"}))).await, 400);
    assert_eq!(post("/admin/cli", "other", Some(json!({"command": "version"}))).await, 401);
    for path in ["/admin/cli", "/auth/logout"] {
        let unknown = json!({"command": "version", "tenant": "nobody"});
        let expected = if path == "/admin/cli" { 404 } else { 400 };
        assert_eq!(post(path, "admin", Some(unknown)).await, expected, "{path}");
    }
    assert_eq!(post("/auth/logout", "admin", None).await, 200);
    // What is said of the sign-in once it is over.
    let status = reqwest::get(format!("{}/auth/status", server.url)).await.expect("an answer");
    assert_eq!(document.check("get", "/auth/status", status).await.0, 200);
    for (path, ask) in ENDPOINTS {
        let (status, _) = document.post(&server.url, path, &ask("a")).await;
        assert_ne!(status, 200, "{path}");
    }
}

#[tokio::test]
async fn how_things_stand_with_limits_is_told_as_the_document_says() {
    let document = Document::new();
    for (path, ask) in ENDPOINTS {
        let limits = [("COUPLET_RATE_LIMIT_RPM", "1"), ("COUPLET_RATE_LIMIT_TPM", "100000")];
        let server = demo(&limits).await;
        let client = reqwest::Client::new();
        for status in [200, 429] {
            let request = client.post(format!("{}{path}", server.url)).json(&ask("a"));
            let answer = request.send().await.expect("an answer");
            for name in ["x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"] {
                assert!(answer.headers().contains_key(name), "{path} {name}");
            }
            assert_eq!(document.check("post", path, answer).await.0, status, "{path}");
        }
    }
}

#[tokio::test]
async fn a_server_without_its_cli_says_so_as_the_document_says() {
    let document = Document::new();
    let app = Builder::new(Path::new("/no/such/cli")).await.start().await;
    for path in ["/health", "/health/ready", "/v1/models"] {
        let answer = app.get(path).send().await.expect("an answer");
        assert_eq!(document.check("get", path, answer).await.0, 503, "{path}");
    }
    for (path, ask) in ENDPOINTS {
        assert_eq!(document.post(&app.url, path, &ask("a")).await.0, 503, "{path}");
    }
}

#[test]
fn what_the_document_does_not_allow_is_found() {
    let document = Document::new();
    let error = json!({"$ref": "#/components/schemas/Error"});
    let good = json!({"error": {"message": "m", "type": "t", "param": null, "code": null}});
    assert_eq!(document.mistakes(&error, &good), Vec::<String>::new());
    for wrong in
        [json!({}), json!({"error": {"message": "m", "type": "t", "param": null}}), json!({"error": 5})]
    {
        assert_ne!(document.mistakes(&error, &wrong), Vec::<String>::new(), "{wrong}");
    }
}
