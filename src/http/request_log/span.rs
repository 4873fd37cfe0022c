//! The span of a request: what its line tells, under the names that OpenTelemetry has for it.

use axum::extract::Request;
use tracing::Span;
use tracing::field::Empty;

use crate::claude::sink::ProcessOrigin;
use crate::metrics::Observed;
use crate::telemetry::{self, TARGET};

/// Opens it. It is a part of the trace that the request's headers name.
pub(super) fn open(request: &Request) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        "error.type" = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
        gen_ai.request.model = Empty,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        couplet.request_id = Empty,
        couplet.outcome = Empty,
        couplet.process = Empty,
        couplet.stream = Empty,
        couplet.tenant = Empty,
    );
    if !span.is_disabled() {
        telemetry::follow(&span, |name| request.headers().get(name)?.to_str().ok());
    }
    span
}

/// Tells what has become of the request, which ends with it.
pub(super) fn tell(span: &Span, request_id: &str, observed: &Observed<'_>) {
    if span.is_disabled() {
        return;
    }
    span.record("couplet.request_id", request_id);
    span.record("http.request.method", observed.method);
    span.record("http.route", observed.route);
    span.record("http.response.status_code", observed.status);
    span.record("couplet.outcome", observed.outcome);
    span.record("error.type", observed.cause.or_else(|| observed.is_our_fault.then_some(observed.outcome)));
    span.record("otel.status_code", observed.is_our_fault.then_some("ERROR"));
    if let Some(tenant) = observed.tenant {
        span.record("couplet.tenant", tenant.as_str());
        span.record("couplet.stream", observed.stream);
        span.record("couplet.process", observed.origin.map(ProcessOrigin::as_str));
        let named = |model: &'static str, name: &str| {
            if !name.is_empty() {
                span.record(model, name);
            }
        };
        named("gen_ai.request.model", observed.asked_model);
        named("gen_ai.response.model", observed.model);
    }
    if let Some(usage) = observed.usage {
        // All tokens of the prompt, as OpenTelemetry counts them.
        let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_creation);
        span.record("gen_ai.usage.input_tokens", input);
        span.record("gen_ai.usage.output_tokens", usage.output);
        span.record("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
        span.record("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation);
    }
    // What exports it takes the moment in which it was left last for its end, and the handler left it when the headers were
    // sent.
    span.in_scope(|| ());
}
