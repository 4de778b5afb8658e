//! Hosts that are only a table, each operation of which takes a while, and the real driver over them. Shared by the tests and
//! by `examples/driver_bench.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use vice_core::app::{App, ProcessEnv, StopSignal, Workspace};
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::{Actor, Recorded};
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Ids, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore, NoProber};
use vice_core::payload::ReleaseRef;
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::environment::Direction;
use vice_core::payload::simulation::SimulationReport;
use vice_core::payload::verification::SuiteResult;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec};
use vice_core::port::config::{ConfigSource, ResolvedConfig};
use vice_core::port::locator::Locator;
use vice_core::port::notifier::{Delivery, Notice, Notifier, Severity};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_core::port::target::{Change, Inventory, Observed, Op, Target, UnitHealth, UnitState, Workload};
use vice_core::port::verifier::{Verifier, VerifyRequest};
use vice_core::rng::Streams;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::time::Clock;
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{Code, Fault, Millis, Result};
use vice_pride::backend::Backend;
use vice_pride::driver::{EndState, Ended, Prepared, begin};
use vice_pride::lease;
use vice_pride_engine::{PlanRequest, plan};

/// What was asked of the hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How often everything was asked for what it has.
    pub(crate) inventories: usize,
    /// How often every host was told of an epoch.
    pub(crate) fences: usize,
    /// How often one host was.
    pub(crate) fences_of_one: usize,
    /// How often an operation was asked for.
    pub(crate) applied: usize,
    /// How many were under way at once at most.
    pub(crate) most_at_once: usize,
}

#[derive(Default)]
struct Inner {
    epoch: u64,
    has: BTreeMap<String, ReleaseRef>,
    marks: BTreeSet<String>,
    under_way: usize,
    counts: Counts,
}

/// Hosts in memory.
pub(crate) struct Hosts {
    takes: Duration,
    /// Those that never answer an operation.
    silent: BTreeSet<String>,
    inner: Mutex<Inner>,
}

impl Hosts {
    pub(crate) fn new(count: usize, takes: Duration, silent: &[&str]) -> Self {
        let has = (1..=count).map(|number| (format!("h{number}"), release("1"))).collect();
        let silent = silent.iter().map(|name| (*name).to_owned()).collect();
        Self { takes, silent, inner: Mutex::new(Inner { has, ..Inner::default() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }

    pub(crate) fn runs(&self, version: &str) -> usize {
        self.inner().has.values().filter(|release| release.version == version).count()
    }

    async fn change(&self, op: &Op) -> Result<()> {
        {
            let mut inner = self.inner();
            inner.counts.applied += 1;
            inner.under_way += 1;
            inner.counts.most_at_once = inner.counts.most_at_once.max(inner.under_way);
        }
        tokio::time::sleep(self.takes).await;
        let mut inner = self.inner();
        inner.under_way -= 1;
        if op.epoch < inner.epoch {
            return Err(Fault::new(Code::Fenced, "A later epoch was seen."));
        }
        if self.silent.contains(&op.unit) {
            return Err(Fault::new(Code::Unreachable, format!("The host {} did not answer.", op.unit)));
        }
        if let (true, Change::Place(release)) = (inner.marks.insert(op.id.clone()), &op.change) {
            inner.has.insert(op.unit.clone(), release.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Hosts {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "hosts", location: "memory".to_owned(), shared: false }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::of([Capability::Fence, Capability::Observe])
    }
    async fn inventory(&self) -> Result<Inventory> {
        let mut inner = self.inner();
        inner.counts.inventories += 1;
        let unit = |(name, release): (&String, &ReleaseRef)| UnitState {
            name: name.clone(),
            release: Some(release.clone()),
            health: UnitHealth::Healthy,
            since: None,
            restarts: 0,
            url: None,
            facts: BTreeMap::new(),
        };
        Ok(Inventory { units: inner.has.iter().map(unit).collect(), epoch: inner.epoch, ..Inventory::default() })
    }
    async fn fence(&self, epoch: u64) -> Result<()> {
        let mut inner = self.inner();
        inner.counts.fences += 1;
        inner.epoch = inner.epoch.max(epoch);
        Ok(())
    }
    async fn fence_unit(&self, _: &Op) -> Result<()> {
        self.inner().counts.fences_of_one += 1;
        Ok(())
    }
    async fn observe(&self, op: &Op) -> Result<Observed> {
        Ok(if self.inner().marks.contains(&op.id) { Observed::Applied } else { Observed::NotApplied })
    }
    async fn apply(&self, op: &Op, _: Option<&Workload>) -> Result<()> {
        self.change(op).await
    }
    async fn undo(&self, op: &Op, _: Option<&Workload>) -> Result<()> {
        self.change(op).await
    }
}

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.to_owned(), artifact: None, source: String::new(), config: None, recipe: None }
}

/// A history in memory whose appends take as long as those of a disk or of a server would.
pub(crate) struct SlowStore {
    inner: MemoryEventStore,
    takes: Duration,
    appends: Mutex<usize>,
}

impl SlowStore {
    pub(crate) fn appends(&self) -> usize {
        *self.appends.lock().unwrap()
    }
}

#[async_trait]
impl EventStore for SlowStore {
    fn describe(&self) -> BackendInfo {
        self.inner.describe()
    }
    fn capabilities(&self) -> Capabilities {
        // Leases are the business of other tests.
        Capabilities::of([])
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        *self.appends.lock().unwrap() += 1;
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        self.inner.append(append).await
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        self.inner.read(query).await
    }
    async fn head(&self) -> Result<LogHead> {
        self.inner.head().await
    }
    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        self.inner.streams(prefix, after, limit).await
    }
    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.inner.fences().await
    }
    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        self.inner.snapshot(fold, stream).await
    }
    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.inner.put_snapshot(fold, stream, snapshot).await
    }
    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        self.inner.wait(after, at_most).await
    }
    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.inner.beat(scope, mark).await
    }
    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.inner.pulse(scope).await
    }
    async fn verify(&self) -> Result<Verification> {
        self.inner.verify().await
    }
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.inner.let_go(anchor).await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A clock that goes with the runtime's, so that a paused one does not move it either.
struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> jiff::Timestamp {
        let since = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        jiff::Timestamp::from_millisecond(1_784_000_000_000 + since).unwrap()
    }
}

