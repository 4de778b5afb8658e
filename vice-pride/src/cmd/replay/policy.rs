//! The policy to replay under: keys of `[env.NAME.rollout]` and `[metric.NAME]` that judge, from a file and from the
//! command line, laid over the analysis that a rollout had.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};
use vice_core::manifest::RolloutSpec;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::judge::{Analysis, MetricPlan};

use crate::cmd::metric_change::{self, MetricChange};
use crate::text_file;

/// The keys of `[env.NAME.rollout]` that change what the judge says of readings that are there already.
const JUDGING: [&str; 8] =
    ["metrics", "error_ratio_max", "excess_errors_max", "alpha", "beta", "interval", "blind_after", "patience"];

/// A policy file is as long as a section of `vice.toml`.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    spec: RolloutSpec,
    metrics: BTreeMap<String, MetricChange>,
    /// Keys that say nothing to a judge, so that they change nothing here.
    pub(super) ignored: Vec<String>,
    /// Where it comes from, for people.
    pub(super) name: String,
}

impl Policy {
    /// Reads a file, if there is one, and lays `KEY=VALUE`s over it.
    ///
    /// # Errors
    /// `Io`; `Usage` for what does not parse or is unknown.
    pub(super) fn read(dir: &Path, file: Option<&str>, set: &[String]) -> Result<Self> {
        let mut table = match file {
            Some(file) => from_file(dir, file)?,
            None => Table::new(),
        };
        set.iter().try_for_each(|pair| put(&mut table, pair))?;
        let name = match (file, set.len()) {
            (None, 0) => "the policy as recorded".to_owned(),
            (Some(file), 0) => file.to_owned(),
            (None, _) => set.join(", "),
            (Some(file), _) => format!("{file}, {}", set.join(", ")),
        };
        Self::of(table, name)
    }

    fn of(mut table: Table, name: String) -> Result<Self> {
        let metrics = metric_change::take(&mut table).map_err(|error| refused(&name, "[metric.NAME]", &error))?;
        let ignored = table.keys().filter(|key| !JUDGING.contains(&key.as_str())).cloned().collect();
        let spec: RolloutSpec = Value::Table(table).try_into().map_err(|error| refused(&name, "a policy", &error))?;
        spec.check().map_err(|(key, what)| Fault::new(Code::Usage, format!("In {name}, `{key}` {what}.")))?;
        Ok(Self { spec, metrics, ignored, name })
    }

    /// What `had` becomes under this policy.
    ///
    /// # Errors
    /// `Usage` for a metric that it does not have, and for numbers that make no sense together.
    pub(super) fn applied_to(&self, had: &Analysis) -> Result<Analysis> {
        let spec = &self.spec;
        let mut metrics = if spec.metrics.is_empty() {
            had.metrics.clone()
        } else {
            spec.metrics.iter().map(|name| known(had, name).cloned()).collect::<Result<_>>()?
        };
        for (name, change) in &self.metrics {
            known(had, name)?;
            metrics.iter_mut().filter(|metric| metric.name == *name).for_each(|metric| change.apply(metric));
        }
        let analysis = Analysis {
            alpha: spec.alpha.unwrap_or(had.alpha),
            beta: spec.beta.unwrap_or(had.beta),
            tolerance: spec.error_ratio_max.unwrap_or(had.tolerance),
            budget: spec.excess_errors_max.unwrap_or(had.budget),
            interval: spec.interval.unwrap_or(had.interval),
            blind_after: spec.blind_after.unwrap_or(had.blind_after),
            patience: spec.patience.or(had.patience),
            metrics,
            ..had.clone()
        };
        metric_change::sensible(analysis, &self.name)
    }
}

fn known<'a>(had: &'a Analysis, name: &str) -> Result<&'a MetricPlan> {
    let names = || had.metrics.iter().map(|metric| metric.name.as_str());
    had.metrics.iter().find(|metric| metric.name == name).ok_or_else(|| {
        let fault = Fault::new(Code::Usage, format!("The metric {name:?} was not recorded in this rollout."));
        match nearest(name, names()) {
            Some(near) => fault.hint(format!("Did you mean {near:?}?")),
            None => fault.hint(format!("Recorded are: {}.", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn from_file(dir: &Path, file: &str) -> Result<Table> {
    let text = text_file::read(&dir.join(file), file, FILE_BYTES_MAX)?;
    toml::from_str(&text).map_err(|error| refused(file, "TOML", &error))
}

fn refused(name: &str, what: &str, error: &toml::de::Error) -> Fault {
    Fault::new(Code::Usage, format!("{name} can't be read as {what}: {}.", error.message().trim_end_matches('.'))).hint(
        format!(
            "The keys that judge are {}, and [metric.NAME] with critical, weight, margin, slo, floor and bursty.",
            JUDGING.join(", ")
        ),
    )
}

/// Lays `a.b=VALUE` over the table. What is not TOML by itself, such as 20s, is a text.
fn put(table: &mut Table, pair: &str) -> Result<()> {
    let usage = || {
        Fault::new(Code::Usage, format!("--set wants KEY=VALUE, and got {pair:?}."))
            .hint("For example: --set alpha=0.001, or --set metric.errors.margin=1.25.")
    };
    let (key, value) = pair.split_once('=').ok_or_else(usage)?;
    let value = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .filter(|parsed| parsed.len() == 1)
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let mut place = table;
    let mut names = key.trim().split('.').peekable();
    while let Some(name) = names.next() {
        if name.is_empty() {
            return Err(usage());
        }
        if names.peek().is_none() {
            place.insert(name.to_owned(), value);
            break;
        }
        let inner = place.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        place = inner.as_table_mut().ok_or_else(usage)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vice_core::Millis;
    use vice_pride_engine::judge::MetricKind;

    use super::*;

    fn policy(set: &[&str]) -> Result<Policy> {
        let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
        Policy::read(Path::new("."), None, &set)
    }

    fn had() -> Analysis {
        Analysis { metrics: vec![MetricPlan::new("errors", MetricKind::Errors)], ..Analysis::default() }
    }

    #[test]
    fn what_is_set_is_laid_over_what_was() {
        let policy = policy(&["alpha=0.001", "interval=2m", "metric.errors.margin=1.25", "metric.errors.floor=0"]);
        let now = policy.unwrap().applied_to(&had()).unwrap();
        assert_eq!((now.alpha, now.interval, now.metrics[0].margin), (0.001, Millis(120_000), 1.25));
        assert_eq!((now.beta, now.metrics[0].floor), (had().beta, None), "what is not named stays");
    }

    #[test]
    fn keys_that_judge_nothing_are_named_and_unknown_ones_refused() {
        assert_eq!(policy(&["strategy=canary", "alpha=0.1"]).unwrap().ignored, ["strategy"]);
        for bad in ["alhpa=0.1", "metric.errors.marign=2", "alpha", "=1", "alpha=2", "metric.errors=1", "a..b=1"] {
            let fault = policy(&[bad]).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{bad}: {fault}");
        }
    }

    #[test]
    fn what_makes_no_sense_for_the_rollout_is_refused() {
        for bad in [&["metric.eror.margin=2"][..], &["metrics=[\"latency\"]"], &["metric.errors.margin=3"]] {
            let fault = policy(bad).unwrap().applied_to(&had()).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{bad:?}");
        }
    }
}
