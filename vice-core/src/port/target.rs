//! Where releases run. A [`Target`] changes units one operation at a time, under an epoch, and can say afterwards
//! what an operation did. [`Traffic`] is a trait of its own; a backend may be both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::{BackendInfo, Capabilities};
use crate::digest::Digest;
use crate::fault::Result;
use crate::manifest::ReloadSignal;
use crate::payload::ReleaseRef;
use crate::port::command::EnvValue;
use crate::time::Millis;

/// Everything a target needs to run a release. Holds secrets: never stored in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub release: ReleaseRef,
    /// The unpacked artifact; none when the command needs no files.
    pub files: Option<PathBuf>,
    /// The command; `{{port}}` is filled in by the target for each unit.
    pub command: Vec<String>,
    /// The configuration as environment variables.
    pub environment: BTreeMap<String, EnvValue>,
    /// What the target makes of the release by itself, such as rendered manifests; see [`Target::objects`].
    pub objects: Vec<Digest>,
    /// The digest that each image has which the target's own files name by a tag; see [`Target::images`].
    pub images: BTreeMap<String, String>,
    /// How to tell that an instance is healthy.
    pub health: Option<HealthProbe>,
    /// How long a new instance may take to become healthy.
    pub ready_timeout: Millis,
    /// How long requests under way may take before an old instance is stopped.
    pub drain_timeout: Millis,
    /// How long an instance may take to end after SIGTERM before SIGKILL.
    pub stop_timeout: Millis,
    /// How a running instance takes up another configuration; it is replaced when none.
    pub reload: Option<Reload>,
}

/// How an instance takes up another configuration while it runs. It finds all values in the file that `VICE_CONFIG_FILE`
/// names: a JSON object of its variables, replaced in one step before it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reload {
    /// How it is told.
    pub by: ReloadBy,
    /// A path that answers with a text in which the release's full name stands once the configuration is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// How an instance is told that its configuration is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadBy {
    /// By a signal to its first process.
    Signal(ReloadSignal),
    /// By a POST of the same document to this path; it answers 2xx when it has taken it up.
    Http(String),
    /// Not at all: it looks at the file by itself.
    File,
}

/// How to tell that an instance is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProbe {
    /// The path that must answer 2xx; none: the port must accept connections.
    pub path: Option<String>,
    /// How often it is asked.
    pub interval: Millis,
    /// How long one answer may take.
    pub timeout: Millis,
    /// So many good answers in a row make it healthy.
    pub healthy_after: u32,
    /// So many bad answers in a row make it unhealthy.
    pub unhealthy_after: u32,
}

/// What an operation changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The unit shall run this release, whether it runs another or none.
    Place(ReleaseRef),
    /// The unit shall not exist any more.
    Remove,
    /// The unit shall run what it has.
    Start,
    /// The unit shall stop and keep what it has.
    Stop,
    /// The unit shall stop and start again.
    Restart,
}

/// One operation on one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Stable: the same on every repeat. The target remembers it.
    pub id: String,
    /// The epoch of the caller.
    pub epoch: u64,
    /// The unit, such as `1`.
    pub unit: String,
    /// What to do.
    pub change: Change,
    /// What the unit ran before; what undo restores.
    pub before: Option<ReleaseRef>,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// It was carried out.
    Applied,
    /// It was not carried out, and will not be by anybody else.
    NotApplied,
    /// The target can't tell.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// How a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitHealth {
    /// It answers as it should.
    Healthy,
    /// It answers wrongly or not at all.
    Unhealthy,
    /// It is starting.
    Starting,
    /// It crashed and waits before it is started again.
    Crashed,
    /// It is stopped on purpose.
    Stopped,
    /// Nobody looked, or nothing tells.
    Unknown,
}

/// The fact of a unit that has another configuration in use than it was given, where a target can tell: in which way.
pub const CONFIG_FACT: &str = "configuration";

/// The fact of a unit that can't be asked, with what is wrong. Such a unit has no release and unknown health.
pub const UNREACHABLE: &str = "unreachable";

/// One unit as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub release: Option<ReleaseRef>,
    /// How it is.
    pub health: UnitHealth,
    /// Since when it runs.
    pub since: Option<Timestamp>,
    /// How often it was started again after a crash.
    pub restarts: u32,
    /// Where this unit alone answers, where that is possible: checks of a half-done rollout ask it instead of the
    /// front end, which would mix old and new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Facts for people, such as pid and port.
    pub facts: BTreeMap<String, String>,
}

/// What is on a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The units by name.
    pub units: Vec<UnitState>,
    /// Where the service answers, where that is known.
    pub url: Option<String>,
    /// Where its counters can be scraped, where they are exposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The highest epoch that the target has seen.
    pub epoch: u64,
}

