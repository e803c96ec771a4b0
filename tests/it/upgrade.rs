//! Two releases on one database, and on one file: the older one may run beside the newer, and again after it. `tests/upgrade` builds
//! the older program from a commit and runs this; it is no part of every run, as that takes minutes.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, PATIENCE};
use crate::support::postgres::Postgres;

const COUNT: &str = "SELECT count(*) FROM tidegate.request_logs";

/// The older program, as `TIDEGATE_OLDER` says.
fn older() -> PathBuf {
    std::env::var_os("TIDEGATE_OLDER").expect("TIDEGATE_OLDER names the older program").into()
}

fn newer() -> PathBuf {
    env!("CARGO_BIN_EXE_tidegate").into()
}

fn config(server: &Postgres) -> String {
    format!(
        "general_settings: {{database_url: '{}'}}\n\
         model_list: [{{model_name: m, litellm_params: {{model: mock-response}}}}]\n\
         virtual_keys: [{{api_key: {KEY}, key_alias: tester, models: ['*']}}]\n",
        server.url()
    )
}

fn start(program: PathBuf, directory: TempDir) -> Gateway {
    Gateway::start_program(Command::new(program), directory, "config.yaml", &[])
}

fn fresh(server: &Postgres) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("config.yaml"), config(server)).unwrap();
    directory
}

/// Serves some requests, whose rows reach the database.
async fn serve(gateway: &Gateway, server: &Postgres) {
    let before = server.count(COUNT).await;
    for _ in 0..5 {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while server.count(COUNT).await < before + 5 {
        assert!(Instant::now() < end, "the rows never arrive\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.count(COUNT).await, before + 5);
    let log = gateway.log();
    assert!(!log.contains("ERROR"), "{log}");
}

/// Ends a gateway, and gives back the directory with its file.
async fn stop(mut gateway: Gateway) -> TempDir {
    gateway.signal("-TERM");
    assert!(gateway.ended().await.success());
    std::mem::replace(&mut gateway.directory, TempDir::new().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program of an earlier release: tests/upgrade"]
async fn two_releases_share_a_database_and_a_file() {
    for [first, second] in [[older(), newer()], [newer(), older()]] {
        let server = Postgres::running().await;
        let one = start(first.clone(), fresh(&server));
        let health = |health: &serde_json::Value| health["request_log"]["postgres"] == "connected";
        one.health_until(health).await;
        serve(&one, &server).await;
        let two = start(second.clone(), fresh(&server));
        two.health_until(health).await;
        serve(&two, &server).await;
        serve(&one, &server).await;
        // Each goes on with the other's file.
        let (of_one, of_two) = (stop(one).await, stop(two).await);
        let (one, two) = (start(second, of_one), start(first, of_two));
        serve(&one, &server).await;
        serve(&two, &server).await;
        assert_eq!(server.count(COUNT).await, 25);
    }
}
