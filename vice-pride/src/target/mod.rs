//! Where artifacts run. One folder a backend.

pub mod ansible;
pub mod hosts;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod local;
mod naming;
mod routed;
#[cfg(feature = "ssh")]
pub mod ssh;

use std::collections::BTreeSet;

use async_trait::async_trait;
use vice_core::port::target::Workload;
use vice_core::{Digest, Millis, Result};

pub use routed::RoutedTarget;

/// An artifact that was removed from a host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// The host.
    pub host: String,
    /// The artifact's digest.
    pub artifact: String,
    /// What it took, roughly.
    pub bytes: u64,
}

/// What shall be taken over as it runs.
#[derive(Debug, Clone)]
pub struct Adoption<'a> {
    /// Stable: the same on every repeat.
    pub op: String,
    /// The epoch of the caller.
    pub epoch: u64,
    /// What runs, and how it would be started again.
    pub workload: &'a Workload,
    /// The folder that it runs in; that of the process when absent.
    pub path: Option<String>,
    /// The process; the one that listens on the port when absent.
    pub pid: Option<u32>,
}

/// A unit that was taken over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// The unit.
    pub unit: String,
    /// Its process; none when this was a repeat.
    pub pid: Option<u32>,
    /// The folder that it runs in.
    pub path: String,
}

/// A target with things on it beside what runs.
#[async_trait]
pub trait Keeper: Send + Sync + 'static {
    /// Removes artifacts that no unit has, that are not in `keep`, and that are older than that.
    ///
    /// # Errors
    /// `Unreachable` when a host can't be asked; others may have been pruned.
    async fn prune(&self, keep: &BTreeSet<Digest>, older_than: Millis) -> Result<Vec<Removed>>;

    /// Takes over what runs, without touching it. A repeat does nothing.
    ///
    /// # Errors
    /// `Conflict` for a unit that is there already, `UnknownName` where no process is found, `Fenced`.
    async fn adopt(&self, adoption: &Adoption<'_>) -> Result<Vec<Adopted>>;
}
