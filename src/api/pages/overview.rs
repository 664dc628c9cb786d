//! `/`: what fires, group by group, and what else there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use minijinja::{Value, context};

use super::{Problem, Visitor, show};
use crate::alert::{Alert, State as AlertState};
use crate::api::v1;
use crate::engine::{Daemon, clock};
use crate::labels::Labels;
use crate::route::{GroupView, Router};
use crate::time::Time;

/// Groups, and alerts of one, that are shown: nobody reads more, and `/api/v1` has all.
const GROUPS: usize = 50;
const ALERTS: usize = 20;

pub(super) async fn page(State(daemon): State<Arc<Daemon>>, visitor: Visitor) -> Result<Html<String>, Problem> {
    let alerts = v1::known(&daemon, None).await;
    let count = |state: AlertState| alerts.iter().filter(|alert| alert.state == state).count();
    let core = daemon.core.lock().await;
    let (now, router) = (clock::now(), core.router());
    let groups = router.groups(now);
    let grouped: BTreeSet<&Labels> = groups.iter().flat_map(|group| &group.alerts).map(|alert| &alert.labels).collect();
    let others: Vec<&Alert> = alerts.iter().filter(|alert| !grouped.contains(&alert.labels)).collect();
    let mut groups: Vec<&GroupView> = groups.iter().collect();
    groups.sort_by_key(|group| (group.is_acknowledged(), !group.muted_by.is_empty()));
    let shown: Vec<Value> = groups.iter().take(GROUPS).map(|group| with_alerts(group, router, now)).collect();
    let context = context! {
        firing => count(AlertState::Firing),
        pending => count(AlertState::Pending),
        resolved => count(AlertState::Resolved),
        more_groups => groups.len() - shown.len(),
        groups => shown,
        more_others => others.len().saturating_sub(GROUPS),
        others => others.iter().take(GROUPS).map(|alert| show::alert(alert, &router.status(&alert.labels, now), now)).collect::<Vec<_>>(),
    };
    drop(core);
    visitor.page("overview.html", context)
}

fn with_alerts(group: &GroupView, router: &Router, now: Time) -> Value {
    let alerts = group.alerts.iter().take(ALERTS).map(|alert| show::alert(alert, &router.status(&alert.labels, now), now));
    let firing = group.alerts.iter().filter(|alert| alert.state == AlertState::Firing).count();
    context! {
        alerts => alerts.collect::<Vec<_>>(),
        firing,
        more => group.alerts.len().saturating_sub(ALERTS),
        ..show::group(group, now)
    }
}
