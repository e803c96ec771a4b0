//! What the service manager is told, by the protocol of sd_notify(3): lines in one datagram to the socket that it
//! names in the environment. So systemd knows when the gateway is ready, is taking up an edit, is ending, and whether
//! it still moves. Without such a socket all of this does nothing, and a manager that does not read holds up nothing.
//! Knows neither requests nor the configuration.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::Environment;

/// The longest status line; more would be of no use in `systemctl status`.
const MOST_STATUS: usize = 500;

/// The service manager, if there is one that listens.
#[derive(Debug)]
pub struct Service {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Service {
    /// As the environment has it: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment(environment: &impl Environment) -> Self {
        let manager = environment.variable("NOTIFY_SOCKET").and_then(|name| {
            let open = || {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Ok((socket, address(&name)?))
            };
            let opened: io::Result<_> = open();
            opened.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be used")).ok()
        });
        let number = |name| environment.variable(name)?.to_str()?.parse::<u64>().ok();
        let is_for_us =
            number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|patience| *patience > 0 && is_for_us);
        Self { manager, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// The gateway serves: for the first time, or again after an edit was looked at. `status` is for people.
    pub fn ready(&self, status: &str) {
        let line: String = status
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(MOST_STATUS)
            .collect();
        self.tell(&format!("READY=1\nSTATUS={line}"));
    }

    /// An edit is being looked at; [`Service::ready`] follows, whatever comes of it.
    pub fn reloading(&self) {
        // The moment tells the manager whether this reload began after it asked for one.
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// No new requests; those in progress may finish.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=requests in progress may finish");
    }

    /// Says that the gateway is alive whenever `beat` has come to its end, twice as often as the manager wants it;
    /// returns at once where nobody wants it.
    pub async fn keep_alive<F: Future<Output = ()>>(&self, beat: impl Fn() -> F) {
        let Some(patience) = self.watchdog.filter(|_| self.manager.is_some()) else { return };
        let mut ticks = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beat().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, lines: &str) {
        if let Some((socket, manager)) = &self.manager
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), manager)
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A path, or with `@` in front a name in Linux's abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest)
        }
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither an absolute path nor a name that begins with @",
        )),
    }
}
