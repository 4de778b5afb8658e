//! The ssh target: instances on hosts that are reached over the user's own ssh.
//!
//! What is to be safe when this process or the link dies is done on the host, by the script `host.sh`: it refuses lower
//! epochs, does one operation at a time, marks each that was carried out, and brings back what ran when one breaks off.
//! This side connects, uploads what a host does not have, and turns answers into faults. It keeps no state of its own.

mod keep;
mod link;
mod master;
mod output;
mod package;
mod report;
mod share;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::{Mutex, OnceCell, Semaphore};
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::manifest::{HealthAt, RunBy};
use vice_core::payload::ReleaseRef;
use vice_core::port::notifier::Severity;
use vice_core::port::target::{Change, Inventory, Observed, Op, Target, Workload};
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::ui::Ui;
use vice_core::{Code, Context, Fault, Millis, Result};

use super::hosts::{self, Host};
use super::local::masker;
use super::naming;
use link::{Call, Input, Link};
use master::Dialling;
use package::{Bundle, Files, Manner, Sums};
use share::{Seed, Shares};
use trouble::{Said, status};

pub use share::Sharing;

/// What an operation may take beside its own timeouts: another one that has to be waited for, and slow disks.
const MARGIN: Duration = Duration::from_secs(200);

/// How long an operation may take of which no timeouts are known here: the host goes by those that it has stored.
const OPERATION: Duration = Duration::from_secs(900);

/// So many hosts are asked at a time for where the service answers: one that does not answer holds nothing up.
const ASKED_FOR_URL: usize = 2;

/// What an ssh target is made from.
#[derive(Clone)]
pub struct SshOptions {
    /// What it is the target of.
    pub scope: Scope,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// How many instances each host has.
    pub instances: u32,
    /// The folder on the hosts; may begin with `~/`.
    pub root: String,
    /// A configuration file of ssh to use instead of the user's.
    pub config: Option<PathBuf>,
    /// Who looks after the instances.
    pub run: RunBy,
    /// The folder that a supervisor scans.
    pub services: String,
    /// Where instances are asked for their health.
    pub health_at: HealthAt,
    /// The port of the first instance on each host; the next ones count on from it.
    pub port: Option<u16>,
    /// How many hosts are asked at the same time.
    pub concurrency: usize,
    /// How long connecting may take.
    pub connect_timeout: Millis,
    /// A folder for archives that are on their way.
    pub work: PathBuf,
    /// The environment of the process.
    pub env: Arc<ProcessEnv>,
    /// Who fetches artifacts from whom; nobody when absent.
    pub sharing: Option<Sharing>,
    /// Who is told what went otherwise than it was meant.
    pub ui: Option<Arc<dyn Ui>>,
}

/// Archives by the release folder that they become.
type Bundles = Mutex<BTreeMap<String, Arc<OnceCell<Arc<Bundle>>>>>;

/// Instances on hosts. Making one connects to nothing.
pub struct SshTarget {
    options: SshOptions,
    dialling: Dialling,
    links: BTreeMap<String, Link>,
    bundles: Bundles,
    shares: Option<Shares>,
    /// Held while an archive is on its way from here: each has a part of the line, and none should be late for that.
    sends: Semaphore,
    sent: AtomicU64,
}

impl SshTarget {
    /// The target on those hosts.
    #[must_use]
    pub fn new(options: SshOptions) -> Self {
        let dialling = Dialling {
            dir: master::control_dir(&options.env),
            config: options.config.clone(),
            connect_timeout: options.connect_timeout,
            turns: Arc::new(Semaphore::new(options.concurrency.max(1))),
        };
        let links = options.hosts.iter().map(|host| (host.name.clone(), Link::new(host.clone()))).collect();
        let shares = options.sharing.clone().map(Shares::new);
        let sends = Semaphore::new(options.concurrency.max(1));
        Self { options, dialling, links, bundles: Mutex::default(), shares, sends, sent: AtomicU64::new(0) }
    }

