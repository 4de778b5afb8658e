//! The shared history as far as a rollout needs it: one stream, the lease's epoch as the fence, and conditions that are
//! checked in the moment of writing.

use vice_core::payload::rollout::OperatorCommand;
use vice_pride_engine::Recorded;

/// One event of the rollout's stream.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A step, and how many commands had been heard with it.
    Step(Recorded, usize),
    Command(OperatorCommand),
    /// The driver says that it waits.
    Parked,
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    Done,
    Conflict,
    Fenced,
    /// Nobody can tell: the driver ends.
    Broken,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) entries: Vec<Entry>,
    /// The lease: its epoch, and who has it.
    pub(crate) epoch: u64,
    pub(crate) holder: Option<usize>,
    /// How many appends of a passed-over holder were refused.
    pub(crate) refused: u64,
}

impl Store {
    pub(crate) fn append(&mut self, epoch: u64, expected: usize, entry: Entry) -> Appended {
        if epoch < self.epoch {
            self.refused += 1;
            return Appended::Fenced;
        }
        if expected != self.entries.len() {
            return Appended::Conflict;
        }
        self.entries.push(entry);
        Appended::Done
    }

    /// The steps so far.
    pub(crate) fn journal(&self) -> impl Iterator<Item = &Recorded> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Step(recorded, _) => Some(recorded),
            _ => None,
        })
    }

    /// Commands that no step has heard.
    pub(crate) fn unheard(&self) -> Vec<OperatorCommand> {
        let heard = self.entries.iter().map(|entry| if let Entry::Step(_, heard) = entry { *heard } else { 0 }).sum();
        self.commands_from(0).skip(heard).collect()
    }

    pub(crate) fn commands_from(&self, version: usize) -> impl Iterator<Item = OperatorCommand> + '_ {
        self.entries[version..].iter().filter_map(|entry| match entry {
            Entry::Command(command) => Some(*command),
            _ => None,
        })
    }
}
