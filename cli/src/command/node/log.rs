//! What a node writes about itself: lines on stderr, and spans for whoever collects them.

use crate::{error::Failure, output::Output};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::{io, time::Duration};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter,
    filter::FilterFn,
    layer::{Layer, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// What is to be flushed at the end.
pub(super) struct Log(Option<SdkTracerProvider>);

/// Whose spans are told of.
const OURS: [&str; 2] = ["glacier_host", "glacier_chain"];
/// How long a collector may take to have the rest.
const PATIENCE: Duration = Duration::from_secs(3);

impl Log {
    /// Warnings, or what RUST_LOG asks for, go to stderr; spans to `collector`, if there is one.
    pub(super) fn begin(output: Output, json: bool, collector: Option<&str>) -> Result<Self, Failure> {
        let quietest = if output.quiet { "error" } else { "warn" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quietest));
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines: Box<dyn Layer<_> + Send + Sync> = match json {
            true => lines.json().flatten_event(true).with_filter(filter).boxed(),
            false => lines.with_filter(filter).boxed(),
        };
        let provider = collector.map(provider).transpose()?;
        // Fails only where a log was set up before; then that one stays.
        let _ = tracing_subscriber::registry().with(lines).with(provider.as_ref().map(spans)).try_init();
        Ok(Self(provider))
    }

    /// Has the collector have the rest.
    pub(super) fn flush(&self) {
        if let Some(provider) = &self.0 {
            // A collector that is away has been told of already.
            let _ = provider.force_flush();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            let _ = provider.shutdown_with_timeout(PATIENCE);
        }
    }
}

/// The host's and the chain's own spans, without the lines of the log, and no others: what libraries say is not known to be free
/// of what is private.
fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let ours = FilterFn::new(|met| met.is_span() && OURS.iter().any(|ours| met.target().starts_with(ours)));
    let ours = ours.with_max_level_hint(LevelFilter::INFO);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("glacier"));
    layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_filter(ours)
}

fn provider(collector: &str) -> Result<SdkTracerProvider, Failure> {
    let unfit = |why: String| {
        Failure::trouble(
            "collector",
            format!("{collector}: {why}"),
            "name the root of a collector of OTLP over HTTP, such as http://127.0.0.1:4318",
        )
    };
    let root: url::Url = collector.parse().map_err(|error: url::ParseError| unfit(error.to_string()))?;
    let endpoint = format!("{}/v1/traces", root.as_str().trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| unfit(error.to_string()))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("glacier-node").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
