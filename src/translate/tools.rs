//! The tools of a request, and how they may be used.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::chat_answer::CallForm;
use super::tool_choice::Chosen;
use crate::openai::chat_request::{ChatRequest, FunctionDefinition, ToolDefinition};
use crate::openai::error::ApiError;
use crate::turn::{CallsPerAnswer, Tool, ToolChoice};

/// OpenAI's limit on `tools` and `functions`.
const MAX_TOOLS: usize = 128;

/// OpenAI's limit on the name of a function, in characters.
const MAX_NAME: usize = 64;

/// The CLI leaves a tool of this name out of what it sends to the model, on every release from 2.1.197 to 2.1.329.
const NOT_OFFERED_BY_THE_CLI: &str = "ToolSearch";

/// What a request says of tools.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) offered: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) calls: CallsPerAnswer,
    pub(super) form: CallForm,
}

/// Takes the tools out of a request, in the newer form or the older one.
///
/// Choice and number of calls are left at their defaults where there is nothing to call: clients such as Cline send them
/// with every request, and Anthropic's API refuses a `tool_choice` without tools.
pub(super) fn take(request: &mut ChatRequest, adjusted: &mut Vec<&'static str>) -> Result<Tools, ApiError> {
    let chosen = Chosen::of(request)?;
    let tools = request.tools.take().unwrap_or_default();
    let functions = request.functions.take().unwrap_or_default();
    if !tools.is_empty() && !functions.is_empty() {
        let message = "'functions' is the older form of 'tools': a request may have one of them.";
        return Err(ApiError::invalid_request("functions", message).with_code("invalid_value"));
    }
    let (form, names, functions) = if functions.is_empty() {
        (CallForm::ToolCalls, &OF_TOOLS, functions_of(tools)?)
    } else {
        (CallForm::FunctionCall, &OF_FUNCTIONS, functions)
    };
    let mut offered = offered(names, functions, adjusted)?;
    let choice = chosen.among(&mut offered)?;
    if offered.is_empty() {
        return Ok(Tools { offered, choice: ToolChoice::Auto, calls: CallsPerAnswer::Any, form });
    }
    // The older form of an answer has room for one call.
    let one = request.parallel_tool_calls == Some(false) || form == CallForm::FunctionCall;
    let calls = if one { CallsPerAnswer::One } else { CallsPerAnswer::Any };
    Ok(Tools { offered, choice, calls, form })
}

/// What the fields are called that hold functions.
pub(super) struct FieldNames {
    list: &'static str,
    /// The largest number of functions.
    max: usize,
    /// Of a function, after its index.
    function: &'static str,
    /// Of the schema of its arguments.
    schema: &'static str,
    /// As it is reported when it is not honoured.
    strict: &'static str,
}

const OF_TOOLS: FieldNames = FieldNames {
    list: "tools",
    max: MAX_TOOLS,
    function: ".function",
    schema: "parameters",
    strict: "tools[].function.strict",
};
const OF_FUNCTIONS: FieldNames = FieldNames {
    list: "functions",
    max: MAX_TOOLS,
    function: "",
    schema: "parameters",
    strict: "functions[].strict",
};
/// The `tools` of Anthropic's wire, which knows no limit to their number.
pub(super) const OF_MESSAGES: FieldNames = FieldNames {
    list: "tools",
    max: usize::MAX,
    function: "",
    schema: "input_schema",
    strict: "tools[].strict",
};

fn functions_of(tools: Vec<ToolDefinition>) -> Result<Vec<FunctionDefinition>, ApiError> {
    let function = |(index, tool): (usize, ToolDefinition)| {
        if tool.r#type != "function" {
            let message = "Only tools of type 'function' are supported.";
            return Err(ApiError::invalid_request(format!("tools[{index}].type"), message)
                .with_code("unsupported_parameter"));
        }
        tool.function.ok_or_else(|| ApiError::missing_parameter(&format!("tools[{index}].function")))
    };
    tools.into_iter().enumerate().map(function).collect()
}

