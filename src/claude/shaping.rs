//! What of an answer reaches the client, and whether it is what was asked for. A state machine without I/O, between the
//! events of the model and those of the client.

use super::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use super::stop_strings::{Looked, StopStrings};
use crate::answer_schema::{AnswerSchema, Mismatch};
use crate::turn::Parameter;

/// What is to become of an answer.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Shaping {
    /// Parameters that the model was asked without.
    pub unheeded: Vec<Parameter>,
    /// Stop strings that are looked for here.
    pub stops: Vec<String>,
    /// The text is JSON.
    pub json: Option<JsonForm>,
    /// Tools must be called.
    pub calls: Option<CallDemand>,
    /// Not even thinking is shown before the demand is met, so that the turn can be put once more.
    pub holds: bool,
    /// Tokens that earlier answers to the turn cost.
    pub spent: Usage,
}

/// JSON as an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonForm {
    /// What it must keep to.
    pub schema: AnswerSchema,
    /// The tool whose arguments are the answer, where that is the way; else it is the text.
    pub tool: Option<String>,
    /// Whether there are tools beside that one, so that text may be said before a call.
    pub has_tools: bool,
}

/// Which tools must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallDemand {
    /// One of them at least.
    Any,
    /// That one.
    Tool(String),
}

/// How an answer is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Unmet {
    /// Without the call that was demanded.
    #[error("the model did not call a tool")]
    NotCalled,
    /// A text that does not even begin as JSON does.
    #[error("the model's answer is not of the form that was asked for: it is not JSON")]
    OtherText,
    /// No JSON, or JSON that does not match.
    #[error("the model's answer is not of the form that was asked for: {0}")]
    Json(#[source] Mismatch),
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub struct Unfit {
    /// How.
    pub unmet: Unmet,
    /// The text of it, as far as it was held back.
    pub said: String,
    /// What it has cost, and what earlier answers to the turn have.
    pub usage: Usage,
}

/// What is to be done after an event.
#[derive(Debug)]
pub enum Shaped {
    /// Pass nothing on.
    Nothing,
    /// Pass this on.
    Event(AnswerEvent),
    /// Pass these on.
    Events(Vec<AnswerEvent>),
    /// Pass these on; there the answer ends, with this stop string, whatever the model goes on to say.
    Cut(Vec<AnswerEvent>, String),
    /// It is nothing that could become what was asked for.
    Unfit(Unfit),
}

/// Shapes one answer.
#[derive(Debug)]
pub struct Shaper {
    shaping: Shaping,
    stops: StopStrings,
    /// What is held until the demand is met.
    held: Option<Vec<AnswerEvent>>,
    /// The text of the answer, where it must be looked at.
    text: String,
    /// The arguments that are the answer, once they begin.
    arguments: Option<String>,
    /// To whom the arguments that come belong.
    call: Call,
    /// Whether a call reached the client.
    has_called: bool,
    /// Whether the demanded tool was called.
    has_met_demand: bool,
    /// Whether a call was kept from the client.
    has_dropped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// To nobody.
    None,
    /// To the client.
    OfClient,
    /// They are the answer.
    OfAnswer,
    /// It was not to be called.
    Unwanted,
}

impl Shaper {
    /// For one answer.
    #[must_use]
    pub fn new(shaping: Shaping) -> Self {
        let stops = StopStrings::new(shaping.stops.clone());
        let holds = shaping.holds || shaping.json.is_some() || shaping.calls.is_some();
        Self {
            stops,
            held: holds.then(Vec::new),
            text: String::new(),
            arguments: None,
            call: Call::None,
            has_called: false,
            has_met_demand: false,
            has_dropped: false,
            shaping,
        }
    }

    /// Takes the next event of the model; not its end.
    pub fn on(&mut self, event: AnswerEvent) -> Shaped {
        match event {
            AnswerEvent::Started { model, usage, .. } => {
                let unheeded = self.shaping.unheeded.clone();
                let usage = self.shaping.spent.plus(usage);
                self.pass_or_hold(AnswerEvent::Started { model, usage, unheeded })
            }
            AnswerEvent::Text(text) => self.on_text(text),
            AnswerEvent::ToolCall { id, name } => self.on_call(id, name),
            AnswerEvent::ToolArguments(piece) => self.on_arguments(piece),
            // A piece of thinking does not show yet whether the answer will do.
            AnswerEvent::Reasoning(_) | AnswerEvent::Signature(_) if self.shaping.holds => {
                self.pass_or_hold(event)
            }
            AnswerEvent::Reasoning(_) | AnswerEvent::Signature(_) => self.release_with(event),
            AnswerEvent::Ended(_) => Shaped::Nothing,
        }
    }

    fn on_text(&mut self, text: String) -> Shaped {
        match &self.shaping.json {
            None if self.shaping.calls.is_some() && !self.has_met_demand => {
                // Stop strings end nothing here: the call is what was asked for.
                self.text.push_str(&text);
                self.pass_or_hold(AnswerEvent::Text(text))
            }
            None if self.stops.is_empty() => Shaped::Event(AnswerEvent::Text(text)),
            None => self.on_free_text(&text),
            Some(JsonForm { tool: Some(_), .. }) => {
                self.text.push_str(&text);
                Shaped::Nothing
            }
            Some(JsonForm { tool: None, .. }) => self.on_json(text),
        }
    }

    fn on_free_text(&mut self, text: &str) -> Shaped {
        let Looked { text, stop } = self.stops.look(text);
        let event = (!text.is_empty()).then_some(AnswerEvent::Text(text));
        match stop {
            Some(stop) => Shaped::Cut(event.into_iter().collect(), stop),
            None => event.map_or(Shaped::Nothing, Shaped::Event),
        }
    }

    /// A piece of text that is JSON, unless the model does not keep to it, which shows at its first letter.
    fn on_json(&mut self, text: String) -> Shaped {
        self.text.push_str(&text);
        if !begins_as_json(&self.text) {
            let has_tools = self.shaping.json.as_ref().is_some_and(|json| json.has_tools);
            let unfit = Unfit { unmet: Unmet::OtherText, said: String::new(), usage: self.shaping.spent };
            return if has_tools { Shaped::Nothing } else { Shaped::Unfit(unfit) };
        }
        if self.text.trim_start_matches(JSON_SPACE).len() < TELLING {
            return self.pass_or_hold(AnswerEvent::Text(text));
        }
        self.release_with(AnswerEvent::Text(text))
    }

    fn on_call(&mut self, id: String, name: String) -> Shaped {
        if self.shaping.json.as_ref().is_some_and(|json| json.tool.as_ref() == Some(&name)) {
            self.call = Call::OfAnswer;
            self.arguments.get_or_insert_default();
            self.has_met_demand = true;
            return self.release();
        }
        let is_demanded = match &self.shaping.calls {
            None | Some(CallDemand::Any) => true,
            Some(CallDemand::Tool(tool)) => *tool == name,
        };
        if !is_demanded {
            self.call = Call::Unwanted;
            self.has_dropped = true;
            return Shaped::Nothing;
        }
        self.call = Call::OfClient;
        self.has_met_demand = true;
        self.has_called = true;
        let rest = self.stops.flush();
        let rest = (!rest.is_empty()).then_some(AnswerEvent::Text(rest));
        let mut events = self.held.take().unwrap_or_default();
        events.extend(rest);
        events.push(AnswerEvent::ToolCall { id, name });
        Shaped::Events(events)
    }

    fn on_arguments(&mut self, piece: String) -> Shaped {
        match self.call {
            Call::OfClient => Shaped::Event(AnswerEvent::ToolArguments(piece)),
            Call::OfAnswer => {
                self.arguments.get_or_insert_default().push_str(&piece);
                let is_wrapped = self.shaping.json.as_ref().is_some_and(|json| json.schema.is_wrapped());
                if is_wrapped { Shaped::Nothing } else { Shaped::Event(AnswerEvent::Text(piece)) }
            }
            Call::None | Call::Unwanted => Shaped::Nothing,
        }
    }

    /// Takes the model's end: what is still to be passed on, and the end for the client.
    ///
    /// # Errors
    /// When the answer is not what was asked for.
    pub fn end(&mut self, mut end: AnswerEnd) -> Result<(Vec<AnswerEvent>, AnswerEnd), Unfit> {
        let own = end.usage;
        end.usage = self.shaping.spent.plus(own);
        // Of an answer that was cut short or declined nothing can be asked.
        let is_whole =
            !matches!(end.reason, StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Refusal);
        let unfit = |unmet, text: &mut String| Unfit { unmet, said: std::mem::take(text), usage: end.usage };
        if self.shaping.calls.is_some() && !self.has_met_demand && is_whole && self.shaping.json.is_none() {
            return Err(unfit(Unmet::NotCalled, &mut self.text));
        }
        let mut events = self.held.take().unwrap_or_default();
        let rest = self.stops.flush();
        events.extend((!rest.is_empty()).then_some(AnswerEvent::Text(rest)));
        let Some(JsonForm { schema, tool, .. }) = &self.shaping.json else { return Ok((events, end)) };
        if end.reason == StopReason::ToolUse && !self.has_called {
            end.reason = StopReason::EndTurn;
        }
        match tool {
            // Calls of the client's tools come first; what was said beside them is no answer yet.
            _ if self.has_called || !is_whole => Ok((events, end)),
            Some(_) if self.arguments.is_some() => {
                let arguments = self.arguments.as_deref().unwrap_or_default();
                let answer = if schema.is_wrapped() {
                    AnswerSchema::unwrapped(arguments).ok_or(Mismatch::NotJson)
                } else {
                    Ok(arguments)
                };
                let checked = answer.and_then(|answer| schema.check(answer).map(|()| answer));
                match checked {
                    Ok(answer) if schema.is_wrapped() => events.push(AnswerEvent::Text(answer.to_owned())),
                    Ok(_) => {}
                    Err(mismatch) => return Err(unfit(Unmet::Json(mismatch), &mut self.text)),
                }
                Ok((events, end))
            }
            // It may have answered in the right form, though not in the way that was asked for.
            Some(_) => match schema.check(without_fence(&self.text)) {
                Ok(()) => {
                    events.push(AnswerEvent::Text(without_fence(&self.text).to_owned()));
                    Ok((events, end))
                }
                Err(_) => Err(unfit(Unmet::NotCalled, &mut self.text)),
            },
            None => match schema.check(&self.text) {
                Ok(()) => Ok((events, end)),
                Err(_) if !begins_as_json(&self.text) => Err(unfit(Unmet::OtherText, &mut self.text)),
                Err(mismatch) => Err(unfit(Unmet::Json(mismatch), &mut self.text)),
            },
        }
    }

    /// Whether its end takes a look at the whole answer.
    #[must_use]
    pub fn checks(&self) -> bool {
        self.shaping.json.is_some()
    }

    /// Whether the client has not seen all of what the model said, or in another form: then it will not send it back like
    /// that.
    #[must_use]
    pub fn has_altered(&self) -> bool {
        match &self.shaping.json {
            _ if self.has_dropped => true,
            None => false,
            Some(JsonForm { tool: Some(_), .. }) => self.arguments.is_some() || !self.text.is_empty(),
            Some(JsonForm { tool: None, .. }) => !begins_as_json(&self.text),
        }
    }

    fn pass_or_hold(&mut self, event: AnswerEvent) -> Shaped {
        match &mut self.held {
            Some(held) => {
                held.push(event);
                Shaped::Nothing
            }
            None => Shaped::Event(event),
        }
    }

    fn release(&mut self) -> Shaped {
        self.held.take().map_or(Shaped::Nothing, Shaped::Events)
    }

    fn release_with(&mut self, event: AnswerEvent) -> Shaped {
        match self.held.take() {
            None => Shaped::Event(event),
            Some(mut events) => {
                events.push(event);
                Shaped::Events(events)
            }
        }
    }
}

/// White space, as JSON has it.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// With so many bytes a text shows whether it is JSON: `1. First` and `no, ` begin like it.
const TELLING: usize = 4;

/// Whether a text begins as JSON does, or is blank so far.
fn begins_as_json(text: &str) -> bool {
    let text = text.trim_start_matches(JSON_SPACE);
    let telling = text.char_indices().find(|(at, _)| *at >= TELLING).map_or(text.len(), |(at, _)| at);
    match serde_json::from_str::<serde::de::IgnoredAny>(&text[..telling]) {
        Ok(_) => true,
        // It is the end that is missing.
        Err(error) => error.is_eof(),
    }
}

/// A text without the code fence that models like to put around JSON.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inside.map_or(text, |inside| inside.strip_prefix("json").unwrap_or(inside).trim())
}

#[cfg(test)]
mod tests;
