//! The gateway under test: the real binary as a child process, in a directory of its own, on a port the
//! system chose. It is ended when the test ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A key that every test configuration may list.
pub(crate) const KEY: &str = "sk-test-0123456789abcdefghij";
pub(crate) const MASTER: &str = "sk-master-0123456789abcdefghij";

/// How long anything may take that has no reason to take any time: a bound for hanging, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Gateway {
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    /// Starts with this configuration; panics, showing what was said, if it does not come up.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[], &[])
    }

    pub(crate) fn start_with(config: &str, files: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::write(directory.path().join("config.yaml"), config).unwrap();
        Self::start_in(directory, "config.yaml", env)
    }

    /// Starts in a directory that holds the configuration already.
    pub(crate) fn start_in(directory: TempDir, config: &str, env: &[(&str, &str)]) -> Self {
        Self::start_program(program(), directory, config, env)
    }

    /// The same with another program, which speaks as this one does.
    pub(crate) fn start_program(
        program: Command,
        directory: TempDir,
        config: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let mut child = alone(program, directory.path())
            .args(["--config", config, "--listen", "127.0.0.1:0"])
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let status = child.wait().unwrap();
                panic!("the gateway ended ({status}):\n{said}\n{}", log.lock().unwrap());
            }
            said.push_str(&line);
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let client = client();
        Self { directory, address, client, child, log }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(KEY)
    }

    pub(crate) async fn health(&self) -> Value {
        let answer = self.client.get(self.url("/health")).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Polls a condition on `/health`; panics when it does not come true.
    pub(crate) async fn health_until(&self, what: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let health = self.health().await;
            if what(&health) {
                return health;
            }
            assert!(Instant::now() < end, "never came true; health: {health:#}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything the gateway logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until something was logged.
    pub(crate) async fn log_until(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < end, "never logged {text:?}:\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the gateway did not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The rows of the request log, oldest first, once there are at least `count`; `sql` names columns.
    pub(crate) async fn rows(
        &self,
        columns: &str,
        count: usize,
    ) -> Vec<Vec<rusqlite::types::Value>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let rows = read_rows(&self.path("data/tidegate.db"), columns);
            if rows.len() >= count {
                return rows;
            }
            assert!(Instant::now() < end, "{} rows, not {count}\n{}", rows.len(), self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The binary, in a directory of its own, without what this machine's environment might say.
pub(crate) fn command(directory: &Path) -> Command {
    alone(program(), directory)
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
}

fn alone(mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command
}

pub(crate) fn client() -> reqwest::Client {
    let _first = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(256).build().unwrap()
}

fn read_rows(path: &Path, columns: &str) -> Vec<Vec<rusqlite::types::Value>> {
    let read = || -> rusqlite::Result<Vec<Vec<rusqlite::types::Value>>> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(path, flags)?;
        database.busy_timeout(Duration::from_secs(5))?;
        let sql = format!("SELECT {columns} FROM request_logs ORDER BY started_at");
        let mut statement = database.prepare(&sql)?;
        let width = statement.column_count();
        let rows = statement.query_map([], |row| (0..width).map(|at| row.get(at)).collect())?;
        rows.collect()
    };
    read().unwrap_or_default()
}

/// A configuration with one model `m` on one provider, one key for everything, and the master key.
pub(crate) fn one_model(base: &str) -> String {
    format!(
        "general_settings:\n  master_key: {MASTER}\nmodel_list:\n  - model_name: m\n    \
         litellm_params:\n      model: openai/up\n      api_base: {base}\n      api_key: sk-upstream-secret\n\
         virtual_keys:\n  - api_key: {KEY}\n    key_alias: tester\n    models: [\"*\"]\n"
    )
}
