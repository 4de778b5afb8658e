//! One metric: turns its readings into batches, feeds them to its tests, and knows what was missing. It gives numbers;
//! what they mean for the rollout is decided in `verdict`.

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, Grid, MetricKind, MetricPlan};
use super::bounds::{Bounds, Plausible};
use super::evidence::Missing;
use super::kernel::{Batch, RatioTest, Side};
use super::math::{ln, log_add, log_sum, rate_high};
use super::rate::RateTest;
use super::reading::{Arm, LATENCY_THRESHOLDS, LEVELS, Reading};

/// Evidence for a difference between two halves of the old release at which a metric stops being trusted as it is.
const SENSOR_LIMIT: f64 = 20.0;

/// Beyond this dispersion a metric is not believed at all: its noise is not of the kind that dividing helps against.
const DISPERSION_MAX: f64 = 64.0;

/// The alternatives of the sensor: coarse, because it only has to notice gross mistakes.
const SENSOR_GRID: Grid = Grid { points: 12, low: 1.15, high: 8.0, lean: 0.0 };

/// Which thresholds of a latency metric must be proven before a promotion: p50, p90 and p99. One in a thousand is too
/// rare to prove anything in the time of a rollout; it still counts for a rollback.
const PROVEN_THRESHOLDS: usize = 3;

/// Of latencies the budget counts those beyond p99.
const BUDGETED_THRESHOLD: usize = 2;

/// How many bad events the recent rate of the old release is worth against those of one window.
const KNOWN_EVENTS: f64 = 20.0;

/// What a batch of a stratum of the old release still counts in its next one: about twenty are remembered.
const RECENT: f64 = 0.95;

/// A stratum that would have had so many exposures of the new release, by the share of all, and had none, is silent.
const EXPECTED_MIN: f64 = 3.0;

/// Stands for "no ratio is excluded from above".
const RATIO_UNKNOWN: f64 = 1e6;

/// What one count of a metric says: errors and health have one, latency four.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Count {
    worse: RatioTest,
    bounds: Bounds,
    #[serde(with = "super::exact::one")]
    canary_bad: f64,
    #[serde(with = "super::exact::one")]
    baseline_bad: f64,
}

/// The two releases against an absolute bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slo {
    canary: RateTest,
    baseline: RateTest,
}

/// How much the counts of the old release vary beyond chance, from neighbouring windows of the same stratum: a slow
/// change of the rate, such as a day's cycle, does not count as noise, nor do strata that differ for good.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Dispersion {
    #[serde(with = "super::exact::one")]
    squares: f64,
    #[serde(with = "super::exact::one")]
    pairs: f64,
}

/// What is remembered of one stratum. Strata have rates of their own, so that nothing here is pooled.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Stratum {
    canary_seen: u64,
    baseline_seen: u64,
    /// Exposures and bad events of the old release in recent batches.
    #[serde(with = "super::exact::one")]
    recent_seen: f64,
    #[serde(with = "super::exact::one")]
    recent_bad: f64,
    /// Exposures and bad events of the old release in the last batch that had any.
    #[serde(with = "super::exact::one")]
    last_seen: f64,
    #[serde(with = "super::exact::one")]
    last_bad: f64,
}

/// The state of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    counts: Vec<Count>,
    slo: Option<Slo>,
    /// Whether the new release's rate is below the floor, for each count that must be proven; none without a floor.
    negligible: Vec<RateTest>,
    sensor: Option<Box<(RatioTest, RatioTest)>>,
    dispersion: Option<Dispersion>,
    /// The divisor that the sensor asks for: doubled each time.
    #[serde(with = "super::exact::one")]
    doubled: f64,
    pub(crate) canary_seen: u64,
    pub(crate) baseline_seen: u64,
    /// Bad events beyond what the old release would have had; below zero by chance.
    #[serde(with = "super::exact::one")]
    pub(crate) excess: f64,
    /// By its number, as far as strata have been read.
    by_stratum: Vec<Stratum>,
    /// Exposures of both releases in the last window that had any.
    #[serde(with = "super::exact::one")]
    pub(crate) volume: f64,
    /// Windows in a row without usable figures.
    pub(crate) blind: u32,
    pub(crate) missing: Option<Missing>,
    /// The open window: the strata that have been read.
    strata: Vec<u16>,
    #[serde(with = "super::exact::one")]
    open_volume: f64,
    usable: bool,
    /// It has counts of the new release and none of the old one.
    alone: bool,
    complaint: Option<Missing>,
}

