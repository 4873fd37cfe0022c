//! A client's JSON Schema and an answer, a line each: looked at in time, and judged as the validator alone judges.

#![no_main]

use std::time::{Duration, Instant};

use couplet::answer_schema::{AnswerSchema, Mismatch};
use couplet_fuzz::json::rewritten;
use jsonschema::PatternOptions;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

/// What is checked quicker than this the validator alone does not take for ever for.
const QUICK: Duration = Duration::from_millis(20);

/// What its author reads.
const LONGEST_SENTENCE: usize = 1024;

fn verdict(schema: &AnswerSchema, text: &str) -> Option<bool> {
    match schema.check(text) {
        Ok(()) => Some(true),
        Err(Mismatch::NotChecked) => None,
        Err(Mismatch::NotJson) => panic!("it is JSON"),
        Err(Mismatch::At(_) | Mismatch::Somewhere) => Some(false),
    }
}

/// The verdict of the validator as it is; `None` where it does not take the schema.
fn plain_verdict(schema: &Map<String, Value>, value: &Value) -> Option<bool> {
    let options = jsonschema::options()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(100_000))
        .should_validate_formats(true);
    let validator = options.build(&Value::Object(schema.clone())).ok()?;
    Some(validator.is_valid(value))
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (Some(schema), Some(answer)) = (lines.next(), lines.next()) else { return };
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(schema) else { return };
    let schema = match AnswerSchema::new(fields.clone()) {
        Ok(schema) => schema,
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && sentence.len() <= LONGEST_SENTENCE, "{sentence}");
            return;
        }
    };
    assert_eq!(schema.schema(), &fields);
    let Ok(value) = serde_json::from_slice::<Value>(answer) else {
        if let Ok(text) = std::str::from_utf8(answer) {
            assert!(matches!(schema.check(text), Err(Mismatch::NotJson)));
        }
        return;
    };
    let started = Instant::now();
    let text = value.to_string();
    let judged = verdict(&schema, &text);
    let is_quick = started.elapsed() < QUICK;
    if !is_quick || judged.is_none() {
        return;
    }
    let again = String::from_utf8(rewritten(answer).expect("it was JSON")).expect("UTF-8");
    assert_eq!(verdict(&schema, &again), judged);
    if let Some(plain) = plain_verdict(&fields, &value) {
        assert_eq!(judged, Some(plain), "as the validator alone");
    }
    expect_same_in_arguments(&schema, &text, judged);
});

/// The arguments that the model is asked for are judged as the answer in them.
fn expect_same_in_arguments(schema: &AnswerSchema, text: &str, judged: Option<bool>) {
    if !schema.is_wrapped() {
        return;
    }
    let arguments = format!("{{\"value\": {text}}}");
    assert_eq!(AnswerSchema::unwrapped(&arguments), Some(text));
    // It is one deeper, which may be too deep.
    let Ok(wrapped) = AnswerSchema::new(schema.as_arguments()) else { return };
    if let Some(of_arguments) = verdict(&wrapped, &arguments) {
        assert_eq!(Some(of_arguments), judged, "{}", json!(schema.as_arguments()));
    }
}
