//! The drill: back up, lose everything, restore, and count; on a real PostgreSQL and on SQLite, with the shipped scripts, and
//! with a gateway that serves meanwhile. Then what must go wrong properly.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::postgres::Postgres;

/// Everything that can be counted in PostgreSQL.
const COUNTED: [&str; 6] = [
    "tidegate.request_logs",
    "tidegate.tool_call_logs",
    "tidegate.requests_recent",
    "tidegate.litellm_logs",
    "public.litellm_logs",
    "tidegate.migrations",
];

fn config(database_url: Option<&str>) -> String {
    let database = database_url.map(|url| format!("  database_url: {url}\n")).unwrap_or_default();
    format!(
        "general_settings:\n  master_key: {MASTER}\n  store_prompts_in_spend_logs: true\n{database}\
         model_list:\n- {{model_name: m, litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: ['*']}}\n"
    )
}

/// A script of `compose/`, with a clean environment.
fn script(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose").join(name))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn ends_with(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// The backups in a folder, oldest first.
fn backups(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(suffix) && !name.starts_with('.')
        })
        .collect();
    found.sort();
    found
}

async fn ask(gateway: &Gateway, times: usize) {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    for _ in 0..times {
        let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
}

async fn counts(server: &Postgres) -> Vec<i64> {
    let mut counts = Vec::new();
    for name in COUNTED {
        counts.push(server.count(&format!("SELECT count(*) FROM {name}")).await);
    }
    counts
}

/// Waits for so many rows; the gateway makes the tables when it first has some.
async fn rows(server: &Postgres, sql: &str, wanted: i64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let rows: Option<i64> =
            server.connect().await.query_one(sql, &[]).await.ok().map(|row| row.get(0));
        if rows == Some(wanted) {
            return;
        }
        assert!(Instant::now() < end, "{rows:?} rows, not {wanted}: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn postgres_is_backed_up_lost_and_restored() {
    let server = Postgres::running().await;
    let gateway = Gateway::start(&config(Some(&server.url())));
    ask(&gateway, 40).await;
    rows(&server, "SELECT count(*) FROM tidegate.request_logs", 40).await;
    let before = counts(&server).await;
    let payloads = "SELECT count(*) FROM tidegate.request_payloads";
    assert!(server.count(payloads).await > 0);

    let folder = TempDir::new().unwrap();
    let place = folder.path().to_str().unwrap();
    let metrics = folder.path().join("backup.prom");
    // As LiteLLM writes it, with a parameter that is Prisma's alone.
    let url = format!("{}&connection_limit=10", server.url());
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("BACKUP_FOLDER", place),
        ("BACKUP_METRICS", metrics.to_str().unwrap()),
    ];
    let output = script("backup.sh", &[], &env);
    let said = ends_with(&output, 0);
    assert!(!said.contains(crate::support::postgres::PASSWORD), "{said}");
    let [dump] = backups(folder.path(), ".dump").try_into().unwrap();
    let told = std::fs::read_to_string(&metrics).unwrap();
    assert!(told.contains("tidegate_backup_last_exit_code{store=\"postgres\"} 0\n"), "{told}");
    let size = std::fs::metadata(&dump).unwrap().len();
    assert!(told.contains(&format!("tidegate_backup_size_bytes{{store=\"postgres\"}} {size}\n")));

    server.execute("DROP SCHEMA tidegate CASCADE").await;
    let dump = dump.to_str().unwrap();
    ends_with(&script("restore.sh", &[dump, &url], &[]), 0);
    assert_eq!(counts(&server).await, before);
    // Texts are left out unless they are asked for.
    assert_eq!(server.count(payloads).await, 0);
    // The gateway goes on with what was restored.
    ask(&gateway, 10).await;
    rows(&server, "SELECT count(*) FROM tidegate.request_logs", 50).await;
    rows(&server, "SELECT count(*) FROM public.litellm_logs", 50).await;

    // There is something now: only what is asked for replaces it, and what was there stays.
    let said = ends_with(&script("restore.sh", &[dump, &url], &[]), 5);
    assert!(said.contains("--replace"), "{said}");
    let all = [("BACKUP_PAYLOADS", "yes"), ("BACKUP_FOLDER", place)];
    ends_with(&script("backup.sh", &[&url], &all), 0);
    let whole = backups(folder.path(), ".dump").pop().unwrap();
    let kept = server.count(payloads).await;
    server.execute("CREATE ROLE \"who reads\"").await;
    server.execute("GRANT USAGE ON SCHEMA tidegate TO \"who reads\"").await;
    server.execute("GRANT SELECT ON tidegate.request_logs TO \"who reads\"").await;
    ends_with(&script("restore.sh", &["--replace", whole.to_str().unwrap(), &url], &[]), 0);
    // Whoever might read may read on, and no more than that.
    let may = "SELECT count(*) FROM pg_class WHERE relnamespace = 'tidegate'::regnamespace
        AND has_schema_privilege('who reads', relnamespace, 'USAGE')
        AND has_table_privilege('who reads', oid, 'SELECT')";
    assert_eq!(server.count(may).await, 1);
    assert_eq!(server.count("SELECT count(*) FROM tidegate.request_logs").await, 50);
    assert_eq!(server.count(payloads).await, kept);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tidegate_before_%'";
    assert_eq!(server.count(schemas).await, 1);
}

#[tokio::test]
async fn a_gateway_under_load_feels_neither_and_loses_no_row() {
    let server = Postgres::running().await;
    let gateway = Arc::new(Gateway::start(&config(Some(&server.url()))));
    ask(&gateway, 20).await;
    rows(&server, "SELECT count(*) FROM tidegate.request_logs", 20).await;
    let going = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, going) = (gateway.clone(), going.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while going.load(Ordering::Relaxed) {
                    ask(&gateway, 5).await;
                    asked += 5;
                }
                asked
            })
        })
        .collect();
    let url = server.url();
    let folder = TempDir::new().unwrap();
    let place = folder.path().to_path_buf();
    tokio::task::spawn_blocking(move || {
        let env = [("BACKUP_FOLDER", place.to_str().unwrap())];
        ends_with(&script("backup.sh", &[&url], &env), 0);
        let [dump] = backups(&place, ".dump").try_into().unwrap();
        let dump = dump.to_str().unwrap();
        ends_with(&script("restore.sh", &["--replace", dump, &url], &[]), 0);
    })
    .await
    .unwrap();
    going.store(false, Ordering::Relaxed);
    let mut asked = 20;
    for client in clients {
        asked += client.await.unwrap();
    }
    // Each request is in what was restored, in what was there before, or in both.
    let old: String = server
        .connect()
        .await
        .query_one(
            "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'tidegate_before_%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let union = format!(
        "SELECT count(*) FROM (SELECT request_id FROM tidegate.request_logs \
         UNION SELECT request_id FROM {old}.request_logs) AS together"
    );
    rows(&server, &union, asked).await;
}

