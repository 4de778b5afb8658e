//! The places of a group: whichever is free first takes the next unit.

/// So many are simply looked through: a few cache lines without a branch, where a heap would guess wrongly at each level.
const LOOKED_THROUGH: usize = 32;

/// The bits that number the places that are looked through.
const NUMBER_BITS: u32 = LOOKED_THROUGH.trailing_zeros();

/// So many entries are compared side by side.
const LANES: usize = 4;

/// When each place is free.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where they are few: the time with the number of the place in its lowest bits, in the order of the numbers, so
    /// that the least entry says which place it is. Whole numbers below 2^53, as floating-point numbers because every
    /// processor takes the least of two pairs of those in one instruction; filled up with infinity.
    few: Vec<[f64; LANES]>,
    /// Where they are many: the times alone, in a heap.
    many: Vec<u64>,
}

impl Places {
    /// So many places, all free from a moment on.
    pub(super) fn open(&mut self, count: u32, from: u64) {
        self.few.clear();
        self.many.clear();
        if count as usize > LOOKED_THROUGH {
            self.many.resize(count as usize, from);
            return;
        }
        let free = |number: u32| match number < count {
            true => entry(from << NUMBER_BITS | u64::from(number)),
            false => f64::INFINITY,
        };
        self.few.extend((0..count).step_by(LANES).map(|first| [0, 1, 2, 3].map(|lane| free(first + lane))));
    }

    /// The place that is free first is taken for so long; gives until when.
    #[inline]
    pub(super) fn take_earliest(&mut self, takes: u64) -> u64 {
        if !self.many.is_empty() {
            return self.take_top(takes);
        }
        let mut least = [f64::INFINITY; LANES];
        for entries in &self.few {
            for (least, entry) in least.iter_mut().zip(entries) {
                *least = lesser(*least, *entry);
            }
        }
        let least = lesser(lesser(least[0], least[1]), lesser(least[2], least[3]));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number below 2^53")]
        let least = least as u64;
        let taken = least.saturating_add(takes << NUMBER_BITS);
        let place = (least % LOOKED_THROUGH as u64) as usize;
        if let Some(entries) = self.few.get_mut(place / LANES) {
            entries[place % LANES] = entry(taken);
        }
        taken >> NUMBER_BITS
    }

    /// Sifts down: a heap of n places has log2 n levels.
    fn take_top(&mut self, takes: u64) -> u64 {
        let free = self.many.as_mut_slice();
        let end = free[0].saturating_add(takes);
        free[0] = end;
        let mut at = 0;
        while 2 * at + 1 < free.len() {
            let left = 2 * at + 1;
            let child = if left + 1 < free.len() && free[left + 1] < free[left] { left + 1 } else { left };
            if free[child] >= free[at] {
                break;
            }
            free.swap(child, at);
            at = child;
        }
        end
    }
}

/// Without the care for what is not a number that `f64::min` takes.
#[inline]
fn lesser(one: f64, other: f64) -> f64 {
    if other < one { other } else { one }
}

/// Times end long before 2^48 milliseconds, 8,900 years.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn entry(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Stream;

    #[test]
    fn the_earliest_place_is_taken_whatever_their_number() {
        // Seed 11; the model is a sorted list.
        let mut chance = Stream::new(11);
        let mut places = Places::default();
        for count in [1, 2, 10, 31, 32, 33, 200] {
            places.open(count, 1_000);
            let mut model = vec![1_000; count as usize];
            for _ in 0..1_000 {
                let takes = chance.bits() % 90_000;
                model.sort_unstable();
                model[0] += takes;
                assert_eq!(places.take_earliest(takes), model[0], "{count} places");
            }
        }
    }
}
