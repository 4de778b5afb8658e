//! Leases: who may change an environment. Acquiring, taking over and releasing are events; heartbeats are not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Payload;
use crate::id::Scope;

/// The process that holds a lease, so that a later one can tell whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Who asked.
    pub actor: String,
    /// The machine's name.
    pub host: String,
    /// The machine's boot, so that a pid means something.
    pub boot_id: String,
    /// The process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: pids are used again.
    pub pid_start: u64,
    /// Which processes can see it: containers on one machine have pids of their own. Empty where nobody could tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pid_space: String,
}

/// The lease was acquired; the epoch is higher than any before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAcquired {
    /// What it guards.
    pub scope: Scope,
    /// The new epoch.
    pub epoch: u64,
    /// By whom.
    pub holder: Holder,
    /// For what, in a few words.
    pub purpose: String,
    /// Why an earlier holder was passed over, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeover: Option<String>,
}

impl Payload for LeaseAcquired {
    const KIND: &'static str = "dev.cdeventsx.vice-lease.acquired.0.1.0";
    fn subject(&self) -> String {
        self.scope.to_string()
    }
}

/// The lease was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReleased {
    /// What it guarded.
    pub scope: Scope,
    /// The epoch that ends.
    pub epoch: u64,
}

impl Payload for LeaseReleased {
    const KIND: &'static str = "dev.cdeventsx.vice-lease.released.0.1.0";
    fn subject(&self) -> String {
        self.scope.to_string()
    }
}
