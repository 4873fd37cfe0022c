//! `n`: several answers to one request.

use serde_json::{Value, json};

use super::app;
use crate::support::app::ask;
use crate::support::received::{conversation_of, sessions};

fn ask_for(n: u32, text: &str) -> Value {
    let mut request = ask(text);
    request["n"] = json!(n);
    request
}

#[tokio::test]
async fn three_answers_are_three_questions_to_the_model_told_apart_by_their_index() {
    let Some(app) = app().await else { return };
    let mut request = ask_for(3, "[[words 4]][[slow 0.05]]");
    request["stream_options"] = json!({"include_usage": true});
    request["seed"] = json!(7);
    let answer = app.stream(&request).await;
    assert_eq!((answer.status, answer.done), (200, true), "{answer:?}");
    assert_eq!(answer.headers["x-couplet-ignored"], "seed");
    for index in 0..3 {
        let of_it = answer.data.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        let text: String =
            of_it.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "w0 w1 w2 w3");
    }
    assert_eq!(
        (&answer.usage()["prompt_tokens"], &answer.usage()["completion_tokens"]),
        (&json!(525), &json!(12))
    );
    let asked = app.upstream.log().model_requests();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| conversation_of(one) == conversation_of(&asked[0])));
    let mut sessions = sessions(&app);
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 3, "each in a process of its own");
}

#[tokio::test]
async fn whichever_answer_the_client_takes_the_conversation_goes_on_in_its_process() {
    let Some(app) = app().await else { return };
    for reply in ["one", "two"] {
        app.upstream.push_reply(couplet::upstream::Reply::text(reply));
    }
    let (status, answer) = app.answer(&ask_for(2, "hello")).await;
    assert_eq!(status, 200, "{answer}");
    let before = sessions(&app);
    for choice in answer["choices"].as_array().expect("choices") {
        let mut request = ask("hello");
        let messages = request["messages"].as_array_mut().expect("messages");
        messages.extend([choice["message"].clone(), json!({"role": "user", "content": "[[words 1]]"})]);
        assert_eq!(app.answer(&request).await.0, 200);
        assert!(before.contains(sessions(&app).last().expect("a question")), "{choice}");
    }
}

#[tokio::test]
async fn one_that_fails_fails_the_request() {
    let Some(app) = app().await else { return };
    for stream in [false, true] {
        let mut request = ask_for(2, "[[err 401 authentication_error]]");
        request["stream"] = json!(stream);
        let (status, answer) = app.answer(&request).await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!("invalid_api_key")), "{answer}");
    }
}
