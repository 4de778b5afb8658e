//! What backends can do, declared before anything is planned, so that a deploy knows before it starts.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::fault::{Fault, Result};

/// One thing that a backend may or may not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Stores: append under conditions and fence.
    ConditionalAppend,
    /// Stores: filters by project, environment, type and time.
    Query,
    /// Stores: wakes on append.
    Subscribe,
    /// Stores: keeps snapshots of folds.
    Snapshots,
    /// Stores: chain and witness can be checked.
    Verify,
    /// Stores: what is acknowledged survives a power cut.
    Durable,
    /// Stores: keeps the last sign of life of each lease's holder.
    Beats,
    /// Stores: can let go of data that were archived.
    Archive,
    /// Targets: refuses lower epochs.
    Fence,
    /// Targets: can say what an operation did.
    Observe,
    /// Targets: starts and stops without a new version.
    StartStop,
    /// Targets: shows the output of instances.
    Logs,
    /// Targets: has a front end whose weights can be set.
    Weights,
    /// Targets: waits for requests under way before it stops an instance.
    Drain,
    /// Targets: gives a running instance another configuration.
    Reload,
}

/// The declared set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// These and no others.
    #[must_use]
    pub fn of(capabilities: impl IntoIterator<Item = Capability>) -> Self {
        Self(capabilities.into_iter().collect())
    }

    /// Whether it is offered.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// Fails when it is not offered.
    ///
    /// # Errors
    /// `Unsupported`, naming the backend and the operation.
    pub fn require(&self, capability: Capability, backend: &str, operation: &str) -> Result<()> {
        if self.has(capability) { Ok(()) } else { Err(Fault::unsupported(backend, operation)) }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.0.iter().copied()
    }
}

/// What a backend is and where it is, for `doctor` and errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendInfo {
    /// The kind, such as `sqlite`.
    pub kind: &'static str,
    /// Where, such as a path or URL without credentials.
    pub location: String,
    /// Whether other machines can see it.
    pub shared: bool,
}
