//! Hundreds of turns of many conversations, some at a time, with tools and with clients that leave: each answer belongs to
//! its conversation, the model was sent nothing but that, and in the end nothing is left.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use couplet::upstream::Upstream;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Dialogue, Heard, heard, texts};
use crate::support::app::TOKEN;
use crate::support::couplet_process::{children_of, descriptors_of, streamed};
use crate::support::fake_cli::eventually;
use crate::support::real_cli::real_cli;
use crate::support::server::Server;

/// Turns at once, and places for them.
const SIDE_BY_SIDE: usize = 8;

/// How many processes wait for new conversations.
const WARM: u64 = 3;

/// Processes that may wait.
const KEPT: usize = 16;

/// Most turns go to one of so many that were last talked in, the others to the one that was left alone longest.
const RECENT: usize = 6;

#[tokio::test]
async fn five_hundred_turns_of_fifty_conversations_are_told_apart_and_leave_nothing_behind() {
    soak(500, 50).await;
}

#[tokio::test]
#[ignore = "takes minutes; for the night"]
async fn ten_thousand_turns_of_three_hundred_conversations_are_told_apart_and_leave_nothing_behind() {
    soak(10_000, 300).await;
}

/// A source of numbers that look random: the same ones each time.
struct Numbers(u64);

impl Numbers {
    /// One of the first `count` numbers from 0.
    fn below(&mut self, count: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits") % count
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// A conversation, and where it was last talked in.
struct Talk {
    name: String,
    dialogue: Dialogue,
    has_tools: bool,
    turns: usize,
    process: Option<String>,
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    begun: usize,
    went_on: usize,
    laid_down: usize,
    calls: usize,
    calls_went_on: usize,
    left: usize,
}

/// What all that talk share: the conversations that nobody talks in, the last one at the end.
struct Shared {
    idle: Vec<Talk>,
    numbers: Numbers,
    turns_left: usize,
    tally: Tally,
}

struct Soak {
    server: Server,
    upstream: Upstream,
    client: reqwest::Client,
    shared: Mutex<Shared>,
}

async fn soak(turns: usize, conversations: usize) {
    let Some(cli) = real_cli() else { return };
    let upstream = Upstream::start_on_loopback().await.expect("an upstream");
    let (base_url, cli) = (upstream.base_url(), cli.to_str().expect("UTF-8"));
    let (places, kept) = (SIDE_BY_SIDE.to_string(), KEPT.to_string());
    let variables = [
        ("CLAUDE_CLI_PATH", cli),
        ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN),
        ("ANTHROPIC_BASE_URL", &base_url),
        ("COUPLET_MAX_CONCURRENCY", &places),
        ("COUPLET_MAX_KEPT", &kept),
        ("COUPLET_MEMORY_BUDGET", "64GiB"),
        ("COUPLET_WARM_MIN", &WARM.to_string()),
        ("COUPLET_WARM_MAX", &WARM.to_string()),
    ];
    let server = Server::start(&variables).await;
    // A connection for each request: none is left open to be counted.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let shared = Shared {
        idle: (0..conversations).map(talk).collect(),
        numbers: Numbers(7),
        turns_left: turns,
        tally: Tally::default(),
    };
    let soak = Soak { server, upstream, client, shared: shared.into() };

    let own = soak.descriptors_at_rest().await;
    let begun = Instant::now();
    join_all((0..SIDE_BY_SIDE).map(|_| soak.talk())).await;
    let took = begun.elapsed();
    let tally = std::mem::take(&mut soak.lock().tally);
    println!("{turns} turns of {conversations} conversations in {took:.1?}: {tally:?}");
    assert!(tally.begun > conversations / 2 && tally.went_on > turns / 3, "{tally:?}");
    assert!(tally.calls_went_on > 0 && tally.left > turns / 20, "{tally:?}");

    soak.is_at_rest().await;
    let health = soak.health().await;
    let waiting = health["processes"]["live"].as_u64().expect("a number");
    assert!((1..=KEPT as u64).contains(&waiting), "{health}");
    assert_eq!(health["processes"]["parked"], 0);
    let open = own.with(usize::try_from(waiting).expect("few"));
    let id = soak.server.id();
    eventually(Duration::from_secs(10), "no descriptor is left open", || descriptors_of(id) <= open).await;
    let children = children_of(id);
    let begun = Instant::now();
    soak.server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let lives = |id: &u32| std::path::Path::new(&format!("/proc/{id}")).exists();
    assert_eq!(children.into_iter().filter(lives).collect::<Vec<_>>(), Vec::<u32>::new());
}

fn talk(number: usize) -> Talk {
    let has_tools = number.is_multiple_of(3);
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let fields = if has_tools { json!({"tools": [tool]}) } else { json!({}) };
    // Some have the same beginning: the system prompt, and the first questions up to the name.
    let mut dialogue = Dialogue::new(&fields);
    dialogue.push("system", "Be brief.");
    Talk { name: format!("c{number}"), dialogue, has_tools, turns: 0, process: None }
}

/// How many descriptors the server needs for itself, and for each process that waits.
struct Descriptors {
    own: usize,
    of_one: usize,
}

impl Descriptors {
    fn with(&self, processes: usize) -> usize {
        self.own + self.of_one * processes
    }
}

impl Soak {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn health(&self) -> Value {
        let response = self.client.get(format!("{}/health", self.server.url)).send().await;
        response.expect("an answer").json().await.expect("JSON")
    }

