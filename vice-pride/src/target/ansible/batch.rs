//! Operations that come at the same time are carried out by one run of Ansible. It gathers and hands out, and knows
//! nothing of Ansible. What nobody waits for any more is dropped, and with it the run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::oneshot;
use vice_core::port::target::{Observed, Op, Workload};
use vice_core::{Fault, Result};

/// How long is waited for others that come at the same time. A run takes a second before it comes to any host.
const GATHER: Duration = Duration::from_millis(120);

/// What is to be done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Apply,
    Undo,
    Observe,
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) op: Op,
    /// The release that the unit shall have; none when it shall have none, or is only observed.
    pub(super) workload: Option<Arc<Workload>>,
    /// The release that it had, where it is known.
    pub(super) earlier: Option<Arc<Workload>>,
}

impl Job {
    /// Whether one run can carry out both.
    fn goes_with(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.op.epoch == other.op.epoch
            && self.op.unit != other.op.unit
            && (self.kind == Kind::Observe || (self.workload == other.workload && self.earlier == other.earlier))
    }
}

/// What carries out a batch, with an answer for each job in their order.
pub(super) type Work = Arc<dyn Fn(Vec<Job>) -> BoxFuture<'static, Vec<Result<Observed>>> + Send + Sync>;

struct Waiting {
    job: Job,
    answer: oneshot::Sender<Result<Observed>>,
}

/// Gathers jobs.
pub(super) struct Batcher {
    work: Work,
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

impl Batcher {
    pub(super) fn new(work: Work) -> Self {
        Self { work, waiting: Arc::default() }
    }

    /// Carries out a job, together with others that come at the same time.
    pub(super) async fn submit(&self, job: Job) -> Result<Observed> {
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(Waiting { job, answer });
            waiting.len() == 1
        };
        if first {
            tokio::spawn(flush(Arc::clone(&self.work), Arc::clone(&self.waiting)));
        }
        answered.await.unwrap_or_else(|_| Err(Fault::internal("A run of Ansible broke down.")))
    }
}

async fn flush(work: Work, waiting: Arc<Mutex<Vec<Waiting>>>) {
    tokio::time::sleep(GATHER).await;
    let gathered = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
    let mut batches: Vec<Vec<Waiting>> = Vec::new();
    for one in gathered {
        match batches.iter_mut().find(|batch| batch.iter().all(|other| other.job.goes_with(&one.job))) {
            Some(batch) => batch.push(one),
            None => batches.push(vec![one]),
        }
    }
    join_all(batches.into_iter().map(|batch| carry_out(Arc::clone(&work), batch))).await;
}

async fn carry_out(work: Work, batch: Vec<Waiting>) {
    let (jobs, mut answers): (Vec<Job>, Vec<_>) = batch.into_iter().map(|one| (one.job, one.answer)).unzip();
    let outcome = {
        let abandoned = join_all(answers.iter_mut().map(oneshot::Sender::closed));
        tokio::select! {
            outcome = work(jobs) => Some(outcome),
            _ = abandoned => None,
        }
    };
    for (answer, outcome) in answers.into_iter().zip(outcome.into_iter().flatten()) {
        // Whoever waited may have given up.
        drop(answer.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use vice_core::port::target::Change;

    fn job(unit: &str, epoch: u64) -> Job {
        let op = Op { id: unit.to_owned(), epoch, unit: unit.to_owned(), change: Change::Remove, before: None };
        Job { kind: Kind::Apply, op, workload: None, earlier: None }
    }

    #[tokio::test]
    async fn what_comes_together_is_done_together_and_nothing_else() {
        let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let work: Work = Arc::new(move |jobs| {
            noted.lock().unwrap().push(jobs.iter().map(|job| format!("{}@{}", job.op.unit, job.op.epoch)).collect());
            async move { jobs.iter().map(|_| Ok(Observed::Applied)).collect() }.boxed()
        });
        let batcher = Batcher::new(work);
        let jobs = [job("h1", 1), job("h2", 1), job("h2", 1), job("h3", 2)];
        for done in join_all(jobs.map(|job| batcher.submit(job))).await {
            assert_eq!(done.unwrap(), Observed::Applied);
        }
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        assert_eq!(seen, [vec!["h1@1", "h2@1"], vec!["h2@1"], vec!["h3@2"]]);
    }

    #[tokio::test]
    async fn a_run_ends_when_nobody_waits_for_it_any_more() {
        let (ended, has_ended) = oneshot::channel::<()>();
        let guard = Arc::new(Mutex::new(Some(ended)));
        let work: Work = Arc::new(move |_| {
            let guard = guard.lock().unwrap().take();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
            .boxed()
        });
        let batcher = Batcher::new(work);
        let waits = tokio::time::timeout(GATHER * 3, batcher.submit(job("h1", 1))).await;
        assert!(waits.is_err());
        // The sender is dropped with the run.
        assert!(has_ended.await.is_err());
    }
}
