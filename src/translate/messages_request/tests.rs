use super::*;
use crate::openai::parse::parse;
use rstest::rstest;
use serde_json::{Value, json};

fn read(extra: &Value) -> Result<Translated, ApiError> {
    let mut body =
        json!({"model": "sonnet", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    parse(body.to_string().as_bytes()).and_then(|parsed| turn(parsed.request))
}

fn tools() -> Value {
    json!([{"name": "f", "description": "Does f.", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "name": "g", "input_schema": {"type": "object", "properties": {"a": {}}}, "strict": true}])
}

#[test]
fn parameters_arrive_in_the_turn() {
    let translated =
        read(&json!({"stop_sequences": ["END", "\n\nX"], "temperature": 0.3, "top_p": 0.9, "top_k": 40,
        "output_config": {"effort": "xhigh"}, "thinking": {"type": "enabled", "budget_tokens": 2000}}))
        .unwrap();
    let expected = Parameters {
        max_tokens: Some(4096),
        stop: vec!["END".to_owned(), "\n\nX".to_owned()],
        temperature: Some(0.3),
        top_p: Some(0.9),
        top_k: Some(40),
        effort: Some(Effort::Xhigh),
        thinking_budget: Some(2000),
        ..Parameters::default()
    };
    assert_eq!(translated.turn.parameters, expected);
    assert!(translated.adjusted.is_empty());
}

#[rstest]
#[case(json!({"type": "disabled"}), Some(Effort::Off), None)]
#[case(json!({"type": "adaptive"}), None, None)]
#[case(json!({"type": "enabled", "budget_tokens": 1024}), None, Some(1024))]
fn thinking_is_an_effort_or_a_budget(
    #[case] thinking: Value,
    #[case] effort: Option<Effort>,
    #[case] budget: Option<u32>,
) {
    let parameters = read(&json!({"thinking": thinking})).unwrap().turn.parameters;
    assert_eq!((parameters.effort, parameters.thinking_budget), (effort, budget));
}

#[test]
fn without_thinking_the_effort_is_reported() {
    let both = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}});
    let translated = read(&both).unwrap();
    assert_eq!(translated.turn.parameters.effort, Some(Effort::Off));
    assert_eq!(translated.adjusted, ["output_config.effort"]);
}

#[rstest]
#[case(json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}))]
#[case(json!({"output_format": {"type": "json_schema", "schema": {"type": "object"}}}))]
fn a_schema_of_the_answer_is_taken_in_both_its_places(#[case] extra: Value) {
    let format = read(&extra).unwrap().turn.parameters.format.unwrap();
    assert_eq!(json!(format.schema()), json!({"type": "object"}));
}

#[test]
fn tools_are_offered_as_they_are_and_what_the_cli_has_no_place_for_is_reported() {
    let translated = read(&json!({"tools": tools()})).unwrap();
    let [f, g] = translated.turn.tools.as_slice() else { panic!("{translated:?}") };
    assert_eq!((f.name.as_str(), f.description.as_str()), ("f", "Does f."));
    assert_eq!(json!(g.schema), json!({"type": "object", "properties": {"a": {}}}));
    assert_eq!(translated.adjusted, ["tools[].strict"]);
}

#[rstest]
#[case(json!({"type": "auto"}), ToolChoice::Auto, CallsPerAnswer::Any)]
#[case(json!({"type": "auto", "disable_parallel_tool_use": true}), ToolChoice::Auto, CallsPerAnswer::One)]
#[case(json!({"type": "any"}), ToolChoice::Any, CallsPerAnswer::Any)]
#[case(json!({"type": "any", "disable_parallel_tool_use": true}), ToolChoice::Any, CallsPerAnswer::One)]
#[case(json!({"type": "tool", "name": "g"}), ToolChoice::Tool("g".to_owned()), CallsPerAnswer::Any)]
#[case(json!({"type": "none"}), ToolChoice::None, CallsPerAnswer::Any)]
fn a_choice_of_tools_is_one(
    #[case] chosen: Value,
    #[case] choice: ToolChoice,
    #[case] calls: CallsPerAnswer,
) {
    let parameters = read(&json!({"tools": tools(), "tool_choice": chosen})).unwrap().turn.parameters;
    assert_eq!((parameters.tool_choice, parameters.calls), (choice, calls));
}

