//! What every store computes of an append before its turn to write: the checks of each event, its body hash, its time as
//! a number. And the rule on repeats within one append, which needs nothing that is stored.

use std::collections::HashMap;

use vice_core::event::Event;
use vice_core::store::{Append, Snapshot};
use vice_core::{Code, Context, Digest, Fault, Result};

/// An append with what can be computed before the writer's turn, on the caller's thread.
pub(crate) struct Prepared {
    pub(crate) append: Append,
    pub(crate) extras: Vec<Extra>,
}

/// What is computed of one event.
pub(crate) struct Extra {
    pub(crate) body_hash: Digest,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// The actor in JSON.
    pub(crate) actor: String,
}

impl Prepared {
    pub(crate) fn new(append: Append) -> Result<Self> {
        let extras = append.events.iter().map(extra).collect::<Result<_>>()?;
        Ok(Self { append, extras })
    }

    pub(crate) fn len(&self) -> usize {
        self.append.events.len()
    }
}

fn extra(event: &Event) -> Result<Extra> {
    event.check()?;
    let time = i64::try_from(event.time.as_nanosecond()).map_err(|error| {
        let id: String = event.id.chars().take(80).collect();
        Fault::new(Code::Usage, format!("The event {id:?} can't be stored: its time {} is out of range.", event.time))
            .because(error)
            .hint("Times from 1678 to 2261 can be stored.")
    })?;
    let actor =
        serde_json::to_string(&event.actor).context(Code::Internal, || "An actor does not serialise.".into())?;
    Ok(Extra { body_hash: Digest::of(event.data.as_bytes()), time, actor })
}

/// Whether two events have the same name.
pub(crate) fn is_twin(one: &Event, two: &Event) -> bool {
    one.id == two.id && one.source == two.source
}

/// Within one append an id may repeat only with the same content. Appends are short, except for imports, for which a
/// set is worth its price.
pub(crate) fn refuse_twins(events: &[Event]) -> Result<()> {
    let mut seen: HashMap<(&str, &str), &Event> = HashMap::with_capacity(events.len());
    for event in events {
        let first = seen.entry((&event.source, &event.id)).or_insert(event);
        if !first.same_content(event) {
            return Err(Fault::other_content(event));
        }
    }
    Ok(())
}

/// The checksum of a stored copy of a fold's state.
pub(crate) fn snapshot_sum(fold: &str, stream: &str, snapshot: &Snapshot) -> Digest {
    let mut bytes = snapshot.fold_version.to_be_bytes().to_vec();
    bytes.extend_from_slice(&snapshot.version.to_be_bytes());
    for text in [fold, stream, &snapshot.state] {
        bytes.extend_from_slice(&text.len().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    Digest::of(&bytes)
}

/// The checksum of a stored epoch.
pub(crate) fn fence_sum(scope: &str, epoch: u64) -> Digest {
    let mut bytes = epoch.to_be_bytes().to_vec();
    bytes.extend_from_slice(scope.as_bytes());
    Digest::of(&bytes)
}