struct Quiet;

impl Ui for Quiet {
    fn format(&self) -> Format {
        Format::Text
    }
    fn say(&self, _: Severity, _: &str) {}
    fn progress(&self, _: Progress) {}
    fn emit(&self, _: &str, _: &serde_json::Value) -> bool {
        true
    }
    fn ask(&self, question: &str, _: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, question))
    }
    fn width(&self) -> usize {
        100
    }
}

struct Absent;

fn absent<T>() -> Result<T> {
    Err(Fault::internal("A rollout over hosts in memory needs no other part."))
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
        unreachable!("what was prepared has its record")
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

/// A rollout from release 1 to release 2 over so many hosts.
pub(crate) struct World {
    app: App,
    project: Arc<Project>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) store: Arc<SlowStore>,
}

impl World {
    /// `rollout`: what `vice.toml` would say of it; `append`: how long an append takes.
    pub(crate) fn new(dir: &Path, hosts: Hosts, append: Duration, rollout: &str) -> Self {
        let text = format!(
            "name = \"shop\"\ncommand = [\"./shop\"]\n[env.dev]\nshared = false\n[env.dev.rollout]\n{rollout}\n"
        );
        let project = Arc::new(Project::parse(dir.to_path_buf(), "vice.toml".to_owned(), text.as_str()).unwrap());
        let store = Arc::new(SlowStore { inner: MemoryEventStore::default(), takes: append, appends: Mutex::new(0) });
        let workspace = Workspace {
            root: dir.to_path_buf(),
            state: dir.join("state"),
            projects: [(project.name().clone(), Arc::clone(&project))].into(),
            ..Workspace::default()
        };
        let app = App {
            clock: Arc::new(RuntimeClock(tokio::time::Instant::now())),
            ids: Arc::new(Ids::new(&Streams::new(7))),
            ui: Arc::new(Quiet),
            env: Arc::new(ProcessEnv { dir: dir.to_path_buf(), ..ProcessEnv::default() }),
            actor: Actor::system("test"),
            workspace: Arc::new(workspace),
            events: store.clone(),
            series: Arc::new(MemorySeriesStore::default()),
            runner: Arc::new(Absent),
            config: Arc::new(Absent),
            verifier: Arc::new(Absent),
            prober: Arc::new(NoProber),
            locator: Arc::new(Absent),
            notifier: Arc::new(Absent),
            painter: Arc::new(Absent),
            actions: Arc::default(),
            stop: Arc::new(StopSignal::default()),
            http: Arc::new(()),
        };
        Self { app, project, hosts: Arc::new(hosts), store }
    }

    /// Everything that comes before a rollout.
    pub(crate) async fn prepared(&self) -> Prepared {
        let scope = Scope::new(self.project.name().clone(), EnvName::new("dev").unwrap());
        let inventory = self.hosts.inventory().await.unwrap();
        let spec = self.project.env(&scope.env).unwrap();
        let workload = workload("2");
        let plan = plan(&PlanRequest {
            direction: Direction::Deploy,
            from: Some(release("1")),
            to: workload.release.clone(),
            units: inventory.units.iter().map(|unit| unit.name.clone()).collect(),
            topology: None,
            inventory: &inventory,
            rollout: &spec.rollout,
            tasks: Vec::new(),
            has_checks: false,
            analysis: None,
        })
        .unwrap();
        let record = ConfigRecorded {
            scope: scope.clone(),
            digest: String::new(),
            entries: BTreeMap::new(),
            digests: BTreeMap::new(),
            variants: Vec::new(),
        };
        Prepared {
            project: Arc::clone(&self.project),
            scope,
            backend: Backend {
                target: self.hosts.clone(),
                traffic: None,
                logs: None,
                front: None,
                keepers: Vec::new(),
            },
            state: EnvironmentState::default(),
            state_version: 0,
            inventory,
            plan,
            workload,
            config: ResolvedConfig::default(),
            record,
            config_changes: Vec::new(),
            number: 1,
            preview: Vec::new(),
            forecast: None,
        }
    }

    /// Rolls out what was prepared.
    pub(crate) async fn deploy(&self, prepared: Prepared) -> Ended {
        let lease = lease::acquire(&self.app, &prepared.scope, "deploy 2").await.unwrap();
        begin(&self.app, prepared, lease, None).await.unwrap()
    }
}

/// How a rollout ended, in a word.
pub(crate) fn ending(ended: &Ended) -> String {
    match &ended.state {
        EndState::Finished { outcome, reason, .. } => format!("{outcome:?} {}", reason.as_deref().unwrap_or_default()),
        EndState::Parked { reason, .. } => format!("parked: {reason}"),
    }
}

fn workload(version: &str) -> Workload {
    Workload {
        release: release(version),
        files: None,
        command: vec!["./shop".to_owned()],
        environment: BTreeMap::new(),
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: None,
        ready_timeout: Millis::from_secs(30),
        drain_timeout: Millis::from_secs(30),
        stop_timeout: Millis::from_secs(10),
        reload: None,
    }
}
