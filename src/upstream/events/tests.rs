use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::upstream::{ApiError, Usage};

fn plain() -> Asked {
    Asked::new(json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))
}

fn with(field: &str, value: Value) -> Asked {
    let mut body = plain().body().clone();
    body[field] = value;
    Asked::new(body)
}

fn events(reply: &Reply, asked: &Asked) -> Vec<Value> {
    let steps = Message::new(reply, asked, 1).steps(reply);
    steps
        .into_iter()
        .filter_map(|step| if let Step::Event(event) = step { Some(event) } else { None })
        .collect()
}

/// What a reader of the stream makes of it: the body of an answer that does not stream.
fn folded(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut open = None;
    let mut json = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!((open, event["index"].as_u64()), (None, Some(content.len() as u64)));
                open = event["index"].as_u64();
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open, "a delta belongs to the open block");
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                let delta = &event["delta"];
                for (kind, field) in
                    [("text_delta", "text"), ("thinking_delta", "thinking"), ("signature_delta", "signature")]
                {
                    if delta["type"] == kind {
                        block[field] = json!(format!(
                            "{}{}",
                            block[field].as_str().unwrap(),
                            delta[field].as_str().unwrap()
                        ));
                    }
                }
                json.push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
                if !json.is_empty() {
                    let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                    block["input"] = serde_json::from_str(&std::mem::take(&mut json)).unwrap();
                }
            }
            "message_delta" => {
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" | "ping" => {}
            other => panic!("unexpected {other}"),
        }
    }
    message
}

fn texts(body: &Value) -> Vec<&str> {
    body["content"].as_array().unwrap().iter().map(|block| block["text"].as_str().unwrap()).collect()
}

#[test]
fn a_text_answer_has_the_events_of_the_real_api() {
    let reply = Reply::words(2);
    let kinds: Vec<_> =
        events(&reply, &plain()).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let start = &events(&reply, &plain())[0];
    assert_eq!(
        start["message"],
        json!({"id": "msg_000001", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 25, "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 50, "output_tokens": 1, "service_tier": "standard"}})
    );
    let end = &events(&reply, &plain())[5];
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(2))
    );
}

