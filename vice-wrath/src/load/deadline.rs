//! One timer a connection instead of one a request: it is looked at again only when it fires, and most requests are over
//! long before.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// A limit that moves with each request.
pub(super) struct Deadline {
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)) }
    }

    /// What `work` gives, or nothing when it takes longer than until `at`.
    pub(super) async fn within<F: Future>(&mut self, at: Instant, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            while self.sleep.as_mut().poll(cx).is_ready() {
                if self.sleep.deadline() >= at {
                    return Poll::Ready(None);
                }
                self.sleep.as_mut().reset(at);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_limit_moves_both_ways() {
        let begun = Instant::now();
        let soon = |millis| begun + Duration::from_millis(millis);
        let mut deadline = Deadline::new(soon(3_600_000));
        assert_eq!(deadline.within(soon(3_600_000), async { 1 }).await, Some(1));
        // An earlier limit than the timer's, then later ones after it has fired.
        for millis in [5, 10, 30] {
            assert_eq!(deadline.within(soon(millis), std::future::pending::<()>()).await, None);
            assert!(Instant::now() >= soon(millis));
        }
        assert_eq!(deadline.within(soon(3_600_000), tokio::time::sleep(Duration::from_millis(5))).await, Some(()));
    }
}
