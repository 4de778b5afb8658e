//! How a rollout is judged: the metrics of `vice.toml` and the knobs of `[env.NAME.rollout]` as the engine's analysis.

use std::collections::BTreeSet;

use vice_core::id::EnvName;
use vice_core::manifest::{MetricKind as Kind, MetricSpec, Project, RolloutSpec};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Millis, Result};
use vice_pride_engine::judge::{Analysis, MetricKind, MetricPlan, ProbePlan};

use crate::metric;

/// The length of a window when `interval` does not say: short enough to stop a bad release while it is small.
pub(crate) const INTERVAL: Millis = Millis(10_000);

/// How long a window is waited for when `lateness` does not say.
const LATENESS: Millis = Millis(5_000);

/// After so many windows without data the judge is blind, when `blind_after` does not say.
const BLIND_AFTER: u32 = 6;

/// A bad rate below this is negligible when the metric does not say: without any bound, a release under which nothing
/// bad ever happens could never be proven by a ratio.
const FLOOR: f64 = 0.001;

/// The analysis of an environment; none where no metric judges it.
///
/// # Errors
/// `UnknownName` for a metric that `rollout.metrics` names and nobody defines; `ManifestInvalid` for numbers that
/// make no sense together, at their place.
pub(crate) fn analysis(project: &Project, env: &EnvName) -> Result<Option<Analysis>> {
    let spec = &project.env(env)?.rollout;
    if !spec.strategy.needs_metric() && spec.metrics.is_empty() {
        return Ok(None);
    }
    let metrics = metrics(project, env, spec)?;
    if metrics.is_empty() {
        return Ok(None);
    }
    let default = Analysis::default();
    let analysis = Analysis {
        alpha: spec.alpha.unwrap_or(default.alpha),
        beta: spec.beta.unwrap_or(default.beta),
        tolerance: spec.error_ratio_max.unwrap_or(default.tolerance),
        budget: spec.excess_errors_max.unwrap_or(default.budget),
        interval: spec.interval.unwrap_or(INTERVAL),
        lateness: spec.lateness.unwrap_or(LATENESS),
        blind_after: spec.blind_after.unwrap_or(BLIND_AFTER),
        patience: spec.patience,
        probes: spec.probes.map(|each| ProbePlan { each }),
        metrics,
        ..default
    };
    match analysis.problems().into_iter().next() {
        None => Ok(Some(analysis)),
        Some(problem) => {
            let message = format!("The judgement of {env} makes no sense: `{}`: {}", problem.key, problem.message);
            Err(Fault::new(Code::ManifestInvalid, message).at(project.place(&["env", env.as_str(), "rollout"], "")))
        }
    }
}

/// The names of the metrics that judge a rollout.
pub(super) fn metric_names(analysis: &Analysis) -> BTreeSet<&str> {
    analysis.metrics.iter().map(|metric| metric.name.as_str()).collect()
}

/// Those of some metrics that can't tell two releases of one version apart: what is asked elsewhere without their names.
pub(super) fn blind_to_releases(project: &Project, env: &EnvName, names: &BTreeSet<&str>) -> Vec<String> {
    let blind = |metric: &MetricSpec| {
        !metric.front && !serde_json::to_string(metric).is_ok_and(|text| text.contains("{{release}}"))
    };
    let specs = metric::specs(project, env, false).into_iter();
    specs.filter(|(name, metric)| names.contains(name.as_str()) && blind(metric)).map(|(name, _)| name).collect()
}

fn metrics(project: &Project, env: &EnvName, spec: &RolloutSpec) -> Result<Vec<MetricPlan>> {
    let defined = metric::specs(project, env, false);
    if spec.metrics.is_empty() {
        return Ok(defined.iter().map(|(name, metric)| plan(name, metric)).collect());
    }
    let wanted = spec.metrics.iter().map(|name| {
        let found = defined.iter().find(|(other, _)| other == name);
        found.map(|(name, metric)| plan(name, metric)).ok_or_else(|| unknown(project, env, name, &defined))
    });
    wanted.collect()
}

fn unknown(project: &Project, env: &EnvName, name: &str, defined: &[(String, MetricSpec)]) -> Fault {
    let fault =
        Fault::new(Code::UnknownName, format!("`rollout.metrics` names {name:?}, and {env} has no such metric."))
            .at(project.place(&["env", env.as_str(), "rollout", "metrics"], ""));
    let known = || defined.iter().map(|(name, _)| name.as_str());
    match nearest(name, known()) {
        Some(near) => fault.hint(format!("Did you mean {near:?}?")),
        None if defined.is_empty() => fault.hint("Define it, for example:\n[metric.errors]\nfront = true"),
        None => fault.hint(format!("There are: {}.", known().collect::<Vec<_>>().join(", "))),
    }
}

fn plan(name: &str, spec: &MetricSpec) -> MetricPlan {
    let kind = match spec.kind {
        Kind::Errors => MetricKind::Errors,
        Kind::Latency => MetricKind::Latency,
        Kind::Health => MetricKind::Health,
    };
    let default = MetricPlan::new(name, kind);
    let floor = if kind == MetricKind::Latency { None } else { Some(spec.floor.unwrap_or(FLOOR)) };
    MetricPlan {
        critical: spec.critical,
        weight: spec.weight.unwrap_or(default.weight),
        margin: spec.margin.unwrap_or(default.margin),
        strata: u16::try_from(spec.strata.len()).unwrap_or(u16::MAX).max(1),
        slo: spec.slo,
        floor: floor.filter(|floor| *floor > 0.0),
        bursty: spec.bursty,
        ..default
    }
}
