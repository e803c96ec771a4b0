//! Behind real nginx, HAProxy and Caddy with the shipped configurations, whose buffering is each program's default: every
//! event of a stream comes when it was sent, and no request feels a reload of the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, KEY, PATIENCE, one_model};
use crate::support::postgres::free_port;
use crate::support::programs::installed;
use crate::support::upstream::{
    DONE, FINISH, Step, Upstream, chat, chunk, delta, events_head, last_chunk,
};
use crate::support::websocket::Socket;

/// A proxy in front of a gateway; it is ended when the test ends.
struct Proxy {
    address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Proxy {
    /// Starts a program with the shipped file, changed in its two addresses only. `None` where it is not installed.
    async fn start(name: &str, gateway: &Gateway) -> Option<Self> {
        let program = installed(name)?;
        let directory = TempDir::new().unwrap();
        let path = |file: &str| directory.path().join(file).display().to_string();
        let port = free_port();
        let shipped = |file: &str, listen: &str, own: &str| {
            let file = format!("{}/compose/proxy/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(file).unwrap();
            assert_eq!(text.matches("127.0.0.1:4000").count(), 1);
            assert_eq!(text.matches(listen).count(), 1, "{listen}");
            text.replace("127.0.0.1:4000", &gateway.address.to_string()).replace(listen, own)
        };
        let mut command = Command::new(program);
        command.current_dir(directory.path());
        match name {
            "nginx" => {
                let site =
                    shipped("nginx.conf", "listen 8080;", &format!("listen 127.0.0.1:{port};"));
                let around = format!(
                    "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
                     events {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path body;\n\
                     proxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\n\
                     scgi_temp_path scgi;\n{site}\n}}\n"
                );
                std::fs::write(path("nginx.conf"), around).unwrap();
                let prefix = format!("{}/", directory.path().display());
                command.args(["-p", &prefix, "-e", "stderr", "-c", &path("nginx.conf")]);
            }
            "haproxy" => {
                let file = shipped("haproxy.cfg", "bind :8080", &format!("bind 127.0.0.1:{port}"));
                std::fs::write(path("haproxy.cfg"), file).unwrap();
                command.args(["-db", "-f", &path("haproxy.cfg")]);
            }
            "caddy" => {
                let own = format!(
                    "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\n\tbind 127.0.0.1"
                );
                let file = shipped("Caddyfile", ":8080 {", &own);
                std::fs::write(path("Caddyfile"), file).unwrap();
                command.args(["run", "--adapter", "caddyfile", "--config", &path("Caddyfile")]);
                command.env("HOME", directory.path()).env("XDG_DATA_HOME", directory.path());
            }
            other => panic!("{other}"),
        }
        let log = std::fs::File::create(path("log")).unwrap();
        command.stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
        let child = command.spawn().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut proxy = Self { address, child, _directory: directory };
        let end = Instant::now() + PATIENCE;
        loop {
            let ready = gateway.client.get(proxy.url("/health/ready")).send().await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return Some(proxy);
            }
            let said = || std::fs::read_to_string(proxy._directory.path().join("log")).unwrap();
            assert!(proxy.child.try_wait().unwrap().is_none(), "{name} ended: {}", said());
            assert!(Instant::now() < end, "{name} does not serve: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A provider that streams five words, each when a permit is there, and answers at once where no stream is asked for.
async fn provider() -> (Upstream, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |seen| {
            if seen.json()["stream"] != true {
                return chat("hello");
            }
            let mut steps = vec![events_head()];
            for word in ["one ", "two ", "three ", "four ", "five "] {
                steps.extend([Step::Await(permits.clone()), chunk(&delta(word))]);
            }
            steps.extend([chunk(&[FINISH, DONE].concat()), last_chunk()]);
            steps
        }
    })
    .await;
    (upstream, permits)
}

/// Reads on until the text has come.
async fn read_until<S>(stream: &mut S, read: &mut String, text: &str)
where
    S: futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin,
{
    while !read.contains(text) {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await;
        let piece = next
            .unwrap_or_else(|_| panic!("{text:?} was held back; so far: {read}"))
            .unwrap_or_else(|| panic!("it ended before {text:?}: {read}"))
            .unwrap();
        read.push_str(&String::from_utf8_lossy(&piece));
    }
}

async fn streams_come_as_they_are_sent(name: &str) {
    let (upstream, permits) = provider().await;
    // So that responses are translated.
    let config = one_model(&upstream.base()).replace(
        "      model: openai/up\n",
        "      model: openai/up\n      use_chat_completions_api: true\n",
    );
    let gateway = Gateway::start(&config);
    let Some(proxy) = Proxy::start(name, &gateway).await else { return };
    let message = json!([{ "role": "user", "content": "count" }]);
    // One path that passes bytes, two that translate.
    let requests: [(&str, Value); 3] = [
        ("/v1/chat/completions", json!({ "messages": message })),
        ("/v1/messages", json!({ "messages": message, "max_tokens": 100 })),
        ("/v1/responses", json!({ "input": message })),
    ];
    for (path, mut body) in requests {
        body["model"] = "m".into();
        body["stream"] = true.into();
        let request = gateway.client.post(proxy.url(path)).bearer_auth(KEY);
        let request = request.header("content-type", "application/json").body(body.to_string());
        // The head may be held until there is something to say.
        let answer = tokio::spawn(request.send());
        let mut stream = None;
        let (mut read, mut waiting) = (String::new(), Some(answer));
        for word in ["one ", "two ", "three ", "four ", "five "] {
            // No word before this one's permit; this one before the next's.
            permits.add_permits(1);
            if let Some(answer) = waiting.take() {
                let answer = tokio::time::timeout(PATIENCE, answer).await;
                let answer = answer.expect("the head was held back").unwrap().unwrap();
                assert_eq!(answer.status(), 200, "{name} {path}");
                stream = Some(answer.bytes_stream());
            }
            read_until(stream.as_mut().unwrap(), &mut read, word).await;
        }
        let mut stream = stream.unwrap();
        while let Some(piece) = stream.next().await {
            read.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        }
    }
    // What an MCP client of the older transport waits for before it says anything.
    let listening = gateway.client.get(proxy.url("/sse")).bearer_auth(KEY);
    let answer = tokio::time::timeout(PATIENCE, listening.send()).await;
    let answer = answer.expect("the head was held back").unwrap();
    assert_eq!(answer.status(), 200);
    read_until(&mut answer.bytes_stream(), &mut String::new(), "event: endpoint").await;
    // A WebSocket passes, too.
    let key = format!("Bearer {KEY}");
    let headers = [("authorization", key.as_str())];
    let mut socket =
        Socket::try_open_at(proxy.address, "/v1/responses", &headers).await.expect("no WebSocket");
    permits.add_permits(5);
    let create =
        json!({ "type": "response.create", "model": "m", "store": false, "input": "count" });
    let response = socket.ask(&create).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "one two three four five ");
}

async fn no_request_feels_a_reload(name: &str) {
    let (upstream, permits) = provider().await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let Some(proxy) = Proxy::start(name, &gateway).await else { return };
    let body = json!({ "model": "m", "messages": [], "stream": true });
    let begin = gateway.client.post(proxy.url("/v1/chat/completions")).bearer_auth(KEY);
    permits.add_permits(1);
    let answer = begin.header("content-type", "application/json").body(body.to_string()).send();
    let mut stream = answer.await.unwrap().bytes_stream();
    let mut read = String::new();
    read_until(&mut stream, &mut read, "one ").await;

    let going = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (going, asked) = (going.clone(), asked.clone());
            let (client, url) = (gateway.client.clone(), proxy.url("/v1/chat/completions"));
            let body = json!({ "model": "m", "messages": [] }).to_string();
            tokio::spawn(async move {
                while going.load(Ordering::Relaxed) {
                    let request = client.post(&url).bearer_auth(KEY).body(body.clone());
                    let answer = request.header("content-type", "application/json").send();
                    assert_eq!(answer.await.unwrap().status(), 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for generation in 2..8 {
        let edited = format!("{}# {generation}\n", one_model(&upstream.base()));
        // Only what an edit means counts: another alias each time.
        let edited =
            edited.replace("key_alias: tester", &format!("key_alias: tester-{generation}"));
        std::fs::write(gateway.path("config.yaml"), edited).unwrap();
        gateway.health_until(|health| health["config"]["generation"] == generation).await;
        let before = asked.load(Ordering::Relaxed);
        let end = Instant::now() + PATIENCE;
        while asked.load(Ordering::Relaxed) < before + 8 {
            assert!(Instant::now() < end && clients.iter().all(|client| !client.is_finished()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    going.store(false, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // The stream that began before all edits goes on to its end.
    permits.add_permits(4);
    read_until(&mut stream, &mut read, "[DONE]").await;
}

#[tokio::test]
async fn nginx_streams() {
    streams_come_as_they_are_sent("nginx").await;
}

#[tokio::test]
async fn nginx_reloads() {
    no_request_feels_a_reload("nginx").await;
}

#[tokio::test]
async fn haproxy_streams() {
    streams_come_as_they_are_sent("haproxy").await;
}

#[tokio::test]
async fn haproxy_reloads() {
    no_request_feels_a_reload("haproxy").await;
}

#[tokio::test]
async fn caddy_streams() {
    streams_come_as_they_are_sent("caddy").await;
}

#[tokio::test]
async fn caddy_reloads() {
    no_request_feels_a_reload("caddy").await;
}
