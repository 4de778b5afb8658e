//! A batch in the making: appends decided against the mirror and what the batch has added so far, without changing the
//! mirror. Whether it counts is decided by the medium.

use std::collections::{BTreeSet, HashMap};

use vice_core::chain::{Chainer, Header};
use vice_core::event::Event;
use vice_core::store::{Appended, LogHead};
use vice_core::{Code, Digest, Fault, Result};

use super::batch::BYTES_MAX;
use super::medium::Known;
use crate::decide::{Decision, Facts, Spot, Step, Tally, decide};
use crate::desk::{Answer, Work};
use crate::jsonl::index::{mark_event, mark_fence};
use crate::jsonl::line::{self, EventLine, FORMAT, FenceLine, Head, LINE_MAX};
use crate::jsonl::log::Log;
use crate::jsonl::snapshots;
use crate::prepared::{Extra, Prepared};

/// What came of a group of works.
pub(crate) struct Drafted {
    /// What they were decided against.
    pub(crate) known: Known,
    /// One for each work that was taken.
    pub(crate) answers: Vec<Answer>,
    /// The batch; empty when nothing is to be written.
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: LogHead,
    /// What is in it, for people.
    pub(crate) summary: String,
    /// Whether a rule refused one of them, or let one through that writes nothing: that counts only against the latest
    /// state, and nothing that is handed in proves it.
    pub(crate) unproven: bool,
}

/// Decides on as many works as go into one batch, at least one.
pub(crate) fn draft(log: &Log, known: Known, works: &[Work]) -> Result<Drafted> {
    let mut draft = Draft::new(log);
    let (mut answers, mut refused) = (Vec::new(), false);
    for work in works {
        if draft.bytes.len() + size(work) > BYTES_MAX && !answers.is_empty() {
            break;
        }
        let answer = draft.answer(work)?;
        refused |= matches!(&answer, Answer::Append(Err(_)));
        answers.push(answer);
    }
    let summary = draft.summary();
    let unproven = refused || (draft.bytes.is_empty() && draft.idle);
    Ok(Drafted { known, answers, bytes: draft.bytes, head: draft.tip, summary, unproven })
}

fn size(work: &Work) -> usize {
    match work {
        Work::Append(prepared) => prepared.append.events.iter().map(|event| event.data.len() + 1024).sum(),
        Work::Snapshot { .. } => 0,
    }
}

struct Draft<'a> {
    log: &'a Log,
    chainer: Chainer,
    bytes: Vec<u8>,
    tip: LogHead,
    mark: Digest,
    versions: HashMap<&'a str, u64>,
    epochs: HashMap<&'a str, u64>,
    added: HashMap<(&'a str, &'a str), (&'a Event, Spot)>,
    kinds: BTreeSet<&'a str>,
    /// Whether an append went through that has nothing to write.
    idle: bool,
}

impl<'a> Draft<'a> {
    fn new(log: &'a Log) -> Self {
        Self {
            log,
            chainer: Chainer::default(),
            bytes: Vec::new(),
            tip: log.index.tip,
            mark: log.index.mark,
            versions: HashMap::new(),
            epochs: HashMap::new(),
            added: HashMap::new(),
            kinds: BTreeSet::new(),
            idle: false,
        }
    }

    fn answer(&mut self, work: &'a Work) -> Result<Answer> {
        match work {
            Work::Append(prepared) => {
                Ok(Answer::Append(match check_size(work).and_then(|()| decide(prepared, self)) {
                    Ok(Decision::Repeat(appended)) => Ok(appended),
                    Ok(Decision::Write(steps)) => Ok(self.append(prepared, &steps)?),
                    Err(fault) => Err(fault),
                }))
            }
            Work::Snapshot { fold, stream, snapshot } => {
                // A copy that can't be kept is computed again from the events.
                if let Err(error) = snapshots::put(self.log.dir(), fold, stream, snapshot) {
                    tracing::warn!(%error, "a snapshot was not stored");
                }
                Ok(Answer::Done)
            }
        }
    }

