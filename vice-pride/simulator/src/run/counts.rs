//! What metrics say of a window in the modelled world: requests at random, errors at the good release's rate, and more
//! of them where the bug sits. The judge reads these as it reads real ones.

use jiff::Timestamp;
use vice_pride_engine::judge::{Analysis, Arm, LATENCY_THRESHOLDS, LEVELS, MetricKind, Reading};
use vice_pride_engine::{Input, OpNo};

use crate::draw::{Luck, Purpose, Stream};
use crate::trace::HOUR;
use crate::world::World;

/// The exceedance probabilities of a latency metric's thresholds under the old release: p50, p90, p99, p99.9.
const EXCEEDING: [f64; LATENCY_THRESHOLDS] = [0.5, 0.1, 0.01, 0.001];

/// One window.
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The new release's share of the traffic.
    pub(super) share: f64,
    /// How many times as bad the new release is.
    pub(super) ratio: f64,
}

/// Adds the readings of every metric and stratum.
pub(super) fn readings(
    world: &World,
    luck: Luck,
    analysis: &Analysis,
    window: &Window,
    op: OpNo,
    inputs: &mut Vec<Input>,
) {
    let length = (window.until.as_millisecond() - window.from.as_millisecond()).max(0);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a window and of a day")]
    let (hours, of_day) = (length as f64 / HOUR, window.from.as_millisecond().rem_euclid(86_400_000) as f64 / HOUR);
    let base = world.errors_at(of_day);
    // The same window has the same luck under every policy that looks at it.
    let entity = u32::try_from(window.from.as_millisecond() / 1000 % i64::from(u32::MAX)).unwrap_or(0);
    for (number, metric) in (0_u16..).zip(&analysis.metrics) {
        for stratum in 0..metric.strata.max(1) {
            let nth = u32::from(number) * 256 + u32::from(stratum);
            let mut chance = luck.stream(Purpose::Traffic, entity, nth);
            let all = chance.poisson(world.requests * hours / f64::from(metric.strata.max(1)));
            let reading = if all == 0 {
                Reading::NoTraffic
            } else {
                let canary = chance.binomial(all, window.share);
                let arm = |chance: &mut Stream, seen, ratio| arm(chance, metric.kind, seen, base, ratio);
                Reading::Counts {
                    stratum,
                    canary: arm(&mut chance, canary, window.ratio),
                    baseline: arm(&mut chance, all - canary, 1.0),
                }
            };
            inputs.push(Input::Measured { op, metric: number, reading });
        }
    }
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Draws one arm. A bug makes errors, exceedances of latency and bad health as many times as frequent.
fn arm(chance: &mut Stream, kind: MetricKind, seen: u64, errors: f64, ratio: f64) -> Arm {
    match kind {
        MetricKind::Errors => Arm::errors(seen, count(chance.binomial(seen, (errors * ratio).min(1.0)))),
        MetricKind::Latency => {
            // Exceeding a higher threshold implies exceeding the lower ones, so each is drawn among the one before.
            let mut exceeding = [0; LATENCY_THRESHOLDS];
            let (mut among, mut before) = (seen, 1.0);
            for (slot, p) in exceeding.iter_mut().zip(EXCEEDING) {
                let p = (p * ratio).min(1.0);
                among = chance.binomial(among, (p / before).min(1.0));
                *slot = count(among);
                before = p;
            }
            Arm::latency(seen, exceeding)
        }
        MetricKind::Health => {
            let bad = chance.binomial(seen, (errors * ratio).min(1.0));
            let mut levels = [0; LEVELS];
            levels[0] = count(seen - bad);
            levels[LEVELS - 1] = count(bad);
            Arm::health(seen, levels)
        }
    }
}
