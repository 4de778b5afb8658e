//! What is kept in memory of each event: where its line is and what queries ask for, about 100 bytes; never its body.

use std::collections::{BTreeMap, HashMap};

use vice_core::id::{EnvName, ProjectName};
use vice_core::store::{LogHead, Order, Query, StreamHead};
use vice_core::{Digest, Fault, Result};

use super::line::{EventLine, FenceLine};
use crate::decide::Spot;

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The number of the segment in the log's list.
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// Without its end.
    pub(crate) len: u32,
}

/// No project, no environment.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: At,
    time: i64,
    stream: u32,
    kind: u32,
    project: u32,
    env: u32,
}

/// Texts by number.
#[derive(Debug, Default)]
struct Words {
    ids: BTreeMap<String, u32>,
}

impl Words {
    fn ensure(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        // As many words as events at most, and those are numbered by 32 bits.
        let id = u32::try_from(self.ids.len()).unwrap_or(NONE - 1);
        self.ids.insert(text.to_owned(), id);
        id
    }

    fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, u32)> + 'a {
        let from = self.ids.range(prefix.to_owned()..);
        from.take_while(move |(text, _)| text.starts_with(prefix)).map(|(text, id)| (text, *id))
    }
}

/// What an event adds to the index, before its append is whole.
#[derive(Debug)]
pub(crate) struct Entering {
    at: At,
    spot: Spot,
    key: u128,
    time: i64,
    stream: String,
    kind: String,
    scope: Option<(String, String)>,
    chain: Digest,
}

impl Entering {
    pub(crate) fn of(event: &EventLine<'_>, at: At) -> Self {
        let scope = event.project.as_deref().zip(event.env.as_deref());
        Self {
            at,
            spot: Spot { seq: event.seq, version: event.version },
            key: key(&event.source, &event.id),
            time: event.time,
            stream: event.stream.to_string(),
            kind: event.kind.to_string(),
            scope: scope.map(|(project, env)| (project.to_owned(), env.to_owned())),
            chain: event.chain,
        }
    }
}

/// The name of an event in 128 bits of SHA-256: no two events of a log have the same.
fn key(source: &str, id: &str) -> u128 {
    let mut bytes = Vec::with_capacity(source.len() + id.len() + 8);
    bytes.extend_from_slice(&source.len().to_be_bytes());
    bytes.extend_from_slice(source.as_bytes());
    bytes.extend_from_slice(id.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&Digest::of(&bytes).0[..16]);
    u128::from_be_bytes(half)
}

/// The mark after one more record: a chain over events and fences, which the witness keeps.
pub(crate) fn mark_event(mark: &Digest, chain: &Digest) -> Digest {
    Digest::of(&[&mark.0[..], &chain.0[..]].concat())
}

/// As [`mark_event`], for a fence.
pub(crate) fn mark_fence(mark: &Digest, fence: &FenceLine) -> Digest {
    Digest::of(&[&mark.0[..], b"fence", &fence.epoch.to_be_bytes()[..], fence.fence.as_bytes()].concat())
}

/// The index of a log.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) tip: LogHead,
    /// Events and fences so far.
    pub(crate) records: u64,
    /// The chain over them.
    pub(crate) mark: Digest,
    entries: Vec<Entry>,
    streams: Words,
    /// The sequence numbers of each stream.
    seqs: Vec<Vec<u32>>,
    kinds: Words,
    projects: Words,
    envs: Words,
    known: HashMap<u128, u32>,
    fences: BTreeMap<String, u64>,
    /// The record whose mark is wanted, and its mark.
    watch: Option<u64>,
    watched: Option<Digest>,
}

impl Index {
    pub(crate) fn new(watch: Option<u64>) -> Self {
        Self {
            tip: LogHead { seq: 0, chain: Digest::ZERO },
            records: 0,
            mark: Digest::ZERO,
            entries: Vec::new(),
            streams: Words::default(),
            seqs: Vec::new(),
            kinds: Words::default(),
            projects: Words::default(),
            envs: Words::default(),
            known: HashMap::new(),
            fences: BTreeMap::new(),
            watch,
            watched: (watch == Some(0)).then_some(Digest::ZERO),
        }
    }

