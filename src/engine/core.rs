//! The one place where state changes: each step counts, evaluates, routes, stores all of it in one transaction, and only
//! then lets it be seen.

mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustc_hash::FxHashSet;

use crate::alert::{Alert, Book, Change, Finding, Inbox, Kind};
use crate::config::Config;
use crate::engine::clock::Stopwatch;
use crate::engine::shared::Shared;
use crate::engine::stale::{self, SOURCE_STALE, SourceState};
use crate::event::Key;
use crate::export::own::{QueryLabels, RuleLabel, SourceLabel};
use crate::ledger::{Checkpoint, Layout, Ledger, pack_keys, unpack_keys};
use crate::limits::{ALERTS_AT_ONCE, CATCH_UP};
use crate::notify::Places;
use crate::outbox::{Delivery, Outbox};
use crate::pipeline::{Kept, Message, Pipeline, Setup};
use crate::route::{Endpoint, Saved, Silences};
use crate::source::query::{Answer, Query};
use crate::source::{Batch, Position};
use crate::store::{Commit, Counted, Store};
use crate::time::{Span, Time};

/// Counted keys are kept for this long behind the longest repair window.
const COUNTED_SLACK: Span = Span::secs(2 * 3_600);

/// The document of the numbers that integrations have.
const PLACES: &str = "places";

/// How long the rest of what is posted at once is waited for; it is in memory.
const HELD: Span = Span::secs(2);

/// All state that changes.
#[derive(Debug)]
pub struct Core {
    store: Store,
    ledger: Ledger,
    pipeline: Pipeline,
    outbox: Outbox,
    places: Places,
    sources: BTreeMap<String, SourceState>,
    repair_window: Span,
    saved_ticks: Vec<u8>,
    /// Until then no group is looked at, unless all that was posted at once is there before.
    held_until: Option<Time>,
    shared: Arc<Shared>,
}

impl Core {
    /// Takes up what is stored, for a configuration.
    pub async fn open(mut store: Store, config: Config, shared: Arc<Shared>, now: Time) -> Result<Core> {
        let parts: Vec<u8> = store.documents("checkpoint").await?.into_iter().flat_map(|(_, body)| body).collect();
        let checkpoint = match parts.as_slice() {
            [] => Checkpoint::default(),
            body => postcard::from_bytes(body).context("the checkpoint in the state file cannot be read")?,
        };
        drop(parts);
        let (mut ledger, mut totals) = checkpoint.open();
        for body in store.journal().await? {
            let batch: Batch = postcard::from_bytes(&body).context("the journal in the state file cannot be read")?;
            // Nothing is evaluated here, so that all may still be.
            ledger.apply(&batch, batch.now - CATCH_UP);
            ledger.publish(&batch, &mut totals);
        }
        let books = store.documents("book").await?.into_iter().map(|(name, body)| Ok((name, postcard::from_bytes(&body)?)));
        let mut books: BTreeMap<String, Book> =
            books.collect::<Result<_>>().context("the alerts in the state file cannot be read")?;
        let evaluated = match store.documents("ticks").await?.pop() {
            Some((_, body)) => postcard::from_bytes(&body).context("the state file cannot be read")?,
            None => BTreeMap::new(),
        };
        let places = match store.documents(PLACES).await?.pop() {
            Some((_, body)) => postcard::from_bytes(&body).context("the receivers in the state file cannot be read")?,
            None => Places::default(),
        };
        let rows = store.deliveries().await?;
        let rows: Vec<Delivery> = rows
            .iter()
            .map(|body| postcard::from_bytes(body))
            .collect::<Result<_, _>>()
            .context("the deliveries in the state file cannot be read")?;
        let mut outbox = Outbox::new(rows);
        outbox.recover(now);
        let mut routing = Vec::new();
        for kind in Saved::KINDS {
            routing.extend(store.documents(kind).await?.into_iter().map(|(name, body)| (*kind, name, body)));
        }
        let router = Saved::restore(routing).context("the routing in the state file cannot be read")?;
        let silences =
            Silences::restore(store.documents("silence").await?).context("the silences in the state file cannot be read")?;
        let inbox = Inbox::restore(store.documents("posted").await?).context("the alerts in the state file cannot be read")?;
        shared.write(|published| published.totals = totals);
        let mut core = Core {
            store,
            ledger,
            pipeline: Pipeline::default(),
            outbox,
            places,
            sources: BTreeMap::new(),
            repair_window: Span::ZERO,
            saved_ticks: Vec::new(),
            held_until: None,
            shared,
        };
        let own = books.remove(SOURCE_STALE).unwrap_or_default();
        core.configure(config, Kept { books, evaluated, own, inbox, router, silences }, now).await?;
        Ok(core)
    }

