//! A history as it was: the beginning of a backup up to an event or a time.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use vice_core::fold::{self, lease::LeaseState};
use vice_core::id::Scope;
use vice_core::payload::lease_stream;
use vice_core::store::{Append, EventStore, Fence, LogHead, Order, Query};
use vice_core::time::SystemClock;
use vice_core::{Code, Fault, Result};

use super::epochs::whole;
use crate::copy;
use crate::sqlite::{DATABASE, SqliteStore};

/// How far a history is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Up to and with this event.
    Seq(u64),
    /// Up to the last event that is not after this time.
    Time(Timestamp),
}

/// Makes a history in the folder `to` that is the beginning of the one in the folder `from`. Gives its end.
pub(super) async fn cut(from: &Path, to: &Path, until: Until, url: &str) -> Result<LogHead> {
    let open = |dir: &Path| SqliteStore::open(dir, Arc::new(SystemClock));
    let (source, target) = (open(from)?, open(to)?);
    let last = last(&source, until, url).await?;
    let head = copy::beginning(&source, &target, last).await?;
    take_epochs(&source, &target).await?;
    source.close().await?;
    target.close().await?;
    whole(&to.join(DATABASE))?;
    Ok(head)
}

/// The epochs that the events say. What was reached later is raised by whoever restores, with events of its own: the state
/// of a lease must not be behind its fence, or an epoch would be given out twice.
async fn take_epochs(source: &dyn EventStore, target: &dyn EventStore) -> Result<()> {
    for (scope, epoch) in source.fences().await? {
        let said = match Scope::parse(&scope) {
            Some(scope) => fold::load::<LeaseState>(target, &lease_stream(&scope)).await?.0.epoch,
            None => epoch,
        };
        if said > 0 {
            target.append(Append::of(Vec::new()).fenced(Fence { scope, epoch: said.min(epoch) })).await?;
        }
    }
    Ok(())
}

async fn last(source: &dyn EventStore, until: Until, url: &str) -> Result<u64> {
    let end = source.head().await?.seq;
    let seq = match until {
        Until::Seq(seq) => seq,
        Until::Time(time) => {
            // The store's own bound is before which; here the moment itself belongs to it.
            let after = time.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
            let query = Query { until: Some(after), limit: 1, order: Order::Backward, ..Query::default() };
            source.read(&query).await?.first().map_or(0, |recorded| recorded.seq)
        }
    };
    if (1..=end).contains(&seq) {
        return Ok(seq);
    }
    let fault =
        Fault::new(Code::Backup, format!("The backup in {url} has events 1 to {end}, and none that is wanted."));
    Err(fault.hint("Name another moment with --until, or another backup's folder."))
}
