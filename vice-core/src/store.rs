//! The port of the one history: an append-only log of streams.
//!
//! A store must: append all events of one [`Append`] or none; check every condition and the fence inside the same
//! transaction that assigns sequence numbers; acknowledge only what is on disk; answer a repeated append of the same
//! events (same `source` and `id`, same content) with their first positions; and chain every event's header and body
//! hash to its predecessor. `vice_core::testkit::event_store` holds it to that.

mod layer;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::capability::{BackendInfo, Capabilities};
use crate::digest::Digest;
use crate::event::{Event, Recorded};
use crate::fault::Result;
use crate::id::{EnvName, ProjectName};
use crate::time::Millis;

pub use layer::StoreLayer;

/// What must hold for a stream for an append to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The stream has no events.
    NoStream,
    /// The stream's last event has this version.
    Version(u64),
}

impl Expected {
    /// The condition that nothing has been appended since `version` was read (0: nothing at all).
    #[must_use]
    pub const fn from_version(version: u64) -> Self {
        if version == 0 { Self::NoStream } else { Self::Version(version) }
    }
}

/// A lease's scope and the epoch of the writer. The store refuses an epoch lower than the highest it has seen for
/// the scope, and remembers a higher one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The scope, such as `shop/prod`.
    pub scope: String,
    /// The writer's epoch.
    pub epoch: u64,
}

/// Some events to append at once, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// The events, in order; they may belong to several streams.
    pub events: Vec<Event>,
    /// What must hold.
    pub conditions: Vec<(String, Expected)>,
    /// The writer's fence.
    pub fence: Option<Fence>,
}

impl Append {
    /// An append of these events without conditions.
    #[must_use]
    pub const fn of(events: Vec<Event>) -> Self {
        Self { events, conditions: Vec::new(), fence: None }
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, stream: impl Into<String>, expected: Expected) -> Self {
        self.conditions.push((stream.into(), expected));
        self
    }

    /// Sets the fence.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }
}

/// Where the events of an append ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The sequence number of each event, in the order given.
    pub seqs: Vec<u64>,
    /// The stream version of each event, in the order given.
    pub versions: Vec<u64>,
    /// How many of them were there already.
    pub duplicates: usize,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// The last sequence number; 0 for an empty log.
    pub seq: u64,
    /// The chain hash of that event; zeros for an empty log.
    pub chain: Digest,
}

/// In which order events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}

/// Which events to read. All parts that are given must match.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only events after this sequence number (forward) or before it (backward; 0 means from the end).
    pub after: u64,
    /// Only this stream.
    pub stream: Option<String>,
    /// Only versions of that stream above this; needs `stream`.
    pub after_version: u64,
    /// Only streams whose name starts so.
    pub stream_prefix: Option<String>,
    /// Only this project.
    pub project: Option<ProjectName>,
    /// Only this environment.
    pub env: Option<EnvName>,
    /// Only these types; one that ends in `*` matches as a prefix. Empty: all.
    pub kinds: Vec<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// At most so many; 0 means [`PAGE_MAX`].
    pub limit: usize,
    /// The order.
    pub order: Order,
    /// Headers are enough: data that were archived are not brought back.
    pub bare: bool,
}

/// The largest page that a store returns, so that memory stays bounded.
pub const PAGE_MAX: usize = 10_000;

impl Query {
    /// All events of one stream above a version.
    #[must_use]
    pub fn stream(name: impl Into<String>, after_version: u64) -> Self {
        Self { stream: Some(name.into()), after_version, ..Self::default() }
    }

    /// The page size in force.
    #[must_use]
    pub const fn page(&self) -> usize {
        if self.limit == 0 || self.limit > PAGE_MAX { PAGE_MAX } else { self.limit }
    }

    /// Whether an event matches; stores that can't push a part down filter with this.
    #[must_use]
    pub fn matches(&self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        let scope = event.scope.as_ref();
        let kind_fits = |kind: &String| match kind.strip_suffix('*') {
            Some(prefix) => event.kind.starts_with(prefix),
            None => event.kind == *kind,
        };
        let place = match self.order {
            Order::Forward => recorded.seq > self.after,
            Order::Backward => self.after == 0 || recorded.seq < self.after,
        };
        place
            && self.stream.as_ref().is_none_or(|name| event.stream == *name && recorded.version > self.after_version)
            && self.stream_prefix.as_ref().is_none_or(|prefix| event.stream.starts_with(prefix.as_str()))
            && self.project.as_ref().is_none_or(|project| scope.is_some_and(|scope| scope.project == *project))
            && self.env.as_ref().is_none_or(|env| scope.is_some_and(|scope| scope.env == *env))
            && (self.kinds.is_empty() || self.kinds.iter().any(kind_fits))
            && self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
    }
}

