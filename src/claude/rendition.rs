//! How a turn is put to the model: as it is, or, where the model refuses a part of it, in another way that comes to the
//! same. Pure.
//!
//! | asked for | first way | where that is refused |
//! |---|---|---|
//! | temperature and its like | as it is | without, and the client is told |
//! | an answer of few tokens | as it is | without thinking, which has no room in it |
//! | stop strings | stop sequences; those of white space are looked for here | looked for here |
//! | a forced call | the API's `tool_choice` | words behind the question, and one correction |
//! | JSON of a schema | the API's `output_config.format` | a tool whose arguments are the answer, its call forced |

use std::borrow::Cow;

use super::refusals::{Refused, RefusedOfTurn, has_few_tokens};
use super::shaping::{CallDemand, JsonForm, Shaping};
use crate::turn::{
    AssistantBlock, CallsPerAnswer, Effort, Message, Parameter, Tool, ToolChoice, Turn, UserBlock, is_blank,
};

/// The name of the tool whose arguments are the answer, unless the client has one of that name.
const ANSWER_TOOL: &str = "StructuredOutput";

/// What the model reads of that tool.
const ANSWER_TOOL_DESCRIPTION: &str = "Gives the final answer. Its arguments are the answer, in the form the user \
     asked for. Call it exactly once, when the answer is complete, and do not write the answer as text.";

/// A turn as it is put to the model.
#[derive(Debug)]
pub struct Rendition<'a> {
    /// The turn.
    pub turn: Cow<'a, Turn>,
    /// What becomes of its answer.
    pub shaping: Shaping,
    /// Whether something stands in it that the client did not say, so that the conversation cannot go on from there.
    pub is_reworded: bool,
}

/// Puts a turn in a way that the model does not refuse; with `missed`, once more after an answer that was wrong, of
/// which that is the text.
#[must_use]
pub fn render<'a>(turn: &'a Turn, refused: &RefusedOfTurn, missed: Option<&str>) -> Rendition<'a> {
    let mut rendition =
        Rendition { turn: Cow::Borrowed(turn), shaping: Shaping::default(), is_reworded: false };
    leave_out(&mut rendition, refused);
    render_stops(&mut rendition, refused);
    render_format(&mut rendition, refused);
    render_choice(&mut rendition, refused, missed);
    rendition
}

/// Leaves out the parameters that the model refuses.
fn leave_out(rendition: &mut Rendition<'_>, refused: &RefusedOfTurn) {
    let does_not_think = refused.has(Refused::ThinkingInFewTokens) && has_few_tokens(&rendition.turn);
    let parameters = &rendition.turn.parameters;
    let top_p_of = parameters.top_p.is_some_and(|top_p| refused.has(Refused::TopPOf(top_p.to_bits())));
    let beside = refused.has(Refused::TopPBesideTemperature) && parameters.temperature.is_some();
    let effort_of = parameters.effort.is_some_and(|effort| refused.has(Refused::EffortOf(effort)));
    let is_refused = |parameter| refused.has(Refused::Parameter(parameter));
    let left_out: Vec<_> = [
        (parameters.temperature.is_some(), Parameter::Temperature, false),
        (parameters.top_p.is_some(), Parameter::TopP, beside || top_p_of),
        (parameters.top_k.is_some(), Parameter::TopK, false),
        (
            parameters.effort.is_some_and(|effort| effort != Effort::Off),
            Parameter::Effort,
            does_not_think || effort_of,
        ),
        (parameters.effort == Some(Effort::Off), Parameter::Effort, effort_of),
        (parameters.calls == CallsPerAnswer::One, Parameter::Calls, false),
    ]
    .into_iter()
    .filter(|(is_given, parameter, for_another_reason)| {
        *is_given && (*for_another_reason || is_refused(*parameter))
    })
    .map(|(_, parameter, _)| parameter)
    .collect();
    if left_out.is_empty() && !does_not_think {
        return;
    }
    let parameters = &mut rendition.turn.to_mut().parameters;
    for parameter in &left_out {
        match parameter {
            Parameter::Temperature => parameters.temperature = None,
            Parameter::TopP => parameters.top_p = None,
            Parameter::TopK => parameters.top_k = None,
            Parameter::Effort => parameters.effort = None,
            Parameter::Calls => parameters.calls = CallsPerAnswer::Any,
        }
    }
    if does_not_think {
        parameters.effort = Some(Effort::Off);
    }
    rendition.shaping.unheeded = left_out;
}

