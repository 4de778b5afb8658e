//! A dashboard.

use jiff::Timestamp;
use vice_core::payload::environment::Direction;
use vice_core::text::{Table, Tone, paint, sanitize};

use super::{cut, heading, item, tone};
use crate::render::{NO_DATA, NOTHING, clock, relative};
use crate::view::dashboard::{
    Dashboard, Definition, FrequencyRow, HoldRow, PanelView, RolloutRow, StatusRow, VerificationRow,
};

/// The dashboard for a terminal of this width.
#[must_use]
pub fn dashboard(board: &Dashboard, width: usize) -> String {
    let (width, now) = (super::width(width), board.generated);
    let title = paint(Tone::Strong, cut(&sanitize(&board.title), width - 26));
    let mut out = format!("{title} · {}\n", paint(Tone::Faint, clock(now)));
    for panel in &board.panels {
        match panel {
            PanelView::Status { rows } => status(&mut out, rows, now),
            PanelView::Rollouts { rows } => rollouts(&mut out, rows, now),
            PanelView::Verifications { rows } => verifications(&mut out, rows, now, width),
            PanelView::Holds { rows } => holds(&mut out, rows, now, width),
            PanelView::Frequency { window_days, rows, definitions } => {
                frequency(&mut out, *window_days, rows);
                meanings(&mut out, definitions, width);
            }
        }
    }
    out
}

fn none(out: &mut String, text: &str) {
    out.push_str(&format!("  {}\n", paint(Tone::Faint, text)));
}

fn cell(tone: Tone, text: &str, width: usize) -> (Tone, String) {
    (tone, cut(&sanitize(text), width))
}

fn status(out: &mut String, rows: &[StatusRow], now: Timestamp) {
    heading(out, "What runs where");
    if rows.is_empty() {
        return none(out, "There is no environment.");
    }
    let mut table = Table::with_heading(&["  where", "version", "since", "by", "state"]);
    for row in rows {
        let (version, since, by) = match &row.running {
            Some(placed) => (placed.release.version.clone(), relative(placed.since, now), placed.by.clone()),
            None => (NOTHING.to_owned(), NOTHING.to_owned(), NOTHING.to_owned()),
        };
        let (tone, state) = state(row);
        table.row([
            cell(Tone::Strong, &format!("  {}", row.scope), 24),
            cell(Tone::Plain, &version, 16),
            cell(Tone::Plain, &since, 10),
            cell(Tone::Plain, &by, 16),
            cell(tone, &state, 26),
        ]);
    }
    out.push_str(&table.render());
}

/// What deserves a word about an environment, the most urgent first.
fn state(row: &StatusRow) -> (Tone, String) {
    if let Some(reason) = &row.waiting {
        return (Tone::Warn, format!("waits: {reason}"));
    }
    if let Some(active) = &row.active {
        return (Tone::Warn, format!("rollout {} under way", active.number));
    }
    if row.stopped {
        return (Tone::Warn, "stopped on purpose".to_owned());
    }
    match &row.running {
        None => (Tone::Faint, "nothing deployed".to_owned()),
        Some(placed) if !placed.proven => (Tone::Warn, "not proven".to_owned()),
        Some(_) if !row.holds.is_empty() => (Tone::Good, format!("proven; {} on hold", row.holds.join(", "))),
        Some(_) => (Tone::Good, "proven".to_owned()),
    }
}

fn rollouts(out: &mut String, rows: &[RolloutRow], now: Timestamp) {
    heading(out, "Latest rollouts");
    if rows.is_empty() {
        return none(out, "Nothing was deployed yet.");
    }
    let mut table = Table::with_heading(&["  rollout", "to", "outcome", "began", "took", "by"]);
    for row in rows {
        let back = if row.direction == Direction::Rollback { "back to " } else { "" };
        table.row([
            cell(Tone::Plain, &format!("  {}", row.rollout), 28),
            cell(Tone::Plain, &format!("{back}{}", row.version), 18),
            (tone(row.standing.mood()), row.standing.word().to_owned()),
            (Tone::Plain, relative(row.began, now)),
            (Tone::Plain, row.took.map_or_else(|| NOTHING.to_owned(), |took| took.to_string())),
            cell(Tone::Plain, &row.by, 12),
        ]);
    }
    out.push_str(&table.render());
}

fn verifications(out: &mut String, rows: &[VerificationRow], now: Timestamp, width: usize) {
    heading(out, "Latest verifications");
    if rows.is_empty() {
        return none(out, "No checks were run by themselves yet.");
    }
    for row in rows {
        let (mood, word) = if row.passed { (Tone::Good, "passed") } else { (Tone::Bad, "FAILED") };
        let version = row.version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
        let text = format!("{}{version}: {}, {}", row.scope, row.summary, relative(row.at, now));
        item(out, &format!("  {word}"), mood, &text, width);
        for failure in &row.failures {
            let why = failure.messages.first().map(String::as_str).unwrap_or_default();
            item(out, "        ", Tone::Plain, &format!("{}: {why}", failure.name), width);
        }
    }
}

fn holds(out: &mut String, rows: &[HoldRow], now: Timestamp, width: usize) {
    heading(out, "On hold");
    if rows.is_empty() {
        return none(out, "No version is on hold.");
    }
    for row in rows {
        let text = format!(
            "{} version {}, {}, by {}: {}",
            row.scope,
            row.version,
            relative(row.since, now),
            row.by,
            row.reason
        );
        item(out, " ", Tone::Warn, &text, width);
    }
}

fn frequency(out: &mut String, window_days: u64, rows: &[FrequencyRow]) {
    heading(out, &format!("Deploys in the last {window_days} days"));
    let titles = ["  where", "per week", "lead time", "success", "median", "failures", "time to restore"];
    let mut table = Table::with_heading(&titles);
    for row in rows {
        let figures = &row.figures;
        let scope = row.scope.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
        let shown = |value: Option<String>| match value {
            Some(value) => (Tone::Plain, value),
            None => (Tone::Faint, NO_DATA.to_owned()),
        };
        table.row([
            cell(Tone::Strong, &format!("  {scope}"), 20),
            shown(figures.per_week()),
            shown(figures.lead_shown()),
            shown(figures.share(figures.succeeded)),
            shown(figures.median.map(|median| median.to_string())),
            shown(figures.share(figures.change_failures)),
            shown(figures.restore_shown().map(|text| cut(&text, 18))),
        ]);
    }
    out.push_str(&table.render());
}

fn meanings(out: &mut String, definitions: &[Definition], width: usize) {
    for definition in definitions {
        item(out, "  ", Tone::Faint, &format!("{}: {}.", definition.name, definition.meaning), width);
    }
}
