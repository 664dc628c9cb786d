//! HTTP: metrics, health, reload.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::diag::Diagnostic;
use crate::engine::Daemon;
use crate::engine::shared::Shared;
use crate::export::prometheus::{Encoder, Format};

/// Serves until the daemon is stopped.
pub async fn serve(listener: TcpListener, daemon: Arc<Daemon>) -> std::io::Result<()> {
    let mut stopped = daemon.stopped();
    let routes = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .with_state(daemon);
    let end = async move {
        // An error means that the daemon is gone.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(end).await
}

async fn index() -> &'static str {
    concat!("modelwatch ", env!("CARGO_PKG_VERSION"), "\n\n/metrics\n/-/healthy\n/-/ready\n/-/reload (POST)\n")
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

async fn ready(State(daemon): State<Arc<Daemon>>) -> impl IntoResponse {
    let unread = daemon.shared.read(|published| published.unread.clone());
    match unread {
        Some(unread) if unread.is_empty() => (StatusCode::OK, "modelwatch is ready.\n".to_owned()),
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
