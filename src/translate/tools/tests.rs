use super::*;
use crate::translate::chat_request::{self, Translated};
use crate::wire::parse::parse;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

/// The translation of a request with these fields, and the fields of it that nobody honoured.
fn translate(extra: &Value) -> Result<(Translated, Vec<String>), ApiError> {
    let mut body = json!({"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let parsed = parse(body.to_string().as_bytes())?;
    let translated = chat_request::turn(parsed.request)?;
    let adjusted = translated.adjusted.iter().map(|field| (*field).to_owned());
    let ignored = parsed.ignored.into_iter().chain(adjusted).collect();
    Ok((translated, ignored))
}

fn function(fields: &Value) -> Value {
    json!({"tools": [{"type": "function", "function": fields}]})
}

/// As the model gets it, key for key.
fn schema_of(parameters: &Value) -> String {
    let (translated, _) = translate(&function(&json!({"name": "f", "parameters": parameters}))).unwrap();
    serde_json::to_string(&translated.turn.tools[0].schema).unwrap()
}

#[test]
fn tools_arrive_in_the_client_s_order_as_the_client_wrote_them() {
    let schema =
        json!({"type": "object", "required": ["z"], "properties": {"z": {"type": "string"}, "a": {}}});
    let (translated, ignored) = translate(&json!({"tools": [
        {"type": "function", "function": {"name": "z_Z-9", "description": "Zs.", "parameters": schema}},
        {"type": "function", "function": {"name": "a", "description": null}},
    ]}))
    .unwrap();
    let names: Vec<_> = translated.turn.tools.iter().map(|tool| (&*tool.name, &*tool.description)).collect();
    assert_eq!(names, [("z_Z-9", "Zs."), ("a", "")]);
    assert_eq!(serde_json::to_string(&translated.turn.tools[0].schema).unwrap(), schema.to_string());
    assert_eq!(translated.turn.parameters, crate::turn::Parameters::default());
    assert_eq!((translated.calls, ignored.len()), (CallForm::ToolCalls, 0));
}

#[rstest]
#[case(json!(null), r#"{"type":"object","properties":{}}"#)]
#[case(json!({}), r#"{"type":"object"}"#)]
#[case(json!({"properties": {"b": {}, "a": {}}, "x": 1}), r#"{"type":"object","properties":{"b":{},"a":{}},"x":1}"#)]
#[case(json!({"x": 1, "type": null}), r#"{"type":"object","x":1}"#)]
#[case(json!({"type": "object", "properties": null, "required": null, "x": null}), r#"{"type":"object","x":null}"#)]
#[case(json!({"type": "object", "properties": {"a": true}}), r#"{"type":"object","properties":{"a":true}}"#)]
#[case(json!({"x": 1, "type": "object"}), r#"{"x":1,"type":"object"}"#)]
fn a_schema_gets_no_more_than_the_type_it_lacks(#[case] parameters: Value, #[case] expected: &str) {
    assert_eq!(schema_of(&parameters), expected);
}

#[test]
fn functions_are_tools_of_which_one_is_called_and_answered_in_the_older_form() {
    let (translated, _) = translate(&json!({
        "functions": [{"name": "f", "description": "F.", "parameters": {"type": "object"}}, {"name": "g"}],
        "function_call": "auto", "tools": [],
    }))
    .unwrap();
    assert_eq!(translated.turn.tools.len(), 2);
    assert_eq!(translated.turn.tools[0].description, "F.");
    assert_eq!(translated.turn.parameters.calls, CallsPerAnswer::One);
    assert_eq!(translated.turn.parameters.tool_choice, ToolChoice::Auto);
    assert_eq!(translated.calls, CallForm::FunctionCall);
}

#[rstest]
#[case(json!({"tool_choice": "none"}), ToolChoice::None, CallsPerAnswer::Any)]
#[case(json!({"tool_choice": "auto", "parallel_tool_calls": true}), ToolChoice::Auto, CallsPerAnswer::Any)]
#[case(json!({"tool_choice": null, "parallel_tool_calls": false}), ToolChoice::Auto, CallsPerAnswer::One)]
#[case(json!({"function_call": "none"}), ToolChoice::None, CallsPerAnswer::Any)]
fn choice_and_number_of_calls_arrive_and_the_tools_stay(
    #[case] extra: Value,
    #[case] choice: ToolChoice,
    #[case] calls: CallsPerAnswer,
) {
    let mut request = function(&json!({"name": "f"}));
    request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let (translated, ignored) = translate(&request).unwrap();
    let parameters = &translated.turn.parameters;
    assert_eq!((parameters.tool_choice.clone(), parameters.calls), (choice, calls));
    assert_eq!((translated.turn.tools.len(), ignored.len()), (1, 0));
}

#[rstest]
#[case(json!("required"), ToolChoice::Any, &["f0", "f1", "f2"])]
#[case(json!({"type": "function", "function": {"name": "f1"}}), ToolChoice::Tool("f1".to_owned()), &["f0", "f1", "f2"])]
#[case(allowed("auto", &["f2", "f0"]), ToolChoice::Auto, &["f0", "f2"])]
#[case(allowed("required", &["f1"]), ToolChoice::Any, &["f1"])]
fn a_demand_arrives_and_what_is_not_allowed_is_not_offered(
    #[case] choice: Value,
    #[case] expected: ToolChoice,
    #[case] offered: &[&str],
) {
    let turn = translate(&json!({"tools": many(3), "tool_choice": choice})).unwrap().0.turn;
    let names: Vec<_> = turn.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((turn.parameters.tool_choice, names.as_slice()), (expected, offered));
}

#[test]
fn the_older_form_demands_a_function_too() {
    let request = json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}});
    let parameters = translate(&request).unwrap().0.turn.parameters;
    assert_eq!(parameters.tool_choice, ToolChoice::Tool("f".to_owned()));
}

