//! The copy of a shared history on this machine: a log of JSON lines that only grows by batches that follow, the name of
//! the last one, and the witness of how far the medium was ever seen.
//!
//! It is a copy: what a crash leaves of it that makes no sense is thrown away and fetched again. The witness is not.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use vice_core::store::LogHead;
use vice_core::{Code, Fault, Result};

use super::batch::{self, Checked};
use super::medium::{Kept, Known};
use crate::disk::{unreadable, unwritable};
use crate::jsonl::line::{self, FORMAT, Head};
use crate::jsonl::log::{Log, damaged, lost};
use crate::jsonl::scribe::SEGMENT_BYTES;
use crate::witness::Witness;

/// The file that holds the medium's name of the last batch.
const TIP: &str = "tip";

/// The longest such file.
const TIP_BYTES_MAX: usize = 512;

/// Brings the index up to date with the files. What makes no sense is thrown away, to be fetched anew.
pub(crate) fn refresh(log: &mut Log) -> Result<()> {
    let held = log.share()?;
    let read = log.refresh();
    drop(held);
    match read {
        Err(fault) if fault.code() == Code::HistoryDamaged => {
            tracing::warn!("the mirror is fetched anew: {fault}");
            reset(log)
        }
        other => other,
    }
}

/// Puts the copy aside, to begin anew. The witness stays: what was seen must still be there. The longest copy is kept
/// under another name, because the medium may be what is wrong.
pub(crate) fn reset(log: &mut Log) -> Result<()> {
    let held = log.exclude()?;
    for record in log.listed()? {
        put_aside(&log.dir().join(crate::jsonl::log::segment_name(record)))?;
    }
    remove(&log.dir().join(TIP))?;
    log.forget();
    log.refresh()?;
    drop(held);
    Ok(())
}

fn put_aside(path: &Path) -> Result<()> {
    let kept = path.with_extension("jsonl.kept");
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    if length(&kept) > length(path) {
        return remove(path);
    }
    std::fs::rename(path, &kept).map_err(|error| unwritable(error, path))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(error, path)),
        _ => Ok(()),
    }
}

/// How far the mirror is.
pub(crate) fn known(log: &Log) -> Result<Known> {
    let path = log.dir().join(TIP);
    let stored = match std::fs::read_to_string(&path) {
        Ok(stored) if stored.len() <= TIP_BYTES_MAX => stored,
        Ok(_) => String::new(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => String::new(),
        Err(error) => return Err(unreadable(error, "The name of the last batch", &path)),
    };
    // A name that is not that of the last batch here is worse than none: without one everything is looked through again,
    // which loses nothing.
    let tip = stored.strip_prefix(&place(log)).unwrap_or_default().to_owned();
    Ok(Known { records: log.index.records, tip })
}

/// What stands before the name: the end that it belongs to.
fn place(log: &Log) -> String {
    format!("{} {} ", log.index.records, log.index.mark)
}

/// What became of batches that were fetched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They are in the mirror.
    All,
    /// One of them does not follow: in a whole sentence.
    Strange(String),
}

/// Puts batches that follow at the end of the mirror. Those that are there already are passed over.
pub(crate) fn take(log: &mut Log, batches: &[Kept]) -> Result<Taken> {
    let Some(last) = batches.last() else { return Ok(Taken::All) };
    let held = log.exclude()?;
    // Another process may have taken some of them.
    if let Err(fault) = log.refresh() {
        drop(held);
        if fault.code() != Code::HistoryDamaged {
            return Err(fault);
        }
        reset(log)?;
        return Ok(Taken::Strange(fault.to_string()));
    }
    cut_torn(log)?;
    for kept in batches {
        let checked = match batch::check(&kept.bytes) {
            Ok(checked) => checked,
            Err(odd) => return Ok(Taken::Strange(format!("The batch {} {odd}.", kept.tip))),
        };
        if !follows(log, &checked) {
            return Ok(Taken::Strange(format!(
                "The batch {} begins with record {} and does not follow record {}.",
                kept.tip, checked.head.record, log.index.records
            )));
        }
        if checked.head.record > log.index.records {
            write(log, checked.lines)?;
            log.refresh()?;
        }
    }
    name(log, &last.tip)?;
    drop(held);
    Ok(Taken::All)
}

fn follows(log: &Log, checked: &Checked<'_>) -> bool {
    let (head, index) = (&checked.head, &log.index);
    if head.record == index.records + 1 {
        return head.mark == index.mark;
    }
    // One that is there already; the next one vouches for it.
    head.record <= index.records && head.record + checked.records <= index.records + 1
}

/// What a process left that was killed while it wrote here.
fn cut_torn(log: &mut Log) -> Result<()> {
    let (Some(_), Some(path)) = (log.torn, log.last_segment()) else { return Ok(()) };
    let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(log.offset));
    log.torn = None;
    cut.map_err(|error| unwritable(error, &path))
}

/// Writes lines at the end. Not synced: after a power cut what is not whole is fetched again.
fn write(log: &mut Log, lines: &[u8]) -> Result<()> {
    let fresh = log.last_segment().is_none() || log.offset >= SEGMENT_BYTES || log.offset == 0;
    let mut bytes = Vec::new();
    if fresh {
        if log.last_segment().is_none() || log.offset > 0 {
            log.begin_segment();
        }
        line::write(&mut bytes, &Head { segment: FORMAT, record: log.index.records + 1, mark: log.index.mark })?;
    }
    bytes.extend_from_slice(lines);
    let path = log.last_segment().ok_or_else(|| Fault::internal("There is no segment to write to."))?;
    let mut options = OpenOptions::new();
    options.write(true).create(fresh).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|error| unwritable(error, &path))?;
    file.write_all_at(&bytes, log.offset).map_err(|error| {
        // What was written of it is not whole; if it can't be cut off now, the next one does it.
        file.set_len(log.offset).ok();
        unwritable(error, &path)
    })
}

fn name(log: &Log, tip: &str) -> Result<()> {
    let path = log.dir().join(TIP);
    let stored = tempfile::NamedTempFile::new_in(log.dir()).and_then(|mut file| {
        file.write_all(place(log).as_bytes())?;
        file.write_all(tip.as_bytes())?;
        file.persist(&path).map_err(|error| error.error)
    });
    stored.map(drop).map_err(|error| unwritable(error, &path))
}

/// Compares the mirror, which is as far as the medium, with the witness, and moves the witness on.
///
/// # Errors
/// `HistoryDamaged` when the medium has lost what was seen.
pub(crate) fn witness(log: &mut Log, witness: &mut Option<Witness>, place: &str) -> Result<()> {
    if log.index.records == 0 && !log.witness_path().exists() {
        return Ok(());
    }
    if witness.is_none() {
        let seen = Witness::read(&log.witness_path())?;
        if log.index.watches() != seen.map(|head| head.seq) {
            log.forget();
            log.refresh()?;
        }
        if let Some(seen) = seen
            && let Some(problem) = lost(&seen, log.index.records, log.index.watched())
        {
            return Err(rewritten(place, &problem));
        }
        *witness = Some(Witness::open(&log.witness_path())?);
    }
    let mark = LogHead { seq: log.index.records, chain: log.index.mark };
    witness.as_mut().map_or(Ok(()), |witness| witness.advance(&mark))
}

/// The medium is not what it was.
pub(crate) fn rewritten(place: &str, problem: &str) -> Fault {
    damaged(format!("The history in {place} is not the one that was seen from here: {problem}")).hint(
        "Somebody rewrote or removed it. This machine's copy is kept in .vice/shared; `vice greed copy` makes a new history of a good one.",
    )
}
