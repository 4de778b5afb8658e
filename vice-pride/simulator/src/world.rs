//! The modelled world: a model as people write it, made ready for millions of draws. What nobody said is assumed here,
//! in one place, and every figure says where it comes from. It owns how the world answers; it decides nothing.

mod assumed;
mod bug;

use std::collections::BTreeMap;

use vice_core::manifest::{Chance, ModelSpec, PlaceSpec, Spread};
use vice_core::payload::simulation::{Assumption, AssumptionSource};
use vice_core::{Code, Fault, Result};

use crate::draw::{Luck, Purpose};
use crate::layout::{Layout, check_size};
use crate::spread::Sampler;

use assumed::Ledger;
pub use assumed::Past;
pub use bug::Bug;

/// More nodes than this on the first level are not regions with a fate of their own, but racks of one.
const REGIONS_MAX: usize = 256;

/// Cells are pairs of class and region; more than this would make every run carry tables instead of numbers.
const CELLS_MAX: usize = 4_096;

/// The world around a rollout.
#[derive(Debug, Clone)]
pub struct World {
    pub(crate) layout: Layout,
    /// How units change, by profile.
    pub(crate) profiles: Vec<Profile>,
    /// The profile of each unit; empty where there is only one.
    profile_of: Vec<u8>,
    /// The (class, region) cell of each unit; empty where there is only one.
    cell_of: Vec<u16>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) regions: usize,
    pub(crate) verify: Sampler,
    pub(crate) verify_fails: f64,
    tasks: Sampler,
    task: BTreeMap<String, Sampler>,
    pub(crate) task_fails: f64,
    pub(crate) approve: Sampler,
    /// Notice and approval before it begins, where there are any.
    gate: Vec<Sampler>,
    pub(crate) react: Sampler,
    /// Requests an hour in the whole environment.
    pub(crate) requests: f64,
    pub(crate) errors: f64,
    pub(crate) daily: f64,
    pub(crate) bugs: Vec<Bug>,
    pub(crate) cost: Cost,
    assumptions: Vec<Assumption>,
}

/// The gates before a rollout, as far as somebody said them.
fn gate(spec: &ModelSpec, ledger: &mut Ledger<'_>) -> Vec<Sampler> {
    let Some(gate) = &spec.gate else { return Vec::new() };
    let said = [("model.gate.notice", &gate.notice), ("model.gate.approval", &gate.approval)];
    let said = said.into_iter().filter_map(|(key, spread)| spread.as_ref().map(|spread| (key, spread)));
    said.map(|(key, spread)| Sampler::new(&ledger.spread(key, Some(spread), "0s"))).collect()
}

/// How the units of one profile change.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    drain: Sampler,
    install: Sampler,
    check: Sampler,
    undo: Option<Sampler>,
    unstick: Sampler,
    /// P(the try fails), and P(it fails or gets stuck): one draw decides.
    fails: f64,
    fails_or_stuck: f64,
}

/// A pair of class and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) class: Option<String>,
    pub(crate) region: usize,
    pub(crate) units: u32,
}

/// What time and harm cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// An hour of rollout.
    pub hour: f64,
    /// Bringing back one unit.
    pub rollback: f64,
    /// Rolling back a good release.
    pub false_rollback: f64,
}

/// How a try on a unit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Try {
    pub(crate) millis: u64,
    pub(crate) fails: bool,
}

