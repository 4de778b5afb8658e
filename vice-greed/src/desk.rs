//! The one writer of this process: a thread in front of a [`Scribe`], which knows the files. What has gathered while it
//! was at the disk becomes one batch, so that many callers share the price of one sync.
//!
//! An append is acknowledged after its batch is on disk and witnessed. When making it durable fails, nobody can tell what
//! is on disk, and another try could report success for lost bytes: the desk then refuses everything until the process
//! starts anew.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};
use vice_core::store::{Appended, LogHead, Snapshot};
use vice_core::{Code, Fault, Millis, Result};

use crate::prepared::Prepared;

/// Jobs that may wait for the writer; more callers wait for their turn to hand theirs in.
const WAITING_MAX: usize = 1024;

/// The most jobs and events of one batch: enough that the sync costs nothing any more, few enough that the first of them
/// doesn't wait long.
const JOBS_MAX: usize = 1000;
const EVENTS_MAX: usize = 20_000;

/// What is to be written.
pub(crate) enum Work {
    Append(Prepared),
    Snapshot { fold: String, stream: String, snapshot: Snapshot },
}

/// What became of it.
pub(crate) enum Answer {
    Append(Result<Appended>),
    Done,
}

/// A batch that is durable.
pub(crate) struct Written {
    /// One for each work, in order.
    pub(crate) answers: Vec<Answer>,
    /// The end of the log, when something was written.
    pub(crate) head: Option<LogHead>,
    /// Why nothing more may be written, although this was.
    pub(crate) last_word: Option<Fault>,
}

/// A batch of which nothing counts.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// Whether it can't be told what is on disk.
    pub(crate) fatal: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, fatal: false }
    }
}

/// Whoever puts batches on disk.
pub(crate) trait Scribe: Send + 'static {
    /// Makes a batch durable and witnesses it. An append that a rule refuses is an answer, not a failure.
    fn write(&mut self, works: &[Work]) -> Result<Written, Failed>;

    /// How long until [`Scribe::sync`] is due; `None` when there is nothing to sync.
    fn due_in(&self) -> Option<Duration>;

    /// Brings to the disk what may lag behind.
    fn sync(&mut self) -> Result<()>;

    /// Lets go of the files.
    fn release(&mut self) -> Result<()>;
}

enum Job {
    Write(Work, Reply, OwnedSemaphorePermit),
    Finish(oneshot::Sender<Result<()>>),
}

enum Reply {
    Append(oneshot::Sender<Result<Appended>>),
    Done(oneshot::Sender<Result<()>>),
}

/// Where work is handed in.
#[derive(Clone)]
pub(crate) struct Inbox {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
}

impl Inbox {
    pub(crate) async fn append(&self, prepared: Prepared) -> Result<Appended> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Append(prepared), Reply::Append(reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    pub(crate) async fn snapshot(&self, fold: String, stream: String, snapshot: Snapshot) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Snapshot { fold, stream, snapshot }, Reply::Done(reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    async fn send(&self, work: Work, reply: Reply) -> Result<()> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?;
        self.jobs.send(Job::Write(work, reply, permit)).map_err(|_| ended())
    }
}

/// Waits until the log is longer than `after`, at most so long, and gives its end. What this process appends is announced
/// by `grown`; every `poll` it is looked for what another may have appended.
pub(crate) async fn until_grown<F, H>(
    grown: &watch::Sender<u64>,
    after: u64,
    at_most: Millis,
    poll: Duration,
    head: F,
) -> Result<LogHead>
where
    F: Fn() -> H,
    H: Future<Output = Result<LogHead>>,
{
    let deadline = Instant::now() + at_most.as_duration();
    let mut grown = grown.subscribe();
    loop {
        let head = head().await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if head.seq > after || left.is_zero() {
            return Ok(head);
        }
        // Either way the loop looks again.
        drop(timeout(left.min(poll), grown.changed()).await);
    }
}

fn ended() -> Fault {
    Fault::new(Code::Io, "The history is closed.").hint("Run the command again.")
}

/// The running thread.
pub(crate) struct Desk {
    inbox: Option<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    pub(crate) fn start(scribe: impl Scribe, grown: watch::Sender<u64>) -> Result<Self> {
        let (jobs, waiting) = channel();
        let run = move || Clerk { scribe, grown, dead: None }.work(&waiting);
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(run)
            .map_err(|error| Fault::new(Code::Io, "The writer of the history can't be started.").because(error))?;
        let inbox = Inbox { jobs, room: Arc::new(Semaphore::new(WAITING_MAX)) };
        Ok(Self { inbox: Some(inbox), thread: Some(thread) })
    }

    pub(crate) fn inbox(&self) -> Inbox {
        match &self.inbox {
            Some(inbox) => inbox.clone(),
            // Only a desk that is being dropped has none, and nobody can ask that one.
            None => Inbox { jobs: channel().0, room: Arc::new(Semaphore::new(1)) },
        }
    }

