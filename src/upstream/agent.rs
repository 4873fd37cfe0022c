//! What an agent's model would do, without a script: call a tool, then answer. Pure.
//!
//! For clients whose prompts cannot hold directives, such as test suites of others. [`Part::Agent`](super::Part::Agent)
//! says the rules.

use serde_json::{Map, Value, json};

use super::request::Asked;
use super::script;

/// The most values an answer is made of: schemas reach this from outside in demo mode, and may be recursive.
const MOST_VALUES: usize = 1000;
const DEEPEST: usize = 16;

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A tool is called.
    Call {
        /// Its name.
        name: String,
        /// The JSON text of its arguments.
        input: String,
    },
    /// A text is said.
    Say(String),
}

/// The answer to a request.
#[must_use]
pub fn act(asked: &Asked) -> Act {
    let question = script::without_directives(&asked.last_user_text());
    if let Some(tool) = tool(asked) {
        let name = tool["name"].as_str().unwrap_or_default().to_owned();
        return Act::Call { name, input: example(&tool["input_schema"], &question).to_string() };
    }
    Act::Say(match asked.field("output_config.format.schema") {
        Some(schema) => example(schema, &question).to_string(),
        None => script::demo_text(asked),
    })
}

/// The tool to call: the one that must be, else the first where a question is asked.
fn tool(asked: &Asked) -> Option<&Value> {
    let choice = asked.field("tool_choice");
    match choice.and_then(|choice| choice["type"].as_str()) {
        Some("none") => None,
        Some("tool") => {
            asked.tools().iter().find(|tool| Some(&tool["name"]) == choice.map(|choice| &choice["name"]))
        }
        Some("any") => asked.tools().first(),
        _ => asked.tools().first().filter(|_| !asked.ends_with_tool_result()),
    }
}

/// A value that fits a JSON Schema, as far as types, enumerations, references and required properties go.
fn example(schema: &Value, question: &str) -> Value {
    let number = number_in(question).unwrap_or(1.0);
    let text = quoted_in(question).unwrap_or("text");
    Example { root: schema, number, text, left: MOST_VALUES }.of(schema, 0)
}

struct Example<'a> {
    root: &'a Value,
    number: f64,
    text: &'a str,
    /// So many values may still be made.
    left: usize,
}

impl Example<'_> {
    fn of(&mut self, schema: &Value, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || depth > DEEPEST {
            return Value::Null;
        }
        if let Some(path) = schema["$ref"].as_str() {
            let target = self.root.pointer(path.trim_start_matches('#'));
            return target.map_or(Value::Null, |target| self.of(target, depth + 1));
        }
        let given = [&schema["const"], &schema["enum"][0]].into_iter().find(|value| !value.is_null());
        if let Some(given) = given {
            return given.clone();
        }
        let choices = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|key| schema[key].as_array());
        if let Some(choice) = choices.and_then(|choices| choices.first()) {
            return self.of(choice, depth + 1);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match kind {
            Some("string") => json!(self.text),
            Some("number") => json!(self.number),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a number of the question, without its fraction"
            )]
            Some("integer") => json!(self.number as i64),
            Some("boolean") => json!(true),
            Some("array") => json!([self.of(&schema["items"], depth + 1)]),
            Some("null") => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    /// With the required properties alone.
    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut made = Map::new();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if self.left == 0 {
                break;
            }
            made.insert(name.to_owned(), self.of(&schema["properties"][name], depth + 1));
        }
        Value::Object(made)
    }
}

/// The first number that is not part of a name.
fn number_in(text: &str) -> Option<f64> {
    let of_number = |char: char| char.is_ascii_digit() || matches!(char, '-' | '.');
    let words = text.split(|char: char| !char.is_alphanumeric() && !of_number(char) && char != '_');
    words.filter_map(|word| word.trim_end_matches('.').parse().ok()).find(|number: &f64| number.is_finite())
}

