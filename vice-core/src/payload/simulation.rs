//! What a simulation found out: the one value that the simulator fills, `--format json` prints and reports draw.
//!
//! It owns the shape and nothing else: no statistics are computed here and nothing is drawn. Its size does not grow with
//! the fleet or the number of runs. Units stand last in the names (`total_ms`, `exposure_server_hours`); probabilities
//! and shares lie in 0..=1; what may be unknown is absent, never zero. Every number is finite.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::propagation::Propagation;
use crate::digest::Digest;
use crate::id::{EnvName, ProjectName};

/// The name and version of this shape; the number grows when a field changes its meaning.
pub const SCHEMA: &str = "vice.simulation/1";

/// The answer of `vice pride simulate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
    /// The version that the plan goes to, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The hash of the plan that was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<Digest>,
    /// The rollout policy in a few words, such as `waves x4, bake 2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The seed; the same seed gives the same report.
    pub seed: u64,
    /// How many runs each story has.
    pub runs: u64,
    /// Exact, or the named approximation.
    pub mode: SimulationMode,
    /// What the figures rest on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<Assumption>,
    /// What was changed in it.
    pub fleet: Fleet,
    /// The stories, the healthy one first.
    pub stories: Vec<Story>,
    /// Two policies on the same random numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<PolicyComparison>,
    /// Time against impact over ramp speeds and bakes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pareto: Option<Pareto>,
    /// What a reader must know before they trust the figures, as whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How it was simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SimulationMode {
    /// Every event through the engine that real rollouts use.
    Exact,
    /// The approximation, checked against the exact mode.
    Fast,
}

/// One figure that the simulation was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assumption {
    /// Where it can be set, such as `model.install` or `model.bug.any.hazard`.
    pub key: String,
    /// Its value as people write it.
    pub value: String,
    /// Where it comes from.
    pub source: AssumptionSource,
    /// What it rests on or means, in a few words, such as `12 rollouts since March`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssumptionSource {
    /// Nobody said it: a default.
    Assumed,
    /// The manifest.
    Manifest,
    /// Past rollouts.
    History,
}

/// The fleet, small enough to read for a million servers: the nodes stop above the servers and are summed when there
/// are too many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// How many units it has.
    pub units: u64,
    /// The names of the levels from the root to the units, such as `region`, `rack`, `server`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<String>,
    /// The tree without its units, parents before children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<FleetNode>,
    /// The environment classes with their sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Named>,
    /// The upgrade domains with their sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Named>,
    /// What was summed so that this stays small, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregated: Option<String>,
}

/// A node of the topology: its units are `first..last`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetNode {
    /// Its own name, without its parents'.
    pub name: String,
    /// Its level, an index into [`Fleet::levels`].
    pub level: u16,
    /// Its parent, an index into [`Fleet::nodes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Its first unit.
    pub first: u32,
    /// One past its last unit.
    pub last: u32,
}

/// A name with a number of units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// The name.
    pub name: String,
    /// How many units.
    pub units: u64,
}

/// The distribution of one figure over the runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// The mean.
    pub mean: f64,
    /// 5 % are at most this.
    pub p5: f64,
    /// 25 % are at most this.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// 75 % are at most this.
    pub p75: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
}

/// A probability and how well it is known. A count `k` of `n` with its exact binomial interval where it was counted;
/// the value alone where it was integrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probability {
    /// The estimate.
    pub value: f64,
    /// In how many runs it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<u64>,
    /// Of how many runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The lower end of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lo: Option<f64>,
    /// The upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hi: Option<f64>,
}

/// How many runs fell between which edges: `counts[i]` lie in `edges[i]..edges[i + 1]`, the last edge included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// Ascending, one more than there are counts.
    pub edges: Vec<f64>,
    /// The counts.
    pub counts: Vec<u64>,
}

/// Whether the release of a story is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoryKind {
    /// It has no bug.
    Healthy,
    /// It has one.
    Unhealthy,
}

/// One kind of release, rolled out many times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// Its name: `healthy`, `unhealthy`, or a bug's.
    pub name: String,
    /// Whether its release is good.
    pub kind: StoryKind,
    /// What is wrong with it, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The chance that a release is of this kind; only of an unhealthy story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// How the runs ended.
    pub outcomes: Vec<EndCount>,
    /// From the start to the end, the way back included. Runs of [`Story::unfinished`] count as later than all others: a
    /// quantile that they reach is [`Unfinished::after_ms`] and means "more than that", and so does the mean.
    pub total_ms: Quantiles,
    /// The runs that were not over; absent where all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// Below which no schedule can come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<LowerBound>,
    /// The waves in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveFigures>,
    /// When the bug is found; only in an unhealthy story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Units times hours on the new release until it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_server_hours: Option<Quantiles>,
    /// What the bug did until the last unit was back, in [`Story::impact_unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Quantiles>,
    /// What impact is counted in, such as `bad requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_unit: Option<String>,
    /// How often a good release is rolled back; only in a healthy story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<Probability>,
    /// What units waited for, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bottlenecks: Vec<Bottleneck>,
    /// How the total time is distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms_histogram: Option<Histogram>,
    /// How the exposure is distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_server_hours_histogram: Option<Histogram>,
    /// One run of it as a picture: the one whose time is nearest to the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
}

