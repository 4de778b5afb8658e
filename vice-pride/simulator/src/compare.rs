//! Two policies on the same luck: every unit meets the same durations and the same failures under both, so that their
//! difference is known far better than either.

use vice_core::payload::simulation::{ComparedFigure, PolicyComparison};

use crate::interval::{mean, standard_error};
use crate::report::is_judged;
use crate::study::{Sample, Study};

/// The level of the intervals and the normal quantile that belongs to it.
const LEVEL: (f64, f64) = (0.95, 1.959_964);

/// Compares two studies of one world; `b - a`, run by run.
#[must_use]
pub fn compare(a: (&str, &Study<'_>), b: (&str, &Study<'_>)) -> PolicyComparison {
    let (one, two) = (a.1.healthy(), b.1.healthy());
    let mut rows = time("healthy", &one, &two).into_iter().collect::<Vec<_>>();
    rows.extend([
        row("exposure_server_hours", "healthy", &one, &two, |sample| sample.exposure_hours),
        row("p_false_rollback", "healthy", &one, &two, |sample| if sample.turned { 1.0 } else { 0.0 }),
    ]);
    let unfinished = |sample: &Sample| if sample.end.is_unfinished() { 1.0 } else { 0.0 };
    if one.iter().chain(&two).any(|sample| sample.end.is_unfinished()) {
        rows.push(row("p_unfinished", "healthy", &one, &two, unfinished));
    }
    for (at, bug) in a.1.setting.world.bugs().iter().enumerate() {
        // What the judge or the checks find can't be integrated; it has to be run.
        if is_judged(a.1) || is_judged(b.1) || bug.checks > 0.0 {
            let (one, two) = (a.1.unhealthy(bug), b.1.unhealthy(bug));
            let found = |sample: &Sample| if sample.found.is_some() { 1.0 } else { 0.0 };
            rows.push(row("impact", &bug.name, &one, &two, |sample| sample.impact));
            rows.push(row("p_found", &bug.name, &one, &two, found));
            rows.extend(time(&bug.name, &one, &two));
        } else {
            let priced = |figure: fn(&crate::study::PricedSample) -> f64| {
                move |sample: &Sample| sample.priced.get(at).map_or(0.0, figure)
            };
            rows.push(row("impact", &bug.name, &one, &two, priced(|priced| priced.impact)));
            rows.push(row("p_found", &bug.name, &one, &two, priced(|priced| 1.0 - priced.never)));
            rows.push(row("p_found_before_10_percent", &bug.name, &one, &two, priced(|priced| priced.before[1])));
        }
    }
    PolicyComparison { a: a.0.to_owned(), b: b.0.to_owned(), runs: a.1.runs, level: LEVEL.0, rows }
}

/// Times of the pairs in which both were over; none where there are no such pairs. A run that is not over has no time to compare,
/// and how often that was is said beside it.
fn time(story: &str, a: &[Sample], b: &[Sample]) -> Option<ComparedFigure> {
    let over = |pair: &(&Sample, &Sample)| !pair.0.end.is_unfinished() && !pair.1.end.is_unfinished();
    let pairs = || a.iter().zip(b).filter(over);
    let one: Vec<f64> = pairs().map(|(one, _)| one.total_ms).collect();
    let two: Vec<f64> = pairs().map(|(_, two)| two.total_ms).collect();
    (!one.is_empty()).then(|| compared("total_ms", story, &one, &two))
}

fn row(figure: &str, story: &str, a: &[Sample], b: &[Sample], of: impl Fn(&Sample) -> f64) -> ComparedFigure {
    let one: Vec<f64> = a.iter().map(&of).collect();
    let two: Vec<f64> = b.iter().map(&of).collect();
    compared(figure, story, &one, &two)
}

fn compared(figure: &str, story: &str, one: &[f64], two: &[f64]) -> ComparedFigure {
    let differences: Vec<f64> = one.iter().zip(two).map(|(one, two)| two - one).collect();
    let (difference, error) = (mean(&differences), standard_error(&differences) * LEVEL.1);
    ComparedFigure {
        figure: figure.to_owned(),
        story: story.to_owned(),
        a: mean(one),
        b: mean(two),
        difference,
        lo: difference - error,
        hi: difference + error,
    }
}
