//! The judge itself: closes windows and rules. It owns the order of precedence among reasons, the alarm with its
//! hysteresis, and the latch; the numbers come from `metric`, the share from `ramp`.

use serde::{Deserialize, Serialize};
use vice_core::payload::rollout::Verdict;

use super::analysis::{Analysis, METRICS_MAX, MetricKind, MetricPlan};
use super::evidence::{Cause, Figure, JudgeEvidence, Missing, Ruling};
use super::math::{exp, ln, log_add};
use super::metric::{Metric, Standing};
use super::ramp::{Exposure, room};
use super::reading::Reading;

/// Evidence below which an alarm can end.
const CALM: f64 = 2.0;

/// The judge of one rollout: all that it has seen, in bounded memory.
///
/// For each window call [`Judge::window`] for each metric and stratum, then [`Judge::close`] once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    metrics: Vec<Metric>,
    windows: u32,
    /// The highest evidence so far against each threshold, as the logarithm of its part: 0 is the threshold.
    #[serde(with = "super::exact::one")]
    peak: f64,
    /// Since an alarm: calm windows.
    alarm: Option<u32>,
    /// How many windows had been closed when patience last began.
    patient_from: u32,
    /// A rollback is for good.
    latched: Option<Cause>,
}

impl Eq for Judge {}

/// The strongest evidence for a rollback.
#[derive(Debug, Clone, Copy)]
struct Charge {
    /// The metric that gives most of it.
    metric: u16,
    log_e: f64,
    /// Rollback at this.
    limit: f64,
}

impl Judge {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(analysis: &Analysis) -> Self {
        let metrics = analysis.metrics.iter().take(METRICS_MAX).map(|plan| Metric::new(analysis, plan)).collect();
        Self { metrics, windows: 0, peak: f64::MIN, alarm: None, patient_from: 0, latched: None }
    }

    /// Takes in one reading of the open window. A metric that does not exist is ignored.
    pub fn window(&mut self, analysis: &Analysis, metric: u16, reading: Reading) {
        let at = usize::from(metric);
        if let (Some(metric), Some(plan)) = (self.metrics.get_mut(at), analysis.metrics.get(at)) {
            metric.read(plan, &reading);
        }
    }

    /// Closes the window and rules. `share`: the new release's share of the traffic while it lasted, 0 to 1.
    pub fn close(&mut self, analysis: &Analysis, share: f64) -> Ruling {
        self.windows = self.windows.saturating_add(1);
        let every = analysis.restart.map(|span| analysis.windows_in(span));
        let restart = every.is_some_and(|every| self.windows.is_multiple_of(every));
        // The restarts change no e-value, so the standing is that of the end of the window either way.
        self.metrics.iter_mut().for_each(|metric| metric.close(restart));
        let standings: Vec<Standing> =
            self.metrics.iter().map(|metric| metric.standing(analysis.alpha, analysis.beta)).collect();
        let charge = charge(analysis, &standings);
        self.peak = self.peak.max(charge.log_e - charge.limit);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let look = Look { analysis, standings: &standings, charge, share };
        let (verdict, cause, shown, halve) = self.decide(&look);
        let (next, room) = self.shares(&look, verdict, cause, halve);
        let alarmed = self.alarm.is_some();
        Ruling { verdict, cause, share: next, room, alarmed, evidence: self.evidence(&look, shown) }
    }

    /// Bad events beyond what the old release would have had, so far, by the metric that the budget counts most of; not
    /// below 0.
    #[must_use]
    pub fn excess_now(&self, analysis: &Analysis) -> f64 {
        budgeted(analysis, self.metrics.len()).map(|at| self.excess(at)).fold(0.0, f64::max)
    }

    /// Whether a rollback has been ruled. Only a new build or an operator begins anew, with a new judge.
    #[must_use]
    pub fn latched(&self) -> bool {
        self.latched.is_some()
    }

    /// An operator lets the rollout go on although nothing could be said: patience begins anew, and what was blind is waited
    /// for once more. What was learned stays.
    pub fn wait_longer(&mut self) {
        self.patient_from = self.windows;
        self.metrics.iter_mut().for_each(Metric::look_again);
    }

