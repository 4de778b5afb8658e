//! What every picture needs: coordinates as short texts, round ticks, names that fit.

use serde::Serialize;
use vice_core::text::sanitize;

/// A tick of an axis with its label.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) anchor: &'static str,
    pub(super) label: String,
}

/// A coordinate with one decimal at most.
pub(super) fn px(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A name from outside, harmless and cut to so many characters.
pub(super) fn short(name: &str, most: usize) -> String {
    let full = sanitize(name);
    match full.char_indices().nth(most) {
        Some(_) => format!("{}…", full.chars().take(most.saturating_sub(1)).collect::<String>()),
        None => full,
    }
}

/// Round values from `low` to `high`, about `count` of them.
pub(super) fn round_ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let least = (high - low) / count.max(1.0);
    if !(least.is_finite() && least > 0.0) {
        return vec![low];
    }
    let size = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * size).find(|step| *step >= least).unwrap_or(least);
    let first = (low / step).ceil();
    (0..64).map(|n| (first + f64::from(n)) * step).take_while(|value| *value <= high + step * 1e-9).collect()
}

/// A span of numbers over a number of pixels, evenly or by powers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    pub(super) log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// By powers where the numbers are far apart, else evenly. `from` and `to` are pixels, in either direction.
    pub(super) fn of(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let log = low > 0.0 && high / low > 12.0;
        let (low, high) = if log {
            (low / 1.25, high * 1.25)
        } else {
            let margin = ((high - low) * 0.07).max(high.abs() * 0.02).max(1e-9);
            ((low - margin).max(if low >= 0.0 { 0.0 } else { f64::MIN }), high + margin)
        };
        Self { low, high, log, from, to }
    }

    /// Evenly between two numbers.
    pub(super) fn even((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, log: false, from, to }
    }

    /// The pixel of a number; numbers outside stay at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        if !value.is_finite() {
            return self.from;
        }
        let part = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round numbers on it.
    pub(super) fn ticks(&self, count: f64) -> Vec<f64> {
        if !self.log {
            return round_ticks(self.low, self.high, count);
        }
        let steps: &[f64] = if self.high / self.low > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let first = self.low.log10().floor();
        let powers = (0..40).map(|n| 10_f64.powf(first + f64::from(n))).take_while(|power| *power <= self.high);
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * power));
        all.filter(|value| (self.low..=self.high).contains(value)).collect()
    }

    /// Round durations on it, in milliseconds.
    pub(super) fn duration_ticks(&self, count: usize) -> Vec<f64> {
        const ROUND_MIN: [f64; 20] = [
            0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 720.0, 1_440.0, 2_880.0, 5_760.0,
            10_080.0, 20_160.0, 43_200.0, 129_600.0,
        ];
        if !self.log {
            let least = (self.high - self.low) / count as f64;
            let round = ROUND_MIN.into_iter().map(|minutes| minutes * 60_000.0);
            let step = round.clone().find(|step| *step >= least).unwrap_or(least).max(least / 16.0);
            let first = (self.low / step).ceil();
            return (0..64).map(|n| (first + f64::from(n)) * step).take_while(|value| *value <= self.high).collect();
        }
        let inside = ROUND_MIN.into_iter().map(|minutes| minutes * 60_000.0);
        inside.filter(|value| (self.low..=self.high).contains(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(round_ticks(0.0, 9.5, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(round_ticks(3.0, 3.0, 5.0), [3.0]);
        assert_eq!(round_ticks(f64::NAN, 3.0, 5.0).len(), 1);
    }

    #[test]
    fn a_scale_keeps_everything_inside() {
        for values in [vec![1.0, 1_000.0], vec![5.0], vec![], vec![f64::NAN, -3.0, 4.0], vec![0.0, 0.0]] {
            let scale = Scale::of(values.iter().copied(), (10.0, 110.0));
            for value in values.into_iter().chain([f64::INFINITY, -1e300, 1e300]) {
                assert!((10.0..=110.0).contains(&scale.place(value)), "{value}");
            }
            assert!(scale.ticks(5.0).len() <= 64 && scale.duration_ticks(6).len() <= 64);
        }
        assert!(Scale::of([1.0, 1_000.0].into_iter(), (0.0, 1.0)).log);
    }

    #[test]
    fn names_are_cut_by_characters() {
        assert_eq!([short("abc", 3), short("日本語です", 3)], ["abc", "日本…"]);
        assert_eq!([px(1.0), px(-0.01), px(2.25), px(f64::NAN)], ["1", "0", "2.2", "0"]);
    }
}
