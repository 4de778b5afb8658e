//! Hindsight: what another policy would have said of a rollout that was recorded.
//!
//! It owns the reading of a journal as windows of counts, the run of a fresh judge over them, and the bookkeeping of
//! where the policy would have left the path on which the counts were made. It must not decide anything itself: every
//! verdict is the judge's. What was never recorded is never made up: beyond the point of leaving, figures are either
//! marked as resting on another share, or scaled with the assumption said.

mod scale;
#[cfg(test)]
mod tests;
mod windows;

use jiff::Timestamp;
use serde::Serialize;
use vice_core::payload::rollout::Verdict;
use vice_core::{Code, Fault, Result};

pub use windows::{RecordedWindow, recorded_windows};

use crate::course::{Course, WHOLE};
use crate::judge::{Analysis, Cause, Judge, Reading, Ruling};
use crate::plan::Exposure;
use crate::step::{passes, ramp_share};
use scale::Scaler;
use windows::{merged, of_metrics};

/// One window under the other policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowView {
    /// The recorded windows that it covers, from 1: first and last.
    pub windows: (u32, u32),
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The share in force when it was recorded, in basis points.
    pub share: u32,
    /// What was ruled then.
    pub was: Ruling,
    /// What would have been ruled.
    pub would_be: Ruling,
    /// Bad events beyond the old release's until here.
    pub excess: f64,
}

/// How a run of the judge ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// It would have been rolled back.
    Stopped(Point),
    /// It would have been promoted.
    Promoted(Point),
    /// The recording ends before a decision.
    Undecided(Point),
}

impl End {
    /// Where it was decided, or where the recording ends.
    #[must_use]
    pub const fn point(&self) -> &Point {
        match self {
            Self::Stopped(point) | Self::Promoted(point) | Self::Undecided(point) => point,
        }
    }
}

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The recorded window that it falls into, from 1.
    pub window: u32,
    /// When.
    pub at: Timestamp,
    /// The new release's share of the traffic in that window, in basis points.
    pub share: u32,
    /// What the judge says.
    pub cause: Cause,
    /// Bad events beyond the old release's until then, by the metric that had most of them.
    pub excess: f64,
}

/// Where the policy leaves the recorded path: from then on the counts were made at a share that it would not have had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Departure {
    /// After this recorded window, from 1.
    pub window: u32,
    /// The share that was in force next, in basis points.
    pub recorded: u32,
    /// The one that the policy would have had; none where it would have stayed in an earlier wave, or left it sooner.
    pub wanted: Option<u32>,
}

/// What is likely where the policy would have had other shares: the recorded rates at its own shares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scaled {
    /// How it would have ended.
    pub end: End,
    /// The lowest and highest plausible number of bad events beyond the old release's until then: the exposures that
    /// it would have had, at the ratio that the whole recording leaves plausible (from 1 - alpha to 1 - beta).
    pub excess_between: (f64, f64),
    /// Windows that could not be scaled, because one of the releases had no traffic in the recording.
    pub without_data: u32,
}

/// All that a policy would have said of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hindsight {
    /// Window by window, on the counts as they were recorded.
    pub windows: Vec<WindowView>,
    /// How that ends.
    pub end: End,
    /// The window after which it would first have been promoted, where it was stopped later.
    pub promoted_before: Option<u32>,
    /// Where the recorded shares are not those of the policy; none when every figure is exact.
    pub departure: Option<Departure>,
    /// For a policy that moves the share itself and has left the path.
    pub scaled: Option<Scaled>,
    /// Recorded windows that fill no whole window of the policy, because the share changed first.
    pub left_out: u32,
}

/// Runs a fresh judge with `policy` over what was recorded of a rollout. `policy` has metrics of the plan only, under
/// their names, of the same kinds and strata.
///
/// # Errors
/// `Usage` when nothing was recorded, when a metric of the policy was not, or when its window length can't be made of
/// recorded ones.
pub fn look_back(course: &Course, recorded: &[RecordedWindow], policy: &Analysis) -> Result<Hindsight> {
    let Some(original) = course.analysis.as_ref() else { return Err(nothing()) };
    let selected = of_metrics(recorded, original, policy)?;
    let (windows, left_out) = merged(&selected, original, policy)?;
    let run = run(&windows, policy, |_, window| (window.readings.clone(), window.share));
    let Some(end) = run.end else { return Err(nothing()) };
    let departure = departure(course, policy, &windows, &run.views);
    let moves = departure.is_some_and(|departure| departure.wanted.is_some());
    let scaled = if moves { scaled(course, &windows, policy, &run) } else { None };
    Ok(Hindsight { windows: run.views, end, promoted_before: run.promoted_before, departure, scaled, left_out })
}

