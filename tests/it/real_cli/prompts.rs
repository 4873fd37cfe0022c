//! Prompts are only prompts: hostile texts reach the model byte for byte and do nothing else.
//!
//! Each text is sent through Couplet and the real CLI and compared with what the scripted upstream received, as the last
//! message and in the history, as the user's and as the assistant's. Those that try to have a file read aim at a real
//! file, whose content must not show up upstream.

use std::path::{Path, PathBuf};
use std::time::Duration;

use couplet::turn::is_blank;
use couplet::upstream::{Asked, Received, Reply};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};
use crate::support::fault_table::{self, Class};
use crate::support::hostile_prompts::hostile_prompts;
use crate::support::real_cli::real_cli;
use crate::support::received::session_of;
use crate::support::seen::{self, Seen};

/// What the files hold that prompts try to have read.
const SECRET: &str = "secret-that-no-prompt-may-reach";

/// Requests at a time: each is a process of about 0.65 core-seconds.
const AT_ONCE: usize = 3;

/// Messages of a conversation.
const TURNS: usize = 4;

/// In how many parts the texts are tried as the last message, a test each.
const PARTS: usize = 4;

struct Laboratory {
    app: TestApp,
    texts: Vec<String>,
    _folder: tempfile::TempDir,
}

/// Couplet, the texts, and the files they aim at: one at an absolute path, one in the CLI's working directory and one in
/// its home.
async fn laboratory() -> Option<Laboratory> {
    let cli = real_cli()?;
    let app = Builder::new(&cli).await.start().await;
    // Once it answers, its folders are there.
    app.get("/health/live").send().await.expect("an answer");
    app.upstream.set_default(Reply::text("ok"));
    let folder = tempfile::tempdir().expect("a folder");
    let canary = folder.path().join("canary.txt");
    plant(&canary);
    for inside in folders_of_the_cli(app.state.path()) {
        plant(&inside.join("canary.txt"));
    }
    let texts = hostile_prompts().iter().map(|prompt| prompt.aimed_at(&canary)).collect();
    Some(Laboratory { app, texts, _folder: folder })
}

fn plant(path: &Path) {
    std::fs::write(path, SECRET).expect("a canary");
}

/// The CLI's working directory and home.
fn folders_of_the_cli(state: &Path) -> Vec<PathBuf> {
    let state = state.join("state");
    let credentials = std::fs::read_dir(state.join("claude")).expect("a credential's folder");
    let mut folders: Vec<PathBuf> =
        credentials.map(|entry| entry.expect("an entry").path().join("home")).collect();
    folders.push(state.join("empty"));
    assert_eq!(folders.len(), 2);
    folders
}

/// The texts of the user's and the assistant's turns as the model would have read them, the CLI's own left out.
fn turns(asked: &Asked) -> Vec<(String, String)> {
    asked.turn_texts().into_iter().map(|(role, text)| (role.to_owned(), text)).collect()
}

fn assert_same(what: &str, sent: &str, received: &str) {
    // A 5 MB text is nothing to print.
    let short = |text: &str| text.chars().take(300).collect::<String>();
    assert!(sent == received, "{what}\n    sent {:?}\nreceived {:?}", short(sent), short(received));
}

/// The texts as the messages of conversations. Each is the last message once, behind those before it; one in so many
/// begins, and that takes a process of its own. Long ones stay alone.
fn conversations(texts: Vec<&String>) -> Vec<Vec<&String>> {
    const LONG: usize = 64 * 1024;
    let mut conversations: Vec<Vec<&String>> = Vec::new();
    for text in texts {
        match conversations.last_mut() {
            Some(last) if last.len() < TURNS && last.iter().chain([&text]).all(|text| text.len() < LONG) => {
                last.push(text);
            }
            _ => conversations.push(vec![text]),
        }
    }
    conversations
}

/// Asks one text after the other; those that were answered.
async fn converse<'a>(app: &TestApp, texts: Vec<&'a String>) -> Vec<&'a String> {
    let mut messages = Vec::new();
    let mut answered = Vec::new();
    for text in texts {
        messages.push(json!({"role": "user", "content": text}));
        let request = json!({"model": "claude-sonnet-5-5", "messages": messages});
        let (status, answer) = app.answer(&request).await;
        if is_blank(text) {
            let field = format!("messages[{}].content", messages.len() - 1);
            assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{text:?}");
            messages.pop();
            continue;
        }
        assert_eq!(answer["choices"][0]["message"]["content"], "ok", "{status} {answer} for {text:.300?}");
        messages.push(json!({"role": "assistant", "content": "ok"}));
        answered.push(text);
    }
    answered
}

