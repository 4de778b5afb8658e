//! The Ansible target: the user's own playbook, unchanged, on the hosts that the engine says, one wave after another.
//!
//! One run of `ansible-playbook` serves all hosts that are to be changed at the same time. Around the user's playbook it
//! has two plays of vice's own, which keep on each host what is needed when this process or a link dies: the highest
//! epoch, the operation under way, and what was carried out (`mark.sh`). This side writes variables, starts runs, and turns
//! what they said into answers. It keeps no state of its own, and never decides what a playbook does.

mod batch;
mod event;
mod operate;
mod play;
mod report;
mod run;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::id::Scope;
use vice_core::port::target::{Change, Inventory, LogLine, LogSource, Observed, Op, Target, Workload};
use vice_core::text::sanitize;
use vice_core::{Code, Context, Digest, Fault, Millis, Result};

use super::hosts::Host;
use batch::{Batcher, Job, Kind};
use operate::Operator;

/// How long a playbook may take when `vice.toml` does not say.
pub const TIMEOUT: Millis = Millis::from_secs(15 * 60);

/// How long a question to all hosts may take.
const QUESTION: Duration = Duration::from_secs(180);

/// The largest playbook of which the digest is taken.
const PLAYBOOK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What an Ansible target is made from. Paths are absolute.
#[derive(Debug, Clone)]
pub struct AnsibleOptions {
    /// What it is the target of.
    pub scope: Scope,
    /// The folder of `vice.toml`.
    pub root: PathBuf,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The inventory.
    pub inventory: PathBuf,
    /// The playbook that brings a release to a host.
    pub playbook: PathBuf,
    /// The playbook that goes back to an earlier release; the same when absent.
    pub rollback: Option<PathBuf>,
    /// The playbook that removes what is on a host.
    pub remove: Option<PathBuf>,
    /// The configuration of Ansible.
    pub config: Option<PathBuf>,
    /// Whether notes on hosts are taken as root.
    pub become_root: bool,
    /// The configuration key with the password of encrypted files.
    pub vault: Option<String>,
    /// Whether the playbook may run again where a run has broken off.
    pub again: bool,
    /// So many hosts at the same time; what Ansible's configuration says when absent.
    pub forks: Option<u32>,
    /// How long a playbook may take.
    pub timeout: Millis,
    /// The folder on hosts for vice's notes; may begin with `~/`.
    pub path: String,
    /// The port at which units answer.
    pub port: Option<u16>,
    /// The command that shows a unit's output.
    pub logs: Vec<String>,
    /// Where private folders of runs are made.
    pub work: PathBuf,
    /// The environment of the process.
    pub env: Arc<ProcessEnv>,
}

/// Hosts under playbooks. Making one connects to nothing.
pub struct AnsibleTarget {
    operator: Arc<Operator>,
    batcher: Batcher,
}

impl AnsibleTarget {
    /// The target on those hosts.
    #[must_use]
    pub fn new(options: AnsibleOptions) -> Self {
        let operator = Arc::new(Operator::new(options));
        let worker = Arc::clone(&operator);
        let batcher = Batcher::new(Arc::new(move |jobs| {
            let worker = Arc::clone(&worker);
            async move { worker.carry_out(&jobs).await }.boxed()
        }));
        Self { operator, batcher }
    }

    fn options(&self) -> &AnsibleOptions {
        self.operator.options()
    }

    fn check_unit(&self, unit: &str) -> Result<()> {
        if self.operator.host(unit).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = self.options().hosts.iter().take(5).map(|host| host.name.as_str()).collect();
        Err(Fault::new(Code::UnknownName, format!("The unit {unit:?} is no host of the inventory."))
            .hint(format!("Units are named after hosts, such as {}.", names.join(", "))))
    }

    async fn submit(&self, job: Job) -> Result<Observed> {
        self.check_unit(&job.op.unit)?;
        self.batcher.submit(job).await
    }
}

