//! A validator that ends in time and does not overflow the stack, whatever its schema and the value are.
//!
//! Some schemas try so many ways, one within the other, that a check of a small value takes longer than the sun will last,
//! and harmless ones do so as well: an expression of five kinds of operators, nested ten deep. The validator cannot be told
//! to stop, but takes keywords of others: each schema gets one that looks at the clock and unwinds the stack when it is late.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use jsonschema::paths::Location;
use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

use super::subschemas::for_each_schema;

/// The stack for what calls itself for each schema within a schema. The deepest checks that the limits leave take less than
/// 32 MiB in a debug build. Pages that are not touched take no memory.
const STACK: usize = 64 * 1024 * 1024;

/// How much memory all patterns of a schema may take when they are made ready, each of them as much as the others. `\p{L}`
/// takes some 12 KiB, as often as it is repeated.
const PATTERNS_BYTES: usize = 8 * 1024 * 1024;

/// How often a pattern may try another way before it counts as not met.
const BACKTRACK_LIMIT: usize = 100_000;

/// How long a check may take. Some milliseconds are usual.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// How long it may take to find out where a value does not match: that tells of each way that was tried, all of them at once.
const LONGEST_SEARCH: Duration = Duration::from_millis(100);

/// So many characters are said of what is wrong with a schema.
const MOST_SAID: usize = 200;

/// The keyword that looks at the clock.
const CLOCK: &str = "x-couplet-clock";

/// What generators of schemas write in references all the same: `#/$defs/List<Item>`.
const NOT_IN_REFERENCES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'[')
    .add(b']')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'^')
    .add(b'\\');

/// The clock is looked at each time that it has been asked so often.
const ASKED: u32 = 64;

#[derive(Debug)]
pub(super) struct Guarded(Option<Validator>);

/// The verdict on a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Matches,
    /// Where it does not, if that was found in time.
    DoesNot(Option<String>),
    /// There was not enough time to find out.
    Unknown,
}

impl Guarded {
    /// Makes the validator of a schema that keeps to the limits and has so many patterns.
    ///
    /// # Errors
    /// When it is no valid schema; the words say why.
    pub(super) fn new(schema: &Map<String, Value>, patterns: usize) -> Result<Self, String> {
        let mut schema = schema.clone();
        for_each_schema(&mut schema, &mut |schema| {
            if let Some(Value::String(reference)) = schema.get_mut("$ref") {
                *reference = utf8_percent_encode(reference, NOT_IN_REFERENCES).to_string();
            }
            schema.insert(CLOCK.to_owned(), true.into());
        });
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_LIMIT)
            .size_limit(PATTERNS_BYTES / patterns.max(1));
        let options = jsonschema::options()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .with_keyword(CLOCK, clock);
        let built = on_large_stack(|| options.build(&Value::Object(schema)).map_err(|error| said_of(&error)));
        built.map(|validator| Self(Some(validator)))
    }

    /// Looks at a value. It takes [`LONGEST_CHECK`] at most.
    pub(super) fn check(&self, value: &Value) -> Verdict {
        let Some(validator) = &self.0 else { return Verdict::Unknown };
        match within(LONGEST_CHECK, || validator.is_valid(value)) {
            Some(true) => Verdict::Matches,
            Some(false) => {
                let place = |error: ValidationError<'_>| error.instance_path().to_string();
                let search = || validator.validate(value).map_err(place).err();
                Verdict::DoesNot(within(LONGEST_SEARCH, search).flatten())
            }
            None => Verdict::Unknown,
        }
    }
}

/// What is wrong with a schema, and where; not what stands there, which may be long.
fn said_of(error: &ValidationError<'_>) -> String {
    let said: String = error.masked().to_string().chars().take(MOST_SAID).collect();
    match error.instance_path().as_str() {
        "" => said,
        path => format!("{said} at {path:?}"),
    }
}

/// A validator is as deep as its schema.
impl Drop for Guarded {
    fn drop(&mut self) {
        let validator = self.0.take();
        on_large_stack(|| drop(validator));
    }
}

/// Runs something that may call itself very often.
pub(super) fn on_large_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::grow(STACK, run)
}

thread_local! {
    /// When what this thread checks has to be over.
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
    static TIMES_ASKED: Cell<u32> = const { Cell::new(0) };
}

/// That it is too late.
struct TooLate;

