//! The figures themselves. Each is defined beside it, says what it rests on, and says so where there are no data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::RolloutId;
use crate::payload::environment::{Direction, RolloutOutcome};
use crate::time::Millis;

/// Over how many days the figures go: four whole weeks, so that every weekday counts alike.
pub const WINDOW_DAYS: u64 = 28;

/// What each figure means, in the order in which they are shown.
pub const DEFINITIONS: [(&str, &str); 6] = [
    ("deploys per week", "deploys that ended in the last 28 days, whatever their outcome, divided by four"),
    (
        "lead time",
        "median from the merge of a change to the end of the first deploy that succeeded with a version that has it, as \
         far as events from outside name both",
    ),
    ("success", "deploys that succeeded, of those that ended"),
    ("median duration", "from start to end, of the deploys that succeeded"),
    (
        "change failures",
        "deploys that failed after changing something, restored or not, or that an operator ended where they were, of \
         those that ended",
    ),
    (
        "time to restore",
        "median from the start of a change failure to the moment when a wanted or an earlier release ran again",
    ),
];

/// A deploy or rollback that ended, or is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which.
    pub rollout: RolloutId,
    /// Deploy or rollback.
    pub direction: Direction,
    /// The version that was wanted.
    pub version: String,
    /// When it began.
    pub began: Timestamp,
    /// When and how it ended.
    pub ended: Option<(Timestamp, RolloutOutcome)>,
    /// When the changes were merged that it was the first to bring.
    pub merged: Vec<Timestamp>,
}

/// The figures of one environment, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many deploys ended.
    pub deploys: usize,
    /// How many of them succeeded.
    pub succeeded: usize,
    /// How many were rolled back.
    pub rolled_back: usize,
    /// How many failed after changing something, restored or not, or were left as they were.
    #[serde(default)]
    pub change_failures: usize,
    /// The median from the merge of a change to its deploy; none without a change that is known.
    #[serde(rename = "lead_ms", default)]
    pub lead: Option<Millis>,
    /// How many changes the lead time rests on.
    #[serde(default)]
    pub changes: usize,
    /// The median duration of the successful ones; none without one.
    #[serde(rename = "median_ms")]
    pub median: Option<Millis>,
    /// The median time to restore; none when nothing had to be restored.
    #[serde(rename = "restore_ms")]
    pub restore: Option<Millis>,
    /// How many failures the time to restore rests on.
    pub restored: usize,
    /// How many failures are not restored yet.
    pub unrestored: usize,
}

impl Figures {
    /// The lead time with what it rests on, as text; none when no change is known.
    #[must_use]
    pub fn lead_shown(&self) -> Option<String> {
        self.lead.map(|lead| format!("{lead} (of {})", self.changes))
    }

    /// The time to restore with what it rests on, as text; none when nothing ever had to be restored.
    #[must_use]
    pub fn restore_shown(&self) -> Option<String> {
        let rests = self.restore.map(|restore| format!("{restore} (of {})", self.restored));
        match (rests, self.unrestored) {
            (rests, 0) => rests,
            (Some(rests), open) => Some(format!("{rests}, {open} open")),
            (None, open) => Some(format!("{open} open")),
        }
    }

    /// Deploys in a week with one digit, as text; none without data.
    #[must_use]
    pub fn per_week(&self) -> Option<String> {
        let tenths = self.deploys * 70 / usize::try_from(WINDOW_DAYS).unwrap_or(28);
        (self.deploys > 0).then(|| format!("{}.{}", tenths / 10, tenths % 10))
    }

    /// A share of the deploys as text, with both numbers, because a per cent of three says little; none without data.
    #[must_use]
    pub fn share(&self, part: usize) -> Option<String> {
        let whole = self.deploys;
        (whole > 0).then(|| format!("{} % ({part} of {whole})", (part * 100 + whole / 2) / whole))
    }
}

/// Computes the figures from runs, which may belong to several environments. `since` is the start of the window.
#[must_use]
pub fn figures(runs: &[Run], since: Timestamp) -> Figures {
    let deploys: Vec<(&Run, Timestamp, RolloutOutcome)> = runs
        .iter()
        .filter(|run| run.direction == Direction::Deploy)
        .filter_map(|run| run.ended.map(|(at, outcome)| (run, at, outcome)))
        .filter(|(_, at, _)| *at >= since)
        .collect();
    let count = |wanted: RolloutOutcome| deploys.iter().filter(|(_, _, outcome)| *outcome == wanted).count();
    let good = deploys.iter().filter(|(_, _, outcome)| *outcome == RolloutOutcome::Succeeded);
    let durations = good.map(|(run, at, _)| Millis::between(run.began, *at)).collect();
    let leads: Vec<Millis> =
        deploys.iter().flat_map(|(run, at, _)| run.merged.iter().map(|merged| Millis::between(*merged, *at))).collect();
    let (restores, unrestored) = restores(runs, since);
    Figures {
        deploys: deploys.len(),
        succeeded: count(RolloutOutcome::Succeeded),
        rolled_back: count(RolloutOutcome::RolledBack),
        change_failures: count(RolloutOutcome::RolledBack)
            + count(RolloutOutcome::NotRestored)
            + count(RolloutOutcome::Aborted),
        changes: leads.len(),
        lead: middle(leads),
        median: middle(durations),
        restored: restores.len(),
        restore: middle(restores),
        unrestored,
    }
}

