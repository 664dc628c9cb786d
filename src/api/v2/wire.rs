//! What goes over the wire: Alertmanager's names and forms.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::alert::Incoming;
use crate::labels::{Labels, Matcher, Matchers, Op};
use crate::route::{Draft, Silence, SilenceState};
use crate::time::Time;

/// Go's zero time, in which clients say that there is none: the first instant of the year 1.
const NO_TIME: Time = Time(-62_135_596_800_000_000);

/// Why there is no answer, as Alertmanager says it.
#[derive(Debug)]
pub enum Fault {
    /// A sentence.
    Said(StatusCode, String),
    /// What its schema does not allow, with its number for that.
    Schema(StatusCode, u16, String),
    /// The status says it all.
    Bare(StatusCode),
}

impl Fault {
    pub fn said(status: StatusCode, sentence: impl Into<String>) -> Fault {
        Fault::Said(status, sentence.into())
    }

    pub fn schema(status: StatusCode, code: u16, message: String) -> Fault {
        Fault::Schema(status, code, message)
    }

    fn required(name: &str) -> Fault {
        Fault::schema(StatusCode::UNPROCESSABLE_ENTITY, 602, format!("{name} in body is required"))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Fault::Said(status, sentence) => (status, Json(sentence)).into_response(),
            Fault::Schema(status, code, message) => (status, Json(json!({ "code": code, "message": message }))).into_response(),
            Fault::Bare(status) => status.into_response(),
        }
    }
}

/// Reads a body that is `application/json`: a form of another origin can send anything but that.
pub fn read<T: DeserializeOwned>(what: &str, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, Fault> {
    let given = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
    if !given.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        let message = format!("unsupported media type {given:?}, only [application/json] are allowed");
        return Err(Fault::schema(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, message));
    }
    let body = body.map_err(|rejection| Fault::schema(rejection.status(), rejection.status().as_u16(), rejection.body_text()))?;
    if body.is_empty() {
        return Err(Fault::required(what));
    }
    let unread = |error| format!("parsing {what} body from \"\" failed, because {error}");
    serde_json::from_slice(&body).map_err(|error| Fault::schema(StatusCode::BAD_REQUEST, 400, unread(error)))
}

/// An instant of an answer: RFC 3339 in UTC, always three digits of a second.
#[derive(Clone, Copy, Debug)]
pub struct Instant(pub Time);

impl Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", Time(self.0.0.div_euclid(1_000) * 1_000).to_jiff()))
    }
}

impl<'de> Deserialize<'de> for Instant {
    /// An empty text is the beginning of 1970, as Alertmanager reads it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = if text.is_empty() { Ok(Time(0)) } else { Time::parse(&text) };
        time.map(Instant).map_err(serde::de::Error::custom)
    }
}

/// A label may be null, which is as if it were not there.
type WrittenLabels = BTreeMap<String, Option<String>>;

fn labels(written: Option<WrittenLabels>) -> Labels {
    written.into_iter().flatten().map(|(name, value)| (name, value.unwrap_or_default())).collect()
}

/// An alert as it is posted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert {
    labels: Option<WrittenLabels>,
    annotations: Option<WrittenLabels>,
    starts_at: Option<Instant>,
    ends_at: Option<Instant>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

impl PostableAlert {
    /// What it says, if it fits the schema; `index` is its place among those that were posted.
    pub fn incoming(self, index: usize) -> Result<Incoming, Fault> {
        if self.labels.is_none() {
            return Err(Fault::required(&format!("{index}.labels")));
        }
        let generator_url = self.generator_url.unwrap_or_default();
        if !generator_url.is_empty() && !is_uri(&generator_url) {
            let message = format!("{index}.generatorURL in body must be of type uri: {generator_url:?}");
            return Err(Fault::schema(StatusCode::UNPROCESSABLE_ENTITY, 601, message));
        }
        let time = |instant: Option<Instant>| instant.map(|Instant(time)| time).filter(|time| *time != NO_TIME);
        Ok(Incoming {
            labels: labels(self.labels),
            annotations: labels(self.annotations),
            starts_at: time(self.starts_at),
            ends_at: time(self.ends_at),
            generator_url,
        })
    }
}

/// A path from the root, or anything with a scheme (Go's `url.ParseRequestURI`).
fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let host = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    (text.starts_with('/') || is_scheme) && !text.contains(|c: char| c.is_ascii_control()) && !host.contains(' ')
}

/// A condition of a silence.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenMatcher {
    name: Option<String>,
    value: Option<String>,
    is_regex: Option<bool>,
    is_equal: Option<bool>,
}

