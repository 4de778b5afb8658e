//! The exposure of a fast run, from the ends of the units of each wave. They are counted by slots of time instead of
//! being kept and sorted, which costs the same few instructions for each unit whatever the size of the fleet.

use crate::trace::{HOUR, MOMENTS, Rows, Trace};
use crate::world::{Profile, World};

/// The most slots of a wave: several for each row of the trace, and small enough to stay in the cache.
const SLOTS_MAX: usize = 1_024;

/// The fewest, for small waves and for worlds of many cells.
const SLOTS_MIN: usize = 16;

/// Slots times cells are kept below this.
const COUNTS_MAX: usize = 65_536;

/// A slot begins as this part of the mean time of a change.
const PARTS: f64 = 64.0;

/// The ends in one slot of time and one cell.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    count: u32,
    /// The sum of their times since the wave began.
    sum: u64,
}

/// The trace of a fast run. Its rows are at ends of slots; the server-hours at a row are exact.
pub(super) struct FastExposed<'w> {
    world: &'w World,
    now: Vec<f64>,
    hours: Vec<f64>,
    since: u64,
    /// A row is kept whenever so many units have ended.
    drift: u32,
    rows: Rows,
    /// When the wave under way began, and its slots, by time and cell.
    begun: u64,
    slots: Vec<Slot>,
    /// How many slots of time there are, and of which width, as powers of two.
    length: usize,
    shift: u32,
    narrowest: u32,
}

impl<'w> FastExposed<'w> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the fleet, or of 49 days")]
    pub(super) fn new(world: &'w World) -> Self {
        let cells = world.cells.len();
        let mean = world.profiles.iter().map(Profile::mean_ms).fold(0.0, f64::max);
        Self {
            world,
            now: vec![0.0; cells],
            hours: vec![0.0; cells],
            since: 0,
            drift: ((f64::from(world.layout.units) / MOMENTS) as u32).max(1),
            rows: Rows::new(cells),
            begun: 0,
            slots: Vec::new(),
            length: 0,
            shift: 0,
            narrowest: ((mean / PARTS) as u64).max(1).ilog2(),
        }
    }

    /// A wave of so many units begins.
    pub(super) fn begin(&mut self, at: u64, units: usize) {
        let cells = self.now.len().max(1);
        let most = (COUNTS_MAX / cells).min(units.saturating_mul(4)).clamp(SLOTS_MIN, SLOTS_MAX);
        self.length = 1 << most.ilog2();
        self.begun = at;
        self.shift = self.narrowest;
        self.slots.clear();
        self.slots.resize(self.length * cells, Slot::default());
    }

    /// A unit has ended.
    #[inline]
    pub(super) fn add(&mut self, end: u64, unit: u32) {
        let after = end.saturating_sub(self.begun);
        while after >> self.shift >= self.length as u64 {
            self.widen();
        }
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
        let slot = (after >> self.shift) as usize;
        let slot = &mut self.slots[slot * self.now.len() + self.world.cell(unit)];
        slot.count += 1;
        slot.sum += after;
    }

    /// Makes each slot twice as wide.
    #[cold]
    fn widen(&mut self) {
        let cells = self.now.len();
        for to in 0..self.length {
            for cell in 0..cells {
                let of = |from: usize| self.slots.get(from * cells + cell).copied().unwrap_or_default();
                let (one, two) = (of(2 * to), of(2 * to + 1));
                self.slots[to * cells + cell] = Slot { count: one.count + two.count, sum: one.sum + two.sum };
            }
        }
        self.shift += 1;
    }

    /// The wave has ended, its last unit at this moment: its ends go into the trace, a row whenever there are enough.
    pub(super) fn end(&mut self, last: u64) {
        let cells = self.now.len();
        let mut waiting = 0;
        let mut first = 0;
        for slot in 0..self.length {
            waiting += self.slots[slot * cells..(slot + 1) * cells].iter().map(|slot| slot.count).sum::<u32>();
            let until = (self.begun + ((slot as u64 + 1) << self.shift)).min(last);
            if waiting > 0 && (waiting >= self.drift || until == last) {
                self.block(first..slot + 1, until);
                (waiting, first) = (0, slot + 1);
            }
            if until == last {
                break;
            }
        }
    }

    /// A row at a moment, with what ended in some slots before it.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    fn block(&mut self, slots: std::ops::Range<usize>, until: u64) {
        self.advance(until);
        let cells = self.now.len();
        let after = until - self.begun;
        for slot in self.slots[slots.start * cells..slots.end * cells].chunks_exact(cells) {
            for (cell, ended) in slot.iter().enumerate() {
                self.now[cell] += f64::from(ended.count);
                self.hours[cell] += (u64::from(ended.count) * after - ended.sum) as f64 / HOUR;
            }
        }
        self.rows.offer(until, &self.now, &self.hours);
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    fn advance(&mut self, at: u64) {
        let hours = at.saturating_sub(self.since) as f64 / HOUR;
        for (sum, now) in self.hours.iter_mut().zip(&self.now) {
            *sum += now * hours;
        }
        self.since = at;
    }

    /// Ends it at a moment, or later where a unit ended later: a run is cut off in the middle of a wave.
    pub(super) fn finish(mut self, at: u64) -> Trace {
        let at = at.max(self.since);
        self.advance(at);
        self.rows.finish(at, &self.now, &self.hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Stream;
    use crate::layout::Layout;
    use crate::world::Past;

    #[test]
    fn server_hours_and_rows_are_those_of_the_sorted_ends() {
        // Seed 3: three waves of 5,000 ends, some of them long after the others, so that slots are widened.
        let spec = toml::from_str("install = \"60s ~ 20s\"").unwrap();
        let world = World::new(&spec, Layout::flat(15_000), &Past::default()).unwrap();
        let mut chance = Stream::new(3);
        let mut exposed = FastExposed::new(&world);
        let mut all = Vec::new();
        let mut begun = 0;
        for wave in 0..3_u64 {
            exposed.begin(begun, 5_000);
            let spread = 10_u64.pow(4 + u32::try_from(wave).unwrap());
            let ends: Vec<u64> = (0..5_000).map(|_| begun + 1_000 + chance.bits() % spread).collect();
            ends.iter().for_each(|end| exposed.add(*end, 0));
            begun = ends.iter().copied().max().unwrap();
            exposed.end(begun);
            all.extend(ends);
        }
        let finish = begun + 50_000;
        let trace = exposed.finish(finish);
        assert!(trace.len() > 100, "{} rows", trace.len());
        assert!(trace.at.is_sorted());
        for row in 0..trace.len() {
            let at = trace.at[row];
            let before: Vec<u64> = all.iter().copied().filter(|end| *end < at).collect();
            let by = all.iter().filter(|end| **end <= at).count();
            let (exposed, hours) = (trace.exposed_at(row)[0], trace.hours_at(row)[0]);
            #[expect(clippy::cast_precision_loss, reason = "small counts and milliseconds")]
            let wanted = before.iter().map(|end| (at - end) as f64 / HOUR).sum::<f64>();
            assert!((hours - wanted).abs() < 1e-6 * wanted.max(1.0), "row {row}: {hours} {wanted}");
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let (low, high) = (before.len() as f64, by as f64);
            assert!((low..=high).contains(&exposed), "row {row}: {exposed} of {low} to {high}");
        }
    }
}
