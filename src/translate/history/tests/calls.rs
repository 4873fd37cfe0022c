//! Calls of the history and their results.

use super::*;
use crate::translate::calls::call_id;

/// A conversation of one question and what follows it.
fn after_a_question(messages: &Value) -> Result<Conversation, ApiError> {
    let question = json!({"role": "user", "content": "q"});
    read(std::iter::once(question).chain(messages.as_array().unwrap().clone()).collect())
}

/// The calls of a turn: id, name and arguments, as they are written.
fn calls_of(turn: &Message<MediaSource>) -> Vec<(String, String, String)> {
    let Message::Assistant(blocks) = turn else { panic!("{turn:?}") };
    let call = |block: &AssistantBlock| match block {
        AssistantBlock::Text(_) => None,
        AssistantBlock::ToolUse { id, name, input } => {
            Some((id.clone(), name.clone(), serde_json::to_string(input).unwrap()))
        }
    };
    blocks.iter().filter_map(call).collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

#[test]
fn results_come_in_the_order_of_the_calls_and_before_other_blocks() {
    let read = after_a_question(&json!([
        {"role": "assistant", "content": "calling", "tool_calls": [
            {"id": "one", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}},
            {"id": "functions.g:0", "function": {"name": "g", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "functions.g:0", "content": "zwei"},
        {"role": "system", "content": "in between"},
        {"role": "tool", "tool_call_id": "one", "content": [{"type": "text", "text": "eins"}]},
        {"role": "user", "content": "and?"},
    ]))
    .unwrap();
    let escaped = "id_functions_2e_g_3a_0";
    assert_eq!(calls_of(&read.history[1]), [call("one", "f", r#"{"b":1,"a":2}"#), call(escaped, "g", "{}")]);
    assert_eq!(
        read.question,
        [result("one", "eins"), result(escaped, "zwei"), UserBlock::Text("and?".to_owned())]
    );
}

#[test]
fn calls_of_the_older_form_get_ids_that_no_other_call_has() {
    let read = after_a_question(&json!([
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}},
        {"role": "function", "name": "f", "content": "r1"},
        {"role": "assistant", "content": "more", "function_call": {"name": "f"}, "tool_calls": null},
        {"role": "function", "name": "f", "content": null},
        {"role": "assistant", "tool_calls": [{"id": "call_2", "function": {"name": "g"}}], "function_call": null},
        {"role": "tool", "tool_call_id": "call_2", "content": "r3"},
    ]))
    .unwrap();
    assert_eq!(calls_of(&read.history[1]), [call("call_1", "f", r#"{"a":1}"#)]);
    assert_eq!(read.history[2], Message::User(vec![result("call_1", "r1")]));
    assert_eq!(calls_of(&read.history[3]), [call("call_2_", "f", "{}")]);
    let nothing =
        UserBlock::ToolResult { call_id: "call_2_".to_owned(), content: Vec::new(), is_error: false };
    assert_eq!(read.history[4], Message::User(vec![nothing]));
    assert_eq!(calls_of(&read.history[5]), [call("call_2", "g", "{}")]);
    assert_eq!(read.question, [result("call_2", "r3")]);
}

#[test]
fn an_id_that_comes_again_in_a_later_message_is_told_apart() {
    let again = [
        json!({"role": "assistant", "tool_calls": [{"id": "call_0", "function": {"name": "f"}}]}),
        json!({"role": "tool", "tool_call_id": "call_0", "content": "r"}),
    ];
    let read = after_a_question(&again.iter().chain(&again).cloned().collect()).unwrap();
    assert_eq!(calls_of(&read.history[1]), [call("call_0", "f", "{}")]);
    assert_eq!(calls_of(&read.history[3]), [call("call_0_2", "f", "{}")]);
    assert_eq!(read.question, [result("call_0_2", "r")]);
}

fn made(calls: &Value) -> Value {
    json!({"role": "assistant", "tool_calls": calls})
}

#[rstest]
#[case(json!([{"role": "tool", "content": "x"}]), "messages[1].tool_call_id")]
#[case(json!([{"role": "tool", "tool_call_id": "a", "content": "x"}]), "messages[1].tool_call_id")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}])), {"role": "tool", "tool_call_id": "b", "content": "x"}]),
    "messages[2].tool_call_id")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}])), {"role": "tool", "tool_call_id": "a"}, {"role": "tool", "tool_call_id": "a"}]),
    "messages[3].tool_call_id")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]))]), "messages[1].tool_calls[0].function.arguments")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}]))]), "messages[1].tool_calls[0].function.arguments")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f.g"}}]))]), "messages[1].tool_calls[0].function.name")]