impl WrittenMatcher {
    fn parse(self, index: usize) -> Result<Matcher, Fault> {
        let required = |name: &str| Fault::required(&format!("matchers.{index}.{name}"));
        let is_regex = self.is_regex.ok_or_else(|| required("isRegex"))?;
        let name = self.name.ok_or_else(|| required("name"))?;
        let value = self.value.ok_or_else(|| required("value"))?;
        let op = match (self.is_equal.unwrap_or(true), is_regex) {
            (true, false) => Op::Equal,
            (false, false) => Op::NotEqual,
            (true, true) => Op::Match,
            (false, true) => Op::NotMatch,
        };
        let invalid = |what: String| {
            Fault::said(StatusCode::BAD_REQUEST, format!("silence invalid: invalid label matcher {index}: {what}"))
        };
        let shown = format!("invalid regular expression {value:?}");
        Matcher::new(&name, op, value).map_err(|error| invalid(format!("{shown}: {error}")))
    }
}

impl From<&Matcher> for WrittenMatcher {
    fn from(matcher: &Matcher) -> WrittenMatcher {
        WrittenMatcher {
            name: Some(matcher.name.clone()),
            value: Some(matcher.value.clone()),
            is_regex: Some(matcher.op.is_regex()),
            is_equal: Some(matcher.op.is_positive()),
        }
    }
}

/// A silence as it is posted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableSilence {
    id: Option<String>,
    matchers: Option<Vec<WrittenMatcher>>,
    starts_at: Option<Instant>,
    ends_at: Option<Instant>,
    created_by: Option<String>,
    comment: Option<String>,
}

impl PostableSilence {
    /// What it says, if it fits the schema.
    pub fn draft(self) -> Result<Draft, Fault> {
        let comment = self.comment.ok_or_else(|| Fault::required("comment"))?;
        let created_by = self.created_by.ok_or_else(|| Fault::required("createdBy"))?;
        let Instant(ends_at) = self.ends_at.ok_or_else(|| Fault::required("endsAt"))?;
        let matchers = self.matchers.ok_or_else(|| Fault::required("matchers"))?;
        if matchers.is_empty() {
            let message = "matchers in body should have at least 1 items".to_owned();
            return Err(Fault::schema(StatusCode::UNPROCESSABLE_ENTITY, 612, message));
        }
        let Instant(starts_at) = self.starts_at.ok_or_else(|| Fault::required("startsAt"))?;
        let bytes =
            |matcher: &WrittenMatcher| [&matcher.name, &matcher.value].into_iter().flatten().map(String::len).sum::<usize>();
        let invalid = |what| Fault::said(StatusCode::BAD_REQUEST, format!("silence invalid: {what}"));
        Matchers::check_bounds(matchers.len(), matchers.iter().map(bytes).sum()).map_err(invalid)?;
        let matchers = matchers.into_iter().enumerate().map(|(index, matcher)| matcher.parse(index));
        let matchers = Matchers(matchers.collect::<Result<_, _>>()?);
        let id = self.id.filter(|id| !id.is_empty());
        Ok(Draft { id, matchers, starts_at, ends_at, created_by, comment })
    }
}

/// A silence as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableSilence {
    id: String,
    status: Shown,
    updated_at: Instant,
    comment: String,
    created_by: String,
    ends_at: Instant,
    matchers: Vec<WrittenMatcher>,
    starts_at: Instant,
}

#[derive(Debug, Serialize)]
struct Shown {
    state: &'static str,
}

impl GettableSilence {
    pub fn of(silence: &Silence, now: Time) -> GettableSilence {
        let state = match silence.state(now) {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        };
        GettableSilence {
            id: silence.id.clone(),
            status: Shown { state },
            updated_at: Instant(silence.updated_at),
            comment: silence.comment.clone(),
            created_by: silence.created_by.clone(),
            ends_at: Instant(silence.ends_at),
            matchers: silence.matchers.0.iter().map(WrittenMatcher::from).collect(),
            starts_at: Instant(silence.starts_at),
        }
    }
}

/// A receiver, by its name.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    pub name: String,
}

/// What keeps an alert quiet.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    pub state: &'static str,
    pub silenced_by: Vec<String>,
    pub inhibited_by: Vec<String>,
    pub muted_by: Vec<String>,
}

/// An alert as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableAlert {
    pub annotations: Labels,
    pub ends_at: Instant,
    pub fingerprint: String,
    pub receivers: Vec<Named>,
    pub starts_at: Instant,
    pub status: AlertStatus,
    pub updated_at: Instant,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    pub labels: Labels,
}

/// A group of alerts as it is shown.
#[derive(Debug, Serialize)]
pub struct AlertGroup {
    pub alerts: Vec<GettableAlert>,
    pub labels: Labels,
    pub receiver: Named,
}

#[cfg(test)]
mod tests;
