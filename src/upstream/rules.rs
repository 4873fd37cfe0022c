//! What the scripted API refuses for a whole session, whoever asks: fields, and requests against the API's own rules. Pure.
//!
//! The rules are those of Anthropic's API, in its words, as far as they concern what Couplet may send.

use serde_json::Value;

use super::reply::ApiError;
use super::request::Asked;

/// What is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    refused: Vec<Refused>,
    strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    /// Of this model only.
    model: Option<String>,
    field: String,
    message: String,
}

impl Rules {
    /// Refuses a field from now on; of one model, or of all.
    pub(super) fn refuse(&mut self, model: Option<&str>, field: &str, message: &str) {
        let model = model.map(str::to_owned);
        self.refused.push(Refused { model, field: field.to_owned(), message: message.to_owned() });
    }

    /// Keeps to the API's own rules from now on.
    pub(super) fn be_strict(&mut self) {
        self.strict = true;
    }

    /// The error for a request, if it is refused.
    pub(super) fn error(&self, asked: &Asked) -> Option<ApiError> {
        let meant =
            |refused: &&Refused| refused.model.as_ref().is_none_or(|model| model.as_str() == asked.model());
        let mut refused = self.refused.iter().filter(meant);
        refused
            .find_map(|refused| refusal(asked, &refused.field, &refused.message))
            .or_else(|| self.strict.then(|| breach(asked)).flatten().map(|message| invalid(&message)))
    }
}

/// The error for a field (dotted path; `PATH=VALUE` means it with that value only) that a request has. Without a message a
/// stock one is given.
pub(super) fn refusal(asked: &Asked, field: &str, message: &str) -> Option<ApiError> {
    let (path, wanted) = field.split_once('=').map_or((field, None), |(path, value)| (path, Some(value)));
    let value = asked.field(path)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_meant = wanted.is_none_or(|wanted| text == wanted);
    let stock = || format!("{path}: this model does not support this parameter");
    is_meant.then(|| invalid(&if message.is_empty() { stock() } else { message.to_owned() }))
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "invalid_request_error", message)
}

/// What is wrong with a request by the API's rules.
fn breach(asked: &Asked) -> Option<String> {
    let found = thinking(asked)
        .or_else(|| sampling(asked))
        .or_else(|| tool_choice(asked))
        .or_else(|| blank_texts(asked))
        .map(str::to_owned);
    found.or_else(|| format(asked))
}

/// What does not go together with thinking.
fn thinking(asked: &Asked) -> Option<&'static str> {
    let kind = asked.field("thinking.type").and_then(Value::as_str);
    if !matches!(kind, Some("enabled" | "adaptive")) {
        let clears = |edit: &Value| edit["type"] == "clear_thinking_20251015";
        let edits = asked.field("context_management.edits").and_then(Value::as_array);
        return edits
            .is_some_and(|edits| edits.iter().any(clears))
            .then_some("`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive");
    }
    let number = |field| asked.field(field).and_then(Value::as_f64);
    let budget = number("thinking.budget_tokens");
    if budget.zip(number("max_tokens")).is_some_and(|(budget, most)| most <= budget) {
        return Some("`max_tokens` must be greater than `thinking.budget_tokens`");
    }
    let choice = asked.field("tool_choice.type").and_then(Value::as_str);
    if matches!(choice, Some("any" | "tool")) {
        return Some("Thinking may not be enabled when tool_choice forces tool use.");
    }
    if number("temperature").is_some_and(|temperature| temperature < 1.0) {
        return Some("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.");
    }
    if number("top_p").is_some_and(|top_p| top_p < 0.95) {
        return Some(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in adaptive mode.",
        );
    }
    number("top_k").map(|_| "`top_k` must be unset when thinking is enabled or in adaptive mode.")
}

fn sampling(asked: &Asked) -> Option<&'static str> {
    let both = ["temperature", "top_p"].iter().all(|field| asked.field(field).is_some());
    let blank = || asked.stop_sequences().any(|sequence| sequence.trim().is_empty());
    if both {
        return Some(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        );
    }
    blank().then_some("stop_sequences: each stop sequence must contain non-whitespace")
}

fn tool_choice(asked: &Asked) -> Option<&'static str> {
    let choice = asked.field("tool_choice")?;
    if asked.tools().is_empty() {
        return Some("tool_choice: tool_choice may only be specified while providing tools");
    }
    let is_there = asked.tool_names().any(|name| choice["name"] == name);
    (choice["type"] == "tool" && !is_there).then_some("tool_choice.tool.name: no such tool was provided")
}

