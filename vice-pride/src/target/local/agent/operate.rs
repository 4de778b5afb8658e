//! Operations on units: one at a time for each unit, under an epoch, with a marker that is stored together with what
//! the operation changed. Until that moment the unit is as before, from then on the operation was carried out.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, Observed, Op, UnitHealth, Workload};
use vice_core::{Code, Fault, Millis, Result};

use super::super::layout::check_unit;
use super::super::release;
use super::super::state::{Placed, State, UnitRecord};
use super::Agent;
use super::bring_up::{bring_up, discard, forget};
use super::instance::Instance;
use super::unit::UnitCell;

/// What is told to a process whose release can't be read any more.
const DEFAULT_TIMEOUT: Millis = Millis::from_secs(10);

/// What a decided operation leaves to do.
pub(super) type Leftover = Option<(Instance, Millis)>;

/// What a unit shall be.
enum Goal {
    /// A new process of this workload.
    Place(Box<Workload>),
    /// A new process of what is stored.
    Again(Placed),
    /// No process, but what it has is kept.
    Stopped,
    /// Nothing at all.
    Absent,
}

/// How the operation's marker changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Marking {
    Applied,
    Undone,
}

impl Marking {
    pub(super) fn note(self, state: &mut State, op: &Op) -> Result<()> {
        match self {
            Self::Applied => state.mark(op),
            Self::Undone => state.unmark(op),
        }
    }
}

impl Agent {
    /// Raises the epoch, and returns when nothing of a lower one can change anything any more.
    pub(super) async fn fence(&self, epoch: u64) -> Result<()> {
        self.store.read().check_epoch(epoch)?;
        if self.store.read().epoch < epoch {
            let raised = self.store.update(|state| {
                state.check_epoch(epoch)?;
                state.epoch = epoch;
                Ok(())
            });
            raised.await?;
        }
        self.running.shut_out(epoch).await;
        Ok(())
    }

    /// What became of an operation; one under way is waited for.
    pub(super) async fn observe(&self, op: &Op) -> Observed {
        self.running.settled(&op.id).await;
        if self.store.read().is_applied(op) { Observed::Applied } else { Observed::NotApplied }
    }

    pub(super) async fn apply(self: &Arc<Self>, op: &Op, workload: Option<Workload>) -> Result<()> {
        self.carry_out(op, workload, Marking::Applied).await
    }

    pub(super) async fn undo(self: &Arc<Self>, op: &Op, workload: Option<Workload>) -> Result<()> {
        self.carry_out(op, workload, Marking::Undone).await
    }

    async fn carry_out(self: &Arc<Self>, op: &Op, workload: Option<Workload>, marking: Marking) -> Result<()> {
        check_unit(&op.unit)?;
        self.fence(op.epoch).await?;
        let slot = self.running.begin(&op.id, op.epoch);
        // Looked at again now that a fence would see the slot.
        self.store.read().check_epoch(op.epoch)?;
        let cell = self.cell(&op.unit);
        cell.dismiss_minder();
        let serial = tokio::select! {
            serial = cell.serial.lock() => serial,
            () = slot.cancel.cancelled() => return Err(shut_out(op)),
        };
        // The one who had the unit before has left a minder.
        cell.dismiss_minder();
        let decided = self.decide(&cell, op, workload, marking, &slot.cancel).await;
        self.mind(&cell);
        drop(serial);
        drop(slot);
        if let Some((old, drain)) = decided? {
            self.retire(&cell.name, &old, drain).await;
        }
        Ok(())
    }

