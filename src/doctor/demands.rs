//! What is demanded of an answer: JSON of a schema, a call, parameters that the model may refuse.

use serde_json::{Value, json};

use super::laboratory::{Laboratory, expect, question};
use super::tools::two_tools;
use super::{Check, Finding};
use crate::answer_schema::AnswerSchema;
use crate::turn::{Effort, Parameters, ToolChoice, Turn};

pub(super) const CHECKS: [Check; 4] = [
    Check {
        name: "schema of the text",
        needs: "a schema reaches the API as the form of the text, beside the effort",
        run: |lab| Box::pin(schema_of_the_text(lab)),
    },
    Check {
        name: "schema of a tool",
        needs: "where the API refuses that, it reaches it as a tool's, whose call is forced",
        run: |lab| Box::pin(schema_of_a_tool(lab)),
    },
    Check {
        name: "forced call",
        needs: "a demanded call reaches the API",
        run: |lab| Box::pin(forced_call(lab)),
    },
    Check {
        name: "refused parameter",
        needs: "a refusal of the API is told in its words, so that the turn can be put without",
        run: |lab| Box::pin(refused_parameter(lab)),
    },
];

/// A model of its own for each check that has something refused: it is remembered.
const REFUSING: &str = "claude-refusing-";

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false})
}

fn demanding(text: &str) -> Result<Turn, String> {
    let Value::Object(schema) = schema() else { return Err("no schema".to_owned()) };
    let format = AnswerSchema::new(schema).map_err(|error| error.to_string())?;
    let parameters = Parameters { format: Some(format), effort: Some(Effort::High), ..Parameters::default() };
    Ok(Turn { parameters, ..question(text) })
}

async fn schema_of_the_text(lab: &Laboratory) -> Finding {
    let trial = lab.ask(demanding(r#"[[say "{\"a\":1}"]]"#)?).await;
    trial.end()?;
    let asked = trial.request()?;
    let format = json!({"type": "json_schema", "schema": schema()});
    expect("format", &asked.field("output_config.format"), &Some(&format))?;
    expect("effort", &asked.field("output_config.effort"), &Some(&json!("high")))?;
    Ok("both".to_owned())
}

async fn schema_of_a_tool(lab: &Laboratory) -> Finding {
    let text = r#"[[refuse output_config.format]][[tool StructuredOutput {"a":1}]]"#;
    let turn = Turn { model: format!("{REFUSING}format"), ..demanding(text)? };
    let trial = lab.ask(turn).await;
    trial.end()?;
    expect("text", &trial.texts.concat(), &r#"{"a":1}"#.to_owned())?;
    let asked = trial.requests.last().ok_or("the API was not asked")?.asked();
    expect("schema", &asked.field("tools.0.input_schema"), &Some(&schema()))?;
    expect("tool_choice", &asked.field("tool_choice.name"), &Some(&json!("StructuredOutput")))?;
    Ok("its arguments are the text".to_owned())
}

async fn forced_call(lab: &Laboratory) -> Finding {
    for (tool_choice, expected) in [
        (ToolChoice::Any, json!({"type": "any"})),
        (ToolChoice::Tool("f".to_owned()), json!({"type": "tool", "name": "f"})),
    ] {
        let parameters = Parameters { tool_choice, ..Parameters::default() };
        let turn = Turn { tools: two_tools(), parameters, ..question("[[tool f {}]]") };
        let trial = lab.ask(turn).await;
        trial.end()?;
        expect("tool_choice", &trial.request()?.field("tool_choice"), &Some(&expected))?;
    }
    Ok("any, and a certain one".to_owned())
}

async fn refused_parameter(lab: &Laboratory) -> Finding {
    let parameters = Parameters { temperature: Some(0.5), ..Parameters::default() };
    let text = "[[words 1]][[refuse temperature `temperature` is not for this model.]]";
    let model = format!("{REFUSING}temperature");
    let trial = lab.ask(Turn { model, parameters, ..question(text) }).await;
    trial.end()?;
    let refused =
        trial.requests.iter().filter(|request| request.asked().field("temperature").is_some()).count();
    let asked = trial.requests.last().ok_or("the API was not asked")?.asked();
    expect("temperature", &asked.field("temperature"), &None)?;
    Ok(format!("put without after {refused} requests"))
}
