//! `/alerts/{fingerprint}` and `/groups?group=&receiver=`: why somebody was told, or nobody.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use minijinja::{Value, context};

use super::{Problem, Visitor, deliveries, href, see, show};
use crate::api::v1::{self, Fault, Which};
use crate::engine::Daemon;
use crate::explain::{Explanation, Outcome, Standing, Step, Subject};
use crate::message::{one_line, truncate};
use crate::route::Status;
use crate::time::Time;

/// Characters of a label's value that are shown.
const VALUE: usize = 200;

pub(super) async fn page(
    State(daemon): State<Arc<Daemon>>,
    visitor: Visitor,
    Path(fingerprint): Path<String>,
) -> Result<Html<String>, Problem> {
    let which = Which { alert: Some(fingerprint), ..Which::default() };
    explained(&daemon, &visitor, &which).await
}

pub(super) async fn group(
    State(daemon): State<Arc<Daemon>>,
    visitor: Visitor,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(which) = query.map_err(Fault::from)?;
    // All groups are on the first page.
    if which.group.is_none() && which.alert.is_none() {
        return Ok(see("/").into_response());
    }
    explained(&daemon, &visitor, &which).await.map(IntoResponse::into_response)
}

async fn explained(daemon: &Daemon, visitor: &Visitor, which: &Which) -> Result<Html<String>, Problem> {
    let explanation = v1::explained(daemon, which).await?.into_iter().next();
    let explanation = explanation.ok_or_else(|| Fault::missing("nothing is known of it"))?;
    visitor.page("alert.html", view(&explanation))
}

fn view(explanation: &Explanation) -> Value {
    let now = explanation.now;
    let (alert, title) = match &explanation.subject {
        Subject::Alert(alert) => (Some(show::alert(alert, &Status::default(), now)), alert.labels.get("alertname").to_owned()),
        Subject::Labels(labels) => (None, labels.get("alertname").to_owned()),
        Subject::Group(key) => (None, format!("group {key}")),
    };
    let member = |member: &crate::explain::Member| {
        context! { href => format!("/alerts/{}", member.labels.fingerprint()), verdict => &member.verdict }
    };
    context! {
        title => truncate(&one_line(&title), VALUE),
        answer => &explanation.answer,
        alert,
        route => explanation.route.iter().map(step).collect::<Vec<_>>(),
        quiet => &explanation.quiet,
        groups => explanation.groups.iter().map(|group| standing(group, now)).collect::<Vec<_>>(),
        members => explanation.members.iter().map(member).collect::<Vec<_>>(),
        timeline => explanation.timeline.iter().map(|moment| context! { at => show::time(moment.at, now), what => &moment.what }).collect::<Vec<_>>(),
        deliveries => explanation.deliveries.iter().rev().map(|delivery| deliveries::view(delivery, now)).collect::<Vec<_>>(),
    }
}

fn step(step: &Step) -> Value {
    let matcher = |(text, held, holds): &(String, String, bool)| {
        context! { text, held => truncate(&one_line(held), VALUE), holds }
    };
    let outcome = match step.outcome {
        Outcome::Taken => "takes it",
        Outcome::PassedOn => "a route below takes it",
        Outcome::Differs => "does not match",
    };
    context! {
        depth => step.depth.min(9),
        matchers => step.matchers.iter().map(matcher).collect::<Vec<_>>(),
        receiver => &step.receiver,
        outcome,
        taken => step.outcome == Outcome::Taken,
        differs => step.outcome == Outcome::Differs,
        continues => step.continues && step.outcome != Outcome::Differs,
    }
}

fn standing(group: &Standing, now: Time) -> Value {
    let decisions = group.decisions.iter().rev().map(|(kind, trace)| {
        context! {
            at => show::time(trace.at, now),
            last => (trace.times > 1).then(|| show::time(trace.last, now)),
            times => &trace.times,
            kind,
            notifies => trace.reason.notifies(),
            reason => trace.reason.to_string(),
            firing => &trace.firing,
            quiet => &trace.quiet,
        }
    });
    context! {
        key => &group.key,
        receiver => &group.receiver,
        escalated_from => &group.escalated_from,
        next_flush => group.next_flush.map(|at| show::time(at, now)),
        decisions => decisions.collect::<Vec<_>>(),
        ack => group.next_flush.map(|_| href("/ack", &[("receiver", &group.receiver), ("group", &group.key)])),
    }
}
