//! How long a plan takes at least: what no schedule can beat, in closed form.
//!
//! Source: for each limit, the work of its units divided by how many may change at once; groups that exclude each other,
//! and groups that follow each other, add up; waves are barriers, so that their bounds add up, and bakes cannot be
//! avoided. Graham's bound says that a list schedule without orders is within `2 - 1/K` of it.

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

/// The bound for a plan whose units take `duration_ms` each.
#[must_use]
pub fn lower_bound(plan: &Plan, duration_ms: impl Fn(UnitNo) -> u64) -> LowerBound {
    let layers = layers(plan);
    let mut shares: Vec<(String, u64)> = Vec::new();
    let (mut total, mut bakes) = (0_u64, 0_u64);
    for wave in &plan.waves {
        let (time, reason) = wave_bound(plan, &layers, wave, &duration_ms);
        if let Some(reason) = reason {
            match shares.iter_mut().find(|(name, _)| *name == reason) {
                Some((_, share)) => *share = share.saturating_add(time),
                None => shares.push((reason, time)),
            }
        }
        bakes = bakes.saturating_add(wave.bake.0);
        total = total.saturating_add(time);
    }
    let bottleneck = shares.into_iter().max_by_key(|(_, share)| *share).map(|(name, _)| name);
    LowerBound { total_ms: total.saturating_add(bakes), bake_ms: bakes, bottleneck }
}

/// Limits that share no unit, so that one pass over the units serves all of them: the nodes of a level, for example.
type Layer = Vec<(u32, u32, usize)>;

fn layers(plan: &Plan) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut ends: Vec<u32> = Vec::new();
    for (limit, group) in plan.limits.iter().enumerate() {
        let ranges = group.members.ranges();
        let Some((low, _)) = ranges.first() else { continue };
        // Limits of one level follow each other; any other arrangement gets a layer of its own.
        let layer = ends.iter().position(|end| end <= low).unwrap_or_else(|| {
            layers.push(Vec::new());
            ends.push(0);
            layers.len() - 1
        });
        layers[layer].extend(ranges.iter().map(|(low, high)| (*low, *high, limit)));
        ends[layer] = group.members.end();
    }
    layers
}

/// Work on a set of units: how many, the sum of their times, and the longest one.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: u64,
    sum: u64,
    longest: u64,
    shortest: u64,
}

impl Load {
    fn add(&mut self, time: u64) {
        self.shortest = if self.count == 0 { time } else { self.shortest.min(time) };
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
        self.longest = self.longest.max(time);
    }

    /// With so many at once. Equal times come in whole rounds.
    fn bound(self, at_once: u32) -> u64 {
        let at_once = u64::from(at_once.max(1));
        let rounds = self.count.div_ceil(at_once).saturating_mul(self.shortest);
        self.sum.div_ceil(at_once).max(self.longest).max(rounds)
    }
}

/// The bound of one wave and the constraint that gives it.
fn wave_bound(
    plan: &Plan,
    layers: &[Layer],
    wave: &Wave,
    duration_ms: &impl Fn(UnitNo) -> u64,
) -> (u64, Option<String>) {
    let mut units = wave.units.clone();
    units.sort_unstable();
    let everything = |_: UnitNo| true;
    let (mut best, limit) = limited(plan, layers, &units, everything, duration_ms);
    let mut reason = limit.map(|limit| plan.limits[limit].name.clone());
    let of = |members: &UnitSet| limited(plan, layers, &units, |unit| members.contains(unit), duration_ms).0;
    for exclusion in &plan.exclusions {
        let sum = exclusion.groups.iter().map(|group| of(&group.members)).fold(0, u64::saturating_add);
        if sum > best {
            (best, reason) = (sum, Some(exclusion.name.clone()));
        }
    }
    for order in &plan.orders {
        let sum = of(&order.first.members).saturating_add(of(&order.then.members));
        if sum > best {
            (best, reason) = (sum, Some(order.name.clone()));
        }
    }
    (best, reason)
}

/// The bound of some units by the limits alone, and the limit that gives it where one does.
fn limited(
    plan: &Plan,
    layers: &[Layer],
    units: &[UnitNo],
    counts: impl Fn(UnitNo) -> bool,
    duration_ms: &impl Fn(UnitNo) -> u64,
) -> (u64, Option<usize>) {
    let timed = || units.iter().copied().filter(|unit| counts(*unit)).map(|unit| (unit, duration_ms(unit)));
    let mut best = (timed().map(|(_, time)| time).max().unwrap_or(0), None);
    for layer in layers {
        let mut loads: Vec<(usize, Load)> = Vec::new();
        let mut at = 0;
        for (unit, time) in timed() {
            while layer.get(at).is_some_and(|(_, high, _)| *high <= unit.0) {
                at += 1;
            }
            let Some((_, _, limit)) = layer.get(at).filter(|(low, ..)| *low <= unit.0) else { continue };
            match loads.last_mut() {
                Some((same, load)) if same == limit => load.add(time),
                _ => {
                    let mut load = Load::default();
                    load.add(time);
                    loads.push((*limit, load));
                }
            }
        }
        for (limit, load) in loads {
            let bound = load.bound(plan.limits[limit].free());
            if bound > best.0 {
                best = (bound, Some(limit));
            }
        }
    }
    best
}
