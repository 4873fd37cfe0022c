//! docs/parameters.md: what becomes of every field of a request. The fields are read from the types, each row is tried
//! with the real CLI, and the document is made of the rows.
//!
//! `COUPLET_UPDATE_DOCS=1 cargo nextest run -E 'test(parameters)'` renews it.

mod chat;
mod completions;
mod messages;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};
use crate::support::python::{python, run_script};
use crate::support::real_cli::real_cli;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/parameters.md");

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It means what it means at OpenAI or Anthropic.
    Honoured,
    /// It is put into terms that Claude has.
    Mapped,
    /// It changes nothing, and is named in `x-couplet-ignored`.
    Ignored,
    /// It is a 400 that names it.
    Refused,
}

/// A field of a request.
struct Row {
    /// Its path.
    field: &'static str,
    how: How,
    /// What that means, for the document.
    what: &'static str,
    /// A request with it: laid over the least request there can be.
    patch: Value,
    /// Where the model's API gets it, and what it gets.
    arrives: Option<(&'static str, Value)>,
}

/// An endpoint and its fields.
struct Endpoint {
    path: &'static str,
    /// What is said of it beside the table.
    about: &'static str,
    /// The least request there can be.
    least: Value,
    /// The fields that its types know, ours and those of its inventor.
    known: Vec<BTreeSet<String>>,
    rows: Vec<Row>,
}

fn row(field: &'static str, how: How, what: &'static str, patch: Value) -> Row {
    Row { field, how, what, patch, arrives: None }
}

impl Row {
    fn arrives(mut self, path: &'static str, value: Value) -> Self {
        self.arrives = Some((path, value));
        self
    }
}

/// The names of the fields of a type, as serde knows them.
pub fn fields<'de, T: Deserialize<'de>>() -> BTreeSet<String> {
    serde_aux::serde_introspection::serde_introspect::<T>().iter().map(|&name| name.to_owned()).collect()
}

fn endpoints() -> Vec<Endpoint> {
    vec![chat::endpoint(), completions::endpoint(), messages::endpoint()]
}

/// The fields of a request to that path that change nothing.
pub fn ignored(path: &str) -> Vec<&'static str> {
    let endpoint = endpoints().into_iter().find(|endpoint| endpoint.path == path).expect("an endpoint");
    let rows = endpoint.rows.into_iter().filter(|row| row.how == How::Ignored);
    rows.map(|row| row.field).filter(|field| !field.contains(['.', '['])).collect()
}

fn laid_over(least: &Value, patch: &Value) -> Value {
    let mut request = least.clone();
    let fields = request.as_object_mut().expect("an object");
    fields.extend(patch.as_object().expect("an object").clone());
    request
}

fn document() -> String {
    let mut text = "# What becomes of each field of a request\n\nMade of the types and tried with the real CLI by the tests in \
        `tests/it/parameters` (see there how to renew it).\n\n\
        **honoured**: it means what it means at OpenAI or Anthropic. **mapped**: put into terms that Claude has. **ignored**: it \
        changes nothing, and the answer's header `x-couplet-ignored` names it, as does the log. **refused**: a 400 that names it. \
        Fields that are in no table are ignored and named. `null` is absent.\n"
        .to_owned();
    for endpoint in endpoints() {
        write!(text, "\n## POST {}\n\n{}\n\n| field | | |\n|---|---|---|\n", endpoint.path, endpoint.about)
            .expect("a string takes it");
        for Row { field, how, what, .. } in endpoint.rows {
            let how = format!("{how:?}").to_lowercase();
            let field = field.replace("[0]", "[]");
            writeln!(text, "| `{field}` | {how} | {what} |").expect("a string takes it");
        }
    }
    text
}

#[test]
fn the_document_is_made_of_the_rows() {
    let made = document();
    if std::env::var_os("COUPLET_UPDATE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &made).expect("written");
    }
    assert_eq!(std::fs::read_to_string(DOCUMENT).expect("docs/parameters.md"), made);
}

#[test]
fn every_field_of_the_types_has_a_row() {
    for endpoint in endpoints() {
        let rows: BTreeSet<String> = endpoint.rows.iter().map(|row| row.field.to_owned()).collect();
        let known: BTreeSet<String> = endpoint.known.iter().flatten().cloned().collect();
        let missing: Vec<_> = known.difference(&rows).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", endpoint.path);
        // Ours come first. What they do not hold is ignored, and what they hold is not.
        for row in endpoint.rows.iter().filter(|row| !row.field.contains(['.', '['])) {
            assert_eq!(
                endpoint.known[0].contains(row.field),
                row.how != How::Ignored,
                "{} {}",
                endpoint.path,
                row.field
            );
        }
    }
}

#[test]
fn every_parameter_of_the_official_packages_has_a_row() {
    let Some(python) = python() else { return };
    let said = run_script(&python, "parameters.py", &[DOCUMENT], &[], Duration::from_secs(60));
    assert_eq!(said.matches(" ok\n").count(), 3, "{said}");
}

async fn app() -> Option<TestApp> {
    let cli = real_cli()?;
    Some(Builder::new(&cli).await.with(|config| config.claude.warm.max = 4).start().await)
}

/// Tries each row of an endpoint.
async fn try_rows(endpoint: Endpoint) {
    let Some(app) = app().await else { return };
    for Row { field, how, patch, arrives, .. } in endpoint.rows {
        let request = laid_over(&endpoint.least, &patch);
        let response = app.post(endpoint.path).json(&request).send().await.expect("an answer");
        let ignored = response.headers().get("x-couplet-ignored");
        let ignored = ignored.map_or("", |names| names.to_str().expect("text")).to_owned();
        let is_named = ignored.split(", ").any(|name| name == field);
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        match how {
            How::Refused => {
                let error: Value = serde_json::from_str(&text).expect("JSON");
                let error = &error["error"];
                let names = error["param"] == field
                    || error["message"].as_str().is_some_and(|message| message.contains(field));
                assert!(status == 400 && names, "{field}: {status} {error}");
            }
            How::Ignored => assert!(status == 200 && is_named, "{field}: {status} {ignored:?} {text}"),
            How::Honoured | How::Mapped => {
                assert!(status == 200 && !is_named, "{field}: {status} {ignored:?} {text}");
            }
        }
        if let Some((path, value)) = arrives {
            let asked = app.upstream.log().last().expect("a request").asked();
            assert_eq!(asked.field(path), Some(&value).filter(|value| !value.is_null()), "{field}");
        }
    }
}

#[tokio::test]
async fn each_field_of_a_chat_completion_becomes_what_its_row_says() {
    try_rows(chat::endpoint()).await;
}

#[tokio::test]
async fn each_field_of_a_completion_becomes_what_its_row_says() {
    try_rows(completions::endpoint()).await;
}

#[tokio::test]
async fn each_field_of_a_message_becomes_what_its_row_says() {
    try_rows(messages::endpoint()).await;
}

fn model() -> Value {
    json!("claude-haiku-4-5")
}
