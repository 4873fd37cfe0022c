//! What a turn was let in with, and how it is settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clock::day_of;
use super::estimate::Estimate;
use super::limiter::{Inner, Share, lock_all};
use super::meter::Hold;
use crate::caller::{Caller, CallerId, TenantName};
use crate::claude::answer::{AnswerEvent, Usage};
use crate::claude::failure::TurnFailure;
use crate::claude::sink::OriginCell;
use crate::store::usage::{Amounts, UsageKey, UsageRow};

/// Bytes of text that one token of an answer has at most, as a rule.
const BYTES_A_TOKEN: u64 = 4;

/// What the model is called in the accounts that did not come to name itself.
const NAMELESS: &str = "unknown";

/// Lets one turn run. It is settled when the answer ends, with what the model says it took; dropped before, with what is known
/// by then: so whoever leaves just before the end has not got round his limits.
#[derive(Debug)]
pub struct Permit {
    turns: Arc<Turns>,
    /// One for each of the shares.
    holds: Vec<Hold>,
    /// What was reserved, if anything is taken at all.
    estimate: Option<Estimate>,
    /// Tells whether a process was given the turn.
    origin: Option<Arc<OriginCell>>,
    /// What the model said when it began.
    began: Option<(Arc<str>, Usage)>,
    /// How much it has said.
    bytes: u64,
    is_settled: bool,
}

/// What the turns of one request have in common.
#[derive(Debug)]
pub(super) struct Turns {
    limiter: Arc<Inner>,
    id: CallerId,
    name: Arc<str>,
    tenant: TenantName,
    shares: Vec<Share>,
    /// Whether the request is in the accounts: with several answers it is one nevertheless.
    is_counted: AtomicBool,
}

impl Turns {
    pub(super) fn new(limiter: Arc<Inner>, caller: &Caller, shares: Vec<Share>) -> Self {
        Self {
            limiter,
            id: caller.id.clone(),
            name: Arc::clone(&caller.name),
            tenant: caller.tenant.clone(),
            shares,
            is_counted: AtomicBool::new(false),
        }
    }

    /// Gives back what the turn holds, and books what it took.
    fn settle(&self, holds: &[Hold], used: Option<(Arc<str>, Usage)>) {
        let usage = used.as_ref().map(|(_, usage)| *usage).unwrap_or_default();
        let mut amounts = Amounts {
            requests: 0,
            input: usage.input,
            cache_creation: usage.cache_creation,
            cache_read: usage.cache_read,
            output: usage.output,
        };
        let now = self.limiter.now();
        let mut meters = lock_all(&self.shares);
        for (meter, hold) in meters.iter_mut().zip(holds) {
            meter.end_turn(hold, now, amounts.tokens());
        }
        if let Some((model, _)) = used {
            amounts.requests = u64::from(!self.is_counted.swap(true, Ordering::Relaxed));
            let key = UsageKey {
                day: day_of(now.calendar),
                caller: self.id.clone(),
                tenant: self.tenant.clone(),
                model,
            };
            // Before the locks are given back: see `Limiter::learn_usage`.
            self.limiter.accounts.add(UsageRow { key, caller_name: Arc::clone(&self.name), amounts });
        }
        drop(meters);
    }
}

impl Permit {
    pub(super) fn new(turns: Arc<Turns>, holds: Vec<Hold>, estimate: Option<Estimate>) -> Self {
        Self { turns, holds, estimate, origin: None, began: None, bytes: 0, is_settled: false }
    }

    /// The model was asked: `origin` tells when a process has the turn.
    pub fn asked(&mut self, origin: Arc<OriginCell>) {
        self.origin = Some(origin);
    }

    /// An event of the answer passed by. At the answer's end it is settled.
    pub fn event(&mut self, event: &AnswerEvent) {
        match event {
            AnswerEvent::Started { model, usage, .. } => self.began = Some((model.as_str().into(), *usage)),
            AnswerEvent::Text(text)
            | AnswerEvent::Reasoning(text)
            | AnswerEvent::Signature(text)
            | AnswerEvent::ToolArguments(text) => self.bytes += text.len() as u64,
            AnswerEvent::ToolCall { name, .. } => self.bytes += name.len() as u64,
            AnswerEvent::Ended(end) => {
                let model = self.began.take().map_or_else(|| NAMELESS.into(), |(model, _)| model);
                self.settle(Some((model, end.usage)));
            }
        }
    }

    /// The turn failed.
    pub fn failed(&mut self, failure: &TurnFailure) {
        // After these the model has most likely read the prompt, though nothing of an answer came here.
        let was_read = matches!(
            failure,
            TurnFailure::Unmet(_)
                | TurnFailure::IdleTimeout { .. }
                | TurnFailure::TotalTimeout { .. }
                | TurnFailure::SlowReader { .. }
        );
        if !was_read {
            self.origin = None;
        }
    }

    fn settle(&mut self, used: Option<(Arc<str>, Usage)>) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        self.turns.settle(&self.holds, used.filter(|_| self.estimate.is_some()));
    }

    /// What was used, as far as it is known before the end.
    fn known(&self) -> Option<(Arc<str>, Usage)> {
        if let Some((model, usage)) = &self.began {
            let output = usage.output.max(self.bytes.div_ceil(BYTES_A_TOKEN));
            return Some((Arc::clone(model), Usage { output, ..*usage }));
        }
        // The prompt was on its way to the model: what it takes cannot be taken back.
        self.origin.as_ref()?.get()?;
        let input = self.estimate?.least_prompt();
        Some((NAMELESS.into(), Usage { input, ..Usage::default() }))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let known = self.known();
        self.settle(known);
    }
}
