//! The built-in front end: an HTTP/1.1 reverse proxy with weighted, health-checked upstreams, embedded in the local
//! target's agent.
//!
//! It owns the downstream listener, the connections to the upstreams and the counters. It does not start or check
//! instances: whoever does tells it the table ([`Front::set_table`]) and the health ([`Front::set_healthy`]).
//!
//! # How an instance is replaced without a failed request
//!
//! 1. Add the new one with its weight, when it is healthy.
//! 2. Give the old one weight 0, or call [`Front::drain`], which does so: it gets no new request.
//! 3. Wait in [`Front::drain`]: requests in flight and upgraded connections end, idle connections are closed.
//! 4. Stop the old process; take it out of the table.
//!
//! An upstream that goes away without this costs no failed request as long as it refuses connections and another one
//! is left; what was in flight on it fails, unless it was idempotent and without a body, in which case it is repeated.
//!
//! # What passes through
//!
//! Bodies are streamed both ways with the memory of a buffer each. Trailers and upgrades (WebSocket) pass; HTTP/1.0
//! clients are served. `Expect: 100-continue` is answered here. Header names arrive in lower case.

mod body;
mod clients;
mod counts;
mod headers;
mod link;
mod pool;
mod proxy;
mod routing;
mod serve;
mod table;
mod upgrade;
mod upstream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vice_core::{Code, Fault, Millis, Result};

use clients::Audience;
pub use counts::UpstreamCounts;
use routing::Routing;
use upstream::{InFlight, UpstreamState};

/// How often idle upstream connections are looked through. A fraction of how long they may be idle.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The front end's limits; the defaults suit a service behind nothing else.
#[derive(Debug, Clone)]
pub struct FrontOptions {
    /// How long a connect to an upstream may take; another one is tried then.
    pub connect_timeout: Millis,
    /// How long an upstream may stay silent, after the request has been sent, before the response's head. Bodies have
    /// no limit.
    pub response_timeout: Millis,
    /// How long an upstream connection is kept without use. The default is below the 5 s after which common servers
    /// close theirs, so that it is this side that closes.
    pub upstream_idle: Millis,
    /// How long a client may keep a connection without a request, or take for a request's head. It is closed after
    /// at least half and at most the whole of it.
    pub client_idle: Millis,
    /// The size in bytes of a connection's buffer; at least 8192.
    pub buffer_max: usize,
    /// The size in bytes of a request's head; a larger one is answered with 431.
    pub head_max: usize,
    /// How many headers a request or response may have.
    pub headers_max: usize,
    /// How many client connections are served at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Whether the client is a trusted proxy whose `X-Forwarded-*` headers are kept and continued.
    pub trust_forwarded: bool,
    /// What tells clients apart.
    pub clients: ClientOptions,
}

/// What tells clients apart, and for how long many failures of one are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOptions {
    /// One client's failures count once in this time.
    pub window: Millis,
    /// The header that says who asks, where there is one; else the address does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { window: Millis::from_secs(10), header: None }
    }
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Millis::from_secs(2),
            response_timeout: Millis::from_secs(60),
            upstream_idle: Millis::from_secs(4),
            client_idle: Millis::from_secs(120),
            buffer_max: 64 * 1024,
            head_max: 32 * 1024,
            headers_max: 100,
            connections_max: 10_000,
            trust_forwarded: false,
            clients: ClientOptions::default(),
        }
    }
}

/// One instance behind the front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name, unique in the table.
    pub id: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its share of the requests, relative to the others; 0 gets no new request.
    pub weight: u32,
    /// The version it runs; counters are kept for each id and version.
    pub version: String,
}

/// What a drain left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests and upgraded connections that had not ended at the deadline; 0 when the upstream may be stopped.
    pub in_flight_left: usize,
}

