//! Parses, loads the configuration, runs the command, and turns its outcome into an exit code. The only file that exits or
//! prints errors.

use std::process::ExitCode;

use clap::Parser;
use driftless::{
    cli::{self, Cli, Exit},
    retry, telemetry,
};

/// For the allocations of the Kafka client too, which is C. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init_logs(cli.log_format, &cli.log_filter);
    // The one provider of cryptography; installing it twice cannot happen here, and a second provider is not compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = %error, "start the async runtime");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli.execute());
    // A blocking call into a server that is away must not hold the process up.
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
