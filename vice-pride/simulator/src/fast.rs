//! The fast mode: an approximation by the name of *fair slots*. Each unit counts against its tightest limit exactly; of
//! wider limits, each tight group gets a fixed fair part of the places. Waves, bakes, retries, tasks and checks are as
//! in the exact mode and draw the same luck; exclusions, orders, windows and the judge are left out. A test holds it
//! against the exact mode.
//!
//! Within a group with `k` places the next unit begins when the earliest of the `k` is free, which is what the engine
//! does; so the only approximation is that places of a wide limit do not move to whoever needs them most.

mod ends;
mod places;

use vice_core::manifest::TaskPer;
use vice_core::payload::simulation::SimulatedEnd;
use vice_pride_engine::{Course, UnitNo};

use crate::bound::Members;
use crate::draw::{Luck, Purpose};
use crate::picture::CHANGING;
use crate::run::{CUT_OFF_MS, Run};
use crate::world::{Profile, World};
use ends::FastExposed;
use places::Places;

/// A plan made ready for the fast mode.
#[derive(Debug, Clone)]
pub struct FastCourse<'w> {
    world: &'w World,
    course: &'w Course,
    waves: Vec<FastWave>,
    retries: u32,
    /// Time before the first wave and after the last one.
    once: Vec<(u32, bool, usize)>,
}

#[derive(Debug, Clone)]
struct FastWave {
    bake: u64,
    groups: Vec<Group>,
    units: Vec<u32>,
}

/// Units of one wave that share the same places.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: u32,
    last: u32,
    places: u32,
}

impl<'w> FastCourse<'w> {
    /// Makes it ready.
    #[must_use]
    pub fn new(world: &'w World, course: &'w Course) -> Self {
        let plan = course.plan();
        let members = Members::new(plan.limits.iter().map(|limit| &limit.members), world.layout.units);
        let waves = plan.waves.iter().map(|wave| fast_wave(course, &members, &wave.units, wave.bake.0)).collect();
        let once = plan.tasks.iter().enumerate().filter(|(_, task)| task.per == TaskPer::Rollout);
        let before = |run| run == vice_core::manifest::TaskRun::Before;
        let entity = |index: usize| u32::MAX - u32::try_from(index).unwrap_or(0);
        Self {
            world,
            course,
            waves,
            retries: plan.failures.retries,
            once: once.map(|(index, task)| (entity(index), before(task.run), index)).collect(),
        }
    }

    fn task_time(&self, luck: Luck, before: bool) -> u64 {
        let tasks = self.once.iter().filter(|(_, runs_before, _)| *runs_before == before);
        let takes = |(entity, _, index): &(u32, bool, usize)| {
            let name = self.course.plan().tasks.get(*index).map_or("", |task| task.name.as_str());
            self.world.task(name).draw(luck.bits(Purpose::Task, *entity, 0))
        };
        tasks.map(takes).sum()
    }

    /// One healthy run.
    #[must_use]
    pub fn run(&self, seed: u64, run: u64) -> Run {
        self.run_with(seed, run, None)
    }

    /// One healthy run in which every wave bakes so long.
    #[must_use]
    pub fn run_with(&self, seed: u64, run: u64, bake: Option<u64>) -> Run {
        let luck = Luck::new(seed, run);
        let held_up = self.world.held_up(luck).unwrap_or(0);
        let mut now = held_up.saturating_add(self.task_time(luck, true));
        let mut exposed = FastExposed::new(self.world);
        let mut waves = Vec::with_capacity(self.waves.len());
        let (mut failed_tries, mut given_up, mut events) = (0, 0, 0);
        let mut places = Places::default();
        let mut waits_for = (held_up > CUT_OFF_MS).then(|| "notice and approval".to_owned());
        for (number, wave) in (0_u32..).zip(&self.waves) {
            if now > CUT_OFF_MS {
                break;
            }
            let begun = now;
            exposed.begin(begun, wave.units.len());
            for group in &wave.groups {
                places.open(group.places, begun);
                for unit in &wave.units[group.first as usize..group.last as usize] {
                    let (takes, tries, ok) = self.change(luck, *unit);
                    failed_tries += tries - u32::from(ok);
                    given_up += u32::from(!ok);
                    events += u64::from(tries);
                    let end = places.take_earliest(takes);
                    now = now.max(end);
                    exposed.add(end, *unit);
                }
            }
            exposed.end(now);
            let changed = now;
            now = now.saturating_add(bake.unwrap_or(wave.bake)).saturating_add(self.verify_time(luck, number));
            if now > CUT_OFF_MS && waits_for.is_none() {
                let bakes = changed <= CUT_OFF_MS;
                waits_for = bakes.then(|| format!("the bake of wave {}", number + 1));
            }
            waves.push((begun, Some(now).filter(|end| *end <= CUT_OFF_MS)));
        }
        now = now.saturating_add(self.task_time(luck, false));
        let cut_off = now > CUT_OFF_MS;
        if cut_off {
            now = CUT_OFF_MS;
            waits_for = waits_for.or_else(|| Some(CHANGING.to_owned()));
        }
        let turned = !cut_off && given_up > self.course.plan().failures.tolerate;
        Run {
            end: match (cut_off, turned) {
                (true, _) => SimulatedEnd::CutOff,
                (false, true) => SimulatedEnd::RolledBack,
                (false, false) => SimulatedEnd::Completed,
            },
            total_ms: now,
            waves,
            found: None,
            turned_ms: turned.then_some(now),
            harm_hours: 0.0,
            undone: 0,
            failed_tries,
            events,
            waits_for,
            asked: 0,
            trace: exposed.finish(now),
        }
    }