    async fn chat(&self, body: &Value) -> reqwest::Response {
        let request = self.client.post(format!("{}/v1/chat/completions", self.server.url)).json(body);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        response
    }

    async fn message(&self, body: &Value) -> Value {
        let answer: Value = self.chat(body).await.json().await.expect("JSON");
        answer["choices"][0]["message"].clone()
    }

    /// Waits until no turn is under way and no process but those that wait is left.
    async fn is_at_rest(&self) {
        let begun = Instant::now();
        loop {
            let health = self.health().await;
            let count = |name: &str| health["processes"][name].as_u64().unwrap_or_default();
            let (warm, kept) = (count("generic") + count("prepared"), count("live") + count("parked"));
            let children = children_of(self.server.id()).len() as u64;
            if health["free_places"] == SIDE_BY_SIDE && warm == WARM && children == warm + kept {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{children} children: {health}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn descriptors_at_rest(&self) -> Descriptors {
        let mut open = Vec::new();
        for question in ["[[words 1]] one", "[[words 1]] another"] {
            self.message(&Dialogue::new(&json!({})).asking(question)).await;
            self.is_at_rest().await;
            // The server closes its side of a connection a moment after the client.
            tokio::time::sleep(Duration::from_millis(200)).await;
            open.push(descriptors_of(self.server.id()));
        }
        let of_one = open[1] - open[0];
        Descriptors { own: open[0] - of_one, of_one }
    }

    /// Talks in one conversation after the other until all turns are had.
    async fn talk(&self) {
        loop {
            let (mut talk, leaves, calls) = {
                let mut shared = self.lock();
                if shared.turns_left == 0 {
                    return;
                }
                shared.turns_left -= 1;
                let idle = shared.idle.len();
                let goes_on = shared.numbers.percent(90);
                let place = if goes_on { idle - 1 - shared.numbers.below(RECENT.min(idle)) } else { 0 };
                let talk = shared.idle.remove(place);
                let calls = talk.has_tools && shared.numbers.percent(40);
                (talk, shared.numbers.percent(10), calls)
            };
            talk.turns += 1;
            if leaves {
                self.leave(&talk).await;
            } else if calls {
                self.call(&mut talk).await;
            } else {
                self.say(&mut talk).await;
            }
            self.lock().idle.push(talk);
        }
    }

    async fn say(&self, talk: &mut Talk) {
        let secret = format!("secret of {} {}", talk.name, talk.turns);
        let question = format!("[[say {secret}]] {} {}", talk.name, talk.turns);
        let request = talk.dialogue.asking(&question);
        let answer = self.message(&request).await;
        assert_eq!(answer["content"], *secret);
        let heard = heard(&self.upstream, &question);
        assert_eq!(heard.turns, texts(&request));
        self.count(talk, heard.process);
        talk.dialogue.push("user", &question);
        talk.dialogue.push("assistant", &secret);
    }

    async fn call(&self, talk: &mut Talk) {
        let question = format!("[[tool f {{\"of\":\"{}\"}}]] {} {}", talk.name, talk.name, talk.turns);
        let request = talk.dialogue.asking(&question);
        let mut answer = self.message(&request).await;
        let heard = heard(&self.upstream, &question);
        assert_eq!(heard.turns, texts(&request));
        self.count(talk, heard.process);
        let call = &answer["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], json!({"of": talk.name}).to_string());
        let secret = format!("result of {} {}", talk.name, talk.turns);
        let result =
            json!({"role": "tool", "tool_call_id": call["id"], "content": format!("[[say {secret}]]")});
        talk.dialogue.push("user", &question);
        answer.as_object_mut().expect("a message").remove("refusal");
        talk.dialogue.messages().extend([answer, result]);
        let answer = self.message(&talk.dialogue.request).await;
        assert_eq!(answer["content"], *secret);
        let marked = format!("[[say {secret}]]");
        let requests =
            self.upstream.log().model_requests().into_iter().rev().map(|received| received.asked());
        let mut told = requests.filter(|asked| asked.last_tool_results() == [&*marked]);
        let heard = Heard::from(told.next().expect("the model was told"));
        assert_eq!(heard.turns, texts(&talk.dialogue.request));
        let went_on = talk.process.as_deref() == Some(&*heard.process);
        talk.process = Some(heard.process);
        talk.dialogue.push("assistant", &secret);
        let tally = &mut self.lock().tally;
        tally.calls += 1;
        tally.calls_went_on += usize::from(went_on);
    }

    async fn leave(&self, talk: &Talk) {
        let question = format!("[[words 400]][[slow 0.02]] {} {}", talk.name, talk.turns);
        let request = streamed(&talk.dialogue.asking(&question));
        let (chunks, patience) = {
            let mut shared = self.lock();
            shared.tally.left += 1;
            (shared.numbers.below(4), Duration::from_millis(shared.numbers.below(200) as u64))
        };
        if chunks == 0 {
            // Before the answer, most likely.
            let _ = tokio::time::timeout(patience, self.chat(&request)).await;
            return;
        }
        let mut answer = self.chat(&request).await;
        for _ in 0..chunks {
            answer.chunk().await.expect("a chunk").expect("not the end");
        }
    }

    fn count(&self, talk: &mut Talk, process: String) {
        let tally = &mut self.lock().tally;
        match &talk.process {
            None => tally.begun += 1,
            Some(before) if *before == process => tally.went_on += 1,
            Some(_) => tally.laid_down += 1,
        }
        talk.process = Some(process);
    }
}
