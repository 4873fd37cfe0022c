//! Tools: what the model sees of them, and how calls wait for their results.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::laboratory::{Laboratory, Trial, expect, next_turn, question, session};
use super::media::{noise, png};
use super::{Check, Finding};
use crate::claude::answer::StopReason;
use crate::claude::parked::OpenCall;
use crate::turn::{ImageFormat, Media, ResultBlock, Tool, Turn, UserBlock};
use crate::upstream::{Asked, Reply};

pub(super) const CHECKS: [Check; 6] = [
    Check {
        name: "tools",
        needs: "tools arrive under their own names, with their descriptions and schemas",
        run: |lab| Box::pin(tools(lab)),
    },
    Check {
        name: "long tools",
        needs: "descriptions of tools arrive uncut, be they 1 MB",
        run: |lab| Box::pin(long_tools(lab)),
    },
    Check {
        name: "tool names",
        needs: "tools named as the CLI's own bring nothing of its own along",
        run: |lab| Box::pin(tool_names(lab)),
    },
    Check {
        name: "tool calls",
        needs: "calls wait in the process, and their results arrive as blocks in the calls' order",
        run: |lab| Box::pin(tool_calls(lab)),
    },
    Check {
        name: "long result",
        needs: "a result of 400,000 characters arrives uncut and is not written to disk",
        run: |lab| Box::pin(long_result(lab)),
    },
    Check {
        name: "unknown tool",
        needs: "after a call of a tool that was not given the model is not asked again",
        run: |lab| Box::pin(unknown_tool(lab)),
    },
];

async fn tools(lab: &Laboratory) -> Finding {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string", "x-own": [1, null]}, "a": {"enum": [1]}},
        "required": ["z"], "additionalProperties": false, "$defs": {"b": {}}});
    let plain = json!({"type": "object", "properties": {}});
    arrives(lab, &[tool("look_up-2", &schema), tool("b", &plain)]).await?;
    Ok("as they were given".to_owned())
}

async fn long_tools(lab: &Laboratory) -> Finding {
    let description = "0123456789".repeat(100_000);
    let seen = format!("{} characters", description.len());
    let plain = json!({"type": "object", "properties": {}});
    arrives(lab, &[Tool { description, ..tool("f", &plain) }]).await?;
    Ok(seen)
}