/// Runs a check; `None` when there is not enough time for it.
fn within<T>(time: Duration, check: impl FnOnce() -> T) -> Option<T> {
    UNTIL.set(Some(Instant::now() + time));
    let checked = on_large_stack(|| catch_unwind(AssertUnwindSafe(check)));
    UNTIL.set(None);
    match checked {
        Ok(checked) => Some(checked),
        Err(thrown) if thrown.is::<TooLate>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

struct Clock;

#[expect(clippy::unnecessary_wraps, reason = "the form that a factory of keywords has")]
fn clock<'a>(
    _schema: &'a Map<String, Value>,
    _value: &'a Value,
    _place: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    Ok(Box::new(Clock))
}

impl Clock {
    fn look() {
        let asked = TIMES_ASKED.get().wrapping_add(1);
        TIMES_ASKED.set(asked);
        if asked.is_multiple_of(ASKED) && UNTIL.get().is_some_and(|until| Instant::now() >= until) {
            // Not a panic: nobody has to hear of it.
            resume_unwind(Box::new(TooLate));
        }
    }
}

impl<'i> Keyword<'i> for Clock {
    fn validate(&self, _value: &'i Value) -> Result<(), ValidationError<'i>> {
        Self::look();
        Ok(())
    }

    fn is_valid(&self, _value: &'i Value) -> bool {
        Self::look();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn guarded(schema: Value) -> Guarded {
        let Value::Object(schema) = schema else { panic!("an object") };
        Guarded::new(&schema, 0).expect("a schema")
    }

    /// Each level is looked at in two ways, and each of them looks at all below in two ways.
    fn doubling() -> Value {
        json!({"anyOf": [
            {"properties": {"a": {"$ref": "#"}, "b": {"const": 1}}, "required": ["b"]},
            {"properties": {"a": {"$ref": "#"}, "b": {"const": 2}}, "required": ["b"]},
        ]})
    }

    fn nested(depth: usize, inner: Value) -> Value {
        (0..depth).fold(inner, |value, _| json!({"a": value, "b": 2}))
    }

    #[test]
    fn a_check_that_takes_too_long_is_given_up() {
        let double = |next: usize| {
            let next = json!({"$ref": format!("#/$defs/{next}")});
            json!({"allOf": [next, next]})
        };
        let mut definitions: Map<_, _> = (0..14).map(|at| (at.to_string(), double(at + 1))).collect();
        definitions.insert("14".to_owned(), json!({"type": "integer"}));
        let slow = guarded(json!({"items": {"$ref": "#/$defs/0"}, "$defs": definitions}));
        let started = Instant::now();
        assert_eq!(slow.check(&json!(vec![1; 100_000])), Verdict::Unknown);
        assert!(started.elapsed() < 2 * LONGEST_CHECK);
        assert_eq!(slow.check(&json!([1])), Verdict::Matches);
    }

    #[test]
    fn that_the_place_is_hard_to_find_does_not_matter() {
        let started = Instant::now();
        assert_eq!(guarded(doubling()).check(&nested(60, json!({"b": 3}))), Verdict::DoesNot(None));
        assert!(started.elapsed() < LONGEST_CHECK);
        assert_eq!(guarded(doubling()).check(&nested(3, json!({"b": 2}))), Verdict::Matches);
    }

    /// As many schemas apply to each value as may, and the values are as deep as JSON is read.
    #[rstest]
    #[case::all(&|next| json!({"allOf": [next]}))]
    #[case::any(&|next| json!({"anyOf": [{"type": "null"}, next]}))]
    #[case::one(&|next| json!({"oneOf": [{"type": "null"}, next]}))]
    #[case::not(&|next| json!({"not": next}))]
    #[case::condition(&|next| json!({"if": next, "then": true, "else": false}))]
    #[case::the_rest(&|next| json!({"anyOf": [next], "unevaluatedItems": false}))]
    fn the_deepest_check_finds_room_on_the_stack(#[case] link: &dyn Fn(Value) -> Value) {
        const LENGTH: usize = 30;
        let next = |place: usize| link(json!({"$ref": format!("#/$defs/{}", place + 1)}));
        let mut definitions: Map<_, _> = (0..LENGTH).map(|place| (place.to_string(), next(place))).collect();
        definitions.insert(LENGTH.to_string(), json!({"type": "array", "items": {"$ref": "#/$defs/0"}}));
        let schema = json!({"$ref": "#/$defs/0", "$defs": definitions});
        super::super::extent::expect_moderate(schema.as_object().expect("an object"))
            .expect("within the limits");
        let value = (0..126).fold(json!(1), |value, _| json!([value]));
        assert_ne!(guarded(schema).check(&value), Verdict::Unknown);
    }
}
