//! What is known of the unit, in a ConfigMap that is replaced only by whoever has read its latest version: the epoch,
//! what runs, what is being done, and which operations were carried out. Holds no secrets.

use std::collections::VecDeque;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::Op;
use vice_core::{Code, Digest, Fault, Millis, Result};

use super::cluster::{Answer, Cluster, backend};
use super::names::Names;

/// The form of the ledger. A newer one is refused.
const FORMAT: u32 = 1;
/// How many operations are remembered. A rollout has a few for each unit, and there is one unit.
const MARKS_MAX: usize = 200;
/// How many releases can be brought back.
pub(super) const REVISIONS_MAX: usize = 10;

/// What the unit runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) release: ReleaseRef,
    /// Where its objects are kept.
    pub(super) revision: u32,
    /// The operation that brought it there.
    pub(super) op: String,
    pub(super) since: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopped: bool,
    /// The operation that last started it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restarted: Option<String>,
}

#[cfg(test)]
impl Default for Running {
    fn default() -> Self {
        let release =
            ReleaseRef { version: "1".into(), artifact: None, source: String::new(), config: None, recipe: None };
        Self { release, revision: 1, op: "op".into(), since: Timestamp::UNIX_EPOCH, stopped: false, restarted: None }
    }
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) op: String,
    pub(super) before: Option<Running>,
    pub(super) after: Option<Running>,
    /// Everything is written; what is left is to wait.
    pub(super) written: bool,
    /// Whether it takes an operation back.
    pub(super) undo: bool,
    /// What is remembered once it is carried out.
    mark: Mark,
}

impl Pending {
    pub(super) fn new(op: &Op, undo: bool, before: Option<Running>, after: Option<Running>) -> Result<Self> {
        Ok(Self { op: op.id.clone(), before, after, written: false, undo, mark: Mark::of(op)? })
    }
}

/// A release that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revision {
    pub(super) number: u32,
    pub(super) release: ReleaseRef,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    op: String,
    content: Digest,
}

impl Mark {
    /// Everything but the epoch, which is another one when a takeover repeats the operation.
    fn of(op: &Op) -> Result<Self> {
        let bytes = serde_json::to_vec(&(&op.unit, &op.change, &op.before));
        let bytes = bytes.map_err(|_| Fault::internal("An operation can't be encoded."))?;
        Ok(Self { op: op.id.clone(), content: Digest::of(&bytes) })
    }
}

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) format: u32,
    pub(super) epoch: u64,
    pub(super) running: Option<Running>,
    pub(super) pending: Option<Pending>,
    pub(super) revisions: VecDeque<Revision>,
    last_revision: u32,
    applied: VecDeque<Mark>,
}

impl Ledger {
    /// Refuses an operation whose id was used for another one; says whether this one was carried out.
    pub(super) fn is_applied(&self, op: &Op) -> Result<bool> {
        let Some(noted) = self.applied.iter().rev().find(|mark| mark.op == op.id) else { return Ok(false) };
        if *noted == Mark::of(op)? {
            return Ok(true);
        }
        let message = format!("The operation id {} was used for something else; nothing was done.", op.id);
        Err(Fault::new(Code::Conflict, message))
    }

    /// What was under way is carried out.
    pub(super) fn finish(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.running = pending.after;
        self.applied.retain(|mark| mark.op != pending.op);
        if !pending.undo {
            self.applied.push_back(pending.mark);
        }
        while self.applied.len() > MARKS_MAX {
            self.applied.pop_front();
        }
    }

    /// The latest kept release that fits.
    pub(super) fn latest(&self, fits: impl Fn(&ReleaseRef) -> bool) -> Option<&Revision> {
        self.revisions.iter().rev().find(|revision| fits(&revision.release))
    }

    /// The number of the next release that is kept.
    pub(super) fn next_revision(&mut self) -> u32 {
        self.last_revision += 1;
        self.last_revision
    }

    /// Takes out what is kept beyond the limit and not needed; gives the numbers.
    pub(super) fn expired(&mut self) -> Vec<u32> {
        let pending = self.pending.iter().flat_map(|pending| pending.before.iter().chain(&pending.after));
        let needed: Vec<u32> = self.running.iter().chain(pending).map(|running| running.revision).collect();
        let mut gone = Vec::new();
        while self.revisions.len() > REVISIONS_MAX {
            let Some(at) = self.revisions.iter().position(|revision| !needed.contains(&revision.number)) else { break };
            gone.extend(self.revisions.remove(at).map(|revision| revision.number));
        }
        gone
    }
}

/// A ledger that was read, with the version that may be replaced.
pub(super) struct Book {
    pub(super) ledger: Ledger,
    path: String,
    name: String,
    version: Option<String>,
}

