//! The log: what is written, in which form. It goes to stderr, by a thread of its own: whoever reads there may be slow, or not read
//! at all, or be gone, and nothing waits for him but that thread.
//!
//! - [`bounded`]: lines that could be written as often as requests come.

pub mod bounded;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Stderr, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::values::{Refusal, Value, choices};
use crate::telemetry::{self, Traces};

/// Couplet's own target. What it logs is without content at every level; for what is not, see [`UNLESS_NAMED`].
const OWN: &str = "couplet";

/// The most that libraries may say unless they are named: at finer levels some of them write out what passes through.
const LIBRARIES: LevelFilter = LevelFilter::WARN;

/// Parts of Couplet that are off unless they are named: what the CLI says on stderr may quote what was said; spans are for
/// traces.
const UNLESS_NAMED: [&str; 2] = [crate::claude::session::CLI_STDERR, telemetry::TARGET];

/// The words for levels.
const LEVELS: &str = "off, error, warn, info, debug, trace";

/// Lines that wait to be written while nobody reads them, some 5 MB. Those beyond are lost, and the log says how many.
const LINES_IN_WAITING: usize = 10_000;

/// Held as long as there is to be a log. Dropped, it writes what waits, for which it waits a second at most.
#[derive(Debug, Default)]
pub struct Log {
    /// Before the lines: its end may be worth one.
    _traces: Traces,
    _lines: Option<WorkerGuard>,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// A JSON object.
    Json,
    /// [`LogFormat::Human`] on a terminal, else [`LogFormat::Json`].
    Auto,
}

choices!(LogFormat { Human = "human", Json = "json", Auto = "auto" });

impl Value for LogFilter {
    fn allowed() -> String {
        format!(
            "a level ({LEVELS}), and target=level for parts, separated by commas, as info,couplet::claude=debug"
        )
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let mut targets = Targets::new().with_default(LIBRARIES).with_target(OWN, LevelFilter::INFO);
        targets.extend(UNLESS_NAMED.map(|target| (target, LevelFilter::OFF)));
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            // A word alone is a level. Read as a target, a slip such as `debgu` would turn the log off.
            let (target, level) = directive.split_once('=').unwrap_or(("", directive));
            let no_level = || Refusal::because(format!("{level:?} is no level"));
            let level: LevelFilter = level.trim().parse().map_err(|_| no_level())?;
            if level.to_string() != directive.rsplit('=').next().unwrap_or_default().trim().to_lowercase() {
                return Err(no_level());
            }
            targets = match target.trim() {
                "" if directive.contains('=') => return Err(Refusal::because("a target is missing")),
                "" => targets.with_default(level.min(LIBRARIES)).with_target(OWN, level),
                target if target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') => {
                    targets.with_target(target, level)
                }
                target => return Err(Refusal::because(format!("{target:?} is no target"))),
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }

    fn shown(&self) -> serde_json::Value {
        serde_json::json!(self.text)
    }
}

/// Starts the log of this process, and its traces, as long as they are held. A second start has no effect.
#[must_use]
pub fn start(filter: LogFilter, format: LogFormat) -> Log {
    let terminal = io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    let (writer, guard) = without_waiting();
    let lines = fmt::layer().with_writer(writer).with_ansi(colours).log_internal_errors(false);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.boxed()
    };
    let (traces, spans, problem) = match telemetry::start() {
        Ok((traces, spans)) => (traces, spans, None),
        Err(error) => (Traces::default(), None, Some(error)),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter.targets));
    let is_first = registry.with(spans).try_init().is_ok();
    if is_first {
        std::panic::set_hook(Box::new(tell_panic));
    }
    if let Some(problem) = problem {
        tracing::warn!(%problem, "there will be no traces");
    }
    Log { _traces: traces, _lines: is_first.then_some(guard) }
}

/// Writes lines to stderr by a thread of its own.
fn without_waiting() -> (NonBlocking, WorkerGuard) {
    let counter = Arc::new(OnceLock::new());
    let stderr = Lines { to: io::stderr(), counter: Arc::clone(&counter), told: 0 };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_IN_WAITING)
        .thread_name("log")
        .finish(stderr);
    // The only one who sets it.
    let _ = counter.set(writer.error_counter());
    (writer, guard)
}

/// Where lines are written. It tells of those that found no room, as soon as it can write again.
struct Lines {
    to: Stderr,
    counter: Arc<OnceLock<ErrorCounter>>,
    /// How many of them the log was told of.
    told: usize,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.to.write(line)?;
        let lost = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            let lines = lost - self.told;
            self.told = lost;
            tracing::warn!(lines, "lines of the log are lost: nobody read it for a while");
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Tells where a defect is. The message only where it is a constant: one that was put together may hold a piece of what
/// somebody said, as those of `str` do.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(withheld)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(message, place, backtrace, "a panic; this is a defect of Couplet");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use tracing::Level;

    #[rstest]
    #[case("info", "couplet::http", Level::INFO, true)]
    #[case("info", "couplet::http", Level::DEBUG, false)]
    #[case("", "couplet", Level::INFO, true)]
    #[case("trace", "couplet::claude", Level::TRACE, true)]
    #[case("trace", "hyper::proto", Level::INFO, false)]
    #[case("trace", "reqwest", Level::WARN, true)]
    #[case("off", "couplet", Level::ERROR, false)]
    #[case("off", "hyper", Level::ERROR, false)]
    #[case("couplet::claude=debug", "couplet::claude::pool", Level::DEBUG, true)]
    #[case("couplet::claude=debug", "couplet::http", Level::INFO, true)]
    #[case("WARN, couplet::http = debug", "couplet::http", Level::DEBUG, true)]
    #[case("WARN, couplet::http = debug", "couplet::claude", Level::INFO, false)]
    #[case("trace", "couplet::cli_stderr", Level::ERROR, false)]
    #[case("couplet=trace", "couplet::cli_stderr", Level::ERROR, false)]
    #[case("info,couplet::cli_stderr=debug", "couplet::cli_stderr", Level::DEBUG, true)]
    #[case("hyper=trace", "hyper::proto", Level::TRACE, true)]
    #[case("trace", "couplet::trace", Level::ERROR, false)]
    fn a_level_is_for_couplet_and_libraries_must_be_named(
        #[case] filter: &str,
        #[case] target: &str,
        #[case] level: Level,
        #[case] enabled: bool,
    ) {
        assert_eq!(LogFilter::read(filter).unwrap().targets.would_enable(target, &level), enabled);
    }

    #[rstest]
    #[case("debgu")]
    #[case("couplet")]
    #[case("couplet=loud")]
    #[case("=info")]
    #[case("couplet[span]=info")]
    #[case("5")]
    fn a_slip_is_refused(#[case] filter: &str) {
        assert!(LogFilter::read(filter).is_err());
    }
}
