//! One file of an archive: its lines, and reading it back.

use std::collections::HashMap;
use std::path::Path;

use vice_core::event::Recorded;
use vice_core::payload::history::DataArchived;
use vice_core::{Code, Context, Fault, Result};

use crate::backup::{Vault, measured, seal::Keys};
use crate::service::dto::RecordedDto;

/// About so many bytes of lines go into one file, which is in memory while it is read.
pub(super) const FILE_BYTES: usize = 8 * 1024 * 1024;

/// The most spans of one file: what names them is one event of at most a mebibyte.
pub(super) const SPANS_MAX: usize = 20_000;

/// A file that is larger was not made by vice: one event beyond the measure, every byte written as six, and sealed.
const SIZE_MAX: u64 = 4 * FILE_BYTES as u64;

/// The lines of a file as they come together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) text: Vec<u8>,
    pub(super) spans: Vec<(u64, u64)>,
    pub(super) events: Vec<Recorded>,
}

impl Draft {
    /// Adds an event, whose number is higher than that of each before it.
    pub(super) fn add(&mut self, recorded: Recorded) -> Result<()> {
        match self.spans.last_mut() {
            Some((_, last)) if *last + 1 == recorded.seq => *last = recorded.seq,
            _ => self.spans.push((recorded.seq, recorded.seq)),
        }
        serde_json::to_writer(&mut self.text, &RecordedDto::from(recorded.clone()))
            .context(Code::Internal, || "An event does not serialise.".to_owned())?;
        self.text.push(b'\n');
        self.events.push(recorded);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= FILE_BYTES || self.spans.len() >= SPANS_MAX
    }
}

/// The events of a file that was fetched and measured.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    text: Vec<u8>,
    /// Where the line of each event is.
    lines: HashMap<u64, (usize, usize)>,
}

impl Bodies {
    fn read(text: Vec<u8>) -> serde_json::Result<Self> {
        let (mut lines, mut start) = (HashMap::new(), 0);
        while let Some(length) = text[start..].iter().position(|byte| *byte == b'\n') {
            let recorded: Recorded = serde_json::from_slice::<RecordedDto>(&text[start..start + length])?.into();
            lines.insert(recorded.seq, (start, start + length));
            start += length + 1;
        }
        Ok(Self { text, lines })
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The event with its data.
    pub(super) fn get(&self, seq: u64) -> Option<Recorded> {
        let (start, end) = *self.lines.get(&seq)?;
        serde_json::from_slice::<RecordedDto>(&self.text[start..end]).ok().map(Recorded::from)
    }
}

/// Why a file can't be read.
#[derive(Debug)]
pub(super) enum Away {
    /// It is not there, its place can't be reached, or there is no key for it.
    NotAtHand(Fault),
    /// It is there, and is not what was stored.
    Damaged(Fault),
}

/// Fetches a file, measures it and reads it.
pub(super) async fn fetch(vault: &dyn Vault, keys: &Keys, archived: &DataArchived) -> Result<Bodies, Away> {
    let DataArchived { place, file, .. } = archived;
    let scratch = tempfile::tempdir().context(Code::Io, || "No temporary folder can be made.".to_owned());
    let scratch = scratch.map_err(Away::NotAtHand)?;
    let path = scratch.path().join("file");
    if archived.size > SIZE_MAX {
        return Err(Away::NotAtHand(Fault::new(Code::Unsupported, format!("{file} is larger than vice makes them."))));
    }
    if !vault.fetch(file, &path).await.map_err(Away::NotAtHand)? {
        return Err(Away::NotAtHand(Fault::new(Code::HistoryArchived, format!("{file} is not in {place}."))));
    }
    read(&path, keys, archived).await
}

async fn read(path: &Path, keys: &Keys, archived: &DataArchived) -> Result<Bodies, Away> {
    let DataArchived { place, file, .. } = archived;
    let odd = || Fault::new(Code::HistoryDamaged, format!("{file} in {place} is not what was stored there."));
    if measured(path).await.map_err(Away::NotAtHand)? != (archived.sha256, archived.size) {
        return Err(Away::Damaged(odd()));
    }
    let stored = tokio::fs::read(path).await.context(Code::Io, || format!("{file} can't be read."));
    let stored = stored.map_err(Away::NotAtHand)?;
    let text = match archived.encrypted {
        // What has its digest is whole: what can't be opened is for other keys.
        true => keys.open(&stored, place).map_err(Away::NotAtHand)?,
        false => stored,
    };
    let bodies = Bodies::read(text).map_err(|error| Away::Damaged(odd().because(error)))?;
    match u64::try_from(bodies.len()) == Ok(archived.events) {
        true => Ok(bodies),
        false => Err(Away::Damaged(odd())),
    }
}
