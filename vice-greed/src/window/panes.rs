//! The open windows of one rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Looked};
use super::{CELLS_MAX, KEY_BYTES_MAX, Meter, OTHERS};

/// An event as a window sees it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) key: String,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) looked: Looked,
    pub(crate) hops: u32,
}

impl Arrival {
    pub(crate) fn new(key: &str, at: i64, looked: Looked, hops: u32) -> Self {
        let end = (0..=KEY_BYTES_MAX.min(key.len())).rev().find(|end| key.is_char_boundary(*end)).unwrap_or(0);
        Self { key: key[..end].to_owned(), at, looked, hops }
    }
}

/// Where an event went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Added {
    /// The cells that it is in, by beginning and key.
    pub(crate) cells: Vec<(i64, String)>,
    /// Whether all of its windows were closed.
    pub(crate) late: bool,
}

/// The open windows of a rule, by beginning, then key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Panes {
    cells: BTreeMap<i64, BTreeMap<String, Cell>>,
    /// Events that came too late, in all.
    #[serde(default)]
    pub(crate) late: u64,
}

impl Panes {
    pub(crate) fn open(&self) -> usize {
        self.cells.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn cell(&self, start: i64, key: &str) -> Option<&Cell> {
        self.cells.get(&start)?.get(key)
    }

    /// Sets a cell as it was stored.
    pub(crate) fn put(&mut self, start: i64, key: String, cell: Cell) {
        self.cells.entry(start).or_default().insert(key, cell);
    }

    /// Forgets a cell whose result is stored.
    pub(crate) fn remove(&mut self, start: i64, key: &str) {
        if let Some(pane) = self.cells.get_mut(&start) {
            pane.remove(key);
            if pane.is_empty() {
                self.cells.remove(&start);
            }
        }
    }

    /// Takes in an event.
    pub(crate) fn add(&mut self, meter: &Meter, arrival: &Arrival, watermark: i64) -> Added {
        let mut added = Added { cells: Vec::new(), late: true };
        let mut room = CELLS_MAX.saturating_sub(self.open());
        for start in meter.starts(arrival.at) {
            if meter.is_closed(start, watermark) {
                continue;
            }
            let pane = self.cells.entry(start).or_default();
            let key = if pane.contains_key(&arrival.key) || room > 0 { arrival.key.as_str() } else { OTHERS };
            if !pane.contains_key(key) {
                room = room.saturating_sub(1);
            }
            pane.entry(key.to_owned()).or_default().add(&arrival.looked, arrival.hops);
            added.cells.push((start, key.to_owned()));
            added.late = false;
        }
        self.late += u64::from(added.late);
        added
    }

    /// The windows that the watermark has closed, in order.
    pub(crate) fn closed(&self, meter: &Meter, watermark: i64) -> Vec<(i64, String)> {
        let closed = self.cells.iter().filter(|(start, _)| meter.is_closed(**start, watermark));
        closed.flat_map(|(start, pane)| pane.keys().map(|key| (*start, key.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use vice_core::manifest::Measure;
    use vice_core::rng::Streams;

    use super::*;
    use crate::window::sketch::{BUCKETS_MAX, ERROR, Sketch};

    const fn meter(size: i64, every: i64, late: i64, measure: Measure) -> Meter {
        Meter { size, every, late, measure, q: 0.95 }
    }

    fn count(panes: &mut Panes, meter: &Meter, at: i64, watermark: i64) -> Added {
        panes.add(meter, &Arrival::new("k", at, Looked::Nothing, 0), watermark)
    }

    #[test]
    fn each_moment_is_in_the_windows_around_it() {
        let tumbling = meter(60, 60, 0, Measure::Count);
        assert_eq!(tumbling.starts(0).collect::<Vec<_>>(), [0]);
        assert_eq!(tumbling.starts(59).collect::<Vec<_>>(), [0]);
        assert_eq!(tumbling.starts(60).collect::<Vec<_>>(), [60]);
        assert_eq!(tumbling.starts(-1).collect::<Vec<_>>(), [-60]);
        let sliding = meter(60, 20, 0, Measure::Count);
        assert_eq!(sliding.starts(65).collect::<Vec<_>>(), [20, 40, 60]);
        for (size, every) in [(60, 20), (50, 20), (7, 3), (10, 10)] {
            let meter = meter(size, every, 0, Measure::Count);
            for at in -100..100 {
                let expected: Vec<i64> =
                    (-200..200).map(|n| n * every).filter(|s| *s <= at && at < *s + size).collect();
                assert_eq!(meter.starts(at).collect::<Vec<_>>(), expected, "{size} {every} {at}");
            }
        }
    }

    #[test]
    fn lateness_is_allowed_and_then_counted() {
        let (meter, mut panes) = (meter(60, 60, 10, Measure::Count), Panes::default());
        assert!(!count(&mut panes, &meter, 10, 10).late);
        assert!(!count(&mut panes, &meter, 20, 69).late, "within the lateness");
        assert_eq!(panes.closed(&meter, 69), []);
        assert!(count(&mut panes, &meter, 30, 70).late, "the window is closed");
        assert_eq!(panes.closed(&meter, 70), [(0, "k".to_owned())]);
        assert_eq!(panes.cell(0, "k").unwrap().value(&meter), Some(2.0));
        assert_eq!(panes.late, 1);
    }

    #[test]
    fn windows_count_as_a_plain_count_does() {
        // Seed 5: keys and times in disorder, against counting each window by hand.
        let (meter, mut rng) = (meter(100, 25, 40, Measure::Count), Streams::new(5).stream("windows", 0));
        let (mut panes, mut oracle, mut watermark) = (Panes::default(), BTreeMap::new(), 0);
        for n in 0..2_000_i64 {
            let at = n + rng.random_range(-60..20);
            let key = format!("k{}", rng.random_range(0..3));
            for start in (-20..100).map(|n| n * 25).filter(|s| *s <= at && at < *s + 100 && s + 140 > watermark) {
                *oracle.entry((start, key.clone())).or_insert(0_u64) += 1;
            }
            panes.add(&meter, &Arrival::new(&key, at, Looked::Nothing, 0), watermark);
            watermark = watermark.max(at);
        }
        let all: BTreeMap<(i64, String), u64> = panes
            .closed(&meter, i64::MAX)
            .into_iter()
            .map(|cell| (cell.clone(), panes.cell(cell.0, &cell.1).unwrap().count))
            .collect();
        let within =
            |map: BTreeMap<(i64, String), u64>| map.into_iter().filter(|((s, _), _)| *s < 2_000).collect::<Vec<_>>();
        assert_eq!(within(all), within(oracle));
    }

    #[test]
    fn too_many_keys_share_a_cell() {
        let (meter, mut panes) = (meter(60, 60, 0, Measure::Count), Panes::default());
        for n in 0..CELLS_MAX + 50 {
            panes.add(&meter, &Arrival::new(&n.to_string(), 1, Looked::Nothing, 0), 0);
        }
        assert_eq!(panes.open(), CELLS_MAX + 1);
        assert_eq!(panes.cell(0, OTHERS).unwrap().count, 50);
    }

    #[test]
    fn quantiles_lie_within_their_error_also_when_merged() {
        // Seed 9: latencies over five orders of magnitude.
        let mut rng = Streams::new(9).stream("sketch", 0);
        let numbers: Vec<f64> = (0..20_000).map(|_| 10_f64.powf(rng.random_range(-2.0..3.0))).collect();
        let (mut one, mut two) = (Sketch::default(), Sketch::default());
        numbers.iter().enumerate().for_each(|(n, x)| if n % 3 == 0 { one.add(*x) } else { two.add(*x) });
        one.merge(&two);
        let mut sorted = numbers;
        sorted.sort_by(f64::total_cmp);
        for q in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let exact = sorted[((sorted.len() - 1) as f64 * q).floor() as usize];
            let about = one.quantile(q).unwrap();
            assert!((about - exact).abs() <= ERROR * exact * 1.0001, "{q}: {about} for {exact}");
        }
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut wide = Sketch::default();
        (-300..300).for_each(|n| wide.add(10_f64.powi(n)));
        assert!(wide.buckets() <= BUCKETS_MAX && wide.count() == 600);
        let mut signed = Sketch::default();
        [-5.0, -1.0, 0.0, 1.0, 5.0].into_iter().for_each(|x| signed.add(x));
        assert_eq!(signed.quantile(0.5), Some(0.0));
        assert!((signed.quantile(0.0).unwrap() + 5.0).abs() < 0.2);
    }

    #[test]
    fn different_values_are_counted_exactly_and_then_within_four_standard_errors() {
        let meter = meter(60, 60, 0, Measure::Distinct);
        for (n, error) in [(10_u32, 0.0), (256, 0.0), (1_000, 0.092), (20_000, 0.092)] {
            let (mut one, mut two) = (Cell::default(), Cell::default());
            for value in 0..n {
                // Each value twice, and some in both cells.
                let cell = if value % 2 == 0 { &mut one } else { &mut two };
                cell.add(&Looked::Text(format!("user-{value}")), 0);
                cell.add(&Looked::Text(format!("user-{}", value / 2)), 0);
            }
            let text = serde_json::to_string(&two).unwrap();
            one.merge(&serde_json::from_str(&text).unwrap());
            let about = one.value(&meter).unwrap();
            assert!((about - f64::from(n)).abs() <= error * f64::from(n), "{about} for {n}");
            assert_eq!(one.is_exact(&meter), n <= 256);
            assert!(text.len() < 8_000, "{}", text.len());
        }
    }
}
