//! The Kubernetes target: one unit, `1`, which is a set of objects in one context; two, `canary` and `stable`, where its
//! traffic can be split.
//!
//! A release there is the user's manifests rendered for its version, with its configuration as a ConfigMap and a
//! Secret. vice applies them on the server's side under its own field manager, waits as `kubectl rollout status` does,
//! and keeps what it needs to go back in the cluster itself: a ConfigMap with the record of what runs (the ledger) and
//! a Secret for each of the latest releases. It never stores manifests in the history, because they may hold secrets.
//!
//! How often pods run is the manifests' business (`replicas`), and replacing them is the workload controllers'. Several
//! contexts are several targets, which one rollout takes together.

mod adopt;
mod attempt;
mod cluster;
mod diff;
mod failing;
mod images;
mod keep;
mod kubeconfig;
mod ledger;
mod logs;
mod manifests;
mod names;
mod object;
mod operate;
mod owner;
mod reference;
mod release;
mod rollout;
mod shares;
mod sheet;
mod split;
mod traffic;
mod unit;
mod wait;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::manifest::TargetSpec;
use vice_core::payload::ReleaseRef;
use vice_core::port::command::CommandRunner;
use vice_core::port::target::{Change, Inventory, LogLine, LogSource, Observed, Op, Target, Workload};
use vice_core::{Clock, Code, Digest, Fault, Millis, Result};

use attempt::Attempts;
use cluster::Cluster;
pub use images::{HttpMaker, Registries};
use keep::Content;
use ledger::{Book, Running};
use manifests::Source;
use names::Names;
use object::ObjectId;
use operate::Operator;
use release::Release;
use shares::Shares;
use split::{Split, Track};

/// The name of the one unit.
const UNIT: &str = "1";
/// How long workloads may take to roll out when `vice.toml` does not say: as long as a Deployment may without progress.
const TIMEOUT: Millis = Millis(10 * 60 * 1000);

/// What a Kubernetes target is made from.
pub struct KubernetesOptions {
    /// What it is the target of.
    pub scope: Scope,
    /// Its name, where there are several.
    pub part: Option<String>,
    /// What `vice.toml` says of it.
    pub spec: TargetSpec,
    /// The folder of `vice.toml`.
    pub root: PathBuf,
    /// Where the service answers, where `vice.toml` says so.
    pub url: Option<String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The environment of the process: KUBECONFIG and HOME.
    pub env: Arc<ProcessEnv>,
    /// Runs kustomize, Helm and the like.
    pub runner: Option<Arc<dyn CommandRunner>>,
    /// Who says what the tags of images point at; none for whoever plans nothing.
    pub registries: Option<Arc<Registries>>,
}

/// A set of objects in a cluster. Making one asks nothing.
pub struct KubernetesTarget {
    options: KubernetesOptions,
    names: Names,
    /// Those of the unit that tries releases out.
    canary: Names,
    attempts: Attempts,
    cluster: OnceCell<Cluster>,
    /// What was rendered last, with its version: what is applied is what was planned.
    rendered: Mutex<Option<(String, Vec<Value>)>>,
}

impl KubernetesTarget {
    /// The target that the options say.
    #[must_use]
    pub fn new(options: KubernetesOptions) -> Self {
        let part = options.part.as_deref();
        let (names, canary) = (Names::new(&options.scope, part), Names::of_canary(&options.scope, part));
        let attempts = Attempts::new(options.clock.as_ref());
        Self { options, names, canary, attempts, cluster: OnceCell::new(), rendered: Mutex::default() }
    }

    async fn cluster(&self) -> Result<&Cluster> {
        let KubernetesOptions { spec, root, env, .. } = &self.options;
        self.cluster.get_or_try_init(|| Cluster::connect(spec, root, env)).await
    }