    /// Another configuration: counts, alerts and deliveries go on; what is gone is resolved. Where the state cannot be
    /// written nothing changes.
    pub async fn reload(&mut self, config: Config, now: Time) -> Result<()> {
        self.checkpoint().await.context("the state cannot be written")?;
        let kept = std::mem::take(&mut self.pipeline).into_kept();
        self.configure(config, kept, now).await
    }

    /// Lays the ledger out anew, where that is needed. What is journalled from then on is in terms of the new layout, so
    /// that it must be stored first, however long that takes.
    async fn relayout(&mut self, layout: Layout) {
        if *self.ledger.layout() == layout {
            return;
        }
        let ledger = std::mem::replace(&mut self.ledger, Checkpoint::default().open().0);
        let totals = self.shared.read(|published| published.totals.clone());
        let (ledger, totals) = ledger.relayout(totals, layout);
        self.ledger = ledger;
        self.shared.write(|published| (published.totals, published.unresolved) = (totals, BTreeMap::new()));
        let mut told = false;
        while let Err(error) = self.checkpoint().await {
            not_written(&self.shared, &error, &mut told).await;
        }
    }

    async fn configure(&mut self, config: Config, kept: Kept, now: Time) -> Result<()> {
        self.relayout(Layout::of(&config)).await;
        self.shared.own.forget_configuration();
        self.repair_window =
            config.sources.iter().flat_map(|source| &source.tables).map(|table| table.repair_window).max().unwrap_or_default();
        let state = |source: &crate::config::Source| {
            let stale = kept.own.alerts().find(|alert| alert.is_live() && alert.labels.get("source") == source.name);
            // A source that was stale when we stopped is so until it is read.
            let before = stale.map(|alert| alert.active_at - source.stale_after());
            let polled_at = self.sources.get(&source.name).map(|state| state.polled_at).or(before).unwrap_or(now);
            (source.name.clone(), SourceState { read: None, polled_at, stale_after: source.stale_after() })
        };
        self.sources = config.sources.iter().map(state).collect();
        let unread = self.sources.keys().cloned().collect();
        let (original, resolve_timeout) = (config.original.clone(), config.resolve_timeout);
        let semantics = config.routing.semantics;
        self.shared.write(|published| {
            published.unread = Some(unread);
            (published.original, published.resolve_timeout) = (original, resolve_timeout);
            published.semantics = semantics;
        });
        self.shared.own.rules.set(config.rules.len() as i64);
        let (sources, lateness) = (self.sources.keys().cloned().collect(), config.lateness());
        let (rules, mut routing, mut receivers) = (config.rules, config.routing, config.receivers);
        let places_before = self.places.clone();
        self.places.settle(&mut receivers, now);
        let endpoints = receivers.iter().map(|(name, all)| (name.clone(), all.iter().map(Endpoint::from).collect()));
        routing.receivers = endpoints.collect();
        let integrations = receivers.values().flatten();
        self.outbox.set_paces(integrations.filter_map(|known| Some((known.receiver.clone(), known.index, known.pace()?))));
        let setup = Setup { rules, sources, lateness, routing, receivers, resolve_timeout: config.resolve_timeout };
        let (pipeline, gone, changes) = Pipeline::new(setup, kept, &mut self.ledger.windows, now);
        self.pipeline = pipeline;
        let mut documents: Vec<_> = gone.into_iter().map(|rule| ("book", rule, None)).collect();
        if self.places != places_before {
            documents.push((PLACES, PLACES.to_owned(), Some(postcard::to_stdvec(&self.places)?)));
        }
        self.route(&changes, now);
        self.save(Commit { documents, ..Commit::default() }, now).await;
        self.publish_alerts();
        Ok(())
    }