    /// Verdict, cause, the metric to show, and whether the share is to be halved.
    fn decide(&mut self, look: &Look<'_>) -> (Verdict, Cause, u16, bool) {
        let Some(weakest) = look.weakest() else { return (Verdict::Inconclusive, Cause::NoMetrics, 0, false) };
        if self.latched.is_none() {
            self.latched = self.rollback(look);
        }
        if let Some(cause) = self.latched {
            return (Verdict::Rollback, cause, cause.metric().unwrap_or(weakest), false);
        }
        let rising = self.sound_alarm(look);
        if let Some((verdict, cause)) = self.hindrance(look) {
            return (verdict, cause, cause.metric().unwrap_or(weakest), rising);
        }
        if self.alarm.is_none() && look.standings.iter().all(|one| look.is_proven(one)) {
            return (Verdict::Proceed, Cause::Proven, weakest, false);
        }
        if let Some(cause) = self.out_of_patience(look, weakest) {
            return (Verdict::Inconclusive, cause, weakest, rising);
        }
        let (cause, shown) = match self.alarm {
            Some(_) => (Cause::SoftAlarm { metric: look.charge.metric }, look.charge.metric),
            None if look.standings[usize::from(weakest)].spotless => (Cause::NoErrors { metric: weakest }, weakest),
            None => (Cause::Gathering, weakest),
        };
        (Verdict::Hold, cause, shown, rising)
    }

    fn rollback(&self, look: &Look<'_>) -> Option<Cause> {
        let Charge { metric, log_e, limit } = look.charge;
        if log_e >= limit {
            let slo = look.standings.get(usize::from(metric)).is_some_and(|one| one.breaks_slo);
            return Some(if slo { Cause::SloBroken { metric } } else { Cause::Worse { metric } });
        }
        let budget = look.analysis.budget;
        // Before the whole budget is spent, the evidence must not speak for the release: chance in a shared incident
        // spends as well.
        let spent = |at: &u16| {
            let (excess, one) = (self.excess(*at), look.standings[usize::from(*at)]);
            let early = excess >= look.analysis.ramp.stop * budget && one.log_e >= 0.0;
            (early || excess >= budget) && !one.untrusted
        };
        let found = look.budgeted().find(spent);
        found.map(|metric| Cause::BudgetSpent { metric })
    }

    fn excess(&self, at: u16) -> f64 {
        self.metrics.get(usize::from(at)).map_or(0.0, |metric| metric.excess.max(0.0))
    }

    /// Keeps the alarm; whether it began now.
    fn sound_alarm(&mut self, look: &Look<'_>) -> bool {
        if look.charge.log_e >= look.charge.limit / 2.0 && look.analysis.ramp.calm > 0 {
            return self.alarm.replace(0).is_none();
        }
        let quiet = look.charge.log_e < ln(CALM);
        self.alarm = self.alarm.and_then(|calm| {
            let calm = if quiet { calm + 1 } else { 0 };
            (calm < look.analysis.ramp.calm).then_some(calm)
        });
        false
    }

    /// What makes a proof impossible for now.
    fn hindrance(&self, look: &Look<'_>) -> Option<(Verdict, Cause)> {
        let standings = || (0u16..).zip(look.standings);
        if let Some((metric, _)) = standings().find(|(_, one)| one.untrusted) {
            return Some((Verdict::Inconclusive, Cause::Untrusted { metric }));
        }
        // Being below what is negligible needs nothing to compare with.
        let lacks =
            |at: u16, why: Missing| why != Missing::Baseline || !look.is_proven(&look.standings[usize::from(at)]);
        let numbered = (0u16..).zip(&self.metrics).filter(|(at, one)| one.missing.is_some_and(|why| lacks(*at, why)));
        // Of those that are blind for equally long the first one is named.
        if let Some((metric, one)) = numbered.max_by_key(|(at, one)| (one.blind, u16::MAX - at)) {
            let why = one.missing.unwrap_or(Missing::Reading);
            if one.blind >= look.analysis.blind_after {
                return Some((Verdict::Inconclusive, Cause::Blind { metric, why }));
            }
            return Some((Verdict::Hold, lack(metric, why)));
        }
        let shared = standings().find(|(_, one)| one.shared_trouble);
        shared.map(|(metric, _)| (Verdict::Hold, Cause::SharedTrouble { metric }))
    }