    /// How many bytes of archives went to hosts from here.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn link(&self, unit: &str) -> Result<(&Link, u32)> {
        let found = self.links.get(unit).map(|link| (link, 1)).or_else(|| {
            let (host, number) = hosts::numbered(unit)?;
            self.links.get(host).map(|link| (link, number))
        });
        found.ok_or_else(|| {
            let names: Vec<&str> = self.options.hosts.iter().take(5).map(|host| host.name.as_str()).collect();
            Fault::new(Code::UnknownName, format!("The unit {unit:?} is on none of the hosts."))
                .hint(format!("Units are named after hosts, such as {}.", names.join(", ")))
        })
    }

    async fn call(&self, link: &Link, call: &Call<'_>) -> Result<Said> {
        link.call(&self.dialling, &self.options.root, call).await
    }

    /// The hosts in their order.
    fn all(&self) -> impl Iterator<Item = &Link> {
        self.options.hosts.iter().filter_map(|host| self.links.get(&host.name))
    }

    /// Does something on every host, so many at a time, and gives the answers in the order of the hosts.
    async fn everywhere<'a, T: Send>(&'a self, each: impl Fn(&'a Link) -> BoxFuture<'a, T>) -> Vec<T> {
        let calls: Vec<BoxFuture<'a, T>> = self.all().map(each).collect();
        stream::iter(calls).buffered(self.options.concurrency.max(1)).collect().await
    }

    fn port(&self, number: u32) -> Option<u16> {
        let above = u16::try_from(number.saturating_sub(1)).ok()?;
        self.options.port.and_then(|port| port.checked_add(above))
    }

    /// The archive of a release's files, made once, and the name of the folder that it becomes.
    async fn bundle(&self, workload: &Workload) -> Result<Option<(String, Arc<Bundle>)>> {
        let Some(files) = workload.files.clone() else { return Ok(None) };
        let key = workload.release.artifact.map_or_else(|| files.display().to_string(), |digest| digest.to_string());
        let cell = Arc::clone(self.bundles.lock().await.entry(key).or_default());
        let work = self.options.work.clone();
        let made = cell.get_or_try_init(|| async {
            let packed = tokio::task::spawn_blocking(move || package::bundle(&files, &work)).await;
            packed.context(Code::Internal, || "Packing broke down.".to_owned())?.map(Arc::new)
        });
        let bundle = Arc::clone(made.await?);
        let name = workload.release.artifact.map_or_else(|| bundle.sums.sha256.clone(), |digest| digest.to_string());
        Ok(Some((name, bundle)))
    }

    /// The name of the release folder, without packing anything where the digest is known.
    async fn artifact(&self, workload: &Workload) -> Result<Option<String>> {
        match (&workload.files, workload.release.artifact) {
            (None, _) => Ok(None),
            (Some(_), Some(digest)) => Ok(Some(digest.to_string())),
            (Some(_), None) => Ok(self.bundle(workload).await?.map(|(name, _)| name)),
        }
    }

    /// Brings an artifact to a host, from a host near it or from here.
    async fn upload(&self, link: &Link, workload: &Workload) -> Result<()> {
        let Some((name, bundle)) = self.bundle(workload).await? else {
            return Err(Fault::internal("A host asked for an artifact that the release does not have."));
        };
        let _one = link.uploads.lock().await;
        if self.fetched(link, &name, &bundle).await? {
            return Ok(());
        }
        self.send(link, &name, &bundle, false).await.map(drop)
    }

    /// Sends an archive from here. A host that `keeps` it says where others find it.
    async fn send(&self, link: &Link, name: &str, bundle: &Bundle, keeps: bool) -> Result<String> {
        // It is never closed.
        let _turn = self.sends.acquire().await;
        let path = bundle.file.path().to_path_buf();
        let Sums { cksum, bytes, ref sha256 } = bundle.sums;
        let mut args = vec![name.to_owned(), cksum.to_string(), bytes.to_string(), sha256.clone()];
        args.extend(keeps.then(|| "keep".to_owned()));
        let call = Call { command: "put", args, input: Input::File(path), limit: Call::upload_limit(bytes) };
        let said = self.call(link, &call).await?;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        if said.status == 0 {
            return Ok(said.stdout);
        }
        Err(trouble::refused(&link.host, None, "", &said, &Masker::default()))
    }

    /// Whether a host has fetched an artifact from one near it, or is now the one that others fetch it from.
    ///
    /// # Errors
    /// What sending it says. That a host can't fetch is no error.
    async fn fetched(&self, link: &Link, name: &str, bundle: &Bundle) -> Result<bool> {
        let host = link.host.name.as_str();
        let near = self.shares.as_ref().and_then(|shares| Some((shares, shares.of(host)?)));
        let Some((shares, domain)) = near.filter(|(_, domain)| domain.tries()) else { return Ok(false) };
        let (cell, own) = (domain.seed(name).await, AtomicBool::new(false));
        let found = cell.get_or_try_init(|| async {
            own.store(true, Ordering::Relaxed);
            let said = self.send(link, name, bundle, true).await.map_err(Some)?;
            Seed::parse(host, &said).ok_or(None)
        });
        let seed = match found.await {
            Ok(seed) => seed,
            Err(Some(fault)) => return Err(fault),
            Err(None) => {
                self.could_not(domain, &format!("{host} has it and does not say how others reach it"));
                return Ok(true);
            }
        };
        if own.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let _turn = domain.turns.acquire().await;
        let args = seed.fetch(shares.ssh(), &link::script_name(), name, &bundle.sums.sha256);
        let limit = Call::upload_limit(bundle.sums.bytes);
        let call = Call { command: "fetch", args, input: Input::Nothing, limit };
        let said = self.call(link, &call).await?;
        if said.status != 0 {
            self.could_not(
                domain,
                &format!("{host} could not fetch it from {}: {}", seed.host, trouble::quoted(&said)),
            );
        }
        Ok(said.status == 0)
    }

    /// Tells the first time that an artifact has to be sent which a host should have fetched.
    fn could_not(&self, domain: &share::Domain, why: &str) {
        if let (true, Some(ui)) = (domain.failed(), &self.options.ui) {
            ui.say(Severity::Warning, &sanitize(&format!("An artifact is sent from here after all: {why}.")));
        }
    }

    async fn request(&self, unit: &str, number: u32, workload: &Workload) -> Result<Vec<u8>> {
        let files = self.artifact(workload).await?.map_or(Files::None, Files::Artifact);
        package::request(workload, &self.manner(unit, number, files))
    }

    fn manner<'a>(&'a self, unit: &'a str, number: u32, files: Files) -> Manner<'a> {
        Manner {
            scope: &self.options.scope,
            unit,
            port: self.port(number),
            run: self.options.run,
            services: &self.options.services,
            health_at: self.options.health_at,
            files,
        }
    }

    /// Carries out a change and sends what the host turns out not to have.
    async fn change(&self, change: &Errand<'_>) -> Result<()> {
        let (link, number) = self.link(&change.op.unit)?;
        let request = match change.workload {
            Some(workload) if change.sends => self.request(&change.op.unit, number, workload).await?,
            _ => Vec::new(),
        };
        let call =
            Call { command: change.command, args: change.args(), input: Input::Bytes(&request), limit: change.limit() };
        // What is known to be missing is sent first; what turns out to be, afterwards.
        if let Some(workload) = change.workload.filter(|_| change.sends)
            && let Some(artifact) = self.artifact(workload).await?
            && link.lacks(&artifact)
        {
            self.upload(link, workload).await?;
        }
        let mut said = self.call(link, &call).await?;
        if let (status::NEEDS_ARTIFACT, Some(workload)) = (said.status, change.workload) {
            self.upload(link, workload).await?;
            said = self.call(link, &call).await?;
        }
        if said.status == 0 {
            return Ok(());
        }
        let masker = change.workload.map(masker).unwrap_or_default();
        Err(trouble::refused(&link.host, Some(change.op), change.version(), &said, &masker)
            .detail("status", said.status))
    }

    async fn fence_one(&self, link: &Link, epoch: u64) -> Result<()> {
        let said = self.call(link, &Call::short("fence", vec![epoch.to_string()])).await?;
        match said.status {
            0 => Ok(()),
            status::FENCED => {
                let (host, seen) = (&link.host.name, said.stdout.trim());
                let message = format!("The host {host} has seen epoch {seen} and refuses {epoch}.");
                Err(Fault::new(Code::Fenced, message).detail("host", host.clone()))
            }
            _ => Err(trouble::refused(&link.host, None, "", &said, &Masker::default())),
        }
    }

    async fn report(&self, link: &Link) -> Result<report::Report> {
        let call = Call::short("list", Vec::new());
        match link.look(&self.dialling, &self.options.root, &call).await? {
            None => {
                link.has(BTreeSet::new());
                Ok(report::Report::default())
            }
            Some(said) if said.status == 0 => {
                let report = report::parse(&link.host, &said.stdout)?;
                link.has(report.artifacts.clone());
                Ok(report)
            }
            Some(said) => Err(trouble::refused(&link.host, None, "", &said, &Masker::default())),
        }
    }

    /// The units that a host should have.
    fn units_of(&self, host: &Host) -> Vec<String> {
        hosts::units(std::slice::from_ref(host), self.options.instances).into_iter().map(|unit| unit.name).collect()
    }
}

