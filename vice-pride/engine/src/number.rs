//! Dense numbers for units, tasks and operations: what the engine computes with instead of names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $int:ty, $word:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl $type {
            /// As an index into the plan or the state.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// From an index; saturates, and a plan that large is refused before.
            #[must_use]
            pub fn from_index(index: usize) -> Self {
                Self(<$int>::try_from(index).unwrap_or(<$int>::MAX))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " #{}"), self.0)
            }
        }
    };
}

/// The length of a list as a number; lists that are longer than a number are refused long before.
pub(crate) fn of_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

number!(
    /// A unit: its index in [`crate::Plan::units`].
    UnitNo,
    u32,
    "unit"
);
number!(
    /// A task: its index in [`crate::Plan::tasks`].
    TaskNo,
    u16,
    "task"
);
number!(
    /// An operation: the how-manieth that this rollout has asked for, from 0. The same inputs give the same numbers.
    OpNo,
    u32,
    "operation"
);
