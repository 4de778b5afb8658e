//! Retention: the data of old events are moved into files of an archive, which are stored, fetched again and compared before
//! anything is let go of. What stays in the history of such an event is its header, the hash of its data and its place in the
//! chain: it is listed, found by its id and recognised when it is repeated as before, and the chain is computed over it as
//! before. An event of the history itself ([`DataArchived`]) names each file with its digest, so that no file can be exchanged.
//!
//! In the place of an archive lie `archive/<first>-<last>-<digest>.jsonl` (`.age` behind it when it is encrypted): one event a
//! line, as in the segments of incremental backups. Files are never changed and never removed by vice.
//!
//! What is decided from is never moved: `choose` says what that is. Reading it back is `reunite`'s.
//!
//! [`DataArchived`]: vice_core::payload::history::DataArchived

mod choose;
mod file;
mod make;
mod reunite;

#[cfg(test)]
pub(crate) mod tests;

use vice_core::Result;
use vice_core::event::Recorded;
use vice_core::payload::history::{DataArchived, HISTORY_STREAM};
use vice_core::store::{EventStore, PAGE_MAX, Query};

pub(crate) use choose::Limits;
pub(crate) use make::{Made, Tools, archive, preview};
pub(crate) use reunite::reunited;

/// An event that names a file of an archive, with its number.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(crate) seq: u64,
    pub(crate) archived: DataArchived,
}

fn anchor(recorded: &Recorded) -> Result<Option<Anchor>> {
    Ok(recorded.event.decode::<DataArchived>()?.map(|archived| Anchor { seq: recorded.seq, archived }))
}

/// What the history says of its archives behind a version of its own stream, oldest first, and the version that is reached.
pub(crate) async fn anchors(store: &dyn EventStore, after: u64) -> Result<(Vec<Anchor>, u64)> {
    let (mut found, mut version) = (Vec::new(), after);
    loop {
        let page = store.read(&Query::stream(HISTORY_STREAM, version)).await?;
        for recorded in &page {
            found.extend(anchor(recorded)?);
            version = recorded.version;
        }
        if page.len() < PAGE_MAX {
            return Ok((found, version));
        }
    }
}
