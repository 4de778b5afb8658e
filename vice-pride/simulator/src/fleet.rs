//! Fleets of a regular shape with plans for them: what benchmarks, tests and studies of policies are made of. Real
//! projects get their plan from the planner; this knows nothing of manifests.

use vice_core::manifest::VerifyWhen;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::payload::simulation::FleetNode;
use vice_core::{Millis, Result};
use vice_pride_engine::{Course, FailurePolicy, Limit, PLANNER_VERSION, Plan, UnitNo, UnitSet, Wave, next_wave};

use crate::layout::{Layout, check_size};

/// One level of a regular fleet: its name, how many nodes each node above has, and how many units may be down at once
/// in each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level<'a> {
    /// Such as `rack`.
    pub name: &'a str,
    /// So many below each node of the level above.
    pub each: u32,
    /// The limit of each node; none: no limit here.
    pub max_down: Option<u32>,
}

/// A fleet of a regular shape: levels from the top, the last one being the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Where the units are.
    pub layout: Layout,
    /// The limits of all levels, in depth-first order.
    pub limits: Vec<Limit>,
}

impl Fleet {
    /// Makes it. `units` is how many servers each node of the last level has.
    ///
    /// # Errors
    /// `Usage` when it is too large.
    pub fn regular(levels: &[Level<'_>], units: u32) -> Result<Self> {
        let total = levels.iter().fold(u64::from(units), |total, level| total.saturating_mul(u64::from(level.each)));
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        check_size(total)?;
        let names = levels.iter().map(|level| level.name.to_owned()).chain(["server".to_owned()]).collect();
        let mut fleet =
            Self { layout: Layout { units: total, levels: names, ..Layout::default() }, limits: Vec::new() };
        fleet.grow(levels, 0, None, 0, total);
        Ok(fleet)
    }

    fn grow(&mut self, levels: &[Level<'_>], depth: u16, parent: Option<u32>, first: u32, last: u32) {
        let Some((level, below)) = levels.split_first() else { return };
        let size = (last - first) / level.each.max(1);
        for index in 0..level.each {
            let low = first + index * size;
            let number = u32::try_from(self.layout.nodes.len()).unwrap_or(u32::MAX);
            let name = format!("{}{}", level.name, index + 1);
            self.layout.nodes.push(FleetNode {
                name: name.clone(),
                level: depth,
                parent,
                first: low,
                last: low + size,
            });
            if let Some(max_down) = level.max_down {
                let members = UnitSet::range(low, low + size);
                self.limits.push(Limit { name: format!("{} {number}", level.name), members, max_down, down_before: 0 });
            }
            self.grow(below, depth + 1, Some(number), low, low + size);
        }
    }

    /// A domain that crosses the tree: every `of`-th unit, with a limit.
    pub fn domains(&mut self, of: u32, max_down: u32) {
        for domain in 0..of {
            let members = (domain..self.layout.units).step_by(of.max(1) as usize).map(UnitNo);
            let members = UnitSet::from_units(members);
            self.limits.push(Limit { name: format!("domain {domain}"), members, max_down, down_before: 0 });
        }
    }

    /// A plan with these waves, ready to run.
    ///
    /// # Errors
    /// `Decode` when it contradicts itself, such as a limit of zero.
    pub fn course(&self, waves: Vec<Wave>, failures: FailurePolicy) -> Result<Course> {
        Course::unnamed(self.plan(waves, failures), self.layout.units)
    }

    /// The same as a plan that can still be changed.
    #[must_use]
    pub fn plan(&self, waves: Vec<Wave>, failures: FailurePolicy) -> Plan {
        let release = |version: &str| ReleaseRef {
            version: version.to_owned(),
            artifact: None,
            source: String::new(),
            config: None,
            recipe: None,
        };
        Plan {
            planner: PLANNER_VERSION,
            direction: Direction::Deploy,
            from: Some(release("1")),
            to: release("2"),
            units: Vec::new(),
            waves,
            limits: self.limits.clone(),
            exclusions: Vec::new(),
            orders: Vec::new(),
            windows: Vec::new(),
            failures,
            tasks: Vec::new(),
            verify: VerifyWhen::Never,
            has_checks: false,
            analysis: None,
            frees_traffic: false,
        }
    }
}

/// Geometric waves over units in the order of their numbers: `first` units, then `growth` times as many, and so on.
#[must_use]
pub fn growing_waves(units: u32, first: u32, growth: f64, bake: Millis) -> Vec<Wave> {
    waves_of(&(0..units).map(UnitNo).collect::<Vec<_>>(), first, growth, bake)
}

/// Geometric waves over given units.
#[must_use]
pub fn waves_of(units: &[UnitNo], first: u32, growth: f64, bake: Millis) -> Vec<Wave> {
    let mut waves = Vec::new();
    let mut rest = units;
    let mut size = f64::from(first.max(1));
    while !rest.is_empty() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the number of units")]
        let count = (size.min(f64::from(u32::MAX)) as usize).clamp(1, rest.len());
        let (wave, others) = rest.split_at(count);
        waves.push(Wave { bake, ..Wave::of(wave.to_vec()) });
        rest = others;
        size = next_wave(size, growth);
    }
    waves
}
