//! Below which no schedule can come: work over places, wave by wave. It uses means, so it bounds the mean time.

use vice_core::manifest::TaskPer;
use vice_core::payload::simulation::LowerBound;
use vice_pride_engine::{Course, UnitNo, UnitSet};

use crate::world::World;

/// The bound of a plan in a world, without the gap, which needs the simulated time. Waves follow each other, so their
/// bounds add up: in each the most loaded limit works all the time with all its places, and no unit is faster than itself.
#[must_use]
pub fn lower_bound(world: &World, course: &Course) -> LowerBound {
    let plan = course.plan();
    let free: Vec<f64> = plan.limits.iter().map(|limit| f64::from(limit.free().max(1))).collect();
    let index = Members::new(plan.limits.iter().map(|limit| &limit.members), world.layout.units);
    let mut load = vec![0.0; free.len()];
    let mut total = 0.0;
    let mut most: (f64, Option<usize>) = (0.0, None);
    for wave in &plan.waves {
        let mut slowest = (0.0_f64, None);
        for unit in &wave.units {
            let takes = world.profile(unit.0).mean_ms();
            slowest.0 = slowest.0.max(takes);
            for limit in index.of(*unit) {
                load[*limit as usize] += takes;
            }
        }
        for unit in &wave.units {
            for limit in index.of(*unit) {
                let at = *limit as usize;
                let needs = std::mem::take(&mut load[at]) / free[at];
                if needs > slowest.0 {
                    slowest = (needs, Some(at));
                }
            }
        }
        if slowest.0 > most.0 {
            most = slowest;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a bake")]
        let bake = wave.bake.0 as f64;
        total += slowest.0 + bake;
    }
    let once = plan.tasks.iter().filter(|task| task.per == TaskPer::Rollout);
    total += once.map(|task| world.task(&task.name).mean()).sum::<f64>() + world.held_up_mean();
    let binding = most.1.map(|limit| plan.limits[limit].name.clone());
    LowerBound { total_ms: total, gap: 1.0, binding }
}

/// For each unit the sets that it is in, as one flat table.
pub(crate) struct Members {
    starts: Vec<u32>,
    sets: Vec<u32>,
}

impl Members {
    pub(crate) fn new<'a>(sets: impl Iterator<Item = &'a UnitSet> + Clone, units: u32) -> Self {
        let mut starts = vec![0_u32; units as usize + 1];
        for unit in sets.clone().flat_map(UnitSet::iter) {
            if let Some(count) = starts.get_mut(unit.index() + 1) {
                *count += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut list = vec![0; starts.last().copied().unwrap_or(0) as usize];
        for (number, set) in (0_u32..).zip(sets) {
            for unit in set.iter().filter(|unit| unit.0 < units) {
                list[next[unit.index()] as usize] = number;
                next[unit.index()] += 1;
            }
        }
        Self { starts, sets: list }
    }

    pub(crate) fn of(&self, unit: UnitNo) -> &[u32] {
        let (start, end) = (self.starts[unit.index()], self.starts[unit.index() + 1]);
        &self.sets[start as usize..end as usize]
    }
}
