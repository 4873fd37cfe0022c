//! A turn's model and parameters, as settings of the CLI.

use serde_json::{Map, Value, json};

use crate::turn::{CallsPerAnswer, Effort, Parameters, ToolChoice, Turn, is_blank};

/// The settings that bring a turn's model and parameters to the API.
///
/// `model` is an alias or a full id; any text is taken, and an unknown model fails at the API. (The control request
/// `set_model` would do too, but for a model that the CLI does not list it first sends a request of its own, "Hi" with one
/// token to answer: a round trip, and tokens nobody counts.)
/// `CLAUDE_CODE_EXTRA_BODY` is merged into the top level of the request body; `CLAUDE_CODE_MAX_OUTPUT_TOKENS` sets
/// `max_tokens`; `effortLevel` sets `output_config.effort`.
#[must_use]
pub fn flag_settings(turn: &Turn) -> Value {
    let mut settings = Map::new();
    settings.insert("model".to_owned(), turn.model.as_str().into());
    let env: Map<_, _> = environment(turn)
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value.into())))
        .collect();
    if !env.is_empty() {
        settings.insert("env".to_owned(), Value::Object(env));
    }
    if let Some(effort) = turn.parameters.effort {
        settings.insert("effortLevel".to_owned(), effort_level(effort).into());
    }
    Value::Object(settings)
}

/// The settings that bring a model and nothing else to the API.
#[must_use]
pub fn model_only(model: &str) -> Value {
    json!({"model": model})
}

/// Whether a process that has this model, and no parameters, needs no settings for the turn.
#[must_use]
pub fn is_all(turn: &Turn, model: &str) -> bool {
    flag_settings(turn) == model_only(model)
}

/// The settings for the next turn of a process that was set up, or last asked, with the parameters `before`; `None` where
/// nothing changes. What is absent now is taken back.
///
/// The model stays: a change of it makes the CLI put a notice of its own (`/model`) into the conversation. So does
/// whether it thinks at all: in the middle of a parked turn that cannot be undone. Both are part of a conversation's key.
#[must_use]
pub fn changed_settings(before: &Parameters, turn: &Turn) -> Option<Value> {
    if *before == turn.parameters {
        return None;
    }
    let env: Map<_, _> = environment(turn)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().into()))
        .collect();
    let effort = turn.parameters.effort.map(effort_level);
    Some(json!({"env": env, "effortLevel": effort}))
}

/// The variables that hold parameters, each with its value where it has one.
fn environment(turn: &Turn) -> [(&'static str, Option<String>); 2] {
    let parameters = &turn.parameters;
    let mut body = Map::new();
    if let Some(temperature) = parameters.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = parameters.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
    if let Some(top_k) = parameters.top_k {
        body.insert("top_k".to_owned(), json!(top_k));
    }
    // The API takes none of nothing but white space.
    let stop: Vec<_> = parameters.stop.iter().filter(|text| !is_blank(text)).collect();
    if !stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(stop));
    }
    if let Some(format) = &parameters.format {
        // The CLI adds the effort to it.
        body.insert(
            "output_config".to_owned(),
            json!({"format": {"type": "json_schema", "schema": format.schema()}}),
        );
    }
    // The API takes a choice only with something to choose from.
    if !turn.tools.is_empty() {
        body.extend(tool_choice(parameters).map(|choice| ("tool_choice".to_owned(), choice)));
    }
    let body = (!body.is_empty()).then(|| Value::Object(body).to_string());
    let max_tokens = parameters.max_tokens.map(|tokens| tokens.to_string());
    [("CLAUDE_CODE_EXTRA_BODY", body), ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", max_tokens)]
}

fn tool_choice(parameters: &Parameters) -> Option<Value> {
    let one = parameters.calls == CallsPerAnswer::One;
    let mut choice = match &parameters.tool_choice {
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Auto if !one => return None,
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::Any => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
    };
    if one {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn effort_level(effort: Effort) -> &'static str {
    match effort {
        // Models that always think get the least of it.
        Effort::Off | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}
