//! The idle connections to one upstream, newest first.
//!
//! Nobody watches an idle connection: it is checked when it is taken out, and the front end's sweep closes those that
//! nobody took. The lock is held for a push or a pop, never across a wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;

/// More idle connections than this to one upstream are closed at once: they only hold descriptors.
const IDLE_MAX: usize = 256;

struct Inner {
    open: bool,
    idle: Vec<Link>,
}

pub(super) struct Pool(Mutex<Inner>);

impl Pool {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner { open: true, idle: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Option<Link> {
        self.lock().idle.pop()
    }

    /// Keeps a connection for later, unless the pool has been closed or is full.
    pub(super) fn put(&self, link: Link) {
        let mut inner = self.lock();
        if inner.open && inner.idle.len() < IDLE_MAX {
            inner.idle.push(link);
        }
    }

    /// Closes the idle connections and keeps no more.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.open = false;
        let idle = std::mem::take(&mut inner.idle);
        drop(inner);
        drop(idle);
    }

    /// Keeps connections again.
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Closes what has been idle for longer than `idle_max`.
    pub(super) fn sweep(&self, now: Instant, idle_max: Duration) {
        let mut stale = Vec::new();
        let mut inner = self.lock();
        let fresh_from = inner.idle.partition_point(|link| link.idle_for(now) > idle_max);
        stale.extend(inner.idle.drain(..fresh_from));
        drop(inner);
        drop(stale);
    }
}
