//! The log as this process knows it: the index over the segments, brought up to date under the folder's lock.
//!
//! Whoever writes holds the lock of the file `lock` alone, whoever reads shares it: lines move when data are let go of.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vice_core::event::Recorded;
use vice_core::store::LogHead;
use vice_core::{Code, Digest, Fault, Result};

use super::index::{At, Entering, Index};
use super::let_go::GENERATION;
use super::line::{self, ARCHIVED, FenceLine, Line};
use super::walk::{Sink, walk};
use crate::disk::{make_private_dir, unreadable, unwritable};
use crate::witness::Witness;

/// A writer holds the lock for one batch, which takes milliseconds; under a slow disk, seconds.
const BUSY: Duration = Duration::from_secs(15);
const BUSY_STEP: Duration = Duration::from_millis(5);

/// The name of the segment that begins with a record.
pub(crate) fn segment_name(record: u64) -> String {
    format!("{record:020}.jsonl")
}

pub(crate) fn damaged(message: impl Into<String>) -> Fault {
    Fault::new(Code::HistoryDamaged, message)
        .hint("`vice greed verify` says what is damaged; `vice greed restore URL` brings a backup back.")
}

/// The log of one folder.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    lock: Option<File>,
    pub(crate) index: Index,
    /// The first records of the segments, in order.
    segments: Vec<u64>,
    /// Behind the last whole append of the last segment.
    pub(crate) offset: u64,
    /// What follows there: bytes of an append that was never whole.
    pub(crate) torn: Option<u64>,
    /// Whether everything was read, and compared with the witness.
    read: bool,
    identity: Option<(u64, u64)>,
    /// Which file says that lines have moved; none while they never have.
    generation: Option<(u64, u64)>,
}

/// A held lock: closing it would be too late, for the log keeps the file open.
pub(crate) struct Held(Option<File>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing the file would unlock it as well, so a failure here changes nothing.
            file.unlock().ok();
        }
    }
}

impl Log {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            lock: None,
            index: Index::new(None),
            segments: Vec::new(),
            offset: 0,
            torn: None,
            read: false,
            identity: None,
            generation: None,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn witness_path(&self) -> PathBuf {
        self.dir.join(super::WITNESS)
    }

    /// Forgets everything, so that it is read anew.
    pub(crate) fn forget(&mut self) {
        let (dir, lock) = (std::mem::take(&mut self.dir), self.lock.take());
        *self = Self { lock, ..Self::new(dir) };
    }

    /// Takes the lock for reading; there is none where the folder can't be written and never was.
    pub(crate) fn share(&mut self) -> Result<Held> {
        let path = self.dir.join(super::LOCK);
        if self.lock.is_none() || !same_file(self.lock.as_ref(), &path) {
            self.lock = match File::open(&path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(unreadable(error, "The lock", &path)),
            };
        }
        self.hold(File::try_lock_shared)
    }

