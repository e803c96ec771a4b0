//! Many servers and many clients: one list of a thousand tools, and the memory of clients that each have a session, have
//! fetched that list and keep a stream open. On a gateway of its own, so that nothing else has grown it.

use std::time::{Duration, Instant};

use super::client::{Caller, Place, Posts, paced};
use super::results::{McpResults, Number};
use super::servers::Servers;
use super::{EVERY, KEY, TEXT, config, replies};
use crate::Outcome;
use crate::load::percentile;
use crate::target::Target;

const SERVERS: usize = 10;
pub(super) const SESSIONS: usize = 500;
/// Lists whose time is taken, of each kind.
const LISTS: usize = 100;
/// A list of that many tools is longer than this.
const LIST_AT_LEAST: usize = 500 * replies::TOOLS;
/// How long memory may take to come to rest.
const REST: Duration = Duration::from_millis(500);

pub(super) fn run(servers: &Servers, results: &mut McpResults) -> Outcome<()> {
    let entries: String = (0..SERVERS)
        .map(|at| {
            let url = format!("http://{}/session/{at}", servers.address);
            format!("  server{at}: {{transport: http, url: '{url}'}}\n")
        })
        .collect();
    let gateway = Target::with_config(&config(&entries))?;
    let place = Place { address: gateway.address, path: "/mcp".into(), key: Some(KEY) };
    list(&place, servers, results)?;
    sessions(&gateway, &place, results)
}

/// The list through the gateway, and the servers' own lists one after the other, in turns.
fn list(place: &Place, servers: &Servers, results: &mut McpResults) -> Outcome<()> {
    let request = place.modern("tools/list", &[]);
    let mut merged = Posts::new(place.address, vec![request], LIST_AT_LEAST * SERVERS)?;
    let direct = Place { address: servers.address, path: "/session/0".into(), key: None };
    let request = direct.in_session("bench-session", "tools/list", &[]);
    let mut single = Posts::new(servers.address, vec![request], LIST_AT_LEAST)?;
    // The first one waits for the servers.
    merged.call()?;
    let (mut through, mut each) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let sent = Instant::now();
        merged.call()?;
        through.push(sent.elapsed());
        let sent = Instant::now();
        for _ in 0..SERVERS {
            single.call()?;
        }
        each.push(sent.elapsed());
    }
    results.set(Number::ListBytes, merged.length() as f64 / 1024.0);
    results.set(Number::ListP50, milliseconds(percentile(through.clone(), 0.5)?));
    results.set(Number::ListP99, milliseconds(percentile(through, 0.99)?));
    results.set(Number::ListDirect, milliseconds(percentile(each, 0.5)?));
    Ok(())
}

fn sessions(gateway: &Target, place: &Place, results: &mut McpResults) -> Outcome<()> {
    let memory = || {
        std::thread::sleep(REST);
        gateway.memory("VmRSS").ok_or("the gateway has no memory")
    };
    let before = memory()?;
    let (mut sessions, mut streams, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let opened = Instant::now();
    for _ in 0..SESSIONS {
        let session = place.open_session()?;
        streams.push(place.open_stream(&session)?);
        lists.push(place.in_session(&session, "tools/list", &[]));
        sessions.push(session);
    }
    let mut lists = Posts::new(place.address, lists, LIST_AT_LEAST * SERVERS)?;
    for _ in 0..SESSIONS {
        lists.call()?;
    }
    results.set(Number::Opening, milliseconds(opened.elapsed()) / SESSIONS as f64);
    let with = memory()?;
    let text = "x".repeat(TEXT);
    let arguments = format!(r#"{{"text":"{text}"}}"#);
    let calls = sessions.iter().enumerate().map(|(at, session)| {
        let name = format!("\"server{}-{}\"", at % SERVERS, replies::TOOL);
        place.in_session(session, "tools/call", &[("name", &*name), ("arguments", &*arguments)])
    });
    let mut calls = Posts::new(place.address, calls.collect(), TEXT)?;
    let times = paced(&mut calls, EVERY, EVERY * 2 * SESSIONS as u32)?;
    results.set(Number::CallP50, milliseconds(percentile(times.clone(), 0.5)?));
    results.set(Number::CallP99, milliseconds(percentile(times, 0.99)?));
    drop(streams);
    for session in &sessions {
        place.close_session(session)?;
    }
    let after = memory()?;
    results.set(Number::Before, before);
    results.set(Number::With, with);
    results.set(Number::PerSession, (with - before) * 1024.0 / SESSIONS as f64);
    results.set(Number::After, after);
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
