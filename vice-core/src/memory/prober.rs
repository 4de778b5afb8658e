//! Probes where there is nobody to send them.

use async_trait::async_trait;

use crate::fault::{Fault, Result};
use crate::port::metric::{ProbeReport, ProbeRequest, Prober};

/// Sends no probes, and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProber;

#[async_trait]
impl Prober for NoProber {
    async fn probe(&self, _: ProbeRequest) -> Result<ProbeReport> {
        Err(Fault::unsupported("memory", "probes"))
    }
}
