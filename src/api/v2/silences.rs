//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::filter::{self, Query};
use super::to_its_end;
use super::wire::{self, Fault, GettableSilence, PostableSilence};
use crate::engine::{Daemon, clock};
use crate::labels::Matchers;
use crate::route::{Refused, Silence, SilenceState};
use crate::time::Time;

/// Silences that have all matchers that are asked for: first those that hold, the next to end first; then those that will,
/// the next to begin first; then those that did, the last to end first.
pub async fn list(State(daemon): State<Arc<Daemon>>, query: Query) -> Result<Json<Vec<GettableSilence>>, Fault> {
    let wanted = filter::matchers(&query)?;
    let states = [("active", SilenceState::Active), ("pending", SilenceState::Pending), ("expired", SilenceState::Expired)];
    let states = states.map(|(name, state)| (state, filter::switch(&query, name)));
    let all: Vec<Silence> = daemon.core.lock().await.router().silences().iter().cloned().collect();
    let now = clock::now();
    let asked = |silence: &Silence| states.contains(&(silence.state(now), true)) && has(&silence.matchers, &wanted);
    let mut found: Vec<Silence> = all.into_iter().filter(asked).collect();
    found.sort_by_cached_key(|silence| place(silence, now));
    Ok(Json(found.iter().map(|silence| GettableSilence::of(silence, now)).collect()))
}

fn place(silence: &Silence, now: Time) -> (SilenceState, Time, Reverse<Time>, String) {
    let state = silence.state(now);
    let (soonest, latest) = match state {
        SilenceState::Active => (silence.ends_at, Time::default()),
        SilenceState::Pending => (silence.starts_at, Time::default()),
        SilenceState::Expired => (Time::default(), silence.ends_at),
    };
    (state, soonest, Reverse(latest), silence.id.clone())
}

fn has(matchers: &Matchers, wanted: &Matchers) -> bool {
    wanted.0.iter().all(|matcher| matchers.0.contains(matcher))
}

/// One silence.
pub async fn one(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>) -> Result<Json<GettableSilence>, Fault> {
    is_id(&id)?;
    let core = daemon.core.lock().await;
    let silence = core.router().silences().get(&id).ok_or(Fault::Bare(StatusCode::NOT_FOUND))?;
    Ok(Json(GettableSilence::of(silence, clock::now())))
}

/// Makes a silence, or changes one.
pub async fn set(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Fault> {
    let posted: Option<PostableSilence> = wire::read("silence", &headers, body)?;
    let draft = posted.unwrap_or_default().draft()?;
    let set = to_its_end(async move {
        let mut core = daemon.core.lock().await;
        core.silence(draft, clock::now()).await
    });
    match set.await? {
        Ok(id) => Ok(Json(json!({ "silenceID": id }))),
        Err(refused @ Refused::Unknown) => Err(Fault::said(StatusCode::NOT_FOUND, refused.to_string())),
        Err(refused @ Refused::Invalid(_)) => Err(Fault::said(StatusCode::BAD_REQUEST, refused.to_string())),
    }
}

/// Ends a silence; one that has ended already stays as it is.
pub async fn expire(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    is_id(&id)?;
    let expired = to_its_end(async move {
        let mut core = daemon.core.lock().await;
        core.expire_silence(&id, clock::now()).await
    });
    match expired.await? {
        Ok(()) => Ok(StatusCode::OK),
        Err(Refused::Unknown) => Err(Fault::Bare(StatusCode::NOT_FOUND)),
        Err(refused @ Refused::Invalid(_)) => Err(Fault::said(StatusCode::INTERNAL_SERVER_ERROR, refused.to_string())),
    }
}

fn is_id(id: &str) -> Result<(), Fault> {
    let message = || format!("silenceID in path must be of type uuid: {id:?}");
    let fault = |_| Fault::schema(StatusCode::UNPROCESSABLE_ENTITY, 601, message());
    uuid::Uuid::try_parse(id).map(drop).map_err(fault)
}
