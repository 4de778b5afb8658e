//! The places of a group: whichever is free first takes the next unit.

/// So many are simply looked through: a few cache lines without a branch, where a heap would guess wrongly at each level.
const LOOKED_THROUGH: usize = 32;

/// The bits that number the places that are looked through.
const NUMBER_BITS: u32 = LOOKED_THROUGH.trailing_zeros();

/// When each place is free. Where they are few, an entry is the time with the number of its place in the lowest bits,
/// in the order of the numbers, so that the least entry says which place it is; else it is the time alone, in a heap.
#[derive(Debug, Default)]
pub(super) struct Places {
    free: Vec<u64>,
}

impl Places {
    /// So many places, all free from a moment on.
    pub(super) fn open(&mut self, count: u32, from: u64) {
        self.free.clear();
        if count as usize <= LOOKED_THROUGH {
            self.free.extend((0..u64::from(count)).map(|number| from << NUMBER_BITS | number));
        } else {
            self.free.resize(count as usize, from);
        }
    }

    /// The place that is free first is taken for so long; gives until when.
    #[inline]
    pub(super) fn take_earliest(&mut self, takes: u64) -> u64 {
        if self.free.len() > LOOKED_THROUGH {
            return self.take_top(takes);
        }
        let least = self.free.iter().fold(u64::MAX, |least, entry| least.min(*entry));
        let taken = least.saturating_add(takes << NUMBER_BITS);
        if let Some(entry) = self.free.get_mut((least % LOOKED_THROUGH as u64) as usize) {
            *entry = taken;
        }
        taken >> NUMBER_BITS
    }

    /// Sifts down: a heap of n places has log2 n levels.
    fn take_top(&mut self, takes: u64) -> u64 {
        let free = self.free.as_mut_slice();
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
