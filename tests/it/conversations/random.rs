//! Trees of conversations at random, of few words, so that many are nearly alike: whatever process answers holds exactly
//! the history of the request, and serves one caller alone.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use couplet::claude::Claude;
use couplet::claude::answer::AnswerEvent;
use couplet::scope::Scope;
use couplet::turn::{AssistantBlock, Message, Parameters, Tool, Turn, UserBlock};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::support::app::Builder;
use crate::support::fake_cli::script::{Recital, Script, Step};
use crate::support::fake_cli::{FakeCli, play, program};

/// Who asks, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Setting {
    caller: u8,
    system: &'static str,
    tools: &'static [&'static str],
}

/// What becomes of a history that was there before the next question.
#[derive(Debug, Clone)]
enum Change {
    None,
    /// Up to some message.
    Shorten(Index),
    /// A message gets another word, or is said in other pieces.
    Edit(Index, String),
    Swap(Index, Index),
    Leave(Index),
    /// The same, asked by another.
    Caller,
    System,
    Tools(Index),
}

/// One request: a history of those that were there, changed, and a question.
#[derive(Debug, Clone)]
struct Request {
    /// Counted from the end: processes are there of those that were last.
    from: usize,
    change: Change,
    question: Vec<String>,
}

const TOOLS: [&[&str]; 4] = [&[], &["f"], &["f", "g"], &["g", "f"]];

fn request() -> impl Strategy<Value = Request> {
    let change = prop_oneof![
        6 => Just(Change::None),
        1 => any::<Index>().prop_map(Change::Shorten),
        1 => (any::<Index>(), "[ab]{1,2}").prop_map(|(at, word)| Change::Edit(at, word)),
        1 => any::<(Index, Index)>().prop_map(|(one, other)| Change::Swap(one, other)),
        1 => any::<Index>().prop_map(Change::Leave),
        1 => Just(Change::Caller),
        1 => Just(Change::System),
        1 => any::<Index>().prop_map(Change::Tools),
    ];
    (prop_oneof![4 => 0..6_usize, 1 => 6..40_usize], change, prop::collection::vec("[ab]", 1..3))
        .prop_map(|(from, change, question)| Request { from, change, question })
}

/// Each message with the texts of its blocks; a user's and the model's in turn.
type History = Vec<Vec<String>>;

fn changed(history: &mut History, setting: &mut Setting, change: &Change) {
    let length = history.len();
    match change {
        Change::Shorten(to) => history.truncate(to.index(length + 1) / 2 * 2),
        Change::Caller => setting.caller ^= 1,
        Change::System => setting.system = if setting.system.is_empty() { "s" } else { "" },
        Change::Tools(other) => setting.tools = TOOLS[other.index(TOOLS.len())],
        _ if length == 0 => {}
        Change::Edit(at, word) => history[at.index(length)] = vec![word.clone()],
        // Both of the user, or both of the model.
        Change::Swap(one, other) => {
            let (one, other) = (one.index(length), other.index(length));
            history.swap(one, other / 2 * 2 + one % 2);
        }
        Change::Leave(at) => {
            let at = at.index(length) / 2 * 2;
            history.drain(at..at + 2);
        }
        Change::None => {}
    }
}

fn role(index: usize) -> &'static str {
    if index.is_multiple_of(2) { "user" } else { "assistant" }
}

fn turn(setting: &Setting, history: &History, question: &[String]) -> Turn {
    let messages = history.iter().enumerate().map(|(index, texts)| match role(index) {
        "user" => Message::User(texts.iter().cloned().map(UserBlock::Text).collect()),
        _ => Message::Assistant(texts.iter().cloned().map(AssistantBlock::Text).collect()),
    });
    let tool = |name: &&str| Tool {
        name: (*name).to_owned(),
        description: String::new(),
        schema: serde_json::Map::new(),
    };
    Turn {
        model: "sonnet".to_owned(),
        system: setting.system.to_owned(),
        history: messages.collect(),
        question: question.iter().cloned().map(UserBlock::Text).collect(),
        tools: setting.tools.iter().map(tool).collect(),
        parameters: Parameters::default(),
    }
}

