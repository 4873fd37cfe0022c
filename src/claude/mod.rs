//! The Claude Code CLI, from its command line to its answers.
//!
//! - [`frame_in`], [`frame_out`]: what is written to and read from a process; [`answer`] makes events of the latter, and
//!   [`said`] remembers them as a client will send them back.
//! - [`features`], [`command_line`], [`launcher`], [`process`], [`line_reader`]: how a process is started, bounded and
//!   ended; [`running`]: all that run, to be killed at once; [`sandbox`]: what they may touch meanwhile; [`shortage`]: what the
//!   system is short of when one cannot be started.
//! - [`installed`]: the CLI on this machine; [`machine`]: what all tenants have in common.
//! - [`supply`], [`starts`]: starts processes, a few at a time; [`warm`]: those that wait before they are needed; [`admission`]: how many turns run at
//!   once.
//! - [`session`], [`conversation`]: one process and the conversation in it; [`tool_server`]: its tools; [`parked`]: which
//!   results its open calls take.
//! - [`sink`]: where the events of an answer go; [`steps`]: what traces tell of the way there.
//! - [`handover`]: a process that is watched until somebody claims it.
//! - [`kept`]: processes that wait for what comes next in their conversation, found by its [`conversation_key`].
//! - [`prompt_cache`]: how Anthropic's cache finds a history that is laid down anew.
//! - [`memory`]: how much of it there is, and processes take; [`budget`]: what they may take together.
//! - `answering`: one turn, from the queue to the end of its process or to its next turn.
//! - `counting`: how many tokens a turn would be.
//! - [`catalog`], [`credential`], [`failure`], [`shortage`]: the models, who is signed in, what can go wrong, what there is too
//!   little of.
//! - [`account`]: whether the credential may be used at the moment; [`subscription`]: how far its limits are used;
//!   [`sign_out`]: its end.
//! - [`cli_command`]: harmless commands of the CLI, for the operator.
//!
//! [`Claude`] is the whole of it, as the endpoints see it.

pub mod account;
pub mod admission;
pub mod answer;
mod answering;
mod attempts;
pub mod budget;
pub mod catalog;
pub mod cli_command;
pub mod command_line;
pub mod conversation;
pub mod conversation_key;
mod counting;
pub mod credential;
mod device;
pub mod failure;
pub mod features;
pub mod frame_in;
pub mod frame_out;
pub mod handover;
pub mod installed;
pub mod kept;
pub mod launcher;
pub mod line_reader;
pub mod machine;
pub mod memory;
pub mod parked;
pub mod process;
pub mod prompt_cache;
pub mod refusals;
pub mod rendition;
pub mod running;
pub mod said;
pub mod sandbox;
pub mod session;
pub mod shaping;
pub mod shortage;
pub mod sign_out;
pub mod sink;
pub mod starts;
pub mod steps;
pub mod stop_strings;
pub mod subscription;
pub mod supply;
pub mod tool_server;
pub mod warm;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use account::{Account, AccountSettings};
use admission::Admission;
use budget::Budget;
use catalog::{Catalog, CliModel};
use cli_command::Commands;
use conversation::Deadlines;
use credential::Credential;
use failure::TurnFailure;
use frame_in::ControlRequest;
use kept::{KeepLimits, Kept, KeptCount};
use machine::Machine;
use prompt_cache::{CacheTtl, HistoryMarks};
use refusals::Refusals;
use session::Session;
pub use sink::Answer;
use subscription::SubscriptionState;
use supply::{ProcessSettings, ProcessSupply};
use warm::{Floor, Warm, WarmCount, WarmLimits, WarmProcesses};

use crate::scope::Scope;
use crate::turn::Turn;

/// How [`Claude`] works.
#[derive(Debug, Clone)]
pub struct ClaudeSettings {
    /// What every process has in common.
    pub process: ProcessSettings,
    /// How long a turn may take.
    pub deadlines: Deadlines,
    /// Turns at once.
    pub max_concurrency: usize,
    /// Turns that may wait for a place of a tenant's own, and for one of all.
    pub queue_size: usize,
    /// How long a turn may wait for its place.
    pub queue_timeout: Duration,
    /// How long, and how many, processes wait for what comes next in their conversation, whoever's it is.
    pub keep: KeepLimits,
    /// How many processes wait for a question of any conversation, and how long; in all no more than half of the memory is for.
    pub warm: WarmLimits,
    /// Bytes of memory that all processes may take together.
    pub memory_budget: u64,
    /// Whose credential it is, and how its refusals are dealt with.
    pub account: AccountSettings,
}

/// The model behind the CLI, for one credential. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Claude {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    supply: Arc<ProcessSupply>,
    admission: Admission,
    /// How long a turn may wait for the memory of a process.
    patience: Duration,
    budget: Budget,
    /// This one's own alone.
    kept: Kept,
    warm: WarmProcesses,
    marks: HistoryMarks,
    refusals: Refusals,
    catalog: Arc<Catalog>,
    deadlines: Deadlines,
    account: Arc<Account>,
    commands: Commands,
    /// One listing of models at a time.
    listing: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    /// Ends open answers.
    stop: CancellationToken,
    /// Takes no more questions, and ends what nobody waits for.
    drain: CancellationToken,
    /// The server takes no more questions. (A sign-in that was ended drains as well.)
    ending: CancellationToken,
}

