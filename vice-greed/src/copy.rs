//! Moving a history from one store to another: event by event with its number, version and chain, so that the copy is the
//! same history, and compared as a whole before it is called one.

use vice_core::event::Recorded;
use vice_core::store::{Append, EventStore, Fence, LogHead, Order, Query};
use vice_core::ui::{Progress, ProgressState, Ui};
use vice_core::{Code, Fault, Result};

use crate::audit::Links;

/// Events in memory at a time, of a mebibyte each at most.
const PAGE: usize = 200;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    /// The end of both histories.
    pub(crate) head: LogHead,
    /// Events that the target had already.
    pub(crate) found: u64,
    /// Epochs that were raised in the target.
    pub(crate) epochs: usize,
}

/// Copies all of `from` that `to` does not have, and compares.
///
/// # Errors
/// `Conflict` when `to` holds another history, `HistoryDamaged` when one of them is damaged, and what the stores fail with.
/// What was copied until then stays: the same command goes on with it.
pub(crate) async fn copy(from: &dyn EventStore, to: &dyn EventStore, ui: &dyn Ui) -> Result<Copied> {
    let found = common_start(from, to).await?;
    let mut run = Run { links: Links::from(found), previous: found };
    loop {
        let end = from.head().await?;
        if run.previous.seq >= end.seq {
            break;
        }
        run.page(from, to, PAGE).await?;
        ui.progress(progress(run.previous.seq, end.seq));
    }
    let epochs = raise(from, to).await?;
    compare(from, to, run.previous).await?;
    Ok(Copied { head: run.previous, found: found.seq, epochs })
}

/// Copies the events up to `until` into an empty store. Epochs are left to whoever asks.
///
/// # Errors
/// As [`copy`].
pub(crate) async fn beginning(from: &dyn EventStore, to: &dyn EventStore, until: u64) -> Result<LogHead> {
    let found = common_start(from, to).await?;
    let mut run = Run { links: Links::from(found), previous: found };
    while run.previous.seq < until {
        let left = usize::try_from(until - run.previous.seq).unwrap_or(PAGE);
        run.page(from, to, left.min(PAGE)).await?;
    }
    Ok(run.previous)
}

fn progress(done: u64, all: u64) -> Progress {
    Progress {
        key: "copy".to_owned(),
        text: format!("{done} of {all} events copied"),
        state: ProgressState::Running,
        gist: Some(format!("copying {all} events")),
    }
}

/// Up to where the target has the same history already.
async fn common_start(from: &dyn EventStore, to: &dyn EventStore) -> Result<LogHead> {
    let head = to.head().await?;
    if head.seq == 0 {
        return Ok(head);
    }
    let same = at(from, head.seq).await?.is_some_and(|event| event.chain == head.chain);
    if same {
        return Ok(head);
    }
    let (one, two) = (from.describe().location, to.describe().location);
    Err(Fault::new(
        Code::Conflict,
        format!("{two} holds a history with {} events that is not that of {one}.", head.seq),
    )
    .hint("Copy into an empty place; nothing is ever written over."))
}

async fn at(store: &dyn EventStore, seq: u64) -> Result<Option<Recorded>> {
    let page = store.read(&Query { after: seq - 1, limit: 1, ..Query::default() }).await?;
    Ok(page.into_iter().find(|recorded| recorded.seq == seq))
}

struct Run {
    links: Links,
    previous: LogHead,
}

impl Run {
    /// The next events, at most `limit`.
    async fn page(&mut self, from: &dyn EventStore, to: &dyn EventStore, limit: usize) -> Result<()> {
        let query = Query { after: self.previous.seq, limit, order: Order::Forward, ..Query::default() };
        let page = from.read(&query).await?;
        if page.is_empty() {
            return Err(damaged(from, self.previous.seq + 1, "is missing"));
        }
        for recorded in &page {
            self.check(from, recorded)?;
        }
        let wanted: Vec<u64> = page.iter().map(|recorded| recorded.seq).collect();
        let events = page.into_iter().map(|recorded| recorded.event).collect();
        let appended = to.append(Append::of(events)).await?;
        if appended.seqs == wanted && to.head().await? == self.previous {
            return Ok(());
        }
        Err(Fault::new(Code::Conflict, format!("Somebody else writes to {}.", to.describe().location))
            .hint("End what uses it, and copy into an empty place."))
    }

    /// A damaged history is not carried on as a sound one.
    fn check(&mut self, from: &dyn EventStore, recorded: &Recorded) -> Result<()> {
        let seq = self.previous.seq + 1;
        if recorded.seq != seq {
            return Err(damaged(from, seq, "is missing"));
        }
        if self.links.add(recorded).is_err() {
            recorded.event.require_data()?;
            return Err(damaged(from, seq, "does not fit into the chain"));
        }
        self.previous = self.links.head();
        Ok(())
    }
}

fn damaged(store: &dyn EventStore, seq: u64, what: &str) -> Fault {
    let place = store.describe().location;
    Fault::new(Code::HistoryDamaged, format!("Event {seq} of {place} {what}."))
        .hint("`vice greed verify` says more. Restore a backup, and copy that.")
}

/// The epochs are not events: they go over by themselves, so that no old writer is let in.
async fn raise(from: &dyn EventStore, to: &dyn EventStore) -> Result<usize> {
    let known = to.fences().await?;
    let mut raised = 0;
    for (scope, epoch) in from.fences().await? {
        if known.get(&scope).is_none_or(|known| *known < epoch) {
            to.append(Append::of(Vec::new()).fenced(Fence { scope, epoch })).await?;
            raised += 1;
        }
    }
    Ok(raised)
}

/// Both histories once more, event by event, and the target's own check.
async fn compare(from: &dyn EventStore, to: &dyn EventStore, head: LogHead) -> Result<()> {
    let found = to.verify().await?;
    if let Some(problem) = found.problems.first() {
        return Err(Fault::new(Code::HistoryDamaged, format!("The copy is damaged: {problem}")));
    }
    let mut query = Query { limit: PAGE, ..Query::default() };
    while query.after < head.seq {
        let (one, two) = (from.read(&query).await?, to.read(&query).await?);
        let differs = one.iter().zip(&two).find(|(one, two)| one != two).map(|(one, _)| one.seq);
        let last = one.last().map_or(0, |last| last.seq);
        if differs.is_some() || two.last().map_or(0, |last| last.seq) != last || last <= query.after {
            let seq = differs.unwrap_or(query.after + 1);
            return Err(Fault::new(Code::HistoryDamaged, format!("Event {seq} of the copy differs."))
                .hint("Check the storage of the target before you copy again."));
        }
        query.after = last;
    }
    if found.head == head && from.head().await? == head {
        return Ok(());
    }
    Err(Fault::new(Code::Conflict, "One of the histories grew while they were compared.")
        .hint("End what uses them, and run the command again; it goes on with what is there."))
}