impl Metric {
    pub(crate) fn new(analysis: &Analysis, plan: &MetricPlan) -> Self {
        let restarts = analysis.restart.is_some();
        let count = || Count {
            worse: RatioTest::new(plan.margin, analysis.grid, restarts),
            bounds: Bounds::new(analysis.tolerance),
            canary_bad: 0.0,
            baseline_bad: 0.0,
        };
        let counts = if plan.kind == MetricKind::Latency { LATENCY_THRESHOLDS } else { 1 };
        let proven = counts.min(PROVEN_THRESHOLDS);
        let slo = |bound| Slo { canary: RateTest::above(bound, restarts), baseline: RateTest::above(bound, restarts) };
        Self {
            counts: (0..counts).map(|_| count()).collect(),
            slo: plan.slo.map(slo),
            negligible: plan.floor.map_or_else(Vec::new, |floor| vec![RateTest::below(floor); proven]),
            sensor: None,
            dispersion: plan.bursty.then(Dispersion::default),
            doubled: 1.0,
            canary_seen: 0,
            baseline_seen: 0,
            excess: 0.0,
            by_stratum: Vec::new(),
            volume: 0.0,
            blind: 0,
            missing: None,
            strata: Vec::new(),
            open_volume: 0.0,
            usable: false,
            alone: false,
            complaint: None,
        }
    }

    /// Takes in one reading of the open window.
    pub(crate) fn read(&mut self, plan: &MetricPlan, reading: &Reading) {
        match *reading {
            Reading::Counts { stratum, canary, baseline } => self.counts_read(plan, stratum, &canary, &baseline),
            Reading::Halves { stratum, left, right } => {
                if stratum < plan.strata && sound(plan.kind, &left) && sound(plan.kind, &right) {
                    self.halves(plan.kind, &left, &right);
                }
            }
            Reading::NoTraffic => self.complain(Missing::Traffic),
            Reading::NoSeries => self.complain(Missing::Series),
            Reading::Failed => self.complain(Missing::Source),
            Reading::Late => self.complain(Missing::Deadline),
        }
    }

    fn complain(&mut self, missing: Missing) {
        self.complaint = self.complaint.max(Some(missing));
    }

    fn counts_read(&mut self, plan: &MetricPlan, stratum: u16, canary: &Arm, baseline: &Arm) {
        // A stratum read twice would count its evidence twice.
        let new = self.strata.binary_search(&stratum);
        let (Err(at), true) = (new, stratum < plan.strata) else { return self.complain(Missing::Source) };
        if !sound(plan.kind, canary) || !sound(plan.kind, baseline) {
            return self.complain(Missing::Source);
        }
        self.strata.insert(at, stratum);
        self.open_volume += canary.seen as f64 + baseline.seen as f64;
        self.canary_seen = self.canary_seen.saturating_add(canary.seen);
        self.baseline_seen = self.baseline_seen.saturating_add(baseline.seen);
        match (canary.seen, baseline.seen) {
            (0, _) => self.complain(Missing::Traffic),
            (_, 0) => {
                self.complain(Missing::Baseline);
                self.alone = true;
            }
            _ => self.usable = true,
        }
        self.fold(plan.kind, usize::from(stratum), canary, baseline);
    }

