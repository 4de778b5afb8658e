//! The duration among the ones before it, as a small picture.

use serde::Serialize;
use vice_core::Millis;

use crate::render::comparison;
use crate::view::compare::Comparison;

/// The left and the right edge of the picture.
const EDGES: (u64, u64) = (12, 408);

#[derive(Debug, Serialize)]
pub(super) struct Strip {
    text: String,
    this: String,
    min: String,
    max: String,
    min_x: u64,
    max_x: u64,
    median_x: u64,
    path: String,
}

impl Strip {
    pub(super) fn new(found: &Comparison, took: Millis) -> Self {
        let (low, high) = (found.min.min(took).0, found.max.max(took).0);
        let (left, right) = EDGES;
        let x = |value: Millis| left + (value.0 - low) * (right - left) / (high - low).max(1);
        Self {
            text: comparison(Some(found)),
            this: format!("this one: {took}"),
            min: found.min.to_string(),
            // One label is enough when the edges fall together.
            max: if found.min == found.max { String::new() } else { found.max.to_string() },
            min_x: x(found.min),
            max_x: x(found.max),
            median_x: x(found.median),
            path: super::chart::diamond(x(took), 16, 9),
        }
    }
}