/// What the tasks of one front end share.
struct Shared {
    options: FrontOptions,
    routing: Mutex<Routing>,
    audience: Arc<Audience>,
    /// The header that tells clients apart, for connections from now on.
    client_header: RwLock<Option<HeaderName>>,
    /// No new connections; those that are open end after their request.
    stop: CancellationToken,
    /// Everything ends now.
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    /// Held for a choice or a change of the table, never across a wait.
    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client_header(&self) -> Option<HeaderName> {
        self.client_header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn choose(&self, failed: &[Arc<UpstreamState>]) -> Option<InFlight> {
        self.routing().choose(failed)
    }
}

/// A running front end. Dropping it cuts every connection; [`Front::shutdown`] is the polite way.
pub struct Front {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

impl Front {
    /// Listens and serves, with an empty table: until [`Front::set_table`] every request is answered with 503.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Code::PortInUse`] when somebody else listens there, [`Code::Io`] when listening fails for another reason.
    pub async fn bind(addr: SocketAddr, options: FrontOptions) -> Result<Self> {
        let listener = TcpListener::bind(addr).await.map_err(|error| bind_fault(addr, error))?;
        let local_addr = listener.local_addr().map_err(|error| bind_fault(addr, error))?;
        let options = FrontOptions { buffer_max: options.buffer_max.max(8192), ..options };
        let audience = Arc::new(Audience::new(options.clients.window));
        let shared = Arc::new(Shared {
            client_header: RwLock::new(options.clients.header.as_deref().and_then(header_name)),
            options,
            routing: Mutex::new(Routing::new(Arc::clone(&audience))),
            audience,
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(serve::accept(Arc::clone(&shared), listener));
        shared.tasks.spawn(sweep(Arc::clone(&shared)));
        Ok(Self { shared, local_addr })
    }

    /// Where it listens; the real port when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What tells clients apart from now on; the header, on connections that are opened from now on.
    pub fn set_clients(&self, options: &ClientOptions) {
        self.shared.audience.set_window(options.window);
        let header = options.header.as_deref().and_then(header_name);
        *self.shared.client_header.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// Replaces the whole table at once. An upstream whose id, address and version stay keeps its connections and its
    /// health; a new one starts healthy. Requests in flight on a removed one complete. Of two with the same id the
    /// first counts.
    pub fn set_table(&self, upstreams: Vec<Upstream>) {
        self.shared.routing().replace(upstreams);
    }

    /// Marks an upstream. An unhealthy one gets no request while a healthy one with a weight is left. Returns whether
    /// the id is in the table.
    pub fn set_healthy(&self, id: &str, healthy: bool) -> bool {
        self.shared.routing().set_healthy(id, healthy)
    }

    /// Takes an upstream out of the rotation, closes its idle connections and waits until its requests and upgraded
    /// connections have ended or `deadline` has passed. It stays out until the next [`Front::set_table`]. An id that
    /// is no longer in the table means the removed upstreams of that id.
    pub async fn drain(&self, id: &str, deadline: Millis) -> Drained {
        let draining = self.shared.routing().retire(id);
        let quiet = async {
            for upstream in &draining {
                upstream.quiet().await;
            }
        };
        let in_time = timeout(Duration::from_millis(deadline.0), quiet).await.is_ok();
        let in_flight_left = if in_time { 0 } else { draining.iter().map(|upstream| upstream.in_flight()).sum() };
        Drained { in_flight_left }
    }

    /// The counters of every upstream, in the order of first appearance; removed ones are kept for a while.
    #[must_use]
    pub fn counts(&self) -> Vec<UpstreamCounts> {
        self.shared.routing().counts()
    }

    /// The counters of each version, which only grow, whatever became of its upstreams.
    #[must_use]
    pub fn version_counts(&self) -> Vec<UpstreamCounts> {
        self.shared.routing().version_counts()
    }

    /// Stops accepting, lets requests end for up to `grace`, then cuts what is left. Upgraded connections are given
    /// the same time. Returns whether everything ended by itself.
    pub async fn shutdown(&self, grace: Millis) -> bool {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let ended = timeout(Duration::from_millis(grace.0), self.shared.tasks.wait()).await.is_ok();
        self.shared.cut.cancel();
        self.shared.tasks.wait().await;
        ended
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.cut.cancel();
    }
}

/// The header of that name; none for what can't be one.
fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn bind_fault(addr: SocketAddr, error: std::io::Error) -> Fault {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return Fault::new(Code::PortInUse, format!("The front end can't listen on {addr}: the port is taken."))
            .hint(format!("Find out who holds it with `ss -ltnp 'sport = :{}'`, or choose another port.", addr.port()))
            .because(error);
    }
    Fault::new(Code::Io, format!("The front end can't listen on {addr}."))
        .hint("Ports below 1024 need privileges, and the address must be one of this machine.")
        .because(error)
}

/// Closes upstream connections that nobody has used for long.
async fn sweep(shared: Arc<Shared>) {
    let idle_max = Duration::from_millis(shared.options.upstream_idle.0);
    let mut ticks = interval(SWEEP_EVERY);
    while shared.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let upstreams = shared.routing().upstreams();
        let now = Instant::now();
        for upstream in upstreams {
            upstream.pool.sweep(now, idle_max);
        }
    }
}
