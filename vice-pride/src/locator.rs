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

use crate::backend::{Site, connect_at};

/// Asks the manifest first and the target then.
pub struct PrideLocator {
    /// The projects.
    pub workspace: Arc<Workspace>,
    /// The environment of the process.
    pub env: Arc<ProcessEnv>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl PrideLocator {
    fn target(&self, scope: &Scope) -> Result<Arc<dyn Target>> {
        let project = self.workspace.project(scope.project.as_str())?;
        let site =
            Site { workspace: &self.workspace, env: &self.env, clock: &self.clock, runner: None, http: None, ui: None };
        Ok(connect_at(&site, &project, scope)?.target)
    }
}

#[async_trait]
impl Locator for PrideLocator {
    async fn url(&self, scope: &Scope) -> Result<Option<String>> {
        let project = self.workspace.project(scope.project.as_str())?;
        match &project.env(&scope.env)?.url {
            Some(url) => Ok(Some(url.clone())),
            None => self.target(scope)?.url().await,
        }
    }

    async fn units(&self, scope: &Scope) -> Result<Vec<UnitState>> {
        Ok(self.target(scope)?.inventory().await?.units)
    }
}