    /// The units: one, or two where the traffic can be split.
    fn tracks(&self) -> &'static [Option<Track>] {
        const ONE: &[Option<Track>] = &[None];
        const TWO: &[Option<Track>] = &[Some(Track::ALL[0]), Some(Track::ALL[1])];
        if self.options.spec.traffic.is_some() { TWO } else { ONE }
    }

    /// The unit of that name.
    fn track(&self, unit: &str) -> Result<Option<Track>> {
        let found = self.tracks().iter().find(|track| track.map_or(UNIT, Track::unit) == unit);
        found.copied().ok_or_else(|| {
            let shown: String = unit.chars().take(80).collect();
            let known = self.tracks().iter().map(|track| track.map_or(UNIT, Track::unit));
            Fault::new(Code::UnknownName, format!("This Kubernetes target has no unit {shown:?}."))
                .hint(format!("It has: {}.", known.collect::<Vec<_>>().join(", ")))
        })
    }

    const fn names_of(&self, track: Option<Track>) -> &Names {
        match track {
            Some(Track::Canary) => &self.canary,
            Some(Track::Stable) | None => &self.names,
        }
    }

    async fn book(&self, track: Option<Track>) -> Result<Book> {
        Book::read(self.cluster().await?, self.names_of(track)).await
    }

    async fn operator(&self, track: Option<Track>) -> Result<Operator<'_>> {
        let split = match (track, &self.options.spec.traffic) {
            (Some(track), Some(how)) => {
                let weights = Shares::read(self.cluster().await?, &self.names).await?.table.weights;
                let other = self.book(Some(track.other())).await?.ledger.running.map(|running| running.release);
                Some(Split { how: how.clone(), track, weights, other })
            }
            _ => None,
        };
        self.operator_with(track, split).await
    }

    async fn operator_with(&self, track: Option<Track>, split: Option<Split>) -> Result<Operator<'_>> {
        Ok(Operator {
            cluster: self.cluster().await?,
            names: self.names_of(track),
            clock: self.options.clock.as_ref(),
            timeout: self.options.spec.timeout.unwrap_or(TIMEOUT),
            force: self.options.spec.force.unwrap_or(false),
            split,
            attempts: &self.attempts,
        })
    }

    /// Begins an operation on a unit; another one of this process may be under way there.
    fn attempt(&self, unit: &str) -> Result<attempt::Attempt<'_>> {
        self.attempts.begin(unit).ok_or_else(|| {
            Fault::new(Code::Conflict, format!("Another operation of this process is under way on the unit {unit}."))
        })
    }

    async fn render(&self, version: &str) -> Result<Vec<Value>> {
        let KubernetesOptions { spec, root, scope, runner, .. } = &self.options;
        let objects = Source { spec, root, scope, runner: runner.as_ref() }.objects(version).await?;
        let made = Some((version.to_owned(), objects.clone()));
        *self.rendered.lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(objects)
    }

    /// What was rendered last, if it was that version.
    fn rendered(&self, version: &str) -> Option<Vec<Value>> {
        let last = self.rendered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|(of, _)| of == version).map(|(_, objects)| objects)
    }

    /// The objects that a workload was planned with: those that were rendered, or rendered again if they still are the
    /// same.
    async fn planned(&self, workload: &Workload) -> Result<Vec<Value>> {
        let version = &workload.release.version;
        let fits =
            |objects: &[Value]| workload.objects.is_empty() || workload.objects.contains(&manifests::digest(objects));
        if let Some(objects) = self.rendered(version).filter(|objects| fits(objects)) {
            return Ok(objects);
        }
        let objects = self.render(version).await?;
        if fits(&objects) {
            return Ok(objects);
        }
        let message = format!("The manifests of version {version} are not those that the rollout was planned with.");
        Err(Fault::new(Code::PlanDrifted, message).hint("Deploy again to take the new ones."))
    }

    /// The content of a release: kept from the last time it ran, or made from the manifests.
    async fn content(&self, operator: &Operator<'_>, book: &Book, workload: &Workload) -> Result<Content> {
        let release = &workload.release;
        let kept = book.ledger.latest(|kept| kept.runs_like(release)).map(|kept| kept.number);
        if let Some(kept) = kept
            && operator.load(kept).await?.is_some()
        {
            return Ok(Content::Kept(kept));
        }
        let same_objects = |kept: &ReleaseRef| {
            kept.version == release.version && kept.recipe.is_some() && kept.recipe == release.recipe
        };
        if let Some(kept) = book.ledger.latest(same_objects).map(|kept| kept.number)
            && let Some(content) = operator.load(kept).await?
        {
            return Ok(Content::New(Box::new(content.reconfigured(workload))));
        }
        let objects = images::pinned(self.planned(workload).await?, &workload.images);
        Ok(Content::New(Box::new(Release::new(objects, workload))))
    }

    /// What runs after the operation.
    async fn after(
        &self,
        operator: &Operator<'_>,
        book: &mut Book,
        op: &Op,
        workload: Option<&Workload>,
    ) -> Result<Option<Running>> {
        match &op.change {
            Change::Place(release) => self.place(operator, book, op, release, workload).await.map(Some),
            Change::Remove => Ok(None),
            Change::Start | Change::Stop | Change::Restart => operator.powered(book, op).await.map(Some),
        }
    }

    async fn place(
        &self,
        operator: &Operator<'_>,
        book: &mut Book,
        op: &Op,
        release: &ReleaseRef,
        workload: Option<&Workload>,
    ) -> Result<Running> {
        let version = &release.version;
        let workload = workload.ok_or_else(|| {
            Fault::new(Code::Usage, format!("Version {version} can't be placed without its release."))
        })?;
        if workload.release != *release {
            return Err(Fault::new(Code::Usage, "The operation and the release do not fit together."));
        }
        let content = self.content(operator, book, workload).await?;
        let objects = self.objects_of(operator, op, release, &content).await?;
        operator.rehearse(&objects, version, book.ledger.token_at(op.epoch)).await?;
        operator.placed(book, op, release, content).await
    }

    async fn objects_of(
        &self,
        operator: &Operator<'_>,
        op: &Op,
        release: &ReleaseRef,
        content: &Content,
    ) -> Result<Vec<Value>> {
        let mut running = Running {
            release: release.clone(),
            revision: 0,
            op: op.id.clone(),
            since: self.options.clock.now(),
            stopped: false,
            restarted: None,
        };
        match content {
            Content::Kept(number) => {
                running.revision = *number;
                operator.objects_of(Some(&running)).await
            }
            Content::New(new) => Ok(new.objects(operator.names, &running, operator.split.as_ref())),
        }
    }

    /// What ran before an operation.
    async fn before(
        &self,
        operator: &Operator<'_>,
        book: &mut Book,
        op: &Op,
        workload: Option<&Workload>,
    ) -> Result<Option<Running>> {
        let running = book.ledger.running.clone();
        match (&op.change, running, &op.before) {
            (Change::Start, Some(running), _) => Ok(Some(Running { stopped: true, ..running })),
            (Change::Stop, Some(running), _) => Ok(Some(Running { stopped: false, ..running })),
            (Change::Restart, Some(running), _) => Ok(Some(running)),
            (_, _, None) => Ok(None),
            (_, _, Some(release)) => {
                let kept = book.ledger.latest(|kept| kept.runs_like(release)).map(|kept| kept.number);
                let content = match (kept, workload) {
                    (Some(number), _) => Content::Kept(number),
                    (None, Some(workload)) => self.content(operator, book, workload).await?,
                    (None, None) => return Err(keep::lost(release)),
                };
                operator.placed(book, op, release, content).await.map(Some)
            }
        }
    }

    /// How the unit would change.
    async fn preview_of(&self, track: Option<Track>, workload: &Workload) -> Result<Vec<String>> {
        let operator = self.operator(track).await?;
        let book = self.book(track).await?;
        let release = &workload.release;
        let op = Op {
            id: "preview".to_owned(),
            epoch: book.ledger.epoch,
            unit: track.map_or(UNIT, Track::unit).to_owned(),
            change: Change::Place(release.clone()),
            before: None,
        };
        let content = self.content(&operator, &book, workload).await?;
        let objects = self.objects_of(&operator, &op, release, &content).await?;
        let made = operator.rehearse(&objects, &release.version, book.ledger.token()).await?;
        let mut lines = Vec::new();
        let mut kept = Vec::new();
        for (object, after) in objects.iter().zip(&made) {
            let Some(id) = ObjectId::of(object) else { continue };
            let live = operator.live(&id).await?;
            lines.extend(diff::lines(&id, live.as_ref(), after));
            kept.push(id);
        }
        let gone = operator.ids_of(book.ledger.running.as_ref()).await?;
        lines.extend(gone.iter().filter(|id| !kept.contains(id)).map(|id| format!("- {id}")));
        Ok(lines)
    }
}

