//! What an agent's model would do, without a script: call a tool, then answer. Pure.
//!
//! For clients whose prompts cannot hold directives, such as test suites of others. [`Part::Agent`](super::Part::Agent)
//! says the rules.

use serde_json::{Value, json};

use super::instance::{Material, instance};
use super::request::Asked;
use super::script;

/// The tool through which the CLI takes the answer to a schema.
pub(super) const STRUCTURED_OUTPUT: &str = "StructuredOutput";

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
    let other = asked.tools().iter().find(|tool| tool["name"] != STRUCTURED_OUTPUT);
    let (is_free, is_question) = match choice(asked) {
        Choice::Auto => (true, !asked.ends_with_tool_result()),
        Choice::Any => (true, asked.last_tool_results().is_empty()),
        Choice::None | Choice::Tool(_) => (false, false),
    };
    match other.filter(|_| is_free && is_question) {
        Some(tool) => call(tool, asked, false),
        None => demanded(asked).unwrap_or_else(|| Act::Say(script::demo_text(asked))),
    }
}

/// What a request leaves no choice about: a call that must be made, or JSON that must be said.
#[must_use]
pub fn demanded(asked: &Asked) -> Option<Act> {
    match choice(asked) {
        Choice::Tool(tool) => Some(call(tool, asked, true)),
        Choice::Any => answer_tool(asked).or(asked.tools().first()).map(|tool| call(tool, asked, true)),
        Choice::Auto => {
            demanded_text(asked).or_else(|| answer_tool(asked).map(|tool| call(tool, asked, true)))
        }
        Choice::None => demanded_text(asked),
    }
}

/// What must be called.
enum Choice<'a> {
    Auto,
    None,
    Any,
    Tool(&'a Value),
}

/// By the request's `tool_choice`, or by Couplet's words for it where that was refused.
fn choice(asked: &Asked) -> Choice<'_> {
    let named = |name: &str| asked.tools().iter().find(|tool| tool["name"] == name);
    match asked.field("tool_choice.type").and_then(Value::as_str) {
        Some("none") => Choice::None,
        Some("any") => Choice::Any,
        Some("tool") => {
            let name = asked.field("tool_choice.name").and_then(Value::as_str);
            name.and_then(named).map_or(Choice::Auto, Choice::Tool)
        }
        _ => {
            let last = asked.last_user_texts().pop().unwrap_or_default();
            let Some((_, demand)) = last.split_once("Answer with a call of ") else { return Choice::Auto };
            let name = demand.strip_prefix("the tool `").and_then(|rest| rest.split('`').next());
            name.and_then(named).map_or(Choice::Any, Choice::Tool)
        }
    }
}

/// JSON, where the text must be that. If any object will do, it has the names that the question quotes.
fn demanded_text(asked: &Asked) -> Option<Act> {
    let schema = asked.field("output_config.format.schema")?;
    Some(Act::Say(example(&with_named(schema, &question(asked)), &question(asked), true)))
}

