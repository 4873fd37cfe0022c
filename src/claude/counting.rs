//! How many tokens a turn would be to the model, without asking it.
//!
//! The CLI tells (`get_context_usage`), and has Anthropic's API count the parts: the messages, together with what it says
//! itself of the environment; the system prompt; the tools. What it cannot have counted it estimates, at three or four
//! characters a token, and does not say so. So it is asked for the estimates first: what is no different is taken for one.
//! All measured on 2.1.270 to 2.1.329.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::conversation::Conversation;
use super::conversation_key::ProfileKey;
use super::failure::TurnFailure;
use super::frame_in::{ContextDetail, ControlRequest};
use super::session::Session;
use super::warm::Warm;
use super::{Claude, Inner, features};
use crate::scope::Scope;
use crate::turn::Turn;

/// What the CLI takes off the number that the API counts for tools, because the API adds about as much whenever there are any.
/// The model is sent that too.
const TAKEN_OFF_TOOLS: u64 = 500;

/// What the CLI says of the tokens.
#[derive(Debug, PartialEq, Deserialize)]
struct ContextUsage {
    categories: Vec<Category>,
}

/// A part of the conversation.
#[derive(Debug, PartialEq, Deserialize)]
struct Category {
    name: String,
    tokens: u64,
    /// `used`; or `buffer` or `free`, which is no part of it.
    kind: String,
}

impl ContextUsage {
    fn used(&self) -> impl Iterator<Item = (&str, u64)> {
        let used = self.categories.iter().filter(|category| category.kind == "used");
        used.map(|category| (category.name.as_str(), category.tokens))
    }

    /// How many of the parts have the same number there.
    fn in_common_with(&self, other: &Self) -> usize {
        self.used().filter(|part| other.used().any(|same| same == *part)).count()
    }
}

impl Claude {
    /// Counts the tokens that the model would be sent for a turn. Nothing is asked, and the process that the turn is laid down
    /// in ends afterwards.
    ///
    /// The number holds what the CLI adds of its own, but for two short lines before the system prompt and the date.
    ///
    /// # Errors
    /// When the turn cannot be laid down, or nobody counts.
    pub async fn count_tokens(&self, scope: Scope, turn: Turn) -> Result<u64, TurnFailure> {
        let version = self.cli_version().await?;
        if !features::can_count(version) {
            return Err(TurnFailure::NotCounted("that takes a Claude Code CLI of release 2.1.270 or later"));
        }
        if self.is_draining() {
            return Err(TurnFailure::ShuttingDown);
        }
        let (mut teller, told) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            let stop = inner.stop.clone();
            let counted = tokio::select! {
                biased;
                counted = inner.count(&scope, &turn) => counted.map_err(|failure| inner.told(failure)),
                // Dropping it kills the process.
                () = teller.closed() => return,
                () = stop.cancelled() => Err(TurnFailure::ShuttingDown),
                () = inner.account.signed_out() => Err(TurnFailure::SignedOut),
            };
            // Whoever asked may have left.
            let _ = teller.send(counted);
        });
        let broken = |_| Err(TurnFailure::Protocol("the count ended without a word".to_owned()));
        told.await.unwrap_or_else(broken)
    }
}

impl Inner {
    async fn count(&self, scope: &Scope, turn: &Turn) -> Result<u64, TurnFailure> {
        // The API counts, whatever the limits: that a count succeeds says nothing about them.
        self.account.expect_open(&turn.model)?;
        let _place = self.admission.enter().await?;
        let deadline = Instant::now() + self.deadlines.first_frame;
        let late = |_| TurnFailure::FirstFrameTimeout { seconds: self.deadlines.first_frame.as_secs() };
        let profile = ProfileKey::of(scope, self.supply.credential_name(), turn);
        let taken = timeout_at(deadline, self.warm.take(profile, turn, self.patience)).await.map_err(late)?;
        let Warm { mut session, prepared, starting, .. } = taken?;
        let begin = Conversation::begin_unasked(&mut session, &prepared, turn, &self.catalog);
        let laid_down = timeout_at(deadline, begin).await.map_err(late).flatten();
        drop(starting);
        let counted = match laid_down {
            Ok(()) => timeout_at(deadline, counted(&mut session, !turn.tools.is_empty()))
                .await
                .map_err(late)
                .flatten(),
            Err(failure) => Err(failure),
        };
        if counted.is_ok() {
            self.supply.end(session).await;
        } else {
            self.supply.kill(session).await;
        }
        counted
    }
}

/// The tokens in the conversation of a process.
async fn counted(session: &mut Session, has_tools: bool) -> Result<u64, TurnFailure> {
    let estimated = usage(session, ContextDetail::Summary).await?;
    let mut counted = usage(session, ContextDetail::Full).await?;
    // It may have happened to be so, or the API did not answer for a part.
    if counted.in_common_with(&estimated) > 0 {
        counted = usage(session, ContextDetail::Full).await?;
    }
    if counted.in_common_with(&estimated) == counted.used().count() {
        return Err(TurnFailure::NotCounted(
            "Anthropic's API did not tell, the Claude Code CLI only estimates",
        ));
    }
    let tools = if has_tools { TAKEN_OFF_TOOLS } else { 0 };
    Ok(counted.used().map(|(_, tokens)| tokens).sum::<u64>().saturating_add(tools))
}

async fn usage(session: &mut Session, detail: ContextDetail) -> Result<ContextUsage, TurnFailure> {
    session.queue_control(ControlRequest::GetContextUsage { detail })?;
    session.flush().await?;
    let mut told = None;
    session.settle(|body| told = serde_json::from_str(body).ok().or(told.take())).await?;
    told.ok_or_else(|| TurnFailure::Protocol("no number of tokens".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn told(parts: &[(&str, u64)]) -> ContextUsage {
        let mut categories: Vec<_> = parts
            .iter()
            .map(|(name, tokens)| json!({"id": name, "name": name, "tokens": tokens, "kind": "used"}))
            .collect();
        categories.push(json!({"name": "Free space", "tokens": 1000, "kind": "free"}));
        serde_json::from_value(json!({"categories": categories, "totalTokens": 5})).unwrap()
    }

    #[rstest]
    #[case::all_the_same(&[("System prompt", 8), ("Messages", 327)], 2)]
    #[case::one_the_same(&[("System prompt", 26), ("Messages", 327)], 1)]
    #[case::none_the_same(&[("System prompt", 26), ("Messages", 288)], 0)]
    #[case::exchanged(&[("System prompt", 327), ("Messages", 8)], 0)]
    fn an_estimate_is_known_by_its_numbers(#[case] parts: &[(&str, u64)], #[case] in_common: usize) {
        let estimated = told(&[("System prompt", 8), ("Messages", 327)]);
        assert_eq!(told(parts).in_common_with(&estimated), in_common);
    }

    #[test]
    fn what_is_free_is_no_part_of_it() {
        assert_eq!(told(&[("Messages", 288)]).used().collect::<Vec<_>>(), [("Messages", 288)]);
    }
}
