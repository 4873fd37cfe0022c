//! What reaches the model: turns, texts and parameters as they were, and nothing else.

use serde_json::json;

use super::laboratory::{Laboratory, assistant, expect, question, turn_texts, user};
use super::{Check, Finding};
use crate::claude::answer::Usage;
use crate::turn::{AssistantBlock, Effort, Message, Parameters, ResultBlock, Turn, UserBlock};
use crate::upstream::Asked;

pub(super) const CHECKS: [Check; 10] = [
    Check {
        name: "system prompt",
        needs: "a system prompt arrives, an empty one adds nothing",
        run: |lab| Box::pin(system_prompt(lab)),
    },
    Check {
        name: "history",
        needs: "history arrives as real turns, in order",
        run: |lab| Box::pin(history(lab)),
    },
    Check {
        name: "tool history",
        needs: "tool calls and results of the history arrive as blocks",
        run: |lab| Box::pin(tool_history(lab)),
    },
    Check {
        name: "commands",
        needs: "/commands are texts, asked and in the history",
        run: |lab| Box::pin(commands(lab)),
    },
    Check {
        name: "files",
        needs: "@file reads no file, asked and in the history",
        run: |lab| Box::pin(files(lab)),
    },
    Check {
        name: "long prompt",
        needs: "a prompt of 2 MB is left to the API to refuse",
        run: |lab| Box::pin(long_prompt(lab)),
    },
    Check {
        name: "model",
        needs: "the model is set, without a request of the CLI's own for an unlisted one",
        run: |lab| Box::pin(model(lab)),
    },
    Check {
        name: "parameters",
        needs: "temperature, top_p, stop, max_tokens and effort arrive",
        run: |lab| Box::pin(parameters(lab)),
    },
    Check {
        name: "thinking",
        needs: "a summary of the thinking is asked for and passed on",
        run: |lab| Box::pin(thinking(lab)),
    },
    Check {
        name: "streaming",
        needs: "each delta is passed on by itself, with exact usage",
        run: |lab| Box::pin(streaming(lab)),
    },
];

async fn system_prompt(lab: &Laboratory) -> Finding {
    let with = lab.ask(Turn { system: "be brief".to_owned(), ..question("[[words 1]]") }).await.request()?;
    let without = lab.ask(question("[[words 1]]")).await.request()?;
    expect("last system text", &with.system_texts().last().copied(), &Some("be brief"))?;
    expect("system texts without one", &without.system_texts().len(), &(with.system_texts().len() - 1))?;
    Ok("arrives as a block of its own".to_owned())
}

async fn history(lab: &Laboratory) -> Finding {
    let history = vec![user("one"), assistant("two"), user("three"), assistant("four")];
    let trial = lab.ask(Turn { history, ..question("[[words 1]]") }).await;
    let turns = turn_texts(&trial.request()?);
    let turns: Vec<(&str, &str)> = turns.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect();
    let expected = [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
        ("assistant", "four"),
        ("user", "[[words 1]]"),
    ];
    expect("turns", &turns, &expected.to_vec())?;
    Ok(format!("{} turns", turns.len()))
}

async fn tool_history(lab: &Laboratory) -> Finding {
    let input = [("z".to_owned(), json!(1)), ("a".to_owned(), json!(2))].into_iter().collect();
    let call = AssistantBlock::ToolUse { id: "call_1".to_owned(), name: "weather".to_owned(), input };
    let result = UserBlock::ToolResult {
        call_id: "call_1".to_owned(),
        content: vec![ResultBlock::Text("22".to_owned())],
        is_error: false,
    };
    let history = vec![user("weather?"), Message::Assistant(vec![call])];
    let question = vec![result, UserBlock::Text("[[words 1]]".to_owned())];
    let trial = lab.ask(Turn { history, question, ..super::laboratory::question("") }).await;
    let asked = trial.request()?;
    let turns: Vec<_> = asked.turns().collect();
    let call = turns.get(1).map(|turn| turn["content"][0].to_string()).unwrap_or_default();
    let expected = r#"{"type":"tool_use","id":"call_1","name":"weather","input":{"z":1,"a":2}}"#;
    expect("call", &call.as_str(), &expected)?;
    let result = turns.get(2).map(|turn| turn["content"][0]["content"].clone());
    expect("result", &result, &Some(json!([{"type": "text", "text": "22"}])))?;
    Ok("under their own ids".to_owned())
}

