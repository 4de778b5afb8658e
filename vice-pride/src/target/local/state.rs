//! What the agent remembers, in one file that is replaced as a whole before any effect is acknowledged.
//!
//! Holds no secrets: the environment of instances is in the release files, see [`super::release`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::id::Scope;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Op, WeightTable};
use vice_core::{Code, Context, Fault, Millis, Result};

use super::layout::{Layout, write_durably};
use super::mark::Mark;
use super::shares;

/// The form of the file. In the first one, operations were remembered without their content.
pub(super) const FORMAT: u32 = 2;

/// So many operations are remembered.
pub(super) const MARKERS_MAX: usize = 10_000;

/// Everything that outlives the agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) format: u32,
    /// Which start of the machine the pids belong to.
    pub(super) boot: String,
    /// What it is the target of.
    pub(super) scope: Option<Scope>,
    /// The highest epoch seen.
    pub(super) epoch: u64,
    /// Counts instances and placements; never goes back.
    pub(super) generation: u64,
    /// Where the front end listens; kept so that the address stays the same.
    pub(super) front_port: Option<u16>,
    /// Where the counters are exposed; kept like the port of the front end.
    #[serde(default)]
    pub(super) metrics_port: Option<u16>,
    pub(super) units: BTreeMap<String, UnitRecord>,
    /// Processes that must not stay: candidates that are not switched to yet, and old ones that are being stopped.
    /// Whoever finds them here after a crash ends them.
    pub(super) loose: Vec<InstanceRecord>,
    pub(super) weights: Option<WeightTable>,
    /// The operations that were carried out, oldest first.
    pub(super) applied: VecDeque<Mark>,
}

/// One unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UnitRecord {
    pub(super) placed: Placed,
    /// What was placed before, for undo.
    pub(super) previous: Option<Placed>,
    /// Whether it shall run.
    pub(super) running: bool,
    /// Out of the rotation by request.
    pub(super) drained: bool,
    /// The process, while one is thought to run.
    pub(super) current: Option<InstanceRecord>,
    pub(super) restarts: u32,
}

/// A release on a unit, with the key of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) release: ReleaseRef,
    pub(super) key: u64,
}

/// One process, told from a later one with the same pid by its start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceRecord {
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) port: u16,
    pub(super) since: Timestamp,
    pub(super) version: String,
    pub(super) stop_timeout: Millis,
}

impl State {
    /// Refuses epochs below the highest one seen.
    pub(super) fn check_epoch(&self, epoch: u64) -> Result<()> {
        if epoch >= self.epoch {
            return Ok(());
        }
        let seen = self.epoch;
        Err(Fault::new(Code::Fenced, format!("The local target has seen epoch {seen} and refuses {epoch}."))
            .hint("Another holder has taken over; look at `vice status`."))
    }

    /// The unit of that name.
    pub(super) fn unit(&self, name: &str) -> Result<&UnitRecord> {
        self.units.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(80).collect();
            let known: Vec<&str> = self.units.keys().map(String::as_str).collect();
            let fault = Fault::new(Code::UnknownName, format!("There is no unit {shown:?}."));
            if known.is_empty() {
                fault.hint("Nothing is deployed here.")
            } else {
                fault.hint(format!("Units: {}.", known.join(", ")))
            }
        })
    }

    fn mark_of(&self, op: &Op) -> Option<&Mark> {
        self.applied.iter().rev().find(|mark| mark.op == op.id)
    }

    /// Refuses an operation whose id was used for another one.
    pub(super) fn check_id(&self, op: &Op) -> Result<()> {
        self.mark_of(op).map_or(Ok(()), |mark| mark.check(op))
    }

    /// Whether this very operation was carried out.
    pub(super) fn is_applied(&self, op: &Op) -> bool {
        self.mark_of(op).is_some_and(|mark| mark.check(op).is_ok())
    }

    pub(super) fn mark(&mut self, op: &Op) -> Result<()> {
        self.check_id(op)?;
        if self.mark_of(op).is_none() {
            self.applied.push_back(Mark::of(op)?);
        }
        while self.applied.len() > MARKERS_MAX {
            self.applied.pop_front();
        }
        Ok(())
    }

    pub(super) fn unmark(&mut self, op: &Op) -> Result<()> {
        self.check_id(op)?;
        self.applied.retain(|mark| mark.op != op.id);
        Ok(())
    }

    /// The versions that have an instance that gets traffic or should.
    pub(super) fn versions(&self) -> BTreeSet<&str> {
        let running = self.units.values().filter(|unit| unit.running);
        running.map(|unit| unit.placed.release.version.as_str()).collect()
    }

    /// What weights can name: the running versions, and the full names of their releases.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let running = self.units.values().filter(|unit| unit.running).map(|unit| &unit.placed.release);
        running.flat_map(|release| [release.version.clone(), release.full_name()]).collect()
    }

    /// The weights in force: those that were set, or what the units make up.
    pub(super) fn table(&self) -> WeightTable {
        self.weights.clone().unwrap_or_else(|| {
            let running = self.units.values().filter(|unit| unit.running);
            let versions: Vec<String> = running.map(|unit| unit.placed.release.version.clone()).collect();
            WeightTable { epoch: self.epoch, weights: shares::implied(&versions) }
        })
    }

    /// A split ends when the last but one version has gone: what comes next is a new matter.
    pub(super) fn settle_weights(&mut self, versions_before: usize) {
        if versions_before > 1 && self.versions().len() <= 1 {
            self.weights = None;
        }
    }

    /// The keys of the release files that are still needed.
    pub(super) fn release_keys(&self) -> BTreeSet<u64> {
        let placed = self.units.values().flat_map(|unit| std::iter::once(&unit.placed).chain(&unit.previous));
        placed.map(|placed| placed.key).collect()
    }
}

