//! temp
use vice_core::Result;
use crate::view::{rollout::RolloutReport, dashboard::Dashboard};
/// t
pub fn rollout(_: &RolloutReport) -> Result<String> { Ok(String::new()) }
/// t
pub fn dashboard(_: &Dashboard) -> Result<String> { Ok(String::new()) }
