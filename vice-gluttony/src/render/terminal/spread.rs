//! A spread for the terminal: rows are parts of the fleet, columns are moments.

use vice_core::Millis;
use vice_core::payload::propagation::{Propagation, PropagationRow};
use vice_core::text::{Tone, paint, sanitize};

use super::{cut, item, pad};
use crate::render::axis::{Axis, tick_label};
use crate::view::mix;

/// More rows don't fit beside the rest; neighbours are put together.
const ROWS_MAX: usize = 12;

const NAME: usize = 22;

/// The map; each place shows what most of its units are, and how many of them have the new release.
pub(super) fn spread(drawn: &Propagation, width: usize) -> String {
    let columns = width.saturating_sub(NAME + 4).max(10);
    let end = drawn.times_ms.last().copied().unwrap_or(0).max(1);
    let axis = Axis::over(Millis(end), columns as u64 - 1);
    let mut out = ruler(&axis, columns);
    for rows in together(&drawn.rows) {
        let name = pad(&cut(&name(rows), NAME), NAME);
        let mut before = 0;
        let cell = |column: usize| {
            let at = moment(drawn, end, column, columns);
            let shown = cell(rows, (before, at));
            before = at;
            shown
        };
        let cells: Vec<(char, Tone)> = (0..columns).map(cell).collect();
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

/// Neighbours below the same node, so many at a time that all fit, if they do.
fn together(rows: &[PropagationRow]) -> Vec<&[PropagationRow]> {
    let parent = |row: &PropagationRow| row.path.split_last().map(|(_, parent)| parent.to_vec());
    let same: Vec<&[PropagationRow]> = rows.chunk_by(|one, two| parent(one) == parent(two)).collect();
    let mut size = rows.len().div_ceil(ROWS_MAX).max(1);
    loop {
        let chunks: Vec<&[PropagationRow]> = same.iter().flat_map(|rows| rows.chunks(size)).collect();
        if chunks.len() <= ROWS_MAX {
            return chunks;
        }
        if size > rows.len() {
            return rows.chunks(rows.len().div_ceil(ROWS_MAX)).collect();
        }
        size += 1;
    }
}

/// Where it is in the tree: a node, or from one to another.
fn name(rows: &[PropagationRow]) -> String {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return String::new() };
    let whole = first.path.join("/");
    let same = first.path.split_last().map(|(_, parent)| parent) == last.path.split_last().map(|(_, parent)| parent);
    sanitize(&match last.path.last() {
        Some(name) if same && rows.len() > 1 => format!("{whole} … {name}"),
        _ if rows.len() > 1 => format!("{whole} … {}", last.path.join("/")),
        _ => whole,
    })
}

/// The last moment that a column covers.
fn moment(drawn: &Propagation, end: u64, column: usize, columns: usize) -> usize {
    let until = u128::from(end) * (column as u128 + 1) / columns as u128;
    drawn.times_ms.iter().rposition(|time| u128::from(*time) <= until).unwrap_or(0)
}

/// What most of the units are. A failure is marked where it happens, and stays only while it is a tenth of them: one
/// unit of thousands would hide how the rest goes on.
fn cell(rows: &[PropagationRow], (before, at): (usize, usize)) -> (char, Tone) {
    const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let [old, changing, new, failed, back] = mix::sum(rows, at);
    let all = (old + changing + new + failed + back).max(1);
    if failed > mix::sum(rows, before)[3] || failed * 10 >= all {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &[&str]) -> PropagationRow {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        PropagationRow { path, units: 1, nodes: 1, changes: vec![[0, 1, 0, 0, 0, 0]] }
    }

    #[test]
    fn rows_are_put_together_below_one_node_and_named_after_it() {
        let all: Vec<PropagationRow> =
            ["a", "b"].iter().flat_map(|dc| (0..30).map(|n| row(&[*dc, &n.to_string()])).collect::<Vec<_>>()).collect();
        let rows = together(&all);
        assert!(rows.len() <= ROWS_MAX && rows.iter().all(|rows| rows[0].path[0] == rows[rows.len() - 1].path[0]));
        assert_eq!(rows.iter().map(|rows| rows.len()).sum::<usize>(), 60);
        assert_eq!([name(rows[0]), name(&all[..1]), name(&[])], ["a/0 … 4", "a/0", ""]);
        let roots: Vec<PropagationRow> = (0..40).map(|n| row(&[&n.to_string(), "x"])).collect();
        assert!(together(&roots).len() <= ROWS_MAX);
        assert_eq!(together(&[]).len(), 0);
    }

    #[test]
    fn a_failure_is_marked_where_it_happens() {
        let mut failing = row(&["a"]);
        failing.units = 100;
        failing.changes = vec![[0, 100, 0, 0, 0, 0], [2, 0, 0, 99, 1, 0]];
        let rows = [failing];
        let signs: String = [(0, 1), (1, 2), (2, 3)].into_iter().map(|at| cell(&rows, at).0).collect();
        assert_eq!(signs, "·✗█");
    }
}
