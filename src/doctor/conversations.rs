//! Conversations that go on in their process.

use std::time::Duration;

use serde_json::{Value, json};

use super::laboratory::{Laboratory, expect, next_turn, question, session};
use super::tools::{calls_of, text, two_tools};
use super::{Check, Finding};
use crate::claude::Claude;
use crate::claude::features;
use crate::claude::warm::WarmCount;
use crate::turn::{Effort, Parameters, Turn, UserBlock};
use crate::upstream::Asked;

/// Another model than that of [`question`].
const OTHER_MODEL: &str = "claude-opus-5-5";

pub(super) const CHECKS: [Check; 3] = [
    Check {
        name: "set up ahead",
        needs: "a process that was set up before its question sends nothing until then, and what another would send",
        run: |lab| Box::pin(set_up_ahead(lab)),
    },
    Check {
        name: "live turns",
        needs: "a follow-up goes on in the same process, with everything before it byte for byte as it was",
        run: |lab| Box::pin(follow_up(lab)),
    },
    Check {
        name: "taken back",
        needs: "what a follow-up does not set is as in a fresh process",
        run: |lab| Box::pin(taken_back(lab)),
    },
];

async fn set_up_ahead(lab: &Laboratory) -> Finding {
    let before = lab.upstream().log().model_count();
    let version = lab.version().await.map_err(|error| error.to_string())?;
    let claude = lab.with_waiting(2).map_err(|error| error.to_string())?;
    let plain = Turn { system: "be brief".to_owned(), ..question("/one [[words 1]]") };
    let other = Turn { tools: two_tools(), model: OTHER_MODEL.to_owned(), ..plain.clone() };
    let found = async {
        wait_for(&claude, 2, 0).await?;
        expect("requests before a question", &lab.upstream().log().model_count(), &before)?;
        for turn in [&plain, &other] {
            let ahead = lab.ask_of(&claude, turn.clone()).await.request()?;
            let fresh = lab.ask(turn.clone()).await.request()?;
            expect("request", &beginning(&ahead), &beginning(&fresh))?;
            expect("model", &ahead.model(), &fresh.model())?;
            if features::can_be_prepared(&version) {
                // The next one finds a process with the system prompt.
                wait_for(&claude, 1, 1).await?;
            }
        }
        if !features::can_be_prepared(&version) {
            return Ok("started ahead; set up ahead it is not, as this release cannot be".to_owned());
        }
        Ok("for its system prompt; tools and another model came later".to_owned())
    };
    let found = found.await;
    claude.shut_down(Duration::from_secs(2)).await;
    found
}

/// Waits until so many processes wait, for anything and for a system prompt.
async fn wait_for(claude: &Claude, generic: usize, prepared: usize) -> Result<(), String> {
    let wanted = WarmCount { starting: 0, generic, prepared };
    for _ in 0..200 {
        if claude.processes().warm == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{:?} wait instead of {wanted:?}", claude.processes().warm))
}

async fn follow_up(lab: &Laboratory) -> Finding {
    let mut turn = Turn { system: "be brief".to_owned(), ..question("/one [[words 3]]") };
    let mut before = lab.ask(turn.clone()).await;
    for text in ["[[words 2]] @two", " three\n[[think]] [[words 4]]", "four [[words 1]]"] {
        turn = next_turn(&turn, &before, vec![UserBlock::Text(text.to_owned())])?;
        let after = lab.ask(turn.clone()).await;
        let (earlier, asked) = (before.request()?, after.request()?);
        expect("session", &session(&asked), &session(&earlier))?;
        let (earlier, asked) = (beginning(&earlier), beginning(&asked));
        if let Some(changed) = earlier.iter().zip(&asked).position(|(before, after)| before != after) {
            let place = format!("part {changed} of {}", earlier.len());
            return expect(&place, &asked[changed], &earlier[changed]);
        }
        // What the model said, and the next question.
        if asked.len() < earlier.len() + 2 {
            return Err(format!("{} parts after {}", asked.len(), earlier.len()));
        }
        before = after;
    }
    Ok("four turns in one process".to_owned())
}

/// A request as the model reads it, part by part: tools, system texts, messages. The CLI's cache breakpoints and its
/// billing line are no part of that, nor whether a single text is written as a block.
fn beginning(asked: &Asked) -> Vec<String> {
    let system = asked.system_texts().into_iter();
    let system = system.filter(|text| !text.starts_with("x-anthropic-billing-header")).map(ToOwned::to_owned);
    let messages = asked.messages().iter().map(|message| {
        let content = match &message["content"] {
            Value::String(text) => json!([{"type": "text", "text": text}]),
            blocks => blocks.clone(),
        };
        let mut message = json!({"role": message["role"], "content": content});
        for block in message["content"].as_array_mut().into_iter().flatten() {
            block.as_object_mut().map(|fields| fields.remove("cache_control"));
        }
        message.to_string()
    });
    [asked.body()["tools"].to_string()].into_iter().chain(system).chain(messages).collect()
}

async fn taken_back(lab: &Laboratory) -> Finding {
    const FIELDS: [&str; 5] =
        ["temperature", "top_p", "stop_sequences", "max_tokens", "output_config.effort"];
    let parameters = Parameters {
        max_tokens: Some(77),
        stop: vec!["END".to_owned()],
        temperature: Some(0.25),
        top_p: Some(0.5),
        effort: Some(Effort::Low),
        ..Parameters::default()
    };
    let fields = |asked: &Asked| FIELDS.map(|field| asked.field(field).cloned());
    let tools = two_tools();
    let plain = fields(&lab.ask(Turn { tools: tools.clone(), ..question("[[words 1]]") }).await.request()?);
    // After an answer, and in a turn that waits for results. There the CLI may need a fresh process.
    for asked in ["[[words 2]]", "[[tool f {}]]"] {
        let turn = Turn { parameters: parameters.clone(), tools: tools.clone(), ..question(asked) };
        let set = lab.ask(turn.clone()).await;
        if fields(&set.request()?).iter().zip(&plain).any(|(set, plain)| set == plain) {
            return Err("they were not all set".to_owned());
        }
        let follow_up = match calls_of(&set).pop() {
            Some(call_id) => UserBlock::ToolResult { call_id, content: text("[[words 1]]"), is_error: false },
            None => UserBlock::Text("[[words 1]]".to_owned()),
        };
        let next = next_turn(&turn, &set, vec![follow_up])?;
        let after = lab.ask(Turn { parameters: Parameters::default(), ..next }).await.request()?;
        if calls_of(&set).is_empty() {
            expect("session", &session(&after), &session(&set.request()?))?;
        }
        expect("fields", &fields(&after), &plain)?;
    }
    Ok("all five, after an answer and after a call".to_owned())
}