    /// Takes the lock for writing; makes folder and lock where they are missing.
    pub(crate) fn exclude(&mut self) -> Result<Held> {
        let path = self.dir.join(super::LOCK);
        if self.lock.is_none() || !same_file(self.lock.as_ref(), &path) {
            make_private_dir(&self.dir).map_err(|error| unwritable(error, &self.dir))?;
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true).mode(0o600);
            self.lock = Some(options.open(&path).map_err(|error| unwritable(error, &path))?);
        }
        self.hold(File::try_lock)
    }

    fn hold(&self, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Held> {
        let Some(file) = &self.lock else { return Ok(Held(None)) };
        let mut waited = Duration::ZERO;
        loop {
            match lock(file) {
                Ok(()) => {
                    // A handle of its own for the one open file: the lock belongs to the open file.
                    let held = file.try_clone().map_err(|error| unreadable(error, "The lock of", &self.dir))?;
                    return Ok(Held(Some(held)));
                }
                Err(TryLockError::WouldBlock) if waited < BUSY => {
                    std::thread::sleep(BUSY_STEP);
                    waited += BUSY_STEP;
                }
                Err(TryLockError::WouldBlock) => {
                    let place = self.dir.display();
                    return Err(Fault::new(Code::Io, format!("Another process keeps the history in {place} locked."))
                        .hint("Nothing was recorded. Try again when the other process has ended."));
                }
                Err(TryLockError::Error(error)) => return Err(unreadable(error, "The lock of", &self.dir)),
            }
        }
    }

    pub(crate) fn last_segment(&self) -> Option<PathBuf> {
        self.segments.last().map(|record| self.dir.join(segment_name(*record)))
    }

    pub(crate) fn segment_path(&self, segment: u32) -> Option<PathBuf> {
        let record = self.segments.get(usize::try_from(segment).ok()?)?;
        Some(self.dir.join(segment_name(*record)))
    }

    /// The number that the next line's segment has in the list.
    pub(crate) fn segment(&self) -> u32 {
        u32::try_from(self.segments.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// A new last segment, which begins with the next record.
    pub(crate) fn begin_segment(&mut self) {
        self.segments.push(self.index.records + 1);
        self.offset = 0;
    }

    /// Brings the index up to date. The lock is held.
    ///
    /// # Errors
    /// `HistoryDamaged` when what is there does not make sense, `Io`.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        if self.replaced() {
            self.forget();
        }
        let witnessed = if self.read { None } else { Some(Witness::read(&self.witness_path())) };
        let witnessed = match witnessed {
            None => None,
            Some(Err(fault)) if fault.code() == Code::HistoryDamaged => None,
            Some(found) => found?,
        };
        if !self.read {
            self.index = Index::new(witnessed.map(|head| head.seq));
            self.generation = identity(&self.dir.join(GENERATION));
            self.require_whole_list()?;
        }
        self.torn = None;
        loop {
            let next = segment_name(self.index.records + 1);
            let there = self.dir.join(&next).try_exists().unwrap_or(true);
            if self.segments.last() != Some(&(self.index.records + 1)) && there {
                self.begin_segment();
            } else if !self.read_segment()? {
                break;
            }
        }
        if !self.read {
            self.require_consumed()?;
            self.identity = self.segments.first().and_then(|first| identity(&self.dir.join(segment_name(*first))));
            self.read = true;
        }
        Ok(())
    }

    /// Whether other files have taken the place of those that were read.
    fn replaced(&self) -> bool {
        if !self.read {
            return false;
        }
        let first = self.segments.first().map_or(1, |first| *first);
        let shorter = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.len() < self.offset);
        identity(&self.dir.join(GENERATION)) != self.generation
            || identity(&self.dir.join(segment_name(first))) != self.identity && self.identity.is_some()
            || self.last_segment().as_ref().is_some_and(shorter)
    }

    /// Reads on in the last segment; true when there may be a further one.
    fn read_segment(&mut self) -> Result<bool> {
        let Some(path) = self.last_segment() else { return Ok(false) };
        let unread = std::fs::metadata(&path).map_err(|error| unreadable(error, "The segment", &path))?;
        if unread.len() == self.offset && self.offset > 0 {
            return Ok(false);
        }
        let segment = self.segment();
        let mut sink = Reading { index: &mut self.index, staged: Vec::new() };
        let end = walk(&path, segment, self.offset, None, &mut sink)?;
        self.offset = end.whole;
        let Some(broken) = end.broken else {
            return Ok(self.dir.join(segment_name(self.index.records + 1)).exists() && end.length > 0);
        };
        let further = self.listed()?.last().is_some_and(|last| Some(last) > self.segments.last());
        let witnessed = Witness::read(&self.witness_path()).ok().flatten().map_or(0, |head| head.seq);
        if !broken.torn || further || self.index.records < witnessed {
            return Err(damaged(format!("{}.", broken.what)));
        }
        self.torn = Some(end.length - end.whole);
        Ok(false)
    }

    /// The segments of the folder by their first record.
    pub(crate) fn listed(&self) -> Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| unreadable(error, "The folder", &self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| unreadable(error, "The folder", &self.dir))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            found.extend(number.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn require_whole_list(&self) -> Result<()> {
        match self.listed()?.first() {
            None | Some(1) => Ok(()),
            Some(first) => Err(damaged(format!(
                "The history in {} begins with record {first}: the segments before are missing.",
                self.dir.display()
            ))),
        }
    }

    fn require_consumed(&self) -> Result<()> {
        let unread = self.listed()?.into_iter().find(|record| !self.segments.contains(record));
        match unread {
            None => Ok(()),
            Some(record) => Err(damaged(format!(
                "The segment {} does not follow: the history before it ends with record {}.",
                segment_name(record),
                self.index.records
            ))),
        }
    }

    /// Fails when the log is not at least what was witnessed: going on would hide the loss.
    pub(crate) fn require_witnessed(&self, witnessed: &LogHead) -> Result<()> {
        match lost(witnessed, self.index.records, self.index.watched()) {
            None => Ok(()),
            Some(problem) => Err(damaged(problem)),
        }
    }

    /// Events by their places.
    pub(crate) fn fetch(&self, places: &[At]) -> Result<Vec<Recorded>> {
        let mut open: Option<(u32, File, PathBuf)> = None;
        let mut events = Vec::with_capacity(places.len());
        for at in places {
            if open.as_ref().is_none_or(|(segment, ..)| *segment != at.segment) {
                let path = self.segment_path(at.segment).ok_or_else(|| Fault::internal("A segment is not known."))?;
                let file = File::open(&path).map_err(|error| unreadable(error, "The segment", &path))?;
                open = Some((at.segment, file, path));
            }
            if let Some((_, file, path)) = &open {
                events.push(fetch_one(file, path, *at)?);
            }
        }
        Ok(events)
    }
}

