//! `/silences`: those that hold, the form for a new one with what it would keep quiet, and the end of one.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use minijinja::{Value, context};
use serde::Deserialize;

use super::{Problem, Sent, Visitor, see, show};
use crate::alert::{Alert, State as AlertState};
use crate::api::v1::{self, Fault, Wanted};
use crate::engine::{Daemon, clock};
use crate::labels::Matchers;
use crate::message::{one_line, truncate};
use crate::route::{Draft, Refused, Silence, SilenceState};
use crate::time::{Span, Time};

/// Alerts that a preview lists before it counts.
const PREVIEW: usize = 50;
/// Silences that are listed; `/api/v2/silences` has all.
const LISTED: usize = 500;
/// Characters of a text that are shown.
const TEXT: usize = 400;
/// How long a silence is unless somebody says otherwise.
const DURATION: &str = "2h";

pub(super) async fn page(State(daemon): State<Arc<Daemon>>, visitor: Visitor) -> Result<Html<String>, Problem> {
    let (now, mut all) = {
        let core = daemon.core.lock().await;
        (clock::now(), core.router().silences().iter().cloned().collect::<Vec<Silence>>())
    };
    all.sort_by_key(|silence| (silence.state(now), silence.ends_at));
    let (over, live): (Vec<&Silence>, Vec<&Silence>) =
        all.iter().partition(|silence| silence.state(now) == SilenceState::Expired);
    let views = |silences: &[&Silence]| silences.iter().take(LISTED).map(|silence| view(silence, now)).collect::<Vec<_>>();
    let over: Vec<&Silence> = over.into_iter().rev().collect();
    let more = live.len().saturating_sub(LISTED) + over.len().saturating_sub(LISTED);
    visitor.page("silences.html", context! { live => views(&live), over => views(&over), more })
}

fn view(silence: &Silence, now: Time) -> Value {
    let state = match silence.state(now) {
        SilenceState::Active => "active",
        SilenceState::Pending => "pending",
        SilenceState::Expired => "expired",
    };
    context! {
        id => &silence.id,
        state,
        matchers => silence.matchers.0.iter().map(|matcher| truncate(&one_line(&matcher.to_string()), TEXT)).collect::<Vec<_>>(),
        starts_at => show::time(silence.starts_at, now),
        ends_at => show::time(silence.ends_at, now),
        by => truncate(&one_line(&silence.created_by), TEXT),
        comment => truncate(&one_line(&silence.comment), TEXT),
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct NewQuery {
    #[serde(default)]
    filter: String,
}

pub(super) async fn draft(
    State(daemon): State<Arc<Daemon>>,
    visitor: Visitor,
    query: Result<Query<NewQuery>, QueryRejection>,
) -> Result<Html<String>, Problem> {
    let Query(NewQuery { filter }) = query.map_err(Fault::from)?;
    Matchers::check_bounds(0, filter.len()).map_err(Fault::bad)?;
    let author = visitor.caller.name.clone().unwrap_or_default();
    let form = Written { filter, duration: DURATION.to_owned(), author, comment: String::new(), fault: None };
    visitor.page("silence.html", form.view(&daemon).await)
}

/// The form as somebody wrote it.
#[derive(Debug)]
struct Written {
    filter: String,
    duration: String,
    author: String,
    comment: String,
    fault: Option<String>,
}

impl Written {
    /// With the alerts that it would keep quiet.
    async fn view(&self, daemon: &Daemon) -> Value {
        let now = clock::now();
        let (alerts, fault) = match self.matchers() {
            Ok(None) => (None, None),
            Ok(Some(matchers)) => {
                let alerts = v1::known(daemon, Some(&Wanted::Matching(matchers))).await;
                (Some(alerts.into_iter().filter(Alert::is_live).collect::<Vec<_>>()), None)
            }
            Err(fault) => (None, Some(fault)),
        };
        let count = alerts.as_ref().map(Vec::len);
        let firing = alerts.iter().flatten().filter(|alert| alert.state == AlertState::Firing).count();
        let shown = alerts.iter().flatten().take(PREVIEW);
        context! {
            filter => &self.filter,
            duration => &self.duration,
            author => &self.author,
            comment => &self.comment,
            fault => self.fault.as_ref().or(fault.as_ref()),
            count,
            firing,
            alerts => shown.map(|alert| show::alert(alert, &crate::route::Status::default(), now)).collect::<Vec<_>>(),
            more => count.unwrap_or(0).saturating_sub(PREVIEW),
        }
    }

    fn matchers(&self) -> Result<Option<Matchers>, String> {
        if self.filter.trim().is_empty() {
            return Ok(None);
        }
        Matchers::parse_bounded(self.filter.trim()).map(Some)
    }

    fn draft(&self, now: Time) -> Result<Draft, String> {
        let matchers = self.matchers()?.ok_or("say which alerts")?;
        let span = Span::parse(&self.duration)?;
        if self.author.is_empty() {
            return Err("say who you are".to_owned());
        }
        if self.comment.is_empty() {
            return Err("say why, in the comment".to_owned());
        }
        let (created_by, comment) = (self.author.clone(), self.comment.clone());
        Ok(Draft { id: None, matchers, starts_at: now, ends_at: now + span, created_by, comment })
    }
}

pub(super) async fn make(State(daemon): State<Arc<Daemon>>, visitor: Visitor, sent: Sent) -> Result<Response, Problem> {
    let text = |name: &str| sent.get(name).to_owned();
    let mut form = Written {
        filter: text("filter"),
        duration: text("duration"),
        author: sent.author(),
        comment: text("comment"),
        fault: None,
    };
    let made = match form.draft(clock::now()) {
        Ok(draft) => {
            let daemon = daemon.clone();
            let work = async move { daemon.core.lock().await.silence(draft, clock::now()).await };
            v1::to_its_end(work).await?.map_err(|refused| refused.to_string())
        }
        Err(fault) => Err(fault),
    };
    match made {
        Ok(_) => Ok(see("/silences").into_response()),
        Err(fault) => {
            form.fault = Some(fault);
            Ok((StatusCode::BAD_REQUEST, visitor.page("silence.html", form.view(&daemon).await)?).into_response())
        }
    }
}

pub(super) async fn expire(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>, _: Sent) -> Result<Response, Problem> {
    let work = async move { daemon.core.lock().await.expire_silence(&id, clock::now()).await };
    match v1::to_its_end(work).await? {
        Ok(()) => Ok(see("/silences").into_response()),
        Err(refused @ Refused::Unknown) => Err(Problem(StatusCode::NOT_FOUND, refused.to_string())),
        Err(refused @ Refused::Invalid(_)) => Err(Problem(StatusCode::CONFLICT, refused.to_string())),
    }
}
