//! What was predicted, beside what happened.

use serde::Serialize;
use vice_core::payload::simulation::Quantiles;

use super::plots::Interval;
use crate::view::answer::count_of;
use crate::view::expected::{Expected, ExpectedWave};
use crate::view::figure::{NONE, duration, percent, time_of};

/// Waves that a reader goes through.
const ROWS_MAX: usize = 60;

#[derive(Debug, Serialize)]
pub(super) struct Outlook {
    sentence: String,
    rows: Vec<Row>,
    scale_end: String,
    rests: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    predicted: String,
    actual: String,
    interval: Interval,
    place: &'static str,
    unfound: String,
}

impl Outlook {
    pub(super) fn new(expected: &Expected) -> Self {
        let ends = expected.waves.iter().flat_map(|wave| {
            [wave.end_ms.p95, wave.actual_ms.unwrap_or(0) as f64].into_iter().filter(|end| end.is_finite())
        });
        let longest = ends.fold(1.0, f64::max);
        let scale = Interval::axis(longest);
        let predicted = |end: &Quantiles| {
            let [median, low, high] =
                [end.p50, end.p5, end.p95].map(|ms| time_of(ms, expected.forecast.unfinished.as_ref()));
            format!("{median} ({low} to {high})")
        };
        let row = |wave: &ExpectedWave| Row {
            name: wave.wave.to_string(),
            predicted: predicted(&wave.end_ms),
            actual: wave.actual_ms.map_or_else(|| NONE.to_owned(), |actual| duration(actual as f64)),
            interval: Interval::predicted(&scale, &wave.end_ms, wave.actual_ms.map(|actual| actual as f64)),
            place: wave.place.word(),
            unfound: wave.p_unfound_after.map_or_else(|| NONE.to_owned(), percent),
        };
        Self {
            sentence: expected.sentence.clone(),
            rows: expected.waves.iter().take(ROWS_MAX).map(row).collect(),
            scale_end: duration(longest),
            rests: rests(expected),
        }
    }
}

/// What the forecast rests on.
pub(super) fn rests(expected: &Expected) -> String {
    let forecast = &expected.forecast;
    let runs = count_of(forecast.runs, "simulated run", "simulated runs");
    let assumed = match forecast.assumed {
        0 => "nothing in it is assumed".to_owned(),
        1 => "1 input is assumed".to_owned(),
        many => format!("{many} inputs are assumed"),
    };
    format!("Predicted by {runs} before the start (seed {}); {assumed}.", forecast.seed)
}
