//! Which units there are and what happens to each: wanted against found. For blue-green it also names the second set.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use vice_core::manifest::{Order, Strategy};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{UnitHealth, UnitState};
use vice_core::{Code, Fault, Result};

use super::PlanRequest;
use crate::natural::natural_cmp;
use crate::number::UnitNo;
use crate::plan::{UnitAction, UnitPlan};
use crate::topology::{Pairs, Topology, UNITS_MAX, intersection};
use crate::unit_set::UnitSet;

/// The colours of blue-green, in the order in which they are tried.
const COLOURS: [&str; 2] = ["blue", "green"];

/// What the planner has to know about the units.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    /// Where they stand. Units that are only removed may come after its last one.
    pub(super) tree: Cow<'a, Topology>,
    /// How many there are.
    pub(super) count: u32,
    /// Those that shall run the new release and do not yet.
    pub(super) placed: UnitSet,
    /// Those that shall not exist any more.
    pub(super) removed: UnitSet,
    /// Those that run an earlier release now.
    pub(super) baseline: bool,
    /// Those that exist, shall run the new release, and are down now; none where nothing is up that could be spared.
    pub(super) down: UnitSet,
}

impl<'a> Fleet<'a> {
    /// A fleet in which every unit runs the earlier release and changes: what a simulation starts with.
    pub(super) fn all_changing(tree: &'a Topology) -> Self {
        let (count, placed) = (tree.len(), UnitSet::first(tree.len()));
        Self {
            tree: Cow::Borrowed(tree),
            count,
            placed,
            removed: UnitSet::default(),
            baseline: true,
            down: UnitSet::default(),
        }
    }

    /// Units that change in some way.
    pub(super) fn changes(&self) -> u32 {
        self.placed.len() + self.removed.len()
    }

    /// The units that are placed and there twice; none where nothing waits for what its double tries out.
    pub(super) fn pairs(&self) -> Option<Pairs> {
        let all = self.tree.pairs();
        let placed = |units: &UnitSet| intersection(units, &self.placed);
        let pairs = Pairs { canaries: placed(&all.canaries), stables: placed(&all.stables) };
        (!pairs.stables.is_empty()).then_some(pairs)
    }

    /// The units that exist afterwards.
    pub(super) fn remaining(&self) -> u32 {
        self.count - self.removed.len()
    }
}

/// The units of a request with their names, and the fleet that they are.
pub(super) fn fleet<'a>(request: &PlanRequest<'a>) -> Result<(Vec<UnitPlan>, Fleet<'a>)> {
    let found: BTreeMap<&str, &UnitState> =
        request.inventory.units.iter().map(|unit| (unit.name.as_str(), unit)).collect();
    let wanted = wanted(request, &found)?;
    let names: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    if names.len() != wanted.len() {
        return Err(Fault::new(Code::ManifestInvalid, "A unit is wanted twice."));
    }
    let mut stray: Vec<&str> = found.keys().copied().filter(|name| !names.contains(name)).collect();
    stray.sort_by(|one, two| natural_cmp(one, two));
    let all: Vec<String> = match request.topology {
        Some(_) => wanted.iter().cloned().chain(stray.iter().map(|name| (*name).to_owned())).collect(),
        None => in_order(request, wanted.iter().map(String::as_str).chain(stray.iter().copied()).collect()),
    };
    if all.len() > UNITS_MAX as usize {
        let message = format!("There would be {} units; {UNITS_MAX} is the limit.", all.len());
        return Err(Fault::new(Code::ManifestInvalid, message));
    }
    let tree = request.topology.map_or_else(|| Cow::Owned(Topology::flat(&all)), Cow::Borrowed);
    let units: Vec<UnitPlan> = (0..)
        .zip(&all)
        .map(|(number, name)| UnitPlan {
            place: tree.place(UnitNo(number)),
            class: tree.class_of(UnitNo(number)).and_then(|class| tree.classes().get(class as usize)).cloned(),
            ..unit(name, names.contains(name.as_str()), found.get(name.as_str()).copied(), &request.to)
        })
        .collect();
    let of = |action: UnitAction| {
        let numbered = (0..).zip(&units).filter(move |(_, unit)| unit.action == action);
        UnitSet::from_units(numbered.map(|(number, _)| UnitNo(number)))
    };
    let earlier = |unit: &UnitPlan| unit.before.as_ref().is_some_and(|before| !before.runs_like(&request.to));
    let fleet = Fleet {
        tree,
        count: u32::try_from(units.len()).unwrap_or(UNITS_MAX),
        placed: of(UnitAction::Place),
        removed: of(UnitAction::Remove),
        baseline: units.iter().any(earlier),
        down: down(&units, &found),
    };
    Ok((units, fleet))
}

