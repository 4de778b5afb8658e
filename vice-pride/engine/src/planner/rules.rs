//! The constraints of a rollout, resolved to units. Each knows its key in the manifest and can be taken away, which is
//! how the smallest contradiction is found.

use vice_core::manifest::{Amount, MaxDown, Order, RolloutSpec, Selector};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};

use super::fleet::Fleet;
use crate::plan::{Exclusion, Group, Limit, Precedence};
use crate::topology::{ENVIRONMENT, Pairs, complement, intersection};
use crate::unit_set::UnitSet;
use crate::window::Window;

/// One constraint.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Its key below `rollout`, such as `after[0]`.
    pub(super) key: String,
    /// What it says, to stand behind the key.
    pub(super) says: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// All of `first` before any of `then`.
    After { first: UnitSet, then: UnitSet },
    /// An entry of `order`: before what later entries list.
    Order { members: UnitSet },
    /// The first wave has only these.
    StartAt { members: UnitSet },
    /// At most one of the groups changes at a time.
    Exclude { groups: Vec<UnitSet> },
    /// It can't be kept by any order, whatever the others say; and why.
    Never { why: String },
    /// These units begin only inside of it.
    Window { members: Option<UnitSet>, window: Window },
}

/// The constraints, and what the plan carries of them.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) limits: Vec<Limit>,
    pub(super) exclusions: Vec<Exclusion>,
    pub(super) orders: Vec<Precedence>,
    pub(super) windows: Vec<Window>,
}

/// Resolves everything that the section says about units.
///
/// `stepwise`: what is there twice is tried out before it goes on.
pub(super) fn rules(spec: &RolloutSpec, fleet: &Fleet<'_>, at_once: u32, stepwise: bool) -> Result<Rules> {
    let mut rules = Rules::default();
    if fleet.changes() == 0 {
        return Ok(rules);
    }
    let changing = UnitSet::from_ranges(fleet.placed.ranges().iter().chain(fleet.removed.ranges()).copied());
    let select = |key: &str, selector: &Selector| {
        let units = fleet.tree.select(selector).map_err(|fault| about(key, selector, &fault))?;
        Ok::<_, Fault>(intersection(&units, &changing))
    };
    rules.add_limits(spec, fleet, &changing, at_once)?;
    rules.add_after(spec, select)?;
    let pairs = if stepwise { fleet.pairs() } else { None };
    rules.add_order(spec, pairs.as_ref(), &fleet.placed, select)?;
    rules.add_exclusions(spec, select)?;
    rules.add_windows(spec, select)?;
    if let Some(start) = &spec.start_at {
        // Units are removed after others were placed, so that none of them can be the first.
        let first = if fleet.placed.is_empty() { &fleet.removed } else { &fleet.placed };
        let mut members = intersection(&select("start_at", start)?, first);
        // It is tried out there first; the doubles come when it is proven everywhere.
        if let Some(tried) =
            pairs.map(|pairs| intersection(&pairs.canaries, &members)).filter(|tried| !tried.is_empty())
        {
            members = tried;
        }
        let (key, says) = ("start_at".to_owned(), start.to_string());
        let kind = match members.is_empty() {
            true => Kind::Never { why: format!("is {start}, which selects no unit that changes") },
            false => Kind::StartAt { members },
        };
        rules.rules.push(Rule { key, says, kind });
    }
    Ok(rules)
}

/// When a window opens, and for which units: two that are alike but for one of these contradict each other by it.
fn opens(window: &Window, units: Option<&Selector>) -> String {
    let days: Vec<&str> = window.days.iter().map(|day| day.word()).collect();
    let days = if days.is_empty() { String::new() } else { format!("on {} ", days.join(", ")) };
    let units = units.map(|units| format!(" for {units}")).unwrap_or_default();
    format!("{days}from {} until {} {}{units}", window.from, window.until, window.zone)
}

/// A fault of a selector, with the key that it stands under.
fn about(key: &str, selector: &Selector, fault: &Fault) -> Fault {
    let message = format!("`rollout.{key}` is {selector}. {fault}");
    let whole = key.split('[').next().unwrap_or(key);
    fault.hints().iter().fold(Fault::new(fault.code(), message).detail("key", whole), Fault::hint)
}

