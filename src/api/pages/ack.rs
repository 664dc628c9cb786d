//! `/ack?receiver=&group=`: where the link of a message leads. It asks; the form does it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Html, Redirect};
use minijinja::context;

use super::{Problem, Sent, Visitor, see, show};
use crate::alert::State as AlertState;
use crate::api::v1::{self, Fault, Which};
use crate::engine::{Daemon, clock};
use crate::route::{GroupView, Selection, Status};

/// Alerts that are listed before they are counted.
const LISTED: usize = 50;

pub(super) async fn page(
    State(daemon): State<Arc<Daemon>>,
    visitor: Visitor,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Html<String>, Problem> {
    let Query(Which { group, receiver, .. }) = query.map_err(Fault::from)?;
    let key = group.ok_or_else(|| Fault::bad("the link names no group"))?;
    let groups = v1::all_groups(&daemon).await;
    // A message may be to a receiver that the group was escalated to.
    let group = match &receiver {
        Some(receiver) => GroupView::find(&groups, receiver, &key),
        None => groups.iter().find(|group| group.key == key),
    };
    let now = clock::now();
    let firing: Vec<_> = group.iter().flat_map(|group| &group.alerts).filter(|alert| alert.state == AlertState::Firing).collect();
    let alerts = firing.iter().take(LISTED).map(|alert| show::alert(alert, &Status::default(), now)).collect::<Vec<_>>();
    let context = context! {
        key,
        receiver => receiver.as_deref().unwrap_or_default(),
        group => group.map(|group| show::group(group, now)),
        more => firing.len() - alerts.len(),
        count => firing.len(),
        alerts,
    };
    visitor.page("ack.html", context)
}

pub(super) async fn take(State(daemon): State<Arc<Daemon>>, sent: Sent) -> Result<Redirect, Problem> {
    let receiver = Some(sent.get("receiver").to_owned()).filter(|receiver| !receiver.is_empty());
    let selection = Selection::Group { receiver, key: sent.get("group").to_owned() };
    if sent.get("undo") == "yes" {
        v1::leave_alone(daemon, selection).await?;
    } else {
        let by = Some(sent.author()).filter(|by| !by.is_empty()).ok_or_else(|| Fault::bad("say who takes care"))?;
        v1::take_care(daemon, selection, by, sent.get("comment").to_owned()).await?;
    }
    Ok(see("/"))
}
