//! What a trace costs the thread that finishes a request: deciding at the door, and spans at the end, for one collector that
//! takes nothing, so that only the request's own share is counted. It must not know proxies or load.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidegate::config::telemetry::{Exporter, Mappers, Protocol, Sampling, Telemetry};
use tidegate::entry::{Attempt, AttemptDetail, Entry, Parameters, Traced};
use tidegate::telemetry::traces::Traces;

use crate::Outcome;

/// Requests of one measurement: as many as a queue has room for.
const REQUESTS: usize = 4_000;

/// Microseconds of CPU for a request, the median of the rounds, by the share of traces that are kept.
pub(crate) fn markdown(rounds: usize) -> Outcome<String> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
    let mut text = String::from("| traces | µs of CPU for a request |\n|---|---|\n");
    for (name, ratio) in
        [("off", None), ("none kept", Some(0.0)), ("10 % kept", Some(0.1)), ("all kept", Some(1.0))]
    {
        let mut measured: Vec<f64> = Vec::new();
        for _ in 0..rounds.max(1) {
            measured.push(measure(&endpoint, ratio)?);
        }
        measured.sort_by(f64::total_cmp);
        let median = measured.get(measured.len() / 2).copied().unwrap_or_default();
        text.push_str(&format!("| {name} | {median:.2} |\n"));
    }
    Ok(text)
}

fn measure(endpoint: &str, ratio: Option<f64>) -> Outcome<f64> {
    let exporter = Exporter {
        endpoint: endpoint.parse()?,
        protocol: Protocol::Http,
        headers: Vec::new(),
        timeout: Duration::from_secs(60),
        mappers: Mappers { gen_ai: true, ..Mappers::default() },
    };
    let telemetry = Arc::new(Telemetry {
        exporters: ratio.map(|_| exporter).into_iter().collect(),
        sampling: Sampling { ratio: ratio.unwrap_or_default(), ..Sampling::default() },
        ..Telemetry::default()
    });
    let traces = Traces::default();
    traces.retarget(&telemetry, "bench")?;
    let mut entry = entry();
    let before = clock_gettime(ClockId::ThreadCPUTime);
    for _ in 0..REQUESTS {
        if telemetry.is_on() {
            entry.traced = Some(Box::new(traced(&telemetry)));
        }
        traces.observe(&entry);
    }
    let after = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = (after.tv_sec - before.tv_sec) as f64;
    let nanos = (after.tv_nsec - before.tv_nsec) as f64;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(traces.close(Duration::ZERO));
    Ok((seconds * 1e6 + nanos / 1e3) / REQUESTS as f64)
}

fn traced(telemetry: &Telemetry) -> Traced {
    Traced {
        trace: telemetry.decide(None, true),
        parameters: Parameters {
            temperature: Some(0.7),
            max_tokens: Some(512),
            ..Parameters::default()
        },
        response_id: Some("chatcmpl-1234567890".into()),
        response_model: Some("gpt-5-2026-01-01".into()),
        content: None,
        admitted_us: Some(20),
        routed_us: Some(40),
        unfinished: None,
    }
}

/// A streamed request with one try.
fn entry() -> Entry {
    let mut entry = Entry {
        surface: "/v1/chat/completions",
        operation: "chat",
        lane: "verbatim",
        stream: true,
        http_status: 200,
        duration_us: 900_000,
        ttfb_us: Some(200_000),
        ttft_us: Some(210_000),
        key_id: Some("0123456789ab".into()),
        key_alias: Some("openwebui".into()),
        model_requested: "gpt-5".into(),
        model_group: Some("gpt-5".into()),
        deployment: Some("0123456789abcdef".into()),
        finish_reason: Some("stop".into()),
        client_ip: Some([192, 168, 1, 9].into()),
        user_agent: Some("OpenAI/Python 2.8.0".into()),
        cost_usd: "0.00042".parse().ok(),
        ..Entry::default()
    };
    entry.tokens.input = Some(1_200);
    entry.tokens.output = Some(340);
    entry.attempts.push(Attempt {
        deployment: "0123456789abcdef".into(),
        status: Some(200),
        error: None,
        duration_us: 200_000,
        round: None,
        began_us: 60,
        detail: Some(Box::new(AttemptDetail {
            span_id: 7,
            provider: "openai",
            model: "gpt-5".into(),
            group: "gpt-5".into(),
            address: "api.openai.com".into(),
            port: Some(443),
            is_fallback: false,
        })),
    });
    entry
}