    /// Brings the unit to where the operation wants it, or leaves it as it was.
    async fn decide(
        &self,
        cell: &UnitCell,
        op: &Op,
        workload: Option<Workload>,
        marking: Marking,
        cancel: &CancellationToken,
    ) -> Result<Leftover> {
        let state = self.store.read();
        let applied = state.is_applied(op);
        let unit = state.units.get(&op.unit);
        let goal = match marking {
            Marking::Applied if applied => None,
            Marking::Applied => goal_of(op, unit, workload)?,
            Marking::Undone => goal_of_undo(op, unit, workload, applied)?,
        };
        if goal.is_some() {
            // Before anything is started. What is as it should be without this one needs no undo.
            state.check_id(op)?;
        }
        match goal {
            None => self.only_mark(op, marking).await,
            Some(Goal::Place(workload)) => self.place(cell, op, &workload, marking, cancel).await,
            Some(Goal::Again(placed)) => {
                let workload = release::load(&self.layout, placed.key)?;
                let instance = bring_up(self, &cell.name, &workload, cancel).await?;
                self.switch(cell, op, instance, placed, marking).await
            }
            Some(Goal::Stopped) => self.take_down(cell, op, true, marking).await,
            Some(Goal::Absent) => self.take_down(cell, op, false, marking).await,
        }
    }

    async fn only_mark(&self, op: &Op, marking: Marking) -> Result<Leftover> {
        if self.store.read().is_applied(op) != (marking == Marking::Applied) {
            self.store.update(|state| marking.note(state, op)).await?;
        }
        Ok(None)
    }

    async fn place(
        &self,
        cell: &UnitCell,
        op: &Op,
        workload: &Workload,
        marking: Marking,
        cancel: &CancellationToken,
    ) -> Result<Leftover> {
        let key = self.next_generation().await?;
        release::save(&self.layout, key, workload)?;
        let placed = Placed { release: workload.release.clone(), key };
        let switched = match self.reloadable(cell, workload) {
            Some((instance, before)) => {
                let reloaded = self.reload(cell, &instance, &before, workload, cancel).await;
                match reloaded {
                    Ok(()) => self.reconfigured(cell, op, (&instance, &before), placed, marking).await,
                    Err(fault) => Err(fault),
                }
            }
            None => match bring_up(self, &cell.name, workload, cancel).await {
                Ok(instance) => self.switch(cell, op, instance, placed, marking).await,
                Err(fault) => Err(fault),
            },
        };
        if switched.is_err() {
            release::remove(&self.layout, key);
        }
        switched
    }

    /// Puts a healthy process into the unit's place. This is the moment at which the operation is carried out.
    async fn switch(
        &self,
        cell: &UnitCell,
        op: &Op,
        instance: Instance,
        placed: Placed,
        marking: Marking,
    ) -> Result<Leftover> {
        let (record, name) = (instance.record.clone(), cell.name.clone());
        let switched = self.store.update(move |state| {
            state.check_epoch(op.epoch)?;
            let (versions, keys) = (state.versions().len(), state.release_keys());
            state.loose.retain(|loose| loose.generation != record.generation);
            let before = state.units.remove(&name);
            let old = before.as_ref().and_then(|unit| unit.current.clone());
            let again = before.as_ref().filter(|unit| unit.placed == placed);
            let unit = UnitRecord {
                previous: match again {
                    Some(same) => same.previous.clone(),
                    None => before.as_ref().map(|unit| unit.placed.clone()),
                },
                restarts: again.map_or(0, |same| same.restarts),
                placed,
                running: true,
                drained: false,
                current: Some(record),
            };
            state.units.insert(name, unit);
            state.loose.extend(old);
            state.settle_weights(versions);
            marking.note(state, op)?;
            Ok(keys.difference(&state.release_keys()).copied().collect::<Vec<u64>>())
        });
        match switched.await {
            Ok(unneeded) => unneeded.into_iter().for_each(|key| release::remove(&self.layout, key)),
            Err(fault) => {
                discard(self, &instance).await;
                return Err(fault);
            }
        }
        let old = cell.replace(Some(instance), UnitHealth::Healthy);
        self.route();
        Ok(old.map(|old| (old, self.drain_timeout(cell))))
    }

    /// Takes the unit's process out of its place.
    async fn take_down(&self, cell: &UnitCell, op: &Op, keep: bool, marking: Marking) -> Result<Leftover> {
        let drain = self.drain_timeout(cell);
        let name = cell.name.clone();
        let taken = self.store.update(move |state| {
            state.check_epoch(op.epoch)?;
            let (versions, keys) = (state.versions().len(), state.release_keys());
            if let Some(mut unit) = state.units.remove(&name) {
                state.loose.extend(unit.current.take());
                unit.running = false;
                if keep {
                    state.units.insert(name, unit);
                }
            }
            state.settle_weights(versions);
            marking.note(state, op)?;
            Ok(keys.difference(&state.release_keys()).copied().collect::<Vec<u64>>())
        });
        for key in taken.await? {
            release::remove(&self.layout, key);
        }
        let old = cell.replace(None, UnitHealth::Stopped);
        self.route();
        Ok(old.map(|old| (old, drain)))
    }

