//! JSON, written in another way and made up.

use arbitrary::{Arbitrary, Result, Unstructured};
use serde_json::{Map, Number, Value};

/// The same document with other white space and other escapes; `None` where it is none.
#[must_use]
pub fn rewritten(document: &[u8]) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(document).ok()?;
    serde_json::to_vec_pretty(&value).ok()
}

/// Whether two values say the same: the order of keys does not count, nor whether a number is written as a whole one.
#[must_use]
pub fn say_the_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => objects_say_the_same(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| say_the_same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a == b || are_equal_numbers(a, b),
        (a, b) => a == b,
    }
}

/// The same of objects.
#[must_use]
pub fn objects_say_the_same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len()
        && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| say_the_same(value, other)))
}

fn are_equal_numbers(a: &Number, b: &Number) -> bool {
    /// Beyond this a float has no room for every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match (a.as_f64(), b.as_f64()) {
        #[expect(clippy::float_cmp, reason = "whether they are the same is the question")]
        (Some(x), Some(y)) => a.is_f64() != b.is_f64() && x == y && x.abs() < EXACT,
        _ => false,
    }
}

/// A small object.
#[derive(Debug, Clone)]
pub struct MadeUpObject(pub Map<String, Value>);

impl<'a> Arbitrary<'a> for MadeUpObject {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        object(from, 3).map(Self)
    }
}

fn object(from: &mut Unstructured<'_>, depth: usize) -> Result<Map<String, Value>> {
    let mut made = Map::new();
    for _ in 0..from.int_in_range(0..=3)? {
        let key = String::arbitrary(from)?;
        made.insert(key, value(from, depth)?);
    }
    Ok(made)
}

fn value(from: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match from.int_in_range(0..=if depth == 0 { 6 } else { 8 })? {
        0 => Value::Null,
        1 => bool::arbitrary(from)?.into(),
        2 => i64::arbitrary(from)?.into(),
        3 => u64::arbitrary(from)?.into(),
        4 => f64::from(i32::arbitrary(from)?).into(),
        5 => f64::arbitrary(from)?.into(),
        6 => String::arbitrary(from)?.into(),
        7 => {
            let items = (0..from.int_in_range(0..=3)?).map(|_| value(from, depth - 1));
            Value::Array(items.collect::<Result<_>>()?)
        }
        _ => Value::Object(object(from, depth - 1)?),
    })
}
