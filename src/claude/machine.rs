//! What all tenants of one server have in common: the CLI they start, and the bounds of the machine.

use std::io;
use std::sync::Arc;

use super::admission::Places;
use super::budget::Budget;
use super::failure::TurnFailure;
use super::installed::Starter;
use super::kept::{Kept, KeptCount};
use super::sandbox::SandboxMode;
use super::warm::WarmCount;
use super::warm::pools::Pools;
use super::{ClaudeSettings, Processes, memory};

/// One machine, on which there may be a [`Claude`](super::Claude) for each tenant. Cheap to clone; the clones are one.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) starter: Arc<Starter>,
    pub(super) budget: Budget,
    pub(super) kept: Kept,
    pub(super) pools: Pools,
    pub(super) places: Arc<Places>,
}

impl Machine {
    /// The bounds that the settings name are those of all tenants together.
    ///
    /// # Errors
    /// When the thread that starts processes cannot be started.
    pub fn new(settings: &ClaudeSettings) -> io::Result<Self> {
        let starter = Arc::new(Starter::new(&settings.process)?);
        let budget = Budget::new(settings.memory_budget, memory::expected_of(&settings.process.program));
        // A turn that is let in finds memory for its process, if others give theirs back.
        let places = settings.max_concurrency.min(budget.processes());
        tracing::info!(
            memory_budget_mib = budget.limit() >> 20,
            processes = budget.processes(),
            answers_at_once = places,
            "room for processes of the Claude Code CLI"
        );
        Ok(Self {
            starter,
            kept: Kept::new(settings.keep, budget.clone()),
            // At least half of the budget is for processes at work.
            pools: Pools::new(budget.processes() / 2),
            places: Arc::new(Places::new(places, settings.queue_size)),
            budget,
        })
    }

    /// Its memory, and none of its processes.
    #[must_use]
    pub fn processes(&self) -> Processes {
        Processes {
            warm: WarmCount::default(),
            working: 0,
            kept: KeptCount::default(),
            queued: 0,
            memory_used: self.budget.used(),
            memory_budget: self.budget.limit(),
        }
    }

    /// The version of the installed CLI.
    ///
    /// # Errors
    /// When there is no usable one.
    pub async fn cli_version(&self) -> Result<&str, TurnFailure> {
        self.starter.version().await
    }

    /// Whether processes are confined.
    #[must_use]
    pub fn sandbox(&self) -> SandboxMode {
        self.starter.sandbox()
    }

    /// How many turns run at once, of whichever tenant.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.number()
    }

    /// How many more turns could start at once.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.places.free()
    }
}
