//! Looking after a unit between operations: its health, and its restart after a crash.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vice_core::port::target::{HealthProbe, UnitHealth};
use vice_core::{Code, Fault, Result};

use super::super::{health, live, output, release};
use super::Agent;
use super::bring_up::{bring_up, discard};
use super::instance::Instance;
use super::unit::UnitCell;

/// The pause before the first restart; doubled after each one that does not last.
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// The longest pause before a restart.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A process that has run so long has not failed for the reason of the one before.
const LASTED: Duration = Duration::from_secs(60);

/// How often the sizes of logs are looked at.
const ROTATE_EVERY: Duration = Duration::from_secs(1);

impl Agent {
    /// Starts looking after a unit that shall run. The one who did so before has been sent away.
    pub(super) fn mind(self: &Arc<Self>, cell: &Arc<UnitCell>) {
        let dismissed = cell.new_minder();
        if !self.store.read().units.get(&cell.name).is_some_and(|unit| unit.running) {
            return;
        }
        let (agent, cell) = (Arc::clone(self), Arc::clone(cell));
        tokio::spawn(async move {
            let mut backoff = BACKOFF_MIN;
            loop {
                let began = Instant::now();
                let Some(()) = dismissed.run_until_cancelled(agent.watch(&cell)).await else { return };
                if began.elapsed() >= LASTED {
                    backoff = BACKOFF_MIN;
                }
                agent.crashed(&cell);
                let Some(()) = dismissed.run_until_cancelled(sleep(backoff)).await else { return };
                backoff = (backoff * 2).min(BACKOFF_MAX);
                let Some(serial) = dismissed.run_until_cancelled(cell.serial.lock()).await else { return };
                if let Err(fault) = agent.restart(&cell, &dismissed).await {
                    tracing::warn!(unit = cell.name, %fault, "the restart failed");
                }
                drop(serial);
            }
        });
    }

    fn crashed(&self, cell: &UnitCell) {
        if let Some(instance) = cell.instance() {
            tracing::warn!(unit = cell.name, how = instance.has_ended(), "crashed");
        }
        cell.set_health(UnitHealth::Crashed);
        self.route();
    }

    /// Returns when the unit's process has ended.
    async fn watch(&self, cell: &UnitCell) {
        let Some(instance) = cell.instance() else { return };
        let probe = {
            let state = self.store.read();
            let key = state.units.get(&cell.name).map(|unit| unit.placed.key);
            key.and_then(|key| release::load(&self.layout, key).ok()).and_then(|workload| workload.health)
        };
        let looking = async {
            match probe {
                Some(probe) => self.look(cell, &instance, &probe).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _how = instance.end() => {}
            () = looking => {}
        }
    }

    /// Asks again and again, and tells the front end when the answer has changed for good.
    async fn look(&self, cell: &UnitCell, instance: &Instance, probe: &HealthProbe) {
        let (mut good, mut bad) = (0_u32, 0_u32);
        let interval = probe.interval.as_duration().max(Duration::from_millis(10));
        loop {
            sleep(interval).await;
            match health::ask(instance.record.port, probe).await {
                Ok(()) => (good, bad) = (good.saturating_add(1), 0),
                Err(why) => {
                    (good, bad) = (0, bad.saturating_add(1));
                    tracing::debug!(unit = cell.name, why, "not healthy");
                }
            }
            let health = match cell.health() {
                UnitHealth::Healthy if bad >= probe.unhealthy_after.max(1) => UnitHealth::Unhealthy,
                UnitHealth::Healthy => continue,
                _ if good >= probe.healthy_after.max(1) => UnitHealth::Healthy,
                _ => continue,
            };
            tracing::info!(unit = cell.name, ?health, "health changed");
            cell.set_health(health);
            self.route();
        }
    }

    /// Puts a new process into the place of one that has ended. The caller holds the unit.
    async fn restart(&self, cell: &UnitCell, dismissed: &CancellationToken) -> Result<()> {
        if dismissed.is_cancelled() || cell.instance().is_some_and(|instance| instance.has_ended().is_none()) {
            return Ok(());
        }
        if let Some(ended) = cell.instance() {
            // What the crashed process had started goes with it.
            ended.stop(vice_core::Millis::ZERO).await;
            live::remove(&self.layout, ended.record.generation);
        }
        let key = self.store.read().unit(&cell.name)?.placed.key;
        let workload = release::load(&self.layout, key)?;
        cell.set_health(UnitHealth::Starting);
        let started = bring_up(self, &cell.name, &workload, dismissed).await;
        let instance = match started {
            Ok(instance) => instance,
            Err(fault) => {
                cell.set_health(UnitHealth::Crashed);
                return Err(fault);
            }
        };
        let (record, name) = (instance.record.clone(), cell.name.clone());
        let noted = self.store.update(move |state| {
            state.loose.retain(|loose| loose.generation != record.generation);
            let gone = || Fault::new(Code::UnknownName, format!("There is no unit {name:?} any more."));
            let unit = state.units.get_mut(&name).ok_or_else(gone)?;
            unit.current = Some(record);
            unit.restarts = unit.restarts.saturating_add(1);
            Ok(())
        });
        if let Err(fault) = noted.await {
            discard(self, &instance).await;
            return Err(fault);
        }
        cell.replace(Some(instance), UnitHealth::Healthy);
        self.route();
        Ok(())
    }

    /// Keeps the logs from growing without end.
    pub(super) async fn keep_logs_small(&self) {
        loop {
            sleep(ROTATE_EVERY).await;
            let units = self.cells().into_iter().map(|cell| self.layout.log(&cell.name));
            let logs: Vec<_> = units.chain([self.layout.agent_log()]).filter(|log| log.exists()).collect();
            let rotated = tokio::task::spawn_blocking(move || {
                for log in logs {
                    if let Err(error) = output::rotate(&log) {
                        tracing::debug!(log = %log.display(), %error, "the log was not moved aside");
                    }
                }
            });
            if let Err(error) = rotated.await {
                tracing::warn!(%error, "looking after the logs broke off");
            }
        }
    }
}