fn render_stops(rendition: &mut Rendition<'_>, refused: &RefusedOfTurn) {
    let stop = &rendition.turn.parameters.stop;
    if refused.has(Refused::StopSequences) && !stop.is_empty() {
        rendition.shaping.stops = std::mem::take(&mut rendition.turn.to_mut().parameters.stop);
    } else {
        // What the API gets of them: see `frame_in::settings`.
        rendition.shaping.stops = stop.iter().filter(|text| is_blank(text)).cloned().collect();
    }
}

fn render_format(rendition: &mut Rendition<'_>, refused: &RefusedOfTurn) {
    let Some(schema) = rendition.turn.parameters.format.clone() else { return };
    if rendition.turn.parameters.tool_choice.is_forced() && !rendition.turn.tools.is_empty() {
        // Then there is no text.
        rendition.turn.to_mut().parameters.format = None;
        return;
    }
    if !refused.has_format_of(&rendition.turn) {
        let has_tools = !rendition.turn.tools.is_empty();
        rendition.shaping.json = Some(JsonForm { schema, tool: None, has_tools });
        return;
    }
    let turn = rendition.turn.to_mut();
    let name = free_name(&turn.tools);
    let has_tools = !turn.tools.is_empty();
    turn.parameters.format = None;
    turn.parameters.tool_choice = match turn.parameters.tool_choice {
        // A call of any of the client's tools is as good.
        ToolChoice::Auto if !turn.tools.is_empty() => ToolChoice::Any,
        _ => ToolChoice::Tool(name.clone()),
    };
    if !refused.has(Refused::Parameter(Parameter::Calls)) {
        turn.parameters.calls = CallsPerAnswer::One;
    }
    turn.tools.push(Tool {
        name: name.clone(),
        description: ANSWER_TOOL_DESCRIPTION.to_owned(),
        schema: schema.as_arguments(),
    });
    rendition.shaping.json = Some(JsonForm { schema, tool: Some(name), has_tools });
}

fn free_name(tools: &[Tool]) -> String {
    let is_free = |name: &String| tools.iter().all(|tool| tool.name != *name);
    let numbered = (2..).map(|number| format!("{ANSWER_TOOL}{number}"));
    std::iter::once(ANSWER_TOOL.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

fn render_choice(rendition: &mut Rendition<'_>, refused: &RefusedOfTurn, missed: Option<&str>) {
    if rendition.turn.tools.is_empty() {
        return;
    }
    let answer_tool = rendition.shaping.json.as_ref().and_then(|json| json.tool.clone());
    let demand = match &rendition.turn.parameters.tool_choice {
        ToolChoice::Auto | ToolChoice::None => return,
        ToolChoice::Any => CallDemand::Any,
        ToolChoice::Tool(name) => CallDemand::Tool(name.clone()),
    };
    let is_in_words = refused.has(Refused::ForcedChoice);
    if is_in_words {
        let turn = rendition.turn.to_mut();
        turn.parameters.tool_choice = ToolChoice::Auto;
        demand_in_words(turn, &words(&demand, answer_tool.as_deref()), missed);
        rendition.is_reworded = true;
        rendition.shaping.holds = true;
    }
    rendition.shaping.calls = Some(demand);
}

/// What the model is told where the API cannot be asked to force it.
fn words(demand: &CallDemand, answer_tool: Option<&str>) -> String {
    match (demand, answer_tool) {
        (CallDemand::Any, Some(tool)) => format!(
            "Answer with a call of one of your tools: of `{tool}` with the final answer as its arguments, or of another \
             one that you need first. Do not answer in text."
        ),
        (CallDemand::Any, None) => {
            "Answer with a call of at least one of your tools. Do not answer in text.".to_owned()
        }
        (CallDemand::Tool(name), _) => {
            format!("Answer with a call of the tool `{name}`, and of no other one. Do not answer in text.")
        }
    }
}

/// Puts the demand behind the question, or, after an answer in text, that answer and the demand behind it.
fn demand_in_words(turn: &mut Turn, words: &str, missed: Option<&str>) {
    turn.question.push(UserBlock::Text(words.to_owned()));
    let Some(missed) = missed else { return };
    let correction = format!("This was not what was asked for. {words}");
    if is_blank(missed) {
        turn.question.push(UserBlock::Text(correction));
        return;
    }
    let question = std::mem::replace(&mut turn.question, vec![UserBlock::Text(correction)]);
    turn.history.push(Message::User(question));
    turn.history.push(Message::Assistant(vec![AssistantBlock::Text(missed.to_owned())]));
}

#[cfg(test)]
mod tests;
