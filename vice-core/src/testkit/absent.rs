//! The ports that a test has no use for: each call of them fails, so that a test which asks one by mistake is told.

use std::sync::Arc;

use async_trait::async_trait;

use crate::fault::{Fault, Result};
use crate::id::{EnvName, Scope};
use crate::manifest::Project;
use crate::payload::config::ConfigRecorded;
use crate::payload::simulation::SimulationReport;
use crate::payload::verification::SuiteResult;
use crate::port::command::{CommandOutput, CommandRunner, CommandSpec};
use crate::port::config::{ConfigSource, ResolvedConfig};
use crate::port::locator::Locator;
use crate::port::notifier::{Delivery, Notice, Notifier};
use crate::port::painter::{Painter, PictureFormat};
use crate::port::target::UnitState;
use crate::port::verifier::{Verifier, VerifyRequest};

/// No runner of commands, no configuration, no pictures, no target, no channels and no checks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent;

fn absent<T>() -> Result<T> {
    Err(Fault::internal("A port was asked that this test has no use for."))
}

#[async_trait]
impl CommandRunner for Absent {
    async fn run(&self, _: CommandSpec) -> Result<CommandOutput> {
        absent()
    }
}

#[async_trait]
impl ConfigSource for Absent {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        absent()
    }
    fn record(&self, _: &Scope, _: &ResolvedConfig) -> ConfigRecorded {
        unreachable!("a configuration was to be recorded, and this test has none")
    }
    async fn restore(&self, _: &Arc<Project>, _: &ConfigRecorded) -> Result<ResolvedConfig> {
        absent()
    }
}

impl Painter for Absent {
    fn simulation(&self, _: &SimulationReport, _: PictureFormat) -> Result<String> {
        absent()
    }
}

#[async_trait]
impl Locator for Absent {
    async fn url(&self, _: &Scope) -> Result<Option<String>> {
        absent()
    }
    async fn units(&self, _: &Scope) -> Result<Vec<UnitState>> {
        absent()
    }
}

#[async_trait]
impl Notifier for Absent {
    async fn notify(&self, _: Notice) -> Result<Vec<Delivery>> {
        absent()
    }
    async fn pump(&self) -> Result<usize> {
        absent()
    }
}

#[async_trait]
impl Verifier for Absent {
    async fn verify(&self, _: VerifyRequest) -> Result<SuiteResult> {
        absent()
    }
}
