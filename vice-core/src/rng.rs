//! Named random streams. Each purpose and entity has a stream of its own, derived from one seed, so that adding
//! a draw in one place never shifts another (the habit of omicron's planner).

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sha2::{Digest as _, Sha256};

/// The root of all chance in one run.
#[derive(Debug, Clone)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// All streams follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed, for printing: a failing run must say it.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream for one purpose and one entity. The same arguments give the same numbers on every platform.
    #[must_use]
    pub fn stream(&self, purpose: &str, entity: u64) -> Pcg64Mcg {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(u64::try_from(purpose.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(purpose.as_bytes());
        hash.update(entity.to_le_bytes());
        let digest = hash.finalize();
        let mut seed = [0_u8; 16];
        seed.copy_from_slice(&digest[..16]);
        Pcg64Mcg::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn the_generator_is_the_pinned_one() {
        let mut rng = Pcg64Mcg::seed_from_u64(42);
        let drawn: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(drawn, [1_123_331_483, 4_064_177_775, 2_130_306_854, 3_320_669_623]);
    }

    #[test]
    fn streams_do_not_shift_each_other() {
        let streams = Streams::new(1);
        let mut first = streams.stream("ids", 0);
        let expected = first.next_u64();
        let mut other = streams.stream("jitter", 0);
        let _: u64 = other.next_u64();
        assert_eq!(streams.stream("ids", 0).next_u64(), expected);
        assert_ne!(streams.stream("ids", 1).next_u64(), expected);
    }
}