/// One change of a unit, there or back.
struct Errand<'a> {
    command: &'a str,
    op: &'a Op,
    /// The release that the unit gets, where it gets one.
    release: Option<&'a ReleaseRef>,
    workload: Option<&'a Workload>,
    /// Whether the release is sent along.
    sends: bool,
}

impl Errand<'_> {
    fn args(&self) -> Vec<String> {
        let change = match &self.op.change {
            Change::Place(_) => "place",
            Change::Remove => "remove",
            Change::Start => "start",
            Change::Stop => "stop",
            Change::Restart => "restart",
        };
        let id = self.release.map_or_else(|| "-".to_owned(), naming::release_id);
        let sends = if self.sends { "with" } else { "without" };
        let op = self.op;
        [op.epoch.to_string(), op.unit.clone(), naming::op_key(&op.id), change.to_owned(), id, sends.to_owned()].into()
    }

    /// The new one starts and, when it does not get healthy, the old one again; each ends in its own time.
    fn limit(&self) -> Duration {
        let Some(workload) = self.workload else { return OPERATION };
        let ready = workload.ready_timeout.as_duration().saturating_mul(2);
        let stop = workload.stop_timeout.as_duration().saturating_mul(4);
        ready.saturating_add(stop).saturating_add(MARGIN)
    }

    fn version(&self) -> &str {
        self.release.map_or("?", |release| &release.version)
    }
}

