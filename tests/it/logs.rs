//! The gateway's own log: what its lines say, that nobody writes into them but it, where they go, and that a reader who
//! does not read is nobody's trouble.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, client, command};

const CHATS: &str = "/v1/chat/completions";

fn config(general: &str, litellm: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}{general}}}\nlitellm_settings: {{{litellm}}}\nmodel_list:\n\
         - {{model_name: m, litellm_params: {{model: mock-response, input_cost_per_token: 0.001, \
            output_cost_per_token: 0.002}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    )
}

fn body(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Every line as JSON: one that is none is a fault.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn a_request_is_one_line_with_fixed_keys() {
    let gateway = Gateway::start(&config("", "json_logs: true"));
    let answer = gateway.post(CHATS, &body("m")).send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let forged = "no\n{\"level\":\"error\"}\u{1b}[31m\u{2028}\u{202e}";
    gateway.post(CHATS, &body(forged)).header("user-agent", "a\tb").send().await.unwrap();
    let log = gateway.log_until("model_not_found").await;
    let all = lines(&log);
    let requests: Vec<&Value> = all.iter().filter(|line| line["event"] == "request").collect();
    assert_eq!(requests.len(), 2, "{log}");
    let keys: Vec<&String> = requests[0].as_object().unwrap().keys().collect();
    let expected = "ts level event msg service version instance request_id key_id model_group provider \
                    surface status http_status duration_ms ttft_ms input_tokens output_tokens cost_usd";
    let expected: Vec<&str> = expected.split_whitespace().filter(|key| *key != "ttft_ms").collect();
    let keys: Vec<&str> =
        keys.into_iter().map(String::as_str).filter(|key| *key != "ttft_ms").collect();
    assert_eq!(keys, expected);
    let first = requests[0];
    assert_eq!((&first["request_id"], &first["surface"]), (&json!(id), &json!(CHATS)));
    assert_eq!((&first["status"], &first["http_status"]), (&json!("ok"), &json!(200)));
    assert_eq!((&first["level"], &first["service"]), (&json!("info"), &json!("tidegate")));
    assert_eq!(first["key_id"].as_str().unwrap().len(), 12);
    assert!(first["duration_ms"].as_f64().unwrap() > 0.0);
    let time: jiff::Timestamp = first["ts"].as_str().unwrap().parse().unwrap();
    assert!(first["ts"].as_str().unwrap().len() == 27 && time.as_second() > 1_700_000_000);
    assert_eq!(requests[1]["http_status"], 404);
    assert_eq!(requests[1]["error_type"], "model_not_found");
    for line in log.lines() {
        assert!(line.len() <= 16 * 1024);
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{202e}'));
    }
}

#[tokio::test]
async fn the_level_follows_the_configuration() {
    let gateway = Gateway::start(&config(", log_level: warn", ""));
    gateway.post(CHATS, &body("m")).send().await.unwrap();
    let write = |level: &str, json: &str| {
        let text = config(&format!(", log_level: {level}"), json);
        std::fs::write(gateway.path("config.yaml"), text).unwrap();
    };
    write("info", "");
    gateway.log_until("configuration reloaded").await;
    let answer = gateway.post(CHATS, &body("m")).send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let log = gateway.log_until(&id).await;
    assert_eq!(log.matches("request_id=").count(), 1, "only the second: {log}");
    assert!(log.contains(" INFO request request_id="), "text for people: {log}");
    write("error", "json_logs: true");
    gateway.health_until(|health| health["config"]["generation"] == 3).await;
    let log = gateway.log_until("json_logs and log_file change with the next restart only").await;
    assert_eq!(log.matches("configuration reloaded").count(), 1, "{log}");
}

#[tokio::test]
async fn a_file_is_written_in_place_of_standard_error_and_opened_anew_when_asked() {
    let gateway = Gateway::start(&config(", log_file: logs/own.log", "json_logs: true"));
    let (path, moved) = (gateway.path("logs/own.log"), gateway.path("logs/moved.log"));
    let request = async |path: &std::path::Path| {
        let answer = gateway.post(CHATS, &body("m")).send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let end = std::time::Instant::now() + PATIENCE;
        while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(&id)) {
            assert!(std::time::Instant::now() < end, "{id} is not in {}", path.display());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        id
    };
    let first = request(&path).await;
    std::fs::rename(&path, &moved).unwrap();
    gateway.signal("-USR1");
    // The signal has no answer: requests go on until one is in the new file.
    let end = std::time::Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(std::time::Instant::now() < end, "no new file");
        gateway.post(CHATS, &body("m")).send().await.unwrap();
    }
    let second = request(&path).await;
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert!(read(&moved).contains(&first) && !read(&path).contains(&first));
    assert!(!read(&moved).contains(&second));
    lines(&read(&path));
    assert_eq!(gateway.log(), "", "nothing on standard error");
}

/// The gateway with pipes for both outputs of which nobody reads the second.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nobody() {
    let directory = tempfile::TempDir::new().unwrap();
    let text = config(", log_level: trace", "json_logs: true");
    std::fs::write(directory.path().join("config.yaml"), text).unwrap();
    let mut child: Command = command(directory.path());
    child.args(["--config", "config.yaml", "--listen", "127.0.0.1:0"]);
    let mut child = Unread(child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = Vec::new();
    let mut stdout = child.0.stdout.take().unwrap();
    let address = loop {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the gateway ended");
        said.extend(byte);
        let text = String::from_utf8_lossy(&said).into_owned();
        let found = text.split_once("listening on http://");
        if let Some((address, _)) = found.and_then(|(_, rest)| rest.split_once('\n')) {
            break address.trim().to_owned();
        }
    };
    // A pipe holds 64 KiB, the queue some thousand lines: this is more than both.
    let client = client();
    let ask = async |count: usize| {
        for _ in 0..count {
            let asked = client.post(format!("http://{address}{CHATS}")).bearer_auth(KEY);
            let asked = asked.header("content-type", "application/json");
            let answer = asked.body(body("m").to_string()).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
        }
    };
    futures_util::future::join_all((0..16).map(|_| ask(500))).await;
    let asked = client.get(format!("http://{address}/metrics")).bearer_auth(MASTER);
    let text = asked.send().await.unwrap().text().await.unwrap();
    let page = crate::support::page::Page::read(&text);
    let lost = |level| page.sum("tidegate_log_lines_dropped_total", &[("level", level)]);
    assert!(lost("info") > 0.0, "{text}");
    assert_eq!((lost("warn"), lost("error")), (0.0, 0.0));
    assert!(page.sum("tidegate_requests_total", &[]) >= 7_990.0);
    // Read at last, it is whole lines, and says what is missing.
    let mut stderr = child.0.stderr.take().unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut all, mut piece) = (Vec::new(), vec![0; 65536]);
        while !String::from_utf8_lossy(&all).contains("lines of this log were lost") {
            let count = stderr.read(&mut piece).unwrap();
            assert!(count > 0, "it ended without saying so");
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    let all = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    let text = String::from_utf8(all).unwrap();
    let whole = text.rsplit_once('\n').unwrap().0;
    lines(whole);
}
