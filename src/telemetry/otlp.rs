//! Takes the spans and sends them by OTLP over HTTP, in batches, from a thread of the SDK's.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::client::Client;
use super::{SpanLayer, TARGET};

/// The variables that say where to; the first one for traces alone.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How long the last spans may take when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

const SERVICE_NAME: &str = "service.name";

/// Sends the spans.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

/// Starts, if the environment says where to. How, the SDK reads from it.
pub(super) fn start<S>() -> Result<Option<(Exporter, SpanLayer<S>)>, Box<dyn Error>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled || ENDPOINTS.into_iter().all(|name| variable(name).is_none()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::new()?).build()?;
    let provider =
        SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
    // Where in the source a span is made, and by which thread, is nobody's concern.
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("couplet"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    Ok(Some((Exporter(provider), layer.boxed())))
}

/// Who sends them, as the environment says, or else `couplet`.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let name = said.get(&Key::new(SERVICE_NAME));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut named = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    if !is_named {
        named.push(KeyValue::new(SERVICE_NAME, "couplet"));
    }
    Resource::builder().with_attributes(named).build()
}

/// See [`follow`](super::follow).
pub(super) fn follow<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    if span.is_disabled() {
        return;
    }
    let propagator = TraceContextPropagator::new();
    let carried = propagator.fields().filter_map(|name| Some((name.to_owned(), header(name)?.to_owned())));
    let carried: HashMap<String, String> = carried.collect();
    // Only a span that has begun already cannot follow.
    let _ = span.set_parent(propagator.extract(&carried));
}

impl Exporter {
    /// Sends what is left, and ends.
    pub(super) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
