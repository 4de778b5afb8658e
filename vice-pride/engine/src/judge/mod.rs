//! The judge: decides from counts whether the new release is worse than the old one, while the rollout runs.
//!
//! It owns the statistics of a rollout: the ratio e-process and what is built on it (restarts, strata, service level
//! objectives, several metrics, the sensor for untrustworthy metrics), the law that turns evidence into a traffic
//! share, forecasts, and two-sample comparisons ([`compare`]). It must not fetch a metric, read a clock, draw a random
//! number or know a unit or a wave: it sees windows of counts and answers with a [`Ruling`].
//!
//! `docs/judgement.md` has the method with its proof of validity and the measured tables.
//!
//! Reading order: `analysis`, `reading`, `kernel`, `bounds`, `metric`, `verdict`, `ramp`, `forecast`.

mod analysis;
mod bounds;
pub mod compare;
mod evidence;
mod exact;
#[cfg(test)]
mod exactness;
mod forecast;
mod kernel;
mod math;
mod metric;
mod mixture;
mod ramp;
mod rate;
mod reading;
mod verdict;

pub use analysis::{Analysis, AnalysisProblem, Grid, METRICS_MAX, MetricKind, MetricPlan, ProbePlan, Ramp};
pub use evidence::{Cause, Figure, JudgeEvidence, Missing, Ruling};
pub use forecast::{Expected, FORECAST_RATIOS, Forecast, Found, SharePath, forecast};
pub use kernel::Watch;
pub use ramp::{Feasibility, feasibility, first_share};
pub use reading::{Arm, LATENCY_THRESHOLDS, LEVELS, Reading};
pub use verdict::Judge;
