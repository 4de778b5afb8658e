//! The duration among the ones before it, as a small picture.

use serde::Serialize;
use vice_core::Millis;

use crate::view::compare::Comparison;

/// The left and the right edge of the picture.
const EDGES: (u64, u64) = (12, 408);

#[derive(Debug, Serialize)]
pub(super) struct Strip {
    this: String,
    min: String,
    max: String,
    min_x: u64,
    max_x: u64,
    median_x: u64,
    path: String,
}

impl Strip {
    /// The picture; none when there is no span to draw, because all before took equally long.
    pub(super) fn new(found: &Comparison, took: Millis) -> Option<Self> {
        if found.min == found.max {
            return None;
        }
        let (low, high) = (found.min.min(took).0, found.max.max(took).0);
        let (left, right) = EDGES;
        let x = |value: Millis| left + (value.0 - low) * (right - left) / (high - low).max(1);
        Some(Self {
            this: format!("this one: {took}"),
            min: found.min.to_string(),
            max: found.max.to_string(),
            min_x: x(found.min),
            max_x: x(found.max),
            median_x: x(found.median),
            path: super::chart::diamond(x(took), 16, 9),
        })
    }
}
