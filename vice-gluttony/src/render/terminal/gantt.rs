//! The timeline as rows of characters: what ran when, under a time axis.

use unicode_width::UnicodeWidthStr;
use vice_core::payload::environment::Direction;
use vice_core::text::{Tone, paint, sanitize};

use super::{cut, pad};
use crate::render::axis::{Axis, tick_label};
use crate::view::lanes::{Bar, BarState, Group, Lane, MarkKind, Timeline};

/// The widest name.
const NAME_MAX: usize = 18;

/// More rows than this don't fit a screen.
pub(super) const LANES_MAX: usize = 40;

/// What is said at the right of a row.
const SAID: usize = 22;

/// The chart, with a legend under it.
pub(super) fn chart(timeline: &Timeline, width: usize) -> String {
    let (lanes, hidden) = timeline.shown(LANES_MAX);
    let names = lanes.iter().map(|lane| named(lane).width());
    let name_width = names.max().unwrap_or(0).clamp(9, NAME_MAX);
    let columns = width - name_width - SAID - 6;
    let axis = Axis::new(timeline.start, timeline.end, u64::try_from(columns - 1).unwrap_or(0));
    let mut out = ruler(&axis, name_width, columns);
    let mut group: Option<Group> = None;
    for lane in lanes {
        if group.replace(lane.group).is_some_and(|before| before != lane.group) {
            out.push_str(&paint(Tone::Faint, format!("  {}│", " ".repeat(name_width + 1))));
            out.push('\n');
        }
        out.push_str(&row(lane, timeline, &axis, (name_width, columns)));
    }
    if hidden > 0 {
        out.push_str(&paint(Tone::Faint, format!("  … and {hidden} more\n")));
    }
    out.push_str(&marks(timeline, &axis, (name_width, columns)));
    out.push_str(&paint(Tone::Faint, "  ━ forward  ═ back  ✗ failed  ╳ cut short  › under way"));
    if !timeline.marks.is_empty() {
        out.push_str(&paint(Tone::Faint, "  ◆ decision  ◇ held back  ▲ operator"));
    }
    out.push('\n');
    out
}

/// Units are often named by a mere number.
fn named(lane: &Lane) -> String {
    match lane.group {
        Group::Units => sanitize(&format!("unit {}", lane.name)),
        Group::Waves | Group::Tasks | Group::Checks => sanitize(&lane.name),
    }
}

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn ruler(axis: &Axis, name_width: usize, columns: usize) -> String {
    let mut line = String::new();
    for (place, offset) in axis.ticks(6) {
        let (at, label) = (index(place), tick_label(offset));
        // A label that would touch the one before, or stick out, is left out.
        if (line.is_empty() || at > line.width()) && at + label.width() <= columns + 4 {
            line = pad(&line, at);
            line.push_str(&label);
        }
    }
    format!("  {}{}\n", " ".repeat(name_width + 2), paint(Tone::Faint, line))
}

fn row(lane: &Lane, timeline: &Timeline, axis: &Axis, (name_width, columns): (usize, usize)) -> String {
    let mut cells = vec![(' ', Tone::Plain); columns];
    for bar in &lane.bars {
        let from = index(axis.place(bar.from)).min(columns - 1);
        let to = index(axis.place(bar.to.unwrap_or(timeline.end))).clamp(from, columns - 1);
        let (line, end, tone) = strokes(bar);
        cells[from..=to].fill((line, tone));
        if let Some(end) = end {
            cells[to] = (end, tone);
        }
    }
    let name = pad(&cut(&named(lane), name_width), name_width);
    let said = lane.bars.last().map(|bar| said(bar, timeline)).unwrap_or_default();
    format!("  {name} {}{} {said}\n", paint(Tone::Faint, "│"), painted(&cells))
}

const fn strokes(bar: &Bar) -> (char, Option<char>, Tone) {
    let line = match bar.direction {
        Direction::Deploy => '━',
        Direction::Rollback => '═',
    };
    match bar.state {
        BarState::Good => (line, None, Tone::Good),
        BarState::Bad => (line, Some('✗'), Tone::Bad),
        BarState::Cut => (line, Some('╳'), Tone::Warn),
        BarState::Open => (line, Some('›'), Tone::Plain),
    }
}

fn said(bar: &Bar, timeline: &Timeline) -> String {
    let (_, _, tone) = strokes(bar);
    let text = format!("{} {} {}", sanitize(&bar.label), bar.state.word(), bar.took(timeline.end));
    paint(tone, cut(&text, SAID))
}

fn marks(timeline: &Timeline, axis: &Axis, (name_width, columns): (usize, usize)) -> String {
    if timeline.marks.is_empty() {
        return String::new();
    }
    let mut cells = vec![(' ', Tone::Plain); columns];
    for mark in &timeline.marks {
        let sign = match mark.kind {
            MarkKind::Decision => '◆',
            MarkKind::Hold => '◇',
            MarkKind::Operator => '▲',
        };
        cells[index(axis.place(mark.at)).min(columns - 1)] = (sign, super::tone(mark.mood));
    }
    let line = painted(&cells);
    format!("  {} {}{}\n", " ".repeat(name_width), paint(Tone::Faint, "│"), line.trim_end())
}

/// Neighbours of one tone share one style.
pub(super) fn painted(cells: &[(char, Tone)]) -> String {
    let runs = cells.chunk_by(|one, two| one.1 == two.1);
    runs.map(|run| paint(run[0].1, run.iter().map(|(c, _)| c).collect::<String>())).collect()
}
