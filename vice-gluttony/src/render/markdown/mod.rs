//! Markdown with GitHub's tables. Texts from outside are escaped so that they stay text: no markup, no links, no HTML,
//! no mentions, and no cell that ends a row.

mod simulation;

use std::fmt::Write;

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::delivery::Figures;
use vice_core::payload::environment::Direction;
use vice_core::payload::verification::CheckOutcome;
use vice_core::text::sanitize;

pub use simulation::simulation;

use super::{NO_DATA, NOTHING, clock, comparison, relative, release, when};
use crate::view::dashboard::{Dashboard, PanelView, RolloutRow, StatusRow};
use crate::view::rollout::{RolloutReport, Verified};
use crate::view::sentence;

/// A word joiner: it keeps `@name` and bare addresses from becoming mentions and links, and is not seen.
const BREAK: char = '\u{2060}';

/// Text from outside as inert Markdown in one line. It never starts a line, so what means something only there stays.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in sanitize(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // `@name` and addresses become mentions, `#12` becomes a reference.
            '@' | '#' => {
                out.push(c);
                out.push(BREAK);
            }
            c => out.push(c),
        }
    }
    // Bare addresses become links by these.
    out.replace("://", &format!(":{BREAK}//")).replace("www.", &format!("www{BREAK}."))
}

/// Text from outside as code in one line; the fence is longer than any in the text.
fn code(text: &str) -> String {
    // A backslash before an escaped bar would take the escape away.
    let text = sanitize(text).replace("\\|", &format!("\\{BREAK}|")).replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let gap = if longest > 0 { " " } else { "" };
    format!("{fence}{gap}{text}{gap}{fence}")
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line(format!("\n## {text}\n"));
    }

    /// A table whose cells are Markdown already.
    fn table(&mut self, titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.line(format!("| {} |", titles.join(" | ")));
        self.line(format!("|{}", " --- |".repeat(titles.len())));
        for row in rows {
            self.line(format!("| {} |", row.join(" | ")));
        }
    }
}

/// The report of a rollout.
#[must_use]
pub fn rollout(report: &RolloutReport) -> String {
    let mut page = Page(String::new());
    page.line(format!("# {} in {}: {}\n", report.project, report.env, report.standing.word()));
    page.line(format!("{}\n", escape(&report.headline)));
    facts(&mut page, report);
    timeline(&mut page, report);
    for verified in &report.verifications {
        checks(&mut page, verified);
    }
    decisions(&mut page, report);
    if !report.config_changes.is_empty() {
        page.heading("Configuration");
        let side = |value: &Option<String>| value.as_ref().map_or_else(|| NOTHING.to_owned(), |value| code(value));
        let row = |change: &vice_core::payload::rollout::ConfigChange| {
            vec![code(&change.key), side(&change.before), side(&change.after)]
        };
        page.table(&["Key", "Before", "After"], report.config_changes.iter().map(row));
    }
    page.heading("Next");
    for next in &report.next {
        page.line(format!("- {}: {}", escape(&next.when), code(&next.command)));
    }
    page.line(format!("\n*Report of {}, made {}.*", code(&report.rollout.to_string()), clock(report.generated)));
    page.0
}

