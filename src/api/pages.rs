//! Pages for people: what fires, what is silent, what was sent, and why. Rendered here, without a script and without anything
//! from elsewhere, so that they work on a phone at three in the morning.
//!
//! - Label values come from rows, so from anybody: templates escape whatever they show, and the Content-Security-Policy forbids
//!   all but our own style sheet.
//! - GET changes nothing, as scanners of mail follow links. What changes something is a form, with a token that no other site
//!   knows (`Sent`); what was done is answered by a redirect, so that a reload does not do it again.

mod ack;
mod alert;
mod deliveries;
mod overview;
mod show;
mod silences;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Extension, Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use minijinja::{Environment, Value, context};

use crate::api::access::{Access, Caller, Role};
use crate::api::v1::Fault;
use crate::engine::Daemon;

const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// THE list of templates.
const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("pages/base.html")),
    ("parts.html", include_str!("pages/parts.html")),
    ("overview.html", include_str!("pages/overview.html")),
    ("alert.html", include_str!("pages/alert.html")),
    ("silences.html", include_str!("pages/silences.html")),
    ("silence.html", include_str!("pages/silence.html")),
    ("ack.html", include_str!("pages/ack.html")),
    ("deliveries.html", include_str!("pages/deliveries.html")),
    ("error.html", include_str!("pages/error.html")),
];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment)
});

/// All pages.
pub fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/alerts/{fingerprint}", get(alert::page))
        .route("/groups", get(alert::group))
        .route("/silences", get(silences::page))
        .route("/silences/new", get(silences::draft).post(silences::make))
        .route("/silences/{id}/expire", post(silences::expire))
        .route("/ack", get(ack::page).post(ack::take))
        .route("/deliveries", get(deliveries::page))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/static/modelwatch.css", get(style))
        .route("/static/icon.svg", get(icon))
        .fallback(nothing)
        .layer(middleware::from_fn(headers))
}

async fn nothing() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "there is nothing here; all alerts are at /\n")
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("pages/modelwatch.css"))
}

async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("pages/icon.svg"))
}

/// Forms tell where they come from (`Origin`) only where the policy of referrers lets them.
async fn headers(request: Request, next: Next) -> Response {
    let is_static = request.uri().path().starts_with("/static/");
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, if is_static { "max-age=300" } else { "no-store" }),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Who looks at a page, and what its forms carry.
#[derive(Debug)]
struct Visitor {
    caller: Caller,
    token: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Problem> {
        let found = parts.extensions.get::<Caller>().zip(parts.extensions.get::<Arc<Access>>());
        let (caller, access) = found.ok_or(Problem(StatusCode::UNAUTHORIZED, "nobody knows who you are".to_owned()))?;
        Ok(Visitor { token: access.form_token(caller), caller: caller.clone() })
    }
}

impl Visitor {
    fn page(&self, template: &str, context: Value) -> Result<Html<String>, Problem> {
        let may_change = self.caller.role >= Role::Operator;
        let name = self.caller.name.clone().unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let csrf = if may_change { self.token.as_str() } else { "" };
        render(template, context! { csrf, may_change, name, version, ..context }).map(Html)
    }
}

fn render(template: &str, context: Value) -> Result<String, Problem> {
    let problem = |error: &minijinja::Error| {
        tracing::error!(template, error = format!("{error:#}"), "a page cannot be rendered");
        Problem(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered; why is in the log".to_owned())
    };
    let environment = ENVIRONMENT.as_ref().map_err(problem)?;
    environment.get_template(template).and_then(|template| template.render(context)).map_err(|error| problem(&error))
}

/// The fields of a form that one of our pages sent, for this caller.
#[derive(Debug)]
struct Sent {
    caller: Caller,
    fields: BTreeMap<String, String>,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Sent, Problem> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, state).await?;
        let access = Extension::<Arc<Access>>::from_request_parts(&mut parts, state).await;
        let form = Form::<BTreeMap<String, String>>::from_request(Request::from_parts(parts, body), state).await;
        let Form(mut fields) = form.map_err(|rejection| Problem(rejection.status(), rejection.body_text()))?;
        let token = fields.remove("csrf").unwrap_or_default();
        if !access.is_ok_and(|access| access.is_form_token(&visitor.caller, &token)) {
            let message = "the form is not from a page of this server, or modelwatch was started anew since: go back, load the page again and send it once more";
            return Err(Problem(StatusCode::FORBIDDEN, message.to_owned()));
        }
        Ok(Sent { caller: visitor.caller, fields })
    }
}

impl Sent {
    fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |text| text.trim())
    }

    /// Who signs: the name that was written, else that of the caller.
    fn author(&self) -> String {
        let written = Some(self.get("author")).filter(|name| !name.is_empty());
        written.or(self.caller.name.as_deref()).unwrap_or_default().to_owned()
    }
}

/// Why there is no page, as a page.
#[derive(Debug)]
struct Problem(StatusCode, String);

impl From<Fault> for Problem {
    fn from(Fault(status, message): Fault) -> Problem {
        Problem(status, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(status, message) = self;
        let reason = status.canonical_reason().unwrap_or_default();
        let context = context! { status => status.as_u16(), reason, message => &message, version => env!("CARGO_PKG_VERSION") };
        match render("error.html", context) {
            Ok(page) => (status, Html(page)).into_response(),
            Err(_) => (status, message).into_response(),
        }
    }
}

/// A path with its query.
fn href(path: &str, query: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://here/", query).map(|url| url.query().unwrap_or_default().to_owned());
    format!("{path}?{}", url.unwrap_or_default())
}

/// After something was done.
fn see(path: &str) -> Redirect {
    Redirect::to(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_sound() {
        ENVIRONMENT.as_ref().unwrap();
        let page =
            render("error.html", context! { status => 404, reason => "x", message => "<script>alert(1)</script>" }).unwrap();
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn links_carry_what_they_are_given() {
        assert_eq!(href("/ack", &[("group", "{}:{a=\"b&c\"}")]), "/ack?group=%7B%7D%3A%7Ba%3D%22b%26c%22%7D");
    }
}
