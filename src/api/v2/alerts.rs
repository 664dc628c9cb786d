//! `/api/v2/alerts` and `/api/v2/alerts/groups`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};

use super::filter::{Filter, Query};
use super::to_its_end;
use super::wire::{self, AlertGroup, AlertStatus, Fault, GettableAlert, Instant, Named, PostableAlert};
use crate::alert::{self, Alert};
use crate::engine::{Daemon, clock};
use crate::labels::Labels;
use crate::limits::{ALERTS_AT_ONCE, MAX_POSTED};
use crate::message;
use crate::route::Status;
use crate::time::{Span, Time};

/// Alerts whose standing is asked for while the core is held once: a few milliseconds; deliveries wait no longer.
const PORTION: usize = 200;

/// Alerts that fire, in the order of their fingerprints.
pub async fn list(State(daemon): State<Arc<Daemon>>, query: Query) -> Result<Json<Vec<GettableAlert>>, Fault> {
    let filter = Filter::parse(&query)?;
    let now = clock::now();
    let wanted = |alert: &&Alert| fires(alert, now) && filter.wants_labels(&alert.labels);
    let alerts: Vec<Alert> = daemon.core.lock().await.alerts().filter(wanted).cloned().collect();
    let mut statuses = standing(&daemon, alerts.iter().map(|alert| alert.labels.clone()).collect()).await;
    let shown = Shown::of(&daemon, now);
    let mut found = Vec::new();
    for alert in alerts {
        let Some(status) = statuses.remove(&alert.labels) else { continue };
        if filter.wants_status(&status) && filter.wants_receiver(status.receivers.iter()) {
            let receivers = status.receivers.clone();
            found.push(shown.alert(alert, &status, receivers, &[]));
        }
    }
    found.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    Ok(Json(found))
}

/// The same by group; a group of which no alert is asked for is left out.
pub async fn groups(State(daemon): State<Arc<Daemon>>, query: Query) -> Result<Json<Vec<AlertGroup>>, Fault> {
    let filter = Filter::parse(&query)?;
    let now = clock::now();
    let mut groups = daemon.core.lock().await.router().groups(now);
    groups.retain(|group| filter.wants_receiver([&group.receiver].into_iter()));
    for group in &mut groups {
        group.alerts.retain(|alert| fires(alert, now) && filter.wants_labels(&alert.labels));
    }
    let labels: BTreeSet<Labels> = groups.iter().flat_map(|group| &group.alerts).map(|alert| alert.labels.clone()).collect();
    let statuses = standing(&daemon, labels.into_iter().collect()).await;
    let asked = |alert: &Alert| statuses.get(&alert.labels).is_some_and(|status| filter.wants_status(status));
    // An alert is shown with the receivers of those groups that were asked for.
    let mut receivers: BTreeMap<Labels, Vec<String>> = BTreeMap::new();
    for group in &mut groups {
        group.alerts.retain(asked);
        for alert in &group.alerts {
            receivers.entry(alert.labels.clone()).or_default().push(group.receiver.clone());
        }
    }
    receivers.values_mut().for_each(|receivers| receivers.sort());
    groups.retain(|group| !group.alerts.is_empty() && (filter.muted || group.muted_by.is_empty()));
    groups.sort_by(|a, b| before(&a.labels, &b.labels).then_with(|| a.receiver.cmp(&b.receiver)));
    let shown = Shown::of(&daemon, now);
    let mut found = Vec::new();
    for mut group in groups {
        group.alerts.sort_by(|a, b| alert_before(&a.labels, &b.labels));
        let mut alerts = Vec::new();
        for alert in group.alerts {
            let Some((status, receivers)) = statuses.get(&alert.labels).zip(receivers.get(&alert.labels)) else { continue };
            alerts.push(shown.alert(alert, status, receivers.clone(), &group.muted_by));
        }
        found.push(AlertGroup { alerts, labels: group.labels, receiver: Named { name: group.receiver } });
    }
    Ok(Json(found))
}

