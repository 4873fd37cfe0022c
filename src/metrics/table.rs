//! All metrics in one place.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::PrometheusRecorder;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit at the end.
    pub name: &'static str,
    /// What can be done with its numbers.
    pub kind: Kind,
    /// The names of its labels, each with what it can be.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it tells.
    pub help: &'static str,
}

/// What can be done with the numbers of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, until the server starts anew.
    Counter,
    /// They come and go.
    Gauge,
    /// How many were up to each of some bounds.
    Histogram,
}

impl Kind {
    /// Its name in the exposition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Upper bounds for durations, in seconds: from what a process that waits needs, to what a client may have to wait at most
/// for the first word.
pub const SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 600.0];

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal {$($label:ident: $values:literal),*} $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$((stringify!($label), $values)),*],
                help: $help,
            };
        )*
        /// All of them, in the order of the documentation.
        pub const TABLE: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    REQUESTS: Counter "couplet_requests_total" {
        route: "a route of the server, such as `/v1/chat/completions`; `unmatched`",
        method: "a method of HTTP; `other`",
        status: "the status that was sent, such as `200`; `none` where the client was gone before",
        outcome: "`complete`, `client_gone`, or the code of the error"
    } "Requests that have ended, each when its answer was read or its client had gone.";
    REQUEST_DURATION: Histogram "couplet_request_duration_seconds" {
        route: "as above"
    } "Time from a request's head to the end of its answer.";
    FIRST_DELTA: Histogram "couplet_time_to_first_delta_seconds" {
        process: "which process answered: `live`, `parked`, `prepared`, `generic`, `started`"
    } "Time from a request's head to the first text, thought or call of its answer.";
    ERRORS: Counter "couplet_errors_total" {
        kind: "the `cause` of the log, such as `usage_limit`, `api_overloaded`, `crashed`"
    } "Turns that failed on their way to the model or back.";
    TOKENS: Counter "couplet_tokens_total" {
        kind: "`input` (not cached), `cache_read`, `cache_creation`, `output`",
        model: "the model as it names itself; `other` beyond the first hundred",
        tenant: "one of the configured tenants; `default`"
    } "Tokens of answers that were complete, and of attempts that led to them.";
    TOOL_CALLS: Counter "couplet_tool_calls_total" {} "Calls of tools in answers.";
    RATE_LIMITED: Counter "couplet_rate_limited_total" {
        limit: "`requests`, `tokens`, `turns`, `daily_tokens`, `monthly_tokens`, `callers`, `usage_unknown`"
    } "Requests that were refused because of a limit of their key, of its tenant, or of the server.";
    CONNECTIONS: Gauge "couplet_connections" {} "Connections that are open.";
    CONNECTIONS_MAX: Gauge "couplet_connections_max" {} "Connections that may be open.";
    CONNECTIONS_CUT: Counter "couplet_connections_cut_total" {
        reason: "`head` (a request's head did not end), `idle`, `body` (it came too slowly), `unread` (an answer), `evicted` (for another \
                 one), `turned_away` (there was no room; some of these asked for `/health/live`, and were answered)"
    } "Connections that the server closed because of their clients.";
    PROCESSES: Gauge "couplet_processes" {
        tenant: "as above",
        state: "`starting`, `generic`, `prepared`, `working`, `live`, `parked`"
    } "Processes of the Claude Code CLI; of `working`, some may still wait for theirs.";
    QUEUE_LENGTH: Gauge "couplet_queue_length" {
        tenant: "as above"
    } "Turns that wait for a place.";
    FREE_PLACES: Gauge "couplet_free_places" {
        tenant: "as above"
    } "Turns that could start at once.";
    PROCESS_MEMORY: Gauge "couplet_process_memory_bytes" {}
        "Memory that processes of the CLI take, those of all tenants.";
    PROCESS_MEMORY_BUDGET: Gauge "couplet_process_memory_budget_bytes" {}
        "Memory that processes of the CLI may take, those of all tenants.";
    SUBSCRIPTION_UTILIZATION: Gauge "couplet_subscription_utilization_ratio" {
        tenant: "as above",
        window: "a window of the subscription's limits, such as `five_hour`, `seven_day`"
    } "How much of the subscription's limit is used up, 0 to 1.";
    SUBSCRIPTION_STATUS: Gauge "couplet_subscription_status" {
        tenant: "as above",
        status: "`ok`, `warning`, `rejected`"
    } "1 for the state the subscription is in, 0 for the others.";
    UNKNOWN_FRAMES: Counter "couplet_unknown_frames_total" {}
        "Frames of the CLI of a kind that is not known, and lines that were no frames.";
    BUILD_INFO: Gauge "couplet_build_info" {
        version: "of Couplet",
        mode: "`live`, `demo`"
    } "Always 1: the server that is running.";
    CLI_INFO: Gauge "couplet_claude_cli_info" {
        version: "of the Claude Code CLI"
    } "1 while there is a usable CLI; absent where none was found.";
    OWN_CPU: Counter "process_cpu_seconds_total" {} "CPU time of the server itself.";
    OWN_RESIDENT: Gauge "process_resident_memory_bytes" {} "Resident memory of the server itself.";
    OWN_VIRTUAL: Gauge "process_virtual_memory_bytes" {} "Virtual memory of the server itself.";
    OWN_OPEN_FDS: Gauge "process_open_fds" {} "Open file descriptors of the server itself.";
    OWN_MAX_FDS: Gauge "process_max_fds" {} "Most file descriptors that the server itself may open.";
    OWN_START_TIME: Gauge "process_start_time_seconds" {} "When the server started, in seconds since 1970.";
}

/// What the recorder asks for and does not use.
const METADATA: Metadata<'static> = Metadata::new("couplet", Level::INFO, None);

impl Metric {
    /// Tells the recorder what it means.
    pub fn describe(&self, recorder: &PrometheusRecorder) {
        let (name, help) = (self.name.into(), self.help.into());
        match self.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram => recorder.describe_histogram(name, None, help),
        }
    }

    /// The counter with these values for its labels, in their order.
    pub fn counter(&self, recorder: &PrometheusRecorder, values: &[&str]) -> Counter {
        recorder.register_counter(&self.key(values), &METADATA)
    }

    /// The gauge with these values for its labels, in their order.
    pub fn gauge(&self, recorder: &PrometheusRecorder, values: &[&str]) -> Gauge {
        recorder.register_gauge(&self.key(values), &METADATA)
    }

    /// The histogram with these values for its labels, in their order.
    pub fn histogram(&self, recorder: &PrometheusRecorder, values: &[&str]) -> Histogram {
        recorder.register_histogram(&self.key(values), &METADATA)
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let labels = self.labels.iter().zip(values);
        let label = |((name, _), value): (&(&'static str, _), &&str)| {
            Label::new(*name, SharedString::from_owned((*value).to_owned()))
        };
        Key::from_parts(self.name, labels.map(label).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for metric in TABLE {
            let name = metric.name;
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert!(name.starts_with("couplet_") || name.starts_with("process_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            if metric.kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            // `le` and `quantile` are Prometheus' own.
            assert!(metric.labels.iter().all(|(label, _)| !["le", "quantile"].contains(label)), "{name}");
            assert_eq!(TABLE.iter().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }
}
