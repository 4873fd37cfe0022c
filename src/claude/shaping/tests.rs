use super::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

fn schema(value: Value) -> AnswerSchema {
    let Value::Object(schema) = value else { panic!("an object") };
    AnswerSchema::new(schema).unwrap()
}

fn person() -> AnswerSchema {
    schema(json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}))
}

fn by_text(has_tools: bool) -> Shaping {
    Shaping { json: Some(JsonForm { schema: person(), tool: None, has_tools }), ..Shaping::default() }
}

fn by_tool(schema: AnswerSchema) -> Shaping {
    let json = Some(JsonForm { schema, tool: Some("out".to_owned()), has_tools: true });
    Shaping { json, calls: Some(CallDemand::Any), ..Shaping::default() }
}

/// There are tools of the client's, none of which it wants to have called.
fn only_the_answer() -> Shaping {
    Shaping { calls: Some(CallDemand::Tool("out".to_owned())), holds: true, ..by_tool(person()) }
}

fn in_words(calls: CallDemand) -> Shaping {
    Shaping { calls: Some(calls), holds: true, ..Shaping::default() }
}

fn by_api(calls: CallDemand) -> Shaping {
    Shaping { calls: Some(calls), stops: vec!["\n".to_owned()], ..Shaping::default() }
}

/// Events in a short form: `+text`, `~reasoning`, `!tool`, `=arguments`, and how they end: a stop reason.
fn event(short: &str) -> AnswerEvent {
    let rest = short[1..].to_owned();
    match &short[..1] {
        "+" => AnswerEvent::Text(rest),
        "~" => AnswerEvent::Reasoning(rest),
        "!" => AnswerEvent::ToolCall { id: "id".to_owned(), name: rest },
        "=" => AnswerEvent::ToolArguments(rest),
        _ => panic!("{short}"),
    }
}

fn short(event: &AnswerEvent) -> String {
    match event {
        AnswerEvent::Started { .. } => "start".to_owned(),
        AnswerEvent::Text(text) => format!("+{text}"),
        AnswerEvent::Reasoning(text) => format!("~{text}"),
        AnswerEvent::Signature(_) => "signature".to_owned(),
        AnswerEvent::ToolCall { name, .. } => format!("!{name}"),
        AnswerEvent::ToolArguments(json) => format!("={json}"),
        AnswerEvent::Ended(end) => format!("{:?}", end.reason),
    }
}

/// What becomes of an answer: all that is passed on, with a `|` where the model's end comes, and the end.
fn shaped(shaping: Shaping, events: &[&str], reason: StopReason) -> (String, bool) {
    let mut shaper = Shaper::new(shaping);
    let mut passed = Vec::new();
    let start = AnswerEvent::Started { model: "m".to_owned(), usage: Usage::default(), unheeded: Vec::new() };
    for event in std::iter::once(start).chain(events.iter().map(|text| event(text))) {
        match shaper.on(event) {
            Shaped::Nothing => {}
            Shaped::Event(event) => passed.push(short(&event)),
            Shaped::Events(events) => passed.extend(events.iter().map(short)),
            Shaped::Cut(events, stop) => {
                passed.extend(events.iter().map(short));
                return (format!("{} cut at {stop:?}", passed.join(" ")), shaper.has_altered());
            }
            Shaped::Unfit(unfit) => {
                return (format!("{} unfit: {}", passed.join(" "), unfit.unmet), shaper.has_altered());
            }
        }
    }
    passed.push("|".to_owned());
    let end = AnswerEnd { reason, stop_sequence: None, usage: Usage::default() };
    let ended = match shaper.end(end) {
        Ok((events, end)) => {
            passed.extend(events.iter().map(short));
            format!("{:?}", end.reason)
        }
        Err(unfit) => format!("unfit: {} said {:?}", unfit.unmet, unfit.said),
    };
    passed.push(ended);
    (passed.join(" "), shaper.has_altered())
}