#[tokio::test]
async fn sqlite_is_backed_up_lost_and_restored() {
    let mut gateway = Gateway::start(&config(None));
    ask(&gateway, 30).await;
    gateway.rows("request_id", 30).await;
    let store = gateway.path("data/tidegate.db");
    let file = store.to_str().unwrap().to_owned();
    let folder = TempDir::new().unwrap();
    let metrics = folder.path().join("backup.prom");
    let env = [
        ("BACKUP_FOLDER", folder.path().to_str().unwrap()),
        ("BACKUP_METRICS", metrics.to_str().unwrap()),
        ("BACKUP_PAYLOADS", "yes"),
    ];
    let count = |path: &Path, table: &str| -> i64 {
        let database = rusqlite::Connection::open(path).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let tables = ["request_logs", "litellm_logs", "requests_recent", "request_payloads"];
    let before = tables.map(|table| count(&store, table));
    assert!(before.iter().all(|count| *count >= 30), "{before:?}");
    // The gateway writes while its file is copied.
    ends_with(&script("backup.sh", &[&file], &env), 0);
    ask(&gateway, 5).await;
    gateway.rows("request_id", 35).await;
    let [copy] = backups(folder.path(), ".db").try_into().unwrap();
    assert_eq!(tables.map(|table| count(&copy, table)), before);
    let copy = copy.to_str().unwrap();

    // Not below a running gateway.
    ends_with(&script("restore.sh", &[copy, &file], &[]), 5);
    let said = ends_with(&script("restore.sh", &["--replace", copy, &file], &[]), 5);
    assert!(said.contains("stop the gateway"), "{said}");
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    ends_with(&script("restore.sh", &["--replace", copy, &file], &[]), 0);
    assert_eq!(tables.map(|table| count(&store, table)), before);
    // What was there before is still there.
    let aside = std::fs::read_dir(gateway.path("data")).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<PathBuf> =
        aside.filter(|path| path.to_string_lossy().contains(".before_")).collect();
    assert!(aside.iter().any(|path| count(path, "request_logs") == 35), "{aside:?}");

    // Lost altogether, and back; then a gateway goes on with it.
    std::fs::remove_dir_all(gateway.path("data")).unwrap();
    ends_with(&script("restore.sh", &[copy, &file], &[]), 0);
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    std::fs::copy(&store, directory.path().join("data/tidegate.db")).unwrap();
    std::fs::write(directory.path().join("config.yaml"), config(None)).unwrap();
    let again = Gateway::start_in(directory, "config.yaml", &[]);
    ask(&again, 3).await;
    assert_eq!(again.rows("request_id", 33).await.len(), 33);
    // Stored responses are in a file of their own.
    let responses = again.path("data/tidegate.responses.db");
    ends_with(&script("backup.sh", &[responses.to_str().unwrap()], &env), 0);
}

#[test]
fn fourteen_are_kept_and_none_is_given_up_for_a_bad_one() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = place("tidegate.db");
    let database = rusqlite::Connection::open(&store).unwrap();
    database
        .execute_batch("CREATE TABLE request_logs (a); INSERT INTO request_logs VALUES (1)")
        .unwrap();
    drop(database);
    let kept = TempDir::new().unwrap();
    for day in 10..30 {
        let name = format!("tidegate-sqlite-202001{day}T000000Z.db");
        std::fs::write(kept.path().join(name), "old").unwrap();
    }
    let metrics = place("backup.prom");
    let env = [
        ("BACKUP_FOLDER", kept.path().to_str().unwrap()),
        ("BACKUP_METRICS", metrics.to_str().unwrap()),
    ];
    // A file that is none, and one that is another program's: nothing is removed.
    std::fs::write(place("junk.db"), vec![b'x'; 8192]).unwrap();
    ends_with(&script("backup.sh", &[place("junk.db").to_str().unwrap()], &env), 1);
    rusqlite::Connection::open(place("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    ends_with(&script("backup.sh", &[place("other.db").to_str().unwrap()], &env), 3);
    let told = std::fs::read_to_string(&metrics).unwrap();
    assert!(told.contains("tidegate_backup_last_exit_code{store=\"sqlite\"} 3\n"), "{told}");
    assert_eq!(backups(kept.path(), ".db").len(), 20);

    ends_with(&script("backup.sh", &[store.to_str().unwrap()], &env), 0);
    let left = backups(kept.path(), ".db");
    assert_eq!(left.len(), 14);
    assert!(left[0].ends_with("tidegate-sqlite-20200117T000000Z.db"), "{left:?}");
    assert_eq!(
        std::fs::read_dir(kept.path()).unwrap().count(),
        15,
        "something else was left behind"
    );

    // Calls that make no sense, and a folder that is in use.
    ends_with(&script("backup.sh", &[], &[]), 2);
    ends_with(&script("backup.sh", &["mysql://host/database"], &env), 2);
    let none = [env[0], ("BACKUP_KEEP", "0")];
    ends_with(&script("backup.sh", &[store.to_str().unwrap()], &none), 2);
    let backup = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/backup.sh");
    let output = Command::new("flock")
        .arg(kept.path().join(".lock"))
        .arg(&backup)
        .arg(&store)
        .envs(env)
        .output()
        .unwrap();
    ends_with(&output, 4);
}

#[tokio::test]
async fn what_cannot_be_read_or_reached_is_said_and_changes_nothing() {
    let server = Postgres::running().await;
    server
        .execute(
            "CREATE SCHEMA tidegate; CREATE TABLE tidegate.request_logs (a int); \
             INSERT INTO tidegate.request_logs SELECT generate_series(1, 5000)",
        )
        .await;
    let folder = TempDir::new().unwrap();
    let env = [("BACKUP_FOLDER", folder.path().to_str().unwrap())];
    let wrong = server.url_with("wrong");
    ends_with(&script("backup.sh", &[&wrong], &env), 1);
    assert!(backups(folder.path(), "").is_empty());
    let url = server.url();
    ends_with(&script("backup.sh", &[&url], &env), 0);
    let [dump] = backups(folder.path(), ".dump").try_into().unwrap();
    // Cut short behind its list of contents, which alone still looks good.
    let bytes = std::fs::read(&dump).unwrap();
    let cut = folder.path().join("cut.dump");
    std::fs::write(&cut, &bytes[..bytes.len() - 200]).unwrap();
    let cut = cut.to_str().unwrap();
    ends_with(&script("restore.sh", &["--replace", cut, &url], &[]), 3);
    let dump = dump.to_str().unwrap();
    ends_with(&script("restore.sh", &["--replace", dump, &wrong], &[]), 1);
    ends_with(&script("restore.sh", &[dump, "mysql://host/x"], &[]), 2);
    ends_with(&script("restore.sh", &["nowhere.dump", &url], &[]), 2);
    assert_eq!(server.count("SELECT count(*) FROM tidegate.request_logs").await, 5000);
    // A restore that fails in its middle leaves everything as it was: here a role may not create schemas.
    server.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'").await;
    let guest = url.replacen(
        &format!("{}:{}", crate::support::postgres::USER, crate::support::postgres::PASSWORD),
        "guest:guest",
        1,
    );
    ends_with(&script("restore.sh", &["--replace", dump, &guest], &[]), 1);
    assert_eq!(server.count("SELECT count(*) FROM tidegate.request_logs").await, 5000);
}
