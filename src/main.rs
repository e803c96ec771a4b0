//! `tidegate`: arguments in, exit code out. Everything else is the library's.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    if let Some(code) = tidegate::cli::supervise_if_asked() {
        return code;
    }
    // One TLS provider for the whole process; a second call would be the only way to fail.
    let _first = rustls::crypto::ring::default_provider().install_default();
    tidegate::cli::Cli::parse().run()
}