/// A stream and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream's name.
    pub name: String,
    /// The version of its last event.
    pub version: u64,
}

/// A disposable, versioned copy of a fold's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The fold's own version; another version is ignored.
    pub fold_version: u32,
    /// The stream version up to which events are folded in.
    pub version: u64,
    /// The serialised state.
    pub state: String,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many events were read.
    pub events: u64,
    /// The end of the log.
    pub head: LogHead,
    /// What is wrong, in whole sentences; empty when all is well.
    pub problems: Vec<String>,
}

/// An append-only log of streams.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// What and where it is.
    fn describe(&self) -> BackendInfo;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Appends all or nothing; returns after it is durable.
    ///
    /// # Errors
    /// `Conflict` when a condition fails or an id exists with other content, `Fenced` when the epoch is too low,
    /// `StateUnwritable` when the disk refuses.
    async fn append(&self, append: Append) -> Result<Appended>;

    /// One page of matching events.
    ///
    /// # Errors
    /// `Io` or `Decode`.
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>>;

    /// The end of the log.
    ///
    /// # Errors
    /// `Io`.
    async fn head(&self) -> Result<LogHead>;

    /// Streams whose name starts with `prefix`, by name, after the given name, at most `limit`.
    ///
    /// # Errors
    /// `Io`.
    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>>;

    /// The highest epoch of each scope, as appends have raised them.
    ///
    /// # Errors
    /// `Io`, `HistoryDamaged`.
    async fn fences(&self) -> Result<BTreeMap<String, u64>>;

    /// The stored snapshot of a fold over a stream.
    ///
    /// # Errors
    /// `Io`.
    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>>;

    /// Stores a snapshot; failing to is never fatal for the caller.
    ///
    /// # Errors
    /// `Io`.
    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()>;

    /// Returns as soon as the log is longer than `after`, or when the time is up; gives the end of the log.
    ///
    /// # Errors
    /// `Io`.
    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead>;

    /// Leaves a sign of life of whoever holds the lease of a scope. It is no event: only the last one is kept.
    ///
    /// # Errors
    /// `Unsupported` where [`Capability::Beats`](crate::capability::Capability::Beats) is not declared; `Unreachable`, `Io`.
    async fn beat(&self, scope: &str, mark: &str) -> Result<()>;

    /// The last sign of life for a scope, as some text that differs from that of every earlier one. Whoever waits for a
    /// holder looks whether it changes, so that no two clocks have to agree.
    ///
    /// # Errors
    /// As [`EventStore::beat`].
    async fn pulse(&self, scope: &str) -> Result<Option<String>>;

    /// Lets go of the data of the events that the [`DataArchived`](crate::payload::history::DataArchived) with this
    /// sequence number names; their headers and hashes stay, and nothing else changes. Doing it again changes nothing.
    /// Gives how many events had their data still.
    ///
    /// # Errors
    /// `Unsupported` where [`Capability::Archive`](crate::capability::Capability::Archive) is not declared; `Conflict`
    /// when that event is not one, `StateUnwritable` when the disk refuses, and then everything is as it was or as it
    /// should be, event by event.
    async fn let_go(&self, anchor: u64) -> Result<u64>;

    /// Reads everything and checks chain, body hashes, order and the head witness. Data that are not there must be archived.
    ///
    /// # Errors
    /// `Io`; damage is not an error but a finding.
    async fn verify(&self) -> Result<Verification>;

    /// Finishes what is under way and releases the files.
    ///
    /// # Errors
    /// `Io`.
    async fn close(&self) -> Result<()>;
}

/// Comfort on top of every store.
#[async_trait]
pub trait EventStoreExt: EventStore {
    /// Every matching event, page after page.
    async fn read_all(&self, mut query: Query) -> Result<Vec<Recorded>> {
        let page = query.page();
        let wanted = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut all = Vec::new();
        loop {
            let events = self.read(&query).await?;
            let full = events.len() == page;
            if let Some(last) = events.last() {
                query.after = last.seq;
            }
            all.extend(events);
            if !full || all.len() >= wanted {
                all.truncate(wanted);
                return Ok(all);
            }
        }
    }

    /// Every stream with the prefix.
    async fn all_streams(&self, prefix: &str) -> Result<Vec<StreamHead>> {
        let mut all: Vec<StreamHead> = Vec::new();
        loop {
            let after = all.last().map(|stream| stream.name.clone()).unwrap_or_default();
            let page = self.streams(prefix, &after, PAGE_MAX).await?;
            let full = page.len() == PAGE_MAX;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

impl<T: EventStore + ?Sized> EventStoreExt for T {}
