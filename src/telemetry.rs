//! Traces: a span for each request, and one for each step of its turns.
//!
//! They are made with `tracing`, at a target of their own, which the log does not show. Where nobody takes them (the program
//! was built without the feature `otel`, or no endpoint is set) they are not made at all.
//!
//! - `otlp`: takes them, and sends them by OTLP over HTTP; `client`: the HTTP of that.

#[cfg(feature = "otel")]
mod client;
#[cfg(feature = "otel")]
mod otlp;

use tracing::{Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The target of the spans.
pub const TARGET: &str = "couplet::trace";

/// What takes the spans.
pub type SpanLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Sends what is left of the traces when it is dropped, which takes a while where their receiver does not answer.
#[derive(Debug, Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    exporter: Option<otlp::Exporter>,
}

/// Starts to send traces where the environment says so.
///
/// # Errors
/// Why it cannot be done; Couplet does without.
pub fn start<S>() -> Result<(Traces, Option<SpanLayer<S>>), Box<dyn std::error::Error>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    #[cfg(feature = "otel")]
    if let Some((exporter, layer)) = otlp::start()? {
        return Ok((Traces { exporter: Some(exporter) }, Some(layer)));
    }
    Ok((Traces::default(), None))
}

/// Makes the span a part of its client's trace, which its headers `traceparent` and `tracestate` name. Anything else in them
/// is as good as nothing.
pub fn follow<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    #[cfg(feature = "otel")]
    otlp::follow(span, header);
    #[cfg(not(feature = "otel"))]
    let _ = (span, header);
}

impl Drop for Traces {
    fn drop(&mut self) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter.take() {
            exporter.end();
        }
    }
}
