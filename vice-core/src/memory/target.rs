//! A target that is only a table, with knobs for what can go wrong. It keeps the contract of the ports by the letter,
//! and notes every effect, so that a test can count them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::capability::{BackendInfo, Capabilities, Capability};
use crate::fault::{Code, Fault, Result};
use crate::payload::ReleaseRef;
use crate::port::target::{
    Change, Inventory, LogLine, LogSource, Observed, Op, Target, Traffic, UnitHealth, UnitState, Weight, WeightTable,
    Workload,
};
use crate::time::Millis;

/// All shares together, in basis points.
const WHOLE: u32 = 10_000;

/// Something that goes wrong once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mishap {
    /// The next operation fails with this code and changes nothing.
    FailApply(Code),
    /// The next operation is carried out, and its answer gets lost.
    LoseReply,
    /// The next operation gets lost on its way.
    LoseRequest,
    /// The next observation can't tell.
    UnknownObserve,
}

#[derive(Debug, Clone)]
struct Unit {
    release: ReleaseRef,
    running: bool,
}

#[derive(Debug, Default)]
struct Inner {
    units: BTreeMap<String, Unit>,
    epoch: u64,
    applied: BTreeSet<String>,
    weights: Option<Vec<Weight>>,
    weights_epoch: u64,
    mishaps: Vec<Mishap>,
    bad_versions: BTreeSet<String>,
    effects: Vec<String>,
}

/// A target and its traffic in memory.
#[derive(Debug, Default)]
pub struct MemoryTarget(Mutex<Inner>);

impl MemoryTarget {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something that will go wrong; several are used up in the order in which they were added.
    pub fn mishap(&self, mishap: Mishap) {
        self.inner().mishaps.push(mishap);
    }

    /// From now on this version never gets healthy.
    pub fn never_healthy(&self, version: &str) {
        self.inner().bad_versions.insert(version.to_owned());
    }

    /// Every change of a unit so far, such as `1: place 2`; repeats and failures leave none.
    #[must_use]
    pub fn effects(&self) -> Vec<String> {
        self.inner().effects.clone()
    }

    /// The version that a unit runs now; none when it does not run.
    #[must_use]
    pub fn runs(&self, unit: &str) -> Option<String> {
        let inner = self.inner();
        inner.units.get(unit).filter(|unit| unit.running).map(|unit| unit.release.version.clone())
    }

    /// Changes a unit behind everybody's back.
    pub fn tamper(&self, unit: &str, release: Option<ReleaseRef>) {
        let mut inner = self.inner();
        match release {
            Some(release) => inner.units.insert(unit.to_owned(), Unit { release, running: true }),
            None => inner.units.remove(unit),
        };
    }
}

impl Inner {
    fn admit(&mut self, epoch: u64) -> Result<()> {
        if epoch < self.epoch {
            let seen = self.epoch;
            return Err(Fault::new(Code::Fenced, format!("The target has seen epoch {seen} and refuses {epoch}.")));
        }
        self.epoch = epoch;
        Ok(())
    }

    fn take(&mut self, wanted: impl Fn(&Mishap) -> bool) -> Option<Mishap> {
        let index = self.mishaps.iter().position(wanted)?;
        Some(self.mishaps.remove(index))
    }

    fn unit(&mut self, name: &str) -> Result<&mut Unit> {
        self.units.get_mut(name).ok_or_else(|| Fault::new(Code::UnknownName, format!("There is no unit {name:?}.")))
    }

    fn place(&mut self, unit: &str, release: &ReleaseRef, workload: Option<&Workload>) -> Result<()> {
        let version = &release.version;
        match workload {
            None => {
                return Err(Fault::new(Code::Usage, format!("Version {version} can't be placed without its release.")));
            }
            Some(workload) if workload.release != *release => {
                return Err(Fault::new(Code::Usage, "The operation and the release do not fit together."));
            }
            Some(_) => {}
        }
        if self.bad_versions.contains(version) {
            return Err(Fault::new(
                Code::Unhealthy,
                format!("Version {version} did not become healthy on unit {unit}."),
            ));
        }
        self.effects.push(format!("{unit}: place {version}"));
        self.units.insert(unit.to_owned(), Unit { release: release.clone(), running: true });
        Ok(())
    }

    fn run(&mut self, unit: &str, running: bool, effect: &str) -> Result<()> {
        self.unit(unit)?.running = running;
        self.effects.push(format!("{unit}: {effect}"));
        Ok(())
    }

    fn remove(&mut self, unit: &str) {
        if self.units.remove(unit).is_some() {
            self.effects.push(format!("{unit}: remove"));
        }
    }

    fn change(&mut self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        match &op.change {
            Change::Place(release) => self.place(&op.unit, release, workload),
            Change::Remove => {
                self.remove(&op.unit);
                Ok(())
            }
            Change::Start if self.units.get(&op.unit).is_some_and(|unit| unit.running) => Ok(()),
            Change::Start => self.run(&op.unit, true, "start"),
            Change::Stop => self.run(&op.unit, false, "stop"),
            Change::Restart => self.run(&op.unit, true, "restart"),
        }
    }

