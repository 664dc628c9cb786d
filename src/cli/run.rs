//! `modelwatch run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api;
use crate::cli::{LogFormat, load, log_at};
use crate::engine::Daemon;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// How the log on stderr is written.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Runs until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn run(args: Args) -> Result<ExitCode> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    log_at(args.log_format, "info");
    let signals = Signals::new()?;
    let (daemon, listener) = Daemon::start(args.config, config).await?;
    tracing::info!(address = %daemon.address, version = env!("CARGO_PKG_VERSION"), "listening");
    until_told(signals, daemon, listener).await?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that we listen to, from before the start on: a reload that comes too early must not end us.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn new() -> Result<Signals> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Signals { terminate: terminate?, interrupt: interrupt?, hangup: hangup? })
    }
}

/// Serves a daemon until a signal ends it.
pub async fn until_told(mut signals: Signals, daemon: Arc<Daemon>, listener: tokio::net::TcpListener) -> Result<()> {
    let served = tokio::spawn(api::serve(listener, daemon.clone()));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                // The faults are in the log. It is not waited for, so that a signal to stop is heard meanwhile.
                let daemon = daemon.clone();
                tokio::spawn(async move { daemon.reload().await });
            }
        }
    }
    tracing::info!("stopping");
    let stopped = daemon.stop().await;
    served.abort();
    stopped.context("stopped, but not cleanly")?;
    tracing::info!("stopped");
    Ok(())
}
