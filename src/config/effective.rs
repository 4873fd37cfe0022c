//! The settings as they count: the value of each and where it comes from.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::layers::{Found, Layers};
use super::settings::Settings;
use super::table::Setting;
use super::values::{Refusal, Value};

/// A setting as it counts.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value; of a secret only whether there is one.
    pub value: Json,
    /// Where it comes from.
    pub source: String,
}

/// Reads a setting from the layer that has the last word. What is wrong is added to `problems`.
pub fn read_one<T: Value>(
    setting: &'static Setting,
    layers: &Layers,
    problems: &mut Vec<String>,
    effective: &mut Vec<Effective>,
) -> Option<T> {
    let found = layers.find(setting, problems)?;
    let read = match &found.text {
        None => T::absent().ok_or_else(Refusal::default),
        Some(text) => T::read(text),
    };
    match read {
        Ok(value) => {
            effective.push(Effective { setting, value: value.shown(), source: found.source });
            Some(value)
        }
        Err(refusal) => {
            problems.push(problem(setting, &found, &refusal));
            None
        }
    }
}

/// What is wrong with a value: its setting, where it comes from, the value unless it is secret, what is allowed.
fn problem(setting: &Setting, found: &Found, refusal: &Refusal) -> String {
    let text = found.text.as_deref().unwrap_or_default();
    // A URL with a password in it is a secret too.
    let is_shown = !setting.secret && text.len() <= 100 && !(text.contains("://") && text.contains('@'));
    let value = if is_shown { format!("{text:?}") } else { "what is given".to_owned() };
    let line = refusal.place.as_ref().and_then(|place| found.lines.get(place));
    let source = match (line, found.source.rsplit_once(" line ")) {
        (Some(line), Some((file, _))) => format!("{file} line {line}"),
        _ => found.source.clone(),
    };
    let reason = refusal.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!(
        "{} cannot be {value} ({source}){reason}. Allowed: {}.",
        setting.variable,
        setting.allowed.trim_end_matches('.')
    )
}

/// The settings as a table for people.
#[must_use]
pub fn as_text(effective: &[Effective]) -> String {
    let rows: Vec<[String; 3]> = effective
        .iter()
        .map(|row| [row.setting.variable.to_owned(), shown(&row.value), row.source.clone()])
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1).min(40));
    let mut text = String::new();
    for [variable, value, source] in &rows {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{variable:first$}  {value:second$}  {source}");
    }
    text
}

/// The settings as JSON: an object by variables.
#[must_use]
pub fn as_json(effective: &[Effective]) -> Json {
    let shown = |row: &Effective| {
        let value = if row.setting.secret { json!(shown(&row.value)) } else { row.value.clone() };
        (row.setting.variable.to_owned(), json!({"value": value, "source": row.source}))
    };
    Json::Object(effective.iter().map(shown).collect())
}

/// A value in one line.
fn shown(value: &Json) -> String {
    match value {
        Json::Null => "not set".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.is_empty() => "not set".to_owned(),
        Json::Object(fields) if fields.is_empty() => "not set".to_owned(),
        Json::Array(items) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The settings, typed, with the rows that show them.
#[derive(Debug)]
pub struct Loaded {
    /// Typed.
    pub settings: Settings,
    /// To be shown.
    pub effective: Vec<Effective>,
    /// What should be told to the operator, though nothing is wrong.
    pub hints: Vec<String>,
}
