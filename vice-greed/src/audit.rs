//! Reading a history through its port and computing its chain anew: for stores whose own check is somebody else's word.

use std::collections::HashMap;

use vice_core::chain::{Chainer, Header};
use vice_core::event::Recorded;
use vice_core::store::{EventStore, LogHead, Query, Verification};
use vice_core::{Digest, Result};

/// So many problems are told; a log with more is not better understood by reading on.
const PROBLEMS_MAX: usize = 20;

/// Events in memory at a time, of a mebibyte each at most.
const PAGE: usize = 500;

/// What reading found.
pub(crate) struct Audit {
    found: Verification,
    chainer: Chainer,
    versions: HashMap<String, u64>,
    watch: Option<LogHead>,
    watched: Option<Digest>,
}

impl Audit {
    /// Reads everything that `store` gives, and compares with a head that was witnessed.
    ///
    /// # Errors
    /// What reading fails with; damage is a finding.
    pub(crate) async fn run(store: &dyn EventStore, witnessed: Option<LogHead>) -> Result<Verification> {
        let head = LogHead { seq: 0, chain: Digest::ZERO };
        let mut audit = Self {
            found: Verification { events: 0, head, problems: Vec::new() },
            chainer: Chainer::default(),
            versions: HashMap::new(),
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
        audit.lost();
        Ok(audit.found)
    }

    fn problem(&mut self, text: String) {
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(text);
        }
    }

    fn event(&mut self, recorded: &Recorded) {
        let (seq, previous) = (recorded.seq, self.found.head);
        if seq != previous.seq + 1 {
            self.problem(format!("After event {} comes event {seq}.", previous.seq));
        }
        let body = Digest::of(recorded.event.data.as_bytes());
        let header = Header::of(&recorded.event, seq, recorded.version);
        if self.chainer.link(&previous.chain, &header, &body) != recorded.chain {
            self.problem(format!("Event {seq} does not fit into the chain."));
        }
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
        // What is stored is what the next one is checked against, so that one damage is one problem.
        self.found.head = LogHead { seq, chain: recorded.chain };
    }

    fn lost(&mut self) {
        let Some(LogHead { seq, chain }) = self.watch else { return };
        match self.watched {
            Some(found) if found == chain => {}
            Some(_) => self.problem(format!("Event {seq} is not the one that was witnessed as the end of the history.")),
            None => {
                self.problem(format!("Event {seq} was witnessed, and the history does not have it: its end is lost."));
            }
        }
    }
}