#[case(json!([made(&json!([{"id": "a"}]))]), "messages[1].tool_calls[0].function")]
#[case(json!([made(&json!([{"id": "a", "type": "custom"}]))]), "messages[1].tool_calls[0].type")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}])), {"role": "user", "content": "x"}]), "messages[2]")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}])), {"role": "assistant", "content": "x"}]), "messages[2]")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}]))]), "messages[1]")]
#[case(json!([made(&json!([{"id": "a", "function": {"name": "f"}}, {"id": "a", "function": {"name": "f"}}]))]), "messages[1].tool_calls[1].id")]
#[case(json!([{"role": "function", "content": "x"}]), "messages[1].name")]
#[case(json!([{"role": "function", "name": "f", "content": "x"}]), "messages[1].name")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f"}}, {"role": "function", "name": "g", "content": "x"}]), "messages[2].name")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f"}}, {"role": "tool", "tool_call_id": "call_1", "content": "x"}]), "messages[2].tool_call_id")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f"}}, {"role": "user", "content": "x"}]), "messages[2]")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f g"}}]), "messages[1].function_call.name")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f", "arguments": "1"}}]), "messages[1].function_call.arguments")]
#[case(json!([{"role": "assistant", "function_call": {"name": "f"}, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}]), "messages[1].function_call")]
fn calls_and_results_that_do_not_fit_are_refused_by_name(#[case] messages: Value, #[case] param: &str) {
    let error = after_a_question(&messages).map(|_| ()).unwrap_err();
    assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)));
}

proptest! {
    #[test]
    fn ids_that_differ_stay_different_and_fit_the_api(a in ".{0,12}", b in ".{0,12}") {
        let (x, y) = (call_id(&a), call_id(&b));
        prop_assert!(x.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && !x.is_empty());
        // An id that fits already could be written like an escaped one only by intent.
        prop_assume!(!a.starts_with("id_") && !b.starts_with("id_"));
        prop_assert_eq!(a == b, x == y);
    }

    /// Rounds of calls with ids that come again, that look like made ones or like escaped ones, or that do not fit;
    /// a round of none is a call in the older form. Each call's result names the round and the call.
    #[test]
    fn every_call_has_an_id_of_its_own_and_its_own_result(
        rounds in prop::collection::vec(
            prop::sample::subsequence(vec!["a", "a_2", "call_1", "call_2", "call_2_", "f:0", "id_f_3a_0", ""], 0..5)
                .prop_flat_map(|ids| (Just(ids.clone()), Just(ids).prop_shuffle())),
            1..6,
        )
    ) {
        let mut messages = Vec::new();
        for (round, (ids, answered)) in rounds.iter().enumerate() {
            let said = |id: &str| format!("{round} {id}");
            if ids.is_empty() {
                messages.push(json!({"role": "assistant", "function_call": {"name": "f"}}));
                messages.push(json!({"role": "function", "name": "f", "content": said("older")}));
                continue;
            }
            messages.push(made(&ids.iter().map(|id| json!({"id": id, "function": {"name": "f"}})).collect()));
            messages.extend(answered.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": said(id)})));
        }
        let read = after_a_question(&Value::Array(messages)).unwrap();
        let mut turns = read.history;
        turns.push(Message::User(read.question));

        let mut seen = std::collections::HashSet::new();
        for (round, (ids, _)) in rounds.iter().enumerate() {
            let calls = calls_of(&turns[1 + 2 * round]);
            let raw = if ids.is_empty() { vec!["older"] } else { ids.clone() };
            let mut expected = Vec::new();
            for ((id, ..), raw) in calls.iter().zip(&raw) {
                prop_assert_eq!(&call_id(id), id);
                let first = call_id(raw) == *raw && rounds[..round].iter().all(|(ids, _)| !ids.contains(raw));
                if first && *raw != "older" && *raw != "id_f_3a_0" {
                    prop_assert_eq!(id, raw, "kept byte for byte");
                }
                prop_assert!(seen.insert(id.clone()), "{} twice", id);
                expected.push(result(id, &format!("{round} {raw}")));
            }
            prop_assert_eq!(calls.len(), raw.len());
            prop_assert_eq!(&turns[2 + 2 * round], &Message::User(expected));
        }
    }
}
