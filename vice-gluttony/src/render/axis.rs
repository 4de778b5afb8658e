//! A time axis: where a moment lies between two edges, and where the ticks go.

use jiff::Timestamp;
use vice_core::Millis;

/// Steps that people count in, in milliseconds.
const STEPS_MS: [u64; 25] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    86_400_000,
    604_800_000,
];

/// A span of time over a number of places (columns, or hundredths of a pixel).
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    start: Timestamp,
    span: Millis,
    places: u64,
}

impl Axis {
    pub(super) fn new(start: Timestamp, end: Timestamp, places: u64) -> Self {
        Self { start, span: Millis(Millis::between(start, end).0.max(1)), places }
    }

    /// From zero to an offset.
    pub(super) fn over(span: Millis, places: u64) -> Self {
        Self { start: Timestamp::UNIX_EPOCH, span: Millis(span.0.max(1)), places }
    }

    /// The place of a moment, at most `places`; what lies before the start is at 0.
    pub(super) fn place(&self, at: Timestamp) -> u64 {
        self.place_of(Millis::between(self.start, at))
    }

    /// The place of an offset from the start, at most `places`.
    pub(super) fn place_of(&self, offset: Millis) -> u64 {
        let exact = u128::from(offset.0.min(self.span.0)) * u128::from(self.places) / u128::from(self.span.0);
        u64::try_from(exact).unwrap_or(self.places)
    }

    /// Ticks at round offsets, at most `count` apart from the first at zero.
    pub(super) fn ticks(&self, count: u64) -> Vec<(u64, Millis)> {
        let least = self.span.0.div_ceil(count.max(1));
        let step = STEPS_MS.into_iter().find(|step| *step >= least).unwrap_or(least);
        (0..=self.span.0 / step).map(|n| Millis(n * step)).map(|offset| (self.place_of(offset), offset)).collect()
    }
}

/// An offset on the axis: like a duration, but without a digit that says nothing.
pub(super) fn tick_label(offset: Millis) -> String {
    match offset.0 {
        0 => "0".to_owned(),
        ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms < 3_600_000 => format!("{}m", ms / 60_000),
        ms if ms < 60_000 && ms % 1000 == 0 => format!("{}s", ms / 1000),
        _ => offset.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let start = Timestamp::UNIX_EPOCH;
        for seconds in [1, 7, 12, 90, 4_000, 900_000, 90_000_000] {
            let axis = Axis::new(start, Millis::from_secs(seconds).after(start), 60);
            let ticks = axis.ticks(6);
            assert!((2..=7).contains(&ticks.len()), "{seconds}: {ticks:?}");
            assert!(ticks.iter().all(|(place, _)| *place <= 60), "{ticks:?}");
        }
        let twelve = Axis::new(start, Millis::from_secs(12).after(start), 60).ticks(6);
        let labels: Vec<String> = twelve.iter().map(|(_, offset)| tick_label(*offset)).collect();
        assert_eq!(labels, ["0", "2s", "4s", "6s", "8s", "10s", "12s"]);
    }

    #[test]
    fn a_moment_outside_stays_at_the_edge() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let axis = Axis::new(at(100), at(110), 50);
        assert_eq!([at(90), at(105), at(999)].map(|moment| axis.place(moment)), [0, 25, 50]);
    }
}
