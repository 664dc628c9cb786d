//! What Alertmanager's API has no words for, as JSON; stable: keys may come, none goes or changes what it means.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/alerts?alert=` | `{"alerts": [...]}`: all, pending ones too, with value, evidence and what keeps them quiet |
//! | `GET /api/v1/groups?receiver=` | `{"groups": [...]}` with their alerts, next look and acknowledgement |
//! | `GET /api/v1/deliveries?receiver=&failed=true&limit=100` | `{"deliveries": [...]}`, the newest first; failed: given up, or waiting after a failed attempt |
//! | `POST /api/v1/deliveries/{id}/retry` | `{"id": 7}`: the new delivery of what was given up |
//! | `GET /api/v1/acks` | `{"groups": [...]}`: those that somebody takes care of |
//! | `POST /api/v1/acks {"alert": "...", "by": "...", "comment": "..."}`, or `"group"` and perhaps `"receiver"` for `"alert"` | `{"groups": [...]}`: those that are acknowledged now |
//! | `DELETE /api/v1/acks?alert=`, or `?group=&receiver=` | the same taken back |
//! | `GET /api/v1/explain?alert=`, or `?group=&receiver=` | `{"explanations": [{"verdict": "...", ...}]}`, see [`Explanation::json`] |
//!
//! `alert` is a fingerprint, the name of an alert, or matchers: `{model="gpt-4o",severity=~"high|critical"}`. A fault is
//! `{"error": "..."}` with 400 or 404. Nothing secret is in any answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Json, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::alert::{Alert, State as AlertState};
use crate::api::access::Caller;
use crate::engine::{Daemon, clock};
use crate::explain::{Explanation, alert_json, delivery_json, group_json};
use crate::labels::{Labels, Matcher, Matchers, Op};
use crate::outbox::{self, Delivery, NotAgain};
use crate::route::{GroupView, Selection};

/// Alerts that are asked about under one lock, which those who write wait for.
const PORTION: usize = 200;
/// Explanations of one answer; more alerts are matched by mistake.
const EXPLANATIONS: usize = 20;
/// Deliveries of one answer, at most and where nothing is said.
const DELIVERIES: (usize, usize) = (1_000, 100);
/// Characters of a name and of a comment.
const WORDS: (usize, usize) = (200, 10_000);

/// What is served under `/api/v1`.
pub fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/groups", get(groups))
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/deliveries/{id}/retry", post(retry))
        .route("/api/v1/acks", get(acks).post(acknowledge).delete(unacknowledge))
        .route("/api/v1/explain", get(explain))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Fault(pub StatusCode, pub String);

impl Fault {
    pub(super) fn bad(message: impl Into<String>) -> Fault {
        Fault(StatusCode::BAD_REQUEST, message.into())
    }

    pub(super) fn missing(message: impl Into<String>) -> Fault {
        Fault(StatusCode::NOT_FOUND, message.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Fault {
        Fault::bad(rejection.body_text())
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        Fault(rejection.status(), rejection.body_text())
    }
}

type Answer = Result<Json<Value>, Fault>;

/// Which alerts or which group.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    pub alert: Option<String>,
    pub group: Option<String>,
    pub receiver: Option<String>,
}

/// Which alerts.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Fingerprint(String),
    Matching(Matchers),
}