/// The hash of the document of the event in a line, which is there when the document is not.
pub(crate) fn body_hash(log: &Log, at: At) -> Result<Digest> {
    let path = log.segment_path(at.segment).ok_or_else(|| Fault::internal("A segment is not known."))?;
    let file = File::open(&path).map_err(|error| unreadable(error, "The segment", &path))?;
    let mut bytes = vec![0; usize::try_from(at.len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at.offset).map_err(|error| unreadable(error, "The segment", &path))?;
    match line::read(&bytes) {
        Ok(Line::Event(event)) => Ok(event.body),
        _ => Err(damaged(format!("The line at byte {} of {} is no event.", at.offset, path.display()))),
    }
}

/// What a witness misses in a log with so many records, in a whole sentence. A record is an event or a raised epoch.
pub(crate) fn lost(witnessed: &LogHead, records: u64, at_witness: Option<Digest>) -> Option<String> {
    let seq = witnessed.seq;
    match at_witness {
        _ if seq == 0 => None,
        Some(found) if found == witnessed.chain => None,
        Some(_) => Some(format!("Record {seq} is not the one that was witnessed as the end of the history.")),
        None => Some(format!("The history ends at record {records}, but record {seq} was witnessed: its end is lost.")),
    }
}

fn fetch_one(file: &File, path: &Path, at: At) -> Result<Recorded> {
    let mut bytes = vec![0; usize::try_from(at.len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at.offset).map_err(|error| unreadable(error, "The segment", path))?;
    match line::read(&bytes) {
        Ok(Line::Event(event)) => event.recorded(),
        Ok(_) => Err(damaged(format!("The line at byte {} of {} is no event.", at.offset, path.display()))),
        Err(odd) => Err(damaged(format!("The line at byte {} of {} {odd}.", at.offset, path.display()))),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn same_file(file: Option<&File>, path: &Path) -> bool {
    let open = file.and_then(|file| file.metadata().ok()).map(|found| (found.dev(), found.ino()));
    open.is_some() && open == identity(path)
}

/// Fills the index, append by append.
struct Reading<'a> {
    index: &'a mut Index,
    staged: Vec<Staged>,
}

enum Staged {
    Event(Entering),
    Fence(FenceLine),
}

impl Sink for Reading<'_> {
    fn stage(&mut self, at: At, line: Line<'_>) -> std::result::Result<(), String> {
        match line {
            Line::Event(event) => self.staged.push(Staged::Event(Entering::of(&event, at))),
            Line::Fence(fence) => self.staged.push(Staged::Fence(fence)),
            Line::Head(head) if at.offset > 0 => return Err(format!("begins a segment ({}) within one", head.record)),
            Line::Head(head) if head.segment > ARCHIVED => {
                return Err(format!("is of format {}; this vice knows formats up to {ARCHIVED}", head.segment));
            }
            Line::Head(head) if head.record != self.index.records + 1 || head.mark != self.index.mark => {
                return Err("does not follow the segment before".to_owned());
            }
            Line::Head(_) => return Ok(()),
        }
        if at.offset == 0 {
            return Err("is not the head of a segment".to_owned());
        }
        Ok(())
    }

    fn commit(&mut self) -> std::result::Result<(), String> {
        for staged in self.staged.drain(..) {
            match staged {
                Staged::Event(event) => self.index.add(&event)?,
                Staged::Fence(fence) => self.index.raise(&fence)?,
            }
        }
        Ok(())
    }

    fn goes_on(&mut self, _: String) -> bool {
        false
    }
}
