//! Twenty tenants with twenty keys each, and guesses at what the others have said: where processes are found again.
//!
//! All callers guess at conversations that wait in real processes, twenty at a time, those of one tenant after the other. Each
//! knows of each other caller all that can be known: every word of the conversation and the ids of its calls. The ways of
//! guessing are three: the very same conversation under a key of one's own, the same with another call id, and, for callers of
//! other tenants, the hash itself under which the process waits.

use std::time::{Duration, Instant};

use couplet::claude::budget::Budget;
use couplet::claude::command_line::CliProgram;
use couplet::claude::conversation::Conversation;
use couplet::claude::conversation_key::ConversationKey;
use couplet::claude::credential::Credential;
use couplet::claude::kept::{KeepLimits, Kept};
use couplet::claude::supply::{ProcessSettings, ProcessSupply};
use couplet::scope::Scope;
use couplet::turn::{AssistantBlock, Message, Parameters, ResultBlock, Turn, UserBlock};
use serde_json::Map;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Caller, KEYS, PATIENCE, TENANTS};
use crate::support::app::token_of;
use crate::support::fake_cli::script::Script;
use crate::support::fake_cli::{FakeCli, program};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::Seen;

impl Caller {
    fn scope(self) -> Scope {
        Scope::of_caller(&format!("t{}", self.tenant), &format!("key_{}_{}", self.tenant, self.key))
    }

    /// What tells whose sign-in it is.
    fn credential(self) -> String {
        Credential::OauthToken(token_of(&format!("t{}", self.tenant)).into()).folder_name()
    }

    /// The number of the call in the conversation; those of neighbours are neighbours.
    fn call(self) -> usize {
        self.tenant * KEYS + self.key
    }

    /// The conversation up to a call; every second one has its result too.
    fn turn(self) -> Turn {
        let said = format!("what {} of {} said", self.key, self.tenant);
        let mut history =
            vec![Message::User(vec![UserBlock::Text(said.clone())]), Message::Assistant(call(self.call()))];
        if self.key.is_multiple_of(2) {
            history.push(Message::User(vec![result(self.call(), &said)]));
            history.push(Message::Assistant(vec![AssistantBlock::Text("well".to_owned())]));
        }
        Turn {
            model: "claude-sonnet-5-5".to_owned(),
            system: "Be brief.".to_owned(),
            history,
            question: vec![UserBlock::Text("and now?".to_owned())],
            tools: Vec::new(),
            parameters: Parameters::default(),
        }
    }

    /// As this caller would be known to have said `turn`.
    fn key_of(self, turn: &Turn) -> ConversationKey {
        ConversationKey::of_history(&self.scope(), &self.credential(), turn)
    }
}

fn call_id(number: usize) -> String {
    format!("toolu_{number:07}")
}

fn call(number: usize) -> Vec<AssistantBlock> {
    vec![AssistantBlock::ToolUse { id: call_id(number), name: "f".to_owned(), input: Map::new() }]
}

fn result(number: usize, said: &str) -> UserBlock {
    let content = vec![ResultBlock::Text(said.to_owned())];
    UserBlock::ToolResult { call_id: call_id(number), content, is_error: false }
}

/// Where processes wait, as each tenant sees it.
struct Machine {
    _fake: FakeCli,
    supply: ProcessSupply,
    budget: Budget,
    kept: Vec<Kept>,
    watches: TaskTracker,
    drain: CancellationToken,
}

impl Machine {
    fn new() -> Self {
        let fake = FakeCli::new(&Script::default());
        let passed_through = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        let settings = ProcessSettings {
            program: CliProgram::Installed(program()),
            launcher: env!("CARGO_BIN_EXE_couplet").into(),
            credential: Credential::OauthToken(token_of("all").into()),
            state_dir: fake.file("state"),
            base_url: Some(fake.base_url()),
            passed_through: passed_through.into_iter().collect(),
            sandbox: fake.sandbox(),
            version: None,
        };
        let budget = Budget::new(u64::MAX, 1);
        let long = Duration::from_secs(3600);
        let limits = KeepLimits { live: long, parked: long, processes: 2 * KEYS };
        let all = Kept::new(limits, budget.clone());
        let kept = (0..TENANTS).map(|_| all.of_another()).collect();
        let supply = ProcessSupply::new(settings).expect("a supply");
        let (watches, drain) = (TaskTracker::new(), CancellationToken::new());
        Self { _fake: fake, supply, budget, kept, watches, drain }
    }