#[rstest]
#[case(json!({"tool_choice": "none", "parallel_tool_calls": false}))]
#[case(json!({"tool_choice": "auto", "tools": []}))]
#[case(json!({"function_call": "none", "functions": []}))]
fn without_tools_there_is_nothing_to_choose(#[case] extra: Value) {
    let (translated, ignored) = translate(&extra).unwrap();
    assert_eq!(translated.turn.parameters, crate::turn::Parameters::default());
    assert_eq!(ignored, Vec::<String>::new());
}

#[rstest]
#[case(json!({"name": "f", "strict": true}), &["tools[].function.strict"])]
#[case(json!({"name": "f", "strict": false}), &[])]
#[case(json!({"name": "f", "strict": null}), &[])]
#[case(json!({"name": "f", "cache_control": {"type": "ephemeral"}}), &["tools[].function.cache_control"])]
fn what_is_said_of_a_function_in_vain_is_reported(#[case] fields: Value, #[case] reported: &[&str]) {
    assert_eq!(translate(&function(&fields)).unwrap().1, reported);
}

#[test]
fn strictness_in_the_older_form_is_reported_once() {
    let functions = json!([{"name": "f", "strict": true}, {"name": "g", "strict": true}]);
    assert_eq!(translate(&json!({"functions": functions})).unwrap().1, ["functions[].strict"]);
}

fn allowed(mode: &str, names: &[&str]) -> Value {
    let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
    let tools: Vec<_> = names.iter().map(tool).collect();
    json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
}

fn many(count: usize) -> Value {
    (0..count).map(|n| json!({"type": "function", "function": {"name": format!("f{n}")}})).collect()
}

#[rstest]
#[case(json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {}}]}),
    "tools[1].function.name", "missing_required_parameter")]
#[case(json!({"tools": [{"function": {"name": "f"}}]}), "tools[0].type", "missing_required_parameter")]
#[case(json!({"tools": [{"type": "function", "name": "flat"}]}), "tools[0].function", "missing_required_parameter")]
#[case(json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}), "tools[0].type", "unsupported_parameter")]
#[case(json!({"tools": [{"type": "web_search"}]}), "tools[0].type", "unsupported_parameter")]
#[case(json!({"tools": {"type": "function"}}), "tools", "invalid_value")]
#[case(json!({"tools": [null]}), "tools[0]", "invalid_value")]
#[case(function(&json!({"name": ""})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "ToolSearch"})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"properties": []}})), "tools[0].function.parameters.properties", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"properties": {"a": "string"}}})), "tools[0].function.parameters.properties", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"required": "a"}})), "tools[0].function.parameters.required", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"required": ["a", 1]}})), "tools[0].function.parameters.required", "invalid_value")]
#[case(function(&json!({"name": "a b"})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "ä"})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "a.b"})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "x".repeat(65)})), "tools[0].function.name", "invalid_value")]
#[case(function(&json!({"name": "f", "description": 5})), "tools[0].function.description", "invalid_value")]
#[case(function(&json!({"name": "f", "strict": "yes"})), "tools[0].function.strict", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": "x"})), "tools[0].function.parameters", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"type": "array"}})), "tools[0].function.parameters.type", "invalid_value")]
#[case(function(&json!({"name": "f", "parameters": {"type": ["object"]}})), "tools[0].function.parameters.type", "invalid_value")]
#[case(json!({"tools": many(129)}), "tools", "invalid_value")]
#[case(json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]}),
    "tools[1].function.name", "invalid_value")]
