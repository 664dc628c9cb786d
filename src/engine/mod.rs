//! The only wiring: sources to the core, the core to receivers, time and signals to both.

pub mod clock;
pub mod shared;
pub mod stale;
pub mod asking;
pub mod clients;
pub mod core;
pub mod deliver;
pub mod ingest;
pub mod send;
pub mod smtp;
pub mod tls;
mod watching;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;

use crate::config::{self, Config, Content, Source};
use crate::diag::{Diagnostic, Severity};
use crate::engine::core::Core;
use crate::engine::shared::{Published, Shared};
use crate::export::own::Own;
use crate::source::Wanted;
use crate::store::Store;
use crate::time::{Span, Time};

/// How often time alone is looked at: groups that are due, sources that became stale.
const TICK: Span = Span::millis(250);
/// How often files that change while they are read are read again.
const LOADS: usize = 5;
/// How long all may take to end when the daemon is told to stop.
const GRACE: Span = Span::secs(4);

/// A running modelwatch.
#[derive(Debug)]
pub struct Daemon {
    path: PathBuf,
    /// What a reload cannot change: address, state file, the URL in messages and the name of the web config file, as configured.
    fixed: (SocketAddr, PathBuf, String, Option<PathBuf>),
    /// Where HTTP is served.
    pub address: SocketAddr,
    /// How people reach us, for links.
    pub external_url: String,
    /// Since when it runs.
    pub started_at: Time,
    /// All state.
    pub core: Arc<Mutex<Core>>,
    /// What others may look at.
    pub shared: Arc<Shared>,
    readers: Mutex<Readers>,
    loaded: Mutex<Loaded>,
    stop: watch::Sender<bool>,
}

/// What is known of the files of the configuration.
#[derive(Debug)]
struct Loaded {
    watch: bool,
    /// What they held when they were read last, also in vain.
    content: Content,
}

/// The tasks that read sources; a reload replaces them.
#[derive(Debug, Default)]
struct Readers {
    /// What is read, for a reload that fails.
    sources: Vec<Source>,
    wanted: Wanted,
    tasks: JoinSet<()>,
    stop: Option<watch::Sender<bool>>,
}

impl Readers {
    async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send_replace(true);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn start(&mut self, core: &Arc<Mutex<Core>>, shared: &Arc<Shared>) {
        let (stop, stopped) = watch::channel(false);
        for source in &self.sources {
            let (source, wanted) = (source.clone(), self.wanted.clone());
            self.tasks.spawn(vital(ingest::run(source, wanted, core.clone(), shared.clone(), stopped.clone())));
        }
        self.stop = Some(stop);
    }
}

/// A task without which the daemon would only look alive: should it panic, the process ends, and what is stored is sound.
async fn vital(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        std::process::abort();
    }
}

/// What all parts share, with nothing in it yet.
pub fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        published: RwLock::new(Published::default()),
        own: Own::new(env!("CARGO_PKG_VERSION")),
        wake: Notify::new(),
    })
}

impl Daemon {
    /// Opens the state, binds the address and begins to read and to deliver; HTTP is the caller's.
    pub async fn start(path: PathBuf, config: Config) -> Result<(Arc<Daemon>, TcpListener)> {
        let listener = TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let store = Store::open(Some(&config.state)).await?;
        let shared = shared();
        let external_url = if config.listen.port() == 0 { format!("http://{address}") } else { config.external_url.clone() };
        let fixed = (config.listen, config.state.clone(), config.external_url.clone(), config.web_config_file.clone());
        let loaded = Loaded { watch: config.watch, content: config.content.clone() };
        let mut readers = Readers { sources: config.sources.clone(), wanted: config.wanted(), ..Readers::default() };
        let core = Arc::new(Mutex::new(Core::open(store, config, shared.clone(), clock::now()).await?));
        readers.start(&core, &shared);
        shared.own.reload_successful.set(1);
        shared.own.reload_timestamp.set(clock::now().as_secs_f64());
        let (stop, stopped) = watch::channel(false);
        let deliver = deliver::run(core.clone(), shared.clone(), external_url.clone(), send::Sender::default(), stopped.clone());
        tokio::spawn(vital(deliver));
        tokio::spawn(vital(tick(core.clone(), stopped)));
        let (readers, loaded) = (Mutex::new(readers), Mutex::new(loaded));
        let started_at = clock::now();
        let daemon = Daemon { path, fixed, address, external_url, started_at, core, shared, readers, loaded, stop };
        let daemon = Arc::new(daemon);
        tokio::spawn(watching::run(daemon.clone()));
        Ok((daemon, listener))
    }

