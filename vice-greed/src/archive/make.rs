//! Moving data into an archive. For each file: store it, fetch it again, read and compare it event by event; then one append
//! that names it; only then are the data let go of. A kill before the append leaves a file that nothing names; one after it
//! leaves data in both places, and the next run lets go of them first.

use std::path::Path;

use jiff::Timestamp;
use vice_core::capability::Capability;
use vice_core::event::Event;
use vice_core::payload::history::{DataArchived, HISTORY_STREAM};
use vice_core::store::{Append, EventStore, Expected, Order, Query};
use vice_core::{Code, Digest, Fault, Result};

use super::choose::{Choice, Limits};
use super::file::{Away, Draft, fetch};
use super::{Anchor, anchor};
use crate::backup::Vault;
use crate::backup::seal::Seals;

/// Events that are looked at together, of a mebibyte each at most.
const PAGE: usize = 200;

/// What archiving works with.
pub(crate) struct Tools<'a> {
    pub(crate) store: &'a dyn EventStore,
    pub(crate) vault: &'a dyn Vault,
    /// The URL of the place.
    pub(crate) place: &'a str,
    pub(crate) seals: &'a Seals,
    /// A folder for files on their way.
    pub(crate) scratch: &'a Path,
    /// Makes the event that names a file.
    pub(crate) event: &'a (dyn Fn(&DataArchived) -> Result<Event> + Send + Sync),
}

/// What was moved, or would be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) files: u64,
    pub(crate) events: u64,
    /// The size of the files.
    pub(crate) stored: u64,
    /// The size of the data that the history has let go of.
    pub(crate) freed: u64,
    /// Events whose data an earlier run had stored, and was ended before it let go of them.
    pub(crate) finished: u64,
}

/// What would be moved: events and bytes of data.
///
/// # Errors
/// What the store says.
pub(crate) async fn preview(store: &dyn EventStore, limits: Limits) -> Result<Made> {
    let choice = Choice::look(store, limits).await?;
    let mut pages = Pages { store, choice: &choice, after: 0 };
    let mut made = Made::default();
    while let Some(page) = pages.more().await? {
        made.events += page.len() as u64;
        made.freed += page.iter().map(|recorded| recorded.event.data.len() as u64).sum::<u64>();
    }
    Ok(made)
}

/// Moves the data of everything that may go.
///
/// # Errors
/// `Unsupported` for a store that can't let go of data, `HistoryDamaged` before anything is done with a damaged one,
/// `Conflict` when somebody else archives, `Backup` when the place does not keep what it is given.
pub(crate) async fn archive(tools: &Tools<'_>, limits: Limits) -> Result<Made> {
    let store = tools.store;
    store.capabilities().require(Capability::Archive, store.describe().kind, "archiving")?;
    tools.require_readable()?;
    let found = store.verify().await?;
    if let Some(problem) = found.problems.first() {
        return Err(Fault::new(Code::HistoryDamaged, format!("The history is damaged: {problem}"))
            .hint("`vice greed verify` says more. Nothing was archived."));
    }
    let (mut made, mut version) = (Made::default(), 0);
    if let Some((last, at)) = last_anchor(store).await? {
        made.finished = store.let_go(last.seq).await?;
        version = at;
    }
    let choice = Choice::look(store, limits).await?;
    let mut pages = Pages { store, choice: &choice, after: 0 };
    let mut draft = Draft::default();
    while let Some(page) = pages.more().await? {
        for recorded in page {
            draft.add(recorded)?;
            if draft.is_full() {
                version = tools.file(std::mem::take(&mut draft), limits.before, version, &mut made).await?;
            }
        }
    }
    if !draft.events.is_empty() {
        tools.file(draft, limits.before, version, &mut made).await?;
    }
    Ok(made)
}

/// The newest event that names a file, and the version of the stream.
async fn last_anchor(store: &dyn EventStore) -> Result<Option<(Anchor, u64)>> {
    let query = Query { order: Order::Backward, limit: 1, ..Query::stream(HISTORY_STREAM, 0) };
    let Some(last) = store.read(&query).await?.into_iter().next() else { return Ok(None) };
    // Nothing but such events is in this stream; one of a later kind would be of a later vice.
    Ok(anchor(&last)?.map(|anchor| (anchor, last.version)))
}