    /// Ends a process that has been replaced, when its requests have ended.
    pub(super) async fn retire(&self, unit: &str, old: &Instance, drain: Millis) {
        let left = self.front.drain(&old.front_id(unit), drain).await;
        if left > 0 {
            tracing::warn!(unit, left, "requests were still under way at the end of the drain timeout");
        }
        old.stop(old.record.stop_timeout).await;
        forget(self, old).await;
    }

    fn drain_timeout(&self, cell: &UnitCell) -> Millis {
        let state = self.store.read();
        let stored = state.units.get(&cell.name).and_then(|unit| release::load(&self.layout, unit.placed.key).ok());
        stored.map_or(DEFAULT_TIMEOUT, |workload| workload.drain_timeout)
    }
}

fn goal_of(op: &Op, unit: Option<&UnitRecord>, workload: Option<Workload>) -> Result<Option<Goal>> {
    let placed = || unit.map(|unit| unit.placed.clone()).ok_or_else(|| nothing_there(op));
    Ok(match &op.change {
        Change::Place(release) => Some(Goal::Place(Box::new(wanted_workload(release, workload)?))),
        Change::Remove => Some(Goal::Absent),
        Change::Start if unit.is_some_and(|unit| unit.running) => None,
        Change::Start | Change::Restart => Some(Goal::Again(placed()?)),
        Change::Stop => {
            placed()?;
            Some(Goal::Stopped)
        }
    })
}

/// Where undo leads: to what was there before, unless that is there already.
fn goal_of_undo(op: &Op, unit: Option<&UnitRecord>, workload: Option<Workload>, applied: bool) -> Result<Option<Goal>> {
    if !applied && unit.map(|unit| &unit.placed.release) == op.before.as_ref() {
        return Ok(None);
    }
    let Some(before) = &op.before else { return Ok(Some(Goal::Absent)) };
    Ok(Some(match (&op.change, unit) {
        (Change::Start, _) => Goal::Stopped,
        (Change::Restart, Some(_)) => return Ok(None),
        (Change::Stop, Some(unit)) => Goal::Again(unit.placed.clone()),
        (_, unit) => match workload {
            Some(workload) => Goal::Place(Box::new(wanted_workload(before, Some(workload))?)),
            None => Goal::Again(stored_before(op, before, unit)?),
        },
    }))
}

fn stored_before(op: &Op, before: &ReleaseRef, unit: Option<&UnitRecord>) -> Result<Placed> {
    // The earlier one first: it may have the same release as what is there, from another configuration.
    let mut stored = unit.into_iter().flat_map(|unit| unit.previous.iter().chain(std::iter::once(&unit.placed)));
    stored.find(|placed| placed.release == *before).cloned().ok_or_else(|| {
        let version = &before.version;
        Fault::new(Code::Usage, format!("Version {version} is no longer stored for unit {}.", op.unit))
            .hint("Give the release to go back to.")
    })
}

fn wanted_workload(release: &ReleaseRef, workload: Option<Workload>) -> Result<Workload> {
    let Some(workload) = workload else {
        return Err(Fault::new(
            Code::Usage,
            format!("Version {} can't be placed without its release.", release.version),
        ));
    };
    if workload.release != *release {
        let (wanted, given) = (release.label(), workload.release.label());
        return Err(Fault::new(Code::Usage, format!("The operation wants {wanted} and was given {given}.")));
    }
    Ok(workload)
}

fn shut_out(op: &Op) -> Fault {
    Fault::new(Code::Fenced, format!("The operation on unit {} was given up: somebody else has taken over.", op.unit))
}

fn nothing_there(op: &Op) -> Fault {
    Fault::new(Code::UnknownName, format!("There is no unit {:?} on the local target.", op.unit))
        .hint("Deploy something first.")
}