#[rstest]
#[case::free(Shaping::default(), &["~hm", "+a", "!f", "={}"], StopReason::ToolUse, "start ~hm +a !f ={} | ToolUse")]
#[case::json(by_text(false), &["+{\"name\":", "+\"Ada\"}"], StopReason::EndTurn, r#"start +{"name": +"Ada"} | EndTurn"#)]
#[case::a_short_one(Shaping { json: Some(JsonForm { schema: schema(json!({"type": "integer"})), tool: None, has_tools: false }), ..Shaping::default() },
    &["+1", "+2"], StopReason::EndTurn, "| start +1 +2 EndTurn")]
#[case::after_white_space(by_text(false), &["+ \n", "+{\"name\":\"\"}"], StopReason::EndTurn, "start + \n +{\"name\":\"\"} | EndTurn")]
#[case::call_beside_json(by_text(true), &["!f", "={}"], StopReason::ToolUse, "start !f ={} | ToolUse")]
#[case::json_cut_short(by_text(false), &["+{\"na"], StopReason::MaxTokens, "start +{\"na | MaxTokens")]
#[case::refusal(by_text(false), &[], StopReason::Refusal, "| start Refusal")]
#[case::a_call(in_words(CallDemand::Any), &["~hm", "+Well.", "!f", "={}"], StopReason::ToolUse, "start ~hm +Well. !f ={} | ToolUse")]
#[case::the_call(in_words(CallDemand::Tool("f".to_owned())), &["!f", "={}"], StopReason::ToolUse, "start !f ={} | ToolUse")]
#[case::a_call_after_a_stop_string(by_api(CallDemand::Any), &["+one\ntwo", "!f", "={}"], StopReason::ToolUse, "start +one\ntwo !f ={} | ToolUse")]
#[case::cut_short_before_the_call(in_words(CallDemand::Any), &["+Well"], StopReason::MaxTokens, "| start +Well MaxTokens")]
fn what_is_as_it_was_asked_for_is_passed_on(
    #[case] shaping: Shaping,
    #[case] events: &[&str],
    #[case] reason: StopReason,
    #[case] passed: &str,
) {
    assert_eq!(shaped(shaping, events, reason), (passed.to_owned(), false));
}

#[rstest]
#[case::arguments(by_tool(person()), &["~hm", "+I think", "!out", "={\"name\":", "=\"Ada\"}"], r#"start ~hm +{"name": +"Ada"} | EndTurn"#)]
#[case::wrapped(by_tool(schema(json!({"type": "array"}))), &["!out", "={\"value\":", "=[ 1.0 ]}"], "start | +[ 1.0 ] EndTurn")]
#[case::in_text_after_all(by_tool(person()), &["+```json\n{\"name\":\"Ada\"}\n```"], "| start +{\"name\":\"Ada\"} EndTurn")]
#[case::another_call(by_tool(person()), &["+Let me look.", "!f", "={}"], "start !f ={} | ToolUse")]
fn json_by_a_tool_is_text_and_what_was_said_beside_it_is_not_shown(
    #[case] shaping: Shaping,
    #[case] events: &[&str],
    #[case] passed: &str,
) {
    assert_eq!(shaped(shaping, events, StopReason::ToolUse), (passed.to_owned(), true));
}