/// How a simulated rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SimulatedEnd {
    /// Every unit runs the new release. In an unhealthy story the bug got through.
    Completed,
    /// It went back.
    RolledBack,
    /// It stands still until somebody decides.
    NeedsHuman,
    /// It failed and could not go back.
    NotRestored,
    /// It was not over at the end of the simulated time.
    CutOff,
}

impl SimulatedEnd {
    /// Whether it was not over: it stood still, or the simulated time was.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::NeedsHuman | Self::CutOff)
    }
}

/// Runs that stood still for a person who never came, or were not over at the end of the simulated time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unfinished {
    /// How many.
    pub runs: u64,
    /// Of how many.
    pub of: u64,
    /// The end of the simulated time, after the start: they take longer.
    pub after_ms: f64,
    /// For what they waited then, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
}

/// For what runs waited that were not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// For what, as a noun such as `the bake of wave 1`.
    pub what: String,
    /// How many runs.
    pub runs: u64,
}

/// How many runs ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndCount {
    /// In which.
    pub end: SimulatedEnd,
    /// How many.
    pub runs: u64,
}

/// The analytic lower bound of the mean time, and how far the simulated one is from it. Single runs, and with a skewed law
/// the median of all, may lie below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LowerBound {
    /// The bound: the mean time of no schedule is below it.
    pub total_ms: f64,
    /// The median of the simulated time over the bound; below 1 where the law is skewed.
    pub gap: f64,
    /// The mean of the simulated time that the bound is one of: of the runs in which every unit was placed and nobody ended a
    /// wave before its time. Absent where there are none, or some were not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_ms: Option<f64>,
    /// The standard error of that mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_error_ms: Option<f64>,
    /// That mean over the bound: below 1 only by chance, within a few standard errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_gap: Option<f64>,
    /// The constraint that makes the bound, such as `max_down of eu/dc1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
}

/// One wave over the runs that reached it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaveFigures {
    /// Which, from 1.
    pub wave: u32,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many units it changes.
    pub units: u64,
    /// How many units are on the new release after it.
    pub units_after: u64,
    /// The new release's share of the traffic after it, where weights say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// In how many of the runs it began, 0..=1.
    pub reached: f64,
    /// In how many it ended, 0..=1; what is between went back in it, or was not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<f64>,
    /// When it begins, after the start.
    pub start_ms: Quantiles,
    /// When it ends, its bake included; where the rollout was not over in it, later than all others, as in
    /// [`Story::total_ms`].
    pub end_ms: Quantiles,
    /// With which probability the bug is still unfound after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_unfound_after: Option<f64>,
    /// The mean exposure until its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_server_hours: Option<f64>,
}

/// When the bug is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// With which probability it is found before a share of the fleet has the new release: 1, 10 and 50 %.
    pub before: Vec<FoundBefore>,
    /// Found before 10 % of the fleet.
    pub early: f64,
    /// Found between 10 and 50 %.
    pub middle: f64,
    /// Found after 50 %.
    pub late: f64,
    /// Not found while it was rolled out.
    pub never: Probability,
    /// When it is found, after the start, in the runs in which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<Quantiles>,
}

/// The probability to have found it before a share of the fleet was touched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundBefore {
    /// The share of the fleet, 0..=1.
    pub fleet_share: f64,
    /// The probability.
    pub probability: Probability,
}

/// What units waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bottleneck {
    /// The constraint, wave or task.
    pub constraint: String,
    /// Its part of all waiting, 0..=1.
    pub waited_share: f64,
    /// How long the mean unit waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
}

/// Two policies on the same random numbers, so that their difference is known better than either.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyComparison {
    /// The first policy.
    pub a: String,
    /// The second.
    pub b: String,
    /// How many pairs of runs.
    pub runs: u64,
    /// The level of the intervals, such as 0.95.
    pub level: f64,
    /// What was compared.
    pub rows: Vec<ComparedFigure>,
}