    fn fold(&mut self, kind: MetricKind, stratum: usize, canary: &Arm, baseline: &Arm) {
        if self.by_stratum.len() <= stratum {
            self.by_stratum.resize(stratum + 1, Stratum::default());
        }
        let own = &mut self.by_stratum[stratum];
        own.canary_seen = own.canary_seen.saturating_add(canary.seen);
        own.baseline_seen = own.baseline_seen.saturating_add(baseline.seen);
        let dispersion = self.divisor();
        for (at, count) in self.counts.iter_mut().enumerate() {
            let batch = Batch { canary: side(kind, canary, at), baseline: side(kind, baseline, at) };
            count.canary_bad += batch.canary.bad;
            count.baseline_bad += batch.baseline.bad;
            count.worse.fold(&batch, dispersion);
            count.bounds.fold(&batch, dispersion);
        }
        let budgeted = if kind == MetricKind::Latency { BUDGETED_THRESHOLD } else { 0 };
        let batch = Batch { canary: side(kind, canary, budgeted), baseline: side(kind, baseline, budgeted) };
        if batch.compares() {
            let rate = self.by_stratum[stratum].rate_now(&batch.baseline);
            self.excess += batch.canary.bad - batch.canary.seen * rate;
        }
        if let Some(slo) = &mut self.slo {
            slo.canary.fold(&batch.canary, dispersion);
            slo.baseline.fold(&batch.baseline, dispersion);
        }
        for (at, test) in self.negligible.iter_mut().enumerate() {
            test.fold(&side(kind, canary, at), dispersion);
        }
        if let Some(own) = &mut self.dispersion {
            own.fold(&mut self.by_stratum[stratum], &batch.baseline);
        }
    }

    fn halves(&mut self, kind: MetricKind, left: &Arm, right: &Arm) {
        let fresh = || (RatioTest::new(1.0, SENSOR_GRID, false), RatioTest::new(1.0, SENSOR_GRID, false));
        let dispersion = self.divisor();
        let sensor = self.sensor.get_or_insert_with(|| Box::new(fresh()));
        // Of latencies p90 is looked at: frequent enough to notice anything.
        let at = usize::from(kind == MetricKind::Latency);
        let (left, right) = (side(kind, left, at), side(kind, right, at));
        sensor.0.fold(&Batch { canary: left, baseline: right }, dispersion);
        sensor.1.fold(&Batch { canary: right, baseline: left }, dispersion);
        if log_add(sensor.0.log_e(), sensor.1.log_e()) - ln(2.0) < ln(SENSOR_LIMIT) {
            return;
        }
        **sensor = fresh();
        // Beyond the limit the metric is given up, and there is nothing left to divide.
        self.doubled = (self.doubled * 2.0).min(DISPERSION_MAX);
        self.doubt();
    }

    /// All evidence so far is worth half of what it was taken for.
    fn doubt(&mut self) {
        for count in &mut self.counts {
            count.worse.halve();
            count.bounds.halve();
        }
        if let Some(slo) = &mut self.slo {
            slo.canary.halve();
            slo.baseline.halve();
        }
        self.negligible.iter_mut().for_each(RateTest::halve);
    }

    /// Closes the window. `restart`: copies of the tests start now.
    pub(crate) fn close(&mut self, restart: bool) {
        if self.usable {
            (self.blind, self.missing) = (0, self.silent_stratum());
        } else if self.alone && self.may_be_proven_alone() {
            // It is not blind, and yet there is nothing to compare with.
            (self.blind, self.missing) = (0, Some(Missing::Baseline));
        } else {
            self.blind = self.blind.saturating_add(1);
            self.missing = self.complaint.or(Some(Missing::Reading));
        }
        if self.open_volume > 0.0 {
            self.volume = self.open_volume;
        }
        (self.usable, self.alone, self.complaint, self.open_volume) = (false, false, None, 0.0);
        self.strata.clear();
        if restart {
            self.counts.iter_mut().for_each(|count| count.worse.restart());
            if let Some(slo) = &mut self.slo {
                slo.canary.restart();
                slo.baseline.restart();
            }
        }
    }

    /// What a stratum lacks that has had none of the new release's traffic although it should have: whatever the others say,
    /// nobody knows how the release does there.
    fn silent_stratum(&self) -> Option<Missing> {
        if self.baseline_seen == 0 {
            return None;
        }
        let part = self.canary_seen as f64 / self.baseline_seen as f64;
        let silent = |one: &Stratum| one.canary_seen == 0 && one.baseline_seen as f64 * part >= EXPECTED_MIN;
        self.by_stratum.iter().any(silent).then_some(Missing::Stratum)
    }

    /// Whether the new release can be proven without the old one: it seems to stay below a rate that is negligible. That it
    /// does not break an absolute bound ends nothing.
    fn may_be_proven_alone(&self) -> bool {
        !self.negligible.is_empty() && self.negligible.iter().all(|test| test.log_e() > 0.0)
    }

    /// An operator lets it go on although it was blind.
    pub(crate) fn look_again(&mut self) {
        self.blind = 0;
    }