    /// Keeps a process for the caller, and returns its id.
    async fn keep(&self, caller: Caller) -> i32 {
        let share = self.budget.try_reserve().expect("room");
        let session = self.supply.start(share).await.expect("a process");
        let id = session.process_id();
        let turn = caller.turn();
        let kept = self.kept[caller.tenant].keep(caller.key_of(&turn), Conversation::begun(session, &turn));
        let watch = kept.unwrap_or_else(|_| panic!("it is kept"));
        let drain = self.drain.clone();
        self.watches.spawn(async move {
            let unclaimed = watch.run(&drain).await;
            assert!(unclaimed.is_none(), "each is claimed in the end");
        });
        id
    }

    /// A guess, and whether it found something.
    async fn finds(&self, guesser: Caller, key: ConversationKey) -> bool {
        self.kept[guesser.tenant].take(key).await.is_some()
    }
}

/// A caller makes `least` guesses or more at the conversations of one tenant; how many.
async fn guess_at(machine: &Machine, guesser: Caller, tenant: usize, least: usize) -> usize {
    let mut made = 0;
    let others: Vec<Caller> = Caller::of_tenant(tenant).filter(|other| *other != guesser).collect();
    for other in &others {
        let turn = other.turn();
        assert!(
            !machine.finds(guesser, guesser.key_of(&turn)).await,
            "{guesser:?} reads {other:?} word for word"
        );
        made += 1;
        if guesser.tenant != tenant {
            assert!(
                !machine.finds(guesser, other.key_of(&turn)).await,
                "{guesser:?} has the hash of {other:?}"
            );
            made += 1;
        }
    }
    // Ids around the right one, and that itself.
    let each = least.saturating_sub(made).div_ceil(others.len());
    for other in &others {
        let mut turn = other.turn();
        turn.history.truncate(1);
        let before = guesser.key_of(&turn);
        for near in 0..each {
            let distance = near.div_ceil(2).cast_signed();
            let offset = if near.is_multiple_of(2) { distance } else { -distance };
            let number = other.call().wrapping_add_signed(offset) % 10_000_000;
            let key = before.then_assistant(&call(number));
            assert!(!machine.finds(guesser, key).await, "{guesser:?} guesses {number} of {other:?}");
            made += 1;
        }
    }
    made
}

async fn nobody_finds_what_others_said(guesses_of_each: usize) -> Seen {
    let machine = Machine::new();
    let begun = Instant::now();
    let (mut guesses, mut processes, mut most_memory) = (0, 0, 0);
    for tenant in 0..TENANTS {
        let mut ids = Vec::new();
        for caller in Caller::of_tenant(tenant) {
            ids.push((caller, machine.keep(caller).await));
        }
        processes += ids.len();
        most_memory = most_memory.max(ids.iter().map(|(_, id)| memory_of(*id)).sum());
        for guesser in Caller::all() {
            guesses += guess_at(&machine, guesser, tenant, guesses_of_each / TENANTS).await;
            // Watches look at their processes too.
            tokio::task::yield_now().await;
        }
        // All are still there, each for the one whose it is.
        for (caller, id) in ids {
            let own = machine.kept[caller.tenant].take(caller.key_of(&caller.turn())).await;
            let own = own.unwrap_or_else(|| panic!("{caller:?} finds its own"));
            assert_eq!(own.process_id(), id, "{caller:?}");
            machine.supply.kill(own.into_session()).await;
        }
    }
    machine.watches.close();
    tokio::time::timeout(PATIENCE, machine.watches.wait()).await.expect("all were claimed");
    println!(
        "{guesses} guesses of {} callers at {processes} processes, {KEYS} at a time with {} MB, in {:?}",
        TENANTS * KEYS,
        most_memory >> 20,
        begun.elapsed()
    );
    assert!(guesses >= TENANTS * KEYS * guesses_of_each);
    let mut seen = Seen::default();
    seen.note_all("nothing is found; whose process it was finds it", guesses);
    seen
}

const GUESSES: &str =
    "guesses at the conversations of 399 other callers: their words, ids of calls, the hash itself";

/// Resident bytes, those that processes share counted for each.
fn memory_of(id: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    resident.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
async fn nobody_finds_what_others_said_in_a_thousand_guesses_each() {
    nobody_finds_what_others_said(1_000).await.tell(Class::Hostile, GUESSES, Asked::Either);
}

#[tokio::test]
#[ignore = "four million guesses"]
async fn nobody_finds_what_others_said_in_ten_thousand_guesses_each() {
    nobody_finds_what_others_said(10_000).await.tell_of_long_run(Class::Hostile, GUESSES, Asked::Either);
}
