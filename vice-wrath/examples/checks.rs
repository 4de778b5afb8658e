//! `vice wrath …` alone, with stores in memory: what `bench/wrath/checks` measures, without the start of the other six.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "the host of a benchmark reads its own arguments")]
#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, FromArgMatches};
use serde_json::Value;
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::event::Actor;
use vice_core::id::{EnvName, Ids, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore, NoProber};
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::simulation::SimulationReport;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec};
use vice_core::port::config::{ConfigSource, ResolvedConfig};
use vice_core::port::locator::Locator;
use vice_core::port::notifier::{Delivery, Notice, Notifier, Severity};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_core::port::target::UnitState;
use vice_core::rng::Streams;
use vice_core::time::{Clock, SystemClock};
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{Code, Fault, Result};
use vice_wrath::Wrath;
use vice_wrath::cmd::{WrathArgs, run};

/// Every port that scenarios against an address don't need.
struct Nothing;

impl Ui for Nothing {
    fn format(&self) -> Format {
        Format::Text
    }
    fn say(&self, _: Severity, _: &str) {}
    fn progress(&self, _: Progress) {}
    fn emit(&self, _: &str, _: &Value) -> bool {
        true
    }
    fn ask(&self, _: &str, flag: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, flag))
    }
    fn width(&self) -> usize {
        100
    }
}

impl Painter for Nothing {
    fn simulation(&self, _: &SimulationReport, _: PictureFormat) -> Result<String> {
        Ok(String::new())
    }
}

#[async_trait]
impl Locator for Nothing {
    async fn url(&self, _: &Scope) -> Result<Option<String>> {
        Ok(None)
    }
    async fn units(&self, _: &Scope) -> Result<Vec<UnitState>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ConfigSource for Nothing {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        Ok(ResolvedConfig::default())
    }
    fn record(&self, _: &Scope, _: &ResolvedConfig) -> ConfigRecorded {
        unreachable!("no configuration is recorded here")
    }
    async fn restore(&self, _: &Arc<Project>, _: &ConfigRecorded) -> Result<ResolvedConfig> {
        Ok(ResolvedConfig::default())
    }
}

#[async_trait]
impl Notifier for Nothing {
    async fn notify(&self, _: Notice) -> Result<Vec<Delivery>> {
        Ok(Vec::new())
    }
    async fn pump(&self) -> Result<usize> {
        Ok(0)
    }
}

#[async_trait]
impl CommandRunner for Nothing {
    async fn run(&self, _: CommandSpec) -> Result<CommandOutput> {
        Err(Fault::new(Code::Usage, "No commands are run here."))
    }
}

fn app() -> App {
    let nothing = Arc::new(Nothing);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let wrath = Arc::new(Wrath::new(Arc::clone(&clock), Arc::clone(&nothing) as _));
    let dir = std::env::current_dir().unwrap();
    App {
        clock,
        ids: Arc::new(Ids::new(&Streams::new(7))),
        ui: Arc::clone(&nothing) as _,
        env: Arc::new(ProcessEnv { dir, ..ProcessEnv::default() }),
        actor: Actor::system("bench"),
        workspace: Arc::new(Workspace::default()),
        events: Arc::new(MemoryEventStore::default()),
        series: Arc::new(MemorySeriesStore::default()),
        runner: Arc::clone(&nothing) as _,
        config: Arc::clone(&nothing) as _,
        verifier: wrath,
        prober: Arc::new(NoProber),
        painter: Arc::clone(&nothing) as _,
        locator: Arc::clone(&nothing) as _,
        notifier: nothing,
        actions: Arc::default(),
        stop: Arc::default(),
        http: Arc::new(()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    let matches = WrathArgs::augment_args(clap::Command::new("checks")).get_matches();
    match run(&app(), WrathArgs::from_arg_matches(&matches).unwrap()).await {
        Ok(outcome) => {
            println!("{}", outcome.text);
            ExitCode::from(outcome.class.exit_status())
        }
        Err(fault) => {
            println!("{}", fault.chain().join(": "));
            ExitCode::from(fault.class().exit_status())
        }
    }
}
