//! Hosts that are only a table, each operation of which takes a while, and the real driver over them. Shared by the tests and
//! by `examples/driver_bench.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use vice_core::app::{App, ProcessEnv, StopSignal, Workspace};
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::Actor;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Ids, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore, NoProber};
use vice_core::payload::ReleaseRef;
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::environment::Direction;
use vice_core::port::config::ResolvedConfig;
use vice_core::port::notifier::Severity;
use vice_core::port::target::{Change, Inventory, Observed, Op, Target, UnitHealth, UnitState, Workload};
use vice_core::rng::Streams;
use vice_core::store::{Append, Appended, EventStore, StoreLayer};
use vice_core::testkit::absent::Absent;
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
impl StoreLayer for SlowStore {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
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