async fn as_the_last_message(number: usize) {
    let Some(Laboratory { app, texts, _folder }) = laboratory().await else { return };
    let part: Vec<&String> = texts.iter().skip(number).step_by(PARTS).collect();
    assert!(part.len() >= 125, "at least 500 in all");
    let texts_of_part = part.clone();
    let conversations = conversations(part);
    let processes = conversations.len();
    let answered: Vec<Vec<&String>> = stream::iter(conversations)
        .map(|texts| converse(&app, texts))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let expected: Vec<&String> = answered.into_iter().flatten().collect();
    let received = app.upstream.log().model_requests();
    let mut texts: Vec<String> = received.iter().map(Received::last_user_text).collect();
    assert_eq!(app.upstream.log().model_count(), expected.len(), "one request each; blank ones were refused");
    let mut sessions: Vec<String> = received.iter().map(session_of).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert!(sessions.len() <= processes, "a process for a conversation: {} of {processes}", sessions.len());
    for request in &received {
        assert!(!String::from_utf8_lossy(&request.body).contains(SECRET), "a file was read");
        let turns = turns(&request.asked());
        let asked_before = turns.iter().step_by(2).all(|(_, text)| expected.contains(&text));
        let answered_before = turns.iter().skip(1).step_by(2).all(|(_, text)| text == "ok");
        assert!(turns.len() % 2 == 1 && asked_before && answered_before, "its own turns, nothing added");
    }
    let mut seen = Seen::default();
    for text in texts_of_part {
        if is_blank(text) {
            seen.note("400, where nothing but white space was said");
        }
    }
    for text in expected {
        let found = texts.iter().position(|received| received == text);
        let found = found.unwrap_or_else(|| {
            panic!("not received as sent: {:?}", text.chars().take(300).collect::<String>())
        });
        texts.swap_remove(found);
        seen.note("the answer; the model got the text byte for byte, no file was read");
    }
    let fault = format!("hostile prompts as the last message, part {} of {PARTS}", number + 1);
    seen.tell(Class::Hostile, &fault, fault_table::Asked::NotStreaming);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reaches_the_model_as_the_last_message_part_1() {
    as_the_last_message(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reaches_the_model_as_the_last_message_part_2() {
    as_the_last_message(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reaches_the_model_as_the_last_message_part_3() {
    as_the_last_message(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reaches_the_model_as_the_last_message_part_4() {
    as_the_last_message(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reaches_the_model_in_the_history_of_both_sides() {
    let Some(Laboratory { app, texts, _folder }) = laboratory().await else { return };
    let texts: Vec<&String> = texts.iter().filter(|text| !is_blank(text)).collect();
    let mut tried = Seen::default();
    // Texts of megabytes are many of a kind; together they would be larger than a request may be.
    let (short, long): (Vec<&String>, Vec<&String>) =
        texts.into_iter().partition(|text| text.len() < 100_000);
    let batches = short.chunks(60).map(<[_]>::to_vec).chain(long.chunks(1).map(<[_]>::to_vec));
    for batch in batches {
        let mut messages = Vec::new();
        let mut sent = Vec::new();
        for text in &batch {
            messages.push(json!({"role": "user", "content": text}));
            messages.push(json!({"role": "assistant", "content": text}));
            sent.push(("user".to_owned(), (*text).clone()));
            sent.push(("assistant".to_owned(), (*text).clone()));
        }
        messages.push(json!({"role": "user", "content": "the end"}));
        sent.push(("user".to_owned(), "the end".to_owned()));
        let (status, answer) =
            app.answer(&json!({"model": "claude-sonnet-5-5", "messages": Value::Array(messages)})).await;
        assert_eq!(status, 200, "{answer}");
        let request = app.upstream.log().last().expect("a request");
        assert!(!String::from_utf8_lossy(&request.body).contains(SECRET), "a file was read");
        let received = turns(&request.asked());
        for ((role, text), (received_role, received_text)) in sent.iter().zip(&received) {
            assert_eq!(role, received_role);
            assert_same(role, text, received_text);
        }
        assert_eq!(sent.len(), received.len());
        for _ in &batch {
            tried.note("the answer; the model got the text byte for byte from both sides, no file was read");
        }
    }
    assert!(tried.times() >= 490, "{}", tried.times());
    tried.tell(
        Class::Hostile,
        "hostile prompts in the history, as the user's and the model's",
        fault_table::Asked::NotStreaming,
    );
}

#[tokio::test]
async fn a_text_of_five_megabytes_arrives_whole() {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli).await.start().await;
    app.upstream.set_default(Reply::text("ok"));
    let text = "Zeile \u{e9} 0123456789 ".repeat(5_000_000 / 20);
    let request = json!({"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": text}]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let received = app.upstream.log().wait_for(1, Duration::from_secs(5)).await.expect("a request");
    assert_same("the prompt", &text, &received[0].last_user_text());
    let outcome = format!("{}; the model got it byte for byte", seen::of_whole(&(status, answer)));
    seen::tell(Class::Hostile, "a prompt of five megabytes", fault_table::Asked::NotStreaming, outcome);
}
