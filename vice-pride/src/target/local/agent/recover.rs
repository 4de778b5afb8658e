//! A new agent's first work: what was half done is ended, what runs is adopted, what shall run is looked after.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use vice_core::Result;
use vice_core::port::target::UnitHealth;

use super::super::live;
use super::super::process::{self, Marked};
use super::super::release;
use super::super::state::InstanceRecord;
use super::Agent;
use super::instance::Instance;

/// How long processes without an owner may take to end by themselves. Clients wait meanwhile.
const POLITELY: Duration = Duration::from_secs(3);

/// A process whose start was cut off between two system calls shows its token only after a moment.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl Agent {
    /// Brings the folder to a definite state. Operations begin only after it.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<()> {
        let boot = process::boot_id();
        let rebooted = self.store.read().boot != boot;
        let alive = |record: &InstanceRecord| !rebooted && process::is_alive(record.pid, record.start_time);
        let state = self.store.read();
        let current: Vec<InstanceRecord> = state.units.values().filter_map(|unit| unit.current.clone()).collect();
        let mut ownerless: Vec<Marked> = state.loose.iter().filter(|record| alive(record)).map(of_record).collect();
        let kept: Vec<u64> = current.iter().filter(|record| alive(record)).map(|record| record.generation).collect();
        ownerless.extend(self.strangers(&kept, u64::MAX));
        if !ownerless.is_empty() {
            tracing::info!(processes = ownerless.len(), "ending what has no owner");
            process::end_all(&ownerless, POLITELY).await;
        }
        let settled = self.store.update(|state| {
            state.boot = boot;
            state.loose.clear();
            Ok(())
        });
        settled.await?;
        release::prune(&self.layout, &self.store.read());
        live::prune(&self.layout, &self.store.read());
        self.adopt(alive);
        self.settle_reloads().await;
        if self.store.read().units.values().any(|unit| unit.running) {
            let listening = self.listen(None).await;
            // Not the end: the next client that changes something is told.
            listening.unwrap_or_else(|fault| tracing::warn!(%fault, "the front end does not listen"));
            let exposed = self.expose(self.store.read().metrics_port).await;
            exposed.unwrap_or_else(|fault| tracing::warn!(%fault, "the counters are not exposed"));
        }
        for cell in self.cells() {
            self.mind(&cell);
        }
        let (agent, before) = (Arc::clone(self), self.store.read().generation);
        tokio::spawn(async move {
            sleep(LOOK_AGAIN_AFTER).await;
            process::end_all(&agent.strangers(&kept, before), POLITELY).await;
        });
        Ok(())
    }

    fn adopt(&self, alive: impl Fn(&InstanceRecord) -> bool) {
        let prefix: Arc<str> = self.layout.token_prefix().into();
        for (name, unit) in &self.store.read().units {
            let cell = self.cell(name);
            let Some(record) = unit.current.as_ref().filter(|_| unit.running) else { continue };
            if alive(record) {
                tracing::info!(unit = name, pid = record.pid, "adopted");
                // Its health is asked for at once; until then it counts as what it was.
                cell.replace(Some(Instance::adopted(record.clone(), Arc::clone(&prefix))), UnitHealth::Healthy);
            } else {
                cell.set_health(UnitHealth::Crashed);
            }
        }
    }

    /// Processes of this folder, up to a generation, that are none of the kept ones.
    fn strangers(&self, kept: &[u64], up_to: u64) -> Vec<Marked> {
        let marked = process::marked(&self.layout.token_prefix());
        marked
            .into_iter()
            .filter(|process| process.generation <= up_to && !kept.contains(&process.generation))
            .collect()
    }
}

fn of_record(record: &InstanceRecord) -> Marked {
    Marked { pid: record.pid, start_time: record.start_time, generation: record.generation }
}
