//! A checker of constraints that shares nothing with engine and planner: it keeps the set of changing units and looks
//! at every constraint from scratch whenever a unit begins.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use vice_core::payload::rollout::Verdict;
use vice_pride_engine::{Plan, Reason, UnitNo};
use vice_pride_simulator::Watch;

use crate::support::monday;

pub(crate) struct Oracle<'p> {
    plan: &'p Plan,
    changing: BTreeSet<u32>,
    pub(crate) placed: BTreeSet<u32>,
    pub(crate) begun: u32,
    pub(crate) broken: Vec<String>,
    went_back: bool,
    wave: u32,
}

impl<'p> Oracle<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            changing: BTreeSet::new(),
            placed: BTreeSet::new(),
            begun: 0,
            broken: Vec::new(),
            went_back: false,
            wave: 0,
        }
    }

    fn is_broken(&mut self, at: u64, what: &str) {
        self.broken.push(format!("at {at} ms: {what}"));
    }

    fn look(&mut self, at: u64, unit: u32, back: bool) {
        for limit in &self.plan.limits {
            let down = self.changing.iter().filter(|unit| limit.members.contains(UnitNo(**unit))).count();
            if down > limit.max_down as usize {
                self.is_broken(at, &format!("{down} of {} are down", limit.name));
            }
        }
        for exclusion in &self.plan.exclusions {
            let active = exclusion
                .groups
                .iter()
                .filter(|group| self.changing.iter().any(|unit| group.members.contains(UnitNo(*unit))));
            if active.count() > 1 {
                self.is_broken(at, &format!("two groups of {} change", exclusion.name));
            }
        }
        if back {
            return;
        }
        for order in &self.plan.orders {
            let waits = order.then.members.contains(UnitNo(unit));
            if waits && !order.first.members.iter().all(|first| self.placed.contains(&first.0)) {
                self.is_broken(at, &format!("{} is not kept", order.name));
            }
        }
        self.look_at_the_clock(at);
    }

    fn look_at_the_clock(&mut self, at: u64) {
        if self.plan.windows.is_empty() {
            return;
        }
        let now: Timestamp = monday().checked_add(SignedDuration::from_millis(i64::try_from(at).unwrap())).unwrap();
        let zoned = now.in_tz("UTC").unwrap();
        // The only window of the tests: Monday to Wednesday, 09:00 to 11:30.
        let day = zoned.weekday().to_monday_zero_offset() < 3;
        let minutes = i32::from(zoned.hour()) * 60 + i32::from(zoned.minute());
        if !day || !(9 * 60..11 * 60 + 30).contains(&minutes) {
            self.is_broken(at, &format!("a unit begins at {zoned}"));
        }
    }
}

impl Watch for Oracle<'_> {
    const REASONS: bool = false;

    fn began(&mut self, at: u64, unit: u32, back: bool) {
        self.begun += 1;
        if !self.changing.insert(unit) {
            self.is_broken(at, &format!("unit {unit} begins twice"));
        }
        let wave = self.plan.waves.iter().position(|wave| wave.units.contains(&UnitNo(unit)));
        if !back && wave != Some(self.wave as usize) {
            self.is_broken(at, &format!("unit {unit} of wave {wave:?} begins in wave {}", self.wave));
        }
        self.look(at, unit, back);
    }

    fn ended(&mut self, at: u64, unit: u32, back: bool, failed: bool) {
        if !self.changing.remove(&unit) {
            self.is_broken(at, &format!("unit {unit} ends without having begun"));
        }
        match (failed, back) {
            (true, _) => {}
            (false, true) => drop(self.placed.remove(&unit)),
            (false, false) => drop(self.placed.insert(unit)),
        }
    }

    fn wave(&mut self, at: u64, wave: u32, begins: bool) {
        if !begins && !self.changing.is_empty() {
            self.is_broken(at, &format!("wave {wave} ends while units change"));
        }
        self.wave = wave;
    }

    fn share(&mut self, _: u64, _: Option<u32>) {}

    fn decided(&mut self, _: u64, verdict: Verdict, _: Reason) {
        self.went_back |= verdict == Verdict::Rollback;
    }

    fn held(&mut self, _: u64, _: Reason) {}
}