    fn out_of_patience(&self, look: &Look<'_>, metric: u16) -> Option<Cause> {
        let span = look.analysis.patience?;
        let one = look.standings[usize::from(metric)];
        let between = one.ratio_low > 1.0 || one.ratio >= look.analysis.tolerance;
        let cause = if between { Cause::Undecided { metric } } else { Cause::Underpowered { metric } };
        (self.windows - self.patient_from >= look.analysis.windows_in(span)).then_some(cause)
    }

    /// What share comes next, and what the budget has room for.
    fn shares(&self, look: &Look<'_>, verdict: Verdict, cause: Cause, halve: bool) -> (f64, f64) {
        let share = look.share;
        match verdict {
            Verdict::Proceed => return (1.0, 1.0),
            Verdict::Rollback => return (0.0, 0.0),
            Verdict::Hold | Verdict::Inconclusive => {}
        }
        if halve {
            return (share / 2.0, share / 2.0);
        }
        let volume = self.metrics.iter().map(|metric| metric.volume).fold(0.0, f64::max);
        let open = verdict == Verdict::Hold && matches!(cause, Cause::Gathering | Cause::NoErrors { .. });
        let silent = matches!(cause, Cause::NoTraffic { .. } | Cause::NoSeries { .. });
        if share <= 0.0 && volume > 0.0 && (silent || open) {
            // Without a first step there never is traffic, nor a series that counts it.
            let first = super::ramp::first_share(look.analysis, volume);
            return (first, first);
        }
        let rooms = look.budgeted().map(|at| room(look.analysis, self.exposure(look, at)));
        let room = rooms.fold(look.analysis.ramp.cap, f64::min);
        if !open {
            return (share.min(room.max(0.0)), share.min(room));
        }
        ((share * look.analysis.ramp.growth).min(room), room)
    }

    fn exposure(&self, look: &Look<'_>, at: u16) -> Exposure {
        let standing = look.standings[usize::from(at)];
        Exposure {
            volume: self.metrics[usize::from(at)].volume,
            base_rate: standing.base_rate,
            ratio_high: standing.counted_high,
            spent: self.excess(at),
        }
    }

    fn evidence(&self, look: &Look<'_>, shown: u16) -> JudgeEvidence {
        let (analysis, charge) = (look.analysis, look.charge);
        let base = JudgeEvidence {
            metric: shown,
            windows: self.windows,
            log_e: Figure::new(charge.log_e),
            log_e_limit: Figure::new(charge.limit),
            // The p-value of the whole family: at most alpha exactly when a threshold was reached.
            p_value: Figure::new((analysis.alpha * exp(-self.peak)).min(1.0)),
            log_proof_limit: Figure::new(-ln(analysis.beta)),
            share: Figure::new(look.share),
            budget: Figure::new(analysis.budget),
            ..JudgeEvidence::default()
        };
        let at = usize::from(shown);
        let (Some(metric), Some(one)) = (self.metrics.get(at), look.standings.get(at)) else { return base };
        JudgeEvidence {
            guilty: look.guilty(),
            blind: metric.blind,
            canary_seen: metric.canary_seen,
            canary_bad: Figure::new(one.bad.0),
            baseline_seen: metric.baseline_seen,
            baseline_bad: Figure::new(one.bad.1),
            log_proof: Figure::new(one.log_proof),
            ratio_low: Figure::new(one.ratio_low),
            ratio: Figure::new(one.ratio),
            ratio_high: Figure::new(one.ratio_high),
            base_rate: Figure::new(one.base_rate),
            dispersion: Figure::new(metric.divisor()),
            spent: Figure::new(metric.excess.max(0.0)),
            ..base
        }
    }
}

/// All that one ruling looks at.
struct Look<'a> {
    analysis: &'a Analysis,
    standings: &'a [Standing],
    charge: Charge,
    share: f64,
}

