//! What is still to happen, in order of time: a calendar queue. It owns the order and nothing of what the events mean.
//!
//! Days of a power of two milliseconds lie in a ring; a day is sorted when it is reached, and what lies beyond the ring
//! waits in a heap. Events of the same moment come in the order of their values, so the order never depends on the
//! order of pushing. Pushing and popping take constant time while a day holds a few events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The fewest and most days in the ring: 64 keep a small queue in a page, 16,384 serve 100,000 pending events.
const DAYS: (usize, usize) = (64, 16_384);

/// No event.
const NONE: u32 = u32::MAX;

/// An event in the ring: its day says the rest of its time. It takes 16 bytes where `T` takes 8.
#[derive(Debug, Clone, Copy)]
struct Node<T> {
    what: T,
    /// The milliseconds since its day began.
    within: u32,
    /// The next one of the same day, or the next free node.
    next: u32,
}

/// Events by time. One takes 16 bytes where `T` takes 8.
#[derive(Debug)]
pub struct Calendar<T> {
    /// The day under way, latest first.
    today: Vec<(u64, T)>,
    day: u64,
    /// By day of the ring: its first event, in no order.
    ring: Vec<u32>,
    /// The events of all days of the ring, so that what was popped last is written next, while it is near.
    nodes: Vec<Node<T>>,
    free: u32,
    /// Which days of the ring hold anything, as bits.
    used: Vec<u64>,
    shift: u32,
    in_ring: usize,
    far: BinaryHeap<Reverse<(u64, T)>>,
}

impl<T: Copy + Ord> Calendar<T> {
    /// For about `pending` events at once, most of them at most `span` milliseconds ahead. Both only matter for speed.
    #[must_use]
    pub fn new(span: u64, pending: usize) -> Self {
        let days = (pending / 4).next_power_of_two().clamp(DAYS.0, DAYS.1);
        let width = (span.max(1) / days as u64).clamp(1, 1 << 31).next_power_of_two();
        Self {
            today: Vec::new(),
            day: 0,
            ring: vec![NONE; days],
            nodes: Vec::new(),
            free: NONE,
            used: vec![0; days / 64],
            shift: width.trailing_zeros(),
            in_ring: 0,
            far: BinaryHeap::new(),
        }
    }

