//! View models as text. Each renderer is a pure function of a view; what is harmless differs between them, so each
//! makes the texts from outside harmless in its own way.

mod axis;
pub mod html;
pub mod markdown;
pub mod terminal;

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::payload::ReleaseRef;
use vice_core::time::ago;

use crate::view::compare::Comparison;

/// A moment to the second, in UTC.
fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A moment as people say it: absolute and relative.
fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", clock(at), relative(at, now))
}

/// A moment relative to now, in either direction.
fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", Millis::between(now, at)) } else { ago(at, now) }
}

/// What stands where there is nothing.
const NOTHING: &str = "–";

/// What stands where a figure has nothing to rest on.
const NO_DATA: &str = "no data";

fn release(release: Option<&ReleaseRef>) -> String {
    release.map_or_else(|| NOTHING.to_owned(), ReleaseRef::label)
}

/// The comparison of a duration in words, after the duration itself.
fn comparison(comparison: Option<&Comparison>) -> String {
    let Some(found) = comparison else { return "no earlier rollout to compare with".to_owned() };
    let (place, of) = (found.rank, found.earlier + 1);
    let rank = match place {
        1 => format!("the fastest of {of}"),
        _ if place == of => format!("the slowest of {of}"),
        _ => format!("number {place} of {of} from the fastest"),
    };
    match found.earlier {
        1 => format!("{rank}; the one before took {}", found.median),
        n => format!("{rank}; the {n} before took {} to {}, median {}", found.min, found.max, found.median),
    }
}
