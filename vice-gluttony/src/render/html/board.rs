//! What the template of a dashboard gets: every panel is a table of cells.

use jiff::Timestamp;
use serde::Serialize;
use vice_core::text::sanitize;

use crate::render::{NO_DATA, NOTHING, clock, relative, when};
use crate::view::dashboard::{Dashboard, FrequencyRow, HoldRow, PanelView, RolloutRow, StatusRow, VerificationRow};

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct Board {
    name: String,
    title: String,
    generated: String,
    panels: Vec<Panel>,
    /// A dashboard has none; the head of every page asks.
    script: Option<super::script::Script>,
}

#[derive(Debug, Serialize)]
struct Panel {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
    definitions: Vec<Definition>,
}

#[derive(Debug, Serialize)]
struct Definition {
    name: String,
    meaning: String,
}

#[derive(Debug, Serialize)]
struct Cell {
    text: String,
    class: &'static str,
    badge: Option<&'static str>,
    more: Vec<String>,
}

impl Cell {
    fn text(text: &str) -> Self {
        Self { text: sanitize(text), class: "", badge: None, more: Vec::new() }
    }

    fn tight(text: &str) -> Self {
        Self { class: "tight", ..Self::text(text) }
    }

    fn faint(text: &str) -> Self {
        Self { class: "faint", ..Self::text(text) }
    }

    fn badge(mood: &'static str, text: &str) -> Self {
        Self { badge: Some(mood), class: "tight", ..Self::text(text) }
    }
}

impl Board {
    pub(super) fn new(board: &Dashboard) -> Self {
        Self {
            name: sanitize(&board.name),
            title: sanitize(&board.title),
            generated: clock(board.generated),
            panels: board.panels.iter().map(|panel| self::panel(panel, board.generated)).collect(),
            script: None,
        }
    }
}

fn panel(panel: &PanelView, now: Timestamp) -> Panel {
    let table = |title: &str, columns: &[&'static str], rows, empty| Panel {
        title: title.to_owned(),
        columns: columns.to_vec(),
        rows,
        empty,
        definitions: Vec::new(),
    };
    match panel {
        PanelView::Status { rows } => {
            let rows = rows.iter().map(|row| status(row, now)).collect();
            table("What runs where", &["Where", "Version", "Since", "By", "State"], rows, "There is no environment.")
        }
        PanelView::Rollouts { rows } => {
            let rows = rows.iter().map(|row| rollout(row, now)).collect();
            let columns = ["Rollout", "To", "Outcome", "Began", "Took", "By"];
            table("Latest rollouts", &columns, rows, "Nothing was deployed yet.")
        }
        PanelView::Verifications { rows } => {
            let rows = rows.iter().map(|row| verification(row, now)).collect();
            let columns = ["Where", "Version", "Result", "Checks", "When"];
            table("Latest verifications", &columns, rows, "No checks were run by themselves yet.")
        }
        PanelView::Holds { rows } => {
            let rows = rows.iter().map(|row| hold(row, now)).collect();
            table("On hold", &["Where", "Version", "Reason", "Since", "By"], rows, "No version is on hold.")
        }
        PanelView::Frequency { window_days, rows, definitions } => {
            let rows = rows.iter().map(frequency).collect();
            let columns =
                ["Where", "Per week", "Lead time", "Success", "Median duration", "Change failures", "Time to restore"];
            let title = format!("Deploys in the last {window_days} days");
            let meaning = |one: &crate::view::dashboard::Definition| Definition {
                name: one.name.clone(),
                meaning: one.meaning.clone(),
            };
            let definitions = definitions.iter().map(meaning).collect();
            Panel { definitions, ..table(&title, &columns, rows, "There is no environment.") }
        }
    }
}

fn status(row: &StatusRow, now: Timestamp) -> Vec<Cell> {
    let mut cells = vec![Cell::tight(&row.scope.to_string())];
    match &row.running {
        Some(placed) => cells.extend([
            Cell::text(&placed.release.label()),
            Cell::text(&when(placed.since, now)),
            Cell::text(&placed.by),
        ]),
        None => cells.extend([NOTHING, NOTHING, NOTHING].map(Cell::faint)),
    }
    let mut state = match (&row.active, &row.running) {
        _ if row.waiting.is_some() => Cell::badge("warn", "waiting"),
        (Some(_), _) => Cell::badge("plain", "rollout under way"),
        _ if row.stopped => Cell::badge("warn", "stopped on purpose"),
        (None, None) => Cell::faint("nothing deployed"),
        (None, Some(placed)) if placed.proven => Cell::badge("good", "proven"),
        (None, Some(_)) => Cell::badge("warn", "not proven"),
    };
    state.more.extend(row.waiting.as_deref().map(sanitize));
    state.more.extend(row.holds.iter().map(|version| sanitize(&format!("{version} is on hold"))));
    cells.push(state);
    cells
}

fn rollout(row: &RolloutRow, now: Timestamp) -> Vec<Cell> {
    let mut outcome = Cell::badge(row.standing.mood().name(), row.standing.word());
    outcome.class = "";
    outcome.more.extend(row.reason.as_deref().map(sanitize));
    vec![
        Cell::tight(&row.rollout.to_string()),
        Cell::text(&match row.direction {
            vice_core::payload::environment::Direction::Deploy => row.version.clone(),
            vice_core::payload::environment::Direction::Rollback => format!("back to {}", row.version),
        }),
        outcome,
        Cell::text(&when(row.began, now)),
        Cell::tight(&row.took.map_or_else(|| NOTHING.to_owned(), |took| took.to_string())),
        Cell::text(&row.by),
    ]
}

fn verification(row: &VerificationRow, now: Timestamp) -> Vec<Cell> {
    let result = if row.passed { Cell::badge("good", "passed") } else { Cell::badge("bad", "failed") };
    let mut checks = Cell::text(&format!("{} in {}", row.summary, row.took));
    let failure = |check: &vice_core::payload::verification::CheckResult| {
        sanitize(&format!("{}: {}", check.name, check.messages.join("; ")))
    };
    checks.more.extend(row.failures.iter().map(failure));
    vec![
        Cell::tight(&row.scope.to_string()),
        Cell::text(row.version.as_deref().unwrap_or(NOTHING)),
        result,
        checks,
        Cell::tight(&relative(row.at, now)),
    ]
}

fn hold(row: &HoldRow, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::tight(&row.scope.to_string()),
        Cell::text(&row.version),
        Cell::text(&row.reason),
        Cell::text(&when(row.since, now)),
        Cell::text(&row.by),
    ]
}

fn frequency(row: &FrequencyRow) -> Vec<Cell> {
    let figures = &row.figures;
    let shown = |value: Option<String>| value.map_or_else(|| Cell::faint(NO_DATA), |value| Cell::text(&value));
    vec![
        Cell::tight(&row.scope.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string)),
        shown(figures.per_week()),
        shown(figures.lead_shown()),
        shown(figures.share(figures.succeeded)),
        shown(figures.median.map(|median| median.to_string())),
        shown(figures.share(figures.change_failures)),
        shown(figures.restore_shown()),
    ]
}