/// Takes alerts: the valid ones also where others are not.
pub async fn add(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let posted: Option<Vec<Option<PostableAlert>>> = wire::read("alerts", &headers, body)?;
    let posted = posted.unwrap_or_default().into_iter().enumerate();
    let posted = posted.map(|(index, alert)| alert.unwrap_or_default().incoming(index)).collect::<Result<Vec<_>, _>>()?;
    let (resolve_timeout, now) = (daemon.shared.read(|published| published.resolve_timeout), clock::now());
    let (mut valid, mut faults) = (Vec::new(), Vec::new());
    for alert in posted {
        match alert.check(resolve_timeout, now) {
            Ok(()) => valid.push(alert),
            Err(fault) => faults.push(fault),
        }
    }
    let refused = to_its_end(async move {
        let (mut refused, mut rest) = (0, valid.into_iter().peekable());
        while rest.peek().is_some() {
            let portion = rest.by_ref().take(ALERTS_AT_ONCE).collect();
            refused += daemon.core.lock().await.post(portion, rest.peek().is_some(), clock::now()).await;
        }
        refused
    });
    match refused.await? {
        0 if faults.is_empty() => Ok(StatusCode::OK),
        0 => Err(Fault::said(StatusCode::BAD_REQUEST, faults.join("; "))),
        refused => {
            let sentence = format!("{refused} alerts are not taken: {MAX_POSTED} are known already");
            Err(Fault::said(StatusCode::INTERNAL_SERVER_ERROR, sentence))
        }
    }
}

/// How alerts stand. The core is asked in portions, and others take their turns in between.
async fn standing(daemon: &Daemon, labels: Vec<Labels>) -> BTreeMap<Labels, Status> {
    let mut found = BTreeMap::new();
    let mut rest = labels.into_iter().peekable();
    while rest.peek().is_some() {
        let core = daemon.core.lock().await;
        let now = clock::now();
        found.extend(rest.by_ref().take(PORTION).map(|labels| {
            let status = core.router().status(&labels, now);
            (labels, status)
        }));
    }
    found
}

fn fires(alert: &Alert, now: Time) -> bool {
    let over = alert.posted.as_ref().is_some_and(|posted| posted.ends_at < now);
    alert.state == alert::State::Firing && !over
}

/// What alerts are shown with that is not in them.
struct Shown {
    external_url: String,
    resolve_timeout: Span,
    now: Time,
}

impl Shown {
    fn of(daemon: &Daemon, now: Time) -> Shown {
        let resolve_timeout = daemon.shared.read(|published| published.resolve_timeout);
        Shown { external_url: daemon.external_url.clone(), resolve_timeout, now }
    }

    /// One of ours has no end: it is shown as if it had just been posted without one.
    fn alert(&self, alert: Alert, status: &Status, receivers: Vec<String>, muted_by: &[String]) -> GettableAlert {
        let annotations = message::annotations(&alert);
        let starts_at = alert.fired_at.unwrap_or(alert.active_at);
        let ours = || (self.now + self.resolve_timeout, self.now, self.external_url.clone());
        let posted = alert.posted.map(|posted| (posted.ends_at, posted.updated_at, posted.generator_url));
        let (ends_at, updated_at, generator_url) = posted.unwrap_or_else(ours);
        let quiet = !(status.silenced_by.is_empty() && status.inhibited_by.is_empty() && muted_by.is_empty());
        GettableAlert {
            annotations,
            ends_at: Instant(ends_at),
            fingerprint: alert.labels.fingerprint(),
            receivers: receivers.into_iter().map(|name| Named { name }).collect(),
            starts_at: Instant(starts_at),
            status: AlertStatus {
                state: if quiet { "suppressed" } else { "active" },
                silenced_by: status.silenced_by.clone(),
                inhibited_by: status.inhibited_by.iter().map(Labels::fingerprint).collect(),
                muted_by: muted_by.to_vec(),
            },
            updated_at: Instant(updated_at),
            generator_url,
            labels: alert.labels,
        }
    }
}

/// Alertmanager's order of groups (`model.LabelSet.Before`): fewer labels first; then, name by name, one that lacks it
/// before one that has it, and by value.
fn before(a: &Labels, b: &Labels) -> Ordering {
    let names: BTreeSet<&String> = a.0.keys().chain(b.0.keys()).collect();
    let by_name = names.into_iter().map(|name| a.0.get(name).cmp(&b.0.get(name)));
    a.0.len().cmp(&b.0.len()).then_with(|| by_name.fold(Ordering::Equal, Ordering::then))
}

/// Its order of the alerts of a group: by job and instance, where those without come last, then as groups.
fn alert_before(a: &Labels, b: &Labels) -> Ordering {
    let by = |name: &str| match (a.0.get(name), b.0.get(name)) {
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (a, b) => a.cmp(&b),
    };
    by("job").then_with(|| by("instance")).then_with(|| before(a, b))
}
