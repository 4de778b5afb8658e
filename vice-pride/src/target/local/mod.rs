//! The local target: one detached agent for each project and environment.
//!
//! The agent owns the instances and the front end, enforces epochs, and outlives every command; [`LocalTarget`] is its
//! client. The agent's folder, readable by its owner only, holds the state file, the socket, the logs of the
//! instances, and the release files from which instances are started again. Only the release files (mode 0600) carry
//! the values of secrets.
//!
//! An operation is carried out at one moment, when the state file is replaced: before it the unit is as it was, after
//! it the operation's marker is stored. A process that was started for an operation that did not get so far is ended
//! by the next agent, which knows it by pid and start time, or by the token in its environment.

mod agent;
mod client;
pub mod front;
mod health;
mod layout;
mod live;
mod mark;
mod output;
mod patience;
mod process;
mod release;
mod shares;
mod state;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::port::target::{Inventory, LogLine, LogSource, Observed, Op, Target, Traffic, WeightTable, Workload};
use vice_core::{Clock, Code, Context, Fault, Millis, Result};

pub use agent::agent_main;
pub use client::{FrontCounters, UnitCounters, VersionCounts};
use layout::Layout;
use output::Follower;
use wire::Request;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// What a local target is made from.
#[derive(Clone)]
pub struct LocalOptions {
    /// The folder of this project and environment. It need not exist.
    pub dir: PathBuf,
    /// What it is the target of.
    pub scope: Scope,
    /// The binary that is started as the agent, with `agent --dir DIR`.
    pub exe: PathBuf,
    /// Where the front end shall listen; a free port, kept from then on, when none.
    pub port: Option<u16>,
    /// Where the agent exposes its counters for scraping: there, at a free port for 0; nowhere when none.
    pub metrics: Option<u16>,
    /// What tells clients apart.
    pub clients: front::ClientOptions,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The environment of the process, of which the agent gets PATH, HOME, LANG, TMPDIR and USER.
    pub env: Arc<ProcessEnv>,
}

/// The client of a local target. Making one starts and touches nothing.
pub struct LocalTarget {
    options: LocalOptions,
    layout: Layout,
}

impl LocalTarget {
    /// The target in that folder.
    #[must_use]
    pub fn new(options: LocalOptions) -> Self {
        let layout = Layout::new(options.dir.clone());
        Self { options, layout }
    }

    /// What the front end has counted for each version since the agent began; nothing when no agent runs.
    ///
    /// # Errors
    /// `Unreachable` when the agent breaks off.
    pub async fn counts(&self) -> Result<Vec<VersionCounts>> {
        Ok(self.ask(&Request::Counts).await?.unwrap_or_default())
    }

    /// What the front end has counted for each upstream; nothing when no agent runs.
    ///
    /// # Errors
    /// `Unsupported` when the agent is of a version that does not count so; `Unreachable` when it breaks off.
    pub async fn counters(&self) -> Result<Option<FrontCounters>> {
        self.ask(&Request::Counters).await.map_err(|fault| {
            // An agent of before this request hangs up on it.
            if fault.code() != Code::Unreachable {
                return fault;
            }
            Fault::new(Code::Unsupported, "The local agent does not tell what its front end counts.")
                .because(fault)
                .hint("It may be of an earlier version of vice. Stop it; its instances go on and are adopted by the next.")
        })
    }

    /// Ends the agent. Instances go on and are adopted by the next agent, unless they shall be removed.
    ///
    /// # Errors
    /// `Unreachable` when the agent can't be started to remove what is there.
    pub async fn shut_down(&self, remove: bool) -> Result<()> {
        let request = Request::Shutdown { remove };
        if self.ask::<()>(&request).await?.is_some() {
            return Ok(());
        }
        if remove && !state::load(&self.layout)?.units.is_empty() {
            return self.tell(&request).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Target for LocalTarget {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "local", location: self.layout.dir().display().to_string(), shared: false }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Drain, Fence, Logs, Observe, Reload, StartStop, Weights};
        Capabilities::of([Fence, Observe, StartStop, Logs, Weights, Drain, Reload])
    }

    async fn inventory(&self) -> Result<Inventory> {
        match self.ask(&Request::Inventory).await? {
            Some(inventory) => Ok(inventory),
            None => Ok(client::inventory_of(&state::load(&self.layout)?)),
        }
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        self.tell(&Request::Fence { epoch }).await
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        if let Some(observed) = self.ask(&Request::Observe { op: op.clone() }).await? {
            return Ok(observed);
        }
        Ok(match state::load(&self.layout) {
            Ok(state) if state.is_applied(op) => Observed::Applied,
            Ok(_) => Observed::NotApplied,
            Err(fault) => Observed::Unknown { reason: fault.chain().join(" ") },
        })
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.tell(&client::apply_request(op, workload)).await
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.tell(&client::undo_request(op, workload)).await
    }
}

#[async_trait]
impl Traffic for LocalTarget {
    async fn table(&self) -> Result<WeightTable> {
        match self.ask(&Request::Table).await? {
            Some(table) => Ok(table),
            None => Ok(state::load(&self.layout)?.table()),
        }
    }

    async fn set_weights(&self, table: &WeightTable) -> Result<()> {
        self.tell(&Request::SetWeights { table: table.clone() }).await
    }

    async fn drain(&self, unit: &str, epoch: u64, at_most: Millis) -> Result<usize> {
        self.tell(&Request::Drain { unit: unit.to_owned(), epoch, at_most }).await
    }
}

#[async_trait]
impl LogSource for LocalTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let state = state::load(&self.layout)?;
        let units: Vec<String> = match unit {
            Some(unit) => state.unit(unit).map(|_| vec![unit.to_owned()])?,
            None => state.units.keys().cloned().collect(),
        };
        let mut followers = Vec::new();
        for unit in units {
            let log = self.layout.log(&unit);
            let (last, end) = output::tail(&log, 0, lines).context(Code::Io, || unreadable(&unit))?;
            if !tell(sink, &unit, last) {
                return Ok(());
            }
            followers.push((unit, log, Follower::at(end)));
        }
        if !follow {
            return Ok(());
        }
        loop {
            sleep(FOLLOW_EVERY).await;
            for (unit, log, follower) in &mut followers {
                let more = follower.more(log).context(Code::Io, || unreadable(unit))?;
                if !tell(sink, unit, more) {
                    return Ok(());
                }
            }
        }
    }
}

/// Hands lines on until the receiver has had enough.
fn tell(sink: &(dyn Fn(LogLine) -> bool + Send + Sync), unit: &str, lines: Vec<String>) -> bool {
    lines.into_iter().all(|text| sink(LogLine { unit: unit.to_owned(), text }))
}

fn unreadable(unit: &str) -> String {
    format!("The log of unit {unit} can't be read.")
}
