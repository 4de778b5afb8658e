//! The front end in the agent's hands: where it listens, and keeping its table true.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vice_core::payload::version_in;
use vice_core::port::target::UnitHealth;
use vice_core::{Code, Fault, Millis, Result};

use super::super::client::{FrontCounters, UnitCounters, VersionCounts};
use super::super::front::{Front, FrontOptions, Upstream, UpstreamCounts};
use super::super::health::address;
use super::super::process;
use super::super::shares::{self, Candidate};
use super::super::wire::Setup;
use super::Agent;

/// How long requests may take to end when the agent ends or the port changes.
const GRACE: Millis = Millis::from_secs(5);

/// The running front end, if there is one.
#[derive(Default)]
pub(super) struct FrontEnd {
    running: Mutex<Option<Arc<Front>>>,
    /// Counts the front ends: each counts from zero.
    number: AtomicU64,
    binding: tokio::sync::Mutex<()>,
    /// Held while a table is made and set, so that an older one never follows a newer one.
    routing: Mutex<()>,
}

impl FrontEnd {
    pub(super) fn get(&self) -> Option<Arc<Front>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn numbered(&self) -> Option<(Arc<Front>, u64)> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        Some((Arc::clone(running.as_ref()?), self.number.load(Ordering::SeqCst)))
    }

    fn put(&self, front: Option<Front>) -> Option<Arc<Front>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.number.fetch_add(1, Ordering::SeqCst);
        std::mem::replace(&mut *running, front.map(Arc::new))
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.get().map(|front| front.local_addr().port())
    }

    /// The counters of each version; the front end counts each of a version's releases by itself.
    pub(super) fn version_counts(&self) -> Vec<UpstreamCounts> {
        let counts = self.get().map(|front| front.version_counts()).unwrap_or_default();
        let mut versions: BTreeMap<String, UpstreamCounts> = BTreeMap::new();
        for of_release in counts {
            versions.entry(version_in(&of_release.version).to_owned()).or_default().add(&of_release);
        }
        versions.into_iter().map(|(version, counts)| UpstreamCounts { version, ..counts }).collect()
    }

    /// Takes a unit's process out of the rotation and waits for its requests; says how many are left.
    pub(super) async fn drain(&self, id: &str, at_most: Millis) -> usize {
        match self.get() {
            Some(front) => front.drain(id, at_most).await.in_flight_left,
            None => 0,
        }
    }

    pub(super) async fn close(&self) {
        if let Some(front) = self.put(None) {
            front.shutdown(GRACE).await;
        }
    }
}

impl Agent {
    /// Makes the target what a client wants it to be: notes what it is for and listens where it shall.
    pub(super) async fn set_up(&self, setup: &Setup) -> Result<()> {
        let scope = setup.scope.clone();
        if self.store.read().scope.as_ref() != Some(&scope) {
            let noted = self.store.update(|state| {
                state.scope = Some(scope);
                Ok(())
            });
            noted.await?;
        }
        self.listen(setup.port).await?;
        if let Some(front) = self.front.get() {
            front.set_clients(&setup.clients);
        }
        self.expose(setup.metrics).await
    }

    /// Listens on the wanted port, or on the one used before, or on a free one. What listens there already stays.
    pub(super) async fn listen(&self, wanted: Option<u16>) -> Result<()> {
        let _binding = self.front.binding.lock().await;
        let now = self.front.port();
        if now.is_some() && (wanted.is_none() || wanted == now) {
            return Ok(());
        }
        let front = match wanted.or(self.store.read().front_port) {
            Some(port) => match bind(port).await {
                // A port that nobody asked for need not be the same for ever.
                Err(fault) if wanted.is_none() && fault.code() == Code::PortInUse => bind(0).await?,
                bound => bound?,
            },
            None => bind(0).await?,
        };
        let port = front.local_addr().port();
        if self.store.read().front_port != Some(port) {
            let noted = self.store.update(|state| {
                state.front_port = Some(port);
                Ok(())
            });
            noted.await?;
        }
        tracing::info!(port, "the front end listens");
        if let Some(old) = self.front.put(Some(front)) {
            tokio::spawn(async move { old.shutdown(GRACE).await });
        }
        self.route();
        Ok(())
    }

    /// Brings the front end's table in line with the units.
    pub(super) fn route(&self) {
        let _routing = self.front.routing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(front) = self.front.get() else { return };
        let state = self.store.read();
        let units: Vec<_> = self
            .cells()
            .into_iter()
            .filter_map(|cell| {
                let unit = state.units.get(&cell.name)?;
                let (release, drained) = (unit.placed.release.full_name(), unit.drained);
                let instance = cell.instance().filter(|instance| instance.has_ended().is_none())?;
                let healthy = cell.health() == UnitHealth::Healthy;
                let candidate = Candidate { release, healthy, drained };
                Some((instance.front_id(&cell.name), instance.record.port, candidate))
            })
            .collect();
        let candidates: Vec<Candidate> = units.iter().map(|(_, _, candidate)| candidate.clone()).collect();
        let weights = shares::weights(&candidates, state.weights.as_ref());
        let upstreams = units.iter().zip(weights).map(|((id, port, candidate), weight)| Upstream {
            id: id.clone(),
            addr: address(*port),
            weight,
            version: candidate.release.clone(),
        });
        front.set_table(upstreams.collect());
        for (id, _, candidate) in &units {
            front.set_healthy(id, candidate.healthy);
        }
    }

    /// What the front end has counted for each version since this agent began.
    pub(super) fn counts(&self) -> Vec<VersionCounts> {
        self.front.version_counts().into_iter().map(VersionCounts::from).collect()
    }

    /// What it has counted for each upstream, with what tells one beginning at zero from the next.
    pub(super) fn counters(&self) -> FrontCounters {
        let Some((front, number)) = self.front.numbered() else { return FrontCounters::default() };
        let run = format!("{}-{}-{number}", std::process::id(), self.began.as_millisecond());
        FrontCounters { run, units: front.counts().iter().map(UnitCounters::from).collect() }
    }
}

async fn bind(port: u16) -> Result<Front> {
    let bound = Front::bind(address(port), FrontOptions::default()).await;
    bound.map_err(|fault| {
        if fault.code() != Code::PortInUse {
            return fault;
        }
        let fault = Fault::new(Code::PortInUse, format!("The front end can't listen on port {port}: it is taken."))
            .because(fault);
        match process::listener(port) {
            Some((name, pid)) => {
                fault.hint(format!("{name} (pid {pid}) listens there; stop it, or set another `port`."))
            }
            None => fault.hint("Somebody else listens there; stop it, or set another `port`."),
        }
    })
}
