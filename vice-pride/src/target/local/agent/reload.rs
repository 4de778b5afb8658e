//! Giving a running process another configuration: its file is replaced, it is told, and it has to be well afterwards.
//! Where it is not, it gets back what it had, or a new process takes its place with that. It never decides whether a unit
//! shall run something else; that is the operation's business.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use vice_core::manifest::ReloadSignal;
use vice_core::port::target::{Op, Reload, ReloadBy, UnitHealth, Workload};
use vice_core::{Code, Fault, Result};

use super::super::state::Placed;
use super::super::{health, live, process, release};
use super::Agent;
use super::bring_up::{bring_up, discard};
use super::instance::Instance;
use super::operate::{Leftover, Marking};
use super::unit::UnitCell;

/// The first pause between two questions, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// How long the answer to one request may take, besides the whole.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How long a process may take to say what it uses, when somebody only looks.
const TELLS_WITHIN: Duration = Duration::from_millis(500);

impl Agent {
    /// The unit's process with what it runs, when it can take up a release as it is: it runs well, says how it is told, and
    /// nothing but the configuration is another one.
    pub(super) fn reloadable(&self, cell: &UnitCell, workload: &Workload) -> Option<(Instance, Workload)> {
        workload.reload.as_ref()?;
        let state = self.store.read();
        let unit = state.units.get(&cell.name).filter(|unit| unit.running)?;
        let instance = cell.instance().filter(|instance| instance.has_ended().is_none())?;
        let fits = workload.release.only_reconfigures(&unit.placed.release);
        if !fits || !self.layout.live(instance.record.generation).exists() {
            return None;
        }
        let before = release::load(&self.layout, unit.placed.key).ok()?;
        // The release is digests, and those need not be there: what runs has to be the same command.
        (before.command == workload.command && before.files == workload.files && before.reload == workload.reload)
            .then_some((instance, before))
    }

    /// Makes a process take up a configuration; on an error the unit runs with the one that it had.
    pub(super) async fn reload(
        &self,
        cell: &UnitCell,
        instance: &Instance,
        before: &Workload,
        workload: &Workload,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let Err(fault) = self.take_up(&cell.name, instance, workload, cancel).await else { return Ok(()) };
        tracing::warn!(unit = cell.name, %fault, "the reload failed");
        self.give_back(cell, instance, before).await;
        Err(fault)
    }

    /// Gives a process the configuration back that it had. One that does not take it is replaced.
    async fn give_back(&self, cell: &UnitCell, instance: &Instance, before: &Workload) {
        let never = CancellationToken::new();
        if instance.has_ended().is_none() && self.take_up(&cell.name, instance, before, &never).await.is_ok() {
            return;
        }
        let replaced = async {
            let fresh = bring_up(self, &cell.name, before, &never).await?;
            let (record, name) = (fresh.record.clone(), cell.name.clone());
            let noted = self.store.update(move |state| {
                state.loose.retain(|loose| loose.generation != record.generation);
                let gone = || Fault::new(Code::UnknownName, format!("There is no unit {name:?} any more."));
                let unit = state.units.get_mut(&name).ok_or_else(gone)?;
                let old = unit.current.replace(record);
                state.loose.extend(old);
                Ok(())
            });
            if let Err(fault) = noted.await {
                discard(self, &fresh).await;
                return Err(fault);
            }
            let old = cell.replace(Some(fresh), UnitHealth::Healthy);
            self.route();
            if let Some(old) = old {
                self.retire(&cell.name, &old, before.drain_timeout).await;
            }
            Ok(())
        };
        if let Err(fault) = replaced.await {
            // Its minder goes on trying, as after a crash.
            tracing::warn!(unit = cell.name, %fault, "the earlier configuration is not in force");
            instance.stop(before.stop_timeout).await;
        }
    }

