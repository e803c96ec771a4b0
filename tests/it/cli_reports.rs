//! What was used, and rows written out and read in, through the real binary and on both stores.

use std::process::Output;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, command};
use crate::support::postgres::Postgres;

fn config(database_url: Option<&str>) -> String {
    let database = database_url.map(|url| format!(", database_url: '{url}'")).unwrap_or_default();
    format!(
        "general_settings: {{master_key: {MASTER}, store_prompts_in_spend_logs: true{database}}}\n\
         model_list:\n\
         - {{model_name: dear, litellm_params: {{model: mock-response, input_cost_per_token: 0.5, output_cost_per_token: 0.25}}}}\n\
         - {{model_name: free, litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n\
         - {{api_key: {KEY}, key_alias: tester, models: ['*'], team_id: red, user_id: u-1}}\n"
    )
}

async fn ask(gateway: &Gateway, model: &str) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    gateway.post("/v1/chat/completions", &body).send().await.unwrap().bytes().await.unwrap();
}

async fn run(gateway: &Gateway, config: &str, arguments: &[&str]) -> Output {
    let mut command = command(gateway.directory.path());
    command.args(["-c", config]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until PostgreSQL has so many rows.
async fn drained(postgres: &Postgres, rows: i64) {
    let end = std::time::Instant::now() + PATIENCE;
    let client = postgres.connect().await;
    let sql = "SELECT count(*) FROM tidegate.request_logs";
    // At first there is no table.
    while client.query_one(sql, &[]).await.map_or(0, |row| row.get::<_, i64>(0)) < rows {
        assert!(std::time::Instant::now() < end, "the rows do not come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The only key is found by its alias and by its id, and no other is.
async fn by_its_key(gateway: &Gateway, requests: u64) {
    let digest = Sha256::digest(KEY);
    let id: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    for (key, expected) in [("tester", Some(requests)), (&*id, Some(requests)), ("nobody", None)] {
        let asked = ["usage", "--by", "nothing", "--key", key, "--json"];
        let found = lines(&succeeded(&run(gateway, "config.yaml", &asked).await));
        assert_eq!(found.first().and_then(|it| it["requests"].as_u64()), expected, "{key}");
    }
}

#[tokio::test]
async fn usage_adds_up_what_is_in_the_file() {
    let gateway = Gateway::start(&config(None));
    for model in ["dear", "free", "dear", "gone"] {
        ask(&gateway, model).await;
    }
    gateway.rows("request_id", 4).await;
    let by_model =
        run(&gateway, "config.yaml", &["usage", "--by", "model,key,team,user", "--json"]).await;
    let by_model = lines(&succeeded(&by_model));
    let dear = &by_model[0];
    assert_eq!(
        [&dear["model"], &dear["key"], &dear["team"], &dear["user"], &dear["requests"]],
        [&json!("dear"), &json!("tester"), &json!("red"), &json!("u-1"), &json!(2)]
    );
    let cost = 0.5 * dear["input_tokens"].as_f64().unwrap()
        + 0.25 * dear["output_tokens"].as_f64().unwrap();
    assert!((dear["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9, "{dear}");
    assert_eq!((&by_model[1]["model"], &by_model[1]["unpriced"]), (&json!("free"), &json!(1)));
    assert_eq!((&by_model[2]["model"], &by_model[2]["errors"]), (&json!("gone"), &json!(1)));
    let only =
        run(&gateway, "config.yaml", &["usage", "--by", "nothing", "--model", "dear", "--json"])
            .await;
    assert_eq!(lines(&succeeded(&only))[0]["requests"], 2);
    by_its_key(&gateway, 4).await;
    let csv = succeeded(&run(&gateway, "config.yaml", &["usage", "--by", "model", "--csv"]).await);
    assert!(csv.starts_with("model,requests,errors,") && csv.contains("\r\ndear,2,0,"), "{csv}");
    let table = succeeded(&run(&gateway, "config.yaml", &["usage"]).await);
    assert!(table.contains("* 1 request has no known price"), "{table}");
    let later =
        run(&gateway, "config.yaml", &["usage", "--since", "2100-01-01T00:00:00Z", "--json"]).await;
    assert_eq!(succeeded(&later), "");
    let wrong = run(&gateway, "config.yaml", &["usage", "--since", "soon"]).await;
    assert_eq!(wrong.status.code(), Some(1));
}

/// Each request counts once, wherever it is, and rows go from one store to the other and back without a change.
#[tokio::test]
async fn reports_are_the_same_from_either_store() {
    let mut postgres = Postgres::running().await;
    let mut gateway = Gateway::start(&config(Some(&postgres.url())));
    std::fs::write(gateway.path("file.yaml"), config(None)).unwrap();
    for model in ["dear", "free", "gone"] {
        ask(&gateway, model).await;
    }
    drained(&postgres, 3).await;
    // Two more, which wait for a server that is away.
    postgres.kill().await;
    for model in ["dear", "free"] {
        ask(&gateway, model).await;
    }
    gateway.health_until(|health| health["request_log"]["spool_rows"] == 2).await;
    let usage = ["usage", "--by", "model", "--json"];
    let away = run(&gateway, "config.yaml", &usage).await;
    assert!(String::from_utf8_lossy(&away.stderr).contains("only what waits for it"));
    assert_eq!(lines(&succeeded(&away)).len(), 2);
    gateway.signal("-KILL");
    gateway.ended().await;
    postgres.start().await;
    // Three there, two here.
    let count = |text: &str| -> Vec<(String, u64)> {
        let line = |line: &Value| {
            (line["model"].as_str().unwrap().to_owned(), line["requests"].as_u64().unwrap())
        };
        lines(text).iter().map(line).collect()
    };
    let all = [("dear".to_owned(), 2), ("free".to_owned(), 2), ("gone".to_owned(), 1)];
    let found = run(&gateway, "config.yaml", &usage).await;
    assert_eq!(count(&succeeded(&found)), all);
    by_its_key(&gateway, 5).await;
    let export = ["logs", "export", "--complete"];
    let exported = succeeded(&run(&gateway, "config.yaml", &export).await);
    let rows = lines(&exported);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["request_payloads"].as_array().unwrap().len(), 2, "{}", rows[0]);
    let times: Vec<&str> = rows.iter().map(|row| row["started_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted());

    // All of them into the file: now three are in both stores, and each still counts once.
    std::fs::write(gateway.path("all.jsonl"), &exported).unwrap();
    succeeded(&run(&gateway, "file.yaml", &["logs", "import", "all.jsonl"]).await);
    assert_eq!(count(&succeeded(&run(&gateway, "file.yaml", &usage).await)), all);
    assert_eq!(count(&succeeded(&run(&gateway, "config.yaml", &usage).await)), all);
    assert_eq!(lines(&succeeded(&run(&gateway, "config.yaml", &export).await)).len(), 5);
    let from_file = lines(&succeeded(&run(&gateway, "file.yaml", &export).await));
    assert_eq!(from_file, rows);
    // And from the file into the database.
    postgres
        .execute("DELETE FROM tidegate.request_logs; DELETE FROM tidegate.request_payloads")
        .await;
    for _twice in 0..2 {
        succeeded(&run(&gateway, "config.yaml", &["logs", "import", "all.jsonl"]).await);
        assert_eq!(postgres.count("SELECT count(*) FROM tidegate.request_logs").await, 5);
        assert_eq!(postgres.count("SELECT count(*) FROM tidegate.request_payloads").await, 10);
    }
    assert_eq!(lines(&succeeded(&run(&gateway, "config.yaml", &export).await)), rows);
    let csv =
        succeeded(&run(&gateway, "config.yaml", &["logs", "export", "--format", "csv"]).await);
    assert_eq!(csv.lines().count(), 6);
    let until = ["logs", "export", "--until", times[2], "--since", times[1]];
    assert_eq!(lines(&succeeded(&run(&gateway, "config.yaml", &until).await)).len(), 1);
    std::fs::write(gateway.path("bad.jsonl"), format!("{exported}{{\"a\":1}}\n")).unwrap();
    let bad = run(&gateway, "file.yaml", &["logs", "import", "bad.jsonl"]).await;
    assert!(String::from_utf8_lossy(&bad.stderr).contains("line 6 is no row"));
}

/// More rows than fit on a page, out of both stores, come in order and once each.
#[tokio::test]
async fn an_export_has_no_end_of_a_page() {
    let postgres = Postgres::running().await;
    let mut gateway = Gateway::start(&config(Some(&postgres.url())));
    std::fs::write(gateway.path("file.yaml"), config(None)).unwrap();
    ask(&gateway, "dear").await;
    drained(&postgres, 1).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    let row = succeeded(&run(&gateway, "config.yaml", &["logs", "export"]).await);
    let row: Value = serde_json::from_str(&row).unwrap();
    let mut many = String::new();
    for at in 0..2_500 {
        let mut row = row.clone();
        // Many in one microsecond: the id decides.
        row["started_at"] = format!("2026-11-0{}T00:00:00.000000Z", 1 + at / 1_200).into();
        row["request_id"] = format!("00000000-0000-7000-8000-{:012}", (at * 7919) % 2_500).into();
        many.push_str(&format!("{row}\n"));
    }
    std::fs::write(gateway.path("many.jsonl"), &many).unwrap();
    succeeded(&run(&gateway, "config.yaml", &["logs", "import", "many.jsonl"]).await);
    succeeded(&run(&gateway, "file.yaml", &["logs", "import", "many.jsonl"]).await);
    let exported =
        run(&gateway, "config.yaml", &["logs", "export", "--until", "2026-11-20T00:00:00Z"]).await;
    let exported = lines(&succeeded(&exported));
    assert_eq!(exported.len(), 2_500);
    let places: Vec<(&str, &str)> = exported
        .iter()
        .map(|row| (row["started_at"].as_str().unwrap(), row["request_id"].as_str().unwrap()))
        .collect();
    assert!(places.is_sorted());
    let usage = run(
        &gateway,
        "config.yaml",
        &[
            "usage",
            "--by",
            "month",
            "--since",
            "2026-11-01T00:00:00Z",
            "--until",
            "2026-11-20T00:00:00Z",
            "--json",
        ],
    )
    .await;
    assert_eq!(lines(&succeeded(&usage))[0]["requests"], 2_500);
}

/// The audit log is copied to the database, where nobody changes it by mistake, and both are compared.
#[tokio::test]
async fn the_audit_log_is_in_both_stores() {
    let mut postgres = Postgres::running().await;
    let text = config(Some(&postgres.url()));
    let mut gateway = Gateway::start(&text);
    let entries = "SELECT count(*) FROM tidegate.audit_log";
    let copied = async |postgres: &Postgres, count: i64| {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let connected = postgres
                .count("SELECT count(*) FROM pg_tables WHERE tablename = 'audit_log'")
                .await;
            if connected > 0 && postgres.count(entries).await >= count {
                return;
            }
            assert!(std::time::Instant::now() < end, "the entries do not come");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    // The start, and each step of the schema.
    let steps = postgres_steps(&postgres, &copied).await;
    let started = 1 + steps;
    copied(&postgres, started).await;
    // What happens while the server is away comes later.
    postgres.kill().await;
    std::fs::write(gateway.path("config.yaml"), text.replace("team_id: red", "team_id: blue"))
        .unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    postgres.start().await;
    copied(&postgres, started + 1).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    assert_eq!(postgres.count(entries).await, started + 2);
    let verify = ["audit", "verify"];
    let whole = succeeded(&run(&gateway, "config.yaml", &verify).await);
    let expected = started + 2;
    assert!(
        whole.starts_with(&format!(
            "the file: {expected} entries, whole\nPostgreSQL: {expected} entries, whole\n"
        )),
        "{whole}"
    );
    let shown = succeeded(&run(&gateway, "config.yaml", &["audit"]).await);
    assert_eq!(shown.lines().count(), usize::try_from(expected).unwrap());

    let client = postgres.connect().await;
    for change in [
        "UPDATE tidegate.audit_log SET actor = 'x'",
        "DELETE FROM tidegate.audit_log",
        "TRUNCATE tidegate.audit_log",
    ] {
        let error = client.batch_execute(change).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("neither changed nor deleted"));
    }
    // The file loses its end: the copy has it.
    let file = rusqlite::Connection::open(gateway.path("data/tidegate.db")).unwrap();
    file.execute_batch(
        "DROP TRIGGER audit_log_keeps_the_newest; DELETE FROM audit_log WHERE action = 'stop'",
    )
    .unwrap();
    drop(file);
    let short = run(&gateway, "config.yaml", &verify).await;
    assert!(String::from_utf8_lossy(&short.stdout).contains("the file lost its end"));
    client
        .batch_execute("ALTER TABLE tidegate.audit_log DISABLE TRIGGER USER; UPDATE tidegate.audit_log SET actor = 'x' WHERE action = 'reload'")
        .await
        .unwrap();
    let changed = run(&gateway, "config.yaml", &verify).await;
    assert_eq!(changed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&changed.stdout).contains("PostgreSQL: entry"));
    // A file that cannot be read is none that has no entries.
    std::fs::write(gateway.path("data/tidegate.db"), "no database any more").unwrap();
    let unread = run(&gateway, "config.yaml", &verify).await;
    assert_eq!(unread.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&unread.stdout).contains("whole"));
}

/// How many steps the schema has.
async fn postgres_steps(postgres: &Postgres, copied: &impl AsyncFn(&Postgres, i64)) -> i64 {
    copied(postgres, 1).await;
    postgres.count("SELECT count(*) FROM tidegate.migrations").await
}

/// `tidegate doctor --live` asks the database what the gateway would need.
#[tokio::test]
async fn doctor_looks_at_the_database() {
    let postgres = Postgres::running().await;
    let mut gateway = Gateway::start(&config(Some(&postgres.url())));
    ask(&gateway, "dear").await;
    drained(&postgres, 1).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    let doctor = run(&gateway, "config.yaml", &["doctor", "--live"]).await;
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("ok    database   PostgreSQL "), "{told}");
    assert!(!told.contains("canary-of-the-database"), "{told}");
    postgres
        .execute(
            "CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT USAGE ON SCHEMA tidegate TO weak;
             GRANT SELECT ON ALL TABLES IN SCHEMA tidegate TO weak;
             DROP TABLE tidegate.request_payloads CASCADE",
        )
        .await;
    let weak = postgres.url().replace("tidegate:canary-of-the-database", "weak:weak");
    std::fs::write(gateway.path("weak.yaml"), config(Some(&weak))).unwrap();
    let doctor = run(&gateway, "weak.yaml", &["doctor", "--live"]).await;
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(told.contains("it may not create partitions"), "{told}");
    assert!(told.contains("it lacks a right on a table: request_logs INSERT"), "{told}");
    assert!(told.contains("partitions are missing: request_payloads_y"), "{told}");
    let away = postgres.url().replace("postgres?", "nowhere?");
    std::fs::write(gateway.path("away.yaml"), config(Some(&away))).unwrap();
    let doctor = run(&gateway, "away.yaml", &["doctor", "--live"]).await;
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("FAIL  database   PostgreSQL cannot be read"), "{told}");
    assert!(!told.contains("canary-of-the-database"), "{told}");
}
