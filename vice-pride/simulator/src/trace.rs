//! What a run leaves behind: how many servers were exposed when (per cell), and for how many server-hours, at a bounded
//! number of moments. Bugs are priced on it without running again.

/// About so many moments are kept: enough that a straight line between two of them misses nothing that matters.
pub(crate) const MOMENTS: f64 = 256.0;

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
    trace: Trace,
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
            trace: Trace { cells, ..Trace::default() },
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
        for cell in 0..self.now.len() {
            self.catch_up(at, cell);
        }
        self.noted = self.total;
        self.trace.at.push(at);
        self.trace.exposed.extend_from_slice(&self.now);
        self.trace.hours.extend_from_slice(&self.hours);
    }

    pub(crate) fn finish(mut self, at: u64) -> Trace {
        self.note(at);
        self.trace
    }
}
