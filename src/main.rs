//! Parses the command line, runs the command, and turns its outcome into an exit code. Only this file exits or prints errors; a
//! command also ends when nobody reads its report any more.

use std::process::ExitCode;

use clap::Parser;
use driftless::{
    cli::{self, Cli, Exit},
    retry, telemetry,
};

/// The allocator, also of the Kafka client in C. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init_logs(cli.log_format, cli.log_filter.clone());
    // The only cryptography provider that is compiled in. This is the only installation, so it cannot fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = %error, "start the async runtime");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli.execute());
    // A blocking call to an unreachable server must not delay the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            match cli::hint(&error) {
                Some(hint) => tracing::error!(hint, "{}", retry::chain(error.as_ref())),
                None => tracing::error!("{}", retry::chain(error.as_ref())),
            }
            ExitCode::from(Exit::Failure.code())
        }
    }
}
