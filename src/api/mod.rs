//! HTTP: metrics, health, reload, the API and the pages. Every request goes through [`access`] first.

pub mod access;
mod connections;
pub mod pages;
pub mod v1;
pub mod v2;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use tokio::net::TcpListener;

use crate::api::access::{Access, Caller, Doors};
use crate::diag::Diagnostic;
use crate::engine::Daemon;
use crate::engine::shared::Shared;
use crate::export::prometheus::{Encoder, Format};
use crate::limits::{ANSWER_TIMEOUT, HEAD_TIMEOUT, MAX_CONNECTIONS};
use crate::time::Span;

/// Serves until the daemon is stopped.
pub async fn serve(listener: TcpListener, daemon: Arc<Daemon>, access: Arc<Access>) -> std::io::Result<()> {
    let mut stopped = daemon.stopped();
    tokio::spawn(access.clone().watch(daemon.stopped()));
    let doors = Doors::new(listener, access.clone(), MAX_CONNECTIONS)?;
    let end = async move {
        // An error means that the daemon is gone.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    connections::serve(doors, routes(daemon, access), HEAD_TIMEOUT.to_std(), end).await;
    Ok(())
}

/// All that is served. What programs ask takes JSON; forms of pages carry a token of their own.
fn routes(daemon: Arc<Daemon>, access: Arc<Access>) -> Router {
    let programs = Router::new().route("/-/reload", post(reload)).merge(v1::routes());
    let programs = programs.layer(middleware::from_fn(access::json_only));
    Router::new()
        .merge(programs)
        .merge(v2::reads(daemon.clone()))
        // It asks for JSON itself, in Alertmanager's words.
        .merge(v2::writes(daemon.clone()))
        .merge(pages::routes())
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .layer(middleware::from_fn_with_state(access, access::admit))
        .layer(middleware::from_fn_with_state(ANSWER_TIMEOUT, in_time))
        .with_state(daemon)
}

/// Answers 408 to who takes too long, or is made to wait too long.
async fn in_time(State(within): State<Span>, request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(within.to_std(), next.run(request)).await;
    let late = |_| (StatusCode::REQUEST_TIMEOUT, format!("408: no answer within {within}\n")).into_response();
    answered.unwrap_or_else(late)
}

async fn metrics(State(daemon): State<Arc<Daemon>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::negotiate(accept);
    ([(header::CONTENT_TYPE, format.content_type())], exposition(&daemon.shared, format))
}

/// All metrics as they are published now.
pub fn exposition(shared: &Shared, format: Format) -> String {
    let own = shared.own.encode();
    shared.read(|published| {
        let series: usize = published.totals.iter().map(|totals| totals.calls.len()).sum();
        let mut encoder = Encoder::new(format, 16_384 + 3_000 * series);
        encoder.totals(&published.totals);
        encoder.unresolved(&published.unresolved);
        encoder.alerts(published.alerts.iter());
        encoder.tables(&published.totals);
        encoder.library(&own);
        encoder.finish()
    })
}

/// Alive: the process answers. A state that cannot be written is worth a restart by hand, not by a supervisor.
async fn healthy() -> &'static str {
    "modelwatch is healthy.\n"
}

/// Which sources are not read is told to those alone who may look.
async fn ready(State(daemon): State<Arc<Daemon>>, caller: Option<Extension<Caller>>) -> impl IntoResponse {
    let unread = daemon.shared.read(|published| published.unread.clone());
    match unread {
        Some(unread) if unread.is_empty() => (StatusCode::OK, "modelwatch is ready.\n".to_owned()),
        _ if caller.is_none() => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        unread => {
            let names = unread.unwrap_or_default().into_iter().collect::<Vec<_>>().join(", ");
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: not read up to now yet: {names}\n"))
        }
    }
}

async fn reload(State(daemon): State<Arc<Daemon>>) -> impl IntoResponse {
    // To its end, also where the client goes away meanwhile.
    let reloaded = tokio::spawn(async move { daemon.reload().await }).await;
    let faults = |error: tokio::task::JoinError| Err(vec![Diagnostic::nowhere("reload", error.to_string())]);
    match reloaded.unwrap_or_else(faults) {
        Ok(warnings) => {
            let text: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            (StatusCode::OK, format!("reloaded\n{text}"))
        }
        Err(faults) => {
            let text: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
            (StatusCode::BAD_REQUEST, format!("not reloaded; the last good configuration stays in force:\n{text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use futures_util::stream;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_answered() {
        let layer = middleware::from_fn_with_state(Span::millis(20), in_time);
        let routes: Router = Router::new().route("/", post(|_: Bytes| async { "all of it" })).layer(layer);
        let service = TowerToHyperService::new(routes);
        let ask = |body| service.call(Request::post("/").body(body).unwrap());
        assert_eq!(ask(Body::from("whole")).await.unwrap().status(), StatusCode::OK);
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(ask(endless).await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
