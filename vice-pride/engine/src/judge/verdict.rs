//! The judge itself: closes windows and rules. It owns the order of precedence among reasons, the alarm with its
//! hysteresis, and the latch; the numbers come from `metric`, the share from `ramp`.

use serde::{Deserialize, Serialize};
use vice_core::payload::rollout::Verdict;

use super::analysis::{Analysis, METRICS_MAX, MetricKind};
use super::evidence::{Cause, Figure, JudgeEvidence, Missing, Ruling};
use super::math::{exp, ln, log_sum};
use super::metric::Metric;
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
    peak: Option<f64>,
    /// Since an alarm: calm windows.
    alarm: Option<u32>,
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
        Self { metrics, windows: 0, peak: None, alarm: None, latched: None }
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
        let charge = self.charge(analysis);
        self.metrics.iter_mut().for_each(|metric| metric.close(restart));
        self.peak = Some(self.peak.unwrap_or(f64::MIN).max(charge.log_e - charge.limit));
        self.rule(analysis, share.clamp(0.0, 1.0), charge)
    }

    /// Whether a rollback has been ruled. Only a new build or an operator begins anew, with a new judge.
    #[must_use]
    pub fn latched(&self) -> bool {
        self.latched.is_some()
    }

    fn rule(&mut self, analysis: &Analysis, share: f64, charge: Charge) -> Ruling {
        let Some(weakest) = self.weakest() else {
            return self.ruling(analysis, share, Verdict::Inconclusive, Cause::NoMetrics, charge, 0);
        };
        if self.latched.is_none() {
            self.latched = self.rollback(analysis, charge);
        }
        if let Some(cause) = self.latched {
            let shown = cause.metric().unwrap_or(weakest);
            return self.ruling(analysis, share, Verdict::Rollback, cause, charge, shown);
        }
        let rising = self.sound_alarm(analysis, charge);
        if let Some((verdict, cause)) = self.hindrance(analysis) {
            let shown = cause.metric().unwrap_or(weakest);
            return self.ruling(analysis, share, verdict, cause, charge, shown);
        }
        let proven = self.metrics.iter().all(|metric| metric.log_proof() >= -ln(analysis.beta));
        if self.alarm.is_some() {
            let cause = Cause::SoftAlarm { metric: charge.metric };
            let share = if rising { share / 2.0 } else { share };
            let (verdict, cause) = self.out_of_patience(analysis, weakest).unwrap_or((Verdict::Hold, cause));
            return self.ruling(analysis, share, verdict, cause, charge, charge.metric);
        }
        if proven {
            return self.ruling(analysis, share, Verdict::Proceed, Cause::Proven, charge, weakest);
        }
        let (verdict, cause) = self.undecided(analysis, weakest);
        self.ruling(analysis, share, verdict, cause, charge, weakest)
    }

    /// The strongest evidence against its own threshold: each critical metric has a share of alpha of its own, the
    /// others are averaged, which is valid however they depend on one another.
    fn charge(&self, analysis: &Analysis) -> Charge {
        let critical = analysis.metrics.iter().filter(|plan| plan.critical).count();
        let ordinary = self.metrics.len().saturating_sub(critical);
        let groups = if critical > 0 && ordinary > 0 { 2.0 } else { 1.0 };
        let mut strongest = Charge { metric: 0, log_e: f64::MIN, limit: -ln(analysis.alpha / groups) };
        let mut keep = |charge: Charge| {
            if charge.log_e - charge.limit > strongest.log_e - strongest.limit {
                strongest = charge;
            }
        };
        let weights: f64 = analysis.metrics.iter().filter(|plan| !plan.critical).map(|plan| plan.weight).sum();
        let mut terms = Vec::new();
        let mut top = (0, f64::MIN);
        for ((at, plan), metric) in (0u16..).zip(&analysis.metrics).zip(&self.metrics) {
            let log_e = if metric.untrusted() { 0.0 } else { metric.log_e() };
            if plan.critical {
                let limit = -ln(analysis.alpha / groups / critical as f64);
                keep(Charge { metric: at, log_e, limit });
            } else if plan.weight > 0.0 {
                let term = log_e + ln(plan.weight / weights);
                terms.push(term);
                top = if term > top.1 { (at, term) } else { top };
            }
        }
        if !terms.is_empty() {
            let limit = -ln(analysis.alpha / groups);
            keep(Charge { metric: top.0, log_e: log_sum(terms.iter().copied()), limit });
        }
        strongest
    }

    fn rollback(&self, analysis: &Analysis, charge: Charge) -> Option<Cause> {
        if charge.log_e >= charge.limit {
            let slo = self.metrics.get(usize::from(charge.metric)).is_some_and(Metric::breaks_slo);
            let metric = charge.metric;
            return Some(if slo { Cause::SloBroken { metric } } else { Cause::Worse { metric } });
        }
        let spent = |at: &u16| {
            let metric = &self.metrics[usize::from(*at)];
            metric.excess >= analysis.ramp.stop * analysis.budget && !metric.untrusted()
        };
        self.budgeted(analysis).find(spent).map(|metric| Cause::BudgetSpent { metric })
    }

    /// The metrics whose bad events the budget counts: all but latencies, or all where there is nothing else.
    fn budgeted(&self, analysis: &Analysis) -> impl Iterator<Item = u16> {
        let latency = |at: u16| analysis.metrics[usize::from(at)].kind == MetricKind::Latency;
        let all = 0..u16::try_from(self.metrics.len()).unwrap_or(0);
        let only_latency = all.clone().all(latency);
        let counted: Vec<u16> = all.filter(|at| only_latency || !latency(*at)).collect();
        counted.into_iter()
    }

    /// Keeps the alarm; whether it began now.
    fn sound_alarm(&mut self, analysis: &Analysis, charge: Charge) -> bool {
        if charge.log_e >= charge.limit / 2.0 {
            return self.alarm.replace(0).is_none();
        }
        self.alarm = self.alarm.and_then(|calm| {
            let calm = if charge.log_e < ln(CALM) { calm + 1 } else { 0 };
            (calm < analysis.ramp.calm).then_some(calm)
        });
        false
    }

    /// What makes a proof impossible for now.
    fn hindrance(&self, analysis: &Analysis) -> Option<(Verdict, Cause)> {
        let numbered = || (0u16..).zip(&self.metrics);
        if let Some((metric, _)) = numbered().find(|(_, one)| one.untrusted()) {
            return Some((Verdict::Inconclusive, Cause::Untrusted { metric }));
        }
        let blind =
            numbered().filter(|(_, one)| one.missing.is_some()).max_by_key(|(at, one)| (one.blind, u16::MAX - at));
        if let Some((metric, one)) = blind {
            let why = one.missing.unwrap_or(Missing::Reading);
            if one.blind >= analysis.blind_after {
                return Some((Verdict::Inconclusive, Cause::Blind { metric, why }));
            }
            return Some((Verdict::Hold, lack(metric, why)));
        }
        let shared = numbered().find(|(_, one)| one.shared_trouble());
        shared.map(|(metric, _)| (Verdict::Hold, Cause::SharedTrouble { metric }))
    }

    fn out_of_patience(&self, analysis: &Analysis, metric: u16) -> Option<(Verdict, Cause)> {
        let over = analysis.patience.is_some_and(|span| self.windows >= analysis.windows_in(span));
        over.then(|| {
            let (low, guess, _) = self.metrics[usize::from(metric)].ratio(analysis.alpha, analysis.beta);
            let between = low > 1.0 || guess >= analysis.tolerance;
            let cause = if between { Cause::Undecided { metric } } else { Cause::Underpowered { metric } };
            (Verdict::Inconclusive, cause)
        })
    }

    fn undecided(&self, analysis: &Analysis, weakest: u16) -> (Verdict, Cause) {
        if let Some(over) = self.out_of_patience(analysis, weakest) {
            return over;
        }
        let spotless = self.metrics[usize::from(weakest)].spotless();
        let cause = if spotless { Cause::NoErrors { metric: weakest } } else { Cause::Gathering };
        (Verdict::Hold, cause)
    }

    /// The metric that is furthest from its proof.
    fn weakest(&self) -> Option<u16> {
        let proofs = (0u16..).zip(self.metrics.iter().map(Metric::log_proof));
        proofs.min_by(|one, two| one.1.total_cmp(&two.1)).map(|(at, _)| at)
    }

    fn ruling(
        &self,
        analysis: &Analysis,
        share: f64,
        verdict: Verdict,
        cause: Cause,
        charge: Charge,
        shown: u16,
    ) -> Ruling {
        let frozen =
            matches!(verdict, Verdict::Inconclusive) || !matches!(cause, Cause::Gathering | Cause::NoErrors { .. });
        let rooms = self.budgeted(analysis).map(|at| room(analysis, self.exposure(analysis, at)));
        let room = rooms.fold(analysis.ramp.cap, f64::min);
        let (next, room) = match verdict {
            Verdict::Proceed => (1.0, 1.0),
            Verdict::Rollback => (0.0, 0.0),
            _ if frozen => (share, share),
            _ if share <= 0.0 => (room.min(super::ramp::first_share(analysis, self.volume())), room),
            _ => ((share * analysis.ramp.growth).min(room), room),
        };
        let evidence = self.evidence(analysis, share, charge, shown);
        Ruling { verdict, cause, share: next, room, evidence }
    }

    fn volume(&self) -> f64 {
        self.metrics.iter().map(|metric| metric.volume).fold(0.0, f64::max)
    }

    fn exposure(&self, analysis: &Analysis, at: u16) -> Exposure {
        let metric = &self.metrics[usize::from(at)];
        Exposure {
            volume: metric.volume,
            base_rate: metric.base_rate(),
            ratio_high: metric.ratio_high(analysis.beta),
            spent: metric.excess.max(0.0),
        }
    }

    /// The guilty metrics by e-BH: the largest k for which the k-th largest e-value is at least M / (alpha k).
    fn guilty(&self, analysis: &Analysis) -> u64 {
        let mut sorted: Vec<(f64, usize)> = self.metrics.iter().map(Metric::log_e).zip(0..).collect();
        sorted.sort_by(|one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
        let many = sorted.len() as f64;
        let enough = |k: usize| sorted[k - 1].0 >= ln(many / (analysis.alpha * k as f64));
        let last = (1..=sorted.len()).rev().find(|k| enough(*k)).unwrap_or(0);
        sorted[..last].iter().fold(0, |set, (_, at)| set | (1 << at))
    }

    fn evidence(&self, analysis: &Analysis, share: f64, charge: Charge, shown: u16) -> JudgeEvidence {
        let base = JudgeEvidence {
            metric: shown,
            windows: self.windows,
            log_e: Figure::new(charge.log_e),
            log_e_limit: Figure::new(charge.limit),
            // The p-value of the whole family: at most alpha exactly when a threshold was reached.
            p_value: Figure::new((analysis.alpha * exp(-self.peak.unwrap_or(0.0))).min(1.0)),
            log_proof_limit: Figure::new(-ln(analysis.beta)),
            share: Figure::new(share),
            budget: Figure::new(analysis.budget),
            ..JudgeEvidence::default()
        };
        let Some(metric) = self.metrics.get(usize::from(shown)) else { return base };
        let (low, guess, high) = metric.ratio(analysis.alpha, analysis.beta);
        let (canary_bad, baseline_bad) = metric.bad();
        JudgeEvidence {
            guilty: self.guilty(analysis),
            blind: metric.blind,
            canary_seen: metric.canary_seen,
            canary_bad: Figure::new(canary_bad),
            baseline_seen: metric.baseline_seen,
            baseline_bad: Figure::new(baseline_bad),
            log_proof: Figure::new(metric.log_proof()),
            ratio_low: Figure::new(low),
            ratio: Figure::new(guess),
            ratio_high: Figure::new(high),
            base_rate: Figure::new(metric.base_rate()),
            dispersion: Figure::new(metric.divisor()),
            spent: Figure::new(metric.excess.max(0.0)),
            ..base
        }
    }
}

fn lack(metric: u16, why: Missing) -> Cause {
    match why {
        Missing::Traffic => Cause::NoTraffic { metric },
        Missing::Baseline => Cause::NoBaseline { metric },
        Missing::Series => Cause::NoSeries { metric },
        Missing::Source => Cause::SourceFailed { metric },
        Missing::Deadline | Missing::Reading => Cause::Late { metric },
    }
}
