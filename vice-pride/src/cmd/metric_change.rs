//! What a policy file changes of metrics: its `[metric.NAME]` tables, which `replay` and `simulate` read alike, so that one
//! file serves both.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Table;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::judge::{Analysis, MetricPlan};

/// What a policy changes of one metric: how it judges, never where its numbers come from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricChange {
    critical: Option<bool>,
    weight: Option<f64>,
    margin: Option<f64>,
    slo: Option<f64>,
    floor: Option<f64>,
    bursty: Option<bool>,
}

impl MetricChange {
    pub(super) fn apply(&self, metric: &mut MetricPlan) {
        metric.critical = self.critical.unwrap_or(metric.critical);
        metric.weight = self.weight.unwrap_or(metric.weight);
        metric.margin = self.margin.unwrap_or(metric.margin);
        metric.slo = self.slo.or(metric.slo);
        // As in `vice.toml`, 0 means that no rate is negligible.
        metric.floor = self.floor.or(metric.floor).filter(|floor| *floor > 0.0);
        metric.bursty = self.bursty.unwrap_or(metric.bursty);
    }
}

/// Takes the tables out of a policy; what stays are keys of `[env.NAME.rollout]`.
///
/// # Errors
/// What is unknown or of another kind.
pub(super) fn take(policy: &mut Table) -> std::result::Result<BTreeMap<String, MetricChange>, toml::de::Error> {
    policy.remove("metric").map_or_else(|| Ok(BTreeMap::new()), toml::Value::try_into)
}

/// What a policy makes of an analysis, if its numbers make sense together; `name` is what the policy is called.
///
/// # Errors
/// `Usage` with the first key that does not.
pub(super) fn sensible(analysis: Analysis, name: &str) -> Result<Analysis> {
    match analysis.problems().into_iter().next() {
        None => Ok(analysis),
        Some(problem) => {
            let message = format!("{name} makes no sense: `{}`: {}", problem.key, problem.message);
            Err(Fault::new(Code::Usage, message))
        }
    }
}
