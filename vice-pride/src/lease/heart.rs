//! Signs of life of a holder whose lease others see from other machines, and waiting for those of somebody else.
//!
//! No two clocks have to agree: whoever waits looks whether the sign changes, for as long as his own clock says; and a
//! holder that could not leave one for two thirds of that time stops by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, sleep, timeout};
use vice_core::app::{App, ProcessEnv};
use vice_core::id::Scope;
use vice_core::store::EventStore;
use vice_core::{Code, Fault, Result};

/// How long a holder may be silent before it is passed over. Longer than a git server takes for a push in a bad minute,
/// shorter than anybody waits for a deploy that died.
const TTL: Duration = Duration::from_secs(30);

/// The time in force; tests have less of it.
pub(super) fn ttl(env: &ProcessEnv) -> Duration {
    let set = env.get("VICE_TEST_LEASE_TTL_MS").and_then(|text| text.parse().ok());
    set.map_or(TTL, Duration::from_millis)
}

/// A task that leaves signs of life until it is dropped.
#[derive(Debug)]
pub(super) struct Heart {
    task: AbortHandle,
    last: Arc<Mutex<Instant>>,
    ttl: Duration,
    place: String,
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heart {
    /// Leaves the first sign of life and goes on leaving them.
    pub(super) async fn start(app: &App, scope: &Scope, epoch: u64, who: String) -> Self {
        let ttl = ttl(&app.env);
        let last = Arc::new(Mutex::new(Instant::now()));
        let beats = Beats {
            store: Arc::clone(&app.events),
            scope: scope.to_string(),
            sign: format!("{epoch} {who}"),
            count: AtomicU64::new(0),
        };
        // One that fails is only late: what was acquired is acquired.
        drop(timeout(ttl / 3, beats.beat()).await);
        let seen = Arc::clone(&last);
        let task = tokio::spawn(async move {
            loop {
                sleep(ttl / 6).await;
                // A beat that hangs is given up, so that the next one is not late as well.
                if let Ok(Ok(())) = timeout(ttl / 3, beats.beat()).await {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
            }
        });
        Self { task: task.abort_handle(), last, ttl, place: app.events.describe().location }
    }

    /// Fails when nobody can have heard of this holder for so long that another one may soon take over.
    pub(super) fn check(&self) -> Result<()> {
        let silent = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if silent < self.ttl * 2 / 3 {
            return Ok(());
        }
        let message = format!("No sign of life could be left in {} for {} s.", self.place, silent.as_secs());
        Err(Fault::new(Code::Unreachable, message).hint("Another machine may take over now, so this one stops."))
    }
}

struct Beats {
    store: Arc<dyn EventStore>,
    scope: String,
    sign: String,
    count: AtomicU64,
}

impl Beats {
    async fn beat(&self) -> Result<()> {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        self.store.beat(&self.scope, &format!("{} {count}", self.sign)).await
    }
}

/// Whether a holder leaves signs of life: true as soon as one comes, false when none came for the whole time.
///
/// # Errors
/// What the store says: who can't look can't tell.
pub(super) async fn beats(app: &App, scope: &Scope, epoch: u64) -> Result<bool> {
    watched(app.events.as_ref(), ttl(&app.env), scope, epoch).await
}

async fn watched(store: &dyn EventStore, ttl: Duration, scope: &Scope, epoch: u64) -> Result<bool> {
    let first = last_sign(store, scope, epoch).await?;
    let begun = Instant::now();
    while begun.elapsed() < ttl {
        sleep(ttl / 15).await;
        if last_sign(store, scope, epoch).await? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last sign of the holder with that epoch. One that was passed over may not know it yet, and does not count.
async fn last_sign(store: &dyn EventStore, scope: &Scope, epoch: u64) -> Result<Option<String>> {
    let found = store.pulse(&scope.to_string()).await?;
    Ok(found.filter(|sign| sign.split(' ').next() == Some(epoch.to_string().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::id::{EnvName, ProjectName};
    use vice_core::memory::MemoryEventStore;

    fn scope() -> Scope {
        Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap())
    }

    /// Long enough that a busy machine does not decide the result.
    const SHORT: Duration = Duration::from_secs(3);

    /// The promise is a span of time, so that this asks a clock.
    #[tokio::test]
    async fn a_silent_holder_is_passed_over_within_one_and_a_half_of_its_time() {
        let store = MemoryEventStore::default();
        store.beat(&scope().to_string(), "4 far-away 0").await.unwrap();
        let begun = Instant::now();
        assert!(!watched(&store, SHORT, &scope(), 4).await.unwrap());
        assert!(begun.elapsed() >= SHORT, "it was given its time");
        assert!(begun.elapsed() <= SHORT * 3 / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_holder_with_its_own_rhythm_lives_and_an_earlier_one_does_not_count() {
        let store = Arc::new(MemoryEventStore::default());
        let beats = |epoch: u64| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for count in 0.. {
                    store.beat(&scope().to_string(), &format!("{epoch} far-away {count}")).await.unwrap();
                    sleep(SHORT / 6).await;
                }
            })
        };
        let own = beats(4);
        sleep(SHORT / 30).await;
        assert!(watched(store.as_ref(), SHORT, &scope(), 4).await.unwrap());
        own.abort();
        let earlier = beats(3);
        sleep(SHORT / 30).await;
        assert!(!watched(store.as_ref(), SHORT, &scope(), 4).await.unwrap());
        earlier.abort();
    }
}
