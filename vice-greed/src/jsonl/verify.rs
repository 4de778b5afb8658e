//! Reading every segment once, in order, and computing everything anew, without the index.

use std::collections::HashMap;

use vice_core::chain::Header;
use vice_core::store::{LogHead, Verification};
use vice_core::{Code, Digest, Result};

use super::index::{At, mark_event, mark_fence};
use super::line::{EventLine, FenceLine, Line};
use super::log::{Log, lost, segment_name};
use super::walk::{Sink, walk};
use crate::gaps::{Scales, Stored};
use crate::witness::Witness;

/// So many problems are told; a log with more is not better understood by reading on.
const PROBLEMS_MAX: usize = 20;

/// Checks the segments and the witness. The list of segments and its end were taken under the lock.
pub(crate) fn verify(log: &Log) -> Result<Verification> {
    // The witness first: the log may have grown since, but not shrunk.
    let (witnessed, mut problems) = match Witness::read(&log.witness_path()) {
        Ok(witnessed) => (witnessed, Vec::new()),
        Err(fault) if fault.code() == Code::HistoryDamaged => (None, vec![fault.to_string()]),
        // Who may not read it can't tell whether it is damaged.
        Err(fault) => return Err(fault),
    };
    let unwitnessed = witnessed.is_none() && problems.is_empty();
    let segments = log.listed()?;
    let mut audit = Audit::new(witnessed.map(|head| head.seq));
    for (number, record) in segments.iter().enumerate() {
        audit.segment(log, *record, number + 1 == segments.len())?;
    }
    if unwitnessed && audit.whole.records > 0 {
        let path = log.witness_path();
        let path = path.display();
        problems.push(format!("The head witness {path} is missing, so a lost end of the history can't be told."));
    }
    let (records, watched) = (audit.whole.records, audit.watched);
    audit.scales.problems().into_iter().for_each(|problem| audit.problem(problem));
    let missed = witnessed.and_then(|witnessed| lost(&witnessed, records, watched));
    problems.extend(audit.problems);
    problems.extend(missed);
    problems.truncate(PROBLEMS_MAX);
    Ok(Verification { events: audit.whole.events, head: audit.whole.head, problems })
}

/// How far the log was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    head: LogHead,
    events: u64,
    records: u64,
    mark: Digest,
}

struct Audit {
    /// Up to the last append that is whole.
    whole: Place,
    /// Up to the last line.
    now: Place,
    problems: Vec<String>,
    watch: Option<u64>,
    watched: Option<Digest>,
    scales: Scales,
    versions: HashMap<String, u64>,
    epochs: HashMap<String, u64>,
}

impl Audit {
    fn new(watch: Option<u64>) -> Self {
        let start = Place { head: LogHead { seq: 0, chain: Digest::ZERO }, events: 0, records: 0, mark: Digest::ZERO };
        Self {
            whole: start,
            now: start,
            problems: Vec::new(),
            watch,
            watched: (watch == Some(0)).then_some(Digest::ZERO),
            scales: Scales::default(),
            versions: HashMap::new(),
            epochs: HashMap::new(),
        }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    fn segment(&mut self, log: &Log, record: u64, last: bool) -> Result<()> {
        let name = segment_name(record);
        if record != self.whole.records + 1 {
            self.problem(format!(
                "The segment {name} does not follow: the history before it ends with record {}.",
                self.whole.records
            ));
        }
        let path = log.dir().join(&name);
        // The last one may be growing; what is there when it is opened is read.
        let end = walk(&path, 0, 0, None, self)?;
        if let Some(broken) = end.broken
            && !(broken.torn && last && self.watch.unwrap_or(0) <= self.whole.records)
        {
            self.problem(format!("{}.", broken.what));
        }
        self.now = self.whole;
        Ok(())
    }

    fn count(&mut self, mark: Digest) {
        self.now.mark = mark;
        self.now.records += 1;
        if self.watch == Some(self.now.records) {
            self.watched = Some(mark);
        }
    }

    fn event(&mut self, line: EventLine<'_>) -> std::result::Result<(), String> {
        let (seq, expected) = (line.seq, self.now.head.seq + 1);
        self.now.events += 1;
        let (body_hash, chain, version, there) = (line.body, line.chain, line.version, line.has_data());
        let recorded = line.recorded().map_err(|fault| format!("names no scope: {fault}"))?;
        let event = &recorded.event;
        let known = self.versions.entry(event.stream.clone()).or_insert(0);
        let follows = version == *known + 1;
        *known = version;
        let data = there.then_some(event.data.as_str());
        let stored = Stored { header: Header::of(event, seq, version), body_hash, chain, data };
        let weighed = self.scales.weigh(&self.now.head.chain, &stored, follows);
        // What is stored is what the next one is checked against, so that one damage is one problem.
        self.now.head = LogHead { seq, chain };
        self.count(mark_event(&self.now.mark, &chain));
        if seq != expected {
            return Err(format!("is event {seq}, but event {expected} is next"));
        }
        weighed.map_err(|odd| format!("is event {seq}, which {odd}"))
    }

    fn fence(&mut self, fence: &FenceLine) -> std::result::Result<(), String> {
        self.count(mark_fence(&self.now.mark, fence));
        let known = self.epochs.insert(fence.fence.clone(), fence.epoch).unwrap_or(0);
        if known >= fence.epoch {
            return Err(format!("lowers the epoch of {}", fence.fence));
        }
        Ok(())
    }
}

impl Sink for Audit {
    fn stage(&mut self, at: At, line: Line<'_>) -> std::result::Result<(), String> {
        match line {
            Line::Event(event) => self.event(*event),
            Line::Fence(fence) => self.fence(&fence),
            Line::Head(head) if at.offset > 0 => Err(format!("begins a segment ({}) within one", head.record)),
            Line::Head(head) if head.record != self.now.records + 1 || head.mark != self.now.mark => {
                Err("does not follow the segment before".to_owned())
            }
            Line::Head(_) => Ok(()),
        }
    }

    fn commit(&mut self) -> std::result::Result<(), String> {
        self.whole = self.now;
        Ok(())
    }

    fn goes_on(&mut self, problem: String) -> bool {
        self.problem(format!("{problem}."));
        self.whole = self.now;
        self.problems.len() < PROBLEMS_MAX
    }
}