/// The recital and the answer.
async fn ask(claude: &Claude, setting: &Setting, turn: Turn) -> (Recital, String) {
    let mut answer = claude.answer(Scope::of_caller("default", &setting.caller.to_string()), turn);
    let (mut thought, mut said) = (String::new(), String::new());
    loop {
        match answer.next().await.expect("an answer") {
            AnswerEvent::Reasoning(text) => thought.push_str(&text),
            AnswerEvent::Text(text) => said.push_str(&text),
            AnswerEvent::Ended(_) => return (serde_json::from_str(&thought).expect("a recital"), said),
            _ => {}
        }
    }
}

/// Plays the requests; how many went on in a process.
async fn replay(requests: &[Request]) -> Result<usize, TestCaseError> {
    // The answers are nearly all alike as well.
    let plays = vec![play("ab", [Step::Recite("b".to_owned())]), play("", [Step::Recite("a".to_owned())])];
    let fake = FakeCli::new(&Script { plays, ..Script::default() });
    let mut claude = None;
    let _folders = Builder::new(&program()).await.with(|config| {
        config.claude.process.base_url = Some(fake.base_url());
        config.claude.process.sandbox = fake.sandbox();
        config.claude.keep.processes = 6;
        claude = Some(Claude::new(config.claude.clone()).expect("folders"));
    });
    let claude = claude.expect("just made");

    let mut known: Vec<(Setting, History)> =
        vec![(Setting { caller: 0, system: "", tools: TOOLS[0] }, History::new())];
    let mut owners: HashMap<u32, Setting> = HashMap::new();
    let mut went_on = 0;
    for request in requests {
        let (mut setting, mut history) = known[known.len().saturating_sub(1 + request.from)].clone();
        changed(&mut history, &mut setting, &request.change);
        let turn = turn(&setting, &history, &request.question);
        let (recital, answer) = ask(&claude, &setting, turn).await;
        history.push(request.question.clone());
        let said: Vec<_> = history
            .iter()
            .enumerate()
            .map(|(index, texts)| (role(index).to_owned(), texts.clone()))
            .collect();
        prop_assert_eq!(&recital.said, &said);
        prop_assert_eq!(&*recital.system, setting.system);
        prop_assert_eq!(&recital.tools, setting.tools);
        went_on += usize::from(owners.contains_key(&recital.process_id));
        let owner = owners.entry(recital.process_id).or_insert_with(|| setting.clone());
        prop_assert_eq!(&*owner, &setting, "a process of another");
        history.push(vec![answer]);
        known.push((setting, history));
        prop_assert!(claude.processes().kept.live <= 6);
    }
    claude.shut_down(Duration::from_secs(2)).await;
    prop_assert_eq!(fake.living(), Vec::<u32>::new());
    prop_assert_eq!(claude.free_places(), 16);
    Ok(went_on)
}

#[test]
fn whatever_process_answers_holds_exactly_the_history_of_the_request() {
    const CASES: u32 = 12;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (went_on, laid_down) = (Cell::new(0), Cell::new(0));
    // Nothing is remembered of failures: what is printed of them is all that is needed.
    let cases = Cases { cases: CASES, max_shrink_iters: 64, failure_persistence: None, ..Cases::default() };
    TestRunner::new(cases)
        .run(&prop::collection::vec(request(), 30..50), |requests| {
            let in_one = runtime.block_on(replay(&requests))?;
            went_on.set(went_on.get() + in_one);
            laid_down.set(laid_down.get() + requests.len() - in_one);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let both = (went_on.get(), laid_down.get());
    assert!(both.0 > 20 && both.1 > 20, "some go on and some do not: {both:?}");
}
