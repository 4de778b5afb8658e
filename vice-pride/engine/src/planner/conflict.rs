//! Whether the constraints can be kept together, and if not, the smallest set of them that can't.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use vice_core::{Code, Fault, Result};

use super::classes::Classes;
use super::graph::{Graph, Standing};
use super::rules::{Kind, Rule};
use crate::unit_set::UnitSet;
use crate::window::Window;

/// Up to so many constraints, all pairs are tried before larger sets.
const PAIRS_MAX: usize = 60;

/// Windows are looked at over a whole year from here (2027-01-01, UTC), so that both clock changes are in it. A plan
/// must not depend on the day on which it is made.
const YEAR_BEGINS: i64 = 1_798_761_600;
const YEAR_DAYS: i64 = 371;

/// The places of the classes.
///
/// # Errors
/// `ManifestInvalid` with the smallest set of constraints that contradict each other, by key, in the detail `conflict`.
pub(super) fn order(rules: &[Rule], classes: &Classes) -> Result<Vec<Standing>> {
    let mut judge = Judge { rules, classes, windows: BTreeMap::new() };
    let all = vec![true; rules.len()];
    match judge.standings(&all) {
        Some(standings) => Ok(standings),
        None => Err(fault(rules, &judge.smallest())),
    }
}

struct Judge<'a> {
    rules: &'a [Rule],
    classes: &'a Classes,
    /// Sets of windows that were looked at, and whether all of them are ever open together.
    windows: BTreeMap<Vec<usize>, bool>,
}

impl Judge<'_> {
    /// Where the classes stand under some of the rules; none when these can't be kept.
    fn standings(&mut self, active: &[bool]) -> Option<Vec<Standing>> {
        let in_force = || self.rules.iter().enumerate().filter(|(index, _)| active[*index]);
        if in_force().any(|(_, rule)| never(&rule.kind)) || !self.windows_open(active) {
            return None;
        }
        let count = self.classes.classes.len();
        let start = in_force().find(|(_, rule)| matches!(rule.kind, Kind::StartAt { .. }));
        let start: Option<Vec<bool>> =
            start.map(|(rule, _)| (0..count).map(|class| self.classes.has(class, rule, 0)).collect());
        Graph::of(self.rules, active, self.classes).standings(self.classes, start.as_deref())
    }

    /// Whether every class has a moment at which all of its windows are open.
    fn windows_open(&mut self, active: &[bool]) -> bool {
        let rules = self.rules;
        let windows: Vec<(usize, &Window)> = (0..)
            .zip(rules)
            .filter_map(|(index, rule)| match &rule.kind {
                Kind::Window { window, .. } if active[index] => Some((index, window)),
                _ => None,
            })
            .collect();
        if windows.is_empty() {
            return true;
        }
        (0..self.classes.classes.len()).all(|class| {
            let concerns =
                |(index, window): &&(usize, &Window)| window.members.is_none() || self.classes.has(class, *index, 0);
            let own: Vec<&(usize, &Window)> = windows.iter().filter(concerns).collect();
            let key: Vec<usize> = own.iter().map(|(index, _)| *index).collect();
            *self
                .windows
                .entry(key)
                .or_insert_with(|| ever_open(&own.iter().map(|(_, window)| *window).collect::<Vec<_>>()))
        })
    }

    /// One rule if one is enough, then two, otherwise a set from which no rule can be taken away.
    fn smallest(&mut self) -> Vec<usize> {
        let count = self.rules.len();
        let only = |chosen: &[usize]| (0..count).map(|rule| chosen.contains(&rule)).collect::<Vec<bool>>();
        if let Some(one) = (0..count).find(|one| self.standings(&only(&[*one])).is_none()) {
            return vec![one];
        }
        if count <= PAIRS_MAX {
            for one in 0..count {
                for two in one + 1..count {
                    if self.standings(&only(&[one, two])).is_none() {
                        return vec![one, two];
                    }
                }
            }
        }
        let mut active = vec![true; count];
        for rule in 0..count {
            active[rule] = false;
            if self.standings(&active).is_some() {
                active[rule] = true;
            }
        }
        (0..count).filter(|rule| active[*rule]).collect()
    }
}

