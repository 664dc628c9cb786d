//! Reads the configuration again when its files have changed.
//!
//! Files are looked at every [`LOOK_EVERY`]; what differs from what was read last is read once two looks have found it
//! alike, so that a file which is being written is left alone. What cannot be used is said once, and tried again when it
//! has changed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Content;
use crate::engine::Daemon;
use crate::time::Span;

/// How often the files are looked at. Cheap: they are small.
const LOOK_EVERY: Span = Span::secs(2);

/// Watches until the daemon is stopped.
pub async fn run(daemon: Arc<Daemon>) {
    let mut stopped = daemon.stopped();
    let mut seen = None;
    while !*stopped.borrow() {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY.to_std()) => {}
            _ = stopped.changed() => return,
        }
        if !daemon.watches().await {
            continue;
        }
        let Some(now) = content(daemon.path.clone()).await else { continue };
        let settled = seen.as_ref() == Some(&now);
        if settled && !daemon.was_read(&now).await {
            tracing::info!("files of the configuration have changed");
            // What came of it is in the log and in the metrics; should it panic, the next change is seen all the same.
            let daemon = daemon.clone();
            let _ = tokio::spawn(async move { daemon.reload().await }).await;
        }
        seen = Some(now);
    }
}

/// Files may be far away.
pub async fn content(path: PathBuf) -> Option<Content> {
    tokio::task::spawn_blocking(move || Content::of(&path)).await.ok()
}
