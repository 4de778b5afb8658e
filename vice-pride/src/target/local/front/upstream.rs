//! One upstream as the front end knows it: its address, its idle connections, and what is in flight on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::counts::Counts;
use super::pool::Pool;

/// The lasting state of one upstream. A request holds it until its response has ended, so removal from the table
/// never cuts anything off.
pub(super) struct UpstreamState {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) addr: SocketAddr,
    pub(super) counts: Arc<Counts>,
    pub(super) pool: Pool,
    in_flight: AtomicUsize,
    ended: Notify,
}

impl UpstreamState {
    pub(super) fn new(id: String, version: String, addr: SocketAddr, counts: Arc<Counts>) -> Self {
        Self { id, version, addr, counts, pool: Pool::new(), in_flight: AtomicUsize::new(0), ended: Notify::new() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Begins a request. Called under the table's lock, so that whoever has changed the table there sees it.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// Waits until nothing is in flight.
    pub(super) async fn quiet(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the count is read; an end in between is then not missed.
            ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// One request or upgraded connection in flight; dropping it ends it.
pub(super) struct InFlight(Arc<UpstreamState>);

impl InFlight {
    pub(super) fn upstream(&self) -> &Arc<UpstreamState> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