/// One figure of both policies with the paired difference `b - a`. Times are those of the pairs in which both rollouts were over;
/// where some were not, `p_unfinished` says how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedFigure {
    /// What it is: the name of a field of [`Story`], unit last, such as `total_ms` or `p_found`. A name that begins
    /// with `p_` is a probability.
    pub figure: String,
    /// In which story.
    pub story: String,
    /// The mean with the first policy.
    pub a: f64,
    /// The mean with the second.
    pub b: f64,
    /// The mean of the paired differences.
    pub difference: f64,
    /// The lower end of its interval.
    pub lo: f64,
    /// The upper end.
    pub hi: f64,
}

/// Time against impact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pareto {
    /// What was tried.
    pub points: Vec<ParetoPoint>,
    /// What impact is counted in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_unit: Option<String>,
    /// The policy of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<ParetoPoint>,
    /// The one whose whole cost is least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<ParetoPoint>,
    /// What the square-root law says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub square_root_law: Option<SquareRootLaw>,
}

/// One policy of the search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParetoPoint {
    /// How many times larger each wave is than the one before.
    pub growth: f64,
    /// How long each wave bakes.
    pub bake_ms: f64,
    /// The median time of a healthy rollout.
    pub time_ms: f64,
    /// The mean impact of an unhealthy one.
    pub impact: f64,
    /// Its 99 % quantile.
    pub impact_p99: f64,
    /// Whether no other point is both faster and less harmful.
    pub efficient: bool,
}

/// The optimum of an exponential ramp: g* = sqrt(h c_T ln(N/n0) / (P c_I (delta + rho))).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SquareRootLaw {
    /// g*, by the formula.
    pub growth_per_hour: f64,
    /// The same by numeric minimisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric_growth_per_hour: Option<f64>,
    /// The time that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<f64>,
    /// The impact to expect of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<f64>,
}

/// What the simulator said before a rollout began: small enough to be stored with it, so that the report can set it
/// against what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Forecast {
    /// The seed.
    pub seed: u64,
    /// How many runs.
    pub runs: u64,
    /// Exact or fast.
    pub mode: SimulationMode,
    /// How many of the figures that it rests on are assumed.
    #[serde(default)]
    pub assumed: u32,
    /// How long a healthy rollout takes; see [`Story::total_ms`].
    pub total_ms: Quantiles,
    /// The runs that were not over; absent where all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// How often a good release is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<Probability>,
    /// The waves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<ForecastWave>,
}

/// What was expected of one wave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForecastWave {
    /// Which, from 1.
    pub wave: u32,
    /// When it ends, after the start.
    pub end_ms: Quantiles,
    /// With which probability a bug would still be unfound after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_unfound_after: Option<f64>,
}

impl SimulationReport {
    /// The unhealthy stories with how likely each is among them; the weights sum to 1. Alike where nobody says.
    #[must_use]
    pub fn unhealthy(&self) -> Vec<(&Story, f64)> {
        let bad = || self.stories.iter().filter(|story| story.kind == StoryKind::Unhealthy);
        let count = f64::from(u32::try_from(bad().count()).unwrap_or(u32::MAX));
        let total: f64 = bad().filter_map(|story| story.probability).sum();
        let said = total > 0.0 && bad().all(|story| story.probability.is_some());
        bad().map(|story| (story, if said { story.probability.unwrap_or(0.0) / total } else { 1.0 / count })).collect()
    }

    /// With which probability a bug is still unfound after a wave, whichever of the bugs it is.
    #[must_use]
    pub fn unfound_after(&self, wave: u32) -> Option<f64> {
        let of = |story: &Story| story.waves.iter().find(|figures| figures.wave == wave)?.p_unfound_after;
        let all = self.unhealthy();
        let known: Vec<f64> = all.iter().filter_map(|(story, weight)| Some(of(story)? * weight)).collect();
        (!all.is_empty() && known.len() == all.len()).then(|| known.iter().sum::<f64>().min(1.0))
    }

    /// What is stored with a rollout: times of the healthy story, and what the unhealthy ones say of each wave.
    /// None when there is no healthy story.
    #[must_use]
    pub fn forecast(&self) -> Option<Forecast> {
        let healthy = self.stories.iter().find(|story| story.kind == StoryKind::Healthy)?;
        let wave = |figures: &WaveFigures| ForecastWave {
            wave: figures.wave,
            end_ms: figures.end_ms,
            p_unfound_after: self.unfound_after(figures.wave),
        };
        let assumed = self.assumptions.iter().filter(|one| one.source == AssumptionSource::Assumed).count();
        Some(Forecast {
            seed: self.seed,
            runs: self.runs,
            mode: self.mode,
            assumed: u32::try_from(assumed).unwrap_or(u32::MAX),
            total_ms: healthy.total_ms,
            unfinished: healthy.unfinished.clone(),
            false_rollback: healthy.false_rollback,
            waves: healthy.waves.iter().map(wave).collect(),
        })
    }
}
