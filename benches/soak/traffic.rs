//! What clients send: conversations of all sizes by all endpoints, and among them what goes wrong.
//!
//! The answers are scripted in the questions, each with a number of its own, so that an answer which is cut, or another
//! one's, is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::processes::children_of;
use super::support::report::Table;

/// The clients' key.
pub const KEY: &str = "sk-soak-0123456789abcdef";

const MODEL: &str = "claude-sonnet-5-5";

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Questions to a conversation, at most.
const QUESTIONS: usize = 20;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Chat { stream: bool },
    Messages { stream: bool },
    Completion,
    CountTokens,
    Models,
    LeavesAtOnce,
    LeavesInMidAnswer,
    ApiRefuses,
    ApiBreaksOff,
    ApiSaysError,
    ApiStalls,
    CliKilled,
    NoJson,
    WrongKey,
    NoSuchRoute,
}

impl Kind {
    /// What goes wrong with the stand-in.
    pub const FAULTS: [Self; 19] = [
        Self::LeavesAtOnce,
        Self::LeavesAtOnce,
        Self::LeavesInMidAnswer,
        Self::LeavesInMidAnswer,
        Self::LeavesInMidAnswer,
        Self::ApiRefuses,
        Self::ApiRefuses,
        Self::ApiBreaksOff,
        Self::ApiBreaksOff,
        Self::ApiBreaksOff,
        Self::ApiSaysError,
        Self::ApiSaysError,
        Self::ApiStalls,
        Self::CliKilled,
        Self::CliKilled,
        Self::CliKilled,
        Self::NoJson,
        Self::WrongKey,
        Self::NoSuchRoute,
    ];

    /// What goes wrong with the real CLI. It asks a failing API again and again for minutes, so the API only refuses.
    pub const FAULTS_OF_THE_REAL_CLI: [Self; 10] = [
        Self::LeavesAtOnce,
        Self::LeavesAtOnce,
        Self::LeavesInMidAnswer,
        Self::LeavesInMidAnswer,
        Self::ApiRefuses,
        Self::ApiStalls,
        Self::CliKilled,
        Self::CliKilled,
        Self::NoJson,
        Self::WrongKey,
    ];

    fn next(faults: &[Self], random: &mut fastrand::Rng) -> Self {
        match random.u32(..1000) {
            0..50 => *random.choice(faults).unwrap(),
            50..500 => Self::Chat { stream: true },
            500..760 => Self::Chat { stream: false },
            760..860 => Self::Messages { stream: true },
            860..910 => Self::Messages { stream: false },
            910..950 => Self::Completion,
            950..980 => Self::CountTokens,
            _ => Self::Models,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Messages { .. } => "/v1/messages",
            Self::Completion => "/v1/completions",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::NoSuchRoute => "/v1/no/such/route",
            _ => "/v1/chat/completions",
        }
    }

    /// What is scripted beside the answer's text.
    fn directive(self) -> &'static str {
        match self {
            Self::LeavesAtOnce => "[[first 5]]",
            Self::LeavesInMidAnswer | Self::CliKilled => "[[slow 0.02]]",
            Self::ApiRefuses => "[[err 400 invalid_request_error soaked]]",
            Self::ApiBreaksOff => "[[cut 3]]",
            Self::ApiSaysError => "[[errevent 3]]",
            Self::ApiStalls => "[[stall 3]]",
            _ => "",
        }
    }

    fn streams(self, random: &mut fastrand::Rng) -> bool {
        match self {
            Self::Chat { stream } | Self::Messages { stream } => stream,
            Self::LeavesInMidAnswer => true,
            Self::Completion | Self::CountTokens | Self::Models => false,
            _ => random.bool(),
        }
    }

    fn is_in_conversation(self) -> bool {
        matches!(self, Self::Chat { .. } | Self::Messages { .. })
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// The answer, to the letter.
    Answer(String),
    /// An error: the status, or the code within the stream.
    Error(String),
    /// Nothing was waited for.
    Left,
}

/// How often what came.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    came: BTreeMap<(Kind, String), u64>,
    wrong: Vec<String>,
    broken_beside: u64,
}

impl Tally {
    /// With another's.
    pub fn add(&mut self, other: &Self) {
        for (key, number) in &other.came {
            *self.came.entry(key.clone()).or_default() += number;
        }
        self.wrong.extend_from_slice(&other.wrong);
        self.broken_beside += other.broken_beside;
    }

    /// All requests.
    pub fn all(&self) -> u64 {
        self.came.values().sum()
    }

    /// Answers that should not have come: more broken ones than CLIs were killed, too.
    pub fn wrong(&self) -> usize {
        let kills = self.of(Kind::CliKilled);
        self.wrong.len() + usize::try_from(self.broken_beside.saturating_sub(kills)).unwrap()
    }

