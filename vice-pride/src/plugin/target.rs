//! A plug-in as a target.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::Duration;
use vice_core::Result;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::port::target::{Inventory, Observed, Op, Target, Workload};
use vice_core::secret::Masker;
use vice_plugin::{Described, PLUGIN, Plugin, Port, Start};

use super::wire::{capabilities, operation};

/// How long questions may take that change nothing, and the fence, which may have to wait for what is under way.
const ASK_WITHIN: Duration = Duration::from_secs(60);

/// What a plug-in may take beyond what the release itself is given.
const EXTRA: Duration = Duration::from_secs(60);

/// What is assumed of a plug-in until it was first asked: that others can reach what it changes.
const UNASKED: [Capability; 2] = [Capability::Fence, Capability::Observe];

/// A target behind a plug-in.
pub struct PluginTarget {
    plugin: Plugin,
    described: OnceLock<Described>,
}

impl std::fmt::Debug for PluginTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginTarget").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl PluginTarget {
    /// The plug-in `name`, whose file is `program`, for a scope of the project in `dir`; what it has to keep on this machine
    /// belongs into `state`. Starts nothing.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, env: Arc<ProcessEnv>, scope: &Scope, dir: PathBuf, state: &Path) -> Self {
        let open = json!({ "project": scope.project, "env": scope.env, "dir": dir, "state": state });
        Self::with(name, program, env, dir, open)
    }

    fn with(name: &str, program: PathBuf, env: Arc<ProcessEnv>, dir: PathBuf, open: Value) -> Self {
        // What is secret comes with each release, and not before.
        let masker = Masker::default();
        let start = Start { name: name.to_owned(), program, env, dir, port: Port::Target, open, masker };
        Self { plugin: Plugin::new(start), described: OnceLock::new() }
    }

    /// Tells the plug-in that it is tested: releases of the version `bad` are to fail.
    #[must_use]
    pub fn under_test(name: &str, program: PathBuf, env: Arc<ProcessEnv>, dir: PathBuf) -> Self {
        let open = json!({ "project": "test", "env": "test", "dir": dir, "state": dir.join("state"), "test": true });
        Self::with(name, program, env, dir, open)
    }

    /// Starts the plug-in and lets it say what it is.
    ///
    /// # Errors
    /// `BackendMissing`, `Unsupported` for another protocol or port, `Unreachable`.
    pub async fn connect(&self) -> Result<()> {
        let described = self.plugin.describe().await?;
        // A later start says the same, or it is another program.
        drop(self.described.set(described));
        Ok(())
    }

    /// The program behind it.
    #[must_use]
    pub const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    async fn ask<T: DeserializeOwned>(&self, call: &str, body: &Value, within: Duration) -> Result<T> {
        if self.described.get().is_none() {
            self.connect().await?;
        }
        self.plugin.ask(call, body, within).await
    }

    async fn tell(&self, call: &str, body: &Value, within: Duration) -> Result<()> {
        // What it says beside that it is done means nothing.
        self.ask::<IgnoredAny>(call, body, within).await.map(drop)
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
            None | Some("") => self.plugin.program().display().to_string(),
            Some(location) => vice_core::text::sanitize(location),
        };
        BackendInfo { kind: PLUGIN, location, shared: said.is_none_or(|said| said.shared) }
    }

    fn capabilities(&self) -> Capabilities {
        self.described.get().map_or_else(|| Capabilities::of(UNASKED), capabilities)
    }

    async fn inventory(&self) -> Result<Inventory> {
        self.ask("inventory", &json!({}), ASK_WITHIN).await
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        self.tell("fence", &json!({ "epoch": epoch }), ASK_WITHIN).await
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        self.ask("observe", &operation(op, None), ASK_WITHIN).await
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.tell("apply", &operation(op, workload), change_within(workload)).await
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.tell("undo", &operation(op, workload), change_within(workload)).await
    }
}
