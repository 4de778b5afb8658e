//! A world for tests: a store that can break at a chosen append, commands and actions that do as they are told and
//! write down what they did.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use vice_core::app::{App, ProcessEnv, StopSignal, Workspace};
use vice_core::event::Actor;
use vice_core::id::{EnvName, Ids, ProjectName, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore};
use vice_core::payload::config::{ConfigRecorded, Origin};
use vice_core::port::action::{Action, ActionInfo};
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended, Stream};
use vice_core::port::config::{ConfigEntry, ConfigSource, ConfigValue, ResolvedConfig};
use vice_core::port::notifier::Severity;
use vice_core::rng::Streams;
use vice_core::store::{Append, Appended, EventStore, StoreLayer};
use vice_core::testkit::absent::Absent;
use vice_core::time::ManualClock;
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{Code, Fault, Millis, Result, Secret};

/// What a step is told to do.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Print this, or give this as `said`.
    Say(&'static str),
    /// Fail so.
    Fail(Code),
    /// Take so long.
    Take(u64),
    /// Have the process asked to end, then end well.
    Stop,
    /// Stop in a safe place because the process is asked to end.
    Park,
}

/// What happened and what is to happen.
#[derive(Default)]
pub(crate) struct Script {
    /// By step for commands, by `id` for actions; what is not told ends well.
    pub(crate) answers: BTreeMap<String, VecDeque<Answer>>,
    /// The effects in order: a step with its arguments, or an id with its input.
    pub(crate) effects: Vec<(String, Value)>,
    /// What was said and shown.
    pub(crate) lines: Vec<String>,
}

/// The world of one test.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) store: Arc<Breaking>,
    pub(crate) dir: TempDir,
    format: Arc<Mutex<Format>>,
}

impl World {
    pub(crate) fn new(graph: &str) -> Self {
        let (script, store) = (Arc::new(Mutex::new(Script::default())), Arc::new(Breaking::default()));
        let (dir, stop) = (tempfile::tempdir().unwrap(), Arc::new(StopSignal::default()));
        let format = Arc::new(Mutex::new(Format::Text));
        let puppet =
            Arc::new(Puppet { script: Arc::clone(&script), stop: Arc::clone(&stop), format: Arc::clone(&format) });
        let action: Arc<dyn Action> = Arc::clone(&puppet) as Arc<dyn Action>;
        let app = App {
            clock: Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap(), Millis(1))),
            ids: Arc::new(Ids::new(&Streams::new(1))),
            ui: Arc::clone(&puppet) as Arc<dyn Ui>,
            env: Arc::new(ProcessEnv::default()),
            actor: Actor::system("test"),
            workspace: Arc::new(workspace(&dir, graph)),
            events: Arc::clone(&store) as Arc<dyn EventStore>,
            series: Arc::new(MemorySeriesStore::default()),
            runner: Arc::clone(&puppet) as Arc<dyn CommandRunner>,
            config: Arc::new(OneSecret),
            verifier: Arc::new(Absent),
            prober: Arc::new(vice_core::memory::NoProber),
            locator: Arc::new(Absent),
            painter: Arc::new(Absent),
            notifier: Arc::new(Absent),
            actions: Arc::new(BTreeMap::from([("act", action)])),
            stop,
            http: Arc::new(()),
        };
        Self { app, script, store, dir, format }
    }

    pub(crate) fn tell(&self, who: &str, answers: &[Answer]) {
        self.script.lock().unwrap().answers.insert(who.to_owned(), answers.iter().cloned().collect());
    }

    pub(crate) fn set_format(&self, format: Format) {
        *self.format.lock().unwrap() = format;
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        self.app.workspace.project("shop").unwrap()
    }

    /// The names of what acted, in order.
    pub(crate) fn acted(&self) -> Vec<String> {
        self.script.lock().unwrap().effects.iter().map(|(who, _)| who.clone()).collect()
    }

    /// The arguments or the input of what acted last under this name.
    pub(crate) fn input(&self, who: &str) -> Value {
        let script = self.script.lock().unwrap();
        script.effects.iter().rev().find(|(name, _)| name == who).unwrap().1.clone()
    }

    /// Forgets that the process was asked to end.
    pub(crate) fn calm(&mut self) {
        let stop = Arc::new(StopSignal::default());
        let format = Arc::clone(&self.format);
        let puppet = Arc::new(Puppet { script: Arc::clone(&self.script), stop: Arc::clone(&stop), format });
        self.app.stop = stop;
        self.app.runner = Arc::clone(&puppet) as Arc<dyn CommandRunner>;
        self.app.actions = Arc::new(BTreeMap::from([("act", puppet as Arc<dyn Action>)]));
    }
}

fn workspace(dir: &TempDir, graph: &str) -> Workspace {
    let text = format!("name = \"shop\"\n[env.dev]\n[env.test]\n[env.prod]\nclass = \"prod\"\n[graph.g]\n{graph}\n");
    let text = text.replace("[env.dev]", "[env.dev]\ndefault = true");
    let project = Project::parse(dir.path().to_owned(), "vice.toml".into(), text).unwrap();
    let name = ProjectName::new("shop").unwrap();
    Workspace {
        root: dir.path().to_owned(),
        state: dir.path().join(".vice"),
        projects: BTreeMap::from([(name, Arc::new(project))]),
        ..Workspace::default()
    }
}

/// The terminal, the commands and the only action of a test.
struct Puppet {
    script: Arc<Mutex<Script>>,
    stop: Arc<StopSignal>,
    format: Arc<Mutex<Format>>,
}

