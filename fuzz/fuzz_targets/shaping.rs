//! Of an answer that is demanded in a form, nothing reaches the client that is not in it; where it is cut, it is cut where its
//! text says.

#![no_main]

use arbitrary::Arbitrary;
use couplet::answer_schema::AnswerSchema;
use couplet::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use couplet::claude::shaping::{CallDemand, JsonForm, Shaped, Shaper, Shaping};
use couplet_fuzz::json::MadeUpObject;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
struct Given {
    demand: Demand,
    stops: Vec<String>,
    holds: bool,
    events: Vec<Piece>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
enum Demand {
    None,
    Call,
    CallOfF,
    Json { is_object: bool, by_tool: bool, has_tools: bool },
}

#[derive(Debug, Arbitrary)]
enum Piece {
    Text(String),
    Json(MadeUpObject),
    Reasoning(String),
    Call { is_answer: bool, is_f: bool, arguments: Vec<String> },
    CallWith { is_answer: bool, arguments: MadeUpObject },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum End {
    Turn,
    ToolUse,
    MaxTokens,
    Refusal,
}

fn schema(is_object: bool) -> AnswerSchema {
    let schema = if is_object {
        json!({"type": "object", "maxProperties": 2})
    } else {
        json!({"type": ["array", "string", "number", "object"], "maxLength": 3, "maxItems": 2})
    };
    let Value::Object(schema) = schema else { unreachable!() };
    AnswerSchema::new(schema).expect("a schema")
}

impl Given {
    fn shaping(&self) -> Shaping {
        let mut shaping = Shaping::default();
        match self.demand {
            Demand::None => shaping.stops.clone_from(&self.stops),
            Demand::Call => (shaping.calls, shaping.holds) = (Some(CallDemand::Any), self.holds),
            Demand::CallOfF => {
                let demand = CallDemand::Tool("f".to_owned());
                (shaping.calls, shaping.holds) = (Some(demand), self.holds);
            }
            Demand::Json { is_object, by_tool, has_tools } => {
                let tool = by_tool.then(|| "StructuredOutput".to_owned());
                shaping.json = Some(JsonForm { schema: schema(is_object), tool, has_tools });
            }
        }
        shaping
    }

    fn events(&self) -> Vec<AnswerEvent> {
        let model = "m".to_owned();
        let mut events = vec![AnswerEvent::Started { model, usage: Usage::default(), unheeded: Vec::new() }];
        let mut count = 0;
        let mut call = |events: &mut Vec<_>, is_answer: bool, is_f: bool, pieces: Vec<String>| {
            let name = if is_answer {
                "StructuredOutput"
            } else if is_f {
                "f"
            } else {
                "g"
            };
            count += 1;
            events.push(AnswerEvent::ToolCall { id: format!("toolu_{count}"), name: name.to_owned() });
            let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
            events.extend(pieces.map(AnswerEvent::ToolArguments));
        };
        for piece in &self.events {
            match piece {
                Piece::Text(text) => events.push(AnswerEvent::Text(text.clone())),
                Piece::Json(object) => events.push(AnswerEvent::Text(json!(object.0).to_string())),
                Piece::Reasoning(text) => events.push(AnswerEvent::Reasoning(text.clone())),
                Piece::Call { is_answer, is_f, arguments } => {
                    call(&mut events, *is_answer, *is_f, arguments.clone());
                }
                Piece::CallWith { is_answer, arguments } => {
                    let arguments = json!(arguments.0);
                    let arguments = if *is_answer { json!({"value": arguments}) } else { arguments };
                    call(&mut events, *is_answer, true, vec![arguments.to_string()]);
                }
            }
        }
        events
    }

    fn end(&self) -> AnswerEnd {
        let reason = match self.end {
            End::Turn => StopReason::EndTurn,
            End::ToolUse => StopReason::ToolUse,
            End::MaxTokens => StopReason::MaxTokens,
            End::Refusal => StopReason::Refusal,
        };
        AnswerEnd { reason, stop_sequence: None, usage: Usage::default() }
    }

    fn is_whole(&self) -> bool {
        matches!(self.end, End::Turn | End::ToolUse)
    }
}

/// What the client saw, and how it ended: with the stop string, or with the model's end.
struct Seen {
    events: Vec<AnswerEvent>,
    stop: Option<String>,
}

/// `None` where the answer is none that the client should see as one.
fn shaped(given: &Given) -> Option<Seen> {
    let mut shaper = Shaper::new(given.shaping());
    let mut seen = Vec::new();
    for event in given.events() {
        match shaper.on(event) {
            Shaped::Nothing => {}
            Shaped::Event(event) => seen.push(event),
            Shaped::Events(events) => seen.extend(events),
            Shaped::Cut(events, stop) => {
                seen.extend(events);
                return Some(Seen { events: seen, stop: Some(stop) });
            }
            Shaped::Unfit(_) => return None,
        }
    }
    let (events, _) = shaper.end(given.end()).ok()?;
    seen.extend(events);
    Some(Seen { events: seen, stop: None })
}

fn text_of(events: &[AnswerEvent]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        AnswerEvent::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn calls_of(events: &[AnswerEvent]) -> Vec<&str> {
    let calls = events.iter().filter_map(|event| match event {
        AnswerEvent::ToolCall { name, .. } => Some(name.as_str()),
        _ => None,
    });
    calls.collect()
}

fn is_delta(event: &AnswerEvent) -> bool {
    matches!(event, AnswerEvent::Text(_) | AnswerEvent::ToolCall { .. } | AnswerEvent::ToolArguments(_))
}

fuzz_target!(|given: Given| {
    let Some(seen) = shaped(&given) else { return };
    assert!(matches!(seen.events.first(), Some(AnswerEvent::Started { .. })), "it begins");
    let calls = calls_of(&seen.events);
    match given.demand {
        Demand::None => expect_all_but_what_follows(&given, &seen),
        Demand::Call => assert!(!given.is_whole() || !calls.is_empty()),
        Demand::CallOfF => {
            assert!(!given.is_whole() || !calls.is_empty());
            assert!(calls.iter().all(|name| *name == "f"), "{calls:?}");
        }
        Demand::Json { is_object, by_tool, .. } => {
            assert!(!by_tool || !calls.contains(&"StructuredOutput"), "it is none of the client's");
            if calls.is_empty() && given.is_whole() {
                let text = text_of(&seen.events);
                schema(is_object).check(&text).unwrap_or_else(|mismatch| panic!("{text:?}: {mismatch}"));
            }
        }
    }
});

fn expect_all_but_what_follows(given: &Given, seen: &Seen) {
    let asked = given.events();
    let Some(stop) = &seen.stop else {
        let without_texts = |events: &[AnswerEvent]| {
            let events = events.iter().filter(|event| !matches!(event, AnswerEvent::Text(_)));
            events.cloned().collect::<Vec<_>>()
        };
        assert_eq!(without_texts(&seen.events), without_texts(&asked));
        return assert_eq!(text_of(&seen.events), text_of(&asked));
    };
    let (text, shown) = (text_of(&asked), text_of(&seen.events));
    assert!(given.stops.contains(stop));
    assert!(text.starts_with(&format!("{shown}{stop}")), "{text:?} {shown:?} {stop:?}");
    let count = seen.events.iter().filter(|event| is_delta(event)).count();
    assert!(count <= asked.iter().filter(|event| is_delta(event)).count() + 1);
}
