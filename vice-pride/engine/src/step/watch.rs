//! Watching: windows are read one after the other, the judge rules on each, and the ruling moves the share, lets the
//! wave pass, asks a person, or turns the rollout back.

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::payload::rollout::Verdict;

use super::{Flow, Turn};
use crate::course::{Course, WHOLE};
use crate::input::{Failure, OpResult};
use crate::judge::{Analysis, Cause, Ramp, Reading, Ruling};
use crate::note::EngineNote;
use crate::number::OpNo;
use crate::plan::Exposure;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Phase, Work};

/// A ramp moves its share only by at least one part in so many.
const STEP_MIN: u32 = 10;

/// How far back a new driver reads what nobody has: a weekend would be one question over more than many sources keep or
/// answer in time, and what was bad on Friday is found in the last day as well.
const CATCH_UP_MAX: Millis = Millis(24 * 60 * 60 * 1000);

impl<S: Sink> Turn<'_, S> {
    /// Brings a share into force; none when it is.
    pub(super) fn weigh(&mut self, share: Option<u32>) -> Option<Flow> {
        if self.state.open > 0 {
            return Some(self.in_flight());
        }
        // A move that failed may have been made all the same.
        let unsure = share.is_none() && self.state.split;
        if self.state.share == share && !unsure {
            return None;
        }
        self.state.split = true;
        self.issue(Work::Weigh { share });
        Some(self.in_flight())
    }

    /// The share is in force. What was counted before it belongs to another share, so that a new window begins.
    pub(super) fn weighed(&mut self, share: Option<u32>) {
        self.state.share = share;
        self.state.split = share.is_some();
        if self.state.watch.from.is_some() {
            self.state.watch.from = Some(self.now);
        }
        self.sink.note(EngineNote::Weighed { share });
        if self.state.phase == Phase::Free {
            self.state.phase = Phase::Before { at: 0 };
        }
    }

    /// The wave's own share is brought into force, and watching begins.
    pub(super) fn expose(&mut self, wave: u32) -> Flow {
        let wanted = match self.course.wave(wave).map(|wave| wave.exposure) {
            Some(Exposure::Share { basis_points }) => Some(basis_points),
            // The ramp begins with a look at the old release alone: its first step follows from that.
            _ => Some(self.state.share.unwrap_or(0)),
        };
        match self.weigh(wanted) {
            Some(flow) => flow,
            None => self.begin_watch(wave),
        }
    }

    pub(super) fn begin_watch(&mut self, wave: u32) -> Flow {
        let bake = self.course.wave(wave).map_or(Millis::ZERO, |wave| wave.bake);
        self.state.watch.since = Some(self.now);
        // What was said of an earlier share does not let this one pass; see also `measurement_done`.
        self.state.watch.ruling = None;
        if self.course.judges(wave) && self.state.watch.from.is_none() {
            self.state.watch.from = Some(self.now);
        }
        self.enter(Phase::Watch { wave, until: bake.after(self.now) })
    }

    pub(super) fn watch(&mut self, wave: u32, until: Timestamp) -> Flow {
        if self.state.open > 0 {
            return self.in_flight();
        }
        if self.may_pass(wave, until) {
            return self.watched(wave);
        }
        if !self.course.judges(wave) {
            return Flow::Wait(Reason::Baking { wave: wave + 1 }, Some(until));
        }
        if let Some(flow) = self.wanted_share(wave).and_then(|share| self.weigh(Some(share))) {
            return flow;
        }
        if let Some(cause) = self.asks_a_person() {
            return Flow::Wait(Reason::NoProof { cause }, None);
        }
        match self.state.watch.ruling {
            Some(Ruling { cause, .. }) => Flow::Wait(Reason::Judging { cause }, self.state.measures_at(self.course)),
            None => Flow::Wait(Reason::Watching { wave: wave + 1 }, self.state.measures_at(self.course)),
        }
    }

    fn watched(&mut self, wave: u32) -> Flow {
        self.state.watch.asks = None;
        if self.course.wave(wave).is_some_and(|wave| wave.exposure == Exposure::Units) {
            return self.enter(Phase::Check { wave });
        }
        self.enter_wave(wave + 1)
    }

    /// Whether the wave is over: an operator said so; or it was watched for long enough, and what the judge said is
    /// enough for what comes next.
    fn may_pass(&self, wave: u32, until: Timestamp) -> bool {
        if self.state.watch.promoted {
            return true;
        }
        if self.now < until {
            return false;
        }
        if !self.course.judges(wave) {
            return true;
        }
        let Some(ruling) = self.state.watch.ruling else { return false };
        passes(self.course, wave, ruling)
    }

    /// The share that the ruling asks for now, in basis points.
    fn wanted_share(&self, wave: u32) -> Option<u32> {
        let ruling = self.state.watch.ruling;
        match self.course.wave(wave)?.exposure {
            Exposure::Units => None,
            Exposure::Share { basis_points } => {
                let alarmed = ruling.is_some_and(|ruling| ruling.alarmed);
                Some(if alarmed { basis_points.div_ceil(2) } else { basis_points })
            }
            Exposure::Ramp => {
                let now = self.state.share.unwrap_or(0);
                let ruled = ruling.zip(self.analysis());
                Some(ruled.map_or(now, |(ruling, analysis)| ramp_share(&analysis.ramp, now, ruling)))
            }
        }
    }

    /// Whether a person is to be asked: the judge can't tell, or patience is over.
    fn asks_a_person(&mut self) -> Option<Cause> {
        let ruling = self.state.watch.ruling?;
        let patience = self.analysis()?.patience;
        let over =
            patience.zip(self.state.watch.since).is_some_and(|(patience, since)| patience.after(since) <= self.now);
        let asked = self.state.watch.asks;
        if ruling.verdict == Verdict::Inconclusive || (over && asked.is_none()) {
            self.state.watch.asks = Some(ruling.cause);
            self.changed |= asked != self.state.watch.asks;
        }
        self.state.watch.asks
    }

    /// An operator wants to see more: patience begins anew, and nothing that was said so far decides.
    pub(super) fn watch_longer(&mut self) {
        self.state.watch.since = Some(self.now);
        self.state.watch.ruling = None;
        if let Some(judge) = self.state.watch.judge.as_mut() {
            judge.wait_longer();
        }
    }

    fn analysis(&self) -> Option<&Analysis> {
        self.course.analysis.as_ref()
    }

    /// Reads the next window when it is time; beside whatever else goes on. Where a person is waited for, only time begins
    /// it, not the end of the one before: a source that is slower than a window would leave no moment in which nothing is
    /// under way, and a rollout that waits is driven by nobody.
    pub(super) fn measure_if_due(&mut self) {
        let asks = self.state.watch.asks.is_some()
            || self.state.watch.ruling.is_some_and(|ruling| ruling.verdict == Verdict::Inconclusive);
        let due = self.state.measures_at(self.course).is_some_and(|at| at <= self.now)
            && (self.woken || !(self.state.paused || asks));
        let (Some(analysis), Some(from), true) = (self.course.analysis.as_ref(), self.state.watch.from, due) else {
            return;
        };
        // Where nobody drove the rollout for a while many windows are over: they are read as one, because the share was
        // the same all the time. What a source does not know any more of them is silence, as in any window.
        let over = Millis::between(analysis.lateness.after(from), self.now).0;
        let windows = (over / analysis.interval.0.max(1)).max(1);
        let until = Millis(analysis.interval.0.saturating_mul(windows)).after(from);
        let op = self.issue_aside(Work::Measure { from, until });
        self.state.watch.measuring = Some(op);
        self.state.watch.from = Some(until);
    }

    /// What one metric says.
    pub(super) fn measured(&mut self, op: OpNo, metric: u16, reading: Reading) {
        if self.state.watch.measuring != Some(op) {
            return self.late_or_unknown(op);
        }
        self.changed = true;
        let course = self.course;
        if let (Some(judge), Some(analysis)) = (self.state.watch.judge.as_mut(), course.analysis.as_ref()) {
            judge.window(analysis, metric, reading);
        }
    }

    /// All metrics have spoken; one that did not says nothing, which the judge knows how to take. A window that was over
    /// before the present share was in force can end the rollout, and does not let the share pass.
    pub(super) fn measurement_done(&mut self, op: OpNo, result: OpResult) {
        let until = match self.state.ops.work(op) {
            Some(Work::Measure { until, .. }) => Some(until),
            _ => None,
        };
        let earlier = until.zip(self.state.watch.since).is_some_and(|(until, since)| until <= since);
        self.shut_aside(op);
        self.state.watch.measuring = None;
        let share = self.state.share.map_or(1.0, |share| f64::from(share) / f64::from(WHOLE));
        let course = self.course;
        let (Some(judge), Some(analysis)) = (self.state.watch.judge.as_mut(), course.analysis.as_ref()) else { return };
        if let OpResult::Failed(_) = result {
            for metric in 0..u16::try_from(analysis.metrics.len()).unwrap_or(u16::MAX) {
                judge.window(analysis, metric, Reading::Failed);
            }
        }
        let ruling = judge.close(analysis, share);
        self.sink.note(EngineNote::Judged { ruling });
        if !earlier || ruling.verdict == Verdict::Rollback {
            self.ruled(ruling);
        }
    }

    fn ruled(&mut self, ruling: Ruling) {
        let before = self.state.watch.ruling.replace(ruling);
        if ruling.verdict == Verdict::Rollback {
            return self.halt(Reason::Judged { cause: ruling.cause });
        }
        if ruling.verdict == Verdict::Proceed && before.is_none_or(|before| before.verdict != Verdict::Proceed) {
            self.decide(Verdict::Proceed, Reason::Judged { cause: ruling.cause });
        }
        self.probe_if_thin(ruling, before);
    }

    /// Asks for requests of our own where the sample is missing, and where it would be missing without those that
    /// were sent for the last window.
    fn probe_if_thin(&mut self, ruling: Ruling, before: Option<Ruling>) {
        let probes = self.analysis().and_then(|analysis| analysis.probes);
        let (evidence, each) = (ruling.evidence, probes.map_or(0, |probes| u64::from(probes.each)));
        let missing = matches!(
            ruling.cause,
            Cause::NoTraffic { .. } | Cause::NoBaseline { .. } | Cause::Underpowered { .. } | Cause::Blind { .. }
        );
        let ours = before.is_some_and(|before| {
            let grown = evidence.canary_seen.saturating_sub(before.evidence.canary_seen);
            before.evidence.metric == evidence.metric && grown <= each && ruling.verdict == Verdict::Hold
        });
        // At a share of nothing the new release has no traffic on purpose, as long as the old one has some.
        let on_purpose = self.state.share == Some(0) && evidence.baseline_seen > evidence.canary_seen;
        let thin = (missing || ours) && !on_purpose;
        if let (true, Some(probes), None) = (thin, probes, self.state.watch.probing)
            && matches!(self.state.phase, Phase::Watch { .. })
        {
            let op = self.issue_aside(Work::Probe { each: probes.each });
            self.state.watch.probing = Some(op);
        }
    }

    pub(super) fn probed(&mut self, op: OpNo) {
        self.shut_aside(op);
        self.state.watch.probing = None;
    }

    /// Nobody waits for what only looks any more: the rollout turns back or ends, or its driver is gone.
    pub(super) fn drop_asides(&mut self) {
        for op in [self.state.watch.measuring.take(), self.state.watch.probing.take()].into_iter().flatten() {
            self.shut_aside(op);
        }
        self.state.watch.from = None;
    }

    /// After another process took over: it reads what has passed since the last window that was heard of, as far back
    /// as a source can be expected to answer.
    pub(super) fn watch_on(&mut self) {
        let unheard = self.state.watch.measuring.and_then(|op| match self.state.ops.work(op) {
            Some(Work::Measure { from, .. }) => Some(from),
            _ => None,
        });
        let from = unheard.or(self.state.watch.from);
        self.drop_asides();
        let earliest = self.now.checked_sub(CATCH_UP_MAX.as_duration()).unwrap_or(self.now);
        self.state.watch.from = from.map(|from| from.max(earliest));
    }

    /// Traffic could not be moved. A rollout that is being left ends all the same.
    pub(super) fn weighing_failed(&mut self, failure: Failure) {
        if self.state.phase != Phase::Leaving {
            self.halt(Reason::WeighingFailed { failure });
        }
    }
}