#[rstest]
#[case(by_text(false), &["+Here you are: {}"], "unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(false), &["~hm", "+Here"], "start ~hm unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(false), &["+1", "+. First"], "unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(false), &["+n", "+o, "], "unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(false), &["+[No", "+te]"], "unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(false), &["+{}"], "| unfit: the model's answer is not of the form that was asked for: it does not match the schema at \"\"")]
#[case(by_text(false), &[], "| unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_text(true), &["+Let me see."], "| unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(by_tool(person()), &["+Her name is Ada."], "| unfit: the model did not call a tool said \"Her name is Ada.\"")]
#[case(by_tool(person()), &["!out", "={}"], "start +{} | unfit: the model's answer is not of the form that was asked for: it does not match the schema at \"\"")]
#[case(by_tool(schema(json!({"type": "array"}))), &["!out", "=[1]"], "start | unfit: the model's answer is not of the form that was asked for: it is not JSON")]
#[case(in_words(CallDemand::Any), &["~hm", "+No."], "| unfit: the model did not call a tool said \"No.\"")]
#[case(in_words(CallDemand::Tool("f".to_owned())), &["+No.", "!g", "={}"], "| unfit: the model did not call a tool said \"No.\"")]
#[case(by_api(CallDemand::Any), &["+No."], "| unfit: the model did not call a tool said \"No.\"")]
#[case(by_api(CallDemand::Any), &["~hm", "+No."], "start ~hm +No. | unfit: the model did not call a tool")]
#[case(by_api(CallDemand::Tool("f".to_owned())), &["!g", "={}"], "| unfit: the model did not call a tool said \"\"")]
fn what_is_not_as_it_was_asked_for_does_not_end_well(
    #[case] shaping: Shaping,
    #[case] events: &[&str],
    #[case] passed: &str,
) {
    let (shown, _) = shaped(shaping, events, StopReason::EndTurn);
    assert!(shown.trim_start().starts_with(passed), "{shown}");
}

/// A client that was to get one call does not expect another one, and who forbade calls does not expect any.
#[rstest]
#[case(in_words(CallDemand::Tool("f".to_owned())), &["!f", "={}", "!g", "=[]"], "start !f ={} | ToolUse")]
#[case(in_words(CallDemand::Tool("f".to_owned())), &["!g", "=[]", "!f", "={}"], "start !f ={} | ToolUse")]
#[case(only_the_answer(), &["!out", "={\"name\":\"\"}", "!f", "=[]"], r#"start +{"name":""} | EndTurn"#)]
#[case(only_the_answer(), &["+{\"name\":\"\"}", "!f", "=[]"], r#"| start +{"name":""} EndTurn"#)]
fn a_call_of_another_tool_than_the_demanded_one_is_kept_from_the_client(
    #[case] shaping: Shaping,
    #[case] events: &[&str],
    #[case] passed: &str,
) {
    assert_eq!(shaped(shaping, events, StopReason::ToolUse), (passed.to_owned(), true));
}

#[rstest]
#[case(&["+one\n", "+\ntwo"], "start +one cut at \"\\n\\n\"")]
#[case(&["+one\n", "+two\n"], "start +one +\ntwo | +\n EndTurn")]
#[case(&["+one\n", "!f", "={}"], "start +one +\n !f ={} | EndTurn")]
fn stop_strings_end_the_text_and_what_only_began_like_one_is_shown(
    #[case] events: &[&str],
    #[case] passed: &str,
) {
    let shaping = Shaping { stops: vec!["\n\n".to_owned()], ..Shaping::default() };
    assert_eq!(shaped(shaping, events, StopReason::EndTurn).0, passed);
}

#[test]
fn the_beginning_tells_what_the_model_was_asked_without_and_what_was_spent_before() {
    let spent = Usage { input: 5, output: 7, ..Usage::default() };
    let shaping = Shaping { unheeded: vec![Parameter::TopP], spent, ..Shaping::default() };
    let mut shaper = Shaper::new(shaping);
    let usage = Usage { input: 1, ..Usage::default() };
    let started = AnswerEvent::Started { model: "m".to_owned(), usage, unheeded: Vec::new() };
    let Shaped::Event(AnswerEvent::Started { usage, unheeded, .. }) = shaper.on(started) else { panic!() };
    assert_eq!((usage.input, unheeded), (6, vec![Parameter::TopP]));
    let end =
        AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage: Usage { output: 1, ..usage } };
    assert_eq!(shaper.end(end).unwrap().1.usage.output, 8);
}

#[test]
fn any_json_will_do_where_the_schema_says_nothing() {
    let any = JsonForm { schema: schema(Value::Object(Map::new())), tool: None, has_tools: false };
    let shaping = Shaping { json: Some(any), ..Shaping::default() };
    assert_eq!(shaped(shaping, &["+\"x\""], StopReason::EndTurn).0, "| start +\"x\" EndTurn");
}
