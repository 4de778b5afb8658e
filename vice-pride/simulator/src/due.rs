//! What is due at a moment, in eight bytes: its kind in the highest bits, then the operation, then the unit.

use vice_pride_engine::OpNo;

/// Units have 24 bits, and a fleet of more is refused before.
const UNIT_BITS: u32 = 24;
const OP_BITS: u32 = 32;

/// The kind of what is due. Of one moment, they come in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Done,
    Failed,
    Changed,
    ChangeFailed,
    Undone,
    Verified,
    Measured,
    Weighed,
    Sits,
    Abort,
    Answer,
    Tick,
}

const KINDS: [Kind; 12] = [
    Kind::Done,
    Kind::Failed,
    Kind::Changed,
    Kind::ChangeFailed,
    Kind::Undone,
    Kind::Verified,
    Kind::Measured,
    Kind::Weighed,
    Kind::Sits,
    Kind::Abort,
    Kind::Answer,
    Kind::Tick,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due(u64);

impl Due {
    #[inline]
    pub(crate) const fn new(kind: Kind, op: OpNo, unit: u32) -> Self {
        Self((kind as u64) << (UNIT_BITS + OP_BITS) | (op.0 as u64) << UNIT_BITS | unit as u64)
    }

    pub(crate) const fn plain(kind: Kind) -> Self {
        Self::new(kind, OpNo(0), 0)
    }

    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        KINDS[(self.0 >> (UNIT_BITS + OP_BITS)) as usize % KINDS.len()]
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "these are the 32 bits of the operation")]
    pub(crate) const fn op(self) -> OpNo {
        OpNo((self.0 >> UNIT_BITS) as u32)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "these are the 24 bits of the unit")]
    pub(crate) const fn unit(self) -> u32 {
        self.0 as u32 & ((1 << UNIT_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for kind in KINDS {
            for (op, unit) in [(0, 0), (u32::MAX, 9_999_999), (7, 1)] {
                let due = Due::new(kind, OpNo(op), unit);
                assert_eq!((due.kind(), due.op(), due.unit()), (kind, OpNo(op), unit));
            }
        }
        assert_eq!(size_of::<(u64, Due)>(), 16);
    }
}