#[async_trait]
impl Target for KubernetesTarget {
    fn describe(&self) -> BackendInfo {
        let spec = &self.options.spec;
        let context = spec.context.as_deref().unwrap_or("the current context");
        let namespace =
            spec.namespace.as_deref().map_or_else(String::new, |namespace| format!(", namespace {namespace}"));
        BackendInfo { kind: "kubernetes", location: format!("{context}{namespace}"), shared: true }
    }

    fn capabilities(&self) -> Capabilities {
        let always = [Capability::Fence, Capability::Observe, Capability::StartStop, Capability::Logs];
        let weights = self.options.spec.traffic.as_ref().map(|_| Capability::Weights);
        Capabilities::of(always.into_iter().chain(weights))
    }

    async fn inventory(&self) -> Result<Inventory> {
        let mut inventory = Inventory { url: self.options.url.clone(), ..Inventory::default() };
        for track in self.tracks() {
            let operator = self.operator(*track).await?;
            let book = self.book(*track).await?;
            inventory.epoch = inventory.epoch.max(book.ledger.epoch);
            if let Some(running) = &book.ledger.running {
                inventory.units.push(unit::state(&operator, running).await?);
            }
        }
        Ok(inventory)
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        if self.options.spec.traffic.is_none() {
            return self.operator(None).await?.fence(epoch).await;
        }
        let moving = self.raise_shares(epoch).await?;
        for track in self.tracks() {
            self.operator(*track).await?.fence(epoch).await?;
        }
        if moving { self.shut_out_of_shares().await } else { Ok(()) }
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        let book = self.book(self.track(&op.unit)?).await?;
        if book.ledger.is_applied(op)? {
            return Ok(Observed::Applied);
        }
        Ok(match &book.ledger.pending {
            Some(pending) if pending.op == op.id => {
                Observed::Unknown { reason: format!("The operation {} is under way in the cluster.", op.id) }
            }
            _ => Observed::NotApplied,
        })
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let track = self.track(&op.unit)?;
        let attempt = self.attempt(&op.unit)?;
        let operator = self.operator(track).await?;
        let mut book = self.book(track).await?;
        book.check_epoch(op.epoch)?;
        operator.recover(&mut book, op).await?;
        if book.ledger.is_applied(op)? {
            return Ok(());
        }
        let after = self.after(&operator, &mut book, op, workload).await?;
        let changed = operator.change(&mut book, op, after).await;
        drop(attempt);
        changed
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let track = self.track(&op.unit)?;
        let attempt = self.attempt(&op.unit)?;
        let operator = self.operator(track).await?;
        let mut book = self.book(track).await?;
        book.check_epoch(op.epoch)?;
        operator.recover(&mut book, op).await?;
        let runs = book.ledger.running.as_ref().map(|running| &running.release);
        if !book.ledger.is_applied(op)? && runs == op.before.as_ref() {
            return Ok(());
        }
        let before = self.before(&operator, &mut book, op, workload).await?;
        let changed = operator.change_back(&mut book, op, before).await;
        drop(attempt);
        changed
    }

