//! Watching a run from outside: for pictures, for finding the bottleneck, and for checkers that share nothing with the
//! engine. A watcher sees what the world sees; it can't change anything.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::Reason;

/// What can be seen of a run. Times are milliseconds after the start; units are numbers.
pub trait Watch {
    /// Whether reasons are wanted; telling them costs time.
    const REASONS: bool;
    /// A unit begins to change; `back` on the way back.
    fn began(&mut self, at: u64, unit: u32, back: bool);
    /// It is done, or the try failed.
    fn ended(&mut self, at: u64, unit: u32, back: bool, failed: bool);
    /// A wave begins or ends.
    fn wave(&mut self, at: u64, wave: u32, begins: bool);
    /// The new release has this share of the traffic, in basis points; none: traffic follows the units.
    fn share(&mut self, at: u64, share: Option<u32>);
    /// Something was decided.
    fn decided(&mut self, at: u64, verdict: Verdict, reason: Reason);
    /// From now on nothing begins, for this reason.
    fn held(&mut self, at: u64, reason: Reason);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Watch for Nobody {
    const REASONS: bool = false;
    #[inline]
    fn began(&mut self, _: u64, _: u32, _: bool) {}
    #[inline]
    fn ended(&mut self, _: u64, _: u32, _: bool, _: bool) {}
    #[inline]
    fn wave(&mut self, _: u64, _: u32, _: bool) {}
    #[inline]
    fn share(&mut self, _: u64, _: Option<u32>) {}
    #[inline]
    fn decided(&mut self, _: u64, _: Verdict, _: Reason) {}
    #[inline]
    fn held(&mut self, _: u64, _: Reason) {}
}