    pub(crate) const fn watched(&self) -> Option<Digest> {
        self.watched
    }

    pub(crate) const fn watches(&self) -> Option<u64> {
        self.watch
    }

    fn count(&mut self, mark: Digest) {
        self.mark = mark;
        self.records += 1;
        if self.watch == Some(self.records) {
            self.watched = Some(mark);
        }
    }

    /// Adds an event whose append is whole.
    ///
    /// # Errors
    /// What doesn't fit, to stand behind the name of a line.
    pub(crate) fn add(&mut self, event: &Entering) -> std::result::Result<(), String> {
        let seq = self.tip.seq + 1;
        let short = u32::try_from(seq).map_err(|_| "is one more than this store can number".to_owned())?;
        if event.spot.seq != seq {
            return Err(format!("has number {}, but event {seq} is next", event.spot.seq));
        }
        let stream = self.streams.ensure(&event.stream);
        let at = usize::try_from(stream).unwrap_or(usize::MAX);
        if at == self.seqs.len() {
            self.seqs.push(Vec::new());
        }
        let seqs = &mut self.seqs[at];
        if event.spot.version != seqs.len() as u64 + 1 {
            return Err(format!("has version {}, which does not follow in its stream", event.spot.version));
        }
        if self.known.insert(event.key, short).is_some() {
            return Err("repeats the source and id of an earlier event".to_owned());
        }
        seqs.push(short);
        let (project, env) = match &event.scope {
            Some((project, env)) => (self.projects.ensure(project), self.envs.ensure(env)),
            None => (NONE, NONE),
        };
        let kind = self.kinds.ensure(&event.kind);
        self.entries.push(Entry { at: event.at, time: event.time, stream, kind, project, env });
        self.tip = LogHead { seq, chain: event.chain };
        self.count(mark_event(&self.mark, &event.chain));
        Ok(())
    }

    /// Adds a fence whose append is whole.
    ///
    /// # Errors
    /// As [`Index::add`].
    pub(crate) fn raise(&mut self, fence: &FenceLine) -> std::result::Result<(), String> {
        if fence.epoch <= self.highest(&fence.fence) {
            return Err(format!("lowers the epoch of {}", fence.fence));
        }
        self.fences.insert(fence.fence.clone(), fence.epoch);
        self.count(mark_fence(&self.mark, fence));
        Ok(())
    }

    pub(crate) fn highest(&self, scope: &str) -> u64 {
        self.fences.get(scope).copied().unwrap_or(0)
    }

    pub(crate) const fn fences(&self) -> &BTreeMap<String, u64> {
        &self.fences
    }

    fn seqs_of(&self, stream: &str) -> Option<&Vec<u32>> {
        self.seqs.get(usize::try_from(self.streams.id(stream)?).ok()?)
    }

    pub(crate) fn version(&self, stream: &str) -> u64 {
        self.seqs_of(stream).map_or(0, |seqs| seqs.len() as u64)
    }

    /// The number and line of an event by name.
    pub(crate) fn find(&self, source: &str, id: &str) -> Option<At> {
        let seq = self.known.get(&key(source, id))?;
        Some(self.entry(*seq)?.at)
    }

    /// The line of an event by its number.
    pub(crate) fn line(&self, seq: u64) -> Option<At> {
        Some(self.entry(u32::try_from(seq).ok()?)?.at)
    }