    fn append(&mut self, prepared: &'a Prepared, steps: &[Step]) -> Result<Appended> {
        let mut left = steps.iter().filter(|step| **step == Step::New).count();
        self.idle |= left == 0;
        if let Some(fence) = &prepared.append.fence
            && fence.epoch > self.epoch(&fence.scope)
        {
            let raised = FenceLine { fence: fence.scope.clone(), epoch: fence.epoch, more: left > 0 };
            self.begin()?;
            line::write(&mut self.bytes, &raised)?;
            self.mark = mark_fence(&self.mark, &raised);
            self.epochs.insert(&fence.scope, fence.epoch);
        }
        let mut tally = Tally::default();
        for ((event, extra), step) in prepared.append.events.iter().zip(&prepared.extras).zip(steps) {
            let spot = Spot { seq: self.tip.seq + 1, version: self.last(&event.stream) + 1 };
            if *step == Step::New {
                left -= 1;
                self.push(event, extra, spot, left > 0)?;
            }
            tally.note(*step, || spot);
        }
        Ok(tally.appended())
    }

    fn begin(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            return Ok(());
        }
        let head = Head { segment: FORMAT, record: self.log.index.records + 1, mark: self.log.index.mark };
        line::write(&mut self.bytes, &head)
    }

    fn push(&mut self, event: &'a Event, extra: &Extra, spot: Spot, more: bool) -> Result<()> {
        self.begin()?;
        let header = Header::of(event, spot.seq, spot.version);
        let chain = self.chainer.link(&self.tip.chain, &header, &extra.body_hash);
        let start = self.bytes.len();
        line::write(&mut self.bytes, &EventLine::of(event, extra, spot, chain, more))?;
        if self.bytes.len() - start > LINE_MAX {
            return Err(Fault::internal("An event is longer than a line may be."));
        }
        self.tip = LogHead { seq: spot.seq, chain };
        self.mark = mark_event(&self.mark, &chain);
        self.versions.insert(&event.stream, spot.version);
        self.added.insert((&event.source, &event.id), (event, spot));
        self.kinds.insert(&event.kind);
        Ok(())
    }

    fn last(&self, stream: &str) -> u64 {
        self.versions.get(stream).copied().unwrap_or_else(|| self.log.index.version(stream))
    }

    fn epoch(&self, scope: &str) -> u64 {
        self.epochs.get(scope).copied().unwrap_or_else(|| self.log.index.highest(scope))
    }

    /// One line such as `events 12-14: vice-lease.acquired, vice-rollout.started`. Names of types only: subjects and
    /// bodies may say more than a list of commits should.
    fn summary(&self) -> String {
        let (from, to) = (self.log.index.tip.seq + 1, self.tip.seq);
        let kinds: Vec<&str> = self.kinds.iter().take(4).map(|kind| short(kind)).collect();
        let more = if self.kinds.len() > kinds.len() { ", …" } else { "" };
        match to.checked_sub(from) {
            None => "an epoch was raised".to_owned(),
            Some(0) => format!("event {to}: {}", kinds.join(", ")),
            Some(_) => format!("events {from}-{to}: {}{more}", kinds.join(", ")),
        }
    }
}

/// A type without the domain before it and the version behind it.
fn short(kind: &str) -> &str {
    let known = ["dev.cdeventsx.", "dev.cdevents."];
    let rest = known.iter().find_map(|prefix| kind.strip_prefix(prefix)).unwrap_or(kind);
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !".-_".contains(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

fn check_size(work: &Work) -> Result<()> {
    let size = size(work);
    if size <= BYTES_MAX {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("One append of {size} bytes is too large for a shared history."))
        .hint(format!("At most {BYTES_MAX} bytes go into one; append less at once, or use PostgreSQL.")))
}

impl Facts for Draft<'_> {
    fn find(&mut self, event: &Event, _: &Extra) -> Result<Option<Spot>> {
        if let Some((known, spot)) = self.added.get(&(event.source.as_str(), event.id.as_str())) {
            return if known.same_content(event) { Ok(Some(*spot)) } else { Err(Fault::other_content(event)) };
        }
        let Some(at) = self.log.index.find(&event.source, &event.id) else { return Ok(None) };
        let stored = self.log.fetch(&[at])?.pop();
        let stored = stored.ok_or_else(|| Fault::internal("A stored event can't be found."))?;
        if stored.event.same_content(event) {
            return Ok(Some(Spot { seq: stored.seq, version: stored.version }));
        }
        Err(Fault::other_content(event))
    }

    fn version(&mut self, stream: &str) -> u64 {
        self.last(stream)
    }

    fn highest(&mut self, scope: &str) -> u64 {
        self.epoch(scope)
    }
}
