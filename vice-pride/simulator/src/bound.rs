//! Below which the mean time of no schedule can come: the engine's bound on mean durations, and what stands before it.

use vice_core::manifest::TaskPer;
use vice_core::payload::simulation::LowerBound;
use vice_pride_engine::{Course, Plan, Takes, UnitNo, UnitSet, mean_lower_bound};

use crate::world::World;

/// The bound of a plan in a world, without what needs the simulated time.
#[must_use]
pub fn lower_bound(world: &World, course: &Course) -> LowerBound {
    of_plan(world, course.plan())
}

/// The bound of what the fast mode keeps of a plan.
pub(crate) fn fast_lower_bound(world: &World, course: &Course) -> LowerBound {
    of_plan(world, &Plan { exclusions: Vec::new(), orders: Vec::new(), ..course.plan().clone() })
}

fn of_plan(world: &World, plan: &Plan) -> LowerBound {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds, not below 0")]
    let takes = |unit: UnitNo| {
        let profile = world.profile(unit.0);
        Takes { mean_ms: profile.mean_ms() as u64, least_ms: profile.least_ms() as u64 }
    };
    let bound = mean_lower_bound(plan, takes);
    let once = plan.tasks.iter().filter(|task| task.per == TaskPer::Rollout);
    let besides = once.map(|task| world.task(&task.name).mean()).sum::<f64>() + world.held_up_mean();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a rollout")]
    let total_ms = bound.total_ms as f64 + besides;
    LowerBound { total_ms, gap: 1.0, mean_ms: None, mean_error_ms: None, mean_gap: None, binding: bound.bottleneck }
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
