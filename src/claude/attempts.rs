//! How often, and how, a turn is put to the model until it takes it.

use super::answer::{AnswerEnd, Usage};
use super::failure::TurnFailure;
use super::refusals::{Refusals, Refused, RefusedOfTurn};
use super::rendition::{Rendition, render};
use super::shaping::{Unfit, Unmet};
use super::sink::Stop;
use crate::turn::Turn;

/// The attempts at one turn. Each differs from the ones before it, so there are few.
pub(super) struct Attempts<'a> {
    refusals: &'a Refusals,
    turn: &'a Turn,
    /// What is refused, as far as that is known.
    refused: RefusedOfTurn,
    /// What turned out to be refused, but may still turn out to be something else.
    presumed: Vec<Refused>,
    /// The text of an answer that was wrong. There is one correction.
    missed: Option<String>,
    /// The tokens of all answers that were wrong.
    spent: Usage,
    number: usize,
}

/// What follows an attempt.
pub(super) enum Next {
    /// Another one.
    Again,
    /// Nothing.
    End(Result<AnswerEnd, Stop>),
}

impl<'a> Attempts<'a> {
    pub(super) fn new(refusals: &'a Refusals, turn: &'a Turn) -> Self {
        let (presumed, spent) = (Vec::new(), Usage::default());
        Self { refusals, turn, refused: refusals.of(turn), presumed, missed: None, spent, number: 0 }
    }

    /// How the turn is put this time.
    pub(super) fn rendition(&self) -> Rendition<'a> {
        let mut rendition = render(self.turn, &self.refused, self.missed.as_deref());
        rendition.shaping.spent = self.spent;
        rendition
    }

    /// Whether this is the first one.
    pub(super) fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Looks at how an attempt ended. Once the client has seen something of it there is no other.
    pub(super) fn next(
        &mut self,
        rendition: &Rendition<'_>,
        end: Result<AnswerEnd, Stop>,
        has_passed: bool,
    ) -> Next {
        self.number += 1;
        if end.is_ok() || has_passed {
            // It was taken without, so it was about that, and not about something of the client's that only sounds like it.
            for refused in self.presumed.drain(..) {
                self.refusals.note(self.turn, refused);
            }
        }
        let end = end.map_err(|stop| of_the_answer_tool(stop, rendition));
        let is_more = match &end {
            Ok(_) | Err(Stop::Gone) => false,
            Err(Stop::Failed(failure)) => {
                let refused = RefusedOfTurn::named_by(failure, &rendition.turn);
                !has_passed && refused.is_some_and(|refused| self.do_without(refused))
            }
            Err(Stop::Unfit(unfit)) => {
                self.spent = unfit.usage;
                self.mend(rendition, unfit, has_passed)
            }
        };
        if is_more { Next::Again } else { Next::End(end.map_err(|stop| self.in_terms_of_the_turn(stop))) }
    }

    /// What can be done about an answer that is not what was asked for.
    fn mend(&mut self, rendition: &Rendition<'_>, unfit: &Unfit, has_passed: bool) -> bool {
        let ignored = match &unfit.unmet {
            // A model that keeps to the form cannot begin like that.
            Unmet::OtherText => Refused::Format,
            Unmet::NotCalled if !rendition.is_reworded => Refused::ForcedChoice,
            Unmet::NotCalled if !has_passed && self.missed.is_none() => {
                self.missed = Some(unfit.said.clone());
                return true;
            }
            Unmet::Json(_) | Unmet::NotCalled => return false,
        };
        if has_passed {
            // Too late for this turn, but not for the next.
            self.refusals.note(self.turn, ignored);
            return false;
        }
        self.do_without(ignored)
    }

    /// Who asked for JSON and demanded no call gets to know of no call.
    fn in_terms_of_the_turn(&self, stop: Stop) -> Stop {
        let parameters = &self.turn.parameters;
        match stop {
            Stop::Unfit(unfit)
                if matches!(unfit.unmet, Unmet::NotCalled)
                    && parameters.format.is_some()
                    && !parameters.tool_choice.is_forced() =>
            {
                Unfit { unmet: Unmet::OtherText, ..*unfit }.into()
            }
            stop => stop,
        }
    }

    /// Puts the turn without something; `false` where that was done already.
    fn do_without(&mut self, refused: Refused) -> bool {
        if self.refused.has(refused) {
            return false;
        }
        tracing::debug!(?refused, "the model refuses this; the turn is put once more without");
        self.refused.add(refused);
        self.presumed.push(refused);
        true
    }
}

/// That the CLI or the API does not take the tool whose arguments are the answer says something of the schema, not of the
/// client's tools.
fn of_the_answer_tool(stop: Stop, rendition: &Rendition<'_>) -> Stop {
    let tool = rendition.shaping.json.as_ref().and_then(|json| json.tool.as_ref());
    let is_of_it = match (&stop, tool) {
        (Stop::Failed(TurnFailure::ToolsNotTaken { names }), Some(tool)) => names.contains(tool),
        (Stop::Failed(TurnFailure::Api { status: Some(400), sentence, .. }), Some(_)) => {
            // The API tells tools apart by their number.
            rendition.turn.tools.len() == 1 && sentence.contains("input_schema")
        }
        _ => false,
    };
    if is_of_it { TurnFailure::SchemaNotTaken.into() } else { stop }
}
