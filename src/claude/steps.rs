//! The steps of a turn, as traces tell them: one behind the other, each a span below that of the request.

use tracing::{Span, info_span};

use crate::telemetry::TARGET;

/// Where a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waits for a place.
    Queue,
    /// It waits for a process.
    Claim,
    /// The conversation and the question are written.
    LayDown,
    /// It waits for the first text, thought or call.
    FirstDelta,
    /// The rest of the answer comes.
    Done,
}

/// The steps of one turn, below the span in which it was asked. Where nobody takes the spans they cost next to nothing.
#[derive(Debug)]
pub struct Steps {
    request: Span,
    step: Option<Step>,
    span: Span,
}

impl Steps {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self { request: Span::current(), step: None, span: Span::none() }
    }

    /// The turn is there now; the step before is over. Where it is there already, nothing changes.
    pub fn come_to(&mut self, step: Step) {
        if self.step == Some(step) {
            return;
        }
        self.step = Some(step);
        // The one before ends first.
        self.span = Span::none();
        let request = &self.request;
        self.span = match step {
            Step::Queue => info_span!(target: TARGET, parent: request, "queue"),
            Step::Claim => info_span!(target: TARGET, parent: request, "claim"),
            Step::LayDown => info_span!(target: TARGET, parent: request, "lay down"),
            Step::FirstDelta => info_span!(target: TARGET, parent: request, "first delta"),
            Step::Done => info_span!(target: TARGET, parent: request, "done"),
        };
    }

    /// A delta was passed on.
    pub fn note_delta(&mut self) {
        if self.step == Some(Step::FirstDelta) {
            self.come_to(Step::Done);
        }
    }

    /// The turn is over. What is done with its process afterwards does not hold up the span of the request.
    pub fn end(&mut self) {
        *self = Self { request: Span::none(), step: None, span: Span::none() };
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}
