//! The metrics of one server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::connections::ConnectionCounts;
use super::gauges::Gauges;
use super::own_process;
use super::requests::{Observed, Requests};
use super::table::{ERRORS, FIRST_DELTA, Kind, RATE_LIMITED, SECONDS, TABLE, TOOL_CALLS};
use super::tokens::Tokens;
use crate::caller::TenantName;
use crate::claude::sink::ProcessOrigin;
use crate::limits::refusal::Refusal;
use crate::tenants::Tenants;
use crate::translate::models::is_listed;

/// After so many requests what was measured of them is put into the histograms, if nobody reads the metrics. Until then
/// each takes some bytes.
const UPKEEP: u64 = 1024;

/// What is counted and measured of a server. Nothing here can fail, and nothing of it waits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    requests: Requests,
    tokens: Tokens,
    first_delta: [(ProcessOrigin, Histogram); 5],
    tool_calls: Counter,
    /// By the limits that there are: to be counted without being looked up, since refusals are to cost little.
    rate_limited: [(&'static str, Counter); Refusal::KINDS.len()],
    observed: AtomicU64,
    tenants: Tenants,
    connections: ConnectionCounts,
    /// The models that the operator's aliases stand for.
    targets: Vec<String>,
    gauges: Mutex<Gauges>,
    reading: tokio::sync::Mutex<()>,
}

impl Metrics {
    /// Nothing yet. The processes of `tenants` and the `connections` will be looked at; `targets` are the models that the operator's aliases stand
    /// for; `mode` says whether it is a demo.
    #[must_use]
    pub fn new(tenants: Tenants, connections: ConnectionCounts, targets: Vec<String>, mode: &str) -> Self {
        let recorder = recorder();
        for metric in TABLE {
            metric.describe(&recorder);
        }
        let origins = [
            ProcessOrigin::Live,
            ProcessOrigin::Parked,
            ProcessOrigin::Prepared,
            ProcessOrigin::Generic,
            ProcessOrigin::Started,
        ];
        let of_origin =
            |origin: ProcessOrigin| (origin, FIRST_DELTA.histogram(&recorder, &[origin.as_str()]));
        Self(Arc::new(Inner {
            first_delta: origins.map(of_origin),
            tool_calls: TOOL_CALLS.counter(&recorder, &[]),
            rate_limited: Refusal::KINDS.map(|kind| (kind, RATE_LIMITED.counter(&recorder, &[kind]))),
            gauges: Mutex::new(Gauges::new(&recorder, mode)),
            reading: tokio::sync::Mutex::default(),
            requests: Requests::default(),
            tokens: Tokens::default(),
            observed: AtomicU64::new(0),
            recorder,
            tenants,
            connections,
            targets,
        }))
    }

    /// Counts a request that has ended.
    pub fn observe(&self, request: &Observed<'_>) {
        let inner = &*self.0;
        inner.requests.observe(&inner.recorder, request);
        if let (Some(first_delta), Some(origin)) = (request.first_delta, request.origin)
            && let Some((_, histogram)) = inner.first_delta.iter().find(|(of, _)| *of == origin)
        {
            histogram.record(first_delta);
        }
        if let Some(kind) = request.cause {
            ERRORS.counter(&inner.recorder, &[kind]).increment(1);
        }
        if request.tool_calls > 0 {
            inner.tool_calls.increment(request.tool_calls.into());
        }
        if let (Some(usage), Some(tenant)) = (request.usage, request.tenant) {
            let is_listed = || inner.knows(tenant, request.asked_model);
            inner.tokens.count(&inner.recorder, tenant.as_str(), request.model, usage, is_listed);
        }
        if inner.observed.fetch_add(1, Ordering::Relaxed) % UPKEEP == UPKEEP - 1 {
            inner.recorder.handle().run_upkeep();
        }
    }

    /// Counts a request that was refused because of a limit.
    pub fn rate_limited(&self, refusal: &Refusal) {
        let kind = refusal.kind();
        if let Some((_, counter)) = self.0.rate_limited.iter().find(|(known, _)| *known == kind) {
            counter.increment(1);
        }
    }

    /// All of it as Prometheus reads it (its text format 0.0.4). `cli_version` is that of the CLI, where there is one. Those
    /// who ask at once are served one after the other: a text of the metrics may be long.
    pub async fn read(&self, cli_version: Option<String>) -> String {
        let _one_at_a_time = self.0.reading.lock().await;
        let metrics = self.clone();
        let write = move || metrics.exposition(cli_version.as_deref());
        // It takes milliseconds, and panics no more than it fails.
        tokio::task::spawn_blocking(write).await.unwrap_or_default()
    }

    fn exposition(&self, cli_version: Option<&str>) -> String {
        let inner = &*self.0;
        let mut gauges = inner.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.look(&inner.recorder, &inner.tenants, &inner.connections, cli_version);
        let mut text = inner.recorder.handle().render();
        own_process::write(&mut text);
        text
    }
}

impl Inner {
    /// Whether the model that was asked is one that the operator or the CLI lists.
    fn knows(&self, tenant: &TenantName, asked: &str) -> bool {
        let of_the_cli = || {
            let models = self.tenants.of(tenant).and_then(|claude| claude.catalog().models());
            models.is_some_and(|(models, _)| is_listed(asked, &models))
        };
        self.targets.iter().any(|target| target == asked) || of_the_cli()
    }
}

/// With histograms; the bounds are the same for all.
fn recorder() -> PrometheusRecorder {
    let histograms = TABLE.iter().filter(|metric| metric.kind == Kind::Histogram);
    let with_bounds = histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        let name = Matcher::Full(metric.name.to_owned());
        // It fails only without bounds.
        builder.set_buckets_for_metric(name, &SECONDS).unwrap_or_default()
    });
    with_bounds.build_recorder()
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}
