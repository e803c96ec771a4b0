//! A real PostgreSQL in a directory of its own, started, killed, stopped and started again by tests.
//! PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub(crate) const USER: &str = "tidegate";
pub(crate) const PASSWORD: &str = "canary-of-the-database";
/// How long a condition may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    directory: TempDir,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    postmaster: Option<Child>,
    /// Further settings for the command line, as `name=value`.
    settings: Vec<String>,
}

impl Postgres {
    /// An initialised server that is not running yet; its URL is known already.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("tidegate-postgres-").tempdir().unwrap();
        let owner = unprivileged();
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        let server = Self {
            directory,
            programs: programs(),
            owner,
            port: free_port(),
            postmaster: None,
            settings: Vec::new(),
        };
        let password = server.directory.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if let Some((user, group)) = owner {
            chown(&password, Some(user), Some(group)).unwrap();
        }
        let output = server
            .command("initdb")
            .arg("--pgdata=data")
            .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pwfile=password"])
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        server
    }

    /// One that is running.
    pub(crate) async fn running() -> Self {
        let mut server = Self::new();
        server.start().await;
        server
    }

    /// One that speaks TLS, and the PEM file of its authority. The certificate is for `localhost` only.
    pub(crate) async fn secured() -> (Self, PathBuf) {
        let mut server = Self::new();
        fs::write(server.directory.path().join("names"), "subjectAltName=DNS:localhost").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for arguments in [
            format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=authority -days 2"),
            format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt \
             -days 2 -extfile names"
                .to_owned(),
        ] {
            // Debian's PostgreSQL brings it along.
            let mut command = server.run(Path::new("openssl"));
            let output = command.args(arguments.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let file = |name: &str| server.directory.path().join(name).display().to_string();
        server.settings = vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.crt")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        let authority = server.directory.path().join("ca.crt");
        server.start().await;
        (server, authority)
    }

    /// The address by that name, with those parameters.
    pub(crate) fn url_of(&self, host: &str, parameters: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{host}:{}/postgres?{parameters}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    pub(crate) fn url_with(&self, password: &str) -> String {
        format!("postgres://{USER}:{password}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Starts the server and waits until it answers.
    pub(crate) async fn start(&mut self) {
        assert!(self.postmaster.is_none(), "the server is running");
        let log = File::create(self.directory.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let child = command
            .args(["-D", "data", "-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=20"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.directory.path().display()))
            // Processes are killed here, never the machine: what was written is not lost.
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "log_min_messages=log"])
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.postmaster = Some(child);
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.try_connect().await {
            let ended = self.postmaster.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < until,
                "the server does not start: {error:?}\n{}",
                fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    /// The first column of the first row.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.connect().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap();
    }

    /// `kill -9` of the postmaster. Returns when every process of the server is gone: until then a new
    /// one would find the old one's shared memory in use.
    pub(crate) async fn kill(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server is not running");
        let children = children_of(postmaster.id());
        postmaster.kill().unwrap();
        postmaster.wait().unwrap();
        let until = Instant::now() + PATIENCE;
        while children.iter().any(|child| is_alive(*child)) {
            assert!(Instant::now() < until, "processes of a killed server stay");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every process of the server stops where it is: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn signal(&self, name: &str) {
        let postmaster = self.postmaster.as_ref().expect("the server is not running").id();
        // The postmaster first: it would start a new process for one that stopped answering.
        for process in std::iter::once(postmaster).chain(children_of(postmaster)) {
            let script = format!("kill -{name} {process} 2>/dev/null");
            _ = Command::new("sh").args(["-c", &script]).status();
        }
    }

    fn command(&self, program: &str) -> Command {
        self.run(&self.programs.join(program))
    }

    /// Runs in the server's directory as the server's user.
    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.postmaster.is_none() {
            return;
        }
        self.signal("CONT");
        let Some(mut postmaster) = self.postmaster.take() else { return };
        // An immediate shutdown: no checkpoint, but shared memory is given back.
        let script = format!("kill -QUIT {}", postmaster.id());
        _ = Command::new("sh").args(["-c", &script]).status();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if !matches!(postmaster.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        _ = postmaster.kill();
        _ = postmaster.wait();
    }
}

/// Where `initdb` and `postgres` are: on the PATH, or where Debian puts them.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|directory| is_complete(directory))
        .expect(
            "PostgreSQL is needed: put initdb and postgres on the PATH (apt install postgresql)",
        )
}

fn is_complete(directory: &Path) -> bool {
    directory.join("initdb").is_file() && directory.join("postgres").is_file()
}

/// User and group for the server when the tests run as root.
fn unprivileged() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    if user.split_whitespace().next() != Some("0") {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let account = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = account.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

/// A port below those the system hands out, so that no connection of another test takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(15_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| stat(*process).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process, from the fields after its name in parentheses.
fn stat(process: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
