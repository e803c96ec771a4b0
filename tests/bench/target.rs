//! What is measured: the upstream itself, nginx before it, Tidegate before it. Each proxy is a child
//! process with a folder of its own, ended when its value is dropped. It must not know the phases.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::conversation::Format;

use crate::answers::{self, PROVIDERS};
use crate::conversation::{self, CLIENTS};
use crate::machine::Tree;
use crate::upstream::{self, Upstream};
use crate::wire::{self, Rendered};
use crate::{Outcome, load};

/// The virtual key of the benchmark's clients.
const CLIENT_KEY: &str = "sk-bench-client-0123456789abcdef";
/// The key that Tidegate must put in its place.
const UPSTREAM_KEY: &str = "sk-bench-upstream-0123456789abcdef";
/// The first path segment at the upstream, and the model that leads there.
pub(crate) const ROUTES: [&str; 5] = ["plain", "large", "burst", "paced", "token"];
/// How long a proxy may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How long a proxy may take to end before it is killed.
const END: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Direct,
    Nginx,
    Tidegate,
}

/// Where a target's output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    File,
    /// A pipe that stays full.
    Unread,
}

/// One running target.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

struct Process {
    child: Child,
    tree: Tree,
    ready: Duration,
    folder: TempDir,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Nginx, Self::Tidegate];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Tidegate => "tidegate",
        }
    }
}

impl Target {
    /// Starts a target and waits until it answers `GET /health/ready` with 200.
    pub(crate) fn start(kind: Kind, upstream: SocketAddr) -> Outcome<Self> {
        if kind == Kind::Direct {
            return Ok(Self { kind, address: upstream, process: None });
        }
        Self::started(kind, Output::File, |folder, address| match kind {
            Kind::Nginx => nginx(folder, upstream, address),
            Kind::Direct | Kind::Tidegate => tidegate(folder, &models(upstream), address),
        })
    }

    /// Starts Tidegate with another configuration.
    pub(crate) fn with_config(config: &str) -> Outcome<Self> {
        Self::with_output(config, Output::File)
    }

    /// The same, with its output going elsewhere.
    pub(crate) fn with_output(config: &str, output: Output) -> Outcome<Self> {
        Self::started(Kind::Tidegate, output, |folder, address| tidegate(folder, config, address))
    }

