//! Alertmanager's API, version 2: amtool, karma, Grafana's data source and Prometheus' notifier take us for one.
//!
//! What is asked and answered is as in its `api/v2/openapi.yaml`, and so are the statuses and sentences of what is refused:
//! a fault that it finds is a JSON string, one of its schema is `{"code": 602, "message": "labels in body is required"}`.
//! Ours: labels of alerts may have any name (as its own since 0.27) while matchers want plain ones, times are shown in UTC,
//! and no page of another origin may write (its own lets every page of the web do so): a write must be
//! `application/json`, and preflights are not answered. karma needs `proxy: true` for the same reason.
//!
//! Nothing here holds the core for long: what many alerts need is asked in portions, and what changes something runs to
//! its end on a task of its own, also where the client goes away meanwhile.

mod alerts;
mod filter;
mod silences;
mod status;
mod wire;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, delete, get, post};

use crate::api::access::Access;
use crate::engine::Daemon;
use crate::limits::MAX_BODY_BYTES;
use crate::route::Semantics;

use wire::Fault;

/// What only looks.
pub fn reads(daemon: Arc<Daemon>) -> Router<Arc<Daemon>> {
    let routes = Router::new()
        .route("/api/v2/status", get(status::status))
        .route("/api/v2/receivers", get(status::receivers))
        .route("/api/v2/alerts", get(alerts::list))
        .route("/api/v2/alerts/groups", get(alerts::groups))
        .route("/api/v2/silences", get(silences::list))
        .route("/api/v2/silence/{id}", get(silences::one))
        .route("/api/v2/{*path}", any(unknown));
    routes.layer(middleware::from_fn_with_state(daemon, headers))
}

/// What changes something.
pub fn writes(daemon: Arc<Daemon>) -> Router<Arc<Daemon>> {
    let routes = Router::new()
        .route("/api/v2/alerts", post(alerts::add))
        .route("/api/v2/silences", post(silences::set))
        .route("/api/v2/silence/{id}", delete(silences::expire));
    routes.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).layer(middleware::from_fn_with_state(daemon, headers))
}

async fn unknown(uri: Uri) -> Fault {
    Fault::schema(StatusCode::NOT_FOUND, 404, format!("path {} was not found", uri.path()))
}

/// Nobody keeps an answer. A page of another origin may look where it needs a password, which a browser does not add, or where
/// all is as with Alertmanager; else any page that somebody here visits could read what only this network may.
async fn headers(State(daemon): State<Arc<Daemon>>, request: Request, next: Next) -> Response {
    let access = request.extensions().get::<Arc<Access>>();
    let theirs = daemon.shared.read(|published| published.semantics == Semantics::Alertmanager);
    let is_open = theirs || access.is_some_and(|access| access.asks_for_names());
    let other_origin = is_open && request.headers().contains_key(header::ORIGIN) && request.method() == Method::GET;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if other_origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

/// Does something to its end, also where the client goes away meanwhile: half of a change must not be left.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
    tokio::spawn(work).await.map_err(|error| Fault::said(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
