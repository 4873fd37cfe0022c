//! A conversation arrives as real turns, byte for byte.

use couplet::upstream::Reply;
use serde_json::{Value, json};

use super::app;
use crate::support::app::ask;
use crate::support::received::{conversation, turns};

#[tokio::test]
async fn four_turns_and_a_system_prompt_arrive_as_they_were() {
    let Some(app) = app().await else { return };
    let request = json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "system", "content": "Be brief.\n  Indented\u{a0}line."},
        {"role": "user", "content": "/help me with \"quotes\" \\ and\r\nlines"},
        {"role": "assistant", "content": "/sure\n"},
        {"role": "user", "content": [{"type": "text", "text": " one"}, {"type": "text", "text": "two "}]},
        {"role": "assistant", "content": "\u{1f600} second"},
        {"role": "user", "content": "third"},
        {"role": "assistant", "content": "third answer"},
        {"role": "user", "content": "[[words 2]] fourth?"},
    ]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("w0 w1")), "{answer}");
    let text = |texts: &[&str]| -> Value {
        texts.iter().map(|text| json!({"type": "text", "text": text})).collect()
    };
    assert_eq!(
        turns(&app),
        [
            json!({"role": "user", "content": text(&["/", "help me with \"quotes\" \\ and\r\nlines"])}),
            json!({"role": "assistant", "content": text(&["/sure\n"])}),
            json!({"role": "user", "content": text(&[" one", "two "])}),
            json!({"role": "assistant", "content": text(&["\u{1f600} second"])}),
            json!({"role": "user", "content": "third"}),
            json!({"role": "assistant", "content": text(&["third answer"])}),
            json!({"role": "user", "content": "[[words 2]] fourth?"}),
        ]
    );
    let asked = app.upstream.log().last().expect("a request").asked();
    assert_eq!(asked.system_texts().last(), Some(&"Be brief.\n  Indented\u{a0}line."));
}

#[tokio::test]
async fn tool_calls_and_results_of_the_history_arrive_as_blocks() {
    let Some(app) = app().await else { return };
    let request = json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "calling", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"z\":1,\"city\":\"Paris\"}"}},
            {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "20"},
        {"role": "tool", "tool_call_id": "call_1", "content": "22"},
    ]});
    app.upstream.set_default(Reply::text("fine"));
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        conversation(&app),
        [
            json!({"role": "user", "content": "weather?"}),
            json!({"role": "assistant", "content": [
                {"type": "text", "text": "calling"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"z": 1, "city": "Paris"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}}]}),
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "22"}]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "20"}]}]}),
        ]
    );
}

#[tokio::test]
async fn a_conversation_may_begin_with_the_assistant_and_hold_its_every_odd_text() {
    let Some(app) = app().await else { return };
    let request = json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "assistant", "content": "Welcome!"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "(no content)"},
        {"role": "user", "content": "/exit"},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "\n"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "[[words 1]]"},
    ]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let asked = app.upstream.log().last().expect("a request").asked();
    let expected = [
        ("assistant", "Welcome!"),
        ("user", "hi"),
        ("assistant", "(no content)"),
        ("user", "/exit"),
        ("assistant", "a\nb"),
        ("user", "[[words 1]]"),
    ];
    let received = asked.turn_texts();
    let received: Vec<(&str, &str)> = received.iter().map(|(role, text)| (*role, text.as_str())).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_hundred_turns_arrive_in_their_order() {
    let Some(app) = app().await else { return };
    let mut messages = Vec::new();
    for turn in 0..100 {
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
    }
    messages.push(json!({"role": "user", "content": "[[words 1]]"}));
    let (status, answer) =
        app.answer(&json!({"model": "claude-sonnet-5-5", "messages": messages.clone()})).await;
    assert_eq!(status, 200, "{answer}");
    let asked = app.upstream.log().last().expect("a request").asked();
    let sent: Vec<&str> = messages.iter().filter_map(|message| message["content"].as_str()).collect();
    let received: Vec<String> = asked.turn_texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_plain_hi_sends_at_most_two_kilobytes() {
    let Some(app) = app().await else { return };
    app.upstream.set_default(Reply::text("hello"));
    let (status, _) = app.answer(&ask("hi")).await;
    assert_eq!(status, 200);
    let request = app.upstream.log().last().expect("a request");
    assert!(
        request.body.len() <= 2000,
        "{} bytes: {}",
        request.body.len(),
        String::from_utf8_lossy(&request.body)
    );
    let asked = request.asked();
    assert_eq!(
        asked.system_texts().len(),
        2,
        "the CLI's own two lines and no system prompt: {:?}",
        asked.system_texts()
    );
    assert_eq!(asked.body()["tools"], json!([]));
}
