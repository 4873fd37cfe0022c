//! `.env` and `couplet.toml`: any text is read or refused by line, and what is written comes back.

#![no_main]

use arbitrary::Arbitrary;
use couplet::config::values::Shape;
use couplet::config::{env_file, toml_file, unknown};
use couplet_fuzz::json::MadeUpObject;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[derive(Debug, Arbitrary)]
enum Given {
    Text(String),
    Values(Vec<String>),
    Table(MadeUpObject),
}

fn any_text(text: &str) {
    let count = text.lines().count().max(1);
    match env_file::parse(text) {
        Ok(entries) => {
            let lines: Vec<_> = entries.iter().map(|entry| entry.line).collect();
            assert!(lines.is_sorted() && lines.iter().all(|line| (1..=count).contains(line)));
        }
        Err((line, _)) => assert!((1..=count).contains(&line)),
    }
    match toml_file::parse(text, unknown::shape_of_key) {
        Ok(entries) => assert!(entries.values().all(|entry| (1..=count).contains(&entry.line))),
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && mistakes.iter().all(|it| (1..=count + 1).contains(&it.line)));
        }
    }
    let _ = toml_file::parse(text, |_| Some(Shape::Table));
}

fn in_double_quotes(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('$', r"\$").replace('\n', r"\n")
}

/// A text as TOML has it: JSON escapes nothing else, but leaves one control character as it is.
fn toml_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', r"\u007f")
}

fn values_come_back(values: &[String]) {
    let (mut env, mut toml) = (String::new(), String::new());
    for (index, value) in values.iter().enumerate() {
        let quoted = if value.contains(['\'', '\n']) {
            format!("\"{}\"", in_double_quotes(value))
        } else {
            format!("'{value}' # a comment")
        };
        env.extend(["export NAME_", &index.to_string(), " = ", &quoted, "\n"]);
        toml.extend(["name_", &index.to_string(), " = ", &toml_text(value), "\n"]);
    }
    let read = env_file::parse(&env).expect("it was written so");
    let read: Vec<_> = read.into_iter().map(|entry| entry.value).collect();
    assert_eq!(read, values);
    let read = toml_file::parse(&toml, |_| Some(Shape::Text)).expect("it was written so");
    for (index, value) in values.iter().enumerate() {
        let entry = &read[&format!("name_{index}")];
        assert_eq!((&entry.text, entry.line), (value, index + 1));
    }
}

/// The value in TOML; `None` where TOML has none such.
fn toml_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_u64() && number.as_i64().is_none() => return None,
        Value::Number(number) => number.to_string(),
        Value::String(text) => toml_text(text),
        Value::Array(items) => {
            let items = items.iter().map(toml_value).collect::<Option<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                Some(format!("{} = {}", toml_text(key), toml_value(value)?))
            };
            format!("{{ {} }}", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(", "))
        }
    })
}

fn a_table_comes_back(table: &Value) {
    let Some(text) = toml_value(table) else { return };
    let read = toml_file::parse(&format!("aliases = {text}\n"), |_| Some(Shape::Table));
    let read: Value = serde_json::from_str(&read.expect("it was written so")["aliases"].text).expect("JSON");
    assert!(couplet_fuzz::json::say_the_same(&read, table), "{read} {table}");
}

fuzz_target!(|given: Given| {
    match given {
        Given::Text(text) => any_text(&text),
        Given::Values(values) => values_come_back(&values),
        Given::Table(table) => a_table_comes_back(&Value::Object(table.0)),
    }
});
