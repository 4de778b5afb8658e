//! Watchers that make what a report shows: how the release spread over the fleet, and what units waited for.

use std::collections::BTreeMap;

use vice_core::payload::environment::Direction;
use vice_core::payload::propagation::{Leaf, Propagation, ROWS_MAX, Recorder, Rows, UnitPhase};
use vice_core::payload::rollout::Verdict;
use vice_core::payload::simulation::Bottleneck;
use vice_pride_engine::{Course, Reason, describe_reason};

use crate::bound::Members;
use crate::layout::Layout;
use crate::watch::Watch;

/// Bottlenecks that are shown.
const BOTTLENECKS_MAX: usize = 8;

/// Records a run as a picture.
pub(crate) struct Picture<'w> {
    course: &'w Course,
    recorder: Recorder,
    /// The row of each unit.
    row_of: Vec<u32>,
    placed: Vec<bool>,
    went_back: bool,
}

impl<'w> Picture<'w> {
    pub(crate) fn new(layout: &Layout, course: &'w Course) -> Self {
        let (leaves, leaf_of) = leaves(layout, course);
        let rows = Rows::fit(&leaves, ROWS_MAX);
        let row_of = leaf_of.iter().map(|leaf| rows.row_of.get(*leaf as usize).copied().unwrap_or(0)).collect();
        Self {
            course,
            recorder: Recorder::new(rows.rows, rows.aggregated, 1),
            row_of,
            placed: vec![false; layout.units as usize],
            went_back: false,
        }
    }

    pub(crate) fn finish(self, run: u64, end_ms: u64) -> Propagation {
        Propagation { run: Some(run), ..self.recorder.finish(end_ms) }
    }

    fn row(&self, unit: u32) -> u32 {
        self.row_of.get(unit as usize).copied().unwrap_or(0)
    }

    /// The phase of a unit that is at rest.
    fn rest(&self, unit: u32, back: bool) -> UnitPhase {
        match (self.placed[unit as usize], back) {
            (true, _) => UnitPhase::New,
            (false, true) => UnitPhase::Back,
            (false, false) => UnitPhase::Old,
        }
    }
}

/// The leaves of the picture with each unit's leaf: units by name in a small fleet, places in a large one.
fn leaves(layout: &Layout, course: &Course) -> (Vec<Leaf>, Vec<u32>) {
    let mut leaves = Vec::new();
    let mut leaf_of = Vec::with_capacity(layout.units as usize);
    let small = layout.units as usize <= ROWS_MAX;
    for (path, low, high) in layout.paths() {
        let place: Vec<String> = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if small || place.is_empty() && leaves.len() < ROWS_MAX {
            single(course, &place, low, high, &mut leaves, &mut leaf_of);
            continue;
        }
        let path = if place.is_empty() { vec!["elsewhere".to_owned()] } else { place };
        leaf_of.extend(std::iter::repeat_n(u32::try_from(leaves.len()).unwrap_or(u32::MAX), (high - low) as usize));
        leaves.push(Leaf { path, units: high - low });
    }
    (leaves, leaf_of)
}

/// A leaf for each unit; in a large fleet without places a leaf for each of as many groups as there are rows.
fn single(course: &Course, place: &[String], low: u32, high: u32, leaves: &mut Vec<Leaf>, leaf_of: &mut Vec<u32>) {
    let size = (high - low).div_ceil(u32::try_from(ROWS_MAX).unwrap_or(100)).max(1);
    let mut at = low;
    while at < high {
        let end = (at + size).min(high);
        let name = course
            .unit(vice_pride_engine::UnitNo(at))
            .map_or_else(|| format!("unit {}", at + 1), |unit| unit.name.clone());
        let name = if end - at == 1 { name } else { format!("units {} to {end}", at + 1) };
        leaf_of.extend(std::iter::repeat_n(u32::try_from(leaves.len()).unwrap_or(u32::MAX), (end - at) as usize));
        leaves.push(Leaf { path: place.iter().cloned().chain([name]).collect(), units: end - at });
        at = end;
    }
}