async fn commands(lab: &Laboratory) -> Finding {
    for command in ["/help", "/clear", "/compact now"] {
        let history = vec![user(command), assistant("ok")];
        let trial = lab.ask(Turn { history, ..question(command) }).await;
        let texts: Vec<String> = turn_texts(&trial.request()?).into_iter().map(|(_, text)| text).collect();
        expect("texts", &texts, &vec![command.to_owned(), "ok".to_owned(), command.to_owned()])?;
    }
    Ok("three commands arrived as they were".to_owned())
}

async fn files(lab: &Laboratory) -> Finding {
    const SECRET: &str = "what-no-prompt-may-read";
    let file = lab.folder().join("secret.txt");
    std::fs::write(&file, SECRET).map_err(|error| error.to_string())?;
    let mention = format!("@{} please", file.display());
    let history = vec![user(&mention), assistant("ok")];
    let trial = lab.ask(Turn { history, ..question(&mention) }).await;
    let asked = trial.request()?;
    if asked.body().to_string().contains(SECRET) {
        return Err("the file was read and sent along".to_owned());
    }
    expect("text", &last_text(&asked), &mention)?;
    Ok("no file was read".to_owned())
}

fn last_text(asked: &Asked) -> String {
    turn_texts(asked).pop().map(|(_, text)| text).unwrap_or_default()
}

async fn long_prompt(lab: &Laboratory) -> Finding {
    let text = "0123456789".repeat(200_000);
    let trial = lab.ask(question(&text)).await;
    trial.end()?;
    let length = last_text(&trial.request()?).len();
    expect("length", &length, &text.len())?;
    Ok(format!("{length} bytes arrived"))
}

async fn model(lab: &Laboratory) -> Finding {
    let listed = lab.claude().models().await.map_err(|failure| failure.to_string())?;
    let Some((alias, full)) =
        listed.iter().rev().find_map(|model| Some((&model.value, model.resolved_model.as_ref()?)))
    else {
        return Err("it lists no alias".to_owned());
    };
    let trial = lab.ask(Turn { model: alias.clone(), ..question("[[words 1]]") }).await;
    expect("model", &trial.request()?.model(), &full.as_str())?;
    let unlisted = "claude-unlisted-model";
    let trial = lab.ask(Turn { model: unlisted.to_owned(), ..question("[[words 1]]") }).await;
    expect("unlisted model", &trial.request()?.model(), &unlisted)?;
    Ok(format!("{alias} → {full}; an unlisted one is not tried out first"))
}

async fn parameters(lab: &Laboratory) -> Finding {
    let parameters = Parameters {
        max_tokens: Some(321),
        stop: vec!["END".to_owned()],
        temperature: Some(0.25),
        top_p: Some(0.5),
        effort: Some(Effort::High),
        ..Parameters::default()
    };
    let trial = lab.ask(Turn { parameters, ..question("[[words 1]]") }).await;
    let asked = trial.request()?;
    for (field, expected) in [
        ("temperature", json!(0.25)),
        ("top_p", json!(0.5)),
        ("stop_sequences", json!(["END"])),
        ("max_tokens", json!(321)),
        ("output_config.effort", json!("high")),
    ] {
        expect(field, &asked.field(field), &Some(&expected))?;
    }
    Ok("all five".to_owned())
}

async fn thinking(lab: &Laboratory) -> Finding {
    let trial = lab.ask(question("[[think one two]][[words 1]]")).await;
    expect("display", &trial.request()?.field("thinking.display"), &Some(&json!("summarized")))?;
    expect("thinking", &trial.reasoning.trim(), &"one two")?;
    Ok("asked for and passed on".to_owned())
}

async fn streaming(lab: &Laboratory) -> Finding {
    let prompt = "[[words 4]][[usage input=11 cache_creation=22 cache_read=33 output=44 thinking=5]]";
    let trial = lab.ask(question(prompt)).await;
    let usage = Usage { input: 11, cache_creation: 22, cache_read: 33, output: 44, thinking: 5 };
    expect("usage", &trial.end()?.usage, &usage)?;
    expect("deltas", &trial.texts.len(), &4)?;
    Ok("4 deltas of 4".to_owned())
}