fn with_named(schema: &Value, question: &str) -> Value {
    let is_any = ["properties", "$ref", "anyOf", "allOf"].iter().all(|key| schema.get(key).is_none());
    if schema["type"] != "object" || schema["additionalProperties"] == false || !is_any {
        return schema.clone();
    }
    let names = question
        .split(['`', '\'', '"'])
        .skip(1)
        .step_by(2)
        .filter(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    let texts = names.map(|name| (name.to_owned(), json!({"type": "string"})));
    let mut closer = schema.clone();
    closer["properties"] = Value::Object(texts.collect());
    closer
}

/// The tool whose arguments are the answer.
fn answer_tool(asked: &Asked) -> Option<&Value> {
    asked.tools().iter().find(|tool| tool["name"] == STRUCTURED_OUTPUT)
}

/// Who calls a tool of his own accord leaves its optional arguments out: a tool that does things minds a made-up one.
fn call(tool: &Value, asked: &Asked, optional: bool) -> Act {
    let name = tool["name"].as_str().unwrap_or_default().to_owned();
    Act::Call { name, input: example(&tool["input_schema"], &question(asked), optional) }
}

fn question(asked: &Asked) -> String {
    script::without_directives(&asked.last_user_text())
}

/// What a schema is answered with, made of the first number and the first quoted text of the question.
fn example(schema: &Value, question: &str, optional: bool) -> String {
    let number = number_in(question).unwrap_or(1.0);
    let text = quoted_in(question).unwrap_or("text");
    instance(schema, Material { number, text, optional }).to_string()
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

    #[test]
    fn a_call_comes_before_the_form_of_the_answer() {
        let schema: Value = serde_json::from_str(SUM).unwrap();
        let tools =
            json!([{"name": STRUCTURED_OUTPUT, "input_schema": schema}, {"name": "now", "input_schema": {}}]);
        let at = |content: Value, choice: Value| {
            let messages = json!([{"role": "user", "content": content}]);
            Asked::new(json!({"messages": messages, "tools": tools, "tool_choice": choice}))
        };
        assert_eq!(act(&at(json!("hi"), Value::Null)), call("now", "{}"));
        assert_eq!(act(&at(result(), Value::Null)), call(STRUCTURED_OUTPUT, r#"{"a":1}"#));
        assert!(matches!(act(&at(result(), json!({"type": "none"}))), Act::Say(_)));
    }

    #[rstest]
    #[case("Answer with a call of the tool `now`, and of no other one.", Some(call("now", "{}")))]
    #[case(
        "This was wrong. Answer with a call of at least one of your tools.",
        Some(call("sum", r#"{"a":1}"#))
    )]
    #[case("What is a call of the tool `now`?", None)]
    fn words_demand_as_the_request_does(#[case] words: &str, #[case] expected: Option<Act>) {
        let content = json!([{"type": "text", "text": "hi"}, {"type": "text", "text": words}]);
        assert_eq!(demanded(&asked(&content, &Value::Null)), expected);
    }

    #[test]
    fn with_a_form_demanded_in_words_the_calls_end() {
        let tools =
            json!([{"name": "now", "input_schema": {}}, {"name": STRUCTURED_OUTPUT, "input_schema": {}}]);
        let words =
            json!({"type": "text", "text": "Answer with a call of one of your tools: of `StructuredOutput`"});
        let at = |first: &Value| {
            let messages = json!([{"role": "user", "content": [first, words]}]);
            act(&Asked::new(json!({"messages": messages, "tools": tools})))
        };
        assert_eq!(at(&json!({"type": "text", "text": "hi"})), call("now", "{}"));
        assert_eq!(at(&result()[0]), call(STRUCTURED_OUTPUT, "{}"));
    }

    #[rstest]
    #[case(json!({"type": "object"}), r#"{"setup":"setup","punch":"setup"}"#)]
    #[case(json!({"type": "object", "additionalProperties": false}), "{}")]
    #[case(json!({"type": "object", "properties": {}}), "{}")]
    fn any_object_gets_the_names_in_the_question(#[case] schema: Value, #[case] expected: &str) {
        let messages = json!([{"role": "user", "content": "with 'setup' and `punch` keys, \"not this\""}]);
        let plain =
            Asked::new(json!({"messages": messages, "output_config": {"format": {"schema": schema}}}));
        assert_eq!(demanded(&plain), Some(Act::Say(expected.to_owned())));
    }

    #[test]
    fn without_a_demand_nothing_is_demanded() {
        assert_eq!(demanded(&asked(&json!("hi"), &Value::Null)), None);
        assert_eq!(demanded(&asked(&json!("hi"), &json!({"type": "auto"}))), None);
        assert_eq!(demanded(&asked(&json!("hi"), &json!({"type": "any"}))), Some(call("sum", r#"{"a":1}"#)));
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
