//! What is known of the unit, in a ConfigMap that is replaced only by whoever has read its latest version: the epoch,
//! what runs, what is being done, and which operations were carried out. Holds no secrets.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::Op;
use vice_core::{Code, Digest, Fault, Millis, Result};

use super::cluster::Cluster;
use super::names::Names;
use super::object::Token;
use super::sheet::Sheet;

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
    /// Which attempt at it this is: another caller under the same epoch leaves it alone.
    #[serde(default)]
    pub(super) attempt: String,
    /// What is remembered once it is carried out.
    mark: Mark,
}

impl Pending {
    pub(super) fn new(op: &Op, undo: bool, before: Option<Running>, after: Option<Running>) -> Result<Self> {
        let (id, attempt) = (op.id.clone(), String::new());
        Ok(Self { op: id, before, after, written: false, undo, attempt, mark: Mark::of(op)? })
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
    pub(super) epoch: u64,
    /// How often work was shut out within this epoch.
    #[serde(default)]
    pub(super) turn: u32,
    pub(super) running: Option<Running>,
    pub(super) pending: Option<Pending>,
    pub(super) revisions: VecDeque<Revision>,
    last_revision: u32,
    applied: VecDeque<Mark>,
}

impl Ledger {
    /// Who may write now.
    pub(super) const fn token(&self) -> Token {
        Token { epoch: self.epoch, turn: self.turn }
    }

    /// Who may write under this epoch.
    pub(super) const fn token_at(&self, epoch: u64) -> Token {
        Token { epoch, turn: if epoch == self.epoch { self.turn } else { 0 } }
    }

    /// Who may write from now on, under this epoch or a higher one.
    pub(super) fn raise(&mut self, epoch: u64) {
        if epoch > self.epoch {
            (self.epoch, self.turn) = (epoch, 0);
        }
    }

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
    sheet: Sheet,
}

impl Book {
    /// Reads it; an absent one is empty.
    pub(super) async fn read(cluster: &Cluster, names: &Names) -> Result<Self> {
        let (ledger, sheet) = Sheet::read(cluster, names.ledger(), "ledger").await?;
        Ok(Self { ledger, sheet })
    }

    /// Refuses epochs below the highest one seen.
    pub(super) fn check_epoch(&self, epoch: u64) -> Result<()> {
        check_epoch(self.ledger.epoch, epoch)
    }

    /// Writes it, if nobody else has since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody has.
    pub(super) async fn write(&mut self, cluster: &Cluster, names: &Names) -> Result<()> {
        self.sheet.write(cluster, &names.owner, &self.ledger).await
    }
}

/// Refuses an epoch below one that was seen.
pub(super) fn check_epoch(seen: u64, epoch: u64) -> Result<()> {
    if epoch >= seen {
        return Ok(());
    }
    Err(Fault::new(Code::Fenced, format!("The cluster has seen epoch {seen} and refuses {epoch}."))
        .hint("Another holder has taken over; look at `vice status`."))
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
