//! A request to `/v1/messages` becomes a [`Turn`].

use super::chat_request::in_range;
use super::messages_history::{self, invalid, required, unsupported};
use super::stop;
use super::tools::{self, OF_MESSAGES};
use super::turns::Conversation;
use crate::answer_schema::AnswerSchema;
use crate::anthropic::messages_request::{
    MessagesRequest, OutputConfig, OutputFormat, Thinking, ToolChoice as Chosen, ToolDefinition,
};
use crate::openai::chat_request::FunctionDefinition;
use crate::openai::error::ApiError;
use crate::turn::{
    CallsPerAnswer, Effort, MediaSource, Parameter, Parameters, Tool, ToolChoice, Turn, is_blank,
};

/// The smallest budget of thinking that Anthropic's API takes, in tokens.
const MIN_BUDGET: u32 = 1024;

/// The most stop sequences. Anthropic tells no limit; who needs more than this is not known.
const MAX_STOP: usize = 64;

/// A translated request.
#[derive(Debug, PartialEq)]
pub struct Translated {
    /// What is asked, its images and files as they came.
    pub turn: Turn<MediaSource>,
    /// Fields that were read, but are honoured in part or not at all.
    pub adjusted: Vec<&'static str>,
}

/// What a field of a chat completion request is called here, where that is something else.
#[must_use]
pub fn sent_as(field: &str) -> Option<String> {
    let sent = match field {
        "response_format" => "output_config.format",
        "tools[].function.description" => "tools[].description",
        _ => return None,
    };
    Some(sent.to_owned())
}

/// What a parameter is called here.
#[must_use]
pub fn name_of(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Temperature => "temperature",
        Parameter::TopP => "top_p",
        Parameter::TopK => "top_k",
        Parameter::Effort => "output_config.effort",
        Parameter::Calls => "tool_choice.disable_parallel_tool_use",
    }
}

/// Translates a request for an answer. The model stays as the client named it.
///
/// # Errors
/// 400 that names the field, for what is wrong and for what Couplet cannot do.
pub fn turn(request: MessagesRequest) -> Result<Translated, ApiError> {
    match request.max_tokens {
        None => Err(ApiError::missing_parameter("max_tokens")),
        Some(0) => Err(invalid("max_tokens", "'max_tokens' must be at least 1.")),
        Some(_) => to_be_counted(request),
    }
}

/// Translates a request for the number of its tokens: the same, but no answer is asked for, so there need be no
/// `max_tokens`.
///
/// # Errors
/// As [`turn`].
pub fn to_be_counted(request: MessagesRequest) -> Result<Translated, ApiError> {
    if request.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty()) {
        let message = "Couplet calls no MCP servers: give their tools in 'tools' and call them yourself.";
        return Err(unsupported("mcp_servers", message));
    }
    if request.model.trim().is_empty() {
        return Err(invalid("model", "'model' must name a model."));
    }
    let mut adjusted = Vec::new();
    let thinking = thinking(request.thinking, request.max_tokens)?;
    let OutputConfig { effort, format } =
        request.output_config.unwrap_or(OutputConfig { effort: None, format: None });
    let effort = effort.map(|name| self::effort(&name)).transpose()?;
    if thinking.effort.is_some() && effort.is_some() {
        // The CLI's one switch turns thinking off or tells how hard to think.
        adjusted.push("output_config.effort");
    }
    let format = match format {
        Some(format) => Some(schema("output_config.format", format)?),
        None => request.output_format.map(|format| schema("output_format", format)).transpose()?,
    };
    let tools = offered(request.tools.unwrap_or_default(), &mut adjusted)?;
    let (tool_choice, calls) = choice(request.tool_choice, &tools)?;
    let stop = stop(request.stop_sequences)?;
    let parameters = Parameters {
        max_tokens: request.max_tokens,
        stop: stop::unless_formed(
            "stop_sequences",
            stop,
            format.is_some() || tool_choice.is_forced(),
            &mut adjusted,
        ),
        temperature: in_range("temperature", request.temperature, 1.0)?,
        top_p: in_range("top_p", request.top_p, 1.0)?,
        top_k: request.top_k,
        effort: thinking.effort.or(effort),
        thinking_budget: thinking.budget,
        format,
        tool_choice,
        calls,
        is_last: false,
    };
    let Conversation { system, history, question } =
        messages_history::conversation(request.system, request.messages)?;
    let turn = Turn { model: request.model, system, history, question, tools, parameters };
    Ok(Translated { turn, adjusted })
}

/// What `thinking` asks for.
#[derive(Default)]
struct Asked {
    /// [`Effort::Off`] or nothing.
    effort: Option<Effort>,
    budget: Option<u32>,
}

