//! Windows over the time of events: tumbling and sliding, by key. Pure: what is counted follows from the events, their order
//! in the log and the watermark alone, so that every process that reads the log counts alike.
//!
//! A window is closed once the watermark has passed its end by the lateness that is allowed; an event that comes later is
//! counted as late. Memory is bounded: beyond [`CELLS_MAX`] open cells of a rule, further keys share one cell.

mod cell;
mod distinct;
mod panes;
mod sketch;

pub(crate) use cell::{Cell, Looked};
pub(crate) use panes::{Arrival, Panes};

use vice_core::Millis;
use vice_core::manifest::{Measure, SpanSpec};

use crate::rules::Cel;

/// So many cells of one rule are open at once.
pub(crate) const CELLS_MAX: usize = 10_000;

/// The key that further keys share.
pub(crate) const OTHERS: &str = "(others)";

/// The longest key, in bytes; what is longer is cut.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// An event is in at most so many windows that overlap.
const OVERLAP_MAX: u64 = 60;

/// The longest window, and the longest lateness.
const SIZE_MAX: Millis = Millis::from_secs(31 * 24 * 3600);

/// How late an event may come unless the rule says otherwise.
const LATE: Millis = Millis::from_secs(10);

/// The window of a rule.
#[derive(Debug)]
pub(crate) struct WindowRule {
    pub(crate) meter: Meter,
    pub(crate) key: Option<Cel>,
    pub(crate) of: Option<Cel>,
    pub(crate) having: Option<Cel>,
    pub(crate) keep_late: bool,
}

/// How a window counts; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Meter {
    pub(crate) size: i64,
    pub(crate) every: i64,
    pub(crate) late: i64,
    pub(crate) measure: Measure,
    pub(crate) q: f64,
}

impl Meter {
    /// What `vice.toml` says, or the key that is wrong and a sentence.
    pub(crate) fn of(spec: &SpanSpec) -> Result<Self, (&'static str, String)> {
        let every = spec.every.unwrap_or(spec.size);
        let (late, q) = (spec.late.unwrap_or(LATE), spec.q.unwrap_or(0.95));
        if spec.size == Millis::ZERO || spec.size > SIZE_MAX {
            return Err(("size", format!("A window lasts between 1ms and {SIZE_MAX}.")));
        }
        if every == Millis::ZERO || every > spec.size {
            return Err(("every", "It lies between 1ms and the size, or events would be in no window.".to_owned()));
        }
        if spec.size.0.div_ceil(every.0) > OVERLAP_MAX {
            return Err(("every", format!("An event would be in more than {OVERLAP_MAX} windows.")));
        }
        if late > SIZE_MAX {
            return Err(("late", format!("It is at most {SIZE_MAX}.")));
        }
        if !(q > 0.0 && q < 1.0) {
            return Err(("q", "A quantile lies between 0 and 1, such as 0.95.".to_owned()));
        }
        let needs_value = matches!(spec.measure, Measure::Quantile | Measure::Distinct);
        if needs_value != spec.of.is_some() {
            return Err(("of", "quantile and distinct need it, the other measures have none.".to_owned()));
        }
        if spec.q.is_some() && spec.measure != Measure::Quantile {
            return Err(("q", "Only the measure quantile has one.".to_owned()));
        }
        Ok(Self { size: spec.size.as_i64(), every: every.as_i64(), late: late.as_i64(), measure: spec.measure, q })
    }

    /// Whether a window that begins there is closed.
    pub(crate) const fn is_closed(&self, start: i64, watermark: i64) -> bool {
        start.saturating_add(self.size).saturating_add(self.late) <= watermark
    }

    /// The beginnings of the windows that a moment lies in, the earliest first.
    pub(crate) fn starts(&self, at: i64) -> impl Iterator<Item = i64> + use<> {
        let (size, every) = (self.size, self.every);
        let last = at.div_euclid(every) * every;
        let first = (at - size).div_euclid(every) * every + every;
        (0..).map(move |n: i64| first + n * every).take_while(move |start| *start <= last)
    }
}