    fn verify_time(&self, luck: Luck, wave: u32) -> u64 {
        let plan = self.course.plan();
        let last = wave as usize + 1 == self.waves.len();
        let verifies = match plan.verify {
            vice_core::manifest::VerifyWhen::EachWave => plan.has_checks,
            vice_core::manifest::VerifyWhen::End => plan.has_checks && last,
            vice_core::manifest::VerifyWhen::Never => false,
        };
        if verifies { self.world.verify.draw(luck.bits(Purpose::Verify, wave, 0)) } else { 0 }
    }

    /// All tries of a unit: how long they take, how many they are, and whether the last one went well.
    #[inline]
    fn change(&self, luck: Luck, unit: u32) -> (u64, u32, bool) {
        let profile: &Profile = self.world.profile(unit);
        let mut takes = 0;
        let mut nth = 0;
        loop {
            let one = profile.change(luck, unit, nth);
            takes += one.millis;
            nth += 1;
            if !one.fails || nth > self.retries {
                return (takes, nth, !one.fails);
            }
        }
    }
}

fn fast_wave(course: &Course, members: &Members, units: &[UnitNo], bake: u64) -> FastWave {
    let plan = course.plan();
    // How many units of this wave each limit has, and its tightest: places by unit of load.
    let mut load: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
    for limit in units.iter().flat_map(|unit| members.of(*unit)) {
        *load.entry(*limit).or_default() += 1;
    }
    let free = |limit: u32| plan.limits[limit as usize].free().max(1);
    let tightness = |limit: u32| f64::from(free(limit)) / f64::from(load.get(&limit).copied().unwrap_or(1).max(1));
    let home = |unit: &UnitNo| {
        let of = members.of(*unit);
        of.iter().copied().min_by(|one, two| {
            tightness(*one)
                .total_cmp(&tightness(*two))
                .then_with(|| load[one].cmp(&load[two]))
                .then_with(|| one.cmp(two))
        })
    };
    let mut sorted: Vec<(Option<u32>, u32)> = units.iter().map(|unit| (home(unit), unit.0)).collect();
    sorted.sort_by_key(|(home, _)| *home);
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while at < sorted.len() {
        let home = sorted[at].0;
        let end = sorted.partition_point(|(other, _)| *other <= home);
        let count = u32::try_from(end - at).unwrap_or(u32::MAX);
        let places = home.map_or(count, |limit| fair_places(limit, count, &load, free, members, sorted[at].1));
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        groups.push(Group { first: number(at), last: number(end), places: places.clamp(1, count) });
        at = end;
    }
    FastWave { bake, groups, units: sorted.into_iter().map(|(_, unit)| unit).collect() }
}

/// The places of a group: its own limit's, or its fair part of those of a wider one where that is less.
fn fair_places(
    home: u32,
    count: u32,
    load: &std::collections::BTreeMap<u32, u32>,
    free: impl Fn(u32) -> u32,
    members: &Members,
    unit: u32,
) -> u32 {
    let own = free(home);
    let fair = |limit: &u32| {
        let part = f64::from(count) / f64::from(load.get(limit).copied().unwrap_or(count).max(1));
        part * f64::from(free(*limit))
    };
    let least = members.of(UnitNo(unit)).iter().map(fair).fold(f64::from(own), f64::min);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a limit")]
    let places = (least + 0.5) as u32;
    places.max(1)
}