#[case(json!({"functions": [{"name": "f"}, {"name": "f"}]}), "functions[1].name", "invalid_value")]
#[case(json!({"functions": [{"name": "f", "parameters": {"type": "string"}}]}), "functions[0].parameters.type", "invalid_value")]
#[case(json!({"functions": [{"name": "f"}], "tools": many(1)}), "functions", "invalid_value")]
#[case(json!({"tool_choice": "required"}), "tool_choice", "invalid_value")]
#[case(json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice", "invalid_value")]
#[case(json!({"tools": many(1), "tool_choice": {"type": "function", "function": {"name": "f1"}}}), "tool_choice.function.name", "invalid_value")]
#[case(json!({"tools": many(1), "tool_choice": {"type": "function"}}), "tool_choice.function", "missing_required_parameter")]
#[case(json!({"tools": many(1), "tool_choice": allowed("auto", &[])}), "tool_choice.allowed_tools.tools", "invalid_value")]
#[case(json!({"tools": many(1), "tool_choice": allowed("none", &["f0"])}), "tool_choice.allowed_tools.mode", "invalid_value")]
#[case(json!({"tools": many(1), "tool_choice": allowed("auto", &["f0", "f1"])}), "tool_choice.allowed_tools.tools[1].function.name", "invalid_value")]
#[case(json!({"tools": many(1), "tool_choice": {"type": "allowed_tools"}}), "tool_choice.allowed_tools", "missing_required_parameter")]
#[case(json!({"tool_choice": allowed("required", &["f0"])}), "tool_choice", "invalid_value")]
#[case(json!({"functions": [{"name": "f"}], "function_call": {"name": "g"}}), "function_call.name", "invalid_value")]
#[case(json!({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}), "tool_choice.type", "invalid_value")]
#[case(json!({"tool_choice": {"function": {"name": "f"}}}), "tool_choice.type", "missing_required_parameter")]
#[case(json!({"tool_choice": {"type": "function", "function": {"name": 5}}}), "tool_choice.function.name", "invalid_value")]
#[case(json!({"tool_choice": "any"}), "tool_choice", "invalid_value")]
#[case(json!({"tool_choice": ["auto"]}), "tool_choice", "invalid_value")]
#[case(json!({"parallel_tool_calls": "no"}), "parallel_tool_calls", "invalid_value")]
#[case(json!({"function_call": {"name": "f"}}), "function_call", "invalid_value")]
#[case(json!({"function_call": {}}), "function_call.name", "missing_required_parameter")]
#[case(json!({"function_call": "f"}), "function_call", "invalid_value")]
fn what_is_no_tool_is_refused_by_name(#[case] extra: Value, #[case] param: &str, #[case] code: &str) {
    let error = translate(&extra).unwrap_err();
    assert_eq!((error.status.as_u16(), error.param.as_deref(), error.code), (400, Some(param), Some(code)));
}

#[test]
fn as_many_tools_as_openai_takes_are_taken_with_names_as_long() {
    assert_eq!(translate(&json!({"tools": many(MAX_TOOLS)})).unwrap().0.turn.tools.len(), MAX_TOOLS);
    assert!(translate(&function(&json!({"name": "x".repeat(MAX_NAME)}))).is_ok());
}

proptest! {
    #[test]
    fn no_name_of_a_function_shows_in_an_error(name in "[^a-zA-Z0-9_-]{1,5}canary.{0,5}") {
        let error = translate(&function(&json!({"name": name}))).unwrap_err();
        prop_assert!(!error.message.contains("canary"), "{}", error.message);
    }
}