fn nothing() -> Fault {
    Fault::new(Code::Usage, "No window of a metric was recorded, so there is nothing to judge again.")
        .hint("Readings are recorded where a strategy watches live metrics, such as canary and ramp.")
}

/// A run of a judge over windows.
struct Run {
    views: Vec<WindowView>,
    end: Option<End>,
    promoted_before: Option<u32>,
}

/// Feeds each window, as `feed` gives it, to a fresh judge until it stops the rollout. The first promotion ends it as
/// well unless the recording goes on to a stop.
fn run(
    windows: &[RecordedWindow],
    policy: &Analysis,
    mut feed: impl FnMut(&[WindowView], &RecordedWindow) -> (Vec<(u16, Reading)>, u32),
) -> Run {
    let mut judge = Judge::new(policy);
    let mut views: Vec<WindowView> = Vec::new();
    let (mut promoted, mut last): (Option<Point>, Option<Point>) = (None, None);
    for window in windows {
        let (readings, share) = feed(&views, window);
        for (metric, reading) in readings {
            judge.window(policy, metric, reading);
        }
        let ruling = judge.close(policy, f64::from(share) / f64::from(WHOLE));
        let excess = judge.excess_now(policy);
        views.push(WindowView {
            windows: window.numbers,
            from: window.from,
            until: window.until,
            share,
            was: window.ruling,
            would_be: ruling,
            excess,
        });
        let point = Point { window: window.numbers.1, at: window.until, share, cause: ruling.cause, excess };
        last = Some(point);
        if ruling.verdict == Verdict::Proceed {
            promoted.get_or_insert(point);
        }
        if ruling.verdict == Verdict::Rollback {
            let promoted_before = promoted.map(|point| point.window);
            return Run { views, end: Some(End::Stopped(point)), promoted_before };
        }
    }
    Run { views, end: promoted.map(End::Promoted).or(last.map(End::Undecided)), promoted_before: None }
}

/// The first window after which the policy would have had another share than the one that was in force.
fn departure(
    course: &Course,
    policy: &Analysis,
    windows: &[RecordedWindow],
    views: &[WindowView],
) -> Option<Departure> {
    let original = course.analysis.as_ref().unwrap_or(policy);
    views.iter().zip(windows).zip(windows.iter().skip(1)).find_map(|((view, window), next)| {
        let exposure = course.wave(window.wave).map_or(Exposure::Units, |wave| wave.exposure);
        let leaves = |wanted| Some(Departure { window: window.numbers.1, recorded: next.share, wanted });
        if exposure == Exposure::Ramp {
            let share = |analysis: &Analysis, ruling| ramp_share(&analysis.ramp, view.share, ruling);
            let (was, would_be) = (share(original, view.was), share(policy, view.would_be));
            let passed = |ruling: &Ruling| ruling.verdict == Verdict::Proceed;
            let apart = was != would_be || passed(&view.was) != passed(&view.would_be);
            return if apart { leaves(Some(would_be)) } else { None };
        }
        let halves = matches!(exposure, Exposure::Share { .. });
        let apart = if next.wave > window.wave {
            !passes(course, window.wave, view.would_be)
        } else {
            halves && view.was.alarmed != view.would_be.alarmed
                || !passes(course, window.wave, view.was) && passes(course, window.wave, view.would_be)
        };
        if apart { leaves(None) } else { None }
    })
}

/// The run in which the shares follow from the policy: each window's counts are scaled to the share that the policy
/// has by then.
fn scaled(course: &Course, windows: &[RecordedWindow], policy: &Analysis, open: &Run) -> Option<Scaled> {
    let mut scaler = Scaler::default();
    let mut without_data = 0;
    let closed = run(windows, policy, |views, window| {
        let ramps = course.wave(window.wave).is_some_and(|wave| wave.exposure == Exposure::Ramp);
        let share = views
            .last()
            .filter(|_| ramps)
            .map_or(window.share, |view| ramp_share(&policy.ramp, view.share, view.would_be));
        match scaler.readings(policy, window, share) {
            Some(readings) => (readings, share),
            None => {
                without_data += 1;
                (window.readings.clone(), window.share)
            }
        }
    });
    let end = closed.end?;
    let seen = closed.views.last().map_or(0.0, |view| view.would_be.evidence.canary_seen as f64);
    let known = open.views.last()?.would_be.evidence;
    let at = |ratio: f64| seen * known.base_rate.get() * (ratio - 1.0);
    let most = known.ratio_high.get().min(1.0 / known.base_rate.get().max(1e-12));
    Some(Scaled { end, excess_between: (at(known.ratio_low.get()).max(0.0), at(most).max(0.0)), without_data })
}
