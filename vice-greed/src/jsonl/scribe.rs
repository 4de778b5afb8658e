//! Putting batches at the end of the last segment: decided against the index, written in one piece, synced, witnessed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Duration;
use vice_core::chain::{Chainer, Header};
use vice_core::event::Event;
use vice_core::store::LogHead;
use vice_core::{Code, Fault, Result};

use super::index::{At, Entering};
use super::line::{self, EventLine, FORMAT, FenceLine, Head, LINE_MAX, Line};
use super::log::Log;
use super::snapshots;
use crate::decide::{Decision, Facts, Spot, Step, Tally, decide};
use crate::desk::{Answer, Failed, Scribe, Work, Written};
use crate::disk::{sync_dir, unwritable};
use crate::place::Notices;
use crate::prepared::{Extra, Prepared};
use crate::witness::Witness;

/// A segment that is as long as this gets no more appends: small enough to look into and to copy.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes of one append. What is larger belongs into several, or into another store.
const APPEND_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The writing side of a folder.
pub(crate) struct JsonlScribe {
    log: Arc<Mutex<Log>>,
    notices: Notices,
    witness: Option<Witness>,
    chainer: Chainer,
    segment_bytes: u64,
}

impl JsonlScribe {
    pub(crate) fn new(log: Arc<Mutex<Log>>, notices: Notices, segment_bytes: u64) -> Self {
        Self { log, notices, witness: None, chainer: Chainer::default(), segment_bytes }
    }

    /// What was read is compared with the witness before anything is built on it.
    fn ready(&mut self, log: &mut Log) -> Result<()> {
        let path = log.witness_path();
        if self.witness.is_none() {
            let witnessed = Witness::read(&path)?;
            log.refresh()?;
            if log.index.watches() != witnessed.map(|head| head.seq) {
                log.forget();
                log.refresh()?;
            }
            if let Some(witnessed) = witnessed {
                log.require_witnessed(&witnessed)?;
            }
            let mut witness = Witness::open(&path)?;
            if witnessed.is_none() {
                witness.advance(&LogHead { seq: log.index.records, chain: log.index.mark })?;
            }
            self.witness = Some(witness);
        } else {
            log.refresh()?;
        }
        self.drop_torn(log)
    }

    /// Cuts off what a write left that was never whole, and so never acknowledged.
    fn drop_torn(&self, log: &mut Log) -> Result<()> {
        let (Some(torn), Some(path)) = (log.torn, log.last_segment()) else { return Ok(()) };
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(log.offset)?;
            file.sync_all()
        };
        cut().map_err(|error| unwritable(error, &path))?;
        (self.notices)(&format!(
            "{torn} bytes at the end of {} were dropped: a write that was cut off and never acknowledged.",
            path.display()
        ));
        log.torn = None;
        Ok(())
    }

    fn answer(&mut self, batch: &mut Batch<'_>, work: &Work) -> Result<Answer> {
        Ok(match work {
            Work::Append(prepared) => {
                Answer::Append(match check_size(prepared).and_then(|()| decide(prepared, batch)) {
                    Ok(Decision::Repeat(appended)) => Ok(appended),
                    Ok(Decision::Write(steps)) => Ok(batch.append(prepared, &steps, &mut self.chainer)?),
                    Err(fault) => Err(fault),
                })
            }
            Work::Snapshot { fold, stream, snapshot } => {
                // A copy that can't be kept is computed again from the events.
                if let Err(error) = snapshots::put(batch.log.dir(), fold, stream, snapshot) {
                    tracing::warn!(%error, "a snapshot was not stored");
                }
                Answer::Done
            }
        })
    }
}

fn check_size(prepared: &Prepared) -> Result<()> {
    let size: usize = prepared.append.events.iter().map(|event| event.data.len()).sum();
    if size <= APPEND_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("One append of {size} bytes is too large for JSON lines."))
        .hint(format!("At most {APPEND_BYTES_MAX} bytes go into one; use SQLite or PostgreSQL for more.")))
}

fn guard(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scribe for JsonlScribe {
    fn write(&mut self, works: &[Work]) -> Result<Written, Failed> {
        let shared = Arc::clone(&self.log);
        let mut log = guard(&shared);
        let _held = log.exclude()?;
        self.ready(&mut log)?;
        let mut batch = Batch::begin(&mut log, self.segment_bytes)?;
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            match self.answer(&mut batch, work) {
                Ok(answer) => answers.push(answer),
                Err(fault) => {
                    log.forget();
                    return Err(fault.into());
                }
            }
        }
        let (bytes, fresh, records) = (std::mem::take(&mut batch.bytes), batch.fresh, batch.records);
        if records == 0 {
            if fresh {
                log.forget();
            }
            return Ok(Written { answers, head: None, last_word: None });
        }
        if let Err(failed) = store(&mut log, &bytes, fresh) {
            log.forget();
            return Err(failed);
        }
        log.offset += bytes.len() as u64;
        let mark = LogHead { seq: log.index.records, chain: log.index.mark };
        let last_word = self.witness.as_mut().and_then(|witness| witness.advance(&mark).err());
        Ok(Written { answers, head: Some(log.index.tip), last_word })
    }

    fn due_in(&self) -> Option<Duration> {
        self.witness.as_ref().and_then(Witness::due_in)
    }

    fn sync(&mut self) -> Result<()> {
        self.witness.as_mut().map_or(Ok(()), Witness::sync)
    }

    fn release(&mut self) -> Result<()> {
        guard(&self.log).forget();
        self.witness.take().map_or(Ok(()), |mut witness| witness.sync())
    }
}