fn blank_texts(asked: &Asked) -> Option<&'static str> {
    let blocks = asked.messages().iter().filter_map(|message| message["content"].as_array()).flatten();
    let texts = blocks.filter(|block| block["type"] == "text").filter_map(|block| block["text"].as_str());
    let mut blank = texts.filter(|text| text.trim().is_empty());
    blank.next().map(|text| match text {
        "" => "messages: text content blocks must be non-empty",
        _ => "messages: text content blocks must contain non-whitespace text",
    })
}

/// What a schema for the answer may not have.
const UNSUPPORTED: [&str; 13] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "oneOf",
    "prefixItems",
];

fn format(asked: &Asked) -> Option<String> {
    let root = asked.field("output_config.format.schema")?;
    schema_breach(root, root, &mut Vec::new()).map(|breach| format!("output_config.format.schema: {breach}"))
}

/// What is wrong with a schema; `open` are the references that led to it.
fn schema_breach<'a>(schema: &'a Value, root: &'a Value, open: &mut Vec<&'a str>) -> Option<String> {
    let fields = schema.as_object()?;
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        if open.contains(&reference) || reference == "#" {
            return Some("Recursive schemas are not supported".to_owned());
        }
        let Some(target) = reference.strip_prefix('#').and_then(|path| root.pointer(path)) else {
            return Some(format!("{reference:?} leads nowhere"));
        };
        open.push(reference);
        let found = schema_breach(target, root, open);
        open.pop();
        return found;
    }
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("object");
    if let Some(name) = UNSUPPORTED.iter().find(|name| fields.contains_key(**name)) {
        return Some(format!("For '{kind}' type, property '{name}' is not supported"));
    }
    if fields.get("minItems").is_some_and(|least| least.as_u64() > Some(1)) {
        return Some("For 'array' type, 'minItems' values other than 0 or 1 are not supported".to_owned());
    }
    let is_object = fields.get("type").is_some_and(|kind| kind == "object");
    if is_object && fields.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Some("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    let properties =
        fields.get("properties").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let lists = ["anyOf", "allOf"].iter().filter_map(|name| fields.get(*name)?.as_array()).flatten();
    let mut parts = properties.chain(lists).chain(fields.get("items"));
    parts.find_map(|part| schema_breach(part, root, open))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn asked(fields: &Value) -> Asked {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Asked::new(body)
    }

    fn strictly(fields: &Value) -> Option<String> {
        let mut rules = Rules::default();
        rules.be_strict();
        rules.error(&asked(fields)).map(|error| error.message)
    }

    fn object(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    }

    fn format_of(schema: &Value) -> Value {
        json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}})
    }

    #[rstest]
    #[case("output_config.format", json!({"output_config": {"format": {}, "effort": "low"}}), json!({"output_config": {"effort": "low"}}))]
    #[case("output_config.effort", json!({"output_config": {"effort": "low"}}), json!({"output_config": {"format": {}}}))]
    #[case("tool_choice", json!({"tool_choice": {"type": "auto"}}), json!({}))]
    #[case("tool_choice.type=any", json!({"tool_choice": {"type": "any"}}), json!({"tool_choice": {"type": "auto"}}))]
    #[case("temperature=1", json!({"temperature": 1}), json!({"temperature": 0.5}))]
    #[case("top_p", json!({"top_p": 0.5}), json!({"top_k": 5}))]
    #[case("top_k", json!({"top_k": 5}), json!({"temperature": 1}))]
    #[case("stop_sequences", json!({"stop_sequences": ["a"]}), json!({"stop": "a"}))]
    fn a_field_is_refused_where_it_is_there(
        #[case] field: &str,
        #[case] with: Value,
        #[case] without: Value,
    ) {
        let mut rules = Rules::default();
        rules.refuse(None, field, "");
        let path = field.split('=').next().unwrap();
        let error = rules.error(&asked(&with)).expect("an error");
        assert_eq!((error.status, error.kind.as_str()), (400, "invalid_request_error"));
        assert_eq!(error.message, format!("{path}: this model does not support this parameter"));
        assert_eq!(rules.error(&asked(&without)), None);
    }

    #[test]
    fn a_model_s_refusal_is_no_other_s() {
        let mut rules = Rules::default();
        rules.refuse(Some("m"), "top_p", "not with m");
        rules.refuse(Some("n"), "top_k", "not with n");
        assert_eq!(
            rules.error(&asked(&json!({"top_p": 1}))).map(|error| error.message).as_deref(),
            Some("not with m")
        );
        assert_eq!(rules.error(&asked(&json!({"top_k": 1}))), None);
    }

    #[rstest]
    #[case(json!({"thinking": {"type": "adaptive"}, "tools": [{"name": "t"}], "tool_choice": {"type": "any"}}), "Thinking may not be enabled when tool_choice forces")]
    #[case(json!({"thinking": {"type": "enabled"}, "tools": [{"name": "t"}], "tool_choice": {"type": "tool", "name": "t"}}), "Thinking may not")]
    #[case(json!({"thinking": {"type": "adaptive"}, "temperature": 0.5}), "`temperature` may only be set to 1 when")]
    #[case(json!({"thinking": {"type": "adaptive"}, "top_p": 0.5}), "`top_p` must be")]
    #[case(json!({"thinking": {"type": "enabled"}, "top_k": 5}), "`top_k` must be unset")]
    #[case(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 8}), "`max_tokens` must be greater")]
    #[case(json!({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}), "`clear_thinking_20251015` strategy")]
    #[case(json!({"temperature": 1, "top_p": 0.5}), "`temperature` and `top_p` cannot both")]
    #[case(json!({"stop_sequences": ["END", " \n"]}), "stop_sequences: each stop sequence must contain non-whitespace")]
    #[case(json!({"tool_choice": {"type": "auto"}}), "tool_choice: tool_choice may only be")]
    #[case(json!({"tools": [{"name": "t"}], "tool_choice": {"type": "tool", "name": "u"}}), "tool_choice.tool.name: ")]
    #[case(json!({"messages": [{"content": [{"type": "text", "text": ""}]}]}), "messages: text content blocks must be non-empty")]
    #[case(json!({"messages": [{"content": [{"type": "text", "text": " "}]}]}), "messages: text content blocks must contain")]
    #[case(format_of(&json!({"type": "object", "properties": {}})), "output_config.format.schema: For 'object' type, 'additionalProperties'")]
    #[case(format_of(&object(&json!({"a": {"type": "integer", "minimum": 1}}))), "output_config.format.schema: For 'integer' type, property 'minimum'")]
    #[case(format_of(&object(&json!({"a": {"anyOf": [{"type": "string", "minLength": 1}]}}))), "output_config.format.schema: For 'string' type")]
    #[case(format_of(&object(&json!({"a": {"type": "array", "items": {"type": "object"}}}))), "output_config.format.schema: For 'object'")]
    #[case(format_of(&object(&json!({"a": {"type": "array", "minItems": 2}}))), "output_config.format.schema: For 'array' type, 'minItems'")]
    #[case(format_of(&object(&json!({"a": {"$ref": "#"}}))), "output_config.format.schema: Recursive")]
    #[case(format_of(&json!({"$ref": "#/$defs/a", "$defs": {"a": object(&json!({"a": {"$ref": "#/$defs/a"}}))}})), "output_config.format.schema: Recursive")]
    fn a_strict_api_refuses_what_anthropic_s_refuses(#[case] fields: Value, #[case] message: &str) {
        assert_eq!(Rules::default().error(&asked(&fields)), None, "if it is not strict it does not");
        let said = strictly(&fields).expect("an error");
        assert!(said.starts_with(message), "{said}");
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!({"thinking": {"type": "adaptive"}, "tools": [{"name": "t"}], "tool_choice": {"type": "auto"}, "temperature": 1}))]
    #[case(json!({"thinking": {"type": "disabled"}, "tools": [{"name": "t"}], "tool_choice": {"type": "any"}, "temperature": 0.5, "top_k": 3}))]
    #[case(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1025, "top_p": 0.95}))]
    #[case(format_of(&json!({"$ref": "#/$defs/a", "$defs": {"a": object(&json!({"a": {"enum": ["x"]}, "b": {"$ref": "#/$defs/b"}, "c": {"$ref": "#/$defs/b"}})),
        "b": {"type": "array", "items": {"anyOf": [{"type": "null"}]}, "minItems": 1}}})))]
    fn a_strict_api_takes_the_rest(#[case] fields: Value) {
        assert_eq!(strictly(&fields), None);
    }
}