    async fn take_up(
        &self,
        unit: &str,
        instance: &Instance,
        workload: &Workload,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let Some(reload) = &workload.reload else { return Ok(()) };
        live::write(&self.layout, instance.record.generation, workload)?;
        let mut last = "gave no answer".to_owned();
        let taken = async {
            tell(instance, reload, workload).await?;
            in_use(instance, reload, workload, &mut last).await;
            Ok(())
        };
        let within = workload.ready_timeout;
        let why = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Fault::new(
                Code::Fenced,
                format!("Reloading unit {unit} was given up: somebody else has taken over."),
            )),
            how = instance.end() => format!("{how} when it was told of its new configuration"),
            taken = timeout(within.as_duration(), taken) => match taken {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => format!("it {last} within {within}"),
            },
        };
        Err(Fault::new(Code::Unhealthy, format!("Unit {unit} did not take up its new configuration: {why}.")))
    }

    /// Notes that a process has another configuration. This is the moment at which the operation is carried out.
    pub(super) async fn reconfigured(
        &self,
        cell: &UnitCell,
        op: &Op,
        (instance, before): (&Instance, &Workload),
        placed: Placed,
        marking: Marking,
    ) -> Result<Leftover> {
        let name = cell.name.clone();
        let noted = self.store.update(move |state| {
            state.check_epoch(op.epoch)?;
            let keys = state.release_keys();
            let gone = || Fault::new(Code::UnknownName, format!("There is no unit {name:?} any more."));
            let unit = state.units.get_mut(&name).ok_or_else(gone)?;
            unit.previous = Some(std::mem::replace(&mut unit.placed, placed));
            unit.drained = false;
            marking.note(state, op)?;
            Ok(keys.difference(&state.release_keys()).copied().collect::<Vec<u64>>())
        });
        match noted.await {
            Ok(unneeded) => unneeded.into_iter().for_each(|key| release::remove(&self.layout, key)),
            Err(fault) => {
                self.give_back(cell, instance, before).await;
                return Err(fault);
            }
        }
        cell.set_health(UnitHealth::Healthy);
        self.route();
        Ok(None)
    }

    /// In which way a unit has another configuration in use than it was given: that can only happen to one that takes up
    /// configurations while it runs.
    pub(super) async fn config_drift(&self, unit: &str) -> Option<String> {
        let key = self.store.read().units.get(unit).filter(|unit| unit.running)?.placed.key;
        let instance = self.cell(unit).instance().filter(|instance| instance.has_ended().is_none())?;
        let generation = instance.record.generation;
        let workload = release::load(&self.layout, key).ok()?;
        let reload = workload.reload.as_ref().filter(|_| self.layout.live(generation).exists())?;
        if !live::is_current(&self.layout, generation, &workload) {
            return Some("its file was changed by somebody else".to_owned());
        }
        let path = reload.confirm.as_ref()?;
        match timeout(TELLS_WITHIN, health::request(instance.record.port, path, None)).await {
            Ok(Ok(text)) if !text.contains(&workload.release.full_name()) => {
                Some("it says that it uses another one than it was given".to_owned())
            }
            // One that does not answer is the matter of its health.
            _ => None,
        }
    }

    /// After an agent that ended between giving a process its configuration and noting it: the note counts.
    pub(super) async fn settle_reloads(&self) {
        for cell in self.cells() {
            let Some(instance) = cell.instance() else { continue };
            let generation = instance.record.generation;
            let key = self.store.read().units.get(&cell.name).map(|unit| unit.placed.key);
            let Some(workload) = key.and_then(|key| release::load(&self.layout, key).ok()) else { continue };
            if workload.reload.is_none()
                || !self.layout.live(generation).exists()
                || live::is_current(&self.layout, generation, &workload)
            {
                continue;
            }
            tracing::info!(unit = cell.name, "giving the configuration back that was noted");
            self.give_back(&cell, &instance, &workload).await;
        }
    }
}

/// Tells a process that there is another configuration; the error is a phrase for people.
async fn tell(instance: &Instance, reload: &Reload, workload: &Workload) -> Result<(), String> {
    match &reload.by {
        ReloadBy::File => Ok(()),
        ReloadBy::Signal(signal) => {
            let signal = match signal {
                ReloadSignal::Hup => Signal::HUP,
                ReloadSignal::Usr1 => Signal::USR1,
                ReloadSignal::Usr2 => Signal::USR2,
            };
            let delivered = process::signal_one(instance.record.pid, signal);
            delivered.then_some(()).ok_or_else(|| "the signal could not be delivered".to_owned())
        }
        ReloadBy::Http(path) => {
            let document = live::document(workload).map_err(|fault| fault.to_string())?;
            health::request(instance.record.port, path, Some(document))
                .await
                .map(drop)
                .map_err(|why| format!("it {why}"))
        }
    }
}

/// Ends when the process says that the configuration is in use, where it can say so, and is healthy.
async fn in_use(instance: &Instance, reload: &Reload, workload: &Workload, last: &mut String) {
    let (port, wanted) = (instance.record.port, workload.release.full_name());
    let needed = workload.health.as_ref().map_or(0, |probe| probe.healthy_after.max(1));
    let (mut confirmed, mut good, mut pause) = (reload.confirm.is_none(), 0, PAUSES.0);
    let began = Instant::now();
    loop {
        if let (Some(path), false) = (&reload.confirm, confirmed) {
            match timeout(ANSWERS_WITHIN, health::request(port, path, None)).await {
                Ok(Ok(text)) if text.contains(&wanted) => confirmed = true,
                Ok(Ok(_)) => *last = format!("did not name {wanted} at {path}"),
                Ok(Err(why)) => *last = why,
                Err(_) => *last = format!("gave no answer at {path}"),
            }
        }
        if confirmed && let Some(probe) = &workload.health {
            match health::ask(port, probe).await {
                Ok(()) => good += 1,
                Err(why) => {
                    good = 0;
                    *last = why;
                }
            }
        }
        if confirmed && good >= needed {
            tracing::info!(pid = instance.record.pid, took = ?began.elapsed(), "reloaded");
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
