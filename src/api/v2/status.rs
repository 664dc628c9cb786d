//! `/api/v2/status` and `/api/v2/receivers`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::wire::{Instant, Named};
use crate::engine::Daemon;
use crate::export::own::ALERTMANAGER_VERSION;

/// What runs here. amtool reads the configuration strictly as Alertmanager does, so it holds nothing else.
pub async fn status(State(daemon): State<Arc<Daemon>>) -> Json<Value> {
    let original = daemon.shared.read(|published| published.original.clone());
    Json(json!({
        // There is but one of us: no peers, no name.
        "cluster": { "status": "disabled", "peers": [] },
        "config": { "original": original },
        "uptime": Instant(daemon.started_at),
        "versionInfo": {
            "version": ALERTMANAGER_VERSION,
            "branch": "modelwatch",
            "revision": env!("CARGO_PKG_VERSION"),
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    }))
}

/// The receivers that there are, in the order of their names.
pub async fn receivers(State(daemon): State<Arc<Daemon>>) -> Json<Vec<Named>> {
    let core = daemon.core.lock().await;
    Json(core.router().routing().receivers.keys().map(|name| Named { name: name.clone() }).collect())
}
