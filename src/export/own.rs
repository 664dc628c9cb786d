//! Metrics about ourselves, through the library.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus::encoding::EncodeLabelSet;
use prometheus::metrics::counter::Counter;
use prometheus::metrics::family::Family;
use prometheus::metrics::gauge::Gauge;
use prometheus::metrics::histogram::{Histogram, exponential_buckets};
use prometheus::metrics::info::Info;
use prometheus::registry::Registry;

use crate::rule::{self, SLO_BUDGET_LEFT, SLO_BURN_RATE};

/// The Alertmanager that we pass for: the first whose API tells who is muted by time. It answers 404 for a silence that is
/// not there (since 0.26) and has no API v1 (since 0.27), as here; later ones promise more (annotations of silences, 0.32).
/// karma reads it here and wants 0.22 at least.
pub const ALERTMANAGER_VERSION: &str = "0.28.0";

/// A gauge of a number with a fraction.
pub type FloatGauge = Gauge<f64, AtomicU64>;
/// A gauge of a whole number.
pub type IntGauge = Gauge<i64, AtomicI64>;

/// Labels of what is known for each source.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceLabel {
    /// The source's name.
    pub source: String,
}

/// Labels of what is known for each rule.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RuleLabel {
    /// The rule's group and name.
    pub rule: String,
}

/// Labels of what a rule asks a source.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueryLabels {
    /// The source's name.
    pub source: String,
    /// The rule's group and name.
    pub rule: String,
}

/// Labels of deliveries.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// The receiver's name.
    pub receiver: String,
    /// The kind of integration.
    pub integration: String,
    /// `delivered`, `retried`, `rejected` or `given_up`.
    pub outcome: String,
}

/// Labels of reloads.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReloadLabels {
    /// `success` or `failure`.
    pub outcome: &'static str,
}

/// All of them.
#[derive(Debug)]
pub struct Own {
    registry: Registry,
    /// Whether the last poll of a source succeeded.
    pub source_up: Family<SourceLabel, IntGauge>,
    /// How far what is counted is behind the clock.
    pub source_lag: Family<SourceLabel, FloatGauge>,
    /// Duration of polls, from BEGIN to the last row.
    pub poll_duration: Family<SourceLabel, Histogram, fn() -> Histogram>,
    /// Polls that failed.
    pub poll_failures: Family<SourceLabel, Counter>,
    /// Rows that are not finished.
    pub rows_open: Family<SourceLabel, IntGauge>,
    /// Duration of evaluations of all rules that were due.
    pub evaluation_duration: Histogram,
    /// How many rules are loaded.
    pub rules: IntGauge,
    /// Evaluations that failed.
    pub rule_errors: Family<RuleLabel, Counter>,
    /// Queries of rules that had no answer, or none that the rule can use.
    pub rule_query_failures: Family<QueryLabels, Counter>,
    /// Of rules on objectives: the share of the budget that is left, by rule and group.
    slo_budget_left: Family<Vec<(String, String)>, FloatGauge>,
    /// Of rules on objectives: how fast the budget is used, by rule, group and window.
    slo_burn_rate: Family<Vec<(String, String)>, FloatGauge>,
    /// Attempts to deliver.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Deliveries that wait.
    pub deliveries_queued: IntGauge,
    /// Size of the state file.
    pub state_bytes: IntGauge,
    /// Whether the state can be written.
    pub state_writable: IntGauge,
    /// Attempts to write the state that failed.
    pub state_write_failures: Counter,
    /// Reloads.
    pub reloads: Family<ReloadLabels, Counter>,
    /// Whether the last reload succeeded.
    pub reload_successful: IntGauge,
    /// When the last successful reload was.
    pub reload_timestamp: FloatGauge,
}

fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Own {
    /// All at nought.
    pub fn new(version: &str) -> Own {
        let mut own = Own {
            registry: Registry::default(),
            source_up: Family::default(),
            source_lag: Family::default(),
            poll_duration: Family::new_with_constructor(duration_buckets),
            poll_failures: Family::default(),
            rows_open: Family::default(),
            evaluation_duration: duration_buckets(),
            rules: Gauge::default(),
            rule_errors: Family::default(),
            rule_query_failures: Family::default(),
            slo_budget_left: Family::default(),
            slo_burn_rate: Family::default(),
            deliveries: Family::default(),
            deliveries_queued: Gauge::default(),
            state_bytes: Gauge::default(),
            state_writable: Gauge::default(),
            state_write_failures: Counter::default(),
            reloads: Family::default(),
            reload_successful: Gauge::default(),
            reload_timestamp: Gauge::default(),
        };
        own.register(version);
        // Both are there from the start, so that the first failure is an increase.
        for outcome in ["success", "failure"] {
            let _ = own.reloads.get_or_create(&ReloadLabels { outcome });
        }
        own
    }

    fn register(&mut self, version: &str) {
        let r = &mut self.registry;
        r.register("modelwatch_build", "Version of this binary", Info::new([("version", version.to_owned())]));
        let help = "Version of the Alertmanager whose API is served here";
        r.register("alertmanager_build", help, Info::new([("version", ALERTMANAGER_VERSION)]));
        r.register("modelwatch_source_up", "Whether the last poll of the source succeeded", self.source_up.clone());
        r.register("modelwatch_source_lag_seconds", "How far what is counted is behind the clock", self.source_lag.clone());
        r.register("modelwatch_poll_duration_seconds", "Duration of polls", self.poll_duration.clone());
        r.register("modelwatch_poll_failures", "Polls that failed", self.poll_failures.clone());
        r.register("modelwatch_rows_open", "Rows that are not finished", self.rows_open.clone());
        r.register(
            "modelwatch_evaluation_duration_seconds",
            "Duration of evaluations of all rules that were due",
            self.evaluation_duration.clone(),
        );
        r.register("modelwatch_rules", "Rules that are loaded", self.rules.clone());
        r.register("modelwatch_rule_errors", "Evaluations of a rule that failed", self.rule_errors.clone());
        let help = "Queries of a rule that a source could not answer";
        r.register("modelwatch_rule_query_failures", help, self.rule_query_failures.clone());
        let help = "Share of the error budget of the period that is left";
        r.register(SLO_BUDGET_LEFT, help, self.slo_budget_left.clone());
        r.register(SLO_BURN_RATE, "How many times too fast the error budget is used", self.slo_burn_rate.clone());
        r.register("modelwatch_deliveries", "Attempts to deliver a notification", self.deliveries.clone());
        r.register("modelwatch_deliveries_queued", "Deliveries that wait", self.deliveries_queued.clone());
        r.register("modelwatch_state_bytes", "Size of the state file", self.state_bytes.clone());
        r.register(
            "modelwatch_state_writable",
            "Whether the state could be written at the last attempt",
            self.state_writable.clone(),
        );
        r.register(
            "modelwatch_state_write_failures",
            "Attempts to write the state that failed",
            self.state_write_failures.clone(),
        );
        r.register("modelwatch_config_reloads", "Times that the configuration was read again", self.reloads.clone());
        r.register(
            "modelwatch_config_last_reload_successful",
            "Whether the last reload succeeded",
            self.reload_successful.clone(),
        );
        let help = "When the configuration was last read successfully";
        r.register("modelwatch_config_last_reload_success_timestamp_seconds", help, self.reload_timestamp.clone());
    }

    /// A reload ended, at an instant in seconds since 1970.
    pub fn reloaded(&self, successful: bool, at: f64) {
        let outcome = if successful { "success" } else { "failure" };
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
        self.reload_successful.set(i64::from(successful));
        if successful {
            self.reload_timestamp.set(at);
        }
    }

    /// Drops what is known for each source and rule, before another configuration names them anew.
    pub fn forget_configuration(&self) {
        self.source_up.clear();
        self.source_lag.clear();
        self.rows_open.clear();
        self.slo_budget_left.clear();
        self.slo_burn_rate.clear();
    }

    /// Takes a number of a rule.
    pub fn set_of_rule(&self, gauge: &rule::Gauge) {
        let family = match gauge.name {
            SLO_BUDGET_LEFT => &self.slo_budget_left,
            SLO_BURN_RATE => &self.slo_burn_rate,
            _ => return,
        };
        let labels = gauge.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        family.get_or_create(&labels).set(gauge.value);
    }

    /// In OpenMetrics, without its end.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus::encoding::text::encode_registry(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rules_are_exported_until_the_configuration_changes() {
        let own = Own::new("0");
        let labels = [("rule", "g/A"), ("model", "o3")].into_iter().collect();
        own.set_of_rule(&rule::Gauge { name: SLO_BUDGET_LEFT, labels, value: -0.5 });
        let line = "modelwatch_slo_budget_left_ratio{model=\"o3\",rule=\"g/A\"} -0.5\n";
        assert!(own.encode().contains(line), "{}", own.encode());
        own.forget_configuration();
        assert!(!own.encode().contains(line));
    }
}
