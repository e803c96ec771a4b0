//! The way of exported spans by gRPC, where the build has it. Headers are the configuration's alone: what the exporter adds
//! from the process's environment is taken out again.

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::config::telemetry::Exporter;

/// An exporter that sends by gRPC. Called where the runtime is.
///
/// # Errors
/// The exporter could not be made.
pub(super) fn exporter(settings: &Exporter) -> Result<SpanExporter, ExporterBuildError> {
    let metadata = MetadataMap::from_headers(settings.exposed().collect());
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(settings.endpoint.as_str())
        .with_timeout(settings.timeout)
        .with_interceptor(move |mut request: Request<()>| {
            *request.metadata_mut() = metadata.clone();
            Ok(request)
        });
    match settings.endpoint.scheme() {
        "https" => builder.with_tls_config(ClientTlsConfig::new().with_native_roots()).build(),
        _ => builder.build(),
    }
}