impl Puppet {
    async fn act(&self, who: &str, with: Value) -> Result<String> {
        let answer = {
            let mut script = self.script.lock().unwrap();
            script.effects.push((who.to_owned(), with));
            script.answers.get_mut(who).and_then(VecDeque::pop_front)
        };
        match answer {
            None => Ok(String::new()),
            Some(Answer::Say(text)) => Ok(text.to_owned()),
            Some(Answer::Fail(code)) => {
                Err(Fault::new(code, "It was told to fail with hunter22.").hint("Tell it otherwise."))
            }
            Some(Answer::Take(millis)) => {
                tokio::time::sleep(Millis(millis).as_duration()).await;
                Ok(String::new())
            }
            Some(Answer::Stop) => {
                self.stop.raise(true);
                Ok(String::new())
            }
            Some(Answer::Park) => {
                self.stop.raise(true);
                Err(Fault::new(Code::Interrupted, "It was interrupted."))
            }
        }
    }
}

impl Ui for Puppet {
    fn format(&self) -> Format {
        *self.format.lock().unwrap()
    }
    fn say(&self, _: Severity, text: &str) {
        self.script.lock().unwrap().lines.push(text.to_owned());
    }
    fn progress(&self, progress: Progress) {
        self.script.lock().unwrap().lines.push(format!("{}: {}", progress.key, progress.text));
    }
    fn emit(&self, _: &str, _: &Value) -> bool {
        true
    }
    fn ask(&self, _: &str, flag: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, format!("Nobody can be asked: use {flag}.")))
    }
    fn width(&self) -> usize {
        100
    }
}

#[async_trait]
impl CommandRunner for Puppet {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        let who = spec.env["VICE_STEP"].reveal().to_owned();
        let env: BTreeMap<&str, &str> = spec.env.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        let act = self.act(&who, json!({ "argv": spec.argv, "env": env }));
        let output = |ended, stdout: &str| {
            let (stdout, stderr) = (stdout.to_owned(), String::new());
            CommandOutput { ended, stdout, stderr, truncated: false, took: spec.timeout }
        };
        match tokio::time::timeout(spec.timeout.as_duration(), act).await {
            Err(_) => Ok(output(Ended::TimedOut, "")),
            Ok(Err(_)) => Ok(output(Ended::Exited(1), "it broke")),
            Ok(Ok(said)) => {
                if let Some(on_line) = &spec.on_line {
                    said.lines().for_each(|line| on_line(Stream::Out, line));
                }
                Ok(output(Ended::Exited(0), &said))
            }
        }
    }
}

#[async_trait]
impl Action for Puppet {
    fn describe(&self) -> ActionInfo {
        ActionInfo {
            name: "act",
            summary: "Does as it is told.",
            input: json!({
                "type": "object",
                "properties": {
                    "id": { "type": "string" },
                    "project": { "type": "string" },
                    "env": { "type": "string" },
                    "count": { "type": "integer" },
                    "text": { "type": "string" },
                    "list": { "type": "array" },
                },
                "required": ["id"],
                "additionalProperties": false,
            }),
            output: json!({ "type": "object", "properties": {
                "said": { "type": "string" },
                "ok": { "type": "boolean" },
                "list": { "type": "array" },
                "never": { "type": "string" },
            } }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let who = input["id"].as_str().unwrap_or_default().to_owned();
        let said = self.act(&who, input).await?;
        Ok(json!({ "said": said, "ok": true, "list": [1, "two"], "unnamed": "x" }))
    }
}

/// A memory store that refuses every append after the first few, as a process that was killed makes none. The last
/// one before may go through without an answer.
#[derive(Default)]
pub(crate) struct Breaking {
    inner: MemoryEventStore,
    left: Mutex<Option<i64>>,
    silent: AtomicI64,
}

impl Breaking {
    /// After so many appends none goes through; with `silent` the next one does, and is not acknowledged.
    pub(crate) fn break_after(&self, appends: i64, silent: bool) {
        *self.left.lock().unwrap() = Some(appends);
        self.silent.store(i64::from(silent), Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        *self.left.lock().unwrap() = None;
    }
}

#[async_trait]
impl StoreLayer for Breaking {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        let broken = {
            let mut left = self.left.lock().unwrap();
            if let Some(left) = left.as_mut() {
                *left -= 1;
            }
            left.is_some_and(|left| left < 0)
        };
        if !broken {
            return self.inner.append(append).await;
        }
        if self.silent.swap(0, Ordering::SeqCst) == 1 {
            self.inner.append(append).await?;
        }
        Err(Fault::new(Code::StateUnwritable, "The store is broken."))
    }
}

/// A configuration with one secret.
struct OneSecret;

#[async_trait]
impl ConfigSource for OneSecret {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        let origin = Origin { layer: "test".into(), line: None };
        let secret = ConfigEntry { value: ConfigValue::Secret(Secret::new("hunter22")), origin };
        Ok(ResolvedConfig { entries: BTreeMap::from([("token".into(), secret)]), ..ResolvedConfig::default() })
    }
    fn record(&self, scope: &Scope, config: &ResolvedConfig) -> ConfigRecorded {
        ConfigRecorded {
            scope: scope.clone(),
            digest: config.digest.clone(),
            entries: BTreeMap::new(),
            digests: BTreeMap::new(),
            variants: Vec::new(),
        }
    }
    async fn restore(&self, _: &Arc<Project>, _: &ConfigRecorded) -> Result<ResolvedConfig> {
        Err(Fault::new(Code::Unsupported, "Graphs restore no configuration."))
    }
}
