//! What the agent knows of a unit and does not store: its process, how it is, and who looks after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use vice_core::port::target::UnitHealth;

use super::instance::Instance;

/// One unit.
pub(super) struct UnitCell {
    pub(super) name: String,
    /// Held by whoever changes the unit; one at a time.
    pub(super) serial: Arc<tokio::sync::Mutex<()>>,
    live: Mutex<Live>,
}

struct Live {
    instance: Option<Instance>,
    health: UnitHealth,
    minder: CancellationToken,
}

impl UnitCell {
    pub(super) fn new(name: &str) -> Self {
        let live = Live { instance: None, health: UnitHealth::Stopped, minder: CancellationToken::new() };
        Self { name: name.to_owned(), serial: Arc::default(), live: Mutex::new(live) }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn instance(&self) -> Option<Instance> {
        self.live().instance.clone()
    }

    /// Puts another process into the unit's place.
    pub(super) fn replace(&self, instance: Option<Instance>, health: UnitHealth) -> Option<Instance> {
        let mut live = self.live();
        live.health = health;
        std::mem::replace(&mut live.instance, instance)
    }

    pub(super) fn health(&self) -> UnitHealth {
        self.live().health
    }

    pub(super) fn set_health(&self, health: UnitHealth) {
        self.live().health = health;
    }

    /// Sends the minder away; one that is restarting the unit gives up and leaves nothing behind.
    pub(super) fn dismiss_minder(&self) {
        self.live().minder.cancel();
    }

    /// A new minder's reason to live.
    pub(super) fn new_minder(&self) -> CancellationToken {
        let mut live = self.live();
        live.minder.cancel();
        live.minder = CancellationToken::new();
        live.minder.clone()
    }
}