impl Watch for Picture<'_> {
    const REASONS: bool = false;

    fn began(&mut self, at: u64, unit: u32, _: bool) {
        let from = self.rest(unit, false);
        self.recorder.shift(at, self.row(unit), from, UnitPhase::Changing);
    }

    fn ended(&mut self, at: u64, unit: u32, back: bool, failed: bool) {
        if !failed {
            self.placed[unit as usize] = !back;
        }
        let to = self.rest(unit, back);
        self.recorder.shift(at, self.row(unit), UnitPhase::Changing, to);
    }

    fn wave(&mut self, at: u64, wave: u32, begins: bool) {
        if begins {
            self.recorder.wave_started(at, wave + 1, Direction::Deploy);
        } else {
            self.recorder.wave_finished(at, wave + 1);
        }
    }

    fn share(&mut self, at: u64, share: Option<u32>) {
        if let Some(share) = share {
            self.recorder.share(at, share);
        }
    }

    fn decided(&mut self, at: u64, verdict: Verdict, reason: Reason) {
        self.recorder.decided(at, verdict, describe_reason(&reason, self.course.plan()));
        if verdict == Verdict::Rollback && !self.went_back {
            self.went_back = true;
            self.recorder.wave_started(at, 0, Direction::Rollback);
        }
    }

    fn held(&mut self, _: u64, _: Reason) {}
}

/// Finds what a rollout waited for. It counts by itself which limits are full, because the engine names only one of
/// them; and takes the engine's word for everything else.
pub(crate) struct Waits<'w> {
    course: &'w Course,
    members: Members,
    down: Vec<u32>,
    /// The group of each limit: limits of one level count together.
    group: Vec<u32>,
    groups: Vec<String>,
    full: Vec<u32>,
    waited: BTreeMap<String, f64>,
    reason: Option<Reason>,
    since: u64,
    /// Units of the wave under way that have not begun.
    left: u32,
}

impl<'w> Waits<'w> {
    pub(crate) fn new(layout: &Layout, course: &'w Course) -> Self {
        let plan = course.plan();
        let mut groups: Vec<String> = Vec::new();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut group = Vec::new();
        for limit in &plan.limits {
            let name = level_of(&limit.name);
            let number = *numbers.entry(name.clone()).or_insert_with(|| {
                groups.push(name);
                u32::try_from(groups.len() - 1).unwrap_or(u32::MAX)
            });
            group.push(number);
        }
        Self {
            members: Members::new(plan.limits.iter().map(|limit| &limit.members), layout.units),
            down: vec![0; plan.limits.len()],
            full: vec![0; groups.len()],
            group,
            groups,
            course,
            waited: BTreeMap::new(),
            reason: None,
            since: 0,
            left: 0,
        }
    }

    fn change(&mut self, unit: u32, begins: bool) {
        let plan = self.course.plan();
        for limit in self.members.of(vice_pride_engine::UnitNo(unit)) {
            let at = *limit as usize;
            let free = plan.limits[at].free();
            let was = self.down[at] >= free;
            self.down[at] = if begins { self.down[at] + 1 } else { self.down[at].saturating_sub(1) };
            let full = &mut self.full[self.group[at] as usize];
            match (was, self.down[at] >= free) {
                (false, true) => *full += 1,
                (true, false) => *full -= 1,
                _ => {}
            }
        }
    }

    /// Books the time since the latest look.
    fn book(&mut self, at: u64) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulated rollout, far below 2^53")]
        let lasted = at.saturating_sub(self.since) as f64;
        self.since = at;
        let Some(reason) = self.reason.filter(|_| lasted > 0.0) else { return };
        let full: u32 = self.full.iter().sum();
        // The engine names a limit only when it has just met one; units that wait in line wait for the same limits.
        let in_line =
            matches!(reason, Reason::AtLimit { .. }) || self.left > 0 && matches!(reason, Reason::InFlight { .. });
        if !in_line || full == 0 {
            *self.waited.entry(label(reason, self.course)).or_default() += lasted;
            return;
        }
        for (name, count) in self.groups.iter().zip(&self.full).filter(|(_, count)| **count > 0) {
            *self.waited.entry(name.clone()).or_default() += lasted * f64::from(*count) / f64::from(full);
        }
    }

    pub(crate) fn finish(mut self, at: u64) -> BTreeMap<String, f64> {
        self.book(at);
        self.waited
    }
}

