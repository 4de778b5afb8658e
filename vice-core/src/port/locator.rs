//! Where a deployed service answers.

use async_trait::async_trait;

use crate::fault::Result;
use crate::id::Scope;
use crate::port::target::UnitState;

/// Finds the address of what is deployed.
#[async_trait]
pub trait Locator: Send + Sync + 'static {
    /// The base URL without a slash at its end; none when nothing is deployed there.
    ///
    /// # Errors
    /// `UnknownName` for an unknown scope, `Unreachable` when the target does not answer.
    async fn url(&self, scope: &Scope) -> Result<Option<String>>;

    /// The units that are deployed, each with its version and, where it can be asked alone, its address. Empty where
    /// nothing is deployed or the target does not tell.
    ///
    /// # Errors
    /// `UnknownName` for an unknown scope, `Unreachable` when the target does not answer.
    async fn units(&self, scope: &Scope) -> Result<Vec<UnitState>>;
}