/// Where releases run.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// What and where it is.
    fn describe(&self) -> BackendInfo;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What is there. Must not change anything, nor start anything.
    ///
    /// # Errors
    /// `Unreachable` when nothing answers.
    async fn inventory(&self) -> Result<Inventory>;

    /// Where the service answers, as [`Inventory::url`] has it; for whoever wants to know nothing else.
    ///
    /// # Errors
    /// As [`Target::inventory`].
    async fn url(&self) -> Result<Option<String>> {
        Ok(self.inventory().await?.url)
    }

    /// Raises the epoch: from now on lower ones are refused. Waits for, or shuts out, operations under way.
    ///
    /// # Errors
    /// `Fenced` when the target has seen a higher epoch.
    async fn fence(&self, epoch: u64) -> Result<()>;

    /// As [`Target::fence`] with the epoch of an operation, where its unit is: others need not hear of it again. It comes
    /// before [`Target::observe`] where one operation alone was not answered.
    ///
    /// # Errors
    /// As `fence`.
    async fn fence_unit(&self, op: &Op) -> Result<()> {
        self.fence(op.epoch).await
    }

    /// What became of an operation. Only meaningful after `fence`.
    ///
    /// # Errors
    /// `Fenced`, `Unreachable`.
    async fn observe(&self, op: &Op) -> Result<Observed>;

    /// Carries out an operation; a repeat of one that was applied does nothing and succeeds. Returns when the unit
    /// is as wanted and healthy. When it fails, the unit is as before the operation.
    ///
    /// # Errors
    /// `Fenced`; `Unhealthy`, `PortInUse` and the like when the unit can't be brought there.
    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()>;

    /// As [`Target::apply`], with the release that the unit has: for targets that bring it back themselves when the new
    /// one fails, and do not keep it on the unit.
    ///
    /// # Errors
    /// As `apply`.
    async fn apply_over(&self, op: &Op, workload: Option<&Workload>, _earlier: Option<&Workload>) -> Result<()> {
        self.apply(op, workload).await
    }

    /// Takes an operation back: the unit runs again what it ran before. `workload` is that earlier release.
    ///
    /// # Errors
    /// As `apply`.
    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()>;

    /// What the target makes of a version from files of its own, by digest. It belongs to the release as the command
    /// does. Nothing for targets that only run what they are given.
    ///
    /// # Errors
    /// When the files can't be read or make no sense.
    async fn objects(&self, _version: &str) -> Result<Vec<Digest>> {
        Ok(Vec::new())
    }

    /// The digests that the images have now which [`Target::objects`] names by a tag, by the name as it is written. They
    /// belong to the release: what a tag points at later changes nothing about it.
    ///
    /// # Errors
    /// When a registry can't be asked, or does not have an image.
    async fn images(&self, _version: &str) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    /// What placing this release would change, one line each, for people; nothing where the target can't tell
    /// beforehand. Must not change anything.
    ///
    /// # Errors
    /// When the target refuses the release, or can't be asked.
    async fn preview(&self, _workload: &Workload) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// One line of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// The unit.
    pub unit: String,
    /// The text, without line end; masked by the caller.
    pub text: String,
}

/// Output of instances.
#[async_trait]
pub trait LogSource: Send + Sync + 'static {
    /// The last `lines` lines of each unit (or of one), then, with `follow`, new ones until the receiver is dropped.
    ///
    /// # Errors
    /// `UnknownName` for a unit that does not exist.
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()>;
}

/// The share of traffic that a version gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// The version.
    pub version: String,
    /// Its share in basis points; all together are 10,000.
    pub basis_points: u32,
}

/// The weights in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightTable {
    /// The epoch of whoever set them.
    pub epoch: u64,
    /// One entry a version; a version that is not listed gets nothing.
    pub weights: Vec<Weight>,
}

/// Something that splits traffic.
#[async_trait]
pub trait Traffic: Send + Sync + 'static {
    /// The weights in force.
    ///
    /// # Errors
    /// `Unreachable`.
    async fn table(&self) -> Result<WeightTable>;

    /// Sets the whole table.
    ///
    /// # Errors
    /// `Fenced` for a lower epoch, `Usage` when the weights do not add up or name an unknown version.
    async fn set_weights(&self, table: &WeightTable) -> Result<()>;

    /// Refuses a share that could not be brought into force, before anything is begun; one in basis points of a version
    /// that is to be placed beside what runs.
    ///
    /// # Errors
    /// `Usage`, with the shares that could be.
    async fn check_share(&self, _basis_points: u32) -> Result<()> {
        Ok(())
    }

    /// Sends no new requests to a unit and waits for those under way; gives how many were left at the deadline.
    ///
    /// # Errors
    /// `Fenced`, `UnknownName`.
    async fn drain(&self, unit: &str, epoch: u64, at_most: Millis) -> Result<usize>;
}