fn facts(page: &mut Page, report: &RolloutReport) {
    let now = report.generated;
    let mut rows: Vec<[String; 2]> = vec![
        ["Rollout".into(), format!("{} ({})", code(&report.rollout.to_string()), report.direction.word())],
        ["Version".into(), format!("{} → {}", escape(&release(report.from.as_ref())), escape(&report.to.label()))],
        ["By".into(), escape(&report.by)],
    ];
    let mut add = |label: &str, value: Option<String>| rows.extend(value.map(|value| [label.to_owned(), value]));
    add("Why", report.reason.as_deref().map(escape));
    add("Started", Some(when(report.started, now)));
    add("Finished", report.finished.map(|finished| when(finished, now)));
    let compared = report.finished.map(|_| format!(" – {}", comparison(report.comparison.as_ref())));
    add("Took", Some(format!("{}{}", report.took, compared.unwrap_or_default())));
    add("Predicted", report.expected.as_ref().map(|expected| escape(&expected.sentence)));
    add("Failure", report.failure.as_deref().map(escape));
    add("Left running", report.left_running.as_ref().map(|left| escape(&left.label())));
    add(
        "Waits for",
        report.waiting.as_ref().map(|waiting| {
            let until = waiting.until.map(|until| format!(", until {}", when(until, now))).unwrap_or_default();
            format!("{}{until}", escape(waiting.reason.trim_end_matches('.')))
        }),
    );
    add(
        "Runs now",
        report.now.running.as_ref().map(|placed| {
            let proven = if placed.proven { "proven" } else { "not proven" };
            format!("{}, {}, {proven}", escape(&placed.release.label()), relative(placed.since, now))
        }),
    );
    add("On hold", report.now.hold.as_ref().map(|hold| escape(&format!("{}: {}", report.to.version, hold.reason))));
    page.table(&["", ""], rows.into_iter().map(|[label, value]| vec![format!("**{label}**"), value]));
}

fn timeline(page: &mut Page, report: &RolloutReport) {
    let line = &report.timeline;
    if line.lanes.is_empty() {
        return;
    }
    page.heading("Timeline");
    let rows = line.lanes.iter().flat_map(|lane| {
        lane.bars.iter().map(|bar| {
            let after = Millis::between(line.start, bar.from);
            let back = if bar.direction == Direction::Rollback { " (back)" } else { "" };
            let result = match &bar.detail {
                Some(detail) => format!("{}: {}", bar.state.word(), escape(detail)),
                None => bar.state.word().to_owned(),
            };
            let what = format!("{}{back}", escape(&bar.label));
            let took = bar.took(line.end).to_string();
            vec![lane.group.title().to_owned(), escape(&lane.name), what, format!("+{after}"), took, result]
        })
    });
    page.table(&["", "Lane", "What", "After", "Took", "Result"], rows);
}

fn checks(page: &mut Page, verified: &Verified) {
    let back = if verified.direction == Direction::Rollback { " after going back" } else { "" };
    page.heading(&format!("Checks{back}: {}", sentence::suite(&verified.suite)));
    let rows = verified.suite.checks.iter().map(|check| {
        let word = match check.outcome {
            CheckOutcome::Passed => "passed",
            CheckOutcome::Failed => "**failed**",
            CheckOutcome::Errored => "**could not be run**",
            CheckOutcome::Skipped => "skipped",
        };
        let messages: Vec<String> = check.messages.iter().map(|message| escape(message)).collect();
        let (subject, took) = (code(&check.subject), check.took.to_string());
        vec![escape(&check.name), word.to_owned(), subject, check.attempts.to_string(), took, messages.join("<br>")]
    });
    page.table(&["Check", "Result", "Subject", "Tries", "Took", "Messages"], rows);
}

fn decisions(page: &mut Page, report: &RolloutReport) {
    if report.decisions.is_empty() {
        return;
    }
    page.heading("Decisions");
    let rows = report.decisions.iter().map(|decision| {
        let after = format!("+{}", Millis::between(report.started, decision.at));
        let verdict = sentence::verdict_word(decision.verdict).to_owned();
        vec![after, verdict, escape(&decision.reason), code(&decision.evidence.to_string())]
    });
    page.table(&["After", "Verdict", "Reason", "Evidence"], rows);
}