impl World {
    /// Makes a model ready for a fleet. What it leaves out is taken from the past where there is one, else assumed.
    ///
    /// # Errors
    /// `Usage` for a fleet that is too large; `ManifestInvalid` for a bug of a class or a place that no unit has.
    pub fn new(spec: &ModelSpec, layout: Layout, past: &Past) -> Result<Self> {
        check_size(layout.units)?;
        let mut ledger = Ledger::new(past);
        let profiles = Profiles::new(spec, &layout, &mut ledger)?;
        let (cells, cell_of, regions) = cells(&layout)?;
        let bugs = bug::bugs(spec, &cells, &mut ledger)?;
        let (requests, errors, daily) = ledger.traffic(spec);
        let world = Self {
            profiles: profiles.list,
            profile_of: profiles.of,
            cell_of,
            cells,
            regions,
            verify: Sampler::new(&ledger.spread("model.verify", spec.verify.as_ref(), "5s ~ 3s")),
            verify_fails: ledger.chance("model.verify_fails", spec.verify_fails, 0.0),
            tasks: Sampler::new(&ledger.spread("model.tasks", spec.tasks.as_ref(), "10s ~ 10s")),
            task: spec.task.iter().map(|(name, spread)| (name.clone(), Sampler::new(spread))).collect(),
            task_fails: ledger.chance("model.task_fails", spec.task_fails, 0.0),
            approve: Sampler::new(&ledger.spread("model.approve", spec.approve.as_ref(), "30m ~ 1h")),
            gate: gate(spec, &mut ledger),
            react: Sampler::new(&ledger.spread("model.react", spec.react.as_ref(), "10m ~ 10m")),
            requests,
            errors,
            daily,
            bugs,
            cost: ledger.cost(spec),
            assumptions: ledger.entries,
            layout,
        };
        Ok(world)
    }

    /// How long a rollout waits for notice and approval before it begins, in milliseconds; none where it does not.
    pub(crate) fn held_up(&self, luck: Luck) -> Option<u64> {
        let draws = (1_u32..).zip(&self.gate).map(|(at, one)| one.draw(luck.bits(Purpose::Person, u32::MAX - at, 0)));
        (!self.gate.is_empty()).then(|| draws.fold(0, u64::saturating_add))
    }

    pub(crate) fn held_up_mean(&self) -> f64 {
        self.gate.iter().map(Sampler::mean).sum()
    }

    /// What the figures rest on.
    #[must_use]
    pub fn assumptions(&self) -> &[Assumption] {
        &self.assumptions
    }

    /// The fleet.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bugs that the release may have.
    #[must_use]
    pub fn bugs(&self) -> &[Bug] {
        &self.bugs
    }

    /// What time and harm cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    #[inline]
    pub(crate) fn profile(&self, unit: u32) -> &Profile {
        let index = self.profile_of.get(unit as usize).copied().unwrap_or(0);
        &self.profiles[usize::from(index)]
    }

    #[inline]
    pub(crate) fn cell(&self, unit: u32) -> usize {
        self.cell_of.get(unit as usize).copied().map_or(0, usize::from)
    }

    pub(crate) fn task(&self, name: &str) -> &Sampler {
        self.task.get(name).unwrap_or(&self.tasks)
    }

    /// The error share of a good release at a moment of the day: it swings around its mean.
    pub(crate) fn errors_at(&self, hours: f64) -> f64 {
        let swing = libm::sin(hours * (std::f64::consts::TAU / 24.0));
        (self.errors * (1.0 + self.daily * swing)).clamp(0.0, 1.0)
    }

    /// The mean time of changing one unit once, in milliseconds.
    #[must_use]
    pub fn unit_mean_ms(&self, unit: u32) -> f64 {
        self.profile(unit).mean_ms()
    }
}

impl Profile {
    /// One try of bringing a unit to the new release.
    #[inline]
    pub(crate) fn change(&self, luck: Luck, unit: u32, nth: u32) -> Try {
        let mut millis = self.drain.draw(luck.bits(Purpose::Drain, unit, nth))
            + self.install.draw(luck.bits(Purpose::Install, unit, nth))
            + self.check.draw(luck.bits(Purpose::Check, unit, nth));
        if self.fails_or_stuck == 0.0 {
            return Try { millis, fails: false };
        }
        let fate = luck.unit(Purpose::Fate, unit, nth);
        if fate >= self.fails && fate < self.fails_or_stuck {
            millis += self.unstick.draw(luck.bits(Purpose::Person, unit, nth));
        }
        Try { millis, fails: fate < self.fails }
    }

    /// One try of bringing a unit back.
    pub(crate) fn undo(&self, luck: Luck, unit: u32, nth: u32) -> u64 {
        match &self.undo {
            Some(undo) => undo.draw(luck.bits(Purpose::Undo, unit, nth)),
            None => {
                // A stream of its own: the way back is another change of the same kind, not the same one again.
                let bits = |part: u32| luck.bits(Purpose::Undo, unit, nth * 4 + part);
                self.drain.draw(bits(0)) + self.install.draw(bits(1)) + self.check.draw(bits(2))
            }
        }
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        let stuck = self.fails_or_stuck - self.fails;
        self.drain.mean() + self.install.mean() + self.check.mean() + stuck * self.unstick.mean()
    }