async fn arrives(lab: &Laboratory, given: &[Tool]) -> Result<(), String> {
    let trial = lab.ask(Turn { tools: given.to_vec(), ..question("[[words 1]]") }).await;
    let asked = trial.request()?;
    let arrived = asked.body()["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    expect("number of tools", &arrived.len(), &given.len())?;
    for given in given {
        // The CLI puts them into the order of their names.
        let of_that_name = arrived.iter().find(|tool| tool["name"] == given.name);
        let arrived = of_that_name.ok_or_else(|| format!("no tool {} arrived", given.name))?;
        let description = arrived["description"].as_str().unwrap_or_default();
        expect("length of a description", &description.len(), &given.description.len())?;
        if description != given.description {
            return Err("a description was changed".to_owned());
        }
        // As text, so that the order of the fields counts.
        let schema = Value::Object(given.schema.clone()).to_string();
        expect("schema", &arrived["input_schema"].to_string(), &schema)?;
    }
    Ok(())
}

/// The CLI describes the tools it would have, its agents, the state of a repository, wherever it takes a tool for its own.
async fn tool_names(lab: &Laboratory) -> Finding {
    let with = async |names: [&str; 5]| {
        let tools = names.map(|name| tool(name, &json!({"type": "object", "properties": {}})));
        lab.ask(Turn { tools: tools.to_vec(), ..question("[[words 1]]") }).await.request()
    };
    let neutral = with(["a", "b", "c", "d", "e"]).await?;
    let own = with(["Bash", "Agent", "Read", "Task", "Skill"]).await?;
    let (neutral, own) = (said_around(&neutral), said_around(&own));
    let added: Vec<&String> = own.iter().filter(|text| !neutral.contains(text)).collect();
    if let Some(text) = added.first() {
        let begin: String = text.chars().take(200).collect();
        return Err(format!("{} texts came along, the first: {begin:?}", added.len()));
    }
    Ok("nothing was added".to_owned())
}

/// All texts of a request, tools aside, line by line: the CLI adds to texts as well as whole ones.
fn said_around(asked: &Asked) -> Vec<String> {
    let messages = asked.messages().iter().flat_map(|message| match &message["content"] {
        Value::String(text) => vec![text.clone()],
        blocks => {
            let blocks = blocks.as_array().map(Vec::as_slice).unwrap_or_default();
            blocks.iter().filter_map(|block| block["text"].as_str().map(ToOwned::to_owned)).collect()
        }
    });
    let system = asked.system_texts().into_iter().map(ToOwned::to_owned);
    // The billing line holds a checksum of what is asked.
    let texts = system.chain(messages).filter(|text| !text.starts_with("x-anthropic-billing-header"));
    texts.flat_map(|text| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()).collect()
}

async fn tool_calls(lab: &Laboratory) -> Finding {
    let calls = r#"[[say So.]] [[tool f {"n":1}]] [[tool g {}]] [[tool f {"n":3}]]"#;
    let turn = Turn { tools: two_tools(), ..question(calls) };
    let called = lab.ask(turn.clone()).await;
    expect("stop reason", &called.end()?.reason, &StopReason::ToolUse)?;
    let ids = calls_of(&called);
    expect("calls", &ids.len(), &3)?;
    expect("processes that wait", &lab.claude().processes().kept.parked, &1)?;
    // As large as may be.
    let image = Media::Image { format: ImageFormat::Png, bytes: png(412, 412, noise)? };
    let contents = [
        text("one"),
        vec![ResultBlock::Text("two".to_owned()), ResultBlock::Media(image)],
        text("three [[words 2]]"),
    ];
    let results: Vec<UserBlock> = ids
        .iter()
        .zip(contents)
        .map(|(id, content)| UserBlock::ToolResult { call_id: id.clone(), content, is_error: false })
        .collect();
    // The client need not keep the order.
    let question = results.iter().rev().cloned().collect();
    let answered = lab.ask(next_turn(&turn, &called, question)?).await;
    expect("text", &answered.texts.concat().as_str(), &"w0 w1")?;
    let asked = answered.request()?;
    expect("session", &session(&asked), &session(&called.request()?))?;
    let sent = serde_json::to_value(crate::claude::frame_in::FrameIn::question(&results))
        .map_err(|error| error.to_string())?;
    let arrived = asked.last_user().map(|message| blocks(&message["content"])).unwrap_or_default();
    expect("results", &arrived, &blocks(&sent["message"]["content"]))?;
    let said = asked.turns().nth(1).map(|turn| blocks(&turn["content"])).unwrap_or_default();
    expect("blocks of the model", &said.len(), &4)?;
    Ok("three calls, three results".to_owned())
}

async fn long_result(lab: &Laboratory) -> Finding {
    const MARK: &str = "0123456789 what is not to be on disk ";
    let length = 400_000;
    let mut long: String = MARK.chars().cycle().take(length - 11).collect();
    long.push_str("[[words 1]]");
    let turn = Turn { tools: two_tools(), ..question("[[tool f {}]]") };
    let called = lab.ask(turn.clone()).await;
    let results = calls_of(&called)
        .into_iter()
        .map(|call_id| UserBlock::ToolResult { call_id, content: text(&long), is_error: false })
        .collect();
    let answered = lab.ask(next_turn(&turn, &called, results)?).await;
    answered.end()?;
    let asked = answered.request()?;
    expect("session", &session(&asked), &session(&called.request()?))?;
    let arrived = asked.last_tool_results().concat();
    expect("length", &arrived.len(), &length)?;
    if arrived != long {
        return Err("it was changed on its way".to_owned());
    }
    match file_with(lab.folder(), MARK.as_bytes()).map_err(|error| error.to_string())? {
        Some(path) => Err(format!("it is in {path}")),
        None => Ok(format!("{length} characters, in no file")),
    }
}

async fn unknown_tool(lab: &Laboratory) -> Finding {
    // The request that the CLI would add holds no script. As slow as a model, it is seen cut off.
    lab.upstream().set_default(Reply::words(1).before_headers(Duration::from_millis(500)));
    let trial = lab.ask(Turn { tools: two_tools(), ..question("[[tool h {}]][[delay 0]]") }).await;
    lab.upstream().set_default(Reply::words(1));
    expect("stop reason", &trial.end()?.reason, &StopReason::ToolUse)?;
    expect("calls", &calls_of(&trial).len(), &1)?;
    trial.asked_once()
}

fn tool(name: &str, schema: &Value) -> Tool {
    let schema = schema.as_object().cloned().unwrap_or_else(Map::new);
    Tool { name: name.to_owned(), description: format!("does {name}"), schema }
}

pub(super) fn two_tools() -> Vec<Tool> {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    vec![tool("f", &schema), tool("g", &schema)]
}

pub(super) fn text(text: &str) -> Vec<ResultBlock> {
    vec![ResultBlock::Text(text.to_owned())]
}

pub(super) fn calls_of(trial: &Trial) -> Vec<String> {
    let calls = trial.said.as_deref().map(OpenCall::all_in).unwrap_or_default();
    calls.into_iter().map(|call| call.id).collect()
}

/// Blocks without the CLI's cache breakpoints.
fn blocks(content: &Value) -> Vec<Value> {
    let mut blocks = content.as_array().cloned().unwrap_or_default();
    for block in blocks.iter_mut().filter_map(Value::as_object_mut) {
        block.remove("cache_control");
    }
    blocks
}

/// The first file in a folder that holds these bytes.
fn file_with(folder: &Path, bytes: &[u8]) -> std::io::Result<Option<String>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            file_with(&path, bytes)?
        } else {
            // What the CLI removes meanwhile is not there either.
            let file = std::fs::read(&path).unwrap_or_default();
            file.windows(bytes.len()).any(|part| part == bytes).then(|| path.display().to_string())
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
