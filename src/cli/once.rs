//! `modelwatch once`: the same as the daemon, for one read and one evaluation; nothing is sent.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use crate::alert::State;
use crate::api::exposition;
use crate::cli::{EXIT_FAILURE, EXIT_FAULTS, load, show};
use crate::config::Source;
use crate::engine::asking::Asking;
use crate::engine::core::Core;
use crate::engine::ingest::{Counting, Fault, Session};
use crate::engine::{clock, shared};
use crate::export::prometheus::Format;
use crate::route::Routing;
use crate::source::Wanted;
use crate::source::reader::FIRST_SLICE;
use crate::store::Store;
use crate::time::{Span, Time};

/// No poll waits for the queries of rules.
const NO_HURRY: Span = Span(i64::MAX);

/// Options of `once`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// What counts as now; rows after it are left out.
    #[arg(long, value_parser = Time::parse)]
    at: Option<Time>,
    /// Keep what was counted in this file, and go on from it the next time.
    #[arg(long)]
    state: Option<PathBuf>,
}

/// Prints metrics to stdout, alerts to stderr.
pub async fn run(args: Args) -> Result<ExitCode> {
    let mut config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    // Nothing is sent, so nothing is routed.
    config.routing = Routing::default();
    let (sources, wanted) = (config.sources.clone(), config.wanted());
    let store = Store::open(args.state.as_deref()).await?;
    let shared = shared();
    let core = Arc::new(Mutex::new(Core::open(store, config, shared.clone(), clock::now()).await?));
    for source in &sources {
        let mut counting = Counting::default();
        let read = read(source, &wanted, &core, &mut counting, args.at).await;
        counting.settle().await;
        match read {
            Ok(()) => {}
            Err(Fault::Mapping(faults)) => {
                show(&faults);
                return Ok(ExitCode::from(EXIT_FAULTS));
            }
            Err(Fault::Database(error)) => {
                eprintln!("error: cannot read {}: {error}", source.name);
                return Ok(ExitCode::from(EXIT_FAILURE));
            }
        }
    }
    // Rules that were new to the state were filled only after the last batch.
    core.lock().await.evaluate_all(clock::now()).await;
    std::io::stdout().write_all(exposition(&shared, Format::Text).as_bytes()).context("cannot write the metrics")?;
    shared.read(|published| {
        for alert in published.alerts.iter().filter(|alert| alert.state != State::Resolved) {
            let state = if alert.state == State::Firing { "firing" } else { "pending" };
            let labels = serde_json::to_string(&alert.labels).unwrap_or_default();
            eprintln!("ALERT {labels} value={} state={state}\n  {}", alert.value, alert.evidence);
        }
    });
    if args.state.is_some() {
        core.lock().await.checkpoint().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a source up to its now, or to `at`.
async fn read(
    source: &Source,
    wanted: &Wanted,
    core: &Arc<Mutex<Core>>,
    counting: &mut Counting,
    at: Option<Time>,
) -> Result<(), Fault> {
    let mut session = Session::open(source, wanted, core, counting, FIRST_SLICE).await?;
    while !session.turn(at).await? {}
    let mut asking = Asking::default();
    let asked = session.ask(&mut asking, at, NO_HURRY).await;
    asking.faults().for_each(|fault| eprintln!("warning: the query of a rule has no answer: {fault}"));
    asked
}