    /// Where the reader of a table goes on, and the shapes that it knows.
    pub fn position(&self, source: &str, table: &str) -> Option<(Position, Vec<Vec<String>>)> {
        self.ledger.position(source, table)
    }

    /// Whether history of a source has still to be read for new rules.
    pub fn missing_from(&self, source: &str, now: Time) -> Option<Time> {
        self.ledger.windows.missing_from(source, now)
    }

    /// Where history of a source has still to be read for new rules, it is read now; the answer is from when on.
    pub fn begin_fill(&mut self, source: &str, now: Time) -> Option<Time> {
        self.ledger.windows.begin_fill(source, now)
    }

    /// Counts a batch, evaluates what it allows, routes what changed, stores all of it, shows it, and says what changed.
    pub async fn count(&mut self, batch: Batch, now: Time) -> Vec<Change> {
        let horizon = self.horizon(batch.now);
        let moved = self.ledger.is_moved_by(&batch);
        let touched = self.ledger.apply(&batch, horizon);
        if let Some(state) = self.sources.get_mut(&batch.source) {
            state.polled_at = now;
            // While history is read its rules are frozen: half of it is no evidence.
            state.read = batch.caught_up.then_some(batch.now);
        }
        let changes = self.evaluate(now, &touched);
        self.route(&changes, now);
        let mut commit = Commit::default();
        if moved && let Some(kept) = batch.to_journal() {
            commit.journal = postcard::to_stdvec(&kept).ok();
            commit.counted = counted(&batch);
        }
        self.save(commit, now).await;
        let ledger = &self.ledger;
        self.shared.write(|published| {
            if moved {
                ledger.publish(&batch, &mut published.totals);
            }
            if let Some(unread) = published.unread.as_mut().filter(|_| batch.caught_up) {
                unread.remove(&batch.source);
            }
        });
        if self.store.wants_checkpoint()
            && let Err(error) = self.checkpoint().await
        {
            // The journal holds the same; the next step tries again.
            tracing::warn!(error = format!("{error:#}"), "cannot write a checkpoint");
        }
        changes
    }

    /// The oldest instant that may still be evaluated. The clock of one source must not make the windows of another
    /// forget, nor one that is down make them grow for ever.
    fn horizon(&self, now: Time) -> Time {
        let oldest = self.sources.values().filter_map(|state| state.read).min().map_or(now, |read| read.min(now));
        self.pipeline.horizon(oldest.max(now - CATCH_UP))
    }

    /// The history of a source is read for all new rules.
    pub async fn filled(&mut self, source: &str) -> Result<()> {
        self.ledger.windows.filled(source);
        self.checkpoint().await
    }

    /// Replaces the journal by the state that it led to.
    pub async fn checkpoint(&mut self) -> Result<()> {
        let body = self.shared.read(|published| self.ledger.checkpoint(&published.totals))?;
        self.store.checkpoint(&body).await?;
        Ok(())
    }

    /// Evaluates what can be, also where nothing new was read, however long the reading took.
    pub async fn evaluate_all(&mut self, now: Time) {
        self.sources.values_mut().for_each(|state| state.polled_at = now);
        // After a long stop one step does not evaluate all that was missed.
        loop {
            let before = self.pipeline.evaluated();
            let changes = self.evaluate(now, &BTreeMap::new());
            self.route(&changes, now);
            self.save(Commit::default(), now).await;
            if self.pipeline.evaluated() == before {
                return;
            }
        }
    }

