//! What comes from people and from receivers: alerts that others post, silences, acknowledgements, and what became of
//! deliveries. Each is stored before it is answered.

use std::sync::Arc;

use super::{Core, HELD};
use crate::alert::Incoming;
use crate::engine::clock;
use crate::engine::deliver::Attempted;
use crate::explain::Known;
use crate::export::own::DeliveryLabels;
use crate::notify::{Integration, Outcome};
use crate::outbox::{Delivery, NotAgain, Outbox, Recorded};
use crate::route::{Draft, GroupView, Refused, Router, Selection};
use crate::store::Commit;
use crate::time::Time;

impl Core {
    /// Takes alerts that somebody else posted; they are stored when this returns. Says for how many there was no room. Where
    /// `more` were posted with them, groups wait for those.
    pub async fn post(&mut self, alerts: Vec<Incoming>, more: bool, now: Time) -> usize {
        let refused = self.pipeline.post(alerts, now);
        self.held_until = more.then(|| now + HELD);
        self.route(&[], now);
        self.save(Commit::default(), now).await;
        refused
    }

    /// Makes or changes a silence; see [`Router::silence`].
    ///
    /// # Errors
    /// It is not there, or what is asked makes no sense.
    pub async fn silence(&mut self, draft: Draft, now: Time) -> Result<String, Refused> {
        let id = self.pipeline.router_mut().silence(draft, clock::uuid(), now)?;
        self.save(Commit::default(), now).await;
        Ok(id)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// It is not there, or has ended.
    pub async fn expire_silence(&mut self, id: &str, now: Time) -> Result<(), Refused> {
        self.pipeline.router_mut().expire_silence(id, now)?;
        self.save(Commit::default(), now).await;
        Ok(())
    }

    /// Notes that somebody takes care of groups; see [`Router::acknowledge`].
    pub async fn acknowledge(&mut self, selection: &Selection, by: &str, comment: &str, now: Time) -> Vec<GroupView> {
        let groups = self.pipeline.router_mut().acknowledge(selection, by, comment, now);
        self.save(Commit::default(), now).await;
        groups
    }

    /// The same taken back.
    pub async fn unacknowledge(&mut self, selection: &Selection, now: Time) -> Vec<GroupView> {
        let groups = self.pipeline.router_mut().unacknowledge(selection, now);
        self.save(Commit::default(), now).await;
        groups
    }

    /// Groups, silences, and who was told what.
    pub fn router(&self) -> &Router {
        self.pipeline.router()
    }

    /// All that is known of why somebody was told, or nobody.
    pub fn known(&self, now: Time) -> Known<'_> {
        Known::new(self.pipeline.router(), &self.outbox, self.pipeline.receivers(), now)
    }

    /// All deliveries.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Deliveries that are due, each with the way to deliver it; none where the configuration has it no more.
    pub async fn lease(&mut self, now: Time) -> Vec<(Delivery, Option<Integration>)> {
        self.turn(Vec::new(), now).await
    }

    /// Notes what came of attempts and leases what is due, stored at once: many deliveries cost few writes.
    pub async fn turn(&mut self, ended: Vec<(Arc<Delivery>, Attempted)>, now: Time) -> Vec<(Delivery, Option<Integration>)> {
        let any_ended = !ended.is_empty();
        ended.into_iter().for_each(|(delivery, attempted)| self.note(&delivery, attempted, now));
        let leased = self.outbox.lease(now);
        if any_ended || !leased.is_empty() {
            // The lease is stored before anything is sent, so that a kill is known to have been in between.
            self.save(Commit::default(), now).await;
        }
        let find = |delivery: &Delivery| {
            let all = self.pipeline.integrations(&delivery.receiver);
            all.iter().find(|known| known.index == delivery.integration && known.kind == delivery.kind).cloned()
        };
        leased
            .into_iter()
            .map(|delivery| (find(&delivery), delivery))
            .map(|(integration, delivery)| (delivery, integration))
            .collect()
    }

    /// Notes what came of an attempt, and stores it.
    pub async fn record(&mut self, delivery: &Delivery, attempted: Attempted, now: Time) {
        self.note(delivery, attempted, now);
        self.save(Commit::default(), now).await;
    }

    fn note(&mut self, delivery: &Delivery, attempted: Attempted, now: Time) {
        let Attempted { outcome, handle } = attempted;
        let recorded = self.outbox.record(delivery.id, &outcome, handle, now, clock::jitter(delivery.id));
        let (receiver, integration) = (delivery.receiver.clone(), delivery.kind.clone());
        let word = match (&recorded, &outcome) {
            (Some(Recorded::Delivered), _) => "delivered",
            (Some(Recorded::RetryAt(_)), _) => "retried",
            (_, Outcome::Rejected { .. }) => "rejected",
            _ => "given_up",
        };
        match &outcome {
            Outcome::Delivered => tracing::info!(receiver, integration, group = delivery.notification.group_key, "delivered"),
            Outcome::Retry { reason, .. } | Outcome::Rejected { reason } => {
                tracing::warn!(
                    receiver,
                    integration,
                    group = delivery.notification.group_key,
                    outcome = word,
                    reason,
                    "not delivered"
                );
            }
        }
        let labels = DeliveryLabels { receiver, integration, outcome: word.to_owned() };
        self.shared.own.deliveries.get_or_create(&labels).inc();
        if let Some(Recorded::GivenUp { newer_waits: false, lane }) = &recorded {
            self.pipeline.forget_log(lane, &self.outbox.may_be_told(lane));
        }
    }

    /// Queues a delivery that was given up once more; see [`Outbox::retry`].
    ///
    /// # Errors
    /// It is not there, was not given up, or there is newer to tell.
    pub async fn retry(&mut self, delivery: u64, now: Time) -> Result<u64, NotAgain> {
        let id = self.outbox.retry(delivery, now)?;
        self.save(Commit::default(), now).await;
        Ok(id)
    }

    /// When the next delivery is due.
    pub fn next_delivery(&self) -> Option<Time> {
        self.outbox.next_due()
    }
}
