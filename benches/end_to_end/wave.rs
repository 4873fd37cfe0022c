//! Many questions at the same moment.

use std::sync::Barrier;
use std::thread::{ScopedJoinHandle, scope};

use super::Bench;
use super::bare_cli::BareCli;
use super::client::Client;
use super::prompt::Prompt;
use super::support::couplet::Couplet;
use super::support::report::milliseconds;
use super::support::statistics::{Samples, Stopwatch};

/// What became of questions that were asked at the same moment, wave after wave.
#[derive(Clone)]
pub struct Waves {
    /// The milliseconds to the first text of each answer.
    pub first_text: Samples,
    /// The milliseconds until all answers of a wave had ended.
    pub all: Samples,
    /// What came instead of answers.
    pub errors: Vec<String>,
}

impl Waves {
    /// None yet.
    pub const fn new() -> Self {
        Self { first_text: Samples::new(), all: Samples::new(), errors: Vec::new() }
    }

    /// So many questions to Couplet, each in a conversation of its own.
    pub fn ask_couplet(&mut self, couplet: &Couplet, prompt: &Prompt, question: &str, number: usize) {
        let clients: Vec<_> = (0..number).map(|_| Client::connect(couplet.port(), prompt)).collect();
        self.add(clients, |mut client: Client, _| (client.try_ask(question), client));
    }

    /// So many processes of the CLI, each with a question of its own.
    pub fn start_bare(&mut self, bench: &Bench, prompt: &Prompt, number: usize) {
        let turn = prompt.turn("hi");
        self.add(vec![(); number], |(), begun| {
            let mut bare = BareCli::start(&bench.bare);
            bare.set_up_and_ask(&turn);
            bare.first_text();
            let time = begun.milliseconds();
            bare.end();
            (Ok(time), bare)
        });
    }

    /// Asks at the same moment, on a thread for each. What `ask` gives back beside the time is ended later: that is no part
    /// of the wave.
    fn add<A: Send, B: Send>(
        &mut self,
        askers: Vec<A>,
        ask: impl Fn(A, Stopwatch) -> (Result<f64, String>, B) + Sync,
    ) {
        let (gate, ask) = (&Barrier::new(askers.len()), &ask);
        let answers: Vec<_> = scope(|threads| {
            let start = |asker: A| {
                threads.spawn(move || {
                    gate.wait();
                    let begun = Stopwatch::start();
                    let (answer, asked) = ask(asker, begun);
                    (answer, begun.milliseconds(), asked)
                })
            };
            let threads: Vec<_> = askers.into_iter().map(start).collect();
            threads.into_iter().map(|thread| ScopedJoinHandle::join(thread).unwrap()).collect()
        });
        self.all.push(answers.iter().map(|answer| answer.1).fold(0.0, f64::max));
        let mut times = Vec::new();
        for (answer, ..) in answers {
            match answer {
                Ok(time) => times.push(time),
                Err(error) => self.errors.push(error),
            }
        }
        self.first_text.push_round(times);
    }

    /// For a table of [`COLUMNS`].
    pub fn figures(&self) -> [String; 4] {
        [
            milliseconds(self.first_text.median()),
            milliseconds(self.first_text.p95()),
            milliseconds(self.all.median()),
            self.errors.len().to_string(),
        ]
    }
}

/// The columns of [`Waves::figures`], behind the first.
pub const COLUMNS: [&str; 4] = ["first text, median, ms", "p95, ms", "all answered, median, ms", "errors"];
