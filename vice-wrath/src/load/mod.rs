//! Load: sends many requests and measures how long they take.
//!
//! It owns the shapes of load (arrivals, users, stages), the generator and its figures. It must not know commands or
//! formats of recordings: requests come ready from a [`Feed`]. In an open loop requests are due at times that follow from
//! the plan alone, and a latency counts from then, whatever held the request up; only so does a server that stalls show
//! what its clients suffered. In a closed loop users wait for their answer, so a slow server is asked less.

mod arrivals;
mod chart;
mod deadline;
mod dial;
mod feed;
mod html;
mod http1;
mod http2;
mod latencies;
mod pacer;
mod profile;
mod report;
mod run;
mod shard;
mod tally;
mod threshold;
mod users;

pub(crate) use arrivals::{Process, exponential};
pub(crate) use dial::{Dial, Tls};
pub(crate) use feed::{Beat, Feed, Journey, Journeys, Played, Prepared, Walk, Walker};
pub(crate) use html::page;
pub(crate) use profile::{Level, Profile, parse_rate, parse_stage, parse_users};
pub(crate) use report::{json, live, text};
pub(crate) use run::run;
pub(crate) use tally::Failure;
pub(crate) use threshold::Threshold;

use std::sync::Arc;
use std::time::Duration;

/// The most connections of one run; each takes a descriptor and some 20 KiB.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;

/// The most threads of one run.
pub(crate) const THREADS_MAX: usize = 64;

/// How requests come into being.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// At times of their own: so many a second, whatever the server does.
    Open(Process),
    /// From so many users, each of whom waits for an answer before asking again.
    Closed,
}

/// The version of HTTP that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request at a time on each kept connection.
    Http1,
    /// Many at a time on few connections.
    Http2,
}

/// Everything about a run; what happens follows from it, the seed and the server.
pub(crate) struct LoadPlan {
    /// Where to send.
    pub(crate) dial: Dial,
    /// Open or closed.
    pub(crate) shape: Shape,
    /// Requests (or sessions) a second, or users, over time.
    pub(crate) profile: Profile,
    /// What to send.
    pub(crate) feed: Feed,
    /// How many connections there may be. At the limit requests wait, and their waiting counts.
    pub(crate) connections: usize,
    /// Threads that generate.
    pub(crate) threads: usize,
    /// When an answer is given up, counted from when the request was due.
    pub(crate) timeout: Duration,
    /// How long a user waits between an answer and the next request.
    pub(crate) pause: Duration,
    /// HTTP/1.1 or HTTP/2.
    pub(crate) protocol: Protocol,
    /// All chance follows from it.
    pub(crate) seed: u64,
    /// Set when the run is to end early.
    pub(crate) stop: Arc<std::sync::atomic::AtomicBool>,
}

impl LoadPlan {
    /// Whether the run was told to end early.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}
