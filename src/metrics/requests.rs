//! The series of requests. Their labels are routes, methods, statuses and codes of Couplet's own, never a client's text.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::table::{REQUEST_DURATION, REQUESTS};
use crate::caller::TenantName;
use crate::claude::answer::Usage;
use crate::claude::sink::ProcessOrigin;

/// What the line of a request in the log tells, as far as it is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed<'a> {
    /// The route that served it, as it is declared; none where there was none.
    pub route: Option<&'a str>,
    /// The method, as the client sent it.
    pub method: &'a str,
    /// The status that was sent.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: &'static str,
    /// Whether it failed through no fault of the client, whatever status was sent.
    pub is_our_fault: bool,
    /// Why its turn failed.
    pub cause: Option<&'static str>,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// From its head to the first delta.
    pub first_delta: Option<Duration>,
    /// Which process answered.
    pub origin: Option<ProcessOrigin>,
    /// The tokens, if it came to an end.
    pub usage: Option<Usage>,
    /// Calls of tools.
    pub tool_calls: u32,
    /// On whose behalf it was asked, if it came to that: one of the configured tenants.
    pub tenant: Option<&'a TenantName>,
    /// The model that the CLI was told.
    pub asked_model: &'a str,
    /// The model as it named itself.
    pub model: &'a str,
    /// Whether it was to be streamed.
    pub stream: bool,
}

/// What stands for a route where there is none.
const UNMATCHED: &str = "unmatched";

/// The methods that are told apart.
const METHODS: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"];

/// What stands for all other methods.
const OTHER: &str = "other";

/// The series that there are so far. There is one for each way in which a route has ended.
#[derive(Debug, Default)]
pub(super) struct Requests(RwLock<HashMap<String, OfRoute>>);

#[derive(Debug)]
struct OfRoute {
    duration: Histogram,
    ended: HashMap<(&'static str, Option<u16>, &'static str), Counter>,
}

impl Requests {
    /// Counts a request.
    pub(super) fn observe(&self, recorder: &PrometheusRecorder, request: &Observed<'_>) {
        let route = request.route.unwrap_or(UNMATCHED);
        let method = METHODS.into_iter().find(|method| *method == request.method).unwrap_or(OTHER);
        let how = (method, request.status, request.outcome);
        if !self.count(route, how, request.duration) {
            self.add(recorder, route, how);
            self.count(route, how, request.duration);
        }
    }

    /// `false` where there is no such series yet.
    fn count(&self, route: &str, how: (&'static str, Option<u16>, &'static str), duration: Duration) -> bool {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of_route) = routes.get(route) else { return false };
        let Some(ended) = of_route.ended.get(&how) else { return false };
        ended.increment(1);
        of_route.duration.record(duration);
        true
    }

    fn add(
        &self,
        recorder: &PrometheusRecorder,
        route: &str,
        how: (&'static str, Option<u16>, &'static str),
    ) {
        let (method, status, outcome) = how;
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of_route = routes.entry(route.to_owned()).or_insert_with(|| OfRoute {
            duration: REQUEST_DURATION.histogram(recorder, &[route]),
            ended: HashMap::new(),
        });
        let counter = || REQUESTS.counter(recorder, &[route, method, &status, outcome]);
        of_route.ended.entry(how).or_insert_with(counter);
    }
}
