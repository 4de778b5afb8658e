//! What a run leaves behind: how many servers were exposed when (per cell), and for how many server-hours, at a bounded
//! number of moments. Bugs are priced on it without running again.

/// About so many moments are kept: enough that a straight line between two of them misses nothing that matters.
pub(crate) const MOMENTS: f64 = 256.0;

/// Never more than so many: each wave, each move of a share and each decision adds one to those. A plan of a few hundred waves
/// stays below; beyond it, every second one is left out.
pub(crate) const ROWS_MAX: usize = 1_024;

/// Milliseconds in an hour.
pub(crate) const HOUR: f64 = 3_600_000.0;

/// Exposure over time. A row has one entry for each cell; exposure changes in straight lines between rows, and the
/// server-hours at a row are exact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// How many cells a row has.
    pub cells: usize,
    /// When, in milliseconds after the start; ascending.
    pub at: Vec<u64>,
    /// Exposed servers, by row and cell.
    pub exposed: Vec<f64>,
    /// Server-hours until then, by row and cell.
    pub hours: Vec<f64>,
}

impl Trace {
    /// How many moments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The exposed servers of each cell at a row.
    #[must_use]
    pub fn exposed_at(&self, row: usize) -> &[f64] {
        &self.exposed[row * self.cells..(row + 1) * self.cells]
    }

    /// The server-hours of each cell at a row.
    #[must_use]
    pub fn hours_at(&self, row: usize) -> &[f64] {
        &self.hours[row * self.cells..(row + 1) * self.cells]
    }

    /// All server-hours until the end.
    #[must_use]
    pub fn total_hours(&self) -> f64 {
        self.len().checked_sub(1).map_or(0.0, |last| self.hours_at(last).iter().sum())
    }
}

/// The rows of a trace while it grows. Where there are too many, every second one is left out, and from then on only every
/// second one is kept, then every fourth, and so on: early rows stay as dense as late ones. What stays is exact.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    trace: Trace,
    /// Every so-manieth row is kept.
    stride: u64,
    offered: u64,
}

impl Rows {
    pub(crate) fn new(cells: usize) -> Self {
        Self { trace: Trace { cells, ..Trace::default() }, stride: 1, offered: 0 }
    }

    pub(crate) fn offer(&mut self, at: u64, exposed: &[f64], hours: &[f64]) {
        if self.offered.is_multiple_of(self.stride) {
            if self.trace.len() >= ROWS_MAX - 1 {
                self.thin();
            }
            // The row that made it too many may be one that is left out now.
            if self.offered.is_multiple_of(self.stride) {
                self.push(at, exposed, hours);
            }
        }
        self.offered += 1;
    }

    /// The last row, which is always kept.
    pub(crate) fn finish(mut self, at: u64, exposed: &[f64], hours: &[f64]) -> Trace {
        self.push(at, exposed, hours);
        self.trace
    }

    fn push(&mut self, at: u64, exposed: &[f64], hours: &[f64]) {
        self.trace.at.push(at);
        self.trace.exposed.extend_from_slice(exposed);
        self.trace.hours.extend_from_slice(hours);
    }

    fn thin(&mut self) {
        let trace = &mut self.trace;
        let (cells, kept) = (trace.cells, trace.len().div_ceil(2));
        for to in 0..kept {
            let (from, place) = (2 * to, to * cells);
            trace.at[to] = trace.at[from];
            trace.exposed.copy_within(from * cells..(from + 1) * cells, place);
            trace.hours.copy_within(from * cells..(from + 1) * cells, place);
        }
        trace.at.truncate(kept);
        trace.exposed.truncate(kept * cells);
        trace.hours.truncate(kept * cells);
        self.stride *= 2;
    }
}

/// Counts exposed servers while a run is under way.
#[derive(Debug, Clone)]
pub(crate) struct Exposed {
    now: Vec<f64>,
    hours: Vec<f64>,
    since: Vec<u64>,
    total: f64,
    /// The total at the latest row, and how far it may drift from that.
    noted: f64,
    drift: f64,
    rows: Rows,
}

