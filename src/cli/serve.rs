//! `tidegate serve`, and `tidegate` alone.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EX_CONFIG, complain, failed};
use crate::app::{self, StartError};

#[derive(Clone, Debug, Default, Args)]
pub(super) struct Arguments {
    /// Where to listen; over the configuration's `general_settings.listen`.
    #[arg(long, env = "TIDEGATE_LISTEN", value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The address to listen on, as LiteLLM has it; over that of --listen.
    #[arg(long, value_name = "ADDR")]
    host: Option<IpAddr>,
    /// The port to listen on, as LiteLLM has it; over that of --listen.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

impl Arguments {
    /// Options may stand before the subcommand or behind it.
    pub(super) fn or(self, before: Self) -> Self {
        Self {
            listen: self.listen.or(before.listen),
            host: self.host.or(before.host),
            port: self.port.or(before.port),
        }
    }

    /// Where to listen, if anything was said of it. No conflict between the options: `--port` must
    /// go with a `TIDEGATE_LISTEN` that the environment happens to hold.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        if self.host.is_none() && self.port.is_none() {
            return self.listen;
        }
        let mut address = self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4000)));
        address.set_ip(self.host.unwrap_or(address.ip()));
        address.set_port(self.port.unwrap_or(address.port()));
        Some(address)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("`{text}` is not an address with a port, such as 127.0.0.1:4000");
    text.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)
}

pub(super) fn run(config: PathBuf, arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(error);
        }
    };
    let outcome = runtime.block_on(app::serve(config, arguments.address()));
    // What is still running had its time to finish.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Config) => {
            complain(&error.to_string());
            ExitCode::from(EX_CONFIG)
        }
        Err(error) => failed(error),
    }
}