    fn entry(&self, seq: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    pub(crate) fn list_streams(&self, prefix: &str, after: &str, limit: usize) -> Vec<StreamHead> {
        let fitting = self.streams.with_prefix(prefix).filter(|(name, _)| name.as_str() > after);
        let head = |(name, _): (&String, u32)| StreamHead { name: name.clone(), version: self.version(name) };
        fitting.take(limit).map(head).collect()
    }

    /// The lines of one page of matching events.
    pub(crate) fn select(&self, query: &Query) -> Result<Vec<At>> {
        let Some(filter) = self.filter(query)? else { return Ok(Vec::new()) };
        let last = u32::try_from(self.entries.len()).map_err(|_| Fault::internal("The index is too large."))?;
        let after = u32::try_from(query.after).unwrap_or(u32::MAX);
        let (low, high) = match query.order {
            Order::Forward => (after.saturating_add(1), last),
            Order::Backward if after == 0 => (1, last),
            Order::Backward => (1, last.min(after - 1)),
        };
        let page = Page { order: query.order, size: query.page() };
        let fits = |seq: &u32| self.entry(*seq).is_some_and(|entry| filter.fits(entry));
        let seqs = match &query.stream {
            Some(name) => {
                let Some(seqs) = self.seqs_of(name) else { return Ok(Vec::new()) };
                let from = usize::try_from(query.after_version).unwrap_or(usize::MAX).min(seqs.len());
                let (from, to) =
                    (from.max(seqs.partition_point(|seq| *seq < low)), seqs.partition_point(|s| *s <= high));
                page.of(seqs.get(from..to).unwrap_or(&[]).iter().copied().filter(fits))
            }
            None => page.of((low..=high).filter(fits)),
        };
        Ok(seqs.into_iter().filter_map(|seq| self.entry(seq)).map(|entry| entry.at).collect())
    }

    /// The query in numbers; `None` when nothing can match.
    fn filter(&self, query: &Query) -> Result<Option<Filter>> {
        let number = |words: &Words, text: Option<&str>| match text {
            None => Some(None),
            Some(text) => words.id(text).map(Some),
        };
        let project = number(&self.projects, query.project.as_ref().map(ProjectName::as_str));
        let env = number(&self.envs, query.env.as_ref().map(EnvName::as_str));
        let (Some(project), Some(env)) = (project, env) else { return Ok(None) };
        let kinds = (!query.kinds.is_empty()).then(|| self.kind_set(&query.kinds));
        let streams = query.stream_prefix.as_ref().map(|prefix| {
            let mut wanted = vec![false; self.seqs.len()];
            for (_, id) in self.streams.with_prefix(prefix) {
                if let Some(slot) = usize::try_from(id).ok().and_then(|id| wanted.get_mut(id)) {
                    *slot = true;
                }
            }
            wanted
        });
        let time = |at: jiff::Timestamp| {
            // A time beyond what can be stored is beyond every stored time as well.
            i64::try_from(at.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()))
                .map_err(|error| Fault::internal("A time is out of range.").because(error))
        };
        let since = query.since.map(time).transpose()?.unwrap_or(i64::MIN);
        let until = query.until.map(time).transpose()?;
        Ok(Some(Filter { project, env, kinds, streams, since, until }))
    }

    fn kind_set(&self, kinds: &[String]) -> Vec<u32> {
        let mut ids: Vec<u32> = Vec::new();
        for kind in kinds {
            match kind.strip_suffix('*') {
                Some(prefix) => ids.extend(self.kinds.with_prefix(prefix).map(|(_, id)| id)),
                None => ids.extend(self.kinds.id(kind)),
            }
        }
        ids.sort_unstable();
        ids
    }
}

struct Page {
    order: Order,
    size: usize,
}

impl Page {
    fn of(&self, seqs: impl DoubleEndedIterator<Item = u32>) -> Vec<u32> {
        match self.order {
            Order::Forward => seqs.take(self.size).collect(),
            Order::Backward => seqs.rev().take(self.size).collect(),
        }
    }
}

struct Filter {
    project: Option<u32>,
    env: Option<u32>,
    /// Sorted.
    kinds: Option<Vec<u32>>,
    /// For each stream whether it is wanted.
    streams: Option<Vec<bool>>,
    since: i64,
    until: Option<i64>,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        let stream = |wanted: &Vec<bool>| usize::try_from(entry.stream).is_ok_and(|at| wanted.get(at) == Some(&true));
        self.project.is_none_or(|project| project == entry.project)
            && self.env.is_none_or(|env| env == entry.env)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(&entry.kind).is_ok())
            && self.streams.as_ref().is_none_or(stream)
            && entry.time >= self.since
            && self.until.is_none_or(|until| entry.time < until)
    }
}