/// A dashboard.
#[must_use]
pub fn dashboard(board: &Dashboard) -> String {
    let (mut page, now) = (Page(String::new()), board.generated);
    page.line(format!("# {}\n\n*{}*", escape(&board.title), clock(now)));
    for panel in &board.panels {
        match panel {
            PanelView::Status { rows } => status(&mut page, rows, now),
            PanelView::Rollouts { rows } => rollouts(&mut page, rows, now),
            PanelView::Verifications { rows } => {
                page.heading("Latest verifications");
                let row = |row: &crate::view::dashboard::VerificationRow| {
                    let word = if row.passed { "passed" } else { "**failed**" };
                    let version = row.version.as_deref().map_or_else(|| NOTHING.to_owned(), escape);
                    vec![row.scope.to_string(), version, word.to_owned(), row.summary.clone(), when(row.at, now)]
                };
                page.table(&["Where", "Version", "Result", "Checks", "When"], rows.iter().map(row));
            }
            PanelView::Holds { rows } => {
                page.heading("On hold");
                let row = |row: &crate::view::dashboard::HoldRow| {
                    let since = when(row.since, now);
                    vec![row.scope.to_string(), escape(&row.version), escape(&row.reason), since, escape(&row.by)]
                };
                page.table(&["Where", "Version", "Reason", "Since", "By"], rows.iter().map(row));
            }
            PanelView::Frequency { window_days, rows, definitions } => {
                page.heading(&format!("Deploys in the last {window_days} days"));
                let row = |row: &crate::view::dashboard::FrequencyRow| {
                    let scope = row.scope.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
                    figures(scope, &row.figures)
                };
                let titles = [
                    "Where",
                    "Per week",
                    "Lead time",
                    "Success",
                    "Median duration",
                    "Change failures",
                    "Time to restore",
                ];
                page.table(&titles, rows.iter().map(row));
                page.line("");
                for definition in definitions {
                    page.line(format!("- **{}**: {}.", definition.name, definition.meaning));
                }
            }
        }
    }
    page.0
}

fn status(page: &mut Page, rows: &[StatusRow], now: Timestamp) {
    page.heading("What runs where");
    let row = |row: &StatusRow| {
        let mut cells = vec![row.scope.to_string()];
        match &row.running {
            Some(placed) => cells.extend([
                escape(&placed.release.label()),
                when(placed.since, now),
                escape(&placed.by),
                if placed.proven { "yes" } else { "no" }.to_owned(),
            ]),
            None => cells.extend(["nothing deployed", NOTHING, NOTHING, NOTHING].map(str::to_owned)),
        }
        let mut state = row.active.as_ref().map(|active| format!("{active} under way")).unwrap_or_default();
        if let Some(waiting) = &row.waiting {
            // Writing into a String does not fail.
            write!(state, ", waits: {}", escape(waiting)).ok();
        }
        cells.push(if row.stopped { "stopped on purpose".to_owned() } else { state });
        cells
    };
    page.table(&["Where", "Version", "Since", "By", "Proven", "State"], rows.iter().map(row));
}

fn rollouts(page: &mut Page, rows: &[RolloutRow], now: Timestamp) {
    page.heading("Latest rollouts");
    let row = |row: &RolloutRow| {
        let took = row.took.map_or_else(|| NOTHING.to_owned(), |took| took.to_string());
        let reason = row.reason.as_deref().map(escape).unwrap_or_default();
        let (id, outcome) = (code(&row.rollout.to_string()), row.standing.word().to_owned());
        let what = format!("{} {}", row.direction.word(), escape(&row.version));
        vec![id, what, outcome, when(row.began, now), took, escape(&row.by), reason]
    };
    page.table(&["Rollout", "What", "Outcome", "Began", "Took", "By", "Reason"], rows.iter().map(row));
}

fn figures(scope: String, figures: &Figures) -> Vec<String> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.to_owned());
    vec![
        scope,
        shown(figures.per_week()),
        shown(figures.lead_shown()),
        shown(figures.share(figures.succeeded)),
        shown(figures.median.map(|median| median.to_string())),
        shown(figures.share(figures.change_failures)),
        shown(figures.restore_shown()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_from_outside_stays_text() {
        assert_eq!(escape("<b>*x*|y"), "&lt;b&gt;\\*x\\*\\|y");
        assert_eq!(escape("[a](javascript:x)"), "\\[a\\](javascript:x)");
        assert_eq!(escape("@all see https://x #1"), "@\u{2060}all see https:\u{2060}//x #\u{2060}1");
        assert_eq!(escape("a\nb"), "a\\\\nb");
        assert_eq!(code("a`b|c"), "`` a`b\\|c ``");
    }
}