    fn of(&self, kind: Kind) -> u64 {
        self.came.iter().filter(|(key, _)| key.0 == kind).map(|(_, number)| number).sum()
    }

    /// How many were faults.
    pub fn faults_told(&self) -> String {
        let faults: u64 = Kind::FAULTS
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|kind| self.of(kind))
            .sum();
        let wrong: Vec<_> = self.wrong.iter().take(10).map(|wrong| format!("\nWrong: {wrong}")).collect();
        let beside = self.broken_beside;
        format!(
            "{faults} were faults; {beside} others lost their CLI to one that was killed.{}",
            wrong.concat()
        )
    }

    /// What came.
    pub fn table(&self) -> Table {
        self.came
            .iter()
            .fold(Table::new(&["request", "what came", "times"]), |table, ((kind, came), times)| {
                table.row(&format!("{kind:?}"), [came.clone(), times.to_string()])
            })
    }
}

/// A client: one conversation after the other.
pub struct Client {
    http: reqwest::Client,
    base: String,
    couplet: u32,
    faults: &'static [Kind],
    random: fastrand::Rng,
    number: u64,
    asked: u64,
    conversation: Vec<Value>,
    questions: usize,
    /// What it met.
    pub tally: Tally,
}

impl Client {
    /// The client of that number.
    pub fn new(port: u16, couplet: u32, faults: &'static [Kind], number: u64) -> Self {
        // Idle connections are closed before it is looked at what is left.
        let http = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(2)).build().unwrap();
        Self {
            http,
            base: format!("http://127.0.0.1:{port}"),
            couplet,
            faults,
            random: fastrand::Rng::with_seed(number),
            number,
            asked: 0,
            conversation: Vec::new(),
            questions: 0,
            tally: Tally::default(),
        }
    }

    /// Sends a request and judges what comes.
    pub async fn ask(&mut self) {
        let kind = Kind::next(self.faults, &mut self.random);
        if self.questions == 0 {
            self.conversation.clear();
            self.questions = self.random.usize(1..=QUESTIONS);
        }
        self.asked += 1;
        let (text, question) = self.question(kind);
        let stream = kind.streams(&mut self.random);
        let killer = (kind == Kind::CliKilled).then(|| {
            let (couplet, mut random) = (self.couplet, self.random.fork());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(random.u64(..150))).await;
                kill_a_child(couplet, &mut random);
            })
        });
        let came = tokio::time::timeout(PATIENCE, self.send(kind, &question, stream)).await;
        let came = came.unwrap_or_else(|_| Ok(Came::Error("no answer in time".to_owned())));
        if let Some(killer) = killer {
            killer.await.unwrap();
        }
        let is_good = self.judge(kind, stream, &text, came);
        if kind.is_in_conversation() && is_good {
            self.conversation.push(json!({"role": "user", "content": question}));
            self.conversation.push(json!({"role": "assistant", "content": text}));
            self.questions -= 1;
        } else if kind.is_in_conversation() {
            self.questions = 0;
        }
    }

    /// The text that must come back, and the question that scripts it.
    fn question(&mut self, kind: Kind) -> (String, String) {
        let words = match self.random.u32(..1000) {
            0..750 => self.random.usize(3..40),
            750..960 => self.random.usize(40..200),
            _ => self.random.usize(200..800),
        };
        let about = if self.random.u32(..1000) < 3 { "a long tale ".repeat(20_000) } else { String::new() };
        // Those that come slowly are long enough for what happens in their middle, and no longer.
        let comes_slowly = matches!(kind, Kind::LeavesInMidAnswer | Kind::CliKilled);
        let words = if comes_slowly { words.clamp(20, 40) } else { words };
        let more: Vec<_> = (0..words).map(|word| format!(" {word}")).collect();
        let text = format!("r{}-{}{}", self.number, self.asked, more.concat());
        let question = format!("{about}[[say \"{text}\"]]{}", kind.directive());
        (text, question)
    }

    fn body(&self, kind: Kind, question: &str, stream: bool) -> Value {
        let asked = json!({"role": "user", "content": question});
        let history = if kind.is_in_conversation() { &self.conversation[..] } else { &[] };
        let messages: Vec<_> = history.iter().chain([&asked]).collect();
        match kind {
            Kind::Completion => json!({"model": MODEL, "prompt": question, "max_tokens": 4000}),
            Kind::Messages { .. } => {
                json!({"model": MODEL, "messages": messages, "max_tokens": 4000, "stream": stream})
            }
            Kind::CountTokens => json!({"model": MODEL, "messages": messages}),
            _ => json!({"model": MODEL, "messages": messages, "stream": stream}),
        }
    }

    async fn send(&self, kind: Kind, question: &str, stream: bool) -> Result<Came, reqwest::Error> {
        let url = format!("{}{}", self.base, kind.path());
        let key = if kind == Kind::WrongKey { "sk-wrong" } else { KEY };
        let request = match kind {
            Kind::Models => self.http.get(url),
            Kind::NoJson => self.http.post(url).body("{\"model\": "),
            _ => self.http.post(url).body(self.body(kind, question, stream).to_string()),
        };
        let request = request.header("content-type", "application/json").bearer_auth(key);
        if kind == Kind::LeavesAtOnce {
            let wait = Duration::from_millis(self.asked % 100);
            let _ = tokio::time::timeout(wait, request.send()).await;
            return Ok(Came::Left);
        }
        let response = request.send().await?;
        if response.status() != 200 {
            return Ok(Came::Error(response.status().as_u16().to_string()));
        }
        if kind == Kind::LeavesInMidAnswer {
            let mut pieces = response.bytes_stream();
            for _ in 0..3 {
                pieces.next().await.transpose()?;
            }
            return Ok(Came::Left);
        }
        let body = response.text().await?;
        Ok(if stream { streamed(&body) } else { whole(kind, &body) })
    }

    /// Whether the right answer came to a request that should have one.
    fn judge(&mut self, kind: Kind, stream: bool, text: &str, came: Result<Came, reqwest::Error>) -> bool {
        let came = came.unwrap_or_else(|error| Came::Error(format!("no answer: {error:?}")));
        let (told, is_good) = match &came {
            Came::Answer(answer) if answer == text => ("the answer".to_owned(), true),
            Came::Answer(answer) if matches!(kind, Kind::CountTokens | Kind::Models) => {
                ("the answer".to_owned(), answer.is_empty())
            }
            Came::Answer(_) => ("another answer".to_owned(), false),
            Came::Error(error) => (error.clone(), false),
            Came::Left => ("left".to_owned(), false),
        };
        // In a stream of Anthropic's form it has no code of its own.
        let broken = ["502", "upstream_broken", "api_error"];
        let is_right = match kind {
            Kind::LeavesAtOnce | Kind::LeavesInMidAnswer => came == Came::Left,
            Kind::ApiRefuses | Kind::NoJson => told == "400",
            Kind::ApiBreaksOff | Kind::ApiSaysError => {
                matches!(&came, Came::Error(error) if !error.starts_with("no "))
            }
            Kind::ApiStalls => ["504", "timeout"].contains(&&*told),
            Kind::CliKilled => is_good || broken.contains(&&*told),
            Kind::WrongKey => told == "401",
            Kind::NoSuchRoute => told == "404",
            _ => is_good,
        };
        if !is_right && broken.contains(&&*told) {
            self.tally.broken_beside += 1;
        } else if !is_right {
            self.tally.wrong.push(format!("{kind:?}, stream {stream}: {came:?}, not {text:?}"));
        }
        *self.tally.came.entry((kind, told)).or_default() += 1;
        is_good
    }
}