/// The workload has to be of the release that is wanted.
fn fitting<'w>(release: &ReleaseRef, workload: Option<&'w Workload>) -> Result<&'w Workload> {
    match workload {
        None => {
            let message = format!("Version {} can't be placed without its release.", release.version);
            Err(Fault::new(Code::Usage, message))
        }
        Some(workload) if workload.release == *release => Ok(workload),
        Some(workload) => {
            let (wanted, given) = (release.label(), workload.release.label());
            Err(Fault::new(Code::Usage, format!("The operation wants {wanted} and was given {given}.")))
        }
    }
}

#[async_trait]
impl Target for SshTarget {
    fn describe(&self) -> BackendInfo {
        let names: Vec<&str> = self.options.hosts.iter().take(3).map(|host| host.name.as_str()).collect();
        let more = self.options.hosts.len().saturating_sub(names.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let location = format!("{}{more}: {}", names.join(", "), self.options.root);
        BackendInfo { kind: "ssh", location, shared: true }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Fence, Logs, Observe, StartStop};
        Capabilities::of([Fence, Observe, StartStop, Logs])
    }

    /// Hosts that do not answer have their units in it with what is wrong; only when none answers is that an error.
    async fn inventory(&self) -> Result<Inventory> {
        let reports = self.everywhere(|link| async move { (link.host.clone(), self.report(link).await) }.boxed()).await;
        let (mut inventory, mut lost, mut answered) = (Inventory::default(), None, false);
        for (host, report) in reports {
            match report {
                Ok(report) => {
                    answered = true;
                    inventory.epoch = inventory.epoch.max(report.epoch);
                    inventory.units.extend(report.units);
                }
                Err(fault) if fault.code() == Code::Unreachable => {
                    let why = fault.chain().join(" ");
                    let units = self.units_of(&host).into_iter();
                    inventory.units.extend(units.map(|unit| report::unreachable(&host, unit, &why)));
                    lost = lost.or(Some(fault));
                }
                Err(fault) => return Err(fault),
            }
        }
        match lost {
            Some(fault) if !answered => Err(fault),
            _ => {
                inventory.url = inventory.units.iter().find_map(|unit| unit.url.clone());
                Ok(inventory)
            }
        }
    }