/// Whether a ruling lets a wave pass once it was watched for long enough.
pub(crate) fn passes(course: &Course, wave: u32, ruling: Ruling) -> bool {
    match ruling.verdict {
        Verdict::Proceed => true,
        Verdict::Hold => !course.wants_proof(wave) && ruling.cause.is_clear() && has_room(course, wave + 1, ruling),
        Verdict::Rollback | Verdict::Inconclusive => false,
    }
}

/// Whether the budget bears the share of a wave. Above the ramp's cap it is not the budget that limits.
fn has_room(course: &Course, wave: u32, ruling: Ruling) -> bool {
    let cap = course.analysis.as_ref().map_or(1.0, |analysis| analysis.ramp.cap);
    match course.wave(wave).map(|wave| wave.exposure) {
        Some(Exposure::Share { basis_points }) => (f64::from(basis_points) / f64::from(WHOLE)).min(cap) <= ruling.room,
        _ => true,
    }
}

/// The share of a ramp after a ruling, in basis points. How many requests a window has is chance: the share does not
/// follow every one of them, because each move begins a new window. A release that is proven and still watched, because
/// its bake is not over, goes no further than the cap: its units are made for that.
pub(crate) fn ramp_share(ramp: &Ramp, now: u32, ruling: Ruling) -> u32 {
    let wanted = match ruling.verdict {
        Verdict::Proceed => points((f64::from(now) / f64::from(WHOLE) * ramp.growth).min(ramp.cap)).max(now),
        Verdict::Hold | Verdict::Rollback | Verdict::Inconclusive => points(ruling.share),
    };
    let small = wanted > 0 && wanted.abs_diff(now) * STEP_MIN < now;
    if small { now } else { wanted }
}

/// A share in basis points: at least one where there is a share at all.
fn points(share: f64) -> u32 {
    let whole = f64::from(WHOLE);
    let points = (share.clamp(0.0, 1.0) * whole).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 10,000")]
    let points = points as u32;
    if share > 0.0 { points.max(1) } else { 0 }
}