impl Wanted {
    /// A fingerprint, the name of an alert, or matchers.
    pub(super) fn parse(text: &str) -> Result<Wanted, Fault> {
        let text = text.trim();
        if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')) {
            return Ok(Wanted::Fingerprint(text.to_owned()));
        }
        if text.is_empty() {
            return Err(Fault::bad("`alert` says nothing"));
        }
        if !text.contains(['=', '!', '{', '~', '"']) {
            let matcher = Matcher::new("alertname", Op::Equal, text.to_owned()).map_err(Fault::bad)?;
            return Ok(Wanted::Matching(Matchers(vec![matcher])));
        }
        Matchers::parse_bounded(text).map(Wanted::Matching).map_err(Fault::bad)
    }

    pub(super) fn is(&self, labels: &Labels) -> bool {
        match self {
            Wanted::Fingerprint(fingerprint) => labels.fingerprint() == *fingerprint,
            Wanted::Matching(matchers) => matchers.matches(labels),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertsQuery {
    alert: Option<String>,
}

async fn alerts(State(daemon): State<Arc<Daemon>>, query: Result<Query<AlertsQuery>, QueryRejection>) -> Answer {
    let Query(AlertsQuery { alert }) = query?;
    let wanted = alert.as_deref().map(Wanted::parse).transpose()?;
    let alerts = known(&daemon, wanted.as_ref()).await;
    let mut answer = Vec::new();
    for portion in alerts.chunks(PORTION) {
        let core = daemon.core.lock().await;
        let now = clock::now();
        answer.extend(portion.iter().map(|alert| {
            let status = core.router().status(&alert.labels, now);
            let mut json = alert_json(alert);
            json["status"] = json!({
                "receivers": status.receivers,
                "silenced_by": status.silenced_by,
                "inhibited_by": status.inhibited_by.iter().map(Labels::fingerprint).collect::<Vec<_>>(),
                "muted_by": status.muted_by,
                "suppressed": status.is_suppressed(),
            });
            json
        }));
    }
    Ok(Json(json!({ "alerts": answer })))
}

/// All alerts: what fires first, then what is pending, then what is over; each in the order of labels.
pub(super) async fn known(daemon: &Daemon, wanted: Option<&Wanted>) -> Vec<Alert> {
    let is_wanted = |alert: &&Alert| wanted.is_none_or(|wanted| wanted.is(&alert.labels));
    let mut alerts: Vec<Alert> = daemon.core.lock().await.alerts().filter(is_wanted).cloned().collect();
    let rank = |alert: &Alert| match alert.state {
        AlertState::Firing => 0,
        AlertState::Pending => 1,
        AlertState::Resolved => 2,
    };
    alerts.sort_by(|a, b| (rank(a), &a.labels).cmp(&(rank(b), &b.labels)));
    alerts
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsQuery {
    receiver: Option<String>,
}

async fn groups(State(daemon): State<Arc<Daemon>>, query: Result<Query<GroupsQuery>, QueryRejection>) -> Answer {
    let Query(GroupsQuery { receiver }) = query?;
    let groups = all_groups(&daemon).await;
    let wanted = groups.iter().filter(|group| receiver.as_ref().is_none_or(|receiver| group.concerns(receiver)));
    Ok(Json(json!({ "groups": wanted.map(group_json).collect::<Vec<_>>() })))
}

/// All groups as they are now.
pub(super) async fn all_groups(daemon: &Daemon) -> Vec<GroupView> {
    daemon.core.lock().await.router().groups(clock::now())
}

async fn acks(State(daemon): State<Arc<Daemon>>) -> Answer {
    let groups = all_groups(&daemon).await;
    let acknowledged = groups.iter().filter(|group| group.acknowledgement.is_some());
    Ok(Json(json!({ "groups": acknowledged.map(group_json).collect::<Vec<_>>() })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    pub receiver: Option<String>,
    #[serde(default)]
    pub failed: bool,
    pub limit: Option<usize>,
}

async fn deliveries(State(daemon): State<Arc<Daemon>>, query: Result<Query<DeliveriesQuery>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let found = found_deliveries(&daemon, &query).await;
    Ok(Json(json!({ "deliveries": found.iter().map(delivery_json).collect::<Vec<_>>() })))
}

/// The newest first.
pub(super) async fn found_deliveries(daemon: &Daemon, query: &DeliveriesQuery) -> Vec<Delivery> {
    let is_wanted = |delivery: &&Delivery| {
        let failed = match delivery.state {
            outbox::State::GivenUp { .. } => true,
            outbox::State::Queued { .. } | outbox::State::Sending { .. } => delivery.attempts_total > 0,
            _ => false,
        };
        query.receiver.as_ref().is_none_or(|receiver| delivery.receiver == *receiver) && (failed || !query.failed)
    };
    let limit = query.limit.unwrap_or(DELIVERIES.1).min(DELIVERIES.0);
    let core = daemon.core.lock().await;
    core.outbox().iter().rev().filter(is_wanted).take(limit).cloned().collect()
}

async fn retry(State(daemon): State<Arc<Daemon>>, Path(id): Path<u64>) -> Answer {
    let again = try_again(daemon, id).await?;
    Ok(Json(json!({ "id": again })))
}

/// Queues once more what was given up.
pub(super) async fn try_again(daemon: Arc<Daemon>, id: u64) -> Result<u64, Fault> {
    let work = async move { daemon.core.lock().await.retry(id, clock::now()).await };
    to_its_end(work).await?.map_err(|refused| match refused {
        NotAgain::Unknown => Fault::missing(refused.to_string()),
        NotAgain::NotGivenUp(_) | NotAgain::Newer(_) => Fault(StatusCode::CONFLICT, refused.to_string()),
    })
}

/// Does something to its end, also where the client goes away meanwhile: half of a change must not be left.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
    tokio::spawn(work).await.map_err(|error| Fault(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What somebody takes care of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    alert: Option<String>,
    group: Option<String>,
    receiver: Option<String>,
    by: Option<String>,
    #[serde(default)]
    comment: String,
}

async fn acknowledge(
    State(daemon): State<Arc<Daemon>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<Ack>, JsonRejection>,
) -> Answer {
    let Json(Ack { alert, group, receiver, by, comment }) = body?;
    let selection = selection(&daemon, Which { alert, group, receiver }).await?;
    let by = by.or(caller.name).filter(|by| !by.trim().is_empty());
    let by = by.ok_or_else(|| Fault::bad("`by` is missing: who takes care of it"))?;
    let groups = take_care(daemon, selection, by, comment).await?;
    Ok(Json(json!({ "groups": groups.iter().map(group_json).collect::<Vec<_>>() })))
}

/// Acknowledges what fires in what is selected.
pub(super) async fn take_care(
    daemon: Arc<Daemon>,
    selection: Selection,
    by: String,
    comment: String,
) -> Result<Vec<GroupView>, Fault> {
    if by.chars().count() > WORDS.0 || comment.chars().count() > WORDS.1 {
        return Err(Fault::bad(format!("`by` may have {} characters, `comment` {}", WORDS.0, WORDS.1)));
    }
    let work = async move { daemon.core.lock().await.acknowledge(&selection, &by, &comment, clock::now()).await };
    let groups = to_its_end(work).await?;
    if groups.is_empty() { Err(Fault::missing("nothing of that fires in a group")) } else { Ok(groups) }
}

async fn unacknowledge(State(daemon): State<Arc<Daemon>>, query: Result<Query<Which>, QueryRejection>) -> Answer {
    let Query(which) = query?;
    let selection = selection(&daemon, which).await?;
    let groups = leave_alone(daemon, selection).await?;
    Ok(Json(json!({ "groups": groups.iter().map(group_json).collect::<Vec<_>>() })))
}

/// Takes acknowledgements back.
pub(super) async fn leave_alone(daemon: Arc<Daemon>, selection: Selection) -> Result<Vec<GroupView>, Fault> {
    let work = async move { daemon.core.lock().await.unacknowledge(&selection, clock::now()).await };
    let groups = to_its_end(work).await?;
    if groups.is_empty() { Err(Fault::missing("nothing of that is acknowledged")) } else { Ok(groups) }
}

async fn selection(daemon: &Daemon, which: Which) -> Result<Selection, Fault> {
    match which {
        Which { alert: None, group: Some(key), receiver } => Ok(Selection::Group { receiver, key }),
        Which { alert: Some(alert), group: None, receiver: None } => match Wanted::parse(&alert)? {
            Wanted::Matching(matchers) if matchers.0.is_empty() => {
                Err(Fault::bad("`alert` says nothing: all alerts are too many"))
            }
            Wanted::Matching(matchers) => Ok(Selection::Matching(matchers)),
            wanted => {
                let found = known(daemon, Some(&wanted)).await.pop();
                let labels = found.ok_or_else(|| Fault::missing("no alert has that fingerprint"))?.labels;
                let equal = |(name, value): (&str, &str)| Matcher::new(name, Op::Equal, value.to_owned());
                Ok(Selection::Matching(Matchers(labels.iter().map(equal).collect::<Result<_, _>>().map_err(Fault::bad)?)))
            }
        },
        _ => Err(Fault::bad("say either `alert`, or `group` and perhaps `receiver`")),
    }
}

async fn explain(State(daemon): State<Arc<Daemon>>, query: Result<Query<Which>, QueryRejection>) -> Answer {
    let Query(which) = query?;
    let explanations = explained(&daemon, &which).await?;
    Ok(Json(json!({ "explanations": explanations.iter().map(Explanation::json).collect::<Vec<_>>() })))
}

/// Explanations of what is selected, at least one.
pub(super) async fn explained(daemon: &Daemon, which: &Which) -> Result<Vec<Explanation>, Fault> {
    match which {
        Which { alert: Some(alert), group: None, receiver: None } => {
            let wanted = Wanted::parse(alert)?;
            let mut explanations = Vec::new();
            for alert in known(daemon, Some(&wanted)).await.iter().take(EXPLANATIONS) {
                explanations.push(daemon.core.lock().await.known(clock::now()).alert(alert));
            }
            if explanations.is_empty() {
                let labels = only_labels(&wanted).ok_or_else(|| Fault::missing("no alert is matched by that"))?;
                explanations.push(daemon.core.lock().await.known(clock::now()).labels(&labels));
            }
            Ok(explanations)
        }
        Which { alert: None, group: Some(key), receiver } => {
            let core = daemon.core.lock().await;
            let explanation = core.known(clock::now()).group(key, receiver.as_deref());
            explanation.map(|explanation| vec![explanation]).ok_or_else(|| Fault::missing("nothing is known of that group"))
        }
        _ => Err(Fault::bad("say either `alert`, or `group` and perhaps `receiver`")),
    }
}

/// The labels that matchers name, where they name nothing else.
fn only_labels(wanted: &Wanted) -> Option<Labels> {
    let Wanted::Matching(Matchers(matchers)) = wanted else { return None };
    let label = |matcher: &Matcher| (matcher.op == Op::Equal).then(|| (matcher.name.clone(), matcher.value.clone()));
    matchers.iter().map(label).collect::<Option<Vec<_>>>().map(Labels::from_iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_named_in_three_ways() {
        let labels: Labels = [("alertname", "A"), ("model", "m")].into_iter().collect();
        let is = |text: &str| Wanted::parse(text).unwrap().is(&labels);
        assert!(is("A") && !is("B"));
        assert!(is(&labels.fingerprint()) && !is("0123456789abcdef"));
        assert!(is("model=m") && is("{model=~\"m|n\",alertname=A}") && !is("model!=m"));
        assert!(Wanted::parse("").is_err() && is("{}"));
        assert!(Wanted::parse("model=~\"(\"").is_err() && Wanted::parse(&vec!["a=b"; 65].join(",")).is_err());
    }

    #[test]
    fn only_labels_that_are_named_in_full_can_be_routed() {
        let labels = |text: &str| only_labels(&Wanted::parse(text).unwrap());
        assert_eq!(labels("{a=\"1\",b=\"2\"}"), Some([("a", "1"), ("b", "2")].into_iter().collect()));
        assert_eq!(labels("A"), Some([("alertname", "A")].into_iter().collect()));
        assert_eq!(labels("{a=~\"1\"}"), None);
    }
}
