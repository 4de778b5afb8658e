//! What the new release is exposed to: shares of the traffic, the readings of metrics, and probe traffic.

use jiff::Timestamp;
use vice_core::id::Scope;
use vice_core::payload::ReleaseRef;
use vice_core::port::metric::{MetricArm, MetricReading, MetricWindow, ProbeArm, ProbeRequest};
use vice_core::port::target::{Weight, WeightTable};
use vice_core::{Code, Fault, Millis, Result};
use vice_pride_engine::judge::{Analysis, Arm, Reading};
use vice_pride_engine::{Input, OpNo, OpResult, WHOLE};

use super::analysis::metric_names;
use super::perform::{Answer, Performer, TEXT_CHARS_MAX};
use super::workload;
use crate::metric::Meters;

/// A reading in the engine's terms.
const fn engine_reading(reading: MetricReading) -> Reading {
    const fn arm(arm: MetricArm) -> Arm {
        Arm { seen: arm.seen, bad: arm.bad }
    }
    match reading {
        MetricReading::Counts { stratum, canary, baseline } => {
            Reading::Counts { stratum, canary: arm(canary), baseline: arm(baseline) }
        }
        MetricReading::Halves { stratum, left, right } => {
            Reading::Halves { stratum, left: arm(left), right: arm(right) }
        }
        MetricReading::NoTraffic => Reading::NoTraffic,
        MetricReading::NoSeries => Reading::NoSeries,
        MetricReading::Failed => Reading::Failed,
        MetricReading::Late => Reading::Late,
    }
}

/// How long probes for one window may take when nobody says how long a window is.
const PROBE_TIME: Millis = Millis(10_000);

/// A share of the traffic that nothing can give.
pub(super) fn cannot_split(scope: &Scope) -> Fault {
    Fault::new(Code::Unsupported, format!("The target of {scope} can't split traffic."))
        .hint("Use a strategy that exposes units, such as rolling or waves, or say amounts of units in `steps`.")
        .hint("Of several targets, each has to: a Kubernetes target does by its `traffic`.")
}

impl Performer {
    /// Brings a share into force, as the whole table.
    pub(super) async fn set_weights(&self, share: Option<u32>) -> Result<()> {
        let traffic = self.backend.traffic.as_ref().ok_or_else(|| cannot_split(&self.scope))?;
        let weights = match share {
            None => Vec::new(),
            Some(share) => self.table(share)?,
        };
        traffic.set_weights(&WeightTable { epoch: self.epoch, weights }).await
    }

    /// Both versions with their weights; one that gets nothing is left out, because it need not be there yet.
    fn table(&self, share: u32) -> Result<Vec<Weight>> {
        let before = self.plan.from.as_ref().ok_or_else(|| {
            Fault::new(Code::Usage, "Traffic can't be split before the first version runs.".to_owned())
        })?;
        let rest = WHOLE.saturating_sub(share);
        let to = &self.plan.to;
        let weight = |version: String, basis_points| Weight { version, basis_points };
        let both = [weight(before.name_beside(to), rest), weight(to.name_beside(before), share.min(WHOLE))];
        Ok(both.into_iter().filter(|weight| weight.basis_points > 0).collect())
    }

    /// Reads every metric over one window. Trouble of a source is a reading; that nothing can be read at all is said
    /// of every metric by the engine.
    pub(super) async fn measure(&self, op: OpNo, from: Timestamp, until: Timestamp) -> Answer {
        let (Some(analysis), Some(before)) = (self.plan.analysis.as_ref(), self.plan.from.as_ref()) else {
            return Answer::plain(Input::EffectDone { op, result: OpResult::Done });
        };
        let to = &self.plan.to;
        let window = MetricWindow { from, until, canary: to.name_beside(before), baseline: before.name_beside(to) };
        let mut meters = self.meters.lock().await;
        if meters.is_none() {
            match self.open_meters(analysis).await {
                Ok(opened) => *meters = Some(opened),
                Err(fault) => return self.answer(op, Err(fault)),
            }
        }
        let Some(meters) = meters.as_mut() else {
            return Answer::plain(Input::EffectDone { op, result: OpResult::Done });
        };
        let names: Vec<String> = meters.metrics().iter().map(|meter| meter.name.clone()).collect();
        let read = meters.read(&window).await;
        let mut answer = Answer::plain(Input::EffectDone { op, result: OpResult::Done });
        let mut notes = Vec::new();
        for (name, metered) in names.iter().zip(read) {
            let Some(place) = analysis.metrics.iter().position(|metric| metric.name == *name) else { continue };
            let metric = u16::try_from(place).unwrap_or(u16::MAX);
            answer.before.extend(metered.readings.into_iter().map(|reading| Input::Measured {
                op,
                metric,
                reading: engine_reading(reading),
            }));
            notes.extend(metered.notes);
        }
        if !notes.is_empty() {
            answer.text = Some(notes.join(" ").chars().take(TEXT_CHARS_MAX).collect());
        }
        answer
    }

    /// The metrics of this rollout, each where its last window left it.
    async fn open_meters(&self, analysis: &Analysis) -> Result<Meters> {
        let front = self.backend.front.clone();
        Meters::open(&self.app, &self.project, &self.scope, front, &self.run, &metric_names(analysis)).await
    }

    /// Sends requests of our own to both releases, spread over one window.
    pub(super) async fn probe(&self, each: u32) -> Result<()> {
        let inventory = self.backend.target.inventory().await?;
        let arm = |release: &ReleaseRef| {
            let runs =
                inventory.units.iter().filter(|unit| unit.release.as_ref().is_some_and(|has| has.runs_like(release)));
            ProbeArm { version: release.version.clone(), urls: runs.filter_map(|unit| unit.url.clone()).collect() }
        };
        let Some(before) = self.plan.from.as_ref() else { return Ok(()) };
        let during = self.plan.analysis.as_ref().map_or(PROBE_TIME, |analysis| analysis.interval);
        let seconds = during.as_duration().as_secs_f64().max(0.001);
        let request = ProbeRequest {
            project: self.project.clone(),
            env: self.scope.env.clone(),
            canary: arm(&self.plan.to),
            baseline: arm(before),
            rate: f64::from(each) / seconds,
            during,
            checks: Vec::new(),
            vars: workload::vars(&self.scope, &self.plan.to.version),
            config: Some(self.to.1.clone()),
            labels: std::iter::once(("host".to_owned(), self.app.env.host.clone())).collect(),
        };
        self.app.prober.probe(request).await.map(drop)
    }
}