    fn started(
        kind: Kind,
        output: Output,
        command: impl Fn(&Path, SocketAddr) -> Outcome<Command>,
    ) -> Outcome<Self> {
        let mut failure = "not started".into();
        // The free port is found by binding and letting go; someone may take it in between.
        for _ in 0..3 {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            match Process::start(&command, address, output) {
                Ok(process) => return Ok(Self { kind, address, process: Some(process) }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A chat request for one of [`ROUTES`], with a body of at least `size` bytes.
    pub(crate) fn request(&self, route: &str, size: usize, streamed: bool) -> Rendered {
        let path = match self.kind {
            Kind::Tidegate => "/v1/chat/completions".to_owned(),
            Kind::Direct | Kind::Nginx => format!("/{route}/v1/chat/completions"),
        };
        let body = wire::chat_body(&format!("bench-{route}"), size, streamed);
        wire::post(&path, &self.address.to_string(), CLIENT_KEY, &body)
    }

    /// An agent's request of 16 KiB in a client's format, for a provider of another.
    pub(crate) fn translated(&self, client: Format, provider: Format, stream: bool) -> Rendered {
        let known = CLIENTS.iter().find(|(format, _)| *format == client);
        let path = known.map_or("/", |(_, path)| path);
        let model = format!("bench-{}", upstream::segment(provider, stream));
        let body = conversation::agent(client, &model, stream);
        wire::post(path, &self.address.to_string(), CLIENT_KEY, &body)
    }

    /// One request of each route, and a look at what reached the upstream: a gateway that does not
    /// replace key and model would be fast and useless.
    pub(crate) fn probe(&self, upstream: &Upstream) -> Outcome<()> {
        for route in ROUTES {
            let streamed = !matches!(route, "plain" | "large");
            let request = self.request(route, 0, streamed);
            let (key, body) = upstream.observe(|| load::once(self.address, &request))?;
            let body: serde_json::Value = serde_json::from_slice(&body)?;
            let model = body.get("model").and_then(|model| model.as_str()).unwrap_or_default();
            let wanted = match self.kind {
                Kind::Tidegate => (format!("Bearer {UPSTREAM_KEY}"), format!("upstream-{route}")),
                Kind::Direct | Kind::Nginx => {
                    (format!("Bearer {CLIENT_KEY}"), format!("bench-{route}"))
                }
            };
            if (key.as_str(), model) != (wanted.0.as_str(), wanted.1.as_str()) {
                return Err(format!("{route}: wrong key or model at the upstream: {model}").into());
            }
        }
        Ok(())
    }

    /// CPU time so far, once the process has been quiet for a moment: work that a request left
    /// behind (a journal row) belongs to that request. `None` for the upstream itself.
    pub(crate) fn settled_cpu(&self) -> Option<Duration> {
        let tree = &self.process.as_ref()?.tree;
        let mut last = tree.cpu();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            let now = tree.cpu();
            if now == last {
                break;
            }
            last = now;
        }
        Some(last)
    }

    /// A memory field of `/proc/PID/status` over the whole process tree, in MiB.
    pub(crate) fn memory(&self, field: &str) -> Option<f64> {
        Some(self.process.as_ref()?.tree.memory(field))
    }

    /// Asks it to end, and says how long that took.
    pub(crate) fn stop(self) -> Duration {
        let asked = Instant::now();
        drop(self.process);
        asked.elapsed()
    }

    /// From `exec` to the first 200 on `/health/ready`.
    pub(crate) fn ready(&self) -> Option<Duration> {
        Some(self.process.as_ref()?.ready)
    }
}

impl Process {
    fn start(
        command: impl Fn(&Path, SocketAddr) -> Outcome<Command>,
        address: SocketAddr,
        output: Output,
    ) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("output.log"))?;
        let mut command = command(folder.path(), address)?;
        command.current_dir(folder.path()).stdin(Stdio::null());
        match output {
            Output::File => command.stdout(log.try_clone()?).stderr(log),
            // The child's value holds the other ends.
            Output::Unread => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let started = Instant::now();
        let child = command.spawn()?;
        let tree = Tree::of(child.id());
        let mut process = Self { child, tree, ready: Duration::ZERO, folder };
        process.wait_until_ready(address, started)?;
        process.ready = started.elapsed();
        // nginx has its workers only now.
        process.tree = Tree::of(process.child.id());
        Ok(process)
    }

    fn wait_until_ready(&mut self, address: SocketAddr, started: Instant) -> Outcome<()> {
        while !is_ready(address) {
            let exited = self.child.try_wait()?;
            if exited.is_some() || started.elapsed() > START {
                let log = fs::read_to_string(self.folder.path().join("output.log"))?;
                let state = exited.map_or("not ready in time".to_owned(), |it| it.to_string());
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("{state}; its last lines: {tail:?}").into());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }
}

impl Drop for Process {
    /// SIGTERM first: nginx's master then ends its workers. The shell sends it, because the standard
    /// library can only kill.
    fn drop(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
        let asked = Instant::now();
        while asked.elapsed() < END {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(START))?;
        socket
            .write_all(b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Debian's nginx in its kindest form: no access log, bodies kept in memory, connections kept alive
/// on both sides without a count, streams passed on as they come.
fn nginx(folder: &Path, upstream: SocketAddr, address: SocketAddr) -> Outcome<Command> {
    let root = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {root}/{name};\n"))
        .collect();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {root}/pid;\n\
         error_log {root}/error.log;\nevents {{ worker_connections 4096; }}\nhttp {{\n\
         \x20 access_log off;\n  tcp_nodelay on;\n  keepalive_requests 100000000;\n\
         \x20 client_max_body_size 64m;\n  client_body_buffer_size 1m;\n{temporary}\
         \x20 upstream fast {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}\n\
         \x20 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n\
         \x20 server {{\n    listen {address};\n    location / {{ proxy_pass http://fast; }}\n\
         \x20   location ~ ^/(burst|paced|token)/ {{\n\
         \x20     proxy_pass http://fast;\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(nginx_path().ok_or("nginx is not installed")?);
    command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(folder).arg("-c").arg(path);
    Ok(command)
}

/// nginx on the search path, or where Debian puts it outside a user's path.
pub(crate) fn nginx_path() -> Option<&'static str> {
    ["nginx", "/usr/sbin/nginx"]
        .into_iter()
        .find(|path| Command::new(path).arg("-v").stderr(Stdio::null()).status().is_ok())
}

/// Tidegate's configuration as it is used: a virtual key, models to rewrite.
pub(crate) fn models(upstream: SocketAddr) -> String {
    let models: String = ROUTES
        .iter()
        .map(|route| {
            format!(
                "  - model_name: bench-{route}\n    litellm_params:\n\
                 \x20     model: openai/upstream-{route}\n      api_key: {UPSTREAM_KEY}\n\
                 \x20     api_base: http://{upstream}/{route}/v1\n"
            )
        })
        .collect();
    let translated: String = PROVIDERS
        .iter()
        .flat_map(|(format, prefix)| [(*format, prefix, false), (*format, prefix, true)])
        .map(|(format, prefix, stream)| {
            let segment = upstream::segment(format, stream);
            // OpenAI has chat too, which its provider would be asked for first.
            let route = if format == Format::OpenAiResponses { "responses/" } else { "" };
            format!(
                "  - model_name: bench-{segment}\n    litellm_params:\n\
                 \x20     model: {prefix}/{route}{}\n      api_key: {UPSTREAM_KEY}\n\
                 \x20     api_base: http://{upstream}/{segment}\n",
                answers::model(format)
            )
        })
        .collect();
    format!(
        "model_list:\n{models}{translated}virtual_keys:\n  - api_key: {CLIENT_KEY}\n    key_alias: bench\n\
         \x20   models: [\"bench-*\"]\n"
    )
}

/// Tidegate, with the journal on SQLite in its folder.
fn tidegate(folder: &Path, config: &str, address: SocketAddr) -> Outcome<Command> {
    let path = folder.join("config.yaml");
    fs::write(&path, config)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("--config").arg(path).arg("--listen").arg(address.to_string());
    Ok(command)
}