/// The middle of sorted durations; between the two middle ones when their number is even.
#[must_use]
pub fn median(sorted: &[Millis]) -> Option<Millis> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    let lower = sorted.get(middle.checked_sub(1)?)?;
    Some(Millis(lower.0 + (upper.0 - lower.0) / 2))
}

fn middle(mut durations: Vec<Millis>) -> Option<Millis> {
    durations.sort_unstable();
    median(&durations)
}

/// How long each failure lasted, and how many last still. A failure begins with its deploy and ends when the rollout
/// itself restored the earlier release, or else with the next success in the same environment.
fn restores(runs: &[Run], since: Timestamp) -> (Vec<Millis>, usize) {
    let mut by_scope: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        by_scope.entry(&run.rollout.scope).or_default().push(run);
    }
    let (mut durations, mut unrestored) = (Vec::new(), 0);
    for runs in by_scope.values_mut() {
        runs.sort_by_key(|run| run.rollout.number);
        let mut broken_since: Option<Timestamp> = None;
        for run in runs {
            let Some((at, outcome)) = run.ended else { continue };
            let restored = match outcome {
                RolloutOutcome::Failed => continue,
                RolloutOutcome::Succeeded => broken_since.take(),
                RolloutOutcome::RolledBack => Some(broken_since.take().unwrap_or(run.began)),
                RolloutOutcome::NotRestored | RolloutOutcome::Aborted => {
                    broken_since.get_or_insert(run.began);
                    continue;
                }
            };
            durations.extend(restored.filter(|_| at >= since).map(|from| Millis::between(from, at)));
        }
        unrestored += usize::from(broken_since.is_some());
    }
    (durations, unrestored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64, began: i64, ended: i64, outcome: RolloutOutcome) -> Run {
        let at = |second| Timestamp::from_second(second).unwrap();
        Run {
            rollout: format!("hello.dev.{number}").parse().unwrap(),
            direction: Direction::Deploy,
            version: number.to_string(),
            began: at(began),
            ended: Some((at(ended), outcome)),
            merged: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_no_data_and_not_zero() {
        let none = figures(&[], Timestamp::UNIX_EPOCH);
        assert_eq!((none.per_week(), none.share(0), none.median, none.restore), (None, None, None, None));
        assert_eq!((none.lead, none.changes), (None, 0));
    }

    #[test]
    fn a_failure_lasts_until_something_wanted_runs_again() {
        use RolloutOutcome::{Aborted, Failed, NotRestored, RolledBack, Succeeded};
        let runs = [
            run(1, 0, 10, Succeeded),
            run(2, 100, 130, RolledBack),
            run(3, 200, 210, NotRestored),
            run(4, 300, 301, Failed),
            run(5, 400, 440, Succeeded),
            run(6, 500, 510, Aborted),
        ];
        let found = figures(&runs, Timestamp::UNIX_EPOCH);
        assert_eq!((found.deploys, found.succeeded, found.rolled_back, found.change_failures), (6, 2, 1, 3));
        assert_eq!(found.median, Some(Millis::from_secs(25)));
        // 30 s for the second, and from the start of the third to the end of the fifth: 240 s.
        assert_eq!((found.restored, found.restore, found.unrestored), (2, Some(Millis::from_secs(135)), 1));
        assert_eq!(found.share(found.succeeded).unwrap(), "33 % (2 of 6)");
        assert_eq!(found.per_week().unwrap(), "1.5");
    }

    #[test]
    fn lead_times_count_by_change_and_not_by_deploy() {
        let merged = |seconds: &[i64]| seconds.iter().map(|second| Timestamp::from_second(*second).unwrap()).collect();
        let one = Run { merged: merged(&[0, 40, 60]), ..run(1, 90, 100, RolloutOutcome::Succeeded) };
        let two = Run { merged: merged(&[110]), ..run(2, 190, 200, RolloutOutcome::Succeeded) };
        let found = figures(&[one, two], Timestamp::UNIX_EPOCH);
        // 100, 60, 40 and 90 seconds.
        assert_eq!((found.changes, found.lead), (4, Some(Millis::from_secs(75))));
    }

    #[test]
    fn what_ended_before_the_window_does_not_count() {
        let runs = [run(1, 0, 10, RolloutOutcome::Succeeded), run(2, 100, 110, RolloutOutcome::NotRestored)];
        let found = figures(&runs, Timestamp::from_second(50).unwrap());
        assert_eq!((found.deploys, found.succeeded, found.unrestored), (1, 0, 1));
    }
}