/// Reads the file; an absent one is an empty state.
pub(super) fn load(layout: &Layout) -> Result<State> {
    let path = layout.state();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(State { format: FORMAT, ..State::default() });
        }
        Err(error) => return Err(Fault::new(Code::Io, format!("{} can't be read.", path.display())).because(error)),
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let broken = || format!("{} is damaged.", path.display());
    let form: Format = serde_json::from_slice(&bytes).context(Code::Decode, broken)?;
    if form.format > FORMAT {
        return Err(Fault::new(Code::HistoryNewer, format!("{} was written by a newer vice.", path.display()))
            .hint("Update vice."));
    }
    let state: State = serde_json::from_slice(&bytes).context(Code::Decode, broken)?;
    Ok(State { format: FORMAT, ..state })
}

/// The agent's state: read at any time, changed one change at a time, never ahead of the disk.
pub(super) struct Store {
    layout: Layout,
    writing: tokio::sync::Mutex<()>,
    current: Mutex<Arc<State>>,
}

impl Store {
    pub(super) fn new(layout: Layout, state: State) -> Self {
        Self { layout, writing: tokio::sync::Mutex::new(()), current: Mutex::new(Arc::new(state)) }
    }

    pub(super) fn read(&self) -> Arc<State> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and stores it; when either fails, nothing has changed. The caller must not be dropped in
    /// between, which operations aren't: they run in tasks of their own and are told to end.
    pub(super) async fn update<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let _writing = self.writing.lock().await;
        let mut next = (*self.read()).clone();
        let out = change(&mut next)?;
        let bytes = serde_json::to_vec(&next).context(Code::Internal, || "The state can't be encoded.".to_owned())?;
        let path = self.layout.state();
        let written = tokio::task::spawn_blocking(move || write_durably(&path, &bytes)).await;
        written.context(Code::Internal, || "Writing the state broke off.".to_owned())??;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use vice_core::port::target::Change;

    use super::*;

    fn op(id: &str) -> Op {
        Op { id: id.to_owned(), epoch: 1, unit: "1".to_owned(), change: Change::Stop, before: None }
    }

    #[test]
    fn markers_are_bounded_and_the_oldest_go_first() {
        let mut state = State::default();
        for number in 0..MARKERS_MAX + 3 {
            state.mark(&op(&number.to_string())).unwrap();
        }
        state.mark(&op("3")).unwrap();
        assert_eq!(state.applied.len(), MARKERS_MAX);
        assert!(!state.is_applied(&op("2")));
        assert!(state.is_applied(&op("3")));
        state.unmark(&op("3")).unwrap();
        assert!(!state.is_applied(&op("3")));
    }

    #[test]
    fn an_id_of_another_operation_neither_comes_nor_goes() {
        let mut state = State::default();
        state.mark(&op("a")).unwrap();
        let other = Op { change: Change::Start, ..op("a") };
        assert!(!state.is_applied(&other));
        assert_eq!(state.mark(&other).unwrap_err().code(), Code::Conflict);
        assert_eq!(state.unmark(&other).unwrap_err().code(), Code::Conflict);
        assert!(state.is_applied(&op("a")));
    }

    #[test]
    fn a_file_of_the_first_form_is_read_and_written_in_the_present_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut old = serde_json::to_value(State { epoch: 4, ..State::default() }).unwrap();
        (old["format"], old["applied"]) = (1.into(), serde_json::json!(["a", "b"]));
        std::fs::write(layout.state(), old.to_string()).unwrap();
        let state = load(&layout).unwrap();
        assert_eq!((state.format, state.epoch), (FORMAT, 4));
        assert!(state.is_applied(&op("a")) && !state.is_applied(&op("c")));
    }

    #[test]
    fn a_file_of_a_newer_form_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::write(layout.state(), r#"{"format":3,"new":true}"#).unwrap();
        assert_eq!(load(&layout).unwrap_err().code(), Code::HistoryNewer);
        std::fs::write(layout.state(), "{").unwrap();
        assert_eq!(load(&layout).unwrap_err().code(), Code::Decode);
    }

    #[tokio::test]
    async fn a_refused_change_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let store = Store::new(layout.clone(), State { format: FORMAT, ..State::default() });
        let raised = |state: &mut State| {
            state.epoch = 7;
            Ok(())
        };
        store.update(raised).await.unwrap();
        let refused = store.update(|state| {
            state.epoch = 9;
            state.check_epoch(3)
        });
        assert_eq!(refused.await.unwrap_err().code(), Code::Fenced);
        assert_eq!((store.read().epoch, load(&layout).unwrap().epoch), (7, 7));
    }
}
