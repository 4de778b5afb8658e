//! States as folds of streams. Deleting every snapshot changes no answer.

pub mod environment;
pub mod lease;
pub mod rollout;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Recorded;
use crate::fault::{Code, Context, Result};
use crate::store::{EventStore, PAGE_MAX, Query, Snapshot};

/// A state that is computed from one stream.
pub trait Fold: Default + Serialize + DeserializeOwned + Send {
    /// The name under which snapshots are kept.
    const NAME: &'static str;
    /// Raised when the meaning of the state changes; older snapshots are ignored then.
    const VERSION: u32;

    /// Takes in one event.
    ///
    /// # Errors
    /// `Decode` when a known event does not decode.
    fn apply(&mut self, recorded: &Recorded) -> Result<()>;
}

/// After so many events beyond the last snapshot a new one is written: reading this many events takes about a
/// millisecond, which is what a status line may cost.
const SNAPSHOT_EVERY: u64 = 200;

/// The state of a stream and the version up to which it is folded (0: the stream is empty).
///
/// # Errors
/// What the store says, or `Decode`.
pub async fn load<F: Fold>(store: &dyn EventStore, stream: &str) -> Result<(F, u64)> {
    let (mut state, start) = match store.snapshot(F::NAME, stream).await? {
        Some(snapshot) if snapshot.fold_version == F::VERSION => match serde_json::from_str(&snapshot.state) {
            Ok(state) => (state, snapshot.version),
            // A snapshot is a copy; when it does not parse, the events are read instead.
            Err(_) => (F::default(), 0),
        },
        _ => (F::default(), 0),
    };
    let version = go_on(store, stream, &mut state, start).await?;
    if version - start >= SNAPSHOT_EVERY {
        // Reading works without the copy, so a store that can't keep it (read-only, full) is not an error here.
        drop(store.put_snapshot(F::NAME, stream, snapshot(&state, version)?).await);
    }
    Ok((state, version))
}

/// Takes in what comes behind a version; gives the version that is reached.
async fn go_on<F: Fold>(store: &dyn EventStore, stream: &str, state: &mut F, after: u64) -> Result<u64> {
    let mut version = after;
    loop {
        let events = store.read(&Query::stream(stream, version)).await?;
        for recorded in &events {
            state.apply(recorded)?;
            version = recorded.version;
        }
        if events.len() < PAGE_MAX {
            return Ok(version);
        }
    }
}

fn snapshot<F: Fold>(state: &F, version: u64) -> Result<Snapshot> {
    let text = serde_json::to_string(state).context(Code::Internal, || "A snapshot does not serialise.".into())?;
    Ok(Snapshot { fold_version: F::VERSION, version, state: text })
}

/// The state of a stream from its events alone, whether what [`load`] gives is the same, and, when it is not, with the
/// copy that misled it replaced.
///
/// # Errors
/// As [`load`], and when the copy can't be replaced.
pub async fn rebuild<F: Fold>(store: &dyn EventStore, stream: &str) -> Result<(F, bool)> {
    let mut state = F::default();
    let version = go_on(store, stream, &mut state, 0).await?;
    let text =
        |state: &F| serde_json::to_string(state).context(Code::Internal, || "A state does not serialise.".into());
    let (kept, reached) = load::<F>(store, stream).await?;
    // Events may have come in between the two; then the one that is behind goes on.
    let version = if version < reached { go_on(store, stream, &mut state, version).await? } else { version };
    let same = text(&state)? == text(&kept)?;
    if !same {
        store.put_snapshot(F::NAME, stream, snapshot(&state, version)?).await?;
    }
    Ok((state, same))
}
