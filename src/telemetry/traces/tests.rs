//! The queues, with a collector that takes nothing; what spans say is tested through the gateway's door.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::Traces;
use crate::config::telemetry::{Exporter, Mappers, Protocol, Sampling, Telemetry};
use crate::entry::{Entry, Status, Traced};
use crate::ground::trace::{SpanPlace, Trace};

fn entry(sampled: bool) -> Entry {
    let place = SpanPlace { trace_id: 7, span_id: 8 };
    let traced = Traced::new(Trace::new(place, sampled, None));
    Entry { traced: Some(Box::new(traced)), ..Entry::default() }
}

fn telemetry(address: &str, exporters: usize) -> Arc<Telemetry> {
    let exporter = Exporter {
        endpoint: format!("http://{address}/v1/traces").parse().expect("a URL"),
        protocol: Protocol::Http,
        headers: Vec::new(),
        timeout: Duration::from_secs(60),
        mappers: Mappers { gen_ai: true, ..Mappers::default() },
    };
    Arc::new(Telemetry { exporters: vec![exporter; exporters], ..Telemetry::default() })
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_bounded_and_counted() {
    let _first = rustls::crypto::ring::default_provider().install_default();
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let traces = Traces::default();
    traces.retarget(&telemetry(&address, 2), "here").expect("a thread");
    for _ in 0..10_000 {
        traces.observe(&entry(true));
    }
    let dropped = traces.spans_dropped();
    // Each queue holds 8,192.
    assert_eq!(dropped, 2 * (10_000 - 8_192));
    assert_eq!(traces.spans_exported(), 0);
    traces.close(Duration::from_millis(10)).await;
    assert_eq!(traces.spans_dropped(), 20_000, "what was left was dropped, too");
    traces.observe(&entry(true));
    assert_eq!(traces.spans_dropped(), 20_000, "after the end there is nothing to be lost");
}

#[tokio::test]
async fn what_was_not_drawn_is_kept_where_it_failed_or_took_long() {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let slow = Entry { duration_us: 31_000_000, ..entry(false) };
    let failed = Entry { status: Status::Error, ..entry(false) };
    let denied = Entry { status: Status::Denied, ..entry(false) };
    let kept = async |sampling: Sampling| {
        let traces = Traces::default();
        let telemetry = Telemetry { sampling, ..Telemetry::clone(&telemetry(&address, 1)) };
        traces.retarget(&Arc::new(telemetry), "here").expect("a thread");
        for entry in [&entry(false), &slow, &failed, &denied] {
            traces.observe(entry);
        }
        traces.observe(&Entry::default());
        traces.close(Duration::ZERO).await;
        traces.spans_dropped()
    };
    assert_eq!(kept(Sampling::default()).await, 2);
    let none = Sampling { keep_errors: false, keep_slower: None, ..Sampling::default() };
    assert_eq!(kept(none).await, 0);
}
