//! The way of exported spans by HTTP: the gateway's own HTTP client in the exporter's place for one. What the exporter took
//! from the process's environment (headers, above all, which are meant for one collector) is left out: address and headers
//! are the configuration's alone. An export that may succeed later is repeated within its time.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use reqwest::redirect::Policy;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::telemetry::Exporter;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of an answer: it says next to nothing.
const MAX_ANSWER: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One collector's client.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    timeout: Duration,
}

/// An exporter that sends by HTTP.
///
/// # Errors
/// The client or the exporter could not be made.
pub(super) fn exporter(settings: &Exporter) -> Result<SpanExporter, ExporterBuildError> {
    let failed = |error: reqwest::Error| ExporterBuildError::InternalFailure(error.to_string());
    // A container without a certificate store can still reach collectors by http.
    let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
    let collector = Collector {
        client: client.map_err(failed)?,
        url: settings.endpoint.to_string(),
        headers: settings.exposed().collect(),
        timeout: settings.timeout,
    };
    SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(settings.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(1)
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut headers = self.headers.clone();
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            if let Some(value) = head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let end = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let once = timeout_at(end, self.once(headers.clone(), body.clone())).await;
            let outcome = once.map_err(|_| "the collector did not answer in time")?;
            let wait = match &outcome {
                // https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 502..=504) => {
                    retry_after(answer.headers())
                }
                Ok(_) => return outcome,
                Err(_) => None,
            };
            // Spread, so that gateways that lost the same collector do not all come back at once.
            let wait = wait.unwrap_or_else(|| pause.mul_f64(0.5 + fastrand::f64() / 2.0));
            if Instant::now() + wait >= end {
                return outcome;
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Collector {
    async fn once(&self, headers: HeaderMap, body: Bytes) -> Result<Response<Bytes>, HttpError> {
        let sent = self.client.post(&self.url).headers(headers).body(body).send().await;
        // The address may hold what only the operator should see.
        let mut answer = sent.map_err(reqwest::Error::without_url)?;
        let mut text = BytesMut::new();
        while let Ok(Some(piece)) = answer.chunk().await {
            let room = MAX_ANSWER - text.len().min(MAX_ANSWER);
            text.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            if text.len() >= MAX_ANSWER {
                break;
            }
        }
        let mut response = Response::new(text.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
