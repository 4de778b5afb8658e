//! A journal read as windows of counts: what was measured, at which share, and what was ruled on it.

use jiff::Timestamp;
use vice_core::{Code, Fault, Millis, Result};

use crate::course::WHOLE;
use crate::effect::Effect;
use crate::input::{Input, OpResult};
use crate::judge::{Analysis, Arm, LEVELS, Reading, Ruling};
use crate::note::EngineNote;
use crate::number::OpNo;
use crate::replay::Recorded;

/// One window as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedWindow {
    /// Which windows of the recording it covers, from 1: first and last.
    pub numbers: (u32, u32),
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The wave that was under way when it was judged, from 0.
    pub wave: u32,
    /// The new release's share while it lasted, in basis points.
    pub share: u32,
    /// What the metrics said, each with its index in the plan's analysis.
    pub readings: Vec<(u16, Reading)>,
    /// What was ruled.
    pub ruling: Ruling,
}

/// The measurement that is under way while the journal is read.
struct Open {
    op: OpNo,
    from: Timestamp,
    until: Timestamp,
    readings: Vec<(u16, Reading)>,
}

/// Every window of a journal on which the judge ruled, in order. `metrics`: how many the plan has.
#[must_use]
pub fn recorded_windows(steps: &[Recorded], metrics: usize) -> Vec<RecordedWindow> {
    let mut found: Vec<RecordedWindow> = Vec::new();
    let mut open: Option<Open> = None;
    let mut wave = 0;
    for step in steps {
        if let Some(open) = &mut open {
            step.inputs.iter().for_each(|input| open.take(*input, metrics));
        }
        for note in &step.answer.notes {
            match (*note, &mut open) {
                (EngineNote::WaveStarted { wave: begun }, _) => wave = begun,
                (EngineNote::Judged { ruling }, Some(open)) => {
                    let number = u32::try_from(found.len() + 1).unwrap_or(u32::MAX);
                    found.push(open.closed(number, wave, ruling));
                }
                _ => {}
            }
        }
        for effect in &step.answer.effects {
            if let Effect::Measure { op, from, until } = *effect {
                open = Some(Open { op, from, until, readings: Vec::new() });
            }
        }
    }
    found
}

impl Open {
    fn take(&mut self, input: Input, metrics: usize) {
        match input {
            Input::Measured { op, metric, reading } if op == self.op => self.readings.push((metric, reading)),
            Input::EffectDone { op, result: OpResult::Failed(_) } if op == self.op => {
                let all = (0..metrics).filter_map(|metric| u16::try_from(metric).ok());
                self.readings.extend(all.map(|metric| (metric, Reading::Failed)));
            }
            _ => {}
        }
    }

    fn closed(&mut self, number: u32, wave: u32, ruling: Ruling) -> RecordedWindow {
        let share = (ruling.evidence.share.get().clamp(0.0, 1.0) * f64::from(WHOLE)).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 10,000")]
        let share = share as u32;
        let readings = std::mem::take(&mut self.readings);
        RecordedWindow { numbers: (number, number), from: self.from, until: self.until, wave, share, readings, ruling }
    }
}

/// The windows with the metrics of `policy` only, renumbered as it numbers them.
pub(super) fn of_metrics(
    recorded: &[RecordedWindow],
    original: &Analysis,
    policy: &Analysis,
) -> Result<Vec<RecordedWindow>> {
    let mut places = vec![None; original.metrics.len()];
    for (place, metric) in (0u16..).zip(&policy.metrics) {
        let found = original.metrics.iter().position(|one| one.name == metric.name && one.kind == metric.kind);
        let Some(found) = found else {
            let known: Vec<&str> = original.metrics.iter().map(|one| one.name.as_str()).collect();
            let message = format!("The metric {:?} was not recorded in this rollout.", metric.name);
            return Err(Fault::new(Code::Usage, message).hint(format!("Recorded are: {}.", known.join(", "))));
        };
        places[found] = Some(place);
    }
    let renumber = |(metric, reading): &(u16, Reading)| {
        places.get(usize::from(*metric)).copied().flatten().map(|place| (place, *reading))
    };
    let chosen = |window: &RecordedWindow| RecordedWindow {
        readings: window.readings.iter().filter_map(renumber).collect(),
        ..window.clone()
    };
    Ok(recorded.iter().map(chosen).collect())
}

/// The windows joined to the length that `policy` wants, and how many fill no whole one: the engine begins a new window
/// whenever the share changes, so that none spans two shares.
pub(super) fn merged(
    windows: &[RecordedWindow],
    original: &Analysis,
    policy: &Analysis,
) -> Result<(Vec<RecordedWindow>, u32)> {
    let (had, wants) = (original.interval.0.max(1), policy.interval.0);
    if wants == original.interval.0 {
        return Ok((windows.to_vec(), 0));
    }
    if wants < had || !wants.is_multiple_of(had) {
        let message =
            format!("Windows of {} can't be made of recorded ones of {}.", policy.interval, original.interval);
        return Err(Fault::new(Code::Usage, message)
            .hint(format!("Choose a multiple, such as {}.", Millis(had.saturating_mul(2)))));
    }
    let (mut joined, mut left_out) = (Vec::new(), 0);
    let mut open: Option<RecordedWindow> = None;
    for window in windows {
        let fits =
            |open: &RecordedWindow| open.until == window.from && open.share == window.share && open.wave == window.wave;
        open = match open {
            Some(mut whole) if fits(&whole) => {
                join(&mut whole, window);
                Some(whole)
            }
            other => {
                left_out += other.map_or(0, |partial| partial.numbers.1 - partial.numbers.0 + 1);
                Some(window.clone())
            }
        };
        if let Some(whole) = open.take_if(|open| Millis::between(open.from, open.until).0 >= wants) {
            joined.push(whole);
        }
    }
    left_out += open.map_or(0, |partial| partial.numbers.1 - partial.numbers.0 + 1);
    Ok((joined, left_out))
}

/// Adds a window to the one before it: counts of the same metric and stratum are summed, because a judge takes each
/// once a window.
fn join(whole: &mut RecordedWindow, next: &RecordedWindow) {
    (whole.numbers.1, whole.until, whole.ruling) = (next.numbers.1, next.until, next.ruling);
    for (metric, reading) in &next.readings {
        let same = |(other, _): &&mut (u16, Reading)| other == metric;
        let added = whole.readings.iter_mut().filter(same).any(|(_, into)| add(into, reading));
        if !added {
            whole.readings.push((*metric, *reading));
        }
    }
}

/// Sums two readings; false when they are not of the same kind and stratum.
fn add(into: &mut Reading, more: &Reading) -> bool {
    match (into, more) {
        (
            Reading::Counts { stratum, canary, baseline },
            Reading::Counts { stratum: other, canary: new, baseline: old },
        ) if stratum == other => {
            (*canary, *baseline) = (sum(canary, new), sum(baseline, old));
            true
        }
        (Reading::Halves { stratum, left, right }, Reading::Halves { stratum: other, left: one, right: two })
            if stratum == other =>
        {
            (*left, *right) = (sum(left, one), sum(right, two));
            true
        }
        (into, more) => into == more,
    }
}

fn sum(one: &Arm, two: &Arm) -> Arm {
    let mut bad = [0; LEVELS];
    for (place, (left, right)) in bad.iter_mut().zip(one.bad.iter().zip(&two.bad)) {
        *place = left.saturating_add(*right);
    }
    Arm { seen: one.seen.saturating_add(two.seen), bad }
}
