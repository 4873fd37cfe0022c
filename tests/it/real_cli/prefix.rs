//! How much of the upstream prompt stays as it was from turn to turn, and what Anthropic's cache reads of it: in a live
//! conversation, laid down anew for each turn, and (which Couplet does not do) resumed from a transcript.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use couplet::claude::answer::AnswerEvent;
use couplet::claude::credential::Credential;
use couplet::claude::{Claude, ClaudeSettings};
use couplet::scope::Scope;
use couplet::turn::{AssistantBlock, Message, Parameters, ResultBlock, Tool, Turn, UserBlock};
use couplet::upstream::{Asked, Received, Upstream};
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::doctor::OLDER;
use crate::support::app::{Builder, TOKEN, TestApp};
use crate::support::prompt_cache::{Prompt, PromptCache, same_messages};
use crate::support::real_cli::{real_cli, release};
use crate::support::resumer::Resumer;

/// What comes next in a conversation.
#[derive(Clone, Copy)]
enum Next {
    /// The user says this.
    Says(&'static str),
    /// Each open call has this result.
    Results(&'static str),
}
use Next::{Results, Says};

const PLAIN: [Next; 5] = [
    Says("one [[say first answer]]"),
    Says("two [[say second answer]]"),
    Says("three [[say third answer]]"),
    Says("four [[say fourth answer]]"),
    Says("five [[say fifth answer]]"),
];

/// Every other turn asks with results.
const WITH_TOOLS: [Next; 5] = [
    Says(r#"one [[tool look {"at":"sky"}]]"#),
    Results("[[say it is blue]]"),
    Says(r#"two [[say let me see]] [[tool look {"at":"a"}]] [[tool look {"at":"b"}]]"#),
    Results("[[say both]]"),
    Says("three [[say done]]"),
];

/// Couplet without HTTP before it.
struct Laboratory {
    claude: Claude,
    app: TestApp,
}

impl Laboratory {
    async fn new(cli: &Path, change: impl FnOnce(&mut ClaudeSettings)) -> Self {
        let mut claude = None;
        let builder = Builder::new(cli).await.with(|config| {
            change(&mut config.claude);
            claude = Claude::new(config.claude.clone()).ok();
        });
        Self { claude: claude.expect("folders"), app: builder.start().await }
    }

    /// Has a conversation behind what was said `before`. The turns that were asked.
    async fn converse(&self, before: Vec<Message>, nexts: &[Next]) -> Vec<Turn> {
        let (mut said, mut turns) = (before, Vec::new());
        for next in nexts {
            let question = match next {
                Says(text) => vec![UserBlock::Text((*text).to_owned())],
                Results(text) => results(said.last(), text),
            };
            let turn = turn(said.clone(), question.clone());
            let answer = self.ask(turn.clone()).await;
            turns.push(turn);
            said.extend([Message::User(question), Message::Assistant(answer)]);
        }
        turns
    }

    async fn ask(&self, turn: Turn) -> Vec<AssistantBlock> {
        let mut said = Vec::new();
        let mut arguments = String::new();
        let mut answer = self.claude.answer(Scope::anyone(), turn);
        loop {
            match answer.next().await.expect("an answer") {
                AnswerEvent::Text(more) => match said.last_mut() {
                    Some(AssistantBlock::Text(text)) => text.push_str(&more),
                    _ => said.push(AssistantBlock::Text(more)),
                },
                AnswerEvent::ToolCall { id, name } => {
                    arguments.clear();
                    said.push(AssistantBlock::ToolUse { id, name, input: Map::new() });
                }
                AnswerEvent::ToolArguments(more) => {
                    arguments.push_str(&more);
                    if let (Some(AssistantBlock::ToolUse { input, .. }), Ok(whole)) =
                        (said.last_mut(), serde_json::from_str(&arguments))
                    {
                        *input = whole;
                    }
                }
                AnswerEvent::Started { .. } | AnswerEvent::Signature(_) | AnswerEvent::Reasoning(_) => {}
                AnswerEvent::Ended(_) => return said,
            }
        }
    }

    fn bodies(&self) -> Vec<Value> {
        bodies(&self.app.upstream)
    }
}

fn bodies(upstream: &Upstream) -> Vec<Value> {
    let requests = upstream.log().requests();
    requests.iter().filter(|request| request.asks_model()).map(Received::json).collect()
}

fn results(said: Option<&Message>, text: &str) -> Vec<UserBlock> {
    let Some(Message::Assistant(blocks)) = said else { panic!("nothing was called") };
    let content = vec![ResultBlock::Text(text.to_owned())];
    let result = |block: &AssistantBlock| match block {
        AssistantBlock::ToolUse { id, .. } => {
            Some(UserBlock::ToolResult { call_id: id.clone(), content: content.clone(), is_error: false })
        }
        AssistantBlock::Text(_) => None,
    };
    blocks.iter().filter_map(result).collect()
}

fn turn(history: Vec<Message>, question: Vec<UserBlock>) -> Turn {
    let schema = json!({"type": "object", "properties": {"at": {"type": "string"}}});
    let Value::Object(schema) = schema else { unreachable!() };
    Turn {
        model: "claude-sonnet-5-5".to_owned(),
        system: "Be terse.".to_owned(),
        history,
        question,
        tools: vec![Tool { name: "look".to_owned(), description: "looks".to_owned(), schema }],
        parameters: Parameters::default(),
    }
}

fn no_process_waits(settings: &mut ClaudeSettings) {
    settings.keep.processes = 0;
}

/// A line for each request: its messages, how many of them begin the next one too, its breakpoints, what is read.
fn table(bodies: &[Value]) -> String {
    let mut cache = PromptCache::default();
    let mut table = String::new();
    for (index, body) in bodies.iter().enumerate() {
        let found = cache.ask(body);
        let prompt = Prompt::of(body);
        let breakpoints: Vec<_> =
            prompt.breakpoints().iter().map(|(place, ..)| (*place).to_owned()).collect();
        let (messages, breakpoints) =
            (body["messages"].as_array().map_or(0, Vec::len), breakpoints.join(" "));
        let same = bodies.get(index + 1).map_or("-".to_owned(), |next| same_messages(body, next).to_string());
        let (read, of) = (found.read, found.of);
        writeln!(
            table,
            "{messages:2} messages, {same:>2} in the next; reads {read:2} of {of:2} blocks; {breakpoints}"
        )
        .expect("written");
    }
    table
}

/// How much of the request before each request reads, in blocks.
fn read_again(bodies: &[Value]) -> Vec<usize> {
    let mut cache = PromptCache::default();
    bodies.iter().map(|body| cache.ask(body).read).skip(1).collect()
}

fn whole(bodies: &[Value]) -> Vec<usize> {
    bodies[..bodies.len() - 1].iter().map(|body| Prompt::of(body).len()).collect()
}

#[rstest]
#[case::plain("plain", &PLAIN)]
#[case::with_tools("with_tools", &WITH_TOOLS)]
#[tokio::test]
async fn a_live_conversation_reads_all_of_the_request_before(#[case] name: &str, #[case] nexts: &[Next]) {
    let Some(cli) = real_cli() else { return };
    let lab = Laboratory::new(&cli, |_| {}).await;
    lab.converse(Vec::new(), nexts).await;
    let bodies = lab.bodies();
    assert_eq!(bodies.len(), nexts.len());
    assert_eq!(read_again(&bodies), whole(&bodies), "{}", table(&bodies));
    insta::assert_snapshot!(format!("live_{name}"), table(&bodies));
    lab.claude.shut_down(Duration::from_secs(2)).await;
}

#[rstest]
#[case::plain("plain", &PLAIN)]
#[case::with_tools("with_tools", &WITH_TOOLS)]
#[tokio::test]
async fn a_history_laid_down_anew_is_read_up_to_its_last_mark(#[case] name: &str, #[case] nexts: &[Next]) {
    let Some(cli) = real_cli() else { return };
    let lab = Laboratory::new(&cli, no_process_waits).await;
    let turns = lab.converse(Vec::new(), nexts).await;
    let bodies = lab.bodies();
    assert_eq!(bodies.len(), nexts.len());
    for (body, next) in bodies.iter().zip(&bodies[1..]) {
        let messages = body["messages"].as_array().map_or(0, Vec::len);
        assert!(same_messages(body, next) >= messages - 1, "{}", table(&bodies));
    }
    // The mark is the last breakpoint but one; the first request has none, and only its system prompt is read again.
    let to_the_mark = |body: &Value| {
        let breakpoints = Prompt::of(body).breakpoints().iter().map(|(.., end)| *end).collect::<Vec<_>>();
        breakpoints[breakpoints.len() - 2]
    };
    let marked: Vec<_> = bodies[..bodies.len() - 1].iter().map(to_the_mark).collect();
    assert_eq!(read_again(&bodies), marked, "{}", table(&bodies));
    for (turn, body) in turns.iter().zip(&bodies) {
        assert_eq!(marks(body), usize::from(!turn.history.is_empty()), "{}", table(&bodies));
    }
    insta::assert_snapshot!(format!("laid_down_{name}"), table(&bodies));
    lab.claude.shut_down(Duration::from_secs(2)).await;
}

/// How many breakpoints stand in the messages before the last one.
fn marks(body: &Value) -> usize {
    let last = format!("messages.{}.", body["messages"].as_array().map_or(0, Vec::len) - 1);
    let prompt = Prompt::of(body);
    let breakpoints = prompt.breakpoints();
    let in_messages = breakpoints.iter().filter(|(place, ..)| place.starts_with("messages."));
    in_messages.filter(|(place, ..)| !place.starts_with(&last)).count()
}

/// Couplet does not resume; this is what it would gain. A transcript cannot end in open calls, so only what the user says
/// is asked here.
#[rstest]
#[case::plain("plain", &PLAIN)]
#[case::with_tools("with_tools", &WITH_TOOLS)]
#[tokio::test]
async fn a_resumed_conversation_would_read_all_of_the_request_before(
    #[case] name: &str,
    #[case] nexts: &[Next],
) {
    let Some(cli) = real_cli() else { return };
    let lab = Laboratory::new(&cli, |_| {}).await;
    let turns = lab.converse(Vec::new(), nexts).await;
    let upstream = Upstream::start_on_loopback().await.expect("an upstream");
    let resumer = Resumer::new(&cli, &upstream).await;
    for turn in turns.into_iter().filter(|turn| matches!(turn.question[..], [UserBlock::Text(_)])) {
        resumer.ask(turn).await;
    }
    let bodies = bodies(&upstream);
    assert!(bodies.len() >= 3);
    assert_eq!(read_again(&bodies), whole(&bodies), "{}", table(&bodies));
    insta::assert_snapshot!(format!("resumed_{name}"), table(&bodies));
    lab.claude.shut_down(Duration::from_secs(2)).await;
}

/// A conversation of which the first part is laid down, with calls in it.
fn laid_down() -> Vec<Message> {
    let call =
        |id: &str| AssistantBlock::ToolUse { id: id.to_owned(), name: "look".to_owned(), input: Map::new() };
    let result =
        |id: &str| UserBlock::ToolResult { call_id: id.to_owned(), content: Vec::new(), is_error: false };
    vec![
        Message::User(vec![UserBlock::Text("zero".to_owned())]),
        Message::Assistant(vec![call("toolu_a"), call("toolu_b")]),
        Message::User(vec![result("toolu_a"), result("toolu_b")]),
        Message::Assistant(vec![call("toolu_c")]),
    ]
}

#[rstest]
#[case(Credential::OauthToken(TOKEN.into()), json!({"type": "ephemeral", "ttl": "1h"}))]
#[case(Credential::ApiKey("sk-ant-api03-of-the-tests".into()), json!({"type": "ephemeral"}))]
#[tokio::test]
async fn there_are_never_more_than_four_breakpoints_and_all_live_equally_long(
    #[case] credential: Credential,
    #[case] expected: Value,
) {
    let Some(cli) = real_cli() else { return };
    let lab = Laboratory::new(&cli, |settings| settings.process.credential = credential).await;
    let mut before = laid_down();
    before.extend([
        Message::User(results(before.last(), "c")),
        Message::Assistant(vec![AssistantBlock::Text("seen".to_owned())]),
    ]);
    lab.converse(before, &WITH_TOOLS).await;
    // Results asked of a fresh process; the mark is then further up, on the results before.
    let results_asked = lab.converse(laid_down(), &[Results("[[say so]]"), Says("and? [[say so]]")]).await;
    let bodies = lab.bodies();
    assert_eq!(bodies.len(), WITH_TOOLS.len() + results_asked.len());
    for body in &bodies {
        let prompt = Prompt::of(body);
        let breakpoints = prompt.breakpoints();
        assert_eq!(breakpoints.len(), 4, "{}", table(&bodies));
        assert_eq!(marks(body), 1, "{}", table(&bodies));
        for (place, control, _) in breakpoints {
            assert_eq!(*control, expected, "{place}");
        }
    }
    lab.claude.shut_down(Duration::from_secs(2)).await;
}

/// `cargo nextest run --run-ignored only -E 'test(on_every_supported_release)'`.
#[tokio::test]
#[ignore = "installs five more releases of the CLI"]
async fn a_marked_history_arrives_as_it_was_on_every_supported_release() {
    let Some(pinned) = real_cli() else { return };
    let clis = OLDER.iter().map(|version| release(version)).chain([pinned]);
    for cli in clis {
        for credential in
            [Credential::OauthToken(TOKEN.into()), Credential::ApiKey("sk-ant-api03-of-the-tests".into())]
        {
            let change = |settings: &mut ClaudeSettings| settings.process.credential = credential;
            let lab = Laboratory::new(&cli, change).await;
            let question = results(laid_down().last(), "[[say so]]");
            // 2.1.197 lists tools only when it asks.
            lab.ask(Turn { tools: Vec::new(), ..turn(laid_down(), question) }).await;
            let bodies = lab.bodies();
            let body = bodies.last().expect("a request");
            assert_eq!(marks(body), 1, "{}: {}", cli.display(), table(&bodies));
            let prompt = Prompt::of(body);
            let breakpoints = prompt.breakpoints();
            assert_eq!(breakpoints.len(), 4, "{}: {}", cli.display(), table(&bodies));
            assert!(breakpoints.windows(2).all(|two| two[0].1 == two[1].1), "{}", cli.display());
            let asked = Asked::new(body.clone());
            let ids = asked.turns().map(|turn| {
                let blocks = turn["content"].as_array().into_iter().flatten();
                let ids = blocks.filter_map(|block| block["id"].as_str().or(block["tool_use_id"].as_str()));
                ids.collect::<Vec<_>>().join(" ")
            });
            let ids: Vec<_> = ids.collect();
            let two = "toolu_a toolu_b";
            assert_eq!(ids, ["", two, two, "toolu_c", "toolu_c"], "{}", cli.display());
            lab.claude.shut_down(Duration::from_secs(2)).await;
        }
    }
}

#[tokio::test]
async fn a_mark_that_the_api_refuses_is_left_out_from_then_on() {
    let Some(cli) = real_cli() else { return };
    let app = Builder::new(&cli).await.with(|config| no_process_waits(&mut config.claude)).start().await;
    let request = |text: &str| {
        json!({"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"}, {"role": "user", "content": text}]})
    };
    // The CLI itself asks again what the API refused, the same but for things of its own.
    let marked = || {
        let mut marked: Vec<usize> = bodies(&app.upstream).iter().map(marks).collect();
        marked.dedup();
        marked
    };
    // Something of the client's that only sounds like it: the mark is not to blame, and stays.
    let (status, answer) =
        app.answer(&request("[[err 400 invalid_request_error tools.0: cache_control]]")).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(marked(), [1, 0]);
    let refused = "[[words 2]] [[refuse messages.2.content.0.cache_control]]";
    let (status, answer) = app.answer(&request(refused)).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("w0 w1")), "{answer}");
    let before = bodies(&app.upstream).len();
    assert_eq!(marked(), [1, 0, 1, 0]);
    let (status, answer) = app.answer(&request("[[words 3]]")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(marked(), [1, 0, 1, 0], "no mark any more");
    assert_eq!(bodies(&app.upstream).len(), before + 1);
}
