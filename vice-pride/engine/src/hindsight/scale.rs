//! Counts at another share than the one at which they were made, on the assumption that the rates would have been the
//! same. It only multiplies and rounds; it draws nothing.

use std::collections::BTreeMap;

use super::RecordedWindow;
use crate::course::WHOLE;
use crate::judge::{Analysis, Arm, LEVELS, MetricKind, Reading};

/// Which arm of which metric and stratum: each has remainders of its own.
type Place = (u16, u16, u8);

/// Scales window after window. What rounding loses in one window it brings in a later one, so that rare bad events are
/// neither lost nor doubled.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    left: BTreeMap<Place, [f64; LEVELS + 1]>,
}

impl Scaler {
    /// The readings of a window at `share` basis points; none where a release that should have traffic had none.
    pub(super) fn readings(
        &mut self,
        analysis: &Analysis,
        window: &RecordedWindow,
        share: u32,
    ) -> Option<Vec<(u16, Reading)>> {
        let was = window.share.min(WHOLE);
        let factor = |wants: u32, had: u32| match (wants, had) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            _ => Some(f64::from(wants) / f64::from(had)),
        };
        let canary_by = factor(share, was)?;
        let baseline_by = factor(WHOLE.saturating_sub(share), WHOLE - was)?;
        let scaled = window.readings.iter().map(|(metric, reading)| {
            let kind = analysis.metrics.get(usize::from(*metric)).map_or(MetricKind::Errors, |plan| plan.kind);
            let mut arm =
                |stratum: u16, which: u8, arm: &Arm, by: f64| self.arm((*metric, stratum, which), kind, arm, by);
            let reading = match *reading {
                Reading::Counts { stratum, canary, baseline } => Reading::Counts {
                    stratum,
                    canary: arm(stratum, 0, &canary, canary_by),
                    baseline: arm(stratum, 1, &baseline, baseline_by),
                },
                Reading::Halves { stratum, left, right } => Reading::Halves {
                    stratum,
                    left: arm(stratum, 2, &left, baseline_by),
                    right: arm(stratum, 3, &right, baseline_by),
                },
                other => other,
            };
            (*metric, reading)
        });
        Some(scaled.collect())
    }

    /// Counts that mean "at least so bad" lie within each other and within the exposures; rounding must keep that, or the
    /// judge would take them for nonsense. What a count is cut by is left for later.
    fn arm(&mut self, place: Place, kind: MetricKind, arm: &Arm, by: f64) -> Arm {
        let left = self.left.entry(place).or_insert([0.0; LEVELS + 1]);
        let mut scale = |at: usize, count: f64, most: u64| {
            let exact = count * by + left[at];
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, floored, not below 0"
            )]
            let whole = (exact.floor().max(0.0) as u64).min(most);
            left[at] = exact - whole as f64;
            whole
        };
        let seen = scale(LEVELS, arm.seen as f64, u64::MAX);
        let mut at_least = arm.bad.map(f64::from);
        if kind == MetricKind::Health {
            (0..LEVELS - 1).rev().for_each(|level| at_least[level] += at_least[level + 1]);
        }
        let mut most = seen;
        let mut bad = [0; LEVELS];
        for (level, count) in at_least.into_iter().enumerate() {
            most = scale(level, count, most);
            bad[level] = u32::try_from(most).unwrap_or(u32::MAX);
        }
        if kind == MetricKind::Health {
            (0..LEVELS - 1).for_each(|level| bad[level] -= bad[level + 1]);
        }
        Arm { seen, bad }
    }
}