impl Look<'_> {
    /// The metric that is furthest from its proof.
    fn weakest(&self) -> Option<u16> {
        let proofs = (0u16..).zip(self.standings);
        proofs.min_by(|one, two| one.1.log_proof.total_cmp(&two.1.log_proof)).map(|(at, _)| at)
    }

    fn is_proven(&self, one: &Standing) -> bool {
        one.log_proof >= -ln(self.analysis.beta)
    }

    fn budgeted(&self) -> impl Iterator<Item = u16> {
        budgeted(self.analysis, self.standings.len())
    }

    /// The guilty metrics by e-BH: the largest k for which the k-th largest e-value is at least M / (alpha k).
    fn guilty(&self) -> u64 {
        let many = self.standings.len() as f64;
        let highest = self.standings.iter().map(|one| one.log_e).fold(f64::MIN, f64::max);
        if highest < -ln(self.analysis.alpha) {
            return 0;
        }
        let mut sorted: Vec<(f64, usize)> = self.standings.iter().map(|one| one.log_e).zip(0..).collect();
        sorted.sort_by(|one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
        let enough = |k: usize| sorted[k - 1].0 >= ln(many / (self.analysis.alpha * k as f64));
        let last = (1..=sorted.len()).rev().find(|k| enough(*k)).unwrap_or(0);
        sorted[..last].iter().fold(0, |set, (_, at)| set | (1 << at))
    }
}

/// The metrics whose bad events the budget counts: all but latencies, or all where there is nothing else.
fn budgeted(analysis: &Analysis, known: usize) -> impl Iterator<Item = u16> {
    let latency = |plan: &MetricPlan| plan.kind == MetricKind::Latency;
    let plans = &analysis.metrics;
    let only_latency = plans.iter().all(latency);
    let numbered = (0u16..).zip(plans).take(known);
    numbered.filter(move |(_, plan)| only_latency || !latency(plan)).map(|(at, _)| at)
}

/// The strongest evidence against its own threshold: each critical metric has a share of alpha of its own, the others
/// are averaged, which is valid however they depend on one another.
fn charge(analysis: &Analysis, standings: &[Standing]) -> Charge {
    let critical = analysis.metrics.iter().filter(|plan| plan.critical).count();
    let ordinary = standings.len().saturating_sub(critical);
    let groups = if critical > 0 && ordinary > 0 { 2.0 } else { 1.0 };
    let limit = -ln(analysis.alpha / groups);
    let weights: f64 = analysis.metrics.iter().filter(|plan| !plan.critical).map(|plan| plan.weight).sum();
    let mut strongest = Charge { metric: 0, log_e: f64::MIN, limit };
    let mut mean = Charge { metric: 0, log_e: f64::NEG_INFINITY, limit };
    let mut top = f64::MIN;
    for ((at, plan), standing) in (0u16..).zip(&analysis.metrics).zip(standings) {
        let log_e = if standing.untrusted { 0.0 } else { standing.log_e };
        if plan.critical {
            let limit = limit + ln(critical as f64);
            strongest = strongest.or(Charge { metric: at, log_e, limit });
        } else if plan.weight > 0.0 {
            let term = log_e + ln(plan.weight / weights);
            mean.log_e = log_add(mean.log_e, term);
            (mean.metric, top) = if term > top { (at, term) } else { (mean.metric, top) };
        }
    }
    if top > f64::MIN { strongest.or(mean) } else { strongest }
}

impl Charge {
    fn or(self, other: Self) -> Self {
        if other.log_e - other.limit > self.log_e - self.limit { other } else { self }
    }
}

fn lack(metric: u16, why: Missing) -> Cause {
    match why {
        Missing::Traffic => Cause::NoTraffic { metric },
        Missing::Baseline => Cause::NoBaseline { metric },
        Missing::Stratum => Cause::SilentStratum { metric },
        Missing::Series => Cause::NoSeries { metric },
        Missing::Source => Cause::SourceFailed { metric },
        Missing::Deadline | Missing::Reading => Cause::Late { metric },
    }
}
