//! How long a plan takes at least: what no schedule can beat, in closed form.
//!
//! Source: for each limit, the work of its units divided by how many may change at once; groups that exclude each other,
//! and groups that follow each other, add up; waves are barriers, so that their bounds add up, and bakes cannot be
//! avoided. Graham's bound says that a list schedule without orders is within `2 - 1/K` of it.

use std::collections::BTreeMap;

use crate::number::UnitNo;
use crate::plan::{Plan, Wave};
use crate::unit_set::UnitSet;

/// The bound and what makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerBound {
    /// The whole rollout, in milliseconds, without tasks, checks and waiting for windows or people.
    pub total_ms: u64,
    /// What of it is bakes.
    pub bake_ms: u64,
    /// The constraint that accounts for most of it: the name of a limit, an exclusion or an order; none when single
    /// units take longest.
    pub bottleneck: Option<String>,
}

/// How long the change of a unit takes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// On average.
    pub mean_ms: u64,
    /// At least.
    pub least_ms: u64,
}

/// The bound for a plan whose units take `duration_ms` each.
#[must_use]
pub fn lower_bound(plan: &Plan, duration_ms: impl Fn(UnitNo) -> u64) -> LowerBound {
    mean_lower_bound(plan, |unit| {
        let time = duration_ms(unit);
        Takes { mean_ms: time, least_ms: time }
    })
}

/// The bound of the mean time of a plan whose units take so long by chance. All that it consists of is convex in the
/// durations, so that the bound of their means is at most the mean of the bounds (Jensen); only whole rounds are not, and
/// those count with what a change takes at least.
#[must_use]
pub fn mean_lower_bound(plan: &Plan, takes: impl Fn(UnitNo) -> Takes) -> LowerBound {
    let mut bounder = Bounder::new(plan);
    let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut total, mut bakes) = (0_u64, 0_u64);
    for wave in &plan.waves {
        let (time, reason) = bounder.wave(wave, &takes);
        if let Some(reason) = reason {
            let share = shares.entry(reason).or_default();
            *share = share.saturating_add(time);
        }
        bakes = bakes.saturating_add(wave.bake.0);
        total = total.saturating_add(time);
    }
    let most = shares.into_iter().rev().max_by_key(|(_, share)| *share);
    let bottleneck = most.map(|(name, _)| name.to_owned());
    LowerBound { total_ms: total.saturating_add(bakes), bake_ms: bakes, bottleneck }
}

/// No limit.
const NONE: u32 = u32::MAX;

/// The limits by unit: in each layer they share no unit, such as the nodes of a level.
struct Bounder<'a> {
    plan: &'a Plan,
    layers: Vec<Vec<u32>>,
    /// By limit; only those that were touched are not empty.
    loads: Vec<Load>,
    touched: Vec<u32>,
}

/// Work on a set of units: how many, the sum of their times, the longest and the shortest one.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: u64,
    sum: u64,
    longest: u64,
    shortest: u64,
}

impl Load {
    fn add(&mut self, time: Takes) {
        self.shortest = if self.count == 0 { time.least_ms } else { self.shortest.min(time.least_ms) };
        self.count += 1;
        self.sum = self.sum.saturating_add(time.mean_ms);
        self.longest = self.longest.max(time.mean_ms);
    }

    /// With so many at once. Equal times come in whole rounds.
    fn bound(self, at_once: u32) -> u64 {
        let at_once = u64::from(at_once.max(1));
        let rounds = self.count.div_ceil(at_once).saturating_mul(self.shortest);
        self.sum.div_ceil(at_once).max(self.longest).max(rounds)
    }
}

impl<'a> Bounder<'a> {
    fn new(plan: &'a Plan) -> Self {
        let ends = plan.limits.iter().map(|limit| limit.members.end());
        let highest = plan.waves.iter().flat_map(|wave| &wave.units).map(|unit| unit.0 + 1);
        let count = ends.chain(highest).max().unwrap_or(0) as usize;
        let mut layers: Vec<Vec<u32>> = Vec::new();
        for (number, limit) in (0..).zip(&plan.limits) {
            let free = |layer: &&mut Vec<u32>| limit.members.iter().all(|unit| layer[unit.index()] == NONE);
            let layer = match layers.iter_mut().find(free) {
                Some(layer) => layer,
                None => {
                    layers.push(vec![NONE; count]);
                    let last = layers.len() - 1;
                    &mut layers[last]
                }
            };
            for (low, high) in limit.members.ranges() {
                layer[*low as usize..*high as usize].fill(number);
            }
        }
        Self { plan, layers, loads: vec![Load::default(); plan.limits.len()], touched: Vec::new() }
    }

    /// The bound of one wave and the name of the constraint that gives it.
    fn wave(&mut self, wave: &Wave, takes: &impl Fn(UnitNo) -> Takes) -> (u64, Option<&'a str>) {
        let plan = self.plan;
        let (mut best, limit) = self.limited(&wave.units, |_| true, takes);
        let mut reason = limit.map(|limit| plan.limits[limit as usize].name.as_str());
        let mut of = |members: &UnitSet| self.limited(&wave.units, |unit| members.contains(unit), takes).0;
        for exclusion in &plan.exclusions {
            let sum = exclusion.groups.iter().map(|group| of(&group.members)).fold(0, u64::saturating_add);
            if sum > best {
                (best, reason) = (sum, Some(exclusion.name.as_str()));
            }
        }
        for order in &plan.orders {
            let sum = of(&order.first.members).saturating_add(of(&order.then.members));
            if sum > best {
                (best, reason) = (sum, Some(order.name.as_str()));
            }
        }
        (best, reason)
    }

    /// The bound of some units by the limits alone, and the limit that gives it where one does.
    fn limited(
        &mut self,
        units: &[UnitNo],
        counts: impl Fn(UnitNo) -> bool,
        takes: &impl Fn(UnitNo) -> Takes,
    ) -> (u64, Option<u32>) {
        let mut longest = 0;
        for unit in units.iter().copied().filter(|unit| counts(*unit)) {
            let time = takes(unit);
            longest = longest.max(time.mean_ms);
            for layer in &self.layers {
                let limit = layer.get(unit.index()).copied().unwrap_or(NONE);
                if let Some(load) = self.loads.get_mut(limit as usize) {
                    if load.count == 0 {
                        self.touched.push(limit);
                    }
                    load.add(time);
                }
            }
        }
        let mut best = (longest, None);
        for limit in self.touched.drain(..) {
            let load = std::mem::take(&mut self.loads[limit as usize]);
            let bound = load.bound(self.plan.limits[limit as usize].free());
            if bound > best.0 {
                best = (bound, Some(limit));
            }
        }
        best
    }
}