/// The functions as tools, if they can be offered.
pub(super) fn offered(
    fields: &FieldNames,
    functions: Vec<FunctionDefinition>,
    adjusted: &mut Vec<&'static str>,
) -> Result<Vec<Tool>, ApiError> {
    let list = fields.list;
    if functions.len() > fields.max {
        let message = format!("'{list}' may hold up to {} functions.", fields.max);
        return Err(ApiError::invalid_request(list, message).with_code("invalid_value"));
    }
    // The CLI has no place for it: the model keeps to the schema as well as it can.
    if functions.iter().any(|function| function.strict == Some(true)) {
        adjusted.push(fields.strict);
    }
    let mut names = HashSet::with_capacity(functions.len());
    let mut offered = Vec::with_capacity(functions.len());
    for (index, function) in functions.into_iter().enumerate() {
        let field = format!("{list}[{index}]{}", fields.function);
        let tool = tool(&field, fields.schema, function)?;
        if !names.insert(tool.name.clone()) {
            let message = "Each function must have a name of its own.";
            return Err(
                ApiError::invalid_request(format!("{field}.name"), message).with_code("invalid_value")
            );
        }
        offered.push(tool);
    }
    Ok(offered)
}

fn tool(field: &str, schema: &str, function: FunctionDefinition) -> Result<Tool, ApiError> {
    let name_field = format!("{field}.name");
    expect_name(&name_field, &function.name)?;
    if function.name == NOT_OFFERED_BY_THE_CLI {
        let message = format!(
            "The Claude Code CLI keeps the name '{NOT_OFFERED_BY_THE_CLI}' to itself: choose another one."
        );
        return Err(ApiError::invalid_request(name_field, message).with_code("invalid_value"));
    }
    let schema = self::schema(&format!("{field}.{schema}"), function.parameters)?;
    Ok(Tool { name: function.name, description: function.description.unwrap_or_default(), schema })
}

/// The schema of the arguments, as the client wrote it. Anthropic's API demands a `type`, OpenAI's does not.
fn schema(field: &str, parameters: Option<Map<String, Value>>) -> Result<Map<String, Value>, ApiError> {
    let object = || Value::from("object");
    let Some(mut schema) = parameters.map(without_nulls) else {
        let properties = Value::Object(Map::new());
        return Ok(Map::from_iter([("type".to_owned(), object()), ("properties".to_owned(), properties)]));
    };
    expect_form(field, &schema)?;
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => Ok(schema),
        None => {
            schema.shift_insert(0, "type".to_owned(), object());
            Ok(schema)
        }
        Some(_) => {
            let message =
                "The arguments of a function are an object: the type of their schema must be 'object'.";
            Err(ApiError::invalid_request(format!("{field}.type"), message).with_code("invalid_value"))
        }
    }
}

/// Null is absent, as everywhere in a request.
fn without_nulls(mut schema: Map<String, Value>) -> Map<String, Value> {
    schema.retain(|key, value| {
        !(value.is_null() && matches!(key.as_str(), "type" | "properties" | "required"))
    });
    schema
}

/// Refuses a schema whose form the CLI does not take: it would leave out all tools for it, without a word. (A schema that
/// is wrong further inside costs its own tool only, and is refused when the CLI tells which tools it has.)
fn expect_form(field: &str, schema: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong = |key: &str, what: &str| {
        let message = format!("The '{key}' of a function's parameters must be {what}.");
        Err(ApiError::invalid_request(format!("{field}.{key}"), message).with_code("invalid_value"))
    };
    let is_schema = |value: &Value| value.is_object() || value.is_boolean();
    match schema.get("properties") {
        None => {}
        Some(Value::Object(properties)) if properties.values().all(is_schema) => {}
        Some(_) => return wrong("properties", "an object of schemas"),
    }
    match schema.get("required") {
        None => Ok(()),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => Ok(()),
        Some(_) => wrong("required", "a list of names"),
    }
}

/// Refuses what OpenAI and Anthropic do not take for the name of a function.
pub(super) fn expect_name(field: &str, name: &str) -> Result<(), ApiError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    let message = format!("A function's name must be 1 to {MAX_NAME} letters, digits, '_' and '-'.");
    Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
}

#[cfg(test)]
mod tests;
