//! What the engine knows of each unit, one array a fact: five bytes a unit where there are no hooks, so that a million
//! servers fit into a cache-friendly handful of megabytes.

use serde::{Deserialize, Serialize};

use crate::number::{OpNo, UnitNo};

/// No operation.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Units {
    /// How far each is in its script.
    at: Vec<u8>,
    /// The operation that changed it, unless that was taken back.
    applied: Vec<u32>,
    /// The hooks that completed for it, as bits; empty where the plan has none.
    hooks: Vec<u64>,
}

impl Units {
    pub(crate) fn new(count: u32, has_hooks: bool) -> Self {
        let count = count as usize;
        Self { at: vec![0; count], applied: vec![NONE; count], hooks: vec![0; if has_hooks { count } else { 0 }] }
    }

    /// The bytes that its tables take.
    pub(crate) fn bytes(&self) -> usize {
        self.at.capacity() + self.applied.capacity() * 4 + self.hooks.capacity() * 8
    }

    #[inline]
    pub(crate) fn at(&self, unit: UnitNo) -> usize {
        usize::from(self.at[unit.index()])
    }

    #[inline]
    pub(crate) fn set_at(&mut self, unit: UnitNo, at: usize) {
        // A script has at most two hooks for each of the 64 tasks, twice, and the change itself.
        self.at[unit.index()] = u8::try_from(at).unwrap_or(u8::MAX);
    }

    #[inline]
    pub(crate) fn applied(&self, unit: UnitNo) -> Option<OpNo> {
        let op = *self.applied.get(unit.index())?;
        (op != NONE).then_some(OpNo(op))
    }

    #[inline]
    pub(crate) fn set_applied(&mut self, unit: UnitNo, op: Option<OpNo>) {
        self.applied[unit.index()] = op.map_or(NONE, |op| op.0);
    }

    #[inline]
    pub(crate) fn hooks(&self, unit: UnitNo) -> u64 {
        self.hooks.get(unit.index()).copied().unwrap_or(0)
    }

    pub(crate) fn hooks_mut(&mut self, unit: UnitNo) -> Option<&mut u64> {
        self.hooks.get_mut(unit.index())
    }

    /// Whether anything was done to it.
    #[inline]
    pub(crate) fn is_touched(&self, unit: UnitNo) -> bool {
        self.applied[unit.index()] != NONE || self.hooks(unit) != 0
    }
}