    /// By how much the evidence of the next batch is divided. It depends on the past only, so validity is kept.
    pub(crate) fn divisor(&self) -> f64 {
        self.doubled * self.dispersion.map_or(1.0, Dispersion::estimate)
    }

    /// The logarithm of the evidence that the release is worse than the old one: the mean over the counts.
    fn log_ratio_e(&self) -> f64 {
        match self.counts.as_slice() {
            [one] => one.worse.log_e(),
            many => log_sum(many.iter().map(|count| count.worse.log_e())) - ln(many.len() as f64),
        }
    }

    /// What the metric says now. `alpha` is for the lower bound of the ratio, `beta` for the upper one.
    pub(crate) fn standing(&self, alpha: f64, beta: f64) -> Standing {
        let ratio_e = self.log_ratio_e();
        let slo_e = self.slo.as_ref().map(|slo| slo.canary.log_e());
        let shared_trouble = self.slo.as_ref().is_some_and(|slo| slo.baseline.log_e() >= ln(SENSOR_LIMIT));
        let log_e = match slo_e {
            // Trouble around both releases is no evidence against the new one.
            Some(_) if shared_trouble => ratio_e - ln(2.0),
            Some(slo) => log_add(ratio_e, slo) - ln(2.0),
            None => ratio_e,
        };
        let worst_at = self.worst();
        let worst = &self.counts[worst_at];
        // Of each count once: exponentials are most of what a look costs.
        let plausible: Vec<Plausible> = self.counts.iter().map(|count| count.bounds.plausible(alpha, beta)).collect();
        let shown = plausible[worst_at];
        let counted = plausible.get(BUDGETED_THRESHOLD).unwrap_or(&plausible[0]).high;
        let rate = |bad: f64, seen: u64| if seen > 0 { bad / seen as f64 } else { 0.0 };
        let baseline = rate(worst.baseline_bad, self.baseline_seen);
        Standing {
            log_e,
            log_proof: self.log_proof(&plausible),
            breaks_slo: !shared_trouble && slo_e.is_some_and(|slo| slo > ratio_e),
            shared_trouble,
            untrusted: self.doubled >= DISPERSION_MAX,
            spotless: self.counts.iter().all(|count| count.canary_bad + count.baseline_bad <= 0.0),
            bad: (worst.canary_bad, worst.baseline_bad),
            ratio_low: shown.low,
            ratio: if baseline > 0.0 { rate(worst.canary_bad, self.canary_seen) / baseline } else { 0.0 },
            ratio_high: shown.high.unwrap_or(RATIO_UNKNOWN),
            base_rate: self.base_rate(),
            counted_high: counted.unwrap_or_else(|| self.ratio_by_rate(beta)).min(self.ratio_of_all()),
        }
    }

    /// The highest plausible ratio while the ratio itself has no bound, as long as the old release has shown nothing
    /// bad: then the new release's own rate bounds what it can cost, which its good exposures bring down.
    fn ratio_by_rate(&self, beta: f64) -> f64 {
        let divisor = self.divisor();
        let high = rate_high(self.budgeted().canary_bad / divisor, self.canary_seen as f64 / divisor, beta);
        1.0 + high / self.base_rate()
    }

    /// The ratio at which everything would be bad. Where the old release has had no traffic its rate is a guess: then all
    /// that the new one gets is at stake.
    fn ratio_of_all(&self) -> f64 {
        if self.baseline_seen == 0 { 2.0 } else { 1.0 / self.base_rate() }
    }

    /// The logarithm of the evidence that the release may be promoted: that of the count which has least.
    fn log_proof(&self, plausible: &[Plausible]) -> f64 {
        let proof = |at: usize, ratio: f64| match self.negligible.get(at) {
            Some(test) => log_add(ratio, test.log_e()) - ln(2.0),
            None => ratio,
        };
        let counts = plausible.iter().take(PROVEN_THRESHOLDS).enumerate();
        counts.map(|(at, count)| proof(at, count.log_proof)).fold(f64::INFINITY, f64::min)
    }

    /// The place of the count that looks worst.
    fn worst(&self) -> usize {
        if self.counts.len() == 1 {
            return 0;
        }
        let looks = self.counts.iter().map(|count| count.worse.log_e()).enumerate();
        looks.reduce(|worst, one| if one.1 > worst.1 { one } else { worst }).map_or(0, |worst| worst.0)
    }