/// Whether a rule can't be kept, whatever the others are.
fn never(kind: &Kind) -> bool {
    match kind {
        Kind::Never { .. } => true,
        Kind::Exclude { groups } => overlap(groups),
        Kind::After { .. } | Kind::Order { .. } | Kind::StartAt { .. } | Kind::Window { .. } => false,
    }
}

fn overlap(groups: &[UnitSet]) -> bool {
    groups.iter().enumerate().any(|(index, group)| groups[..index].iter().any(|other| other.intersects(group)))
}

/// Whether there is a moment in the year at which all windows are open.
fn ever_open(windows: &[&Window]) -> bool {
    // What can't be read was refused before.
    let Ok(hours) = windows.iter().map(|window| window.hours()).collect::<Result<Vec<_>>>() else { return true };
    let begins = Timestamp::from_second(YEAR_BEGINS).unwrap_or(Timestamp::UNIX_EPOCH);
    let ends = begins.checked_add(SignedDuration::from_hours(24 * YEAR_DAYS)).unwrap_or(Timestamp::MAX);
    let mut now = begins;
    while now < ends {
        let shut = hours.iter().map(|hours| hours.at(now)).filter(|opening| !opening.open);
        match shut.map(|opening| opening.until).max() {
            None => return true,
            Some(next) if next <= now => return true,
            Some(next) => now = next,
        }
    }
    false
}

fn fault(rules: &[Rule], smallest: &[usize]) -> Fault {
    let chosen: Vec<&Rule> = smallest.iter().filter_map(|rule| rules.get(*rule)).collect();
    let fault = match chosen.as_slice() {
        [only] => alone(only),
        several => {
            let named: Vec<String> =
                several.iter().map(|rule| format!("`rollout.{}` ({})", rule.key, rule.says)).collect();
            let (last, others) = named.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
            let message = format!("No rollout can keep {} and {last} together.", others.join(", "));
            Fault::new(Code::ManifestInvalid, message).hint(way_out(several))
        }
    };
    let keys: Vec<String> = chosen.iter().map(|rule| rule.key.clone()).collect();
    let whole = keys.first().and_then(|key| key.split(['[', '.']).next()).unwrap_or_default().to_owned();
    fault.detail("conflict", keys).detail("key", whole)
}

/// What to do about rules that contradict each other. A listed order is often only too coarse: what has to come first can be
/// listed before the whole that it is a part of.
fn way_out(rules: &[&Rule]) -> String {
    let listed = rules.iter().any(|rule| rule.key.starts_with("order["));
    let others = rules.iter().any(|rule| !rule.key.starts_with("order[") && !rule.key.starts_with("after["));
    let first = rules.iter().find_map(|rule| match rule.kind {
        Kind::After { .. } => rule.says.split_once(" before ").map(|(first, _)| first),
        _ => None,
    });
    match first {
        Some(first) if listed && !others => {
            format!(
                "Name {first} at the head of `order`, also where it is a part of what comes later, or remove one of them."
            )
        }
        _ => "Change or remove one of them.".to_owned(),
    }
}

/// A rule that can't be kept even alone.
fn alone(rule: &Rule) -> Fault {
    let key = &rule.key;
    let (why, hint) = match &rule.kind {
        Kind::Never { why } if key.starts_with("max_down") => {
            (why.clone(), format!("Set `{key}` to at least 1, or remove it."))
        }
        Kind::Never { why } => (why.clone(), format!("Correct `{key}`, or remove it.")),
        Kind::Exclude { .. } => (
            format!("says {}, but these share a unit that changes, which would exclude itself", rule.says),
            "Let the groups share no unit.".to_owned(),
        ),
        Kind::After { .. } => (
            format!("says {}, but these share a unit that changes, which would wait for itself", rule.says),
            "Let the two share no unit.".to_owned(),
        ),
        Kind::Window { .. } => {
            (format!("opens {}, which never happens", rule.says), "Give it hours that exist.".to_owned())
        }
        Kind::Order { .. } | Kind::StartAt { .. } => {
            (format!("is {}, which can't be kept", rule.says), "Remove it.".to_owned())
        }
    };
    Fault::new(Code::ManifestInvalid, format!("`rollout.{key}` {why}.")).hint(hint)
}
