//! `tidegate healthcheck`: what a container image without a shell uses as its HEALTHCHECK.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::admin::reachable;
use super::{failed, listen_address, print};

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The address of the gateway; by default where `serve`, called the same way, would listen.
    #[arg(long = "address", value_name = "ADDR:PORT")]
    address: Option<SocketAddr>,
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    let address = arguments
        .address
        .or(listen)
        .or_else(|| listen_address(config))
        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4000)));
    match ask(reachable(address)) {
        Ok(line) if line.contains(" 200 ") => {
            print("ready\n");
            ExitCode::SUCCESS
        }
        Ok(line) => failed(format!("not ready: {line}")),
        Err(error) => failed(format!("no answer from {address}: {error}")),
    }
}

/// The status line of `GET /health/ready`.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