/// The text of a stream, or the error it ended with.
fn streamed(body: &str) -> Came {
    let (mut text, mut is_over) = (String::new(), false);
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data == "[DONE]" {
            is_over = true;
            continue;
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else { return Came::Error("no JSON".to_owned()) };
        if let Some(error) = event.get("error") {
            let code = error["code"].as_str().or(error["type"].as_str()).unwrap_or("no code");
            return Came::Error(code.to_owned());
        }
        is_over |= event["type"] == "message_stop";
        let delta = &event["choices"][0]["delta"]["content"];
        text += delta.as_str().or(event["delta"]["text"].as_str()).unwrap_or_default();
    }
    if is_over { Came::Answer(text) } else { Came::Error("no end".to_owned()) }
}

/// The text of a body; none of those that have no text.
fn whole(kind: Kind, body: &str) -> Came {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return Came::Error("no JSON".to_owned()) };
    let text = match kind {
        Kind::Completion => &body["choices"][0]["text"],
        Kind::Messages { .. } => &body["content"][0]["text"],
        Kind::CountTokens if body["input_tokens"].is_u64() => return Came::Answer(String::new()),
        Kind::Models if body["data"][0]["id"].is_string() => return Came::Answer(String::new()),
        _ => &body["choices"][0]["message"]["content"],
    };
    text.as_str().map_or_else(|| Came::Error("no text".to_owned()), |text| Came::Answer(text.to_owned()))
}

/// Kills one of Couplet's processes, whichever it is.
fn kill_a_child(couplet: u32, random: &mut fastrand::Rng) {
    let children = children_of(couplet);
    let Some(child) = random.choice(&children) else { return };
    if let Some(id) = Pid::from_raw(child.id().cast_signed()) {
        // It may have ended by itself.
        let _ = kill_process(id, Signal::KILL);
    }
}