/// The workload has to be of the release that is wanted.
fn fitting(op: &Op, workload: Option<&Workload>) -> Result<Option<Arc<Workload>>> {
    match (&op.change, workload) {
        (Change::Remove, _) => Ok(None),
        (Change::Place(release), Some(workload)) if workload.release == *release => {
            Ok(Some(Arc::new(workload.clone())))
        }
        (Change::Place(release), _) => {
            let message = format!("Version {} can't be placed without its release.", release.version);
            Err(Fault::new(Code::Usage, message))
        }
        _ => Err(Fault::unsupported("ansible", "starting and stopping units")
            .hint("A playbook of your own does that: ansible-playbook -i INVENTORY stop.yml.")),
    }
}

#[async_trait]
impl Target for AnsibleTarget {
    fn describe(&self) -> BackendInfo {
        let options = self.options();
        let names: Vec<&str> = options.hosts.iter().take(3).map(|host| host.name.as_str()).collect();
        let more = options.hosts.len().saturating_sub(names.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let location = format!("{} on {}{more}", options.playbook.display(), names.join(", "));
        BackendInfo { kind: "ansible", location, shared: true }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Fence, Logs, Observe};
        let logs = (!self.options().logs.is_empty()).then_some(Logs);
        Capabilities::of([Fence, Observe].into_iter().chain(logs))
    }

    /// Hosts that do not answer are in it with what is wrong; only when none answers is that an error.
    async fn inventory(&self) -> Result<Inventory> {
        self.operator.inventory().await
    }

    /// Every host is told. One that does not answer is told by whoever observes an operation on it later.
    async fn fence(&self, epoch: u64) -> Result<()> {
        self.operator.fence(epoch).await
    }

    /// Observing raises the epoch on the host.
    async fn fence_unit(&self, _: &Op) -> Result<()> {
        Ok(())
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        self.submit(Job { kind: Kind::Observe, op: op.clone(), workload: None, earlier: None }).await
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        self.apply_over(op, workload, None).await
    }

    async fn apply_over(&self, op: &Op, workload: Option<&Workload>, earlier: Option<&Workload>) -> Result<()> {
        let workload = fitting(op, workload)?;
        let earlier = self.operator.earlier(op, earlier);
        let job = Job { kind: Kind::Apply, op: op.clone(), workload, earlier };
        self.submit(job).await.map(|_| ())
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let workload = self.operator.earlier(op, workload);
        if let (None, Some(before)) = (&workload, &op.before) {
            let message = format!("Version {} can't be brought back without its release.", before.version);
            return Err(Fault::new(Code::Usage, message).hint("Deploy the version to go back to."));
        }
        let job = Job { kind: Kind::Undo, op: op.clone(), workload, earlier: None };
        self.submit(job).await.map(|_| ())
    }

    /// The playbook belongs to the release: with another one, the same version is another release.
    async fn objects(&self, _version: &str) -> Result<Vec<Digest>> {
        let path = &self.options().playbook;
        let unread = || format!("The playbook {} can't be read.", path.display());
        let size = std::fs::metadata(path).context(Code::ManifestInvalid, unread)?.len();
        if size > PLAYBOOK_BYTES_MAX {
            return Err(Fault::new(
                Code::ManifestInvalid,
                format!("The playbook {} has more than 16 MB.", path.display()),
            ));
        }
        let bytes = std::fs::read(path).context(Code::ManifestInvalid, unread)?;
        Ok(vec![Digest::of(&bytes)])
    }

    async fn preview(&self, workload: &Workload) -> Result<Vec<String>> {
        self.operator.preview(workload).await
    }
}

#[async_trait]
impl LogSource for AnsibleTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        if self.options().logs.is_empty() {
            return Err(Fault::unsupported("ansible", "showing output")
                .hint("Add the command that shows it on a host: logs = [\"journalctl\", \"-u\", \"shop\", \"-n\", \"{{lines}}\"]."));
        }
        if follow {
            return Err(Fault::unsupported("ansible", "following output").hint("Ask without --follow."));
        }
        if let Some(unit) = unit {
            self.check_unit(unit)?;
        }
        for (unit, text) in self.operator.logs(unit, lines).await? {
            let from = text.lines().count().saturating_sub(lines);
            for line in text.lines().skip(from) {
                if !sink(LogLine { unit: unit.clone(), text: sanitize(line) }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