    /// Waits until everything that was handed in is done and the files are released.
    pub(crate) async fn finish(self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        // A thread that is gone already has released everything.
        if self.inbox().jobs.send(Job::Finish(reply)).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed, and whoever waited for it got an error.
            thread.join().ok();
        }
    }
}

/// Why nothing is accepted any more.
pub(crate) struct Death {
    code: Code,
    message: String,
    /// What was behind it; empty when the message says it all.
    cause: String,
}

impl Death {
    pub(crate) fn of(fault: &Fault) -> Self {
        Self { code: fault.code(), message: fault.to_string(), cause: fault.chain().split_off(1).join(" ") }
    }

    fn again(&self) -> Fault {
        let again = Fault::new(self.code, self.message.clone());
        if self.cause.is_empty() { again } else { again.because(self.cause.clone()) }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.again()
            .hint("Nothing more is recorded by this process. When the disk is well again, run the command anew.")
    }
}

/// A fault for each of several callers.
pub(crate) fn repeat(fault: &Fault) -> Fault {
    fault.hints().iter().fold(Death::of(fault).again(), |again, hint| again.hint(hint.clone()))
}

/// What the thread works with.
struct Clerk<S> {
    scribe: S,
    grown: watch::Sender<u64>,
    dead: Option<Death>,
}

/// Jobs of one batch, taken apart: the works for the scribe, the rest for the answers.
#[derive(Default)]
struct Batch {
    works: Vec<Work>,
    replies: Vec<(Reply, OwnedSemaphorePermit)>,
    finish: Vec<oneshot::Sender<Result<()>>>,
    events: usize,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            Job::Write(work, reply, permit) => {
                self.events += if let Work::Append(prepared) = &work { prepared.len() } else { 0 };
                self.works.push(work);
                self.replies.push((reply, permit));
            }
            Job::Finish(reply) => self.finish.push(reply),
        }
    }

    fn has_room(&self) -> bool {
        self.works.len() < JOBS_MAX && self.events < EVENTS_MAX
    }
}

impl<S: Scribe> Clerk<S> {
    fn work(mut self, waiting: &Receiver<Job>) {
        loop {
            let first = match self.next(waiting) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = Batch::default();
            batch.add(first);
            while batch.has_room() {
                let Ok(job) = waiting.try_recv() else { break };
                batch.add(job);
            }
            let finish = std::mem::take(&mut batch.finish);
            self.batch(batch);
            if !finish.is_empty() {
                answer_finished(finish, self.scribe.release());
                return;
            }
        }
        if let Err(fault) = self.scribe.release() {
            tracing::warn!("{fault}");
        }
    }

    /// The next job; a timeout when it was time to sync.
    fn next(&mut self, waiting: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        let Some(due) = self.scribe.due_in() else {
            return waiting.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        let next = waiting.recv_timeout(due);
        let due = due.is_zero() || matches!(next, Err(RecvTimeoutError::Timeout));
        if due && let Err(fault) = self.scribe.sync() {
            self.dead = Some(Death::of(&fault));
        }
        next
    }

    fn batch(&mut self, batch: Batch) {
        if batch.works.is_empty() {
            return;
        }
        let written = match &self.dead {
            Some(death) => Err(death.fault()),
            None => self.write(&batch.works),
        };
        match written {
            Ok(answers) => {
                for ((reply, _), answer) in batch.replies.into_iter().zip(answers) {
                    give(reply, answer);
                }
            }
            Err(fault) => {
                for (reply, _) in batch.replies {
                    give_failure(reply, repeat(&fault));
                }
            }
        }
    }

    fn write(&mut self, works: &[Work]) -> Result<Vec<Answer>> {
        match self.scribe.write(works) {
            Ok(Written { answers, head, last_word }) => {
                if let Some(fault) = last_word {
                    // What was written is on disk and is acknowledged; what follows would not be witnessed.
                    tracing::warn!("{fault}");
                    self.dead = Some(Death::of(&fault));
                }
                if let Some(head) = head {
                    self.grown.send_replace(head.seq);
                }
                Ok(answers)
            }
            Err(Failed { fault, fatal }) => {
                if fatal {
                    self.dead = Some(Death::of(&fault));
                }
                Err(fault)
            }
        }
    }
}

// A caller that doesn't wait for its answer any more does not get it; that is no error of the writer.

fn give(reply: Reply, answer: Answer) {
    match (reply, answer) {
        (Reply::Append(reply), Answer::Append(result)) => drop(reply.send(result)),
        (Reply::Done(reply), _) => drop(reply.send(Ok(()))),
        (Reply::Append(reply), Answer::Done) => {
            drop(reply.send(Err(Fault::internal("An append got the answer of another job."))));
        }
    }
}

fn give_failure(reply: Reply, fault: Fault) {
    match reply {
        Reply::Append(reply) => drop(reply.send(Err(fault))),
        Reply::Done(reply) => drop(reply.send(Err(fault))),
    }
}

fn answer_finished(waiting: Vec<oneshot::Sender<Result<()>>>, mut done: Result<()>) {
    for reply in waiting {
        drop(reply.send(std::mem::replace(&mut done, Ok(()))));
    }
}