/// The units that are in none of these.
fn without(units: &UnitSet, others: [&UnitSet; 2]) -> UnitSet {
    let taken = UnitSet::from_ranges(others.iter().flat_map(|other| other.ranges().iter().copied()));
    intersection(units, &complement(&taken, units.end()))
}

impl Rules {
    fn add(&mut self, key: String, says: String, kind: Kind) {
        self.rules.push(Rule { key, says, kind });
    }

    fn add_after(&mut self, spec: &RolloutSpec, select: impl Fn(&str, &Selector) -> Result<UnitSet>) -> Result<()> {
        for (index, after) in spec.after.iter().enumerate() {
            let key = format!("after[{index}]");
            let (first, then) = (select(&key, &after.first)?, select(&key, &after.then)?);
            if first.is_empty() || then.is_empty() {
                continue;
            }
            let group =
                |selector: &Selector, members: &UnitSet| Group { name: selector.to_string(), members: members.clone() };
            let says = format!("{} before {}", after.first, after.then);
            self.orders.push(Precedence {
                name: says.clone(),
                first: group(&after.first, &first),
                then: group(&after.then, &then),
            });
            self.add(key, says, Kind::After { first, then });
        }
        Ok(())
    }

    /// What `order` lists. Where units are there twice, all of those that try a release out come first, then what is there
    /// once, then the doubles, each in that order.
    fn add_order(
        &mut self,
        spec: &RolloutSpec,
        pairs: Option<&Pairs>,
        placed: &UnitSet,
        select: impl Fn(&str, &Selector) -> Result<UnitSet>,
    ) -> Result<()> {
        let Some(pairs) = pairs else { return self.add_listed(spec, None, select) };
        let says = format!("{}, which tries every target out before it goes on in any", spec.strategy.word());
        let once = without(placed, [&pairs.canaries, &pairs.stables]);
        for group in [&pairs.canaries, &once, &pairs.stables] {
            self.add_listed(spec, Some(group), &select)?;
            self.add("strategy".to_owned(), says.clone(), Kind::Order { members: group.clone() });
        }
        let (first, then) = (pairs.canaries.clone(), pairs.stables.clone());
        self.add("strategy".to_owned(), says, Kind::After { first, then });
        Ok(())
    }

    /// What `order` lists, as far as it is in the group.
    fn add_listed(
        &mut self,
        spec: &RolloutSpec,
        group: Option<&UnitSet>,
        select: impl Fn(&str, &Selector) -> Result<UnitSet>,
    ) -> Result<()> {
        let Order::Listed(list) = &spec.order else { return Ok(()) };
        for (index, selector) in list.iter().enumerate() {
            if list[..index].contains(selector) {
                let message = format!("`rollout.order` names {selector} twice.");
                return Err(Fault::new(Code::ManifestInvalid, message)
                    .hint("Name it once, where it shall be.")
                    .detail("key", "order"));
            }
            let key = format!("order[{index}]");
            let mut members = select(&key, selector)?;
            if let Some(group) = group {
                members = intersection(&members, group);
            }
            self.add(key, selector.to_string(), Kind::Order { members });
        }
        Ok(())
    }

    fn add_exclusions(
        &mut self,
        spec: &RolloutSpec,
        select: impl Fn(&str, &Selector) -> Result<UnitSet>,
    ) -> Result<()> {
        for (index, selectors) in spec.exclude.iter().enumerate() {
            let key = format!("exclude[{index}]");
            let mut groups = Vec::new();
            for selector in selectors {
                groups.push(Group { name: selector.to_string(), members: select(&key, selector)? });
            }
            groups.retain(|group| !group.members.is_empty());
            if groups.len() < 2 {
                continue;
            }
            let name = selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            let says = format!("{name} never at once");
            let sets = groups.iter().map(|group| group.members.clone()).collect();
            self.exclusions.push(Exclusion { name, groups });
            self.add(key, says, Kind::Exclude { groups: sets });
        }
        Ok(())
    }

