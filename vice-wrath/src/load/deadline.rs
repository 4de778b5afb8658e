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

    #[tokio::test(start_paused = true)]
    async fn the_limit_moves_both_ways() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(begun + Duration::from_secs(1));
        let late = begun + Duration::from_secs(10);
        assert_eq!(deadline.within(late, tokio::time::sleep(Duration::from_secs(5))).await, Some(()));
        let over = begun + Duration::from_secs(6);
        assert_eq!(deadline.within(over, std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed().as_secs(), 6);
        let next = Instant::now() + Duration::from_secs(3);
        assert_eq!(deadline.within(next, std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed().as_secs(), 9);
    }
}