/// The units that exist, shall run the new release, and are known to be down.
fn down(units: &[UnitPlan], found: &BTreeMap<&str, &UnitState>) -> UnitSet {
    let is_up = |unit: &UnitPlan| {
        let known = found.get(unit.name.as_str())?;
        Some(matches!(known.health, UnitHealth::Healthy | UnitHealth::Unknown))
    };
    if !units.iter().any(|unit| is_up(unit) == Some(true)) {
        return UnitSet::default();
    }
    let numbered = (0..).zip(units).filter(|(_, unit)| unit.action == UnitAction::Place && is_up(unit) == Some(false));
    UnitSet::from_units(numbered.map(|(number, _)| UnitNo(number)))
}

/// The names that are wanted.
fn wanted(request: &PlanRequest<'_>, found: &BTreeMap<&str, &UnitState>) -> Result<Vec<String>> {
    let blue_green = request.rollout.strategy == Strategy::BlueGreen;
    match request.topology {
        Some(_) if blue_green => Err(Fault::new(
            Code::ManifestInvalid,
            "`rollout.strategy` is blue-green, which makes a second set of units, but the units of a topology are given.",
        )
        .hint("Use the strategy canary, waves or rolling.")
        .detail("key", "strategy")),
        Some(tree) => Ok((0..tree.len()).map(|unit| tree.unit_name(UnitNo(unit))).collect()),
        None if blue_green => Ok(coloured(request, found)),
        None => Ok(request.units.clone()),
    }
}

/// The wanted names in the colour that is next: the one that runs the new release already, else the one that has no
/// units of an earlier release.
fn coloured(request: &PlanRequest<'_>, found: &BTreeMap<&str, &UnitState>) -> Vec<String> {
    let names = |colour: &str| request.units.iter().map(|unit| format!("{colour}-{unit}")).collect::<Vec<_>>();
    let ready = |colour: &&&str| {
        let fine = |name: &String| {
            let unit = found.get(name.as_str()).copied();
            self::unit(name, true, unit, &request.to).action == UnitAction::Keep
        };
        !request.units.is_empty() && names(colour).iter().all(fine)
    };
    let in_use = |colour: &str| {
        let earlier = |unit: &&UnitState| unit.release.as_ref().is_some_and(|release| !release.runs_like(&request.to));
        let units = found.values().copied();
        units
            .filter(|unit| unit.name.strip_prefix(colour).is_some_and(|rest| rest.starts_with('-')))
            .any(|unit| earlier(&unit))
    };
    let free = || COLOURS.iter().find(|colour| !in_use(colour));
    names(COLOURS.iter().find(ready).or_else(free).copied().unwrap_or(COLOURS[0]))
}

/// Without a topology: those that `order` names first, the others by name.
fn in_order(request: &PlanRequest<'_>, mut names: Vec<&str>) -> Vec<String> {
    let listed: BTreeMap<String, usize> = match &request.rollout.order {
        Order::Listed(list) => list.iter().map(ToString::to_string).zip(0..).collect(),
        Order::CoverageFirst => BTreeMap::new(),
    };
    let place = |name: &str| listed.get(name).copied().unwrap_or(usize::MAX);
    names.sort_by(|one, two| place(one).cmp(&place(two)).then_with(|| natural_cmp(one, two)));
    names.into_iter().map(str::to_owned).collect()
}

fn unit(name: &str, wanted: bool, found: Option<&UnitState>, to: &ReleaseRef) -> UnitPlan {
    let before = found.and_then(|unit| unit.release.clone());
    // Where nobody can tell the health, doing everything again on each deploy would be the greater harm.
    let fine = found.is_some_and(|unit| matches!(unit.health, UnitHealth::Healthy | UnitHealth::Unknown));
    let same = before.as_ref().is_some_and(|before| before.runs_like(to));
    let action = match (wanted, fine && same) {
        (false, _) => UnitAction::Remove,
        (true, true) => UnitAction::Keep,
        (true, false) => UnitAction::Place,
    };
    UnitPlan { name: name.to_owned(), before, action, place: None, class: None }
}

/// What all units that exist run, if it is the same.
pub(super) fn agreed(units: &[UnitPlan]) -> Option<ReleaseRef> {
    let mut all = units.iter().filter_map(|unit| unit.before.as_ref());
    let first = all.next()?;
    all.all(|other| first.runs_like(other)).then(|| first.clone())
}