    /// What a try takes at least.
    pub(crate) fn least_ms(&self) -> f64 {
        self.drain.least() + self.install.least() + self.check.least()
    }

    /// The mean time of bringing a unit back.
    pub(crate) fn undo_mean_ms(&self) -> f64 {
        self.undo.as_ref().map_or_else(|| self.drain.mean() + self.install.mean() + self.check.mean(), Sampler::mean)
    }
}

struct Profiles {
    list: Vec<Profile>,
    of: Vec<u8>,
}

impl Profiles {
    fn new(spec: &ModelSpec, layout: &Layout, ledger: &mut Ledger<'_>) -> Result<Self> {
        let base = ledger.base(spec);
        let mut list = vec![base.profile()];
        if spec.class.is_empty() && spec.at.is_empty() {
            return Ok(Self { list, of: Vec::new() });
        }
        ledger.overrides(spec);
        let mut known: Vec<Vec<usize>> = vec![Vec::new()];
        let overrides: Vec<(&String, &PlaceSpec)> = spec.class.iter().chain(&spec.at).collect();
        let applied = applied(spec, layout)?;
        let mut of = vec![0_u8; layout.units as usize];
        for (low, high, which) in applied {
            let index = known.iter().position(|other| *other == which).unwrap_or_else(|| {
                let special = which.iter().fold(base.clone(), |base, at| base.with(overrides[*at].1));
                list.push(special.profile());
                known.push(which);
                known.len() - 1
            });
            let index = u8::try_from(index).map_err(|_| too_many())?;
            of[low as usize..high as usize].fill(index);
        }
        Ok(Self { list, of })
    }
}

fn too_many() -> Fault {
    Fault::new(Code::ManifestInvalid, "The model has more than 255 combinations of class and place.")
        .hint("Name fewer places under `at`.")
}

/// For each run of neighbouring units the overrides that hold there, by index: classes first, then places.
fn applied(spec: &ModelSpec, layout: &Layout) -> Result<Vec<(u32, u32, Vec<usize>)>> {
    let mut cuts: Vec<u32> = vec![0, layout.units];
    let paths = layout.paths();
    cuts.extend(paths.iter().map(|(_, low, _)| *low));
    let ranges = layout.classes.iter().flat_map(|(_, ranges)| ranges);
    cuts.extend(ranges.flat_map(|(low, high)| [*low, *high]));
    cuts.sort_unstable();
    cuts.dedup();
    let mut unused: Vec<bool> = vec![true; spec.class.len() + spec.at.len()];
    let mut runs = Vec::new();
    for pair in cuts.windows(2) {
        let (low, high) = (pair[0], pair[1]);
        let path = paths.partition_point(|(_, first, _)| *first <= low).checked_sub(1).map_or("", |at| &paths[at].0);
        let class = class_at(layout, low);
        let classes = spec.class.keys().map(|name| class == Some(name.as_str()));
        let places = spec.at.keys().map(|pattern| matches(pattern, path));
        let which: Vec<usize> =
            classes.chain(places).enumerate().filter(|(_, holds)| *holds).map(|(at, _)| at).collect();
        which.iter().for_each(|at| unused[*at] = false);
        runs.push((low, high, which));
    }
    match unused.iter().position(|unused| *unused) {
        // A fleet of nothing has no places either.
        Some(at) if layout.units > 0 => Err(no_such_place(spec, at)),
        _ => Ok(runs),
    }
}

fn no_such_place(spec: &ModelSpec, at: usize) -> Fault {
    match at.checked_sub(spec.class.len()) {
        None => {
            let name = spec.class.get_index(at).map_or("", |(name, _)| name);
            Fault::new(Code::ManifestInvalid, format!("The model speaks of the class {name:?}, which no unit has."))
                .hint("Classes are given to units in the topology.")
        }
        Some(at) => {
            let name = spec.at.get_index(at).map_or("", |(name, _)| name);
            Fault::new(Code::ManifestInvalid, format!("The model speaks of the place {name:?}, where no unit is."))
                .hint("A place is a path from the top, such as \"eu/dc1\"; `*` stands for any name of a level.")
        }
    }
}

