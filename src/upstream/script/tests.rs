use rstest::rstest;
use serde_json::json;

use super::*;
use crate::upstream::{Limits, Place, Standing, Usage};

fn asked(text: &str) -> Asked {
    Asked::new(json!({"messages": [{"role": "user", "content": text}]}))
}

fn reply(text: &str) -> Reply {
    apply(&asked(text), Reply::text("base"))
}

#[rstest]
#[case("[[words 3]] hello", Reply::words(3))]
#[case("[[say hello there]]", Reply::text("hello there"))]
#[case(r#"[[say "a]]b\n\u00e9"]]"#, Reply::text("a]]b\né"))]
#[case("[[echo]] [[echo output_config.format]]", Reply::echo().then(Part::Echo(Echo::Field("output_config.format".into()))))]
#[case("[[empty]]", Reply::default())]
#[case("[[think hm]] [[words 1]]", Reply::text("w0").thinking("hm"))]
#[case("[[redacted abc]]", Reply::default().then(Part::RedactedThinking("abc".into())))]
#[case("[[tool now]]", Reply::tool("now", ""))]
#[case(r#"[[say a]] [[tool f {"m":[[1],[2]]}]] [[tool g {}]]"#, Reply::text("a").then_tool("f", r#"{"m":[[1],[2]]}"#).then_tool("g", "{}"))]
#[case("[[json [[1, 2]]]]", Reply::structured("[[1, 2]]"))]
#[case("[[agent]]", Reply::agent())]
#[case("[[stop max_tokens]]", Reply::text("base").stop_reason("max_tokens"))]
#[case("[[stop stop_sequence END]]", Reply::text("base").stop(Stop::Sequence("END".into())))]
#[case("[[stop refusal not this]]", Reply::text("base").stop(Stop::Refusal("not this".into())))]
#[case("[[usage output=7 thinking=3 input=1]]", Reply::text("base").usage(Usage { input: 1, output: Some(7), thinking: Some(3), ..Usage::default() }))]
#[case("[[limits off]]", Reply::text("base").limits(None))]
#[case("[[limits allowed_warning 0.9 60 seven_day]]", Reply::text("base").limits(Limits { standing: Standing::Warning, utilization: 0.9, resets_in_seconds: 60, claim: "seven_day".into() }))]
#[case("[[header retry-after 7]]", Reply::text("base").header("retry-after", "7"))]
#[case("[[delay 0.5]] [[first 1]] [[slow .02]]", Reply::text("base").before_headers(Duration::from_millis(500)).before_first_delta(Duration::from_secs(1)).between_deltas(Duration::from_millis(20)))]
#[case("[[pings 3 0.1]]", Reply::text("base").pings(3, Duration::from_millis(100)))]
#[case("[[chunk 2]]", Reply::text("base").delta_chars(2))]
#[case("[[stall]]", Reply::text("base").stall(Place::LastDelta))]
#[case("[[cut 2]]", Reply::text("base").cut(Place::Deltas(2)))]
#[case("[[cut start]]", Reply::text("base").cut(Place::Start))]
#[case("[[errevent 1 api_error Bad luck]]", Reply::text("base").error_event(Place::Deltas(1), ApiError::new(500, "api_error", "Bad luck")))]
#[case("[[errevent]]", Reply::text("base").error_event(Place::LastDelta, ApiError::of_status(529)))]
#[case("[[refuse temperature]]", Reply::text("base").refuse("temperature"))]
#[case("[[cut 1]] [[once]]", Reply::text("base").cut(Place::Deltas(1)).once())]
#[case("[[boundless]]", Reply::text("base").boundless())]
fn a_directive_says_what_the_builder_says(#[case] prompt: &str, #[case] expected: Reply) {
    assert_eq!(reply(prompt), expected);
}

#[rstest]
#[case("[[err 529]]", ApiError::of_status(529))]
#[case("[[err 418 teapot short and stout]]", ApiError::new(418, "teapot", "short and stout"))]
fn errors_carry_no_rate_limit_headers(#[case] prompt: &str, #[case] expected: ApiError) {
    assert_eq!((reply(prompt).error, reply(prompt).limits), (Some(expected), None));
}

#[test]
fn a_usage_limit_carries_rate_limit_headers() {
    assert_eq!(reply("[[limit 90]]").limits, Some(Limits::rejected(90)));
    assert_eq!(reply("[[limit 90]]").error, Reply::usage_limit(90).error);
}

#[rstest]
#[case("[[words many]]")]
#[case("[[words]]")]
#[case("[[words 3 4]]")]
#[case("[[words 100001]]")]
#[case("[[slow -1]]")]
#[case("[[err 200]]")]
#[case("[[tool]]")]
#[case("[[limits maybe]]")]
#[case("[[usage words=3]]")]
fn a_directive_that_makes_no_sense_is_answered_with_a_400(#[case] prompt: &str) {
    let error = reply(prompt).error.expect("an error");
    assert_eq!(error.status, 400);
    assert!(error.message.starts_with(&format!("script: {prompt}: ")), "{}", error.message);
}

#[rstest]
#[case("plain")]
#[case("a [[wiki link]] and [[ words 3]] and [[wordsmith 3]] and [[words 3")]
#[case("[[WORDS 3]]")]
fn other_double_brackets_are_text(#[case] prompt: &str) {
    assert_eq!(reply(prompt), Reply::text("base"));
    assert_eq!(without_directives(prompt), prompt);
}

#[test]
fn the_last_block_with_a_directive_decides() {
    let blocks = json!([
        {"type": "text", "text": "[[err 500]]\n"},
        {"type": "text", "text": "[[words 2]]"},
        {"type": "text", "text": "no directive"},
    ]);
    let asked = Asked::new(json!({"messages": [{"role": "user", "content": blocks}]}));
    assert_eq!(apply(&asked, Reply::text("base")), Reply::words(2));
}