fn thinking(thinking: Option<Thinking>, max_tokens: Option<u32>) -> Result<Asked, ApiError> {
    let Some(thinking) = thinking else { return Ok(Asked::default()) };
    match thinking.r#type.as_str() {
        "disabled" => Ok(Asked { effort: Some(Effort::Off), budget: None }),
        "adaptive" => Ok(Asked::default()),
        "enabled" => {
            const FIELD: &str = "thinking.budget_tokens";
            let budget = required(thinking.budget_tokens, "thinking", "budget_tokens")?;
            if budget < MIN_BUDGET {
                return Err(invalid(FIELD, &format!("'{FIELD}' must be at least {MIN_BUDGET}.")));
            }
            if max_tokens.is_some_and(|max| max <= budget) {
                return Err(invalid(FIELD, &format!("'{FIELD}' must be less than 'max_tokens'.")));
            }
            Ok(Asked { effort: None, budget: Some(budget) })
        }
        _ => Err(invalid("thinking.type", "'thinking.type' must be 'enabled', 'disabled' or 'adaptive'.")),
    }
}

fn effort(name: &str) -> Result<Effort, ApiError> {
    let known = Effort::from_name(name).filter(|effort| effort.name() == name && *effort != Effort::Off);
    known.ok_or_else(|| {
        let message = "'output_config.effort' must be 'low', 'medium', 'high', 'xhigh' or 'max'.";
        invalid("output_config.effort", message)
    })
}

fn schema(field: &str, format: OutputFormat) -> Result<AnswerSchema, ApiError> {
    if format.r#type != "json_schema" {
        return Err(invalid(format!("{field}.type"), &format!("'{field}.type' must be 'json_schema'.")));
    }
    let schema = required(format.schema, field, "schema")?;
    AnswerSchema::new(schema).map_err(|error| {
        invalid(format!("{field}.schema"), &format!("'{field}.schema' is no valid JSON Schema: {error}."))
    })
}

fn stop(texts: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let texts = texts.unwrap_or_default();
    stop::expect_few("stop_sequences", &texts, MAX_STOP)?;
    match texts.iter().position(|text| is_blank(text)) {
        Some(index) => {
            let field = format!("stop_sequences[{index}]");
            Err(invalid(&*field, &format!("'{field}' must hold more than white space.")))
        }
        None => Ok(texts),
    }
}

fn offered(tools: Vec<ToolDefinition>, adjusted: &mut Vec<&'static str>) -> Result<Vec<Tool>, ApiError> {
    let function = |(index, tool): (usize, ToolDefinition)| {
        let field = format!("tools[{index}]");
        if tool.r#type.is_some_and(|kind| kind != "custom") {
            let message = "Only tools of type 'custom' are supported: Anthropic's own tools run where Couplet has none.";
            return Err(unsupported(format!("{field}.type"), message));
        }
        let name = required(tool.name, &field, "name")?;
        let parameters = Some(required(tool.input_schema, &field, "input_schema")?);
        Ok(FunctionDefinition { name, description: tool.description, parameters, strict: tool.strict })
    };
    let functions = tools.into_iter().enumerate().map(function).collect::<Result<_, _>>()?;
    tools::offered(&OF_MESSAGES, functions, adjusted)
}

fn choice(chosen: Option<Chosen>, tools: &[Tool]) -> Result<(ToolChoice, CallsPerAnswer), ApiError> {
    let Some(chosen) = chosen else { return Ok((ToolChoice::Auto, CallsPerAnswer::Any)) };
    let choice = match chosen.r#type.as_str() {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" => ToolChoice::Any,
        "tool" => {
            let name = required(chosen.name, "tool_choice", "name")?;
            if tools.iter().all(|tool| tool.name != name) {
                return Err(invalid(
                    "tool_choice.name",
                    "'tool_choice.name' must be that of one of the 'tools'.",
                ));
            }
            ToolChoice::Tool(name)
        }
        _ => {
            return Err(invalid(
                "tool_choice.type",
                "'tool_choice.type' must be 'auto', 'any', 'tool' or 'none'.",
            ));
        }
    };
    if tools.is_empty() {
        return match choice {
            // As on the other endpoints: it forbids nothing that there is.
            ToolChoice::Auto | ToolChoice::None => Ok((ToolChoice::Auto, CallsPerAnswer::Any)),
            ToolChoice::Any | ToolChoice::Tool(_) => {
                Err(invalid("tool_choice", "A tool can be chosen only where there are 'tools'."))
            }
        };
    }
    let one = chosen.disable_parallel_tool_use == Some(true) && choice != ToolChoice::None;
    Ok((choice, if one { CallsPerAnswer::One } else { CallsPerAnswer::Any }))
}

#[cfg(test)]
mod tests;