    async fn objects(&self, version: &str) -> Result<Vec<Digest>> {
        Ok(vec![manifests::digest(&self.render(version).await?)])
    }

    async fn images(&self, version: &str) -> Result<BTreeMap<String, String>> {
        let Some(registries) = &self.options.registries else { return Ok(BTreeMap::new()) };
        if !self.options.spec.pin_images.unwrap_or(true) {
            return Ok(BTreeMap::new());
        }
        // A kubeconfig that can't be used is said first: it is nearer than a registry.
        self.cluster().await?;
        let objects = match self.rendered(version) {
            Some(objects) => objects,
            None => self.render(version).await?,
        };
        registries.digests(images::named(&objects)?).await
    }

    async fn preview(&self, workload: &Workload) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for track in self.tracks() {
            lines.extend(self.preview_of(*track, workload).await?);
        }
        if lines.len() > diff::LINES_MAX {
            let more = lines.len() - diff::LINES_MAX;
            lines.truncate(diff::LINES_MAX);
            lines.push(format!("… and {more} more"));
        }
        Ok(lines)
    }
}

#[async_trait]
impl LogSource for KubernetesTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let chosen = unit.map(|unit| self.track(unit)).transpose()?;
        let mut places = Vec::new();
        for track in self.tracks().iter().filter(|track| chosen.is_none_or(|chosen| chosen == **track)) {
            let operator = self.operator(*track).await?;
            let running = self.book(*track).await?.ledger.running;
            let name = track.map_or(UNIT, Track::unit);
            if running.is_none() && unit.is_some() {
                return Err(Fault::new(Code::UnknownName, format!("There is no unit {name:?}."))
                    .hint("Nothing is deployed here."));
            }
            let ids = operator.ids_of(running.as_ref()).await?;
            places.extend(logs::places(operator.cluster, name, &ids).await?);
        }
        logs::tell(self.cluster().await?, &places, lines, follow, sink).await
    }
}
