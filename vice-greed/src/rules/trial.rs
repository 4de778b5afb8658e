//! Running rules over events that are recorded already, without storing or doing anything.

use jiff::Timestamp;
use vice_core::Result;
use vice_core::event::Recorded;
use vice_core::manifest::Project;

use super::effect::Cause;
use super::plan::{Outcome, Planner};
use super::ruleset::Ruleset;

/// So many lines are kept; the rest is counted.
pub(crate) const TRIED_MAX: usize = 10_000;

/// What one rule would have done with one event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tried {
    pub(crate) rule: String,
    pub(crate) cause: Cause,
    pub(crate) time: Timestamp,
    /// `fires`, `counted`, `late`, `stopped`, `unclear` or `window`.
    pub(crate) what: &'static str,
    pub(crate) detail: String,
}

/// A trial of the rules of a project.
pub(crate) struct Trial {
    rules: Ruleset,
    only: Option<String>,
    pub(crate) tried: Vec<Tried>,
    /// What was left out of the list.
    pub(crate) more: u64,
    pub(crate) events: u64,
    panes: std::collections::BTreeMap<String, crate::window::Panes>,
    watermark: i64,
}

impl Trial {
    /// A trial of all rules, or of one.
    pub(crate) fn new(project: &Project, only: Option<String>) -> Result<Self> {
        let rules = Ruleset::of(project)?;
        let (tried, panes) = (Vec::new(), std::collections::BTreeMap::new());
        Ok(Self { rules, only, tried, more: 0, events: 0, panes, watermark: i64::MIN })
    }

    /// Goes through some events, in the order of the log. At the end, windows that are still open are closed.
    pub(crate) fn take(&mut self, page: &[Recorded], now: Timestamp, end: bool) -> Result<()> {
        let panes = std::mem::take(&mut self.panes);
        let mut planner = Planner::new(&self.rules, panes, self.watermark, true);
        let mut lines = Vec::new();
        for recorded in page {
            planner.take(recorded, now)?;
            let time = recorded.event.time;
            lines.extend(planner.firings.drain(..).filter_map(|firing| {
                let (what, detail) = told(&firing.outcome)?;
                Some(Tried { rule: firing.rule, cause: firing.cause, time, what, detail })
            }));
        }
        if end {
            planner.watermark = i64::MAX;
        }
        planner.close()?;
        let closed = std::mem::take(&mut planner.closed);
        for (n, (_, _, _, event)) in closed.into_iter().enumerate() {
            lines.extend(result_lines(&mut planner, event, now, n)?);
        }
        self.watermark = planner.watermark;
        self.panes = planner.panes;
        self.events += page.len() as u64;
        lines.into_iter().for_each(|line| self.keep(line));
        Ok(())
    }

    fn keep(&mut self, line: Tried) {
        if self.only.as_ref().is_some_and(|only| *only != line.rule) {
            return;
        }
        if self.tried.len() < TRIED_MAX {
            self.tried.push(line);
        } else {
            self.more += 1;
        }
    }
}

/// The result of a window, and what its rule would do with it. It has no place in the log, for it was never stored.
fn result_lines(
    planner: &mut Planner<'_>,
    event: vice_core::event::Event,
    now: Timestamp,
    n: usize,
) -> Result<Vec<Tried>> {
    let said = event.decode::<super::payload::WindowClosed>()?;
    let chain = vice_core::Digest::of(b"");
    let recorded = Recorded { seq: 0, version: n as u64 + 1, chain, event };
    let (cause, time) = (Cause::of(&recorded), recorded.event.time);
    let mut lines = Vec::new();
    if let Some(said) = said {
        let value = said.value.map_or_else(|| "no value".to_owned(), |value| value.to_string());
        let detail = format!("{} to {}: {} events, value {value}", said.start, said.end, said.count);
        lines.push(Tried { rule: said.rule, cause: cause.clone(), time, what: "window", detail });
    }
    let watermark = planner.watermark;
    planner.take(&recorded, now)?;
    planner.watermark = watermark;
    lines.extend(planner.firings.drain(..).filter_map(|firing| {
        let (what, detail) = told(&firing.outcome)?;
        Some(Tried { rule: firing.rule, cause: firing.cause, time, what, detail })
    }));
    Ok(lines)
}

fn told(outcome: &Outcome) -> Option<(&'static str, String)> {
    Some(match outcome {
        Outcome::Made(event) => ("fires", format!("{} in {}", event.kind, event.stream)),
        Outcome::Effect(effect) => ("fires", effect.show()),
        Outcome::Dropped => ("fires", "drop: no later rule sees it".to_owned()),
        Outcome::Counted => ("counted", String::new()),
        Outcome::Late(_) => ("late", "its windows are closed".to_owned()),
        Outcome::Stopped(why) => ("stopped", why.clone()),
        Outcome::Unclear(why) => ("unclear", why.clone()),
    })
}