/// The first text in quotation marks; an apostrophe is none.
fn quoted_in(text: &str) -> Option<&str> {
    text.char_indices().find_map(|(start, open)| {
        let close = match open {
            '\'' | '"' => open,
            '“' => '”',
            _ => return None,
        };
        let is_apostrophe = text[..start].ends_with(char::is_alphanumeric);
        let quoted = &text[start + open.len_utf8()..];
        quoted.find(close).map(|end| &quoted[..end]).filter(|quoted| !is_apostrophe && !quoted.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SUM: &str = r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#;

    fn asked(content: &Value, choice: &Value) -> Asked {
        let schema: Value = serde_json::from_str(SUM).unwrap();
        let tools = json!([{"name": "sum", "input_schema": schema}, {"name": "now", "input_schema": {}}]);
        let messages = json!([{"role": "user", "content": content}]);
        Asked::new(json!({"messages": messages, "tools": tools, "tool_choice": choice}))
    }

    fn call(name: &str, input: &str) -> Act {
        Act::Call { name: name.to_owned(), input: input.to_owned() }
    }

    fn result() -> Value {
        json!([{"type": "tool_result", "tool_use_id": "t", "content": "7"}])
    }

    #[test]
    fn a_question_calls_the_first_tool_and_its_result_is_answered() {
        assert_eq!(act(&asked(&json!("What is sum(3)?"), &Value::Null)), call("sum", r#"{"a":3}"#));
        let Act::Say(text) = act(&asked(&result(), &Value::Null)) else { panic!("a call") };
        assert!(text.contains("“7”"), "{text}");
    }

    #[test]
    fn a_question_behind_a_result_is_a_question() {
        let mut content = result();
        content.as_array_mut().unwrap().push(json!({"type": "text", "text": "And sum(4)?"}));
        assert_eq!(act(&asked(&content, &Value::Null)), call("sum", r#"{"a":4}"#));
    }

    #[test]
    fn a_tool_that_must_be_called_is_called() {
        assert_eq!(act(&asked(&result(), &json!({"type": "any"}))), call("sum", r#"{"a":1}"#));
        assert_eq!(act(&asked(&result(), &json!({"type": "tool", "name": "now"}))), call("now", "{}"));
    }

    #[test]
    fn no_tool_is_called_where_none_may_be_or_none_is_there() {
        assert!(matches!(act(&asked(&json!("sum(3)?"), &json!({"type": "none"}))), Act::Say(_)));
        let plain = Asked::new(json!({"messages": [{"role": "user", "content": "hello"}]}));
        assert!(matches!(act(&plain), Act::Say(text) if text.contains("“hello”")));
    }

    #[test]
    fn a_schema_for_the_text_gets_json() {
        let schema: Value = serde_json::from_str(SUM).unwrap();
        let plain = Asked::new(json!({"output_config": {"format": {"schema": schema}}}));
        assert_eq!(act(&plain), Act::Say(r#"{"a":1}"#.to_owned()));
    }

    #[rstest]
    #[case(json!({"type": "string"}), json!("x y"))]
    #[case(json!({"type": "number"}), json!(-2.5))]
    #[case(json!({"type": ["integer", "null"]}), json!(-2))]
    #[case(json!({"enum": ["b", "a"], "type": "string"}), json!("b"))]
    #[case(json!({"const": 9}), json!(9))]
    #[case(json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), json!(true))]
    #[case(json!({"type": "array", "items": {"type": "null"}}), json!([null]))]
    #[case(json!({"$defs": {"d": {"type": "boolean"}}, "$ref": "#/$defs/d"}), json!(true))]
    #[case(json!({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}), json!({"a": "x y"}))]
    #[case(json!({}), json!({}))]
    #[case(Value::Null, json!({}))]
    fn values_fit_their_schema(#[case] schema: Value, #[case] expected: Value) {
        assert_eq!(example(&schema, "don't use v1: f(-2.5, 'x y', \"z\")."), expected);
    }

    #[test]
    fn a_schema_that_contains_itself_comes_to_an_end() {
        let names: Vec<_> = (0..50).map(|index| format!("p{index}")).collect();
        let properties: Map<_, _> = names.iter().map(|name| (name.clone(), json!({"$ref": "#"}))).collect();
        let made = example(&json!({"properties": properties, "required": names}), "");
        assert!(made.to_string().len() < 20 * MOST_VALUES);
    }

    #[rstest]
    #[case("in 2026.", Some(2026.0))]
    #[case("v2 of x_3 and f(4)", Some(4.0))]
    #[case("none - at all, inf and nan", None)]
    fn numbers_are_found(#[case] text: &str, #[case] expected: Option<f64>) {
        assert_eq!(number_in(text), expected);
    }

    #[rstest]
    #[case("named “é è” and 'b'", Some("é è"))]
    #[case("it's John's", None)]
    #[case("an 'open one", None)]
    fn quotations_are_found(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(quoted_in(text), expected);
    }
}
