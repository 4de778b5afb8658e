//! The operations under way, so that a higher epoch can shut them out and wait for their end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

struct Entry {
    number: u64,
    op: String,
    epoch: u64,
    cancel: CancellationToken,
    /// Closed when the operation is decided.
    decided: watch::Receiver<()>,
}

#[derive(Default)]
struct Entries {
    last: u64,
    list: Vec<Entry>,
}

/// The operations that are not decided yet.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<Entries>>);

/// One operation; dropped when it is decided: carried out, or the unit is as before.
pub(super) struct Slot {
    running: Running,
    number: u64,
    pub(super) cancel: CancellationToken,
    _undecided: watch::Sender<()>,
}

impl Running {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, op: &str, epoch: u64) -> Slot {
        let cancel = CancellationToken::new();
        let (undecided, decided) = watch::channel(());
        let mut entries = self.entries();
        entries.last += 1;
        let number = entries.last;
        entries.list.push(Entry { number, op: op.to_owned(), epoch, cancel: cancel.clone(), decided });
        Slot { running: self.clone(), number, cancel, _undecided: undecided }
    }

    /// Cancels what runs under a lower epoch and waits until it is decided.
    pub(super) async fn shut_out(&self, below: u64) {
        let lower = |entry: &&Entry| entry.epoch < below;
        let waits: Vec<_> = {
            let entries = self.entries();
            entries.list.iter().filter(lower).for_each(|entry| entry.cancel.cancel());
            entries.list.iter().filter(lower).map(|entry| entry.decided.clone()).collect()
        };
        wait_all(waits).await;
    }

    /// Waits until no operation of that id is under way.
    pub(super) async fn settled(&self, op: &str) {
        let waits =
            self.entries().list.iter().filter(|entry| entry.op == op).map(|entry| entry.decided.clone()).collect();
        wait_all(waits).await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries().list.is_empty()
    }
}

async fn wait_all(waits: Vec<watch::Receiver<()>>) {
    for mut wait in waits {
        // The sender never sends; it is dropped.
        while wait.changed().await.is_ok() {}
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let number = self.number;
        self.running.entries().list.retain(|entry| entry.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutting_out_waits_for_lower_epochs_only() {
        let running = Running::default();
        let (low, high) = (running.begin("a", 1), running.begin("b", 2));
        let shut_out = tokio::spawn({
            let running = running.clone();
            async move { running.shut_out(2).await }
        });
        low.cancel.cancelled().await;
        assert!(!shut_out.is_finished());
        drop(low);
        shut_out.await.unwrap();
        assert!(!high.cancel.is_cancelled());
        assert!(!running.is_empty());
    }
}
