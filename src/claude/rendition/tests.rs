use super::*;
use crate::answer_schema::AnswerSchema;
use crate::turn::Parameters;
use rstest::rstest;
use serde_json::{Map, Value, json};

fn turn(parameters: Parameters) -> Turn {
    Turn {
        model: "m".to_owned(),
        system: String::new(),
        history: Vec::new(),
        question: vec![UserBlock::Text("who?".to_owned())],
        tools: Vec::new(),
        parameters,
    }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.to_owned(), description: String::new(), schema: Map::new() }
}

fn refused(all: &[Refused]) -> RefusedOfTurn {
    let mut refused = RefusedOfTurn::default();
    for of in all {
        refused.add(*of);
    }
    refused
}

fn schema(value: Value) -> AnswerSchema {
    let Value::Object(schema) = value else { panic!("an object") };
    AnswerSchema::new(schema).unwrap()
}

fn texts(blocks: &[UserBlock]) -> String {
    let text = |block: &UserBlock| match block {
        UserBlock::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    blocks.iter().map(text).collect::<Vec<_>>().join(" | ")
}

#[test]
fn a_turn_that_is_taken_as_it_is_is_not_even_copied() {
    let parameters = Parameters {
        temperature: Some(0.5),
        stop: vec!["END".to_owned()],
        format: Some(schema(json!({"type": "object"}))),
        ..Parameters::default()
    };
    let turn = turn(parameters);
    let rendition = render(&turn, &RefusedOfTurn::default(), None);
    assert!(matches!(rendition.turn, Cow::Borrowed(_)) && !rendition.is_reworded);
    assert_eq!((rendition.shaping.unheeded.len(), rendition.shaping.stops.len()), (0, 0));
}

#[rstest]
#[case(&[Refused::Parameter(Parameter::Temperature)], &[Parameter::Temperature])]
#[case(&[Refused::TopPBesideTemperature], &[Parameter::TopP])]
#[case(&[Refused::Parameter(Parameter::Effort), Refused::Parameter(Parameter::TopK)], &[Parameter::TopK, Parameter::Effort])]
#[case(&[Refused::ThinkingInFewTokens], &[Parameter::Effort])]
#[case(&[Refused::Parameter(Parameter::Calls)], &[Parameter::Calls])]
fn what_the_model_refuses_is_left_out_and_told(#[case] all: &[Refused], #[case] unheeded: &[Parameter]) {
    let turn = turn(Parameters {
        max_tokens: Some(100),
        temperature: Some(0.5),
        top_p: Some(0.5),
        top_k: Some(5),
        effort: Some(Effort::High),
        calls: CallsPerAnswer::One,
        ..Parameters::default()
    });
    let rendition = render(&turn, &refused(all), None);
    assert_eq!(rendition.shaping.unheeded, unheeded);
    let left = &rendition.turn.parameters;
    for parameter in unheeded {
        let is_left = match parameter {
            Parameter::Temperature => left.temperature.is_some(),
            Parameter::TopP => left.top_p.is_some(),
            Parameter::TopK => left.top_k.is_some(),
            Parameter::Effort => left.effort.is_some_and(|effort| effort != Effort::Off),
            Parameter::Calls => left.calls == CallsPerAnswer::One,
        };
        assert!(!is_left, "{parameter:?}");
    }
}

#[test]
fn what_was_not_asked_for_is_not_missed() {
    let all = [Refused::Parameter(Parameter::Temperature), Refused::TopPBesideTemperature];
    let turn = turn(Parameters { top_p: Some(0.5), ..Parameters::default() });
    let rendition = render(&turn, &refused(&all), None);
    assert_eq!((rendition.shaping.unheeded.len(), rendition.turn.parameters.top_p), (0, Some(0.5)));
}

#[rstest]
#[case(&[], &["\n"])]
#[case(&[Refused::StopSequences], &["END", "\n"])]
fn stop_strings_are_looked_for_here_where_the_api_does_not(#[case] all: &[Refused], #[case] here: &[&str]) {
    let stop = vec!["END".to_owned(), "\n".to_owned()];
    let turn = turn(Parameters { stop, ..Parameters::default() });
    assert_eq!(render(&turn, &refused(all), None).shaping.stops, here);
}

#[rstest]
#[case::alone(&[], ToolChoice::Auto, ToolChoice::Tool("StructuredOutput".to_owned()), &["StructuredOutput"])]
#[case::with_tools(&["f"], ToolChoice::Auto, ToolChoice::Any, &["f", "StructuredOutput"])]
#[case::without_calls(&["f"], ToolChoice::None, ToolChoice::Tool("StructuredOutput".to_owned()), &["f", "StructuredOutput"])]
#[case::its_name_is_taken(&["StructuredOutput"], ToolChoice::Auto, ToolChoice::Any, &["StructuredOutput", "StructuredOutput2"])]
#[case::a_call_is_demanded(&["f"], ToolChoice::Any, ToolChoice::Any, &["f"])]
fn a_form_that_is_refused_becomes_a_tool_whose_call_is_forced(
    #[case] tools: &[&str],
    #[case] asked: ToolChoice,
    #[case] choice: ToolChoice,
    #[case] offered: &[&str],
) {
    let format = Some(schema(json!({"type": "array"})));
    let mut turn = turn(Parameters { format, tool_choice: asked, ..Parameters::default() });
    turn.tools = tools.iter().map(|name| tool(name)).collect();
    let rendition = render(&turn, &refused(&[Refused::Format]), None);
    let names: Vec<_> = rendition.turn.tools.iter().map(|tool| tool.name.as_str()).collect();
    let parameters = &rendition.turn.parameters;
    assert_eq!((&parameters.tool_choice, names.as_slice()), (&choice, offered));
    assert_eq!(parameters.format, None);
    if offered.len() > tools.len() {
        assert_eq!(rendition.turn.tools.last().unwrap().schema["required"], json!(["value"]));
        assert_eq!(parameters.calls, CallsPerAnswer::One);
    }
}

#[test]
fn only_the_schema_that_was_refused_goes_the_other_way() {
    let (wide, narrow) = (schema(json!({"type": "object"})), schema(json!({"type": "array"})));
    let all = refused(&[Refused::Schema(wide.digest())]);
    for (format, by_tool) in [(wide, true), (narrow, false)] {
        let turn = turn(Parameters { format: Some(format), ..Parameters::default() });
        assert_eq!(render(&turn, &all, None).shaping.json.unwrap().tool.is_some(), by_tool);
    }
}

#[test]
fn a_demand_in_words_stands_behind_the_question_and_so_does_a_correction() {
    let mut turn =
        turn(Parameters { tool_choice: ToolChoice::Tool("f".to_owned()), ..Parameters::default() });
    turn.tools = vec![tool("f")];
    let all = refused(&[Refused::ForcedChoice]);
    let first = render(&turn, &all, None);
    assert!(first.is_reworded && first.shaping.holds);
    assert_eq!(first.turn.parameters.tool_choice, ToolChoice::Auto);
    let demand = "Answer with a call of the tool `f`, and of no other one. Do not answer in text.";
    assert_eq!(texts(&first.turn.question), format!("who? | {demand}"));

    let second = render(&turn, &all, Some("Ada."));
    let [Message::User(question), Message::Assistant(said)] = &second.turn.history[..] else { panic!() };
    assert_eq!(texts(question), format!("who? | {demand}"));
    assert_eq!(said, &[AssistantBlock::Text("Ada.".to_owned())]);
    assert_eq!(texts(&second.turn.question), format!("This was not what was asked for. {demand}"));

    let second = render(&turn, &all, Some(" "));
    assert!(second.turn.history.is_empty());
    assert_eq!(
        texts(&second.turn.question),
        format!("who? | {demand} | This was not what was asked for. {demand}")
    );
}