/// What may go and is not gone, page by page.
struct Pages<'a> {
    store: &'a dyn EventStore,
    choice: &'a Choice,
    after: u64,
}

impl Pages<'_> {
    /// The next events; none at the end. A page may be empty.
    async fn more(&mut self) -> Result<Option<Vec<vice_core::event::Recorded>>> {
        let mut page = self.store.read(&self.choice.query(self.after, PAGE)).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = last.seq;
        page.retain(|recorded| recorded.event.has_data() && self.choice.lets_go(recorded.seq, &recorded.event));
        Ok(Some(page))
    }
}

impl Tools<'_> {
    /// What is let go of must be known to be readable, and by whoever lets go of it.
    fn require_readable(&self) -> Result<()> {
        if !self.seals.is_used() || self.seals.keys().can_open() {
            return Ok(());
        }
        Err(Fault::new(Code::SecretLocked, "Without a private key it can't be told whether the archive can be read.")
            .hint(
                "Set VICE_AGE_IDENTITY_FILE to the file with the key of one of the recipients. Nothing was archived.",
            ))
    }

    /// Stores one file, names it, lets go of what is in it; gives the version of the history's own stream.
    async fn file(&self, draft: Draft, before: Timestamp, version: u64, made: &mut Made) -> Result<u64> {
        let archived = self.store(&draft, before).await?;
        self.compare(&draft, &archived).await?;
        let append = Append::of(vec![(self.event)(&archived)?]);
        let appended = self.store.append(append.expect(HISTORY_STREAM, Expected::from_version(version))).await;
        let appended = appended.map_err(|fault| match fault.code() {
            Code::Conflict => Fault::new(Code::Conflict, "Somebody else archives this history.").because(fault),
            _ => fault,
        })?;
        let (Some(seq), Some(version)) = (appended.seqs.first(), appended.versions.first()) else {
            return Err(Fault::internal("An append of one event gave no place."));
        };
        self.store.let_go(*seq).await?;
        made.files += 1;
        made.events += archived.events;
        made.stored += archived.size;
        made.freed += draft.events.iter().map(|recorded| recorded.event.data.len() as u64).sum::<u64>();
        Ok(*version)
    }

    /// Stores a file under a name that says what is in it.
    async fn store(&self, draft: &Draft, before: Timestamp) -> Result<DataArchived> {
        let sealed = self.seals.seal(&draft.text)?;
        let (sha256, size) = (Digest::of(&sealed), sealed.len() as u64);
        let path = self.scratch.join("file");
        std::fs::write(&path, sealed).map_err(|error| crate::disk::unwritable(error, &path))?;
        let (first, last) = (draft.events.first(), draft.events.last());
        let (Some(first), Some(last)) = (first, last) else { return Err(Fault::internal("A file of nothing.")) };
        let file =
            format!("archive/{:012}-{:012}-{}.jsonl{}", first.seq, last.seq, sha256.short(), self.seals.suffix());
        // What is there under this name has the same digest, or is found out when it is fetched.
        self.vault.put_new_file(&file, &path).await?;
        Ok(DataArchived {
            place: self.place.to_owned(),
            file,
            sha256,
            size,
            encrypted: self.seals.is_used(),
            spans: draft.spans.clone(),
            events: draft.events.len() as u64,
            chain: last.chain,
            before,
        })
    }

    /// Fetches the file and compares every event with that of the history.
    async fn compare(&self, draft: &Draft, archived: &DataArchived) -> Result<()> {
        let bodies = fetch(self.vault, self.seals.keys(), archived).await.map_err(|away| match away {
            Away::NotAtHand(fault) | Away::Damaged(fault) => {
                Fault::new(Code::Backup, "What was archived can't be read back.").because(fault)
            }
        })?;
        if draft.events.iter().all(|recorded| bodies.get(recorded.seq).as_ref() == Some(recorded)) {
            return Ok(());
        }
        Err(Fault::new(Code::Backup, format!("What came back from {} is not what was stored there.", archived.place))
            .hint("Check that storage before you trust it. The history has let go of nothing."))
    }
}