fn class_at(layout: &Layout, unit: u32) -> Option<&str> {
    let holds = |ranges: &[(u32, u32)]| {
        let after = ranges.partition_point(|(low, _)| *low <= unit);
        after.checked_sub(1).is_some_and(|at| unit < ranges[at].1)
    };
    layout.classes.iter().find(|(_, ranges)| holds(ranges)).map(|(name, _)| name.as_str())
}

/// Whether a pattern names a path or something above it.
fn matches(pattern: &str, path: &str) -> bool {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    pattern.split('/').all(|wanted| names.next().is_some_and(|name| wanted == "*" || wanted == name))
}

/// The cells of a fleet, each unit's cell (empty when there is one cell), and the number of regions.
fn cells(layout: &Layout) -> Result<(Vec<Cell>, Vec<u16>, usize)> {
    let top = || layout.nodes.iter().filter(|node| node.level == 0);
    let regions: Vec<(u32, u32)> = match top().count() {
        0..=REGIONS_MAX => top().map(|node| (node.first, node.last)).collect(),
        _ => Vec::new(),
    };
    let mut cuts: Vec<u32> = vec![0, layout.units];
    cuts.extend(regions.iter().flat_map(|(low, high)| [*low, *high]));
    let ranges = layout.classes.iter().flat_map(|(_, ranges)| ranges);
    cuts.extend(ranges.flat_map(|(low, high)| [*low, *high]));
    cuts.sort_unstable();
    cuts.dedup();
    let mut cells: Vec<Cell> = Vec::new();
    let mut number: BTreeMap<(Option<&str>, usize), usize> = BTreeMap::new();
    let mut of = vec![0_u16; layout.units as usize];
    for pair in cuts.windows(2) {
        let (low, high) = (pair[0], pair[1]);
        let region = regions.iter().position(|(first, last)| *first <= low && low < *last).unwrap_or(0);
        let class = class_at(layout, low);
        let index = *number.entry((class, region)).or_insert_with(|| {
            cells.push(Cell { class: class.map(str::to_owned), region, units: 0 });
            cells.len() - 1
        });
        cells[index].units += high - low;
        of[low as usize..high as usize].fill(u16::try_from(index).unwrap_or(u16::MAX));
    }
    if cells.is_empty() {
        cells.push(Cell { class: None, region: 0, units: 0 });
    }
    if cells.len() > CELLS_MAX {
        return Err(Fault::new(
            Code::Usage,
            format!("The fleet has {} pairs of class and region; {CELLS_MAX} is the limit.", cells.len()),
        )
        .hint("Give fewer classes."));
    }
    let one = cells.len() == 1;
    Ok((cells, if one { Vec::new() } else { of }, regions.len().max(1)))
}

/// The durations and chances that profiles are made from.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    drain: Spread,
    install: Spread,
    check: Spread,
    undo: Option<Spread>,
    unstick: Spread,
    fails: Chance,
    stuck: Chance,
}

impl Base {
    fn with(self, place: &PlaceSpec) -> Self {
        let or = |new: &Option<Spread>, old: Spread| new.clone().unwrap_or(old);
        Self {
            drain: or(&place.drain, self.drain),
            install: or(&place.install, self.install),
            check: or(&place.check, self.check),
            undo: place.undo.clone().or(self.undo),
            unstick: or(&place.unstick, self.unstick),
            fails: place.fails.unwrap_or(self.fails),
            stuck: place.stuck.unwrap_or(self.stuck),
        }
    }

    fn profile(&self) -> Profile {
        let fails = self.fails.0;
        Profile {
            drain: Sampler::new(&self.drain),
            install: Sampler::new(&self.install),
            check: Sampler::new(&self.check),
            undo: self.undo.as_ref().map(Sampler::new),
            unstick: Sampler::new(&self.unstick),
            fails,
            fails_or_stuck: (fails + self.stuck.0).min(1.0),
        }
    }
}

impl AsRef<Layout> for World {
    fn as_ref(&self) -> &Layout {
        &self.layout
    }
}

pub(crate) fn assumption(key: &str, value: String, source: AssumptionSource, note: Option<String>) -> Assumption {
    Assumption { key: key.to_owned(), value, source, note }
}