    /// The count that the budget limits.
    fn budgeted(&self) -> &Count {
        self.counts.get(BUDGETED_THRESHOLD).unwrap_or(&self.counts[0])
    }

    /// The old release's bad rate by what the budget counts, never 0.
    fn base_rate(&self) -> f64 {
        ((self.budgeted().baseline_bad + 1.0) / (self.baseline_seen as f64 + 1.0)).min(1.0)
    }
}

/// What a metric says after a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The logarithm of the evidence for a rollback.
    pub(crate) log_e: f64,
    /// The logarithm of the evidence for a promotion.
    pub(crate) log_proof: f64,
    /// Whether the absolute bound is the stronger reason for a rollback.
    pub(crate) breaks_slo: bool,
    /// Whether both releases break the bound.
    pub(crate) shared_trouble: bool,
    /// Whether the sensor has given the metric up.
    pub(crate) untrusted: bool,
    /// Whether nothing bad has happened at all.
    pub(crate) spotless: bool,
    /// Bad events of the count that looks worst: new release, old release.
    pub(crate) bad: (f64, f64),
    /// Its ratio: lowest plausible value, best guess (0 when unknown), highest plausible value.
    pub(crate) ratio_low: f64,
    pub(crate) ratio: f64,
    pub(crate) ratio_high: f64,
    /// The old release's bad rate by what the budget counts.
    pub(crate) base_rate: f64,
    /// The highest plausible ratio of what the budget counts; at first everything may fail.
    pub(crate) counted_high: f64,
}

impl Stratum {
    /// The old release's bad rate in this batch, drawn towards that of the last batches as if it had shown in
    /// [`KNOWN_EVENTS`] more events: a shared incident counts at once, the noise of a few events hardly, and a rate
    /// that moves slowly is followed.
    fn rate_now(&mut self, batch: &Side) -> f64 {
        self.recent_seen = self.recent_seen * RECENT + batch.seen;
        self.recent_bad = self.recent_bad * RECENT + batch.bad;
        let recent = (self.recent_bad + 0.5) / (self.recent_seen + 1.0);
        (batch.bad + KNOWN_EVENTS) / (batch.seen + KNOWN_EVENTS / recent)
    }
}

impl Dispersion {
    fn fold(&mut self, last: &mut Stratum, side: &Side) {
        if side.seen <= 0.0 {
            return;
        }
        if last.last_seen > 0.0 {
            let rate = (side.bad + last.last_bad) / (side.seen + last.last_seen);
            let spread = rate * (1.0 / side.seen + 1.0 / last.last_seen);
            let apart = side.bad / side.seen - last.last_bad / last.last_seen;
            if spread > 0.0 {
                self.squares += apart * apart / spread;
                self.pairs += 1.0;
            }
        }
        (last.last_seen, last.last_bad) = (side.seen, side.bad);
    }

    /// At first bad news is expected: bursts of eight, as if eight pairs of windows had shown them.
    fn estimate(self) -> f64 {
        ((self.squares + 64.0) / (self.pairs + 8.0)).max(1.0)
    }
}

/// Whether the counts can be true.
fn sound(kind: MetricKind, arm: &Arm) -> bool {
    match kind {
        MetricKind::Errors => u64::from(arm.bad[0]) <= arm.seen,
        MetricKind::Latency => {
            let counts = &arm.bad[..LATENCY_THRESHOLDS];
            u64::from(counts[0]) <= arm.seen && counts.windows(2).all(|pair| pair[0] >= pair[1])
        }
        MetricKind::Health => arm.bad.iter().map(|count| u64::from(*count)).sum::<u64>() <= arm.seen,
    }
}

/// Count `at` of an arm that is sound.
fn side(kind: MetricKind, arm: &Arm, at: usize) -> Side {
    let seen = arm.seen as f64;
    if kind != MetricKind::Health {
        return Side { seen, bad: f64::from(arm.bad[at]), levels: None };
    }
    let whole = Arm::health(arm.seen, arm.bad);
    let worst = (LEVELS - 1) as f64;
    let bad = whole.bad.iter().enumerate().map(|(level, count)| f64::from(*count) * level as f64 / worst).sum();
    Side { seen, bad, levels: Some(whole.bad) }
}