    fn evaluate(&mut self, now: Time, touched: &BTreeMap<usize, Time>) -> Vec<Change> {
        let watch = Stopwatch::start();
        let fresh = self.sources.iter().filter(|(_, state)| now - state.polled_at <= state.stale_after);
        let read: BTreeMap<String, Time> = fresh.filter_map(|(name, state)| Some((name.clone(), state.read?))).collect();
        let evaluated = self.pipeline.advance(&mut self.ledger.windows, &read, touched);
        for (rule, fault) in &evaluated.faults {
            tracing::error!(rule, fault, "a rule cannot be evaluated");
            self.shared.own.rule_errors.get_or_create(&RuleLabel { rule: rule.clone() }).inc();
        }
        self.pipeline.take_gauges(&mut self.ledger.windows).iter().for_each(|gauge| self.shared.own.set_of_rule(gauge));
        self.shared.own.evaluation_duration.observe(watch.elapsed().as_secs_f64());
        evaluated.changes
    }

    /// What a source is to be asked for its rules.
    pub fn queries(&self, source: &str) -> Vec<Query> {
        self.pipeline.queries(source)
    }

    /// Takes what a source answered to a query of rules, and evaluates what waited for it. What is wrong with the answer
    /// comes back, by rule.
    pub async fn answered(
        &mut self,
        source: &str,
        sql: &str,
        answer: Result<Answer, String>,
        now: Time,
    ) -> Vec<(String, String)> {
        let faults = match answer {
            Ok(answer) => self.pipeline.answer(source, sql, answer),
            Err(fault) => self.pipeline.askers(source, sql).into_iter().map(|rule| (rule, fault.clone())).collect(),
        };
        for (rule, _) in &faults {
            let labels = QueryLabels { source: source.to_owned(), rule: rule.clone() };
            self.shared.own.rule_query_failures.get_or_create(&labels).inc();
        }
        if faults.is_empty() {
            let changes = self.evaluate(now, &BTreeMap::new());
            self.route(&changes, now);
            self.save(Commit::default(), now).await;
        }
        faults
    }

    /// Looks at what time alone brings: stale sources, groups that are due.
    pub async fn tick(&mut self, now: Time) {
        let stale = self.sources.iter().filter(|(_, state)| now - state.polled_at > state.stale_after);
        let findings: Vec<Finding> = stale.map(|(name, state)| stale::finding(name, now - state.polled_at)).collect();
        let changes = self.pipeline.watch_own(findings, now);
        if self.is_due(now) || !changes.is_empty() {
            self.route(&changes, now);
            self.save(Commit::default(), now).await;
        }
    }

    /// Whether a group is to be looked at now: one step looks at some of them only.
    pub fn is_due(&self, now: Time) -> bool {
        self.pipeline.is_due(now) && !self.is_held(now)
    }

    /// A clock that was ahead holds nothing up.
    fn is_held(&self, now: Time) -> bool {
        self.held_until.is_some_and(|until| now < until && until - now <= HELD)
    }