impl Book {
    /// Reads it; an absent one is empty.
    pub(super) async fn read(cluster: &Cluster, names: &Names) -> Result<Self> {
        let name = names.ledger();
        let path = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace);
        let Some(object) = cluster.get(&format!("{path}/{name}")).await? else {
            return Ok(Self { ledger: Ledger::default(), path, name, version: None });
        };
        let text = object["data"]["ledger"].as_str().unwrap_or_default();
        let broken = || {
            Fault::new(Code::Decode, format!("The ConfigMap {name} in {} is damaged.", cluster.namespace))
                .hint("It is vice's record of what runs there; restore it from a backup of the cluster.")
        };
        let value: Value = serde_json::from_str(text).map_err(|_| broken())?;
        if value["format"].as_u64().is_none_or(|format| format > u64::from(FORMAT)) {
            return Err(Fault::new(Code::HistoryNewer, format!("The ConfigMap {name} was written by a newer vice."))
                .hint("Update vice."));
        }
        let ledger = serde_json::from_value(value).map_err(|_| broken())?;
        let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Ok(Self { ledger, path, name, version })
    }

    /// Refuses epochs below the highest one seen.
    pub(super) fn check_epoch(&self, epoch: u64) -> Result<()> {
        let seen = self.ledger.epoch;
        if epoch >= seen {
            return Ok(());
        }
        Err(Fault::new(Code::Fenced, format!("The cluster has seen epoch {seen} and refuses {epoch}."))
            .hint("Another holder has taken over; look at `vice status`."))
    }

    /// Writes it, if nobody else has since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody has.
    pub(super) async fn write(&mut self, cluster: &Cluster, names: &Names) -> Result<()> {
        self.ledger.format = FORMAT;
        let text = serde_json::to_string(&self.ledger).map_err(|_| Fault::internal("The ledger can't be encoded."))?;
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "annotations": {super::object::OWNER: names.owner}},
            "data": {"ledger": text},
        });
        let (method, path) = match &self.version {
            Some(version) => {
                object["metadata"]["resourceVersion"] = json!(version);
                (Method::PUT, format!("{}/{}", self.path, self.name))
            }
            None => (Method::POST, self.path.clone()),
        };
        match cluster.ask(method, &format!("{path}?fieldManager=vice"), Some(&object)).await? {
            Answer::Done(object) => {
                self.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                Ok(())
            }
            Answer::Missing if self.version.is_none() => {
                let namespace = &cluster.namespace;
                Err(Fault::new(Code::Backend, format!("The cluster has no namespace {namespace:?}."))
                    .hint(format!("Make it first: kubectl create namespace {namespace}.")))
            }
            Answer::Missing => Err(Fault::new(Code::Conflict, "The record of what runs was removed meanwhile.")),
            Answer::Conflict(status) => {
                Err(Fault::new(Code::Conflict, "Something else works on the same project and environment.")
                    .because(backend("the record", &status)))
            }
        }
    }
}

/// How long the waiting of an interrupted operation is taken up again.
pub(super) const RESUME_TIMEOUT: Millis = Millis(10 * 60 * 1000);

#[cfg(test)]
mod tests {
    use vice_core::port::target::Change;

    use super::*;

    fn op(id: &str, change: Change) -> Op {
        Op { id: id.to_owned(), epoch: 1, unit: "1".to_owned(), change, before: None }
    }

    fn carry_out(ledger: &mut Ledger, op: &Op, undo: bool) {
        ledger.pending = Some(Pending::new(op, undo, None, Some(Running::default())).unwrap());
        ledger.finish();
    }

    #[test]
    fn operations_are_known_by_id_and_content_and_forgotten_when_undone() {
        let mut ledger = Ledger::default();
        carry_out(&mut ledger, &op("a", Change::Stop), false);
        assert!(ledger.is_applied(&op("a", Change::Stop)).unwrap());
        assert!(!ledger.is_applied(&op("b", Change::Stop)).unwrap());
        assert_eq!(ledger.is_applied(&op("a", Change::Start)).unwrap_err().code(), Code::Conflict);
        carry_out(&mut ledger, &op("a", Change::Stop), true);
        assert!(!ledger.is_applied(&op("a", Change::Stop)).unwrap());
        for number in 0..MARKS_MAX + 5 {
            carry_out(&mut ledger, &op(&number.to_string(), Change::Stop), false);
        }
        assert_eq!(ledger.applied.len(), MARKS_MAX);
    }

    #[test]
    fn what_runs_is_kept_however_old_it_is() {
        let mut ledger = Ledger { running: Some(Running::default()), ..Ledger::default() };
        for _ in 0..REVISIONS_MAX + 3 {
            let number = ledger.next_revision();
            let release = Running::default().release;
            ledger.revisions.push_back(Revision { number, release });
        }
        assert_eq!(ledger.expired(), [2, 3, 4]);
        assert!(ledger.revisions[0].number == 1 && ledger.revisions.len() == REVISIONS_MAX);
    }
}
