//! What is looked at when the metrics are read.

use std::collections::BTreeSet;

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::connections::{ConnectionCounts, Cut};
use super::table::{
    BUILD_INFO, CLI_INFO, CONNECTIONS, CONNECTIONS_CUT, CONNECTIONS_MAX, FREE_PLACES, Metric, PROCESS_MEMORY,
    PROCESS_MEMORY_BUDGET, PROCESSES, QUEUE_LENGTH, SUBSCRIPTION_STATUS, SUBSCRIPTION_UTILIZATION,
    UNKNOWN_FRAMES,
};
use crate::claude::session::unknown_frames;
use crate::claude::subscription::{LimitWindow, Standing, SubscriptionState};
use crate::claude::{Claude, Processes};
use crate::tenants::Tenants;

/// Windows of a subscription's limits that are told apart.
const WINDOWS: usize = 16;

/// What stands for everything that is not told apart.
const OTHER: &str = "other";

/// The states of a subscription that are told apart.
const STANDINGS: [Standing; 3] = [Standing::Ok, Standing::Warning, Standing::Rejected];

/// What was looked at before.
#[derive(Debug)]
pub(super) struct Gauges {
    unknown_frames: Counter,
    /// The version of the CLI that was told last, and its gauge.
    cli: Option<(String, Gauge)>,
    /// The names of windows so far.
    windows: BTreeSet<String>,
}

impl Gauges {
    pub(super) fn new(recorder: &PrometheusRecorder, mode: &str) -> Self {
        BUILD_INFO.gauge(recorder, &[env!("CARGO_PKG_VERSION"), mode]).set(1);
        let unknown_frames = UNKNOWN_FRAMES.counter(recorder, &[]);
        Self { unknown_frames, cli: None, windows: BTreeSet::new() }
    }

    /// Looks at everything.
    pub(super) fn look(
        &mut self,
        recorder: &PrometheusRecorder,
        tenants: &Tenants,
        connections: &ConnectionCounts,
        cli_version: Option<&str>,
    ) {
        self.unknown_frames.absolute(unknown_frames());
        self.tell_cli(recorder, cli_version);
        for (tenant, claude) in tenants.iter() {
            tell_processes(recorder, tenant.as_str(), claude);
            self.tell_subscription(recorder, tenant.as_str(), &claude.subscription());
        }
        tell_memory(recorder, &tenants.processes());
        tell_connections(recorder, connections);
    }

    fn tell_cli(&mut self, recorder: &PrometheusRecorder, version: Option<&str>) {
        let told = self.cli.as_ref().map(|(version, _)| version.as_str());
        if told == version {
            return;
        }
        if let Some((_, gauge)) = self.cli.take() {
            gauge.set(0);
        }
        self.cli = version.map(|version| {
            let gauge = CLI_INFO.gauge(recorder, &[version]);
            gauge.set(1);
            (version.to_owned(), gauge)
        });
    }

    /// Tells of a tenant's subscription. The names of its windows come from the CLI, so there are only so many.
    fn tell_subscription(
        &mut self,
        recorder: &PrometheusRecorder,
        tenant: &str,
        subscription: &SubscriptionState,
    ) {
        for standing in STANDINGS {
            let is_it = f64::from(u8::from(standing == subscription.standing));
            SUBSCRIPTION_STATUS.gauge(recorder, &[tenant, standing.as_str()]).set(is_it);
        }
        for LimitWindow { name, utilization, .. } in &subscription.windows {
            let Some(used) = utilization else { continue };
            let is_known = self.windows.contains(name)
                || self.windows.len() < WINDOWS && self.windows.insert(name.clone());
            let window = if is_known { name } else { OTHER };
            SUBSCRIPTION_UTILIZATION.gauge(recorder, &[tenant, window]).set(*used);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats; these are far below 2⁵³")]
fn tell_processes(recorder: &PrometheusRecorder, tenant: &str, claude: &Claude) {
    let Processes { warm, working, kept, queued, .. } = claude.processes();
    for (state, count) in [
        ("starting", warm.starting),
        ("generic", warm.generic),
        ("prepared", warm.prepared),
        ("working", working),
        ("live", kept.live),
        ("parked", kept.parked),
    ] {
        PROCESSES.gauge(recorder, &[tenant, state]).set(count as f64);
    }
    let of_tenant = |metric: Metric, value: f64| metric.gauge(recorder, &[tenant]).set(value);
    of_tenant(QUEUE_LENGTH, queued as f64);
    of_tenant(FREE_PLACES, claude.free_places() as f64);
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats; these are far below 2⁵³")]
fn tell_memory(recorder: &PrometheusRecorder, all: &Processes) {
    PROCESS_MEMORY.gauge(recorder, &[]).set(all.memory_used as f64);
    PROCESS_MEMORY_BUDGET.gauge(recorder, &[]).set(all.memory_budget as f64);
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats; these are far below 2⁵³")]
fn tell_connections(recorder: &PrometheusRecorder, connections: &ConnectionCounts) {
    CONNECTIONS.gauge(recorder, &[]).set(connections.open() as f64);
    CONNECTIONS_MAX.gauge(recorder, &[]).set(connections.max() as f64);
    for why in Cut::ALL {
        CONNECTIONS_CUT.counter(recorder, &[why.as_str()]).absolute(connections.cut(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn told(of: impl Fn(&mut Gauges, &PrometheusRecorder)) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        of(&mut Gauges::new(&recorder, "live"), &recorder);
        recorder.handle().render()
    }

    #[test]
    fn a_subscription_is_in_one_state() {
        let text = told(|gauges, recorder| {
            for standing in [Standing::Ok, Standing::Rejected, Standing::Warning] {
                let subscription = SubscriptionState { standing, ..SubscriptionState::default() };
                gauges.tell_subscription(recorder, "ann", &subscription);
            }
        });
        for (status, value) in [("ok", 0), ("warning", 1), ("rejected", 0)] {
            let line = format!("couplet_subscription_status{{tenant=\"ann\",status=\"{status}\"}} {value}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn only_so_many_windows_are_told_apart() {
        let text = told(|gauges, recorder| {
            let window = |number| LimitWindow {
                name: format!("window-{number}"),
                utilization: Some(0.25),
                resets_at: None,
            };
            let windows = (0..100).map(window).collect();
            let subscription = SubscriptionState { windows, ..SubscriptionState::default() };
            gauges.tell_subscription(recorder, "ann", &subscription);
        });
        let series = text.lines().filter(|line| line.ends_with(" 0.25")).count();
        assert_eq!(series, WINDOWS + 1, "{text}");
        assert!(text.contains(r#"window="other""#) && text.contains(r#"window="window-0""#), "{text}");
    }

    #[test]
    fn the_cli_that_was_there_before_is_told_no_more() {
        let text = told(|gauges, recorder| {
            for version in [Some("2.1.270"), Some("2.1.329"), Some("2.1.329")] {
                gauges.tell_cli(recorder, version);
            }
        });
        assert!(text.contains("couplet_claude_cli_info{version=\"2.1.270\"} 0\n"), "{text}");
        assert!(text.contains("couplet_claude_cli_info{version=\"2.1.329\"} 1\n"), "{text}");
    }
}