/// What processes of the CLI do, and what all of them take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processes {
    /// They wait for a question of any conversation.
    pub warm: WarmCount,
    /// Turns at work; each has a process or waits for its start.
    pub working: usize,
    /// They wait with a conversation in them.
    pub kept: KeptCount,
    /// Turns that wait for a place.
    pub queued: usize,
    /// Bytes of memory they take.
    pub memory_used: u64,
    /// Bytes of memory they may take.
    pub memory_budget: u64,
}

impl Processes {
    /// Together with others on the same machine: its memory is told once.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            warm: WarmCount {
                starting: self.warm.starting + others.warm.starting,
                generic: self.warm.generic + others.warm.generic,
                prepared: self.warm.prepared + others.warm.prepared,
            },
            working: self.working + others.working,
            kept: KeptCount {
                live: self.kept.live + others.kept.live,
                parked: self.kept.parked + others.kept.parked,
            },
            queued: self.queued + others.queued,
            ..self
        }
    }
}

impl Claude {
    /// Makes ready, on a machine of its own; no process is started yet.
    ///
    /// # Errors
    /// When the folders cannot be made or the thread that starts processes cannot be started.
    pub fn new(settings: ClaudeSettings) -> std::io::Result<Self> {
        Self::on(&Machine::new(&settings)?, settings, None)
    }

    /// Makes ready, on a machine that others may use too. `max_concurrency` is its own; the machine's bounds hold for all. With
    /// a `tenant`'s name its folders are that tenant's alone, and none of its processes waits before it is used.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn on(machine: &Machine, settings: ClaudeSettings, tenant: Option<&str>) -> std::io::Result<Self> {
        let marks = HistoryMarks::new(CacheTtl::of(&settings.process.credential));
        let starter = Arc::clone(&machine.starter);
        let supply = Arc::new(ProcessSupply::by(starter, settings.process, tenant)?);
        let catalog = Arc::new(Catalog::default());
        let (tasks, drain) = (TaskTracker::new(), CancellationToken::new());
        let warm = WarmProcesses::new(
            settings.warm,
            if tenant.is_some() { Floor::WhileUsed } else { Floor::Always },
            machine.clone(),
            Arc::clone(&supply),
            Arc::clone(&catalog),
            tasks.clone(),
            drain.clone(),
        );
        let places = Arc::clone(&machine.places);
        let inner = Inner {
            supply,
            admission: Admission::new(settings.max_concurrency, places, settings.queue_timeout),
            patience: settings.queue_timeout,
            budget: machine.budget.clone(),
            kept: machine.kept.of_another(),
            warm,
            marks,
            refusals: Refusals::default(),
            catalog,
            deadlines: settings.deadlines,
            account: Account::new(settings.account),
            commands: Commands::default(),
            listing: tokio::sync::Mutex::default(),
            tasks,
            stop: CancellationToken::new(),
            drain,
            ending: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks the model on behalf of `scope`.
    #[must_use]
    pub fn answer(&self, scope: Scope, turn: Turn) -> Answer {
        self.answer_until(CancellationToken::new(), scope, turn)
    }

    /// The same, until whoever asks may not ask any more.
    #[must_use]
    pub fn answer_until(&self, ended: CancellationToken, scope: Scope, turn: Turn) -> Answer {
        let (mut sink, answer) = sink::answer();
        let inner = Arc::clone(&self.inner);
        if self.is_draining() {
            sink.fail(TurnFailure::ShuttingDown);
            return answer;
        }
        self.inner.tasks.spawn(async move {
            let stop = inner.stop.clone();
            tokio::select! {
                biased;
                () = Arc::clone(&inner).run(scope, &turn, &mut sink) => {}
                // Dropping the run kills its process.
                () = stop.cancelled() => sink.fail(TurnFailure::ShuttingDown),
                () = ended.cancelled() => sink.fail(TurnFailure::CallerEnded),
                () = inner.account.signed_out() => sink.fail(TurnFailure::SignedOut),
            }
        });
        answer
    }

    /// The models the CLI offers: from memory, or asked of a process.
    ///
    /// # Errors
    /// When the CLI cannot be asked and nothing is in memory.
    pub async fn models(&self) -> Result<Vec<CliModel>, TurnFailure> {
        self.inner.account.expect_signed_in()?;
        if let Some((models, true)) = self.inner.catalog.models() {
            return Ok(models);
        }
        let _one_at_a_time = self.inner.listing.lock().await;
        if let Some((models, true)) = self.inner.catalog.models() {
            return Ok(models);
        }
        if self.is_draining() {
            return Err(TurnFailure::ShuttingDown);
        }
        let asked = self.inner.list_models().await;
        match (self.inner.catalog.models(), asked) {
            (Some((models, _)), _) => Ok(models),
            (None, Err(failure)) => Err(self.inner.told(failure)),
            (None, Ok(())) => Err(TurnFailure::Protocol("no list of models".to_owned())),
        }
    }

    /// Asks for the models in the background, so that the list is there when it is needed.
    pub fn list_models_soon(&self) {
        let claude = self.clone();
        self.inner.tasks.spawn(async move {
            let drain = claude.inner.drain.clone();
            tokio::select! {
                listed = claude.models() => match listed {
                    Ok(models) => tracing::info!(models = models.len(), "the Claude Code CLI is ready"),
                    Err(failure) => {
                        tracing::error!(failure = failure.for_log(), "the Claude Code CLI does not work");
                        tracing::debug!(target: session::CLI_STDERR, %failure, "what it said");
                    }
                },
                // Nobody waits for it, so it must not hold up the end.
                () = drain.cancelled() => {}
            }
        });
    }

    /// What is known of models without asking.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The version of the installed CLI.
    ///
    /// # Errors
    /// When there is no usable one.
    pub async fn cli_version(&self) -> Result<&str, TurnFailure> {
        self.inner.supply.starter().version().await
    }

    /// The fields of a request that the installed CLI does not hand on as they are.
    pub async fn cuts<M>(&self, turn: &Turn<M>) -> Vec<&'static str> {
        let mut fields = Vec::new();
        // Without a usable CLI the turn fails for that.
        if let Ok(version) = self.cli_version().await
            && features::cuts_descriptions(version, &turn.tools)
        {
            fields.push("tools[].function.description");
        }
        if turn.parameters.thinking_budget.is_some() && !features::has_thinking_budget(&turn.model) {
            fields.push("thinking.budget_tokens");
        }
        fields
    }