    fn restore(&mut self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let applied = self.applied.contains(&op.id);
        let now = self.units.get(&op.unit).map(|unit| &unit.release);
        if !applied && now == op.before.as_ref() {
            return Ok(());
        }
        let Some(before) = &op.before else {
            self.remove(&op.unit);
            return Ok(());
        };
        match (&op.change, self.units.contains_key(&op.unit)) {
            (Change::Start, true) => self.run(&op.unit, false, "stop"),
            (Change::Stop, true) => self.run(&op.unit, true, "start"),
            (Change::Restart, true) => Ok(()),
            _ => self.place(&op.unit, before, workload),
        }
    }

    fn versions(&self) -> Vec<&str> {
        self.units.values().filter(|unit| unit.running).map(|unit| unit.release.version.as_str()).collect()
    }

    fn implied(&self) -> Vec<Weight> {
        let versions = self.versions();
        let all = u32::try_from(versions.len()).unwrap_or(u32::MAX).max(1);
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for version in versions {
            *counts.entry(version).or_default() += 1;
        }
        let weight =
            |(version, count): (&str, u32)| Weight { version: version.to_owned(), basis_points: WHOLE / all * count };
        let mut weights: Vec<Weight> = counts.into_iter().map(weight).collect();
        let sum: u32 = weights.iter().map(|weight| weight.basis_points).sum();
        if let Some(first) = weights.first_mut() {
            first.basis_points += WHOLE - sum;
        }
        weights
    }

    fn check_weights(&self, table: &WeightTable) -> Result<()> {
        let sum: u64 = table.weights.iter().map(|weight| u64::from(weight.basis_points)).sum();
        if !table.weights.is_empty() && sum != u64::from(WHOLE) {
            return Err(Fault::new(Code::Usage, format!("The weights add up to {sum} basis points.")));
        }
        let versions = self.versions();
        match table.weights.iter().find(|weight| !versions.contains(&weight.version.as_str())) {
            Some(weight) => Err(Fault::new(Code::Usage, format!("No unit runs version {:?}.", weight.version))),
            None => Ok(()),
        }
    }
}

fn lost() -> Fault {
    Fault::new(Code::Unreachable, "The target gave no answer.")
}

#[async_trait]
impl Target for MemoryTarget {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "memory", location: "this process".to_owned(), shared: false }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Drain, Fence, Logs, Observe, StartStop, Weights};
        Capabilities::of([Fence, Observe, StartStop, Logs, Weights, Drain])
    }

    async fn inventory(&self) -> Result<Inventory> {
        let inner = self.inner();
        let unit = |(name, unit): (&String, &Unit)| UnitState {
            name: name.clone(),
            release: Some(unit.release.clone()),
            health: if unit.running { UnitHealth::Healthy } else { UnitHealth::Stopped },
            since: None,
            restarts: 0,
            url: None,
            facts: BTreeMap::new(),
        };
        Ok(Inventory { units: inner.units.iter().map(unit).collect(), url: None, metrics: None, epoch: inner.epoch })
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        self.inner().admit(epoch)
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        let mut inner = self.inner();
        if inner.take(|mishap| *mishap == Mishap::UnknownObserve).is_some() {
            return Ok(Observed::Unknown { reason: "the target was told not to know".to_owned() });
        }
        Ok(if inner.applied.contains(&op.id) { Observed::Applied } else { Observed::NotApplied })
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let mut inner = self.inner();
        inner.admit(op.epoch)?;
        let mishap = inner.take(|mishap| *mishap != Mishap::UnknownObserve);
        match mishap {
            Some(Mishap::FailApply(code)) => return Err(Fault::new(code, "The target was told to fail.")),
            Some(Mishap::LoseRequest) => return Err(lost()),
            _ => {}
        }
        if !inner.applied.contains(&op.id) {
            inner.change(op, workload)?;
            inner.applied.insert(op.id.clone());
        }
        if mishap.is_some() { Err(lost()) } else { Ok(()) }
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let mut inner = self.inner();
        inner.admit(op.epoch)?;
        inner.restore(op, workload)?;
        inner.applied.remove(&op.id);
        Ok(())
    }
}

#[async_trait]
impl Traffic for MemoryTarget {
    async fn table(&self) -> Result<WeightTable> {
        let inner = self.inner();
        let weights = inner.weights.clone().unwrap_or_else(|| inner.implied());
        Ok(WeightTable { epoch: inner.weights_epoch, weights })
    }

    async fn set_weights(&self, table: &WeightTable) -> Result<()> {
        let mut inner = self.inner();
        inner.admit(table.epoch)?;
        inner.check_weights(table)?;
        inner.weights_epoch = table.epoch;
        inner.weights = Some(table.weights.clone()).filter(|weights| !weights.is_empty());
        Ok(())
    }

    async fn drain(&self, unit: &str, epoch: u64, _at_most: Millis) -> Result<usize> {
        let mut inner = self.inner();
        inner.admit(epoch)?;
        inner.unit(unit).map(|_| 0)
    }
}

#[async_trait]
impl LogSource for MemoryTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        _follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let mut inner = self.inner();
        if let Some(unit) = unit {
            inner.unit(unit)?;
        }
        for name in inner.units.keys().filter(|name| unit.is_none_or(|unit| unit == *name)) {
            let own: Vec<&String> =
                inner.effects.iter().filter(|effect| effect.starts_with(&format!("{name}:"))).collect();
            for text in own.iter().skip(own.len().saturating_sub(lines)) {
                if !sink(LogLine { unit: name.clone(), text: (*text).clone() }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
