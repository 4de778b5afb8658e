//! What is remembered of an operation that was carried out: its id, and a digest of its content, so that an id that
//! comes back for something else is not taken for a repeat.

use serde::{Deserialize, Serialize};
use vice_core::port::target::Op;
use vice_core::{Code, Digest, Fault, Result};

/// An operation that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredMark")]
pub(super) struct Mark {
    pub(super) op: String,
    /// None of one that was noted before contents were; any content counts as its.
    content: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredMark {
    /// The first form of the file had only the ids.
    Id(String),
    Whole {
        op: String,
        content: Option<Digest>,
    },
}

impl From<StoredMark> for Mark {
    fn from(stored: StoredMark) -> Self {
        match stored {
            StoredMark::Id(op) => Self { op, content: None },
            StoredMark::Whole { op, content } => Self { op, content },
        }
    }
}

impl Mark {
    pub(super) fn of(op: &Op) -> Result<Self> {
        Ok(Self { op: op.id.clone(), content: Some(content(op)?) })
    }

    /// Refuses an operation of this id that is another one.
    pub(super) fn check(&self, op: &Op) -> Result<()> {
        match self.content {
            Some(noted) if noted != content(op)? => Err(used(op)),
            _ => Ok(()),
        }
    }
}

/// Everything but the epoch, which is another one when a takeover repeats the operation.
fn content(op: &Op) -> Result<Digest> {
    let bytes = serde_json::to_vec(&(&op.unit, &op.change, &op.before));
    bytes.map(|bytes| Digest::of(&bytes)).map_err(|_| Fault::internal("An operation can't be encoded."))
}

fn used(op: &Op) -> Fault {
    let message =
        format!("The operation id {} was used for something else; nothing was done on unit {}.", op.id, op.unit);
    Fault::new(Code::Conflict, message)
        .hint("The history may be older than what runs, as after restoring a backup; deploy again, under a new id.")
}

#[cfg(test)]
mod tests {
    use vice_core::port::target::Change;

    use super::*;

    fn op(unit: &str, change: Change) -> Op {
        Op { id: "a".to_owned(), epoch: 1, unit: unit.to_owned(), change, before: None }
    }

    #[test]
    fn a_mark_is_of_its_own_content_under_any_epoch() {
        let mark = Mark::of(&op("1", Change::Stop)).unwrap();
        mark.check(&Op { epoch: 9, ..op("1", Change::Stop) }).unwrap();
        for other in [op("2", Change::Stop), op("1", Change::Start)] {
            assert_eq!(mark.check(&other).unwrap_err().code(), Code::Conflict);
        }
        let text = serde_json::to_string(&mark).unwrap();
        assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark);
    }

    #[test]
    fn a_mark_without_content_is_of_any() {
        let mark: Mark = serde_json::from_str("\"a\"").unwrap();
        assert_eq!(mark.op, "a");
        mark.check(&op("1", Change::Stop)).unwrap();
    }
}
