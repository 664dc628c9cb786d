//! `/deliveries`: what was sent to whom, and the way to send again what was given up.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{Html, Redirect};
use minijinja::{Value, context};

use super::{Problem, Sent, Visitor, href, see, show};
use crate::alert::State as AlertState;
use crate::api::v1::{self, DeliveriesQuery, Fault};
use crate::engine::{Daemon, clock};
use crate::message::{one_line, truncate};
use crate::outbox::{self, Delivery};
use crate::time::Time;

/// Characters of what a receiver answered that are shown.
const SAID: usize = 400;

pub(super) async fn page(
    State(daemon): State<Arc<Daemon>>,
    visitor: Visitor,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Html<String>, Problem> {
    let Query(query) = query.map_err(Fault::from)?;
    let found = v1::found_deliveries(&daemon, &query).await;
    let now = clock::now();
    let deliveries: Vec<Value> = found.iter().map(|delivery| view(delivery, now)).collect();
    visitor.page("deliveries.html", context! { deliveries, failed => query.failed, receiver => query.receiver })
}

/// One delivery.
pub(super) fn view(delivery: &Delivery, now: Time) -> Value {
    let (state, at, said) = match &delivery.state {
        outbox::State::Queued { next_at } => ("queued", *next_at, delivery.attempts.last().map(|last| last.outcome.clone())),
        outbox::State::Sending { since } => ("sending", *since, None),
        outbox::State::Delivered { at } => ("delivered", *at, None),
        outbox::State::GivenUp { at, reason } => ("given up", *at, Some(reason.clone())),
        outbox::State::Replaced { at, reason, .. } => ("replaced", *at, Some(reason.clone())),
    };
    let count = |state: AlertState| delivery.notification.alerts.iter().filter(|alert| alert.state == state).count();
    let group = &delivery.notification.group_key;
    context! {
        id => &delivery.id,
        receiver => &delivery.receiver,
        kind => &delivery.kind,
        group => truncate(&one_line(group), SAID),
        explain => href("/groups", &[("receiver", &delivery.receiver), ("group", group)]),
        why => &delivery.notification.reason,
        created => show::time(delivery.created, now),
        state,
        at => show::time(at, now),
        said => said.map(|said| truncate(&one_line(&said), SAID)),
        tries => &delivery.attempts_total,
        firing => count(AlertState::Firing),
        resolved => count(AlertState::Resolved),
        given_up => matches!(delivery.state, outbox::State::GivenUp { .. }),
    }
}

pub(super) async fn retry(State(daemon): State<Arc<Daemon>>, Path(id): Path<u64>, _: Sent) -> Result<Redirect, Problem> {
    v1::try_again(daemon, id).await?;
    Ok(see("/deliveries"))
}
