//! Verification: what gates a deploy and a rollback.

use async_trait::async_trait;

use crate::fault::Result;
use crate::id::EnvName;
use crate::manifest::Project;
use crate::payload::environment::Direction;
use crate::payload::verification::SuiteResult;
use crate::port::config::ResolvedConfig;
use crate::template::Vars;
use crate::time::Millis;

use std::sync::Arc;

/// What to verify.
#[derive(Clone)]
pub struct VerifyRequest {
    /// The project whose checks run.
    pub project: Arc<Project>,
    /// In which environment.
    pub env: EnvName,
    /// Only these checks; empty means all.
    pub only: Vec<String>,
    /// Only checks with one of these tags; empty means all.
    pub tags: Vec<String>,
    /// During which movement, if during one.
    pub direction: Option<Direction>,
    /// Template variables: `version`, `env`, `env.url`, `project`.
    pub vars: Vars,
    /// The configuration, so that checks can use secrets without printing them.
    pub config: Option<ResolvedConfig>,
    /// When to give up on the whole run.
    pub deadline: Millis,
}

/// Runs the checks of a project.
#[async_trait]
pub trait Verifier: Send + Sync + 'static {
    /// Runs them and says what was found. A check that fails is a result, not an error.
    ///
    /// # Errors
    /// `UnknownName` for a check that does not exist, `Template` and `Usage` for checks that make no sense.
    async fn verify(&self, request: VerifyRequest) -> Result<SuiteResult>;
}