impl Exposed {
    pub(crate) fn new(cells: usize, units: u32) -> Self {
        Self {
            now: vec![0.0; cells],
            hours: vec![0.0; cells],
            since: vec![0; cells],
            total: 0.0,
            noted: 0.0,
            drift: (f64::from(units) / MOMENTS).max(1.0),
            rows: Rows::new(cells),
        }
    }

    pub(crate) const fn total(&self) -> f64 {
        self.total
    }

    /// The number of exposed servers of a cell changes.
    #[inline]
    pub(crate) fn add(&mut self, at: u64, cell: usize, by: f64) {
        self.catch_up(at, cell);
        self.now[cell] += by;
        self.total += by;
        if (self.total - self.noted).abs() >= self.drift {
            self.note(at);
        }
    }

    /// The number of exposed servers of a cell is set.
    pub(crate) fn set(&mut self, at: u64, cell: usize, to: f64) {
        let by = to - self.now[cell];
        self.add(at, cell, by);
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulated rollout, far below 2^53")]
    fn catch_up(&mut self, at: u64, cell: usize) {
        self.hours[cell] += self.now[cell] * (at.saturating_sub(self.since[cell]) as f64 / HOUR);
        self.since[cell] = at;
    }

    /// Keeps a row, so that what changes from here on is seen.
    pub(crate) fn note(&mut self, at: u64) {
        self.catch_all_up(at);
        self.rows.offer(at, &self.now, &self.hours);
    }

    fn catch_all_up(&mut self, at: u64) {
        for cell in 0..self.now.len() {
            self.catch_up(at, cell);
        }
        self.noted = self.total;
    }

    pub(crate) fn finish(mut self, at: u64) -> Trace {
        self.catch_all_up(at);
        self.rows.finish(at, &self.now, &self.hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::price::{Priced, Reaction};
    use crate::world::{Past, World};

    #[test]
    fn however_many_waves_there_are_the_moments_are_few_and_say_the_same() {
        // A wave of one server every minute, ten thousand of them.
        let spec = toml::from_str("[bug.b]\nhazard = \"0.001/h\"\nappears = \"exp 30m\"").unwrap();
        let world = World::new(&spec, Layout::flat(10_000), &Past::default()).unwrap();
        let mut exposed = Exposed::new(1, 10_000);
        let mut full = Trace { cells: 1, ..Trace::default() };
        let (mut now, mut hours) = (0.0, 0.0);
        for wave in 1..=10_000_u64 {
            exposed.add(wave * 60_000, 0, 1.0);
            exposed.note(wave * 60_000);
            (hours, now) = (hours + now / 60.0, now + 1.0);
            full.at.push(wave * 60_000);
            full.exposed.push(now);
            full.hours.push(hours);
        }
        let few = exposed.finish(10_000 * 60_000);
        assert!(few.len() <= ROWS_MAX && few.len() > ROWS_MAX / 4, "{}", few.len());
        assert!(few.at.is_sorted() && (few.total_hours() / full.total_hours() - 1.0).abs() < 1e-9);
        let row = few.len() / 2;
        let same = full.at.binary_search(&few.at[row]).unwrap();
        assert!((few.hours[row] / full.hours[same] - 1.0).abs() < 1e-9, "what stays is exact");
        let price = |trace: &Trace| Priced::new(&world, &world.bugs[0], trace, Reaction::at_once(0.5));
        let (few, full) = (price(&few), price(&full));
        assert!((few.impact() / full.impact() - 1.0).abs() < 0.01, "{} {}", few.impact(), full.impact());
        for share in [100.0, 1_000.0, 5_000.0] {
            let (one, two) = (few.found_before(share), full.found_before(share));
            assert!((one - two).abs() < 0.01, "{share}: {one} {two}");
        }
    }
}
