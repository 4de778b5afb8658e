//! A plug-in as a target.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Duration;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::port::target::{Inventory, Observed, Op, Target, Workload};
use vice_core::{Code, Fault, Result};

use super::PLUGIN;
use super::process::{Process, Start};
use super::wire::{Described, operation};

/// How long questions may take that change nothing, and the fence, which may have to wait for what is under way.
const ASK_WITHIN: Duration = Duration::from_secs(60);

/// What a plug-in may take beyond what the release itself is given.
const EXTRA: Duration = Duration::from_secs(60);

/// What is assumed of a plug-in until it was first asked: that others can reach what it changes.
const UNASKED: [Capability; 2] = [Capability::Fence, Capability::Observe];

/// A target behind a plug-in.
pub struct PluginTarget {
    process: Process,
    program: PathBuf,
    described: OnceLock<Described>,
}

impl std::fmt::Debug for PluginTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginTarget").field("program", &self.program).finish_non_exhaustive()
    }
}

impl PluginTarget {
    /// The plug-in `name`, whose file is `program`, for a scope of the project in `dir`; what it has to keep on this machine
    /// belongs into `state`. Starts nothing.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, env: Arc<ProcessEnv>, scope: &Scope, dir: PathBuf, state: &Path) -> Self {
        let open = json!({ "project": scope.project, "env": scope.env, "dir": dir, "state": state });
        let start = Start { name: name.to_owned(), program: program.clone(), env, dir, open };
        Self { process: Process::new(start), program, described: OnceLock::new() }
    }

    /// Tells the plug-in that it is tested: releases of the version `bad` are to fail.
    #[must_use]
    pub fn under_test(name: &str, program: PathBuf, env: Arc<ProcessEnv>, dir: PathBuf) -> Self {
        let open = json!({ "project": "test", "env": "test", "dir": dir, "state": dir.join("state"), "test": true });
        let start = Start { name: name.to_owned(), program: program.clone(), env, dir, open };
        Self { process: Process::new(start), program, described: OnceLock::new() }
    }

    /// Starts the plug-in and lets it say what it is.
    ///
    /// # Errors
    /// `BackendMissing`, `Unsupported` for another protocol or port, `Unreachable`.
    pub async fn connect(&self) -> Result<()> {
        let described = self.process.describe().await?;
        // A later start says the same, or it is another program.
        drop(self.described.set(described));
        Ok(())
    }

    async fn ask(&self, call: &str, body: &Value, within: Duration) -> Result<Value> {
        if self.described.get().is_none() {
            self.connect().await?;
        }
        self.process.call(call, body, within).await
    }

    /// As a question with less time.
    #[cfg(test)]
    pub(super) async fn hurried(&self, call: &str, within: Duration) -> Result<Value> {
        self.ask(call, &json!({ "epoch": 1 }), within).await
    }

    fn strange(&self, call: &str, error: serde_json::Error) -> Fault {
        Fault::new(
            Code::Backend,
            format!("The plug-in {} gave no answer to {call} that makes sense.", self.process.name()),
        )
        .because(error)
    }
}

fn change_within(workload: Option<&Workload>) -> Duration {
    let given = workload.map_or(Duration::ZERO, |workload| {
        workload.ready_timeout.as_duration()
            + workload.drain_timeout.as_duration()
            + workload.stop_timeout.as_duration()
    });
    // What fails is brought back within one change.
    given * 2 + EXTRA
}

#[async_trait]
impl Target for PluginTarget {
    fn describe(&self) -> BackendInfo {
        let said = self.described.get();
        let location = match said.map(|said| said.location.as_str()) {
            None | Some("") => self.program.display().to_string(),
            Some(location) => vice_core::text::sanitize(location),
        };
        BackendInfo { kind: PLUGIN, location, shared: said.is_none_or(|said| said.shared) }
    }

    fn capabilities(&self) -> Capabilities {
        self.described.get().map_or_else(|| Capabilities::of(UNASKED), Described::capabilities)
    }

    async fn inventory(&self) -> Result<Inventory> {
        let said = self.ask("inventory", &json!({}), ASK_WITHIN).await?;
        serde_json::from_value(said).map_err(|error| self.strange("inventory", error))
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        self.ask("fence", &json!({ "epoch": epoch }), ASK_WITHIN).await.map(drop)
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        let said = self.ask("observe", &operation(op, None), ASK_WITHIN).await?;
        serde_json::from_value(said).map_err(|error| self.strange("observe", error))
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.ask("apply", &operation(op, workload), change_within(workload)).await.map(drop)
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.ask("undo", &operation(op, workload), change_within(workload)).await.map(drop)
    }
}