    /// How many of its turns run at once.
    #[must_use]
    pub fn places(&self) -> usize {
        self.inner.admission.places()
    }

    /// How many more of its turns could start at once.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.inner.admission.free_places()
    }

    /// What its processes do. The memory is that of all on the machine.
    #[must_use]
    pub fn processes(&self) -> Processes {
        let inner = &self.inner;
        Processes {
            warm: inner.warm.count(),
            working: inner.admission.taken_places(),
            kept: inner.kept.count(),
            queued: inner.admission.waiting(),
            memory_used: inner.budget.used(),
            memory_budget: inner.budget.limit(),
        }
    }

    /// Keeps processes waiting for a question, in the background.
    pub fn keep_warm(&self) {
        let (warm, account) = (self.inner.warm.clone(), Arc::clone(&self.inner.account));
        self.inner.tasks.spawn(warm.keep(account));
    }

    /// How far the subscription's limits are used, as far as answers told.
    #[must_use]
    pub fn subscription(&self) -> SubscriptionState {
        self.inner.account.subscription()
    }

    /// What may be asked with the credential at the moment.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    /// Whose credential it is.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        self.inner.supply.credential()
    }

    /// Whether the server is about to stop and takes no more questions.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.tasks.is_closed()
    }

    /// Ready when the server takes no more questions.
    pub async fn drained(&self) {
        self.inner.ending.cancelled().await;
    }

    /// Takes no more questions, gives open answers `grace` to end, then ends them with an error. No process is left.
    pub async fn shut_down(&self, grace: Duration) {
        self.inner.ending.cancel();
        self.inner.drain.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(grace, self.inner.tasks.wait()).await.is_err() {
            self.inner.stop.cancel();
            self.inner.tasks.wait().await;
        }
    }
}

impl Inner {
    /// Starts a process to hear which models there are. Afterwards it waits for a question, where that may be.
    async fn list_models(&self) -> Result<(), TurnFailure> {
        let _place = self.admission.enter().await?;
        let deadline = Instant::now() + self.deadlines.first_frame;
        let late = || TurnFailure::FirstFrameTimeout { seconds: self.deadlines.first_frame.as_secs() };
        let taken = timeout_at(deadline, self.warm.take_new(self.patience)).await.map_err(|_| late())?;
        let Warm { mut session, starting, .. } = taken?;
        let listed = timeout_at(deadline, self.ask_for_models(&mut session)).await;
        drop(starting);
        if let Err(failure) = listed.map_err(|_| late()).flatten() {
            self.supply.kill(session).await;
            return Err(failure);
        }
        if let Err(session) = self.warm.adopt(session).await {
            self.supply.end(*session).await;
        }
        Ok(())
    }

    /// Sets a process up with nothing; its answer tells of the models.
    async fn ask_for_models(&self, session: &mut Session) -> Result<(), TurnFailure> {
        session.offer_ahead(&[]);
        let servers = session.tools().names();
        session.queue_control(ControlRequest::Initialize { system_prompt: "", servers })?;
        session.flush().await?;
        session.settle(|body| self.catalog.learn_models(body)).await
    }
}
