//! Which upstream takes the next request: smooth weighted round robin over the healthy entries.
//!
//! Pure: no clock, no chance and no I/O, so the same calls always give the same sequence. Over any run of as many
//! picks as the weights add up to, every entry is picked exactly as often as its weight says.

/// One entry: what it stands for, how often it is wanted, and where it is in its turn.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) weight: u32,
    pub(super) healthy: bool,
    turn: i64,
}

impl<T> Entry<T> {
    pub(super) fn new(value: T, weight: u32) -> Self {
        Self { value, weight, healthy: true, turn: 0 }
    }

    /// Continues the turn and health of an earlier entry, so that a new table neither repeats nor skips anybody.
    pub(super) fn continuing(mut self, earlier: &Self) -> Self {
        self.healthy = earlier.healthy;
        self.turn = earlier.turn;
        self
    }
}

/// The whole set of entries.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
}

impl<T> Table<T> {
    pub(super) fn new(mut entries: Vec<Entry<T>>) -> Self {
        // A turn earned under much larger weights would let its entry run ahead for long; one full round is the bound.
        let round = round_of(entries.iter());
        for entry in &mut entries {
            entry.turn = entry.turn.clamp(-round, round);
        }
        Self { entries }
    }

    pub(super) fn entries(&self) -> &[Entry<T>] {
        &self.entries
    }

    pub(super) fn find_mut(&mut self, wanted: impl Fn(&T) -> bool) -> Option<&mut Entry<T>> {
        self.entries.iter_mut().find(|entry| wanted(&entry.value))
    }

    /// The next entry that `usable` accepts. Unhealthy ones are taken only when no healthy one is left, because a
    /// request that may fail is better than one that certainly does. An entry of weight 0 is never taken.
    pub(super) fn pick(&mut self, usable: impl Fn(&T) -> bool) -> Option<&T> {
        let healthy_left = self.entries.iter().any(|entry| entry.healthy && entry.weight > 0 && usable(&entry.value));
        let mut round = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.weight == 0 || entry.healthy != healthy_left || !usable(&entry.value) {
                continue;
            }
            entry.turn += i64::from(entry.weight);
            round += i64::from(entry.weight);
            if best.is_none_or(|(_, turn)| entry.turn > turn) {
                best = Some((index, entry.turn));
            }
        }
        let chosen = self.entries.get_mut(best?.0)?;
        chosen.turn -= round;
        Some(&chosen.value)
    }
}

fn round_of<'a, T: 'a>(entries: impl Iterator<Item = &'a Entry<T>>) -> i64 {
    entries.map(|entry| i64::from(entry.weight)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(weights: &[u32]) -> Table<usize> {
        Table::new(weights.iter().enumerate().map(|(index, weight)| Entry::new(index, *weight)).collect())
    }

    fn picks(table: &mut Table<usize>, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| table.pick(|_| true).copied()).collect()
    }

    #[test]
    fn turns_are_spread_out_and_not_in_bursts() {
        assert_eq!(picks(&mut table(&[5, 1, 1]), 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn unhealthy_entries_wait_until_nobody_else_is_left() {
        let mut table = table(&[1, 1, 0]);
        table.find_mut(|value| *value == 0).unwrap().healthy = false;
        assert_eq!(picks(&mut table, 3), [1, 1, 1]);
        assert_eq!(table.pick(|value| *value != 1), Some(&0));
        table.find_mut(|value| *value == 1).unwrap().healthy = false;
        let mut both = picks(&mut table, 2);
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
    }

    #[test]
    fn weight_zero_is_never_taken() {
        assert_eq!(table(&[0, 0]).pick(|_| true), None);
        assert_eq!(table(&[]).pick(|_| true), None);
        assert_eq!(table(&[0, 2]).pick(|value| *value == 0), None);
    }

    #[test]
    fn a_turn_from_large_weights_does_not_run_ahead_under_small_ones() {
        let mut large = table(&[1000, 1]);
        picks(&mut large, 1);
        let smaller = large.entries().iter().map(|old| Entry::new(old.value, 1).continuing(old)).collect();
        let mut small = Table::new(smaller);
        let first = picks(&mut small, 6);
        assert!(first.iter().filter(|value| **value == 1).count() <= 4, "{first:?}");
        let later = picks(&mut small, 100);
        assert_eq!(later.iter().filter(|value| **value == 1).count(), 50);
    }

    proptest! {
        #[test]
        fn every_round_splits_exactly(weights in prop::collection::vec(0u32..20, 1..6), skipped in 0usize..40) {
            let round: u32 = weights.iter().sum();
            prop_assume!(round > 0);
            let mut table = table(&weights);
            // A round may begin anywhere only at a multiple of its length; whole rounds are skipped before.
            picks(&mut table, (skipped % 3) * round as usize);
            let picked = picks(&mut table, round as usize);
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(picked.iter().filter(|value| **value == index).count(), *weight as usize);
            }
        }

        #[test]
        fn health_changes_never_starve_or_lose_anybody(
            weights in prop::collection::vec(1u32..10, 2..5),
            flips in prop::collection::vec((0usize..5, any::<bool>()), 0..40),
        ) {
            let mut table = table(&weights);
            for (index, healthy) in flips {
                if let Some(entry) = table.find_mut(|value| *value == index) {
                    entry.healthy = healthy;
                }
                let healthy: Vec<usize> =
                    table.entries().iter().filter(|entry| entry.healthy).map(|entry| entry.value).collect();
                let picked = *table.pick(|_| true).unwrap();
                prop_assert!(healthy.is_empty() || healthy.contains(&picked));
            }
            for index in 0..weights.len() {
                table.find_mut(|value| *value == index).unwrap().healthy = true;
            }
            let round: u32 = weights.iter().sum();
            let picked = picks(&mut table, 100 * round as usize);
            for (index, weight) in weights.iter().enumerate() {
                let count = picked.iter().filter(|value| **value == index).count();
                prop_assert!(count.abs_diff(100 * *weight as usize) <= 40, "{} of weight {}", count, weight);
            }
        }
    }
}
