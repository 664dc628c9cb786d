//! Sends what the outbox has due: lease, store, send, record. No lock is held while a receiver is waited for.
//!
//! Whatever becomes of an attempt is recorded, a panic too: a delivery that is not recorded would hold its lane for ever.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};

use crate::engine::clock;
use crate::engine::core::Core;
use crate::engine::send::Sender;
use crate::engine::shared::Shared;
use crate::notify::{Context, Integration, Outcome};
use crate::outbox::Delivery;
use crate::time::Span;

/// Delivers until told to stop.
pub async fn run(
    core: Arc<Mutex<Core>>,
    shared: Arc<Shared>,
    external_url: String,
    sender: Sender,
    mut stop: watch::Receiver<bool>,
) {
    let external_url: Arc<str> = external_url.into();
    let (ended, mut endings) = mpsc::unbounded_channel();
    while !*stop.borrow() {
        let (leased, next) = {
            let mut core = core.lock().await;
            // All that ended while others had the lock is written at once.
            let now = clock::now();
            (core.turn(all(&mut endings), now).await, core.next_delivery().map(|at| at - now))
        };
        for (delivery, integration) in leased {
            let (ended, sender, shared, external_url) = (ended.clone(), sender.clone(), shared.clone(), external_url.clone());
            tokio::spawn(async move {
                let delivery = Arc::new(delivery);
                let attempted = match integration {
                    Some(integration) => whatever(attempt(sender, integration, delivery.clone(), external_url)).await,
                    None => {
                        let reason = "the configuration has no such receiver any more".to_owned();
                        Attempted { outcome: Outcome::Rejected { reason }, handle: None }
                    }
                };
                // Nobody listens any more once all stops: then it is sent again after the next start.
                let _ = ended.send((delivery, attempted));
                // The next one of its lane may be due now.
                shared.wake.notify_one();
            });
        }
        let wait = next.unwrap_or(Span::secs(3_600)).clamp(Span::millis(1), Span::secs(3_600));
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(wait.to_std()) => {}
            _ = stop.changed() => {}
        }
    }
    let ended = all(&mut endings);
    let mut core = core.lock().await;
    for (delivery, attempted) in ended {
        core.record(&delivery, attempted, clock::now()).await;
    }
}

fn all<T>(from: &mut mpsc::UnboundedReceiver<T>) -> Vec<T> {
    std::iter::from_fn(|| from.try_recv().ok()).collect()
}

/// What came of all steps of an attempt.
#[derive(Debug, PartialEq)]
pub struct Attempted {
    /// That of the step that failed, if any did.
    pub outcome: Outcome,
    /// Where the message is, as far as a step said so.
    pub handle: Option<String>,
}

/// What came of an attempt, also where it ends in a panic; what that says is in the log and may hold a secret.
async fn whatever(attempt: impl Future<Output = Attempted> + Send + 'static) -> Attempted {
    let ended = tokio::spawn(attempt).await;
    let reason = || "the attempt panicked, which is a fault of modelwatch".to_owned();
    ended.unwrap_or_else(|_| Attempted { outcome: Outcome::Retry { reason: reason(), after: None }, handle: None })
}

/// Step after step, until one fails; where any is enough, until all were tried.
async fn attempt(sender: Sender, integration: Integration, delivery: Arc<Delivery>, external_url: Arc<str>) -> Attempted {
    let (mut handle, mut failed, mut delivered) = (delivery.handle.clone(), None, false);
    for step in 0.. {
        let (external_url, now) = (&*external_url, clock::now());
        let context = Context { external_url, step, handle: handle.as_deref(), delivery: delivery.id, now };
        let Some(request) = integration.request(&delivery.notification, &context) else { break };
        let (outcome, left) = sender.send(&integration, request, &context).await;
        handle = left.or(handle);
        if outcome == Outcome::Delivered {
            delivered = true;
        } else {
            failed = Some(outcome);
            if !integration.is_told_by_any() {
                break;
            }
        }
    }
    let enough = delivered && integration.is_told_by_any();
    Attempted { outcome: failed.filter(|_| !enough).unwrap_or(Outcome::Delivered), handle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_panics_is_tried_again() {
        let attempted = whatever(async { panic!("with s3cr3t") }).await;
        let Outcome::Retry { reason, after: None } = attempted.outcome else { panic!("no retry") };
        assert!(reason.contains("panicked") && !reason.contains("s3cr3t"), "{reason}");
    }
}