#[test]
fn a_choice_that_forbids_nothing_needs_no_tools() {
    let parameters = read(&json!({"tool_choice": {"type": "none"}})).unwrap().turn.parameters;
    assert_eq!(parameters.tool_choice, ToolChoice::Auto);
}

#[rstest]
#[case(json!({"max_tokens": null}), "max_tokens")]
#[case(json!({"max_tokens": 0}), "max_tokens")]
#[case(json!({"max_tokens": -1}), "max_tokens")]
#[case(json!({"model": " "}), "model")]
#[case(json!({"temperature": 1.1}), "temperature")]
#[case(json!({"top_p": -0.1}), "top_p")]
#[case(json!({"top_k": -1}), "top_k")]
#[case(json!({"stop_sequences": ["a", " \n"]}), "stop_sequences[1]")]
#[case(json!({"stop_sequences": "a"}), "stop_sequences")]
#[case(json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens")]
#[case(json!({"thinking": {"type": "enabled", "budget_tokens": 1023}}), "thinking.budget_tokens")]
#[case(json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}), "thinking.budget_tokens")]
#[case(json!({"thinking": {"type": "deep"}}), "thinking.type")]
#[case(json!({"output_config": {"effort": "none"}}), "output_config.effort")]
#[case(json!({"output_config": {"effort": "minimal"}}), "output_config.effort")]
#[case(json!({"output_config": {"format": {"type": "text"}}}), "output_config.format.type")]
#[case(json!({"output_config": {"format": {"type": "json_schema"}}}), "output_config.format.schema")]
#[case(json!({"output_format": {"type": "json_schema", "schema": {"type": 5}}}), "output_format.schema")]
#[case(json!({"mcp_servers": [{"type": "url", "url": "https://e.org"}]}), "mcp_servers")]
#[case(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0].type")]
#[case(json!({"tools": [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]}), "tools[1].type")]
#[case(json!({"tools": [{"input_schema": {}}]}), "tools[0].name")]
#[case(json!({"tools": [{"name": "f"}]}), "tools[0].input_schema")]
#[case(json!({"tools": [{"name": "f g", "input_schema": {}}]}), "tools[0].name")]
#[case(json!({"tools": [{"name": "f", "input_schema": {"type": "array"}}]}), "tools[0].input_schema.type")]
#[case(json!({"tools": [{"name": "f", "input_schema": {}}, {"name": "f", "input_schema": {}}]}), "tools[1].name")]
#[case(json!({"tools": tools(), "tool_choice": {"type": "tool", "name": "h"}}), "tool_choice.name")]
#[case(json!({"tools": tools(), "tool_choice": {"type": "tool"}}), "tool_choice.name")]
#[case(json!({"tools": tools(), "tool_choice": {"type": "some"}}), "tool_choice.type")]
#[case(json!({"tool_choice": {"type": "any"}}), "tool_choice")]
fn what_cannot_be_honoured_is_refused_by_name(#[case] extra: Value, #[case] param: &str) {
    let error = read(&extra).unwrap_err();
    assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{error:?}");
}

#[test]
fn tokens_are_counted_without_a_limit_of_the_answer() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = || parse(body.as_bytes()).unwrap().request;
    assert!(to_be_counted(request()).is_ok());
    assert_eq!(turn(request()).unwrap_err().param.as_deref(), Some("max_tokens"));
}

#[test]
fn what_nobody_reads_is_reported() {
    let body = json!({"model": "m", "max_tokens": 1, "metadata": {"user_id": "u"}, "service_tier": "auto", "container": "c",
        "context_management": {}, "inference_geo": "eu", "mcp_servers": [],
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "a", "citations": null}]},
            {"role": "user", "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                "context": "c", "citations": {"enabled": true}}]}]});
    let parsed = parse::<MessagesRequest>(body.to_string().as_bytes()).unwrap();
    let expected = [
        "metadata",
        "service_tier",
        "container",
        "context_management",
        "inference_geo",
        "system[].cache_control",
        "messages[].content[].thinking",
        "messages[].content[].signature",
        "messages[].content[].data",
        "messages[].content[].source.media_type",
        "messages[].content[].context",
        "messages[].content[].citations",
    ];
    assert_eq!(parsed.ignored, expected);
    assert!(turn(parsed.request).is_ok());
}
