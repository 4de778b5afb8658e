//! For tests of crashes: a history that ends its own process, by SIGKILL, at an exact append. Between two appends
//! lies everything else that a rollout does, so that killing before and after each append covers every point where
//! what is stored and what was done can differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};
use vice_core::store::{Append, Appended, EventStore, StoreLayer};
use vice_core::{Code, Fault, Result};

/// Where to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CrashPoint {
    append: u64,
    after: bool,
    /// Only stopped, as by SIGSTOP: it wakes later and does not know.
    stops: bool,
}

impl CrashPoint {
    /// Reads `before:3` or `after:3`; with `stop-` in front, the process is stopped instead of killed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Fault::new(Code::Usage, format!("VICE_TEST_CRASH is {text:?}; write before:3, after:3 or stop-before:3."))
        };
        let (side, number) = text.split_once(':').ok_or_else(bad)?;
        let append = number.parse().map_err(|_| bad())?;
        let (side, stops) = side.strip_prefix("stop-").map_or((side, false), |side| (side, true));
        match side {
            "before" => Ok(Self { append, after: false, stops }),
            "after" => Ok(Self { append, after: true, stops }),
            _ => Err(bad()),
        }
    }
}

/// The history behind a crash point.
pub(crate) struct CrashingStore {
    pub(crate) inner: Arc<dyn EventStore>,
    pub(crate) point: CrashPoint,
    pub(crate) seen: AtomicU64,
}

impl CrashingStore {
    fn die_at(&self, number: u64, after: bool) {
        if (self.point.append, self.point.after) == (number, after) {
            let signal = if self.point.stops { Signal::STOP } else { Signal::KILL };
            // There is no coming back from a kill, unless the kernel refuses.
            if let Err(error) = kill_process(getpid(), signal) {
                tracing::error!(%error, "this process can't signal itself");
            }
        }
    }
}

#[async_trait]
impl StoreLayer for CrashingStore {
    fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        self.die_at(number, false);
        let appended = self.inner.append(append).await;
        self.die_at(number, true);
        appended
    }
    // Counted like an append: what is killed here has moved data into an archive and has them still.
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        self.die_at(number, false);
        let gone = self.inner.let_go(anchor).await;
        self.die_at(number, true);
        gone
    }
}