    /// Whether files are watched.
    async fn watches(&self) -> bool {
        self.loaded.lock().await.watch
    }

    /// Whether the files held just this when they were read last.
    async fn was_read(&self, content: &Content) -> bool {
        self.loaded.lock().await.content == *content
    }

    /// Reads the files until none changes meanwhile: parts of two configurations are none.
    async fn load(&self) -> (Option<Config>, Vec<Diagnostic>) {
        for _ in 0..LOADS {
            let before = watching::content(self.path.clone()).await.unwrap_or_default();
            let loaded = config::load(&self.path);
            let after = watching::content(self.path.clone()).await.unwrap_or_default();
            if before == after {
                self.loaded.lock().await.content = before;
                return loaded;
            }
        }
        (None, vec![Diagnostic::nowhere("reload", "the files change while they are read")])
    }

    /// Reads the configuration again; where it is at fault, all stays as it is and the faults come back.
    pub async fn reload(&self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let mut readers = self.readers.lock().await;
        let own = &self.shared.own;
        let (config, mut faults) = self.load().await;
        let Some(config) = config else {
            own.reloaded(false, 0.0);
            for fault in &faults {
                tracing::error!("{fault}");
            }
            tracing::error!("the configuration was not reloaded; the last good one stays in force");
            return Err(faults);
        };
        let (listen, state, external_url, web) = &self.fixed;
        if (&config.listen, &config.state, &config.external_url, &config.web_config_file) != (listen, state, external_url, web) {
            let message = "`listen`, `state`, `external_url` and `web_config_file` stay as they were";
            let warning = Diagnostic::nowhere("needs-restart", message).help("restart modelwatch to change them");
            faults.push(Diagnostic { severity: Severity::Warning, ..warning });
        }
        faults.iter().for_each(|fault| tracing::warn!("{fault}"));
        readers.stop().await;
        let (sources, wanted, watch) = (config.sources.clone(), config.wanted(), config.watch);
        let reloaded = self.core.lock().await.reload(config, clock::now()).await;
        if reloaded.is_ok() {
            (readers.sources, readers.wanted) = (sources, wanted);
            self.loaded.lock().await.watch = watch;
        }
        readers.start(&self.core, &self.shared);
        own.reloaded(reloaded.is_ok(), clock::now().as_secs_f64());
        if let Err(error) = reloaded {
            tracing::error!(error = format!("{error:#}"), "the configuration was not reloaded; the last good one stays in force");
            return Err(vec![Diagnostic::nowhere("state", format!("{error:#}"))]);
        }
        tracing::info!("configuration reloaded");
        Ok(faults)
    }

    /// A receiver that learns when the daemon stops.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Stops reading and delivering, and writes everything down. What is being sent is sent again after the next start.
    pub async fn stop(self: Arc<Daemon>) -> Result<()> {
        self.stop.send_replace(true);
        let end = async {
            self.readers.lock().await.stop().await;
            self.core.lock().await.close().await
        };
        let late = "the state could not be written in time; what was read since is read again after the next start";
        tokio::time::timeout(GRACE.to_std(), end).await.map_err(|_| anyhow!(late))?
    }
}

async fn tick(core: Arc<Mutex<Core>>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let is_due = {
            let mut core = core.lock().await;
            let now = clock::now();
            core.tick(now).await;
            core.measure(now);
            core.is_due(now)
        };
        if is_due {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(TICK.to_std()) => {}
            _ = stop.changed() => {}
        }
    }
}
