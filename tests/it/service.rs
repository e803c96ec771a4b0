//! What systemd is told, over real sockets: that the gateway is ready, takes up edits, still moves, and ends.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, PATIENCE};

fn config(model: &str) -> String {
    format!(
        "model_list:\n- {{model_name: {model}, litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    )
}

/// Systemd's side.
struct Manager(UnixDatagram);

impl Manager {
    fn bind(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("nothing was told");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The next datagram that is no sign of life.
    fn next_news(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|lines| lines != "WATCHDOG=1").unwrap()
    }

    /// What comes of an edit.
    #[track_caller]
    fn reloaded(&self) -> String {
        let lines = self.next_news();
        let moment = lines.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&lines);
        assert!(moment.parse::<u64>().unwrap() > 0);
        self.next_news()
    }
}

/// A socket's path, as the environment names it.
fn at_path(directory: &TempDir) -> (Manager, String) {
    let path = directory.path().join("notify");
    let address = SocketAddr::from_pathname(&path).unwrap();
    (Manager::bind(&address), path.display().to_string())
}

#[tokio::test]
async fn the_manager_hears_of_the_start_of_edits_and_of_the_end() {
    let directory = TempDir::new().unwrap();
    let (manager, socket) = at_path(&directory);
    let mut gateway =
        Gateway::start_with(&config("one"), &[], &[("NOTIFY_SOCKET", socket.as_str())]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=generation 1: 1 models, 1 keys, 0 MCP servers");
    // Ready is ready: no waiting after it.
    let ready = gateway.client.get(gateway.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);

    std::fs::write(gateway.path("config.yaml"), config("two")).unwrap();
    assert!(manager.reloaded().starts_with("READY=1\nSTATUS=generation 2: "));
    std::fs::write(gateway.path("config.yaml"), "model_list: 5\n").unwrap();
    let refused = manager.reloaded();
    assert!(
        refused.starts_with(
            "READY=1\nSTATUS=generation 2 stays; the edit was refused: config.yaml:1:13"
        ),
        "{refused}"
    );
    assert_eq!(refused.lines().count(), 2);
    std::fs::write(gateway.path("config.yaml"), config("three")).unwrap();
    assert!(manager.reloaded().starts_with("READY=1\nSTATUS=generation 3: "));
    // Asked for with nothing to do: the manager waits for an answer all the same.
    gateway.signal("-HUP");
    assert!(manager.reloaded().starts_with("READY=1\nSTATUS=generation 3: "));

    gateway.signal("-TERM");
    assert!(manager.next_news().starts_with("STOPPING=1\n"));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn signs_of_life_come_while_the_gateway_serves() {
    let name = format!("tidegate-test-{}", std::process::id());
    let manager = Manager::bind(&SocketAddr::from_abstract_name(&name).unwrap());
    let socket = format!("@{name}");
    let env = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "20000")];
    let _gateway = Gateway::start_with(&config("one"), &[], &env);
    let signs = || manager.next() == "WATCHDOG=1";
    let seen = std::iter::repeat_with(signs).filter(|sign| *sign).take(5).count();
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn a_manager_that_never_reads_holds_up_nothing() {
    let directory = TempDir::new().unwrap();
    let (_manager, socket) = at_path(&directory);
    // The socket's queue is full after a fraction of a second.
    let env = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "1")];
    let mut gateway = Gateway::start_with(&config("one"), &[], &env);
    for generation in 2..6 {
        std::fs::write(gateway.path("config.yaml"), config(&format!("m{generation}"))).unwrap();
        gateway.health_until(|health| health["config"]["generation"] == generation).await;
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_socket_that_is_none_and_a_watchdog_of_another_change_nothing() {
    let directory = TempDir::new().unwrap();
    let (manager, socket) = at_path(&directory);
    let env = [("NOTIFY_SOCKET", "vsock:2:1234"), ("WATCHDOG_USEC", "x")];
    let gateway = Gateway::start_with(&config("one"), &[], &env);
    gateway.log_until("NOTIFY_SOCKET cannot be used").await;
    assert_eq!(gateway.health().await["status"], "healthy");

    let others =
        [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut gateway = Gateway::start_with(&config("one"), &[], &others);
    assert!(manager.next().starts_with("READY=1"));
    gateway.signal("-TERM");
    assert!(manager.next().starts_with("STOPPING=1"));
    assert_eq!(gateway.ended().await.code(), Some(0));
}