    /// All alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.pipeline.alerts()
    }

    /// Tells the router what changed and queues what it decides.
    fn route(&mut self, changes: &[Change], now: Time) {
        for change in changes.iter().filter(|change| matches!(change.kind, Kind::Fired | Kind::Resolved)) {
            let alert = &change.alert;
            tracing::info!(alert = %alert.labels, state = ?change.kind, at = %change.at, late = alert.late, evidence = alert.evidence, "alert");
        }
        let at_once = if self.is_held(now) { 0 } else { ALERTS_AT_ONCE };
        for Message { to, reason, notification } in self.pipeline.route_some(changes, now, at_once) {
            let group = &notification.group_key;
            tracing::info!(receiver = to.receiver, integration = to.kind, group, reason = %reason, "notification queued");
            self.outbox.enqueue(&to, notification, now);
        }
    }

    /// Stores a step with all that it changed; tries until it succeeds, since what is not stored must not be seen.
    async fn save(&mut self, mut commit: Commit, now: Time) {
        self.changed_documents(&mut commit);
        self.outbox.prune(now);
        let changes = self.outbox.take_changes();
        let body = |id: u64| self.outbox.get(id).and_then(|delivery| postcard::to_stdvec(delivery).ok());
        commit.deliveries.extend(changes.changed.iter().map(|id| (*id, body(*id))));
        commit.deliveries.extend(changes.removed.iter().map(|id| (*id, None)));
        if commit.is_empty() {
            return;
        }
        let mut told = false;
        while let Err(error) = self.store.commit(&commit).await {
            not_written(&self.shared, &error, &mut told).await;
        }
        if told {
            tracing::info!("the state can be written again");
        }
        self.shared.own.state_writable.set(1);
        self.shared.own.deliveries_queued.set(self.outbox.open() as i64);
        if commit.documents.iter().any(|(kind, ..)| *kind == "book") {
            self.publish_alerts();
        }
        self.shared.wake.notify_one();
    }

    fn publish_alerts(&self) {
        let alerts: Vec<Alert> = self.pipeline.ours().cloned().collect();
        self.shared.write(|published| published.alerts = alerts);
    }

    /// Documents that differ from what is stored.
    fn changed_documents(&mut self, commit: &mut Commit) {
        for (name, book) in self.pipeline.take_changed() {
            commit.documents.push(("book", name, postcard::to_stdvec(book).ok()));
        }
        if let Some(own) = self.pipeline.take_changed_own() {
            commit.documents.push(("book", SOURCE_STALE.to_owned(), postcard::to_stdvec(own).ok()));
        }
        commit.documents.append(&mut self.pipeline.take_changed_routing());
        if let Some(body) = postcard::to_stdvec(&self.pipeline.evaluated()).ok().filter(|body| *body != self.saved_ticks) {
            commit.documents.push(("ticks", "ticks".to_owned(), Some(body.clone())));
            self.saved_ticks = body;
        }
    }

    /// Keys that were counted in a table for rows of a span.
    pub async fn counted(&mut self, source: &str, table: &str, from: Time, to: Time) -> Result<FxHashSet<Key>> {
        let packs = self.store.counted(source, table, from, to).await?;
        Ok(packs.iter().flat_map(|pack| unpack_keys(pack)).collect())
    }

    /// Drops counted keys that no repair pass asks for again.
    pub async fn forget_counted(&mut self, now: Time) {
        let commit = Commit { forget_counted: Some(now - self.repair_window - COUNTED_SLACK), ..Commit::default() };
        self.save(commit, now).await;
    }

    /// Notes how far behind the clock each source is, and how much is stored.
    pub fn measure(&self, now: Time) {
        self.shared.own.state_bytes.set(self.store.bytes() as i64);
        for (source, state) in &self.sources {
            let lag = (now - state.polled_at).as_secs_f64().max(0.0);
            self.shared.own.source_lag.get_or_create(&SourceLabel { source: source.clone() }).set(lag);
        }
    }

    /// Writes everything down into one file, the last thing before the end.
    pub async fn close(&mut self) -> Result<()> {
        self.checkpoint().await?;
        self.store.shrink().await
    }
}

/// The state could not be written: says so once, and waits before the next try.
async fn not_written(shared: &Shared, error: &anyhow::Error, told: &mut bool) {
    if !std::mem::replace(told, true) {
        tracing::error!(error = format!("{error:#}"), "cannot write the state; nothing is counted or sent until it can be");
    }
    shared.own.state_writable.set(0);
    shared.own.state_write_failures.inc();
    tokio::time::sleep(Span::secs(1).to_std()).await;
}

fn counted(batch: &Batch) -> Vec<Counted> {
    let tables = batch.tables.iter().filter(|table| !table.moved.counted.is_empty());
    let times = |table: &crate::source::TableBatch| table.moved.counted.iter().map(|(_, time)| *time).collect::<Vec<_>>();
    let pack = |table: &crate::source::TableBatch| Counted {
        source: batch.source.clone(),
        table: table.table.clone(),
        oldest: times(table).into_iter().min().unwrap_or_default(),
        newest: times(table).into_iter().max().unwrap_or_default(),
        keys: pack_keys(&table.moved.counted),
    };
    tables.map(pack).collect()
}