    /// The first host that has an instance; nobody else is asked for it.
    async fn url(&self) -> Result<Option<String>> {
        let calls: Vec<BoxFuture<'_, _>> = self.all().map(|link| self.report(link).boxed()).collect();
        let mut reports = stream::iter(calls).buffered(ASKED_FOR_URL);
        let (mut lost, mut answered) = (None, false);
        while let Some(report) = reports.next().await {
            match report.map(|report| report.units.into_iter().find_map(|unit| unit.url)) {
                Ok(Some(url)) => return Ok(Some(url)),
                Ok(None) => answered = true,
                Err(fault) => lost = lost.or(Some(fault)),
            }
        }
        lost.filter(|_| !answered).map_or(Ok(None), Err)
    }

    /// Every host is asked. One that does not answer can't be told; whoever observes an operation on it later tells it
    /// then, before it says what became of the operation.
    async fn fence(&self, epoch: u64) -> Result<()> {
        let fenced = self.everywhere(|link| self.fence_one(link, epoch).boxed()).await;
        let answered = fenced.iter().any(Result::is_ok);
        let silent = |fault: &Fault| fault.code() == Code::Unreachable && answered;
        fenced.into_iter().filter(|one| !one.as_ref().is_err_and(silent)).collect()
    }

    /// Observing raises the epoch on the host and waits for the lock there, which is all of it.
    async fn fence_unit(&self, _: &Op) -> Result<()> {
        Ok(())
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        let (link, _) = self.link(&op.unit)?;
        let args = vec![op.epoch.to_string(), naming::op_key(&op.id)];
        let said = self.call(link, &Call::short("observe", args)).await?;
        match (said.status, said.stdout.trim()) {
            (0, "applied") => Ok(Observed::Applied),
            (0, "not-applied") => Ok(Observed::NotApplied),
            (status::BUSY, why) => Ok(Observed::Unknown { reason: format!("{why} on {}.", link.host.name) }),
            _ => Err(trouble::refused(&link.host, Some(op), "", &said, &Masker::default())),
        }
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let (release, workload) = match &op.change {
            Change::Place(release) => (Some(release), Some(fitting(release, workload)?)),
            _ => (None, None),
        };
        self.change(&Errand { command: "apply", op, release, workload, sends: workload.is_some() }).await
    }

    /// The host has what it ran before; only when it does not is the release sent.
    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let release = op.before.as_ref();
        let workload = match (release, workload) {
            (Some(release), Some(workload)) => Some(fitting(release, Some(workload))?),
            _ => None,
        };
        let back = |sends: bool| Errand { command: "undo", op, release, workload, sends };
        match self.change(&back(false)).await {
            Err(fault)
                if workload.is_some()
                    && fault.details().get("status").and_then(serde_json::Value::as_i64)
                        == Some(i64::from(status::NOT_STORED)) =>
            {
                self.change(&back(true)).await
            }
            undone => undone,
        }
    }
}