#[test]
fn a_tool_input_is_cut_at_awkward_places_after_an_empty_piece() {
    let reply = Reply::tool("f", r#"{"city":"Zürich","n":12}"#);
    let events = events(&reply, &plain());
    let pieces: Vec<_> = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(pieces, ["", "{", r#""city":"#, r#""Z"#, "ürich", r#"""#, r#","n"#, r#"""#, ":12}"]);
}

#[rstest]
#[case(Reply::words(3), "end_turn")]
#[case(Reply::tool("f", "{}"), "tool_use")]
#[case(Reply::words(1).stop_reason("pause_turn"), "pause_turn")]
#[case(Reply::words(1).stop_reason("brand_new"), "brand_new")]
#[case(Reply::words(1).stop(Stop::Sequence("END".into())), "stop_sequence")]
#[case(Reply::words(1).stop(Stop::Refusal("no".into())), "refusal")]
fn every_stop_reason_arrives(#[case] reply: Reply, #[case] reason: &str) {
    let body = Message::new(&reply, &plain(), 1).body();
    assert_eq!(body["stop_reason"], reason);
    assert_eq!(body["stop_sequence"], if reason == "stop_sequence" { json!("END") } else { Value::Null });
    assert_eq!(
        body["stop_details"]["explanation"],
        if reason == "refusal" { json!("no") } else { Value::Null }
    );
}

#[rstest]
#[case(5, "w0 w1 w2 w3 w4", "end_turn")]
#[case(4, "w0 w1 w2 w3", "max_tokens")]
#[case(1, "w0", "max_tokens")]
fn an_answer_ends_at_max_tokens(#[case] limit: u64, #[case] text: &str, #[case] reason: &str) {
    let reply = Reply::words(5);
    let body = Message::new(&reply, &with("max_tokens", json!(limit)), 1).body();
    assert_eq!((texts(&body), &body["stop_reason"]), (vec![text], &json!(reason)));
    assert_eq!(body["usage"]["output_tokens"], limit);
    let body = Message::new(&reply.boundless(), &with("max_tokens", json!(limit)), 1).body();
    assert_eq!((texts(&body), &body["stop_reason"]), (vec!["w0 w1 w2 w3 w4"], &json!("end_turn")));
}

#[test]
fn thinking_counts_towards_max_tokens_and_a_call_that_does_not_fit_is_left_out() {
    let reply = Reply::words(1).thinking("a b c").then_tool("f", "{}");
    let kinds = |limit: u64| {
        let body = Message::new(&reply, &with("max_tokens", json!(limit)), 1).body();
        let kinds = body["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].as_str().unwrap().to_owned());
        (kinds.collect::<Vec<_>>().join(" "), body["stop_reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(kinds(5), ("thinking text tool_use".to_owned(), "tool_use".to_owned()));
    assert_eq!(kinds(4), ("thinking text".to_owned(), "max_tokens".to_owned()));
    assert_eq!(kinds(3), ("thinking".to_owned(), "max_tokens".to_owned()));
}

#[test]
fn an_answer_ends_before_the_first_stop_sequence() {
    let reply = Reply::text("one two three").then_tool("f", "{}");
    let asked = with("stop_sequences", json!(["three", "wo", "absent"]));
    let body = Message::new(&reply, &asked, 1).body();
    assert_eq!(texts(&body), ["one t"]);
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("stop_sequence"), &json!("wo")));
    let body = Message::new(&reply.boundless(), &asked, 1).body();
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("tool_use"), &Value::Null));
}

#[test]
fn structured_output_is_a_call_where_the_tool_is_offered_and_text_elsewhere() {
    let reply = Reply::structured(r#"{"a":1}"#);
    let offered = with("tools", json!([{"name": "StructuredOutput"}]));
    assert_eq!(Message::new(&reply, &offered, 1).body()["content"][0]["input"], json!({"a": 1}));
    assert_eq!(texts(&Message::new(&reply, &plain(), 1).body()), [r#"{"a":1}"#]);
}

#[rstest]
#[case("[1]", json!({"value": [1]}))]
#[case(r#"{"a":1}"#, json!({"value": {"a": 1}}))]
#[case(r#"{"value":1}"#, json!({"value": 1}))]
fn structured_output_that_takes_a_value_gets_it(#[case] answer: &str, #[case] expected: Value) {
    let schema = json!({"type": "object", "properties": {"value": {}}, "required": ["value"]});
    let offered = with("tools", json!([{"name": "StructuredOutput", "input_schema": schema}]));
    assert_eq!(Message::new(&Reply::structured(answer), &offered, 1).body()["content"][0]["input"], expected);
}

#[test]
fn echoes_say_what_was_asked() {
    let reply = Reply::echo()
        .then(Part::Echo(Echo::Field("messages".into())))
        .then(Part::Echo(Echo::Field("top_k".into())));
    let body = Message::new(&reply, &plain(), 1).body();
    assert_eq!(texts(&body), ["hi", r#"[{"role":"user","content":"hi"}]"#, "null"]);
}

#[test]
fn usage_is_counted_unless_it_is_given() {
    let usage = |reply: &Reply| Message::new(reply, &plain(), 1).body()["usage"].clone();
    let counted = usage(&Reply::words(2).thinking("a b c"));
    assert_eq!(
        (&counted["output_tokens"], &counted["output_tokens_details"]["thinking_tokens"]),
        (&json!(5), &json!(3))
    );
    let given = Usage { output: Some(9), thinking: Some(7), input: 1, cache_creation: 2, cache_read: 3 };
    assert_eq!(
        usage(&Reply::words(2).usage(given)),
        json!({"input_tokens": 1, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 9,
            "service_tier": "standard", "output_tokens_details": {"thinking_tokens": 7}})
    );
}

#[test]
fn the_pace_is_kept_by_waits_before_the_deltas() {
    let second = Duration::from_secs(1);
    let reply = Reply::words(2).between_deltas(second).before_first_delta(second * 5).pings(1, second * 3);
    let steps = Message::new(&reply, &plain(), 1).steps(&reply);
    let shown: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Wait(wait) => wait.as_secs().to_string(),
            Step::Event(event) => event["type"].as_str().unwrap().to_owned(),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(
        shown.join(" "),
        "message_start 3 ping 5 content_block_start content_block_delta 1 content_block_delta content_block_stop \
         message_delta message_stop"
    );
}

#[rstest]
#[case(Place::Deltas(0), 0)]
#[case(Place::Deltas(2), 2)]
#[case(Place::Deltas(4), 4)]
#[case(Place::Deltas(99), 5)]
#[case(Place::LastDelta, 5)]
fn an_answer_breaks_after_so_many_deltas(#[case] place: Place, #[case] deltas: usize) {
    for (broken, last) in [
        (Break::Stall, Step::Stall),
        (Break::Cut, Step::Cut),
        (Break::Error(ApiError::of_status(529)), Step::Event(ApiError::of_status(529).body())),
    ] {
        let reply = Reply { broken: Some((place, broken)), ..Reply::words(3).then_text("a b") };
        let steps = Message::new(&reply, &plain(), 1).steps(&reply);
        assert_eq!(steps.last(), Some(&last));
        let count = |kind| {
            steps.iter().filter(|step| matches!(step, Step::Event(event) if event["type"] == kind)).count()
        };
        assert_eq!(count("content_block_delta"), deltas);
        assert_eq!(count("message_stop"), 0);
        assert_eq!(count("content_block_start"), count("content_block_stop") + 1, "the block is still open");
    }
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        any::<String>().prop_map(Part::Text),
        any::<String>().prop_map(|text| Part::Thinking { text, signature: "s".to_owned() }),
        any::<String>().prop_map(Part::RedactedThinking),
        (any::<String>(), any::<String>(), any::<f64>()).prop_map(|(name, value, number)| Part::Tool {
            name,
            input: json!({"v": value, "n": [number]}).to_string(),
        }),
        Just(Part::Tool { name: "f".to_owned(), input: String::new() }),
    ]
}

proptest! {
    #[test]
    fn the_stream_folds_into_the_whole_body(
        parts in prop::collection::vec(part(), 0..4),
        chars in prop::option::of(1..4usize),
        limit in prop::option::of(0..9u64),
        sequence in prop::option::of("[a-z ]"),
    ) {
        let reply = Reply { parts, delta_chars: chars, ..Reply::default() };
        let mut body = plain().body().clone();
        body["max_tokens"] = json!(limit);
        body["stop_sequences"] = json!(sequence.into_iter().collect::<Vec<_>>());
        let asked = Asked::new(body);
        prop_assert_eq!(folded(&events(&reply, &asked)), Message::new(&reply, &asked, 1).body());
    }

    #[test]
    fn deltas_put_together_are_the_text(text in any::<String>(), chars in prop::option::of(1..5usize)) {
        let reply = Reply { delta_chars: chars, ..Reply::text(text.clone()) };
        let events = events(&reply, &plain());
        let deltas: Vec<_> = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
        prop_assert_eq!(deltas.concat(), text);
        prop_assert!(deltas.iter().all(|delta| !delta.is_empty() && delta.chars().count() <= chars.unwrap_or(usize::MAX)));
    }
}
