//! Where a deployed service answers, for whoever wants to ask it.

use std::sync::Arc;

use async_trait::async_trait;
use vice_core::Result;
use vice_core::app::ProcessEnv;
use vice_core::app::Workspace;
use vice_core::id::Scope;
use vice_core::port::locator::Locator;
use vice_core::port::target::{Target, UnitState};
use vice_core::time::Clock;

use crate::backend::local_target;

/// Asks the manifest first and the local target then.
pub struct PrideLocator {
    /// The projects.
    pub workspace: Arc<Workspace>,
    /// The environment of the process.
    pub env: Arc<ProcessEnv>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Locator for PrideLocator {
    async fn url(&self, scope: &Scope) -> Result<Option<String>> {
        let project = self.workspace.project(scope.project.as_str())?;
        let spec = project.env(&scope.env)?;
        if spec.url.is_some() {
            return Ok(spec.url.clone());
        }
        if spec.target.as_ref().is_some_and(|target| target.kind != "local") {
            return Ok(None);
        }
        let local = local_target(&self.workspace, spec, scope, &self.env, &self.clock);
        Ok(local.inventory().await?.url)
    }

    async fn units(&self, scope: &Scope) -> Result<Vec<UnitState>> {
        let project = self.workspace.project(scope.project.as_str())?;
        let spec = project.env(&scope.env)?;
        if spec.target.as_ref().is_some_and(|target| target.kind != "local") {
            return Ok(Vec::new());
        }
        let local = local_target(&self.workspace, spec, scope, &self.env, &self.clock);
        Ok(local.inventory().await?.units)
    }
}
