//! The next turn of a conversation goes on in its process.

use serde_json::{Value, json};

use super::{Dialogue, app, health, heard, questions, texts};
use crate::support::app::{TestApp, said};

#[tokio::test]
async fn a_conversation_stays_in_its_process_and_arrives_as_it_was() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.push("system", "Be brief.\n");
    let questions = [
        "/help [[say  \"one\"\n]] caf\u{e9}",
        "[[say two]] @/etc/passwd cafe\u{301}\r\n",
        "\n  [[say \"\u{1f600} \\\\ three\"]]\ttab",
        "[[think hmm]][[say four]]",
        "[[words 3]] five",
    ];
    let mut processes = Vec::new();
    for question in questions {
        dialogue.say(&app, question).await;
        let heard = heard(&app.upstream, question);
        let mut sent = texts(&dialogue.request);
        sent.pop();
        assert_eq!(heard.turns, sent);
        assert_eq!(heard.asked.system_texts().last(), Some(&"Be brief.\n"));
        processes.push(heard.process);
    }
    processes.dedup();
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(app.upstream.log().model_count(), questions.len());
    assert_eq!((health(&app, "/processes/live").await, health(&app, "/free_places").await), (1, 16));
}

#[tokio::test]
async fn a_streamed_answer_is_gone_on_from_like_a_whole_one() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    let first = app.stream(&dialogue.asking("[[words 4]]")).await;
    dialogue.push("user", "[[words 4]]");
    dialogue.push("assistant", &first.contents().concat());
    let second = app.stream(&dialogue.asking("[[words 1]] more")).await;
    assert!(first.done && second.done);
    assert_eq!(heard(&app.upstream, "[[words 4]]").process, heard(&app.upstream, "[[words 1]] more").process);
}

#[tokio::test]
async fn conversations_with_the_same_beginning_go_on_each_in_its_own_process() {
    let Some(app) = app().await else { return };
    let mut dialogues = [Dialogue::new(&json!({})), Dialogue::new(&json!({}))];
    for dialogue in &mut dialogues {
        dialogue.say(&app, "[[say hello]]").await;
    }
    // Until here they are the same, and either process will do.
    for _ in 0..2 {
        for (dialogue, name) in dialogues.iter_mut().zip(["a", "b"]) {
            let question = format!("[[say {name}]] {name} {}", dialogue.messages().len());
            assert_eq!(dialogue.say(&app, &question).await, name);
            let mut sent = texts(&dialogue.request);
            sent.pop();
            assert_eq!(heard(&app.upstream, &question).turns, sent);
        }
    }
    let processes: std::collections::HashSet<String> = app
        .upstream
        .log()
        .model_requests()
        .into_iter()
        .map(|received| super::Heard::from(received.asked()).process)
        .collect();
    assert_eq!(processes.len(), 2, "each has one");
}

/// What the API is asked besides what is said.
fn manner(asked: &couplet::upstream::Asked) -> Value {
    let mut body = asked.body().clone();
    let fields = body.as_object_mut().expect("an object");
    for said in ["messages", "metadata", "system"] {
        fields.remove(said);
    }
    body
}

async fn ask_with(app: &TestApp, dialogue: &mut Dialogue, question: &str, parameters: &Value) {
    let mut request = dialogue.asking(question);
    request.as_object_mut().expect("an object").extend(parameters.as_object().expect("an object").clone());
    let answer = said(&app.answer(&request).await).to_owned();
    dialogue.push("user", question);
    dialogue.push("assistant", &answer);
}

#[tokio::test]
async fn parameters_of_one_turn_are_not_those_of_the_next() {
    let Some(app) = app().await else { return };
    let turns = [
        ("[[words 1]] plain", json!({})),
        (
            "[[words 1]] all",
            json!({"temperature": 0.25, "top_p": 0.5, "stop": ["END"], "max_tokens": 99, "reasoning_effort": "high"}),
        ),
        ("[[words 1]] plain again", json!({})),
        ("[[words 1]] cool", json!({"temperature": 0.0})),
        ("[[words 1]] short", json!({"max_tokens": 50, "stop": "X"})),
        ("[[words 1]] little", json!({"reasoning_effort": "low"})),
        ("[[words 1]] plain at last", json!({})),
    ];
    let mut dialogue = Dialogue::new(&json!({}));
    for (question, parameters) in &turns {
        ask_with(&app, &mut dialogue, question, parameters).await;
    }
    let process = heard(&app.upstream, turns[0].0).process;
    for (question, parameters) in &turns {
        let live = heard(&app.upstream, question);
        assert_eq!(live.process, process, "{question}");
        // A process that has never heard of any other parameters.
        ask_with(&app, &mut Dialogue::new(&json!({})), question, parameters).await;
        let fresh = heard(&app.upstream, question);
        assert_ne!(fresh.process, process);
        assert_eq!(manner(&live.asked), manner(&fresh.asked), "{question}");
    }
}

#[tokio::test]
async fn another_model_or_thinking_turned_off_is_for_another_process() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[words 1]] first").await;
    for (question, change) in [
        ("[[words 1]] model", json!({"model": "claude-opus-5-5"})),
        ("[[words 1]] off", json!({"reasoning_effort": "none"})),
    ] {
        ask_with(&app, &mut dialogue.clone(), question, &change).await;
    }
    dialogue.say(&app, "[[words 1]] second").await;
    let process = |question: &str| heard(&app.upstream, question).process;
    let first = process("[[words 1]] first");
    assert_eq!(process("[[words 1]] second"), first);
    assert_ne!(process("[[words 1]] model"), first);
    assert_ne!(process("[[words 1]] off"), first);
    assert_eq!(questions(&app.upstream, "[[words 1]] model").count(), 1, "no model is tried out first");
}