    fn add_windows(&mut self, spec: &RolloutSpec, select: impl Fn(&str, &Selector) -> Result<UnitSet>) -> Result<()> {
        for (index, window) in spec.window.0.iter().enumerate() {
            let key = if spec.window.0.len() == 1 { "window".to_owned() } else { format!("window[{index}]") };
            let members = window.units.as_ref().map(|units| select(&key, units)).transpose()?;
            if members.as_ref().is_some_and(UnitSet::is_empty) {
                continue;
            }
            let days = window.days.clone().unwrap_or_default();
            let made = Window {
                name: window.name.clone().unwrap_or_else(|| key.clone()),
                members: members.clone(),
                days,
                from: window.from.clone(),
                until: window.until.clone(),
                zone: window.zone.clone().unwrap_or_else(|| "UTC".to_owned()),
            };
            made.check().map_err(|fault| fault.detail("key", "window"))?;
            let says = opens(&made, window.units.as_ref());
            if window.days.as_ref().is_some_and(Vec::is_empty) {
                let why = "has an empty list of days, so that it never opens".to_owned();
                self.add(key, says, Kind::Never { why });
                continue;
            }
            self.windows.push(made.clone());
            self.add(key, says, Kind::Window { members, window: made });
        }
        Ok(())
    }

    /// `max_down`, for the environment or by level and domain. `at_once` holds where the section says nothing.
    fn add_limits(&mut self, spec: &RolloutSpec, fleet: &Fleet<'_>, changing: &UnitSet, at_once: u32) -> Result<()> {
        let everywhere = UnitSet::first(fleet.count);
        match &spec.max_down {
            None => self.limits.push(limit(ENVIRONMENT.to_owned(), everywhere, at_once)),
            Some(MaxDown::Everywhere(amount)) => {
                self.add_limit("max_down", *amount, vec![(ENVIRONMENT.to_owned(), everywhere)], changing, fleet);
            }
            Some(MaxDown::By(table)) => {
                for (word, amount) in table {
                    let groups = groups(word, fleet)?;
                    self.add_limit(&format!("max_down.{word}"), *amount, groups, changing, fleet);
                }
            }
        }
        Ok(())
    }

    fn add_limit(
        &mut self,
        key: &str,
        amount: Amount,
        groups: Vec<(String, UnitSet)>,
        changing: &UnitSet,
        fleet: &Fleet<'_>,
    ) {
        for (name, members) in groups.into_iter().filter(|(_, members)| members.intersects(changing)) {
            let max_down = amount.of(members.len());
            if max_down == 0 {
                let (changes, count) = (fleet.changes(), fleet.count);
                let why = format!("is {amount}, so no unit may change, but {changes} of {count} units have to");
                self.add(key.to_owned(), amount.to_string(), Kind::Never { why });
                return;
            }
            self.limits.push(limit(name, members, max_down));
        }
    }
}

fn limit(name: String, members: UnitSet, max_down: u32) -> Limit {
    Limit { name, members, max_down, down_before: 0 }
}

/// The groups that a word of `max_down` means, with the names of their limits.
fn groups(word: &str, fleet: &Fleet<'_>) -> Result<Vec<(String, UnitSet)>> {
    let tree = &fleet.tree;
    if word == ENVIRONMENT {
        return Ok(vec![(ENVIRONMENT.to_owned(), UnitSet::first(fleet.count))]);
    }
    if let Some(nodes) = tree.level(word) {
        let named = |(node, first, last): (u32, u32, u32)| {
            (format!("{word} {}", tree.node_path(node).unwrap_or_default()), UnitSet::range(first, last))
        };
        return Ok(nodes.into_iter().map(named).collect());
    }
    let sets = tree.domains().iter().filter(|set| set.name == word || word == "domain");
    let named =
        sets.flat_map(|set| set.domains.iter().map(|(name, units)| (format!("{} {name}", set.name), units.clone())));
    let found: Vec<(String, UnitSet)> = named.collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let words = tree.limit_words();
    let message = match tree.unit_level() == Some(word) {
        true => format!("`rollout.max_down.{word}` limits single units, of which there is never more than one."),
        false => format!("`rollout.max_down.{word}` is neither a level nor a set of domains of this environment."),
    };
    let fault = Fault::new(Code::ManifestInvalid, message).detail("key", "max_down");
    Err(match nearest(word, words.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near:?}?")),
        None => fault.hint(format!("Known here: {}.", words.join(", "))),
    })
}
