//! Parses the arguments, runs, and says how it went.

use std::process::ExitCode;

use clap::Parser;
use modelwatch::cli::{self, Cli};

fn main() -> ExitCode {
    let arguments = Cli::parse();
    // The HTTP client needs a provider of cryptography before it is first built; a second one is no fault.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::main(arguments));
            // A reader that waits for its database must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            ExitCode::from(cli::EXIT_FAILURE)
        }
    }
}
