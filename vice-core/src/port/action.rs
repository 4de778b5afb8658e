//! Actions: what graphs, rules and chat commands can call by name. Each crate registers its own.

use async_trait::async_trait;
use serde_json::Value;

use crate::fault::Result;

/// What an action is.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionInfo {
    /// The name, such as `deploy`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The JSON Schema of its input: an object.
    pub input: Value,
    /// The JSON Schema of its output: an object.
    pub output: Value,
}

/// Something that can be run by name with typed input and output.
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// Its name and schemas.
    fn describe(&self) -> ActionInfo;

    /// Runs it. The output is an object even on success without results.
    ///
    /// # Errors
    /// Whatever the action fails with; a failed verification, say, is a `VerificationFailed`.
    async fn run(&self, input: Value) -> Result<Value>;
}