    /// How many events are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.today.len() + self.in_ring + self.far.len()
    }

    /// The bytes that its tables take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let events = self.today.capacity() + self.far.capacity();
        let days = self.ring.capacity() * 4 + self.used.capacity() * 8;
        self.nodes.capacity() * size_of::<Node<T>>() + events * size_of::<(u64, T)>() + days
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything and goes back to time 0; keeps the memory.
    pub fn clear(&mut self) {
        self.today.clear();
        self.ring.fill(NONE);
        self.nodes.clear();
        self.free = NONE;
        self.used.fill(0);
        self.far.clear();
        self.in_ring = 0;
        self.day = 0;
    }

    /// Adds an event. One that lies before the latest popped one comes next.
    #[inline]
    pub fn push(&mut self, at: u64, what: T) {
        let day = at >> self.shift;
        if day <= self.day {
            let place = self.today.partition_point(|entry| *entry > (at, what));
            self.today.insert(place, (at, what));
        } else if day - self.day < self.ring.len() as u64 {
            self.lay_into_ring(day, (at, what));
        } else {
            self.far.push(Reverse((at, what)));
        }
    }

    #[inline]
    fn lay_into_ring(&mut self, day: u64, (at, what): (u64, T)) {
        let place = self.place(day);
        #[expect(clippy::cast_possible_truncation, reason = "a day has at most 2^31 milliseconds")]
        let within = (at - (day << self.shift)) as u32;
        let node = Node { what, within, next: self.ring[place] };
        self.ring[place] = match self.nodes.get_mut(self.free as usize) {
            Some(free) => std::mem::replace(&mut self.free, std::mem::replace(free, node).next),
            None => {
                self.nodes.push(node);
                // The units of a fleet, and with them the events, are far fewer than 2^32.
                u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
            }
        };
        self.used[place / 64] |= 1 << (place % 64);
        self.in_ring += 1;
    }

    /// Moves the events of a day out of the ring.
    #[inline]
    fn take_day(&mut self, place: usize) {
        let begins = self.day << self.shift;
        let mut at = std::mem::replace(&mut self.ring[place], NONE);
        while let Some(node) = self.nodes.get_mut(at as usize) {
            self.today.push((begins + u64::from(node.within), node.what));
            let next = std::mem::replace(&mut node.next, self.free);
            self.free = at;
            at = next;
        }
        self.used[place / 64] &= !(1 << (place % 64));
        self.in_ring -= self.today.len();
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the ring's length")]
    fn place(&self, day: u64) -> usize {
        (day & (self.ring.len() as u64 - 1)) as usize
    }

    /// When the next event is.
    #[inline]
    pub fn peek(&mut self) -> Option<u64> {
        if self.today.is_empty() {
            self.next_day();
        }
        self.today.last().map(|(at, _)| *at)
    }

    /// The number of the day under way, and what is left of it, the last first.
    #[inline]
    pub fn today(&self) -> (u64, &[(u64, T)]) {
        (self.day, &self.today)
    }

    /// The next event with its time.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        if self.today.is_empty() {
            self.next_day();
        }
        self.today.pop()
    }

    /// Goes on to the next day that holds anything.
    fn next_day(&mut self) {
        self.day = match (self.in_ring, self.far.peek()) {
            (0, None) => return,
            (0, Some(Reverse((at, _)))) => at >> self.shift,
            // Everything in the ring lies before everything in the heap, see `fetch`.
            _ => self.day + self.until_next_used(),
        };
        let place = self.place(self.day);
        self.take_day(place);
        self.fetch();
        if self.today.len() > 1 {
            self.today.sort_unstable_by(|one, two| two.cmp(one));
        }
    }

    /// How many days until one that holds something; the ring is not empty.
    fn until_next_used(&self) -> u64 {
        let days = self.ring.len();
        let start = self.place(self.day + 1);
        let mut word = start / 64;
        let mut bits = self.used[word] & (u64::MAX << (start % 64));
        // The first word is seen twice, the second time in full; more words than that there are not.
        for _ in 0..=self.used.len() {
            if bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                return 1 + ((place + days - start) & (days - 1)) as u64;
            }
            word = (word + 1) % self.used.len();
            bits = self.used[word];
        }
        1
    }

    /// Brings what the ring now reaches in from the heap.
    fn fetch(&mut self) {
        while let Some(Reverse((at, what))) = self.far.peek().copied() {
            let day = at >> self.shift;
            if day == self.day {
                self.today.push((at, what));
            } else if day - self.day < self.ring.len() as u64 {
                self.lay_into_ring(day, (at, what));
            } else {
                return;
            }
            self.far.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Stream;

    #[test]
    fn it_gives_what_a_sorted_map_gives() {
        // Seeds 0..40: times near, far and equal, pushes and pops mixed; the model is a BTreeMap.
        for seed in 0..40 {
            let mut chance = Stream::new(seed);
            let mut queue = Calendar::new(1 << (seed % 14), 8 << (seed % 10));
            let mut model = std::collections::BTreeSet::new();
            let mut now = 0;
            for number in 0..3_000_u64 {
                if chance.unit() < 0.55 {
                    let ahead = match chance.bits() % 4 {
                        0 => 0,
                        1 => chance.bits() % 50,
                        2 => chance.bits() % 20_000,
                        _ => chance.bits() % 50_000_000,
                    };
                    queue.push(now + ahead, number);
                    model.insert((now + ahead, number));
                } else {
                    let expected = model.pop_first();
                    assert_eq!(queue.peek(), expected.map(|(at, _)| at), "seed {seed}");
                    assert_eq!(queue.pop(), expected, "seed {seed}");
                    now = expected.map_or(now, |(at, _)| at);
                }
                assert_eq!(queue.len(), model.len());
            }
            while let Some(expected) = model.pop_first() {
                assert_eq!(queue.pop(), Some(expected), "seed {seed}");
            }
            assert!(queue.is_empty() && queue.pop().is_none());
        }
    }

    #[test]
    fn a_pending_event_takes_16_bytes() {
        assert_eq!((size_of::<Node<u64>>(), size_of::<(u64, u64)>()), (16, 16));
        let mut queue = Calendar::new(1_000, 64);
        for round in 0..100 {
            for number in 0..64 {
                queue.push(round * 1_000 + 500 + number, number);
            }
            while queue.pop().is_some() {}
        }
        assert!(queue.nodes.len() <= 64, "nodes are used again: {}", queue.nodes.len());
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_of_pushing() {
        let mut queue = Calendar::new(10, 10);
        for what in [3, 1, 2] {
            queue.push(5, what);
        }
        let drained: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(drained, [(5, 1), (5, 2), (5, 3)]);
        queue.clear();
        queue.push(1, 9);
        assert_eq!(queue.pop(), Some((1, 9)));
    }
}