/// Writes the bytes and brings them to the disk, with the name of a segment that is new.
fn store(log: &mut Log, bytes: &[u8], fresh: bool) -> Result<(), Failed> {
    let path = log.last_segment().ok_or_else(|| Fault::internal("There is no segment to write to."))?;
    let mut options = OpenOptions::new();
    options.write(true).create(fresh).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|error| unwritable(error, &path))?;
    if let Err(error) = file.write_all_at(bytes, log.offset) {
        // What was written of it is not whole; if it can't be cut off now, the next writer does it.
        file.set_len(log.offset).ok();
        return Err(unwritable(error, &path).into());
    }
    let synced = file.sync_data().and_then(|()| if fresh { sync_names(log, &file) } else { Ok(()) });
    synced.map_err(|error| Failed { fault: unwritable(error, &path), fatal: true })
}

fn sync_names(log: &Log, file: &File) -> std::io::Result<()> {
    file.sync_all()?;
    sync_dir(log.dir())?;
    log.dir().parent().map_or(Ok(()), sync_dir)
}

/// The lines of a batch, and the index as it will be when they are on disk.
struct Batch<'a> {
    log: &'a mut Log,
    bytes: Vec<u8>,
    /// Whether they begin a segment.
    fresh: bool,
    records: u64,
}

impl<'a> Batch<'a> {
    fn begin(log: &'a mut Log, segment_bytes: u64) -> Result<Self> {
        let fresh = log.last_segment().is_none() || log.offset >= segment_bytes || log.offset == 0;
        let mut bytes = Vec::new();
        if fresh {
            if log.last_segment().is_none() || log.offset > 0 {
                log.begin_segment();
            }
            let head = Head { segment: FORMAT, record: log.index.records + 1, mark: log.index.mark };
            line::write(&mut bytes, &head)?;
        }
        Ok(Self { log, bytes, fresh, records: 0 })
    }

    /// Writes the lines of one append; after an error the batch is of no use.
    fn append(
        &mut self,
        prepared: &Prepared,
        steps: &[Step],
        chainer: &mut Chainer,
    ) -> Result<vice_core::store::Appended> {
        let mut left = steps.iter().filter(|step| **step == Step::New).count();
        if let Some(fence) = &prepared.append.fence
            && fence.epoch > self.log.index.highest(&fence.scope)
        {
            let raised = FenceLine { fence: fence.scope.clone(), epoch: fence.epoch, more: left > 0 };
            line::write(&mut self.bytes, &raised)?;
            self.log.index.raise(&raised).map_err(Fault::internal)?;
            self.records += 1;
        }
        let mut tally = Tally::default();
        for ((event, extra), step) in prepared.append.events.iter().zip(&prepared.extras).zip(steps) {
            let spot = self.next_spot(event);
            if *step == Step::New {
                left -= 1;
                self.push(event, extra, spot, left > 0, chainer)?;
            }
            tally.note(*step, || spot);
        }
        Ok(tally.appended())
    }

    fn next_spot(&self, event: &Event) -> Spot {
        Spot { seq: self.log.index.tip.seq + 1, version: self.log.index.version(&event.stream) + 1 }
    }

    fn push(&mut self, event: &Event, extra: &Extra, spot: Spot, more: bool, chainer: &mut Chainer) -> Result<()> {
        let header = Header::of(event, spot.seq, spot.version);
        let chain = chainer.link(&self.log.index.tip.chain, &header, &extra.body_hash);
        let line = EventLine::of(event, extra, spot, chain, more);
        let start = self.bytes.len();
        line::write(&mut self.bytes, &line)?;
        let len = self.bytes.len() - start - 1;
        if len >= LINE_MAX {
            return Err(Fault::internal("An event is longer than a line may be."));
        }
        let at = At {
            segment: self.log.segment(),
            offset: self.log.offset + start as u64,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        self.log.index.add(&Entering::of(&line, at)).map_err(Fault::internal)?;
        self.records += 1;
        Ok(())
    }
}

impl Facts for Batch<'_> {
    fn find(&mut self, event: &Event, extra: &Extra) -> Result<Option<Spot>> {
        let Some(at) = self.log.index.find(&event.source, &event.id) else { return Ok(None) };
        let stored = if at.segment == self.log.segment() && at.offset >= self.log.offset {
            self.written(at)?
        } else {
            self.log.fetch(&[at])?.pop().ok_or_else(|| Fault::internal("A stored event can't be found."))?
        };
        let mut same = stored.event.same_content(event);
        if !same && !stored.event.has_data() {
            // What is left of the document is its hash.
            let bare = Event { data: String::new(), ..event.clone() };
            same = stored.event.same_content(&bare) && super::log::body_hash(self.log, at)? == extra.body_hash;
        }
        if same {
            return Ok(Some(Spot { seq: stored.seq, version: stored.version }));
        }
        Err(Fault::other_content(event))
    }

    fn version(&mut self, stream: &str) -> u64 {
        self.log.index.version(stream)
    }

    fn highest(&mut self, scope: &str) -> u64 {
        self.log.index.highest(scope)
    }
}

impl Batch<'_> {
    /// An event of this batch, which is not in the file yet.
    fn written(&self, at: At) -> Result<vice_core::event::Recorded> {
        let start = usize::try_from(at.offset - self.log.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(at.len).unwrap_or(usize::MAX));
        match self.bytes.get(start..end).map(line::read) {
            Some(Ok(Line::Event(event))) => event.recorded(),
            _ => Err(Fault::internal("An event of this batch can't be found.")),
        }
    }
}
