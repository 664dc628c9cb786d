//! `modelwatch run`: the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::{self, access::Access};
use crate::cli::{EXIT_FAULTS, LogFormat, load, log_at, show};
use crate::config::Config;
use crate::engine::Daemon;
use crate::yaml::Faults;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// Users, roles and TLS, in the format of the Prometheus exporter toolkit; instead of `web_config_file`.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
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
    let web_config_file = args.web_config_file.or_else(|| config.web_config_file.clone());
    let Some(access) = access(&config, web_config_file.as_deref()) else { return Ok(ExitCode::from(EXIT_FAULTS)) };
    log_at(args.log_format, "info");
    let signals = Signals::new()?;
    let (daemon, listener) = Daemon::start(args.config, config).await?;
    tracing::info!(address = %daemon.address, version = env!("CARGO_PKG_VERSION"), "listening");
    until_told(signals, daemon, listener, access).await?;
    Ok(ExitCode::SUCCESS)
}

/// Who may do what, after the faults of it were shown; none where there is an error among them.
pub fn access(config: &Config, web_config_file: Option<&Path>) -> Option<Arc<Access>> {
    let mut faults = Faults::default();
    let access = Access::open(web_config_file, &config.external_url, &mut faults);
    faults.0.extend(access.as_ref().and_then(|access| api::access::open_to_all(config, access.asks())));
    show(&faults.0);
    access
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
pub async fn until_told(mut signals: Signals, daemon: Arc<Daemon>, listener: TcpListener, access: Arc<Access>) -> Result<()> {
    let served = tokio::spawn(api::serve(listener, daemon.clone(), access));
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
