//! What the simulator had said against what happened.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::fold::rollout::Moment;
use vice_core::payload::environment::Direction;
use vice_core::payload::rollout::Note;
use vice_core::payload::simulation::{Forecast, Quantiles};

use super::Standing;
use super::figure::{percent, time_of};

/// The forecast of a rollout beside what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// What was said before.
    pub forecast: Forecast,
    /// Predicted and actual, in one sentence.
    pub sentence: String,
    /// How long it took; none while it is under way.
    pub took_ms: Option<u64>,
    /// When each wave ended, after the start; none for waves that did not.
    pub waves: Vec<ExpectedWave>,
}

/// One wave: predicted and actual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectedWave {
    /// Which, from 1.
    pub wave: u32,
    /// When it would end.
    pub end_ms: Quantiles,
    /// When it did.
    pub actual_ms: Option<u64>,
    /// How that compares.
    pub place: Place,
    /// With which probability a bug would still be unfound after it.
    pub p_unfound_after: Option<f64>,
}

/// Where a figure lies in its forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// There is none yet.
    Open,
    /// Below the 5 % quantile.
    Early,
    /// Between the 5 and the 95 % quantile.
    AsExpected,
    /// Above the 95 % quantile.
    Late,
}

impl Place {
    fn of(actual: Option<u64>, predicted: &Quantiles) -> Self {
        let Some(actual) = actual else { return Self::Open };
        let actual = actual as f64;
        if actual < predicted.p5 {
            Self::Early
        } else if actual > predicted.p95 {
            Self::Late
        } else {
            Self::AsExpected
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "not reached",
            Self::Early => "earlier than predicted",
            Self::AsExpected => "as predicted",
            Self::Late => "later than predicted",
        }
    }
}

/// Sets them against each other. `took` is none while it is under way.
#[must_use]
pub fn expected(
    forecast: Forecast,
    moments: &[Moment],
    start: Timestamp,
    (standing, took): (Standing, Option<Millis>),
) -> Expected {
    let took_ms = took.map(|took| took.0);
    let ended = |wanted: u32| {
        let mut forward = true;
        for moment in moments {
            match moment.note {
                Note::WaveStarted { direction, .. } => forward = direction == Direction::Deploy,
                Note::WaveFinished { wave } if wave == wanted && forward => {
                    return Some(Millis::between(start, moment.at).0);
                }
                _ => {}
            }
        }
        None
    };
    let wave = |wave: &vice_core::payload::simulation::ForecastWave| {
        let actual_ms = ended(wave.wave);
        let place = Place::of(actual_ms, &wave.end_ms);
        ExpectedWave { wave: wave.wave, end_ms: wave.end_ms, actual_ms, place, p_unfound_after: wave.p_unfound_after }
    };
    let waves = forecast.waves.iter().map(wave).collect();
    let sentence = sentence(&forecast, standing, took_ms);
    Expected { forecast, sentence, took_ms, waves }
}

fn sentence(forecast: &Forecast, standing: Standing, took: Option<u64>) -> String {
    let time = &forecast.total_ms;
    let [median, low, high] = [time.p50, time.p5, time.p95].map(|ms| time_of(ms, forecast.unfinished.as_ref()));
    let said = format!("{median} were predicted (5 to 95 %: {low} to {high})");
    match (standing, took) {
        (Standing::Succeeded, Some(took)) => {
            let place = Place::of(Some(took), time).word();
            format!("{said}; it took {}: {place}.", Millis(took))
        }
        (_, Some(_)) => {
            let by_mistake = forecast.false_rollback.map_or_else(String::new, |mistake| {
                format!(" A good release would have been rolled back in {} of the runs.", percent(mistake.value))
            });
            format!("{said} for a healthy release; this one did not get through.{by_mistake}")
        }
        (_, None) => format!("{said} for a healthy release."),
    }
}