#[test]
fn earlier_messages_have_no_say() {
    let asked = Asked::new(json!({"messages": [
        {"role": "user", "content": "[[err 500]]"},
        {"role": "assistant", "content": "[[err 500]]"},
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "[[err 500]]"},
    ]}));
    assert_eq!(apply(&asked, Reply::text("base")), Reply::text("base"));
}

/// A prompt, and what follows as (role, content).
fn after(prompt: &str, turns: &[(&str, &str)]) -> Asked {
    let turns = [("user", prompt)]
        .into_iter()
        .chain(turns.iter().copied())
        .map(|(role, text)| json!({"role": role, "content": text}));
    Asked::new(json!({"messages": turns.collect::<Vec<_>>()}))
}

#[rstest]
#[case::at_first("[[reluctant 1]] [[tool now]]", &[], false)]
#[case::after_one_answer("[[reluctant 1]] [[tool now]]", &[("assistant", "No."), ("user", "Do it.")], true)]
#[case::after_one_of_two("[[reluctant 2]] [[tool now]]", &[("assistant", "No."), ("user", "Do it.")], false)]
#[case::always("[[reluctant]] [[tool now]]", &[("assistant", "No."), ("user", "Do it."), ("assistant", "No."), ("user", "Do!")], false)]
#[case::the_next_prompt("[[reluctant]]", &[("assistant", "No."), ("user", "[[tool now]]")], true)]
fn a_reluctant_model_obeys_whoever_insists(
    #[case] prompt: &str,
    #[case] turns: &[(&str, &str)],
    #[case] obeys: bool,
) {
    let expected = if obeys { Reply::tool("now", "") } else { Reply::text(RELUCTANT) };
    assert_eq!(apply(&after(prompt, turns), Reply::text("base")), expected);
}

#[test]
fn a_prompt_that_was_not_reluctant_is_over() {
    let asked = after("[[words 2]]", &[("assistant", "w0 w1"), ("user", "and?")]);
    assert_eq!(apply(&asked, Reply::text("base")), Reply::text("base"));
}

#[test]
fn the_demo_answer_obeys_what_the_request_demands() {
    let ask = |more: serde_json::Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "t", "input_schema": {}}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        demo(&Asked::new(body))
    };
    let format = json!({"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"const": 1}}}}});
    assert_eq!(ask(json!({"output_config": format})), Reply::text(r#"{"a":1}"#));
    for choice in [json!({"type": "any"}), json!({"type": "tool", "name": "t"})] {
        assert_eq!(ask(json!({"tool_choice": choice, "output_config": format})), Reply::tool("t", "{}"));
    }
    let Some(Part::Text(text)) = ask(json!({})).parts.pop() else { panic!("a call") };
    assert!(text.contains("“hi”"), "a tool that may be called is not: {text}");
    let scripted = Asked::new(
        json!({"tool_choice": {"type": "any"}, "messages": [{"role": "user", "content": "[[words 1]]"}]}),
    );
    assert_eq!(apply(&scripted, demo(&scripted)), Reply::words(1), "what is scripted comes first");
}

#[test]
fn a_tool_result_may_hold_the_script() {
    let block = json!({"type": "tool_result", "tool_use_id": "t", "content": "[[words 2]]"});
    let asked = Asked::new(json!({"messages": [{"role": "user", "content": [block]}]}));
    assert_eq!(apply(&asked, Reply::text("base")), Reply::words(2));
}

#[test]
fn content_replaces_an_error_and_changes_keep_the_base() {
    let base = Reply::status(500);
    assert_eq!(apply(&asked("[[words 1]]"), base.clone()).error, None);
    assert_eq!(apply(&asked("[[slow 1]]"), base.clone()).error, base.error);
}

#[test]
fn directives_are_cut_out_of_a_text() {
    assert_eq!(without_directives("a [[words 3]]b [[tool f {\"x\":[[1]]}]] c"), "a b  c");
    assert_eq!(without_directives("[[echo]]"), "");
}

#[test]
fn the_demo_answer_says_what_it_is_and_echoes_shortly() {
    let Some(Part::Text(text)) = demo(&asked(&"word ".repeat(100))).parts.pop() else { panic!("no text") };
    assert!(text.starts_with("This is a scripted demo answer: no model was asked. You wrote: “word word"));
    assert!(text.ends_with("word…”"), "{text}");
    assert!(text.len() < 300);
}

#[test]
fn every_directive_is_in_the_table_of_the_module_docs() {
    for name in NAMES {
        let rows = include_str!("../mod.rs").lines().filter(|line| line.contains(&format!("| `[[{name}")));
        assert!(rows.count() >= 1, "{name} is not documented");
    }
}

#[test]
fn a_break_is_what_it_is_called() {
    assert_eq!(reply("[[stall 3]]").broken, Some((Place::Deltas(3), Break::Stall)));
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_without_loss(text in r"(\[\[|\]\]|[a-z]{1,4} ?|words 3|tool f |\{|\}|é|\x22){0,30}") {
        let _ = reply(&text);
        let directives: usize = scan(&text).map(|(_, directive)| directive.source.len() + 4).sum();
        let between: usize = scan(&text).map(|(before, _)| before.len()).sum();
        let end = scan(&text).last().map_or(0, |(_, directive)| directive.end);
        proptest::prop_assert_eq!(directives + between, end);
    }

    #[test]
    fn any_json_survives_as_a_tool_input(value in r#"([\[\]{}"a\\]|é){0,12}"#) {
        let input = json!({"x": [[value]]}).to_string();
        proptest::prop_assert_eq!(reply(&format!("[[tool f {input}]] tail")), Reply::tool("f", input));
    }
}
