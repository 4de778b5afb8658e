//! A spread for the terminal: rows are parts of the fleet, columns are moments.

use vice_core::Millis;
use vice_core::payload::propagation::{Propagation, PropagationRow};
use vice_core::text::{Tone, paint, sanitize};

use super::{cut, item, pad};
use crate::render::axis::{Axis, tick_label};
use crate::view::mix;

/// More rows don't fit beside the rest; neighbours are put together.
const ROWS_MAX: usize = 20;

const NAME: usize = 22;

/// The map; each place shows what most of its units are, and how many of them have the new release.
pub(super) fn spread(drawn: &Propagation, width: usize) -> String {
    let columns = width.saturating_sub(NAME + 4).max(10);
    let end = drawn.times_ms.last().copied().unwrap_or(0).max(1);
    let axis = Axis::over(Millis(end), columns as u64 - 1);
    let mut out = ruler(&axis, columns);
    let size = drawn.rows.len().div_ceil(ROWS_MAX).max(1);
    for rows in drawn.rows.chunks(size) {
        let name = pad(&cut(&name(rows), NAME), NAME);
        let cells: Vec<(char, Tone)> =
            (0..columns).map(|column| cell(rows, moment(drawn, end, column, columns))).collect();
        out.push_str(&format!("  {name} {}{}\n", paint(Tone::Faint, "│"), super::gantt::painted(&cells)));
    }
    out.push_str(&paint(Tone::Faint, "  · old  ▁▄█ part of it new  ▒ changing  ✗ failed  ◂ back\n"));
    let last = drawn.times_ms.len().saturating_sub(1);
    item(&mut out, "  at the end", Tone::Plain, &mix::in_words(mix::of_all(drawn, last)), width);
    if let Some(note) = &drawn.aggregated {
        item(&mut out, "  note", Tone::Faint, note, width);
    }
    out
}

fn ruler(axis: &Axis, columns: usize) -> String {
    let mut line = String::new();
    for (place, offset) in axis.ticks(6) {
        let (at, label) = (usize::try_from(place).unwrap_or(0), tick_label(offset));
        if (line.is_empty() || at > line.len()) && at + label.len() <= columns {
            line = pad(&line, at);
            line.push_str(&label);
        }
    }
    format!("  {}{}\n", " ".repeat(NAME + 2), paint(Tone::Faint, line))
}

fn name(rows: &[PropagationRow]) -> String {
    let path = |row: Option<&PropagationRow>| row.map(|row| row.path.join("/")).unwrap_or_default();
    let (first, last) = (path(rows.first()), path(rows.last()));
    sanitize(&if rows.len() < 2 { first } else { format!("{first} … {last}") })
}

/// The last moment that a column covers.
fn moment(drawn: &Propagation, end: u64, column: usize, columns: usize) -> usize {
    let until = u128::from(end) * (column as u128 + 1) / columns as u128;
    drawn.times_ms.iter().rposition(|time| u128::from(*time) <= until).unwrap_or(0)
}

fn cell(rows: &[PropagationRow], at: usize) -> (char, Tone) {
    const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let [old, changing, new, failed, back] = mix::sum(rows, at);
    let all = (old + changing + new + failed + back).max(1);
    if failed > 0 {
        ('✗', Tone::Bad)
    } else if back > 0 && back >= new {
        ('◂', Tone::Warn)
    } else if changing * 2 > all || (changing > 0 && new == 0) {
        ('▒', Tone::Warn)
    } else if new > 0 {
        (LEVELS[usize::try_from((new * 8).div_ceil(all)).unwrap_or(8).min(8)], Tone::Code)
    } else {
        ('·', Tone::Faint)
    }
}
