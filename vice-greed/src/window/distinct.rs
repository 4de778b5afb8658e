//! How many different values there were: exact up to [`EXACT_MAX`], then by HyperLogLog with 2048 registers, whose standard
//! error is 2.3 %. Mergeable, and never larger than the registers.

use std::collections::BTreeSet;

use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use vice_core::Digest;

/// So many values are told apart exactly.
pub(super) const EXACT_MAX: usize = 256;

/// 2^11 registers.
const BITS: u32 = 11;
const REGISTERS: usize = 1 << BITS;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Distinct {
    /// The hashes of all values.
    Exact(BTreeSet<u64>),
    /// The registers.
    About(#[serde(with = "text")] Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(BTreeSet::new())
    }
}

impl Distinct {
    /// Takes in a value by its text.
    pub(super) fn add(&mut self, value: &str) {
        let digest = Digest::of(value.as_bytes()).to_string();
        // A digest is hex: sixteen digits are 64 bits.
        self.add_hash(u64::from_str_radix(&digest[..16], 16).unwrap_or(0));
    }

    fn add_hash(&mut self, hash: u64) {
        match self {
            Self::Exact(all) => {
                all.insert(hash);
                if all.len() > EXACT_MAX {
                    let mut registers = vec![0; REGISTERS];
                    all.iter().for_each(|hash| note(&mut registers, *hash));
                    *self = Self::About(registers);
                }
            }
            Self::About(registers) => note(registers, hash),
        }
    }

    /// Takes in what another has seen.
    #[cfg(test)]
    pub(super) fn merge(&mut self, other: &Self) {
        match other {
            Self::Exact(all) => all.iter().for_each(|hash| self.add_hash(*hash)),
            Self::About(theirs) => {
                let mut registers = theirs.clone();
                match self {
                    Self::Exact(all) => all.iter().for_each(|hash| note(&mut registers, *hash)),
                    Self::About(ours) => registers.iter_mut().zip(ours).for_each(|(one, two)| *one = (*one).max(*two)),
                }
                *self = Self::About(registers);
            }
        }
    }

    /// How many.
    pub(super) fn count(&self) -> f64 {
        match self {
            Self::Exact(all) => all.len() as f64,
            Self::About(registers) => estimate(registers),
        }
    }

    /// Whether the count is exact.
    pub(super) const fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

fn note(registers: &mut [u8], hash: u64) {
    let index = usize::try_from(hash >> (64 - BITS)).unwrap_or(0);
    let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() + 1;
    let rank = u8::try_from(rank).unwrap_or(u8::MAX);
    if let Some(register) = registers.get_mut(index) {
        *register = (*register).max(rank);
    }
}

fn estimate(registers: &[u8]) -> f64 {
    let m = registers.len() as f64;
    let sum: f64 = registers.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
    let raw = (0.7213 / (1.0 + 1.079 / m)) * m * m / sum;
    let empty = registers.iter().filter(|rank| **rank == 0).count();
    // Where many registers are empty, their number tells more than the ranks.
    let counted = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    counted.round()
}

/// Registers as text.
mod text {
    use base64::Engine as _;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{REGISTERS, STANDARD_NO_PAD};

    pub(super) fn serialize<S: Serializer>(registers: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(registers))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let registers = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        if registers.len() == REGISTERS { Ok(registers) } else { Err(D::Error::custom("registers are missing")) }
    }
}