/// The worst first, as parts of the whole.
pub(crate) fn bottlenecks(waited: &BTreeMap<String, f64>, runs: usize) -> Vec<Bottleneck> {
    let total: f64 = waited.values().sum();
    let mut sorted: Vec<(&String, &f64)> = waited.iter().filter(|(_, time)| **time > 0.0).collect();
    sorted.sort_by(|one, two| two.1.total_cmp(one.1));
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    let runs = runs.max(1) as f64;
    let entry = |(name, time): (&String, &f64)| Bottleneck {
        constraint: name.clone(),
        waited_share: time / total,
        waited_ms: Some(time / runs),
    };
    sorted.into_iter().take(BOTTLENECKS_MAX).map(entry).collect()
}

/// Limits of one level are called by the level and then the place, such as `rack eu/dc1/rack3`: the level is what
/// stays when the place is taken away.
fn level_of(name: &str) -> String {
    name.rsplit_once(' ').map_or(name, |(level, _)| level).trim().to_owned()
}

/// For what a rollout waits while something changes.
pub(crate) const CHANGING: &str = "the last units of a wave, or a task";

fn label(reason: Reason, course: &Course) -> String {
    match reason {
        Reason::InFlight { .. } | Reason::AtLimit { .. } => CHANGING.to_owned(),
        Reason::Baking { .. } => "bakes".to_owned(),
        Reason::Watching { .. } | Reason::Judging { .. } | Reason::Measuring => "the judge".to_owned(),
        Reason::NoProof { .. } | Reason::RollbackForbidden { .. } => "a person".to_owned(),
        Reason::Excluded { exclusion } => {
            let name = course.plan().exclusions.get(exclusion as usize).map_or("", |entry| entry.name.as_str());
            format!("exclusion {name}").trim().to_owned()
        }
        Reason::WaitsForOrder { order } => {
            let name = course.plan().orders.get(order as usize).map_or("", |entry| entry.name.as_str());
            format!("order {name}").trim().to_owned()
        }
        Reason::Paused => "notice and approval".to_owned(),
        Reason::OutsideWindow { .. } => "the window of time".to_owned(),
        _ => "other".to_owned(),
    }
}

/// For what a rollout that is not over waits, as a noun that stands after `for`.
pub(crate) fn waited_for(reason: Reason, course: &Course) -> String {
    let plan = course.plan();
    match reason {
        Reason::Baking { wave } => format!("the bake of wave {wave}"),
        Reason::NoProof { .. } => "a person, because nothing is proven".to_owned(),
        Reason::GivenUp { units: 1 } => "a person, because a unit was given up".to_owned(),
        Reason::GivenUp { units } => format!("a person, because {units} units were given up"),
        Reason::RollbackForbidden { task } => {
            let name = plan.tasks.get(task.index()).map_or("", |task| task.name.as_str());
            format!("a person, because the task {name} forbids the way back")
        }
        Reason::OutsideWindow { window } => {
            let name = plan.windows.get(window as usize).map_or("", |window| window.name.as_str());
            format!("the window {name}").trim().to_owned()
        }
        Reason::Watching { .. } | Reason::Judging { .. } => "the judge, who wants to see more".to_owned(),
        other => label(other, course),
    }
}

impl Watch for Waits<'_> {
    const REASONS: bool = true;

    fn began(&mut self, at: u64, unit: u32, _: bool) {
        self.book(at);
        self.left = self.left.saturating_sub(1);
        self.change(unit, true);
    }
    fn ended(&mut self, at: u64, unit: u32, _: bool, _: bool) {
        self.book(at);
        self.change(unit, false);
    }
    fn wave(&mut self, at: u64, wave: u32, begins: bool) {
        self.book(at);
        let units = self.course.plan().waves.get(wave as usize).map_or(0, |wave| wave.units.len());
        self.left = if begins { u32::try_from(units).unwrap_or(u32::MAX) } else { 0 };
    }
    fn share(&mut self, _: u64, _: Option<u32>) {}
    fn decided(&mut self, _: u64, _: Verdict, _: Reason) {}
    fn held(&mut self, at: u64, reason: Reason) {
        self.book(at);
        self.reason = Some(reason);
    }
}
