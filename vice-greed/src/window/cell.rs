//! What one window has seen for one key.

use serde::{Deserialize, Serialize};
use vice_core::manifest::Measure;

use super::Meter;
use super::distinct::Distinct;
use super::sketch::Sketch;

/// A window's state for a key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// How many events it holds.
    pub(crate) count: u64,
    /// Through how many rules the events had come already.
    #[serde(default)]
    pub(crate) hops: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sketch: Option<Sketch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distinct: Option<Distinct>,
}

/// The value of an event that a measure looks at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Looked {
    Nothing,
    Number(f64),
    Text(String),
}

impl Cell {
    /// Takes in an event.
    pub(super) fn add(&mut self, looked: &Looked, hops: u32) {
        self.count += 1;
        self.hops = self.hops.max(hops);
        match looked {
            Looked::Nothing => {}
            Looked::Number(number) => self.sketch.get_or_insert_default().add(*number),
            Looked::Text(text) => self.distinct.get_or_insert_default().add(text),
        }
    }

    /// Takes in what another has seen.
    #[cfg(test)]
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.hops = self.hops.max(other.hops);
        if let Some(sketch) = &other.sketch {
            self.sketch.get_or_insert_default().merge(sketch);
        }
        if let Some(distinct) = &other.distinct {
            self.distinct.get_or_insert_default().merge(distinct);
        }
    }

    /// What the window came to; none for a quantile without numbers.
    pub(crate) fn value(&self, meter: &Meter) -> Option<f64> {
        match meter.measure {
            Measure::Count => Some(self.count as f64),
            Measure::Rate => Some(self.count as f64 * 1000.0 / meter.size as f64),
            Measure::Quantile => self.sketch.as_ref().and_then(|sketch| sketch.quantile(meter.q)),
            Measure::Distinct => Some(self.distinct.as_ref().map_or(0.0, Distinct::count)),
        }
    }

    /// Whether the value is exact: quantiles never are, and many different values are estimated.
    pub(crate) fn is_exact(&self, meter: &Meter) -> bool {
        match meter.measure {
            Measure::Count | Measure::Rate => true,
            Measure::Quantile => false,
            Measure::Distinct => self.distinct.as_ref().is_none_or(Distinct::is_exact),
        }
    }
}
