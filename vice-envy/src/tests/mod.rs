//! Tests of the crate as a whole: a project on disk, an own home, and a terminal and a runner that remember.

mod commands;
mod credentials;
mod hostile;
mod layering;
mod parts;
mod resolving;
#[cfg(feature = "secrets")]
mod sealed;
mod speed;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use vice_core::app::{ProcessEnv, Workspace};
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::memory::MemoryEventStore;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended, Stream};
use vice_core::port::config::{ConfigSource, ResolvedConfig};
use vice_core::port::locator::Locator;
use vice_core::port::notifier::Severity;
use vice_core::port::target::UnitState;
use vice_core::time::ManualClock;
use vice_core::ui::{Format, Outcome, Progress, Ui};
use vice_core::{Code, Fault, Millis, Result};

use crate::Envy;
use crate::cmd::{Desk, EnvyArgs, dispatch};
use crate::remote::real::Real;

/// A value that must never be seen.
pub(crate) const CANARY: &str = "hunter22-canary-value";

struct Terminal {
    format: Format,
    said: Mutex<String>,
}

impl Ui for Terminal {
    fn format(&self) -> Format {
        self.format
    }
    fn say(&self, _: Severity, text: &str) {
        let mut said = self.said.lock().unwrap();
        said.push_str(text);
        said.push('\n');
    }
    fn progress(&self, _: Progress) {}
    fn emit(&self, text: &str, value: &Value) -> bool {
        self.say(Severity::Info, text);
        self.say(Severity::Info, &value.to_string());
        true
    }
    fn ask(&self, question: &str, _: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, format!("{question} Nobody can be asked here.")))
    }
    fn width(&self) -> usize {
        100
    }
}

/// Prints its arguments as lines, masked as the real one does, and ends with the status that the first names.
#[derive(Default)]
struct Runner {
    ran: Mutex<Vec<CommandSpec>>,
}

#[async_trait]
impl CommandRunner for Runner {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        let status = spec.argv[0].parse().unwrap_or(0);
        for line in spec.env.values().map(|value| spec.masker.mask(value.reveal())) {
            spec.on_line.as_ref().unwrap()(Stream::Out, &line);
        }
        self.ran.lock().unwrap().push(spec);
        let (stdout, stderr) = (String::new(), String::new());
        Ok(CommandOutput { ended: Ended::Exited(status), stdout, stderr, truncated: false, took: Millis(1) })
    }
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: EnvyArgs,
}

/// A target that does not answer.
struct Nowhere;

#[async_trait]
impl Locator for Nowhere {
    async fn url(&self, _: &Scope) -> Result<Option<String>> {
        Err(Fault::new(Code::Unreachable, "There is no target here."))
    }
    async fn units(&self, _: &Scope) -> Result<Vec<UnitState>> {
        Err(Fault::new(Code::Unreachable, "There is no target here."))
    }
}

/// A project, a state folder and a home.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    manifest: String,
    pub(crate) vars: Vec<(String, String)>,
    pub(crate) format: Format,
}

impl Bench {
    /// `config` is what stands in the manifest after the five lines.
    pub(crate) fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["project/config", "home"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let manifest = format!(
            "name = \"shop\"\nartifact = \"x\"\ncommand = [\"./x\"]\n[env.dev]\n[env.prod]\nclass = \"prod\"\n{config}"
        );
        let home = dir.path().join("home").display().to_string();
        Self { dir, manifest, vars: vec![("HOME".into(), home)], format: Format::Text }
    }

    /// Says something else behind the first lines of the manifest.
    pub(crate) fn remanifest(&mut self, config: &str) {
        let start = self.manifest.find("[config]").unwrap();
        self.manifest.replace_range(start.., config);
    }

    /// Gives the project another name.
    pub(crate) fn rename(&mut self, name: &str) {
        self.manifest = self.manifest.replacen("\"shop\"", &format!("{name:?}"), 1);
    }

    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(crate) fn var(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        Arc::new(Project::parse(self.root(), "vice.toml".into(), self.manifest.as_str()).unwrap())
    }

    fn process(&self) -> Arc<ProcessEnv> {
        let vars = self.vars.iter().cloned().collect();
        Arc::new(ProcessEnv { vars, dir: self.root(), ..ProcessEnv::default() })
    }

    pub(crate) fn envy(&self) -> Envy {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), Millis::ZERO));
        Envy::new(self.dir.path().join("state"), self.process(), clock).with_runner(Arc::new(Real))
    }

    pub(crate) fn workspace(&self) -> Arc<Workspace> {
        let project = self.project();
        let projects = [(project.name().clone(), project)].into();
        Arc::new(Workspace { root: self.root(), projects, ..Workspace::default() })
    }

    pub(crate) async fn resolve(&self) -> Result<ResolvedConfig> {
        self.envy().resolve(&self.project(), &EnvName::new("dev").unwrap()).await
    }

    /// Runs a command line; gives the outcome and what was said meanwhile.
    pub(crate) async fn run(&self, line: &[&str]) -> (Result<Outcome>, String) {
        let (outcome, said, _) = self.run_with(line).await;
        (outcome, said)
    }

    async fn run_with(&self, line: &[&str]) -> (Result<Outcome>, String, Arc<Runner>) {
        let terminal = Arc::new(Terminal { format: self.format, said: Mutex::default() });
        let runner = Arc::new(Runner::default());
        let desk = Desk {
            ui: Arc::<Terminal>::clone(&terminal),
            workspace: self.workspace(),
            runner: Arc::<Runner>::clone(&runner),
            process: self.process(),
            envy: self.envy(),
            events: Arc::new(MemoryEventStore::default()),
            locator: Arc::new(Nowhere),
        };
        let args = CommandLine::try_parse_from([&["envy"], line].concat()).unwrap().args;
        let outcome = dispatch(&desk, args).await;
        let said = terminal.said.lock().unwrap().clone();
        (outcome, said, runner)
    }

    pub(crate) async fn ok(&self, line: &[&str]) -> Outcome {
        let (outcome, said) = self.run(line).await;
        outcome.unwrap_or_else(|fault| panic!("{line:?}: {fault:?}\n{said}"))
    }

    pub(crate) async fn fails(&self, line: &[&str]) -> Fault {
        self.run(line).await.0.err().unwrap_or_else(|| panic!("{line:?} succeeded"))
    }
}

/// Everything that a command lets out, as one text.
pub(crate) fn all_output(outcome: &Result<Outcome>, said: &str) -> String {
    match outcome {
        Ok(outcome) => format!("{}\n{}\n{outcome:?}\n{said}", outcome.text, outcome.json),
        Err(fault) => {
            let details = serde_json::to_string(fault.details()).unwrap();
            format!(
                "{fault:?}\n{}\n{:?}\n{details}\n{said}",
                fault.chain().join("\n"),
                fault.place().map(|place| &place.text)
            )
        }
    }
}
