//! Events that came from elsewhere, held to their chain: one after the other ([`Links`]), or a whole history through its port
//! ([`Audit`]), for stores whose own check is somebody else's word.

#[cfg(feature = "remote")]
use std::collections::HashMap;

use vice_core::Digest;
use vice_core::chain::{Chainer, Header};
use vice_core::event::Recorded;
use vice_core::store::LogHead;
#[cfg(feature = "remote")]
use vice_core::store::{EventStore, Query, Verification};

#[cfg(feature = "remote")]
use crate::gaps::Gaps;

#[cfg(feature = "remote")]
/// So many problems are told; a log with more is not better understood by reading on.
const PROBLEMS_MAX: usize = 20;

#[cfg(feature = "remote")]
/// Events in memory at a time, of a mebibyte each at most.
const PAGE: usize = 500;

/// A run of events, each of which must follow the one before it.
pub(crate) struct Links {
    head: LogHead,
    chainer: Chainer,
}

impl From<LogHead> for Links {
    fn from(head: LogHead) -> Self {
        Self { head, chainer: Chainer::default() }
    }
}

impl Links {
    /// Takes the next event.
    ///
    /// # Errors
    /// What is wrong with it, in a whole sentence.
    pub(crate) fn add(&mut self, recorded: &Recorded) -> Result<(), String> {
        let (seq, previous) = (recorded.seq, self.head);
        let body = Digest::of(recorded.event.data.as_bytes());
        let header = Header::of(&recorded.event, seq, recorded.version);
        let fits = self.chainer.link(&previous.chain, &header, &body) == recorded.chain;
        // What is stored is what the next one is checked against, so that one damage is one problem.
        self.head = LogHead { seq, chain: recorded.chain };
        if seq != previous.seq + 1 {
            return Err(format!("After event {} comes event {seq}.", previous.seq));
        }
        if fits { Ok(()) } else { Err(format!("Event {seq} does not fit into the chain.")) }
    }

    /// The last one.
    pub(crate) const fn head(&self) -> LogHead {
        self.head
    }
}

/// What reading found.
#[cfg(feature = "remote")]
pub(crate) struct Audit {
    found: Verification,
    links: Links,
    versions: HashMap<String, u64>,
    gaps: Gaps,
    watch: Option<LogHead>,
    watched: Option<Digest>,
}

#[cfg(feature = "remote")]
impl Audit {
    /// Reads everything that `store` gives, and compares with a head that was witnessed.
    ///
    /// # Errors
    /// What reading fails with; damage is a finding.
    pub(crate) async fn run(store: &dyn EventStore, witnessed: Option<LogHead>) -> vice_core::Result<Verification> {
        let head = LogHead { seq: 0, chain: Digest::ZERO };
        let mut audit = Self {
            found: Verification { events: 0, head, problems: Vec::new() },
            links: Links::from(head),
            versions: HashMap::new(),
            gaps: Gaps::default(),
            watch: witnessed.filter(|head| head.seq > 0),
            watched: None,
        };
        let mut query = Query { limit: PAGE, ..Query::default() };
        loop {
            let page = store.read(&query).await?;
            let Some(last) = page.last().map(|last| last.seq) else { break };
            page.iter().for_each(|recorded| audit.event(recorded));
            if last <= query.after {
                audit.problem(format!("After event {} comes event {last}.", query.after));
                break;
            }
            query.after = last;
        }
        std::mem::take(&mut audit.gaps).problems().into_iter().for_each(|problem| audit.problem(problem));
        audit.lost();
        Ok(audit.found)
    }

    fn problem(&mut self, text: String) {
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(text);
        }
    }

    fn event(&mut self, recorded: &Recorded) {
        let seq = recorded.seq;
        let linked = self.links.add(recorded);
        match (linked, recorded.event.has_data()) {
            (Ok(()), _) => {}
            // Without the data their hash is not known here. That an archive has them is all that can be asked.
            (Err(_), false) => self.gaps.missing(seq),
            (Err(problem), true) => self.problem(problem),
        }
        self.gaps.event(&recorded.event.kind, &recorded.event.data);
        let known = self.versions.entry(recorded.event.stream.clone()).or_insert(0);
        let follows = recorded.version == *known + 1;
        *known = recorded.version;
        if !follows {
            self.problem(format!("Event {seq} does not follow in its stream."));
        }
        if self.watch.is_some_and(|watch| watch.seq == seq) {
            self.watched = Some(recorded.chain);
        }
        self.found.events += 1;
        self.found.head = self.links.head();
    }

    fn lost(&mut self) {
        let Some(LogHead { seq, chain }) = self.watch else { return };
        match self.watched {
            Some(found) if found == chain => {}
            Some(_) => {
                self.problem(format!("Event {seq} is not the one that was witnessed as the end of the history."));
            }
            None => {
                self.problem(format!("Event {seq} was witnessed, and the history does not have it: its end is lost."));
            }
        }
    }
}
