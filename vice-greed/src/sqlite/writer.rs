//! The one writer of this process: a thread that owns the writing connection. What has gathered while it was at the
//! disk becomes one transaction, so that many callers share the price of one sync.
//!
//! An append is acknowledged after its transaction is on disk and witnessed. When a commit fails, nobody can tell what
//! is on disk, and another try could report success for lost pages: the writer then refuses everything until the
//! process starts anew.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use vice_core::store::{Appended, LogHead, Snapshot};
use vice_core::{Code, Digest, Fault, Result};

use super::ingest::{Failure, Ingest, Memory, Prepared};
use super::reader::{file_identity, tip};
use super::{Place, Witness, errors, schema};

/// Jobs that may wait for the writer; more callers wait for their turn to hand theirs in.
const WAITING_MAX: usize = 1024;

/// The most jobs and events of one transaction: enough that the sync costs nothing any more, few enough that the first
/// of them doesn't wait long.
const JOBS_MAX: usize = 1000;
const EVENTS_MAX: usize = 20_000;

enum Work {
    Append(Prepared, oneshot::Sender<Result<Appended>>),
    Snapshot { fold: String, stream: String, snapshot: Snapshot, reply: oneshot::Sender<Result<()>> },
    Finish(oneshot::Sender<Result<()>>),
}

struct Job {
    work: Work,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where jobs are handed in.
#[derive(Clone)]
pub(crate) struct Inbox {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
}

impl Inbox {
    pub(crate) async fn append(&self, prepared: Prepared) -> Result<Appended> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Append(prepared, reply)).await?;
        answer.await.map_err(|_| ended())?
    }

    pub(crate) async fn snapshot(&self, fold: String, stream: String, snapshot: Snapshot) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Snapshot { fold, stream, snapshot, reply }).await?;
        answer.await.map_err(|_| ended())?
    }

    async fn send(&self, work: Work) -> Result<()> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?;
        self.jobs.send(Job { work, _permit: Some(permit) }).map_err(|_| ended())
    }
}

fn ended() -> Fault {
    Fault::new(Code::Io, "The history is closed.").hint("Run the command again.")
}

/// The running thread.
pub(crate) struct Writer {
    inbox: Option<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(place: Place, grown: watch::Sender<u64>) -> Result<Self> {
        let (jobs, waiting) = channel();
        let run = move || Desk { place, grown, open: None, dead: None }.work(&waiting);
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
            // Only a writer that is being dropped has none, and nobody can ask that one.
            None => Inbox { jobs: channel().0, room: Arc::new(Semaphore::new(1)) },
        }
    }

    /// Waits until everything that was handed in is done and the files are released.
    pub(crate) async fn finish(self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        // A thread that is gone already has released everything.
        if self.inbox().jobs.send(Job { work: Work::Finish(reply), _permit: None }).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed, and whoever waited for it got an error.
            thread.join().ok();
        }
    }
}

/// What the thread works with.
struct Desk {
    place: Place,
    grown: watch::Sender<u64>,
    open: Option<Open>,
    dead: Option<Death>,
}

struct Open {
    connection: Connection,
    identity: Option<(u64, u64)>,
    witness: Witness,
    memory: Memory,
}

/// Why nothing is accepted any more.
struct Death {
    code: Code,
    message: String,
    /// What was behind it; empty when the message says it all.
    cause: String,
}

impl Death {
    fn of(fault: &Fault) -> Self {
        Self { code: fault.code(), message: fault.to_string(), cause: fault.chain().split_off(1).join(" ") }
    }

    fn again(&self) -> Fault {
        let again = Fault::new(self.code, self.message.clone());
        if self.cause.is_empty() { again } else { again.because(self.cause.clone()) }
    }

    fn fault(&self) -> Fault {
        self.again()
            .hint("Nothing more is recorded by this process. When the disk is well again, run the command anew.")
    }
}

/// How a transaction ended for each append that a rule did not refuse.
enum Batch {
    Answered(Vec<Answer>),
    Failed(Fault),
}

enum Answer {
    Append(Result<Appended>),
    Done,
}

impl Desk {
    fn work(mut self, waiting: &Receiver<Job>) {
        loop {
            let first = match self.next(waiting) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = vec![first];
            let mut events = 0;
            while batch.len() < JOBS_MAX && events < EVENTS_MAX {
                let Ok(job) = waiting.try_recv() else { break };
                events += if let Work::Append(prepared, _) = &job.work { prepared.len() } else { 0 };
                batch.push(job);
            }
            let (last, batch): (Vec<Job>, Vec<Job>) =
                batch.into_iter().partition(|job| matches!(job.work, Work::Finish(_)));
            self.batch(batch);
            if !last.is_empty() {
                let done = self.release();
                answer_finished(last, done);
                return;
            }
        }
        if let Err(fault) = self.release() {
            tracing::warn!("{fault}");
        }
    }

    /// The next job; a timeout when it was time to sync the witness.
    fn next(&mut self, waiting: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        let Some(due) = self.open.as_ref().and_then(|open| open.witness.due_in()) else {
            return waiting.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        let next = waiting.recv_timeout(due);
        let due = due.is_zero() || matches!(next, Err(RecvTimeoutError::Timeout));
        if due
            && let Some(open) = &mut self.open
            && let Err(fault) = open.witness.sync()
        {
            self.dead = Some(Death::of(&fault));
        }
        next
    }

    fn release(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |mut open| open.witness.sync())
    }

    fn batch(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let outcome = match &self.dead {
            Some(death) => Batch::Failed(death.fault()),
            None => self.transact(&jobs).unwrap_or_else(Batch::Failed),
        };
        match outcome {
            Batch::Answered(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    reply(job, answer);
                }
            }
            Batch::Failed(fault) => {
                for job in jobs {
                    let again = repeat(&fault);
                    reply_failed(job, again);
                }
            }
        }
    }

    /// Runs the jobs in one transaction, commits, witnesses.
    fn transact(&mut self, jobs: &[Job]) -> Result<Batch> {
        let path = self.place.database.clone();
        let writing = |error| errors::writing(error, &path);
        let open = self.opened()?;
        let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(writing)?;
        open.memory.refresh(tip(&transaction).map_err(writing)?);
        let worked = run(&transaction, &mut open.memory, jobs);
        let (answers, head, wrote) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                // The rollback of a transaction that failed is what dropping it does; there is nothing to add to it.
                drop(transaction);
                open.memory.forget();
                return Err(writing(error));
            }
        };
        if !wrote {
            return Ok(Batch::Answered(answers));
        }
        if let Err(error) = transaction.commit() {
            open.memory.forget();
            let fault = writing(error);
            self.dead = Some(Death::of(&fault));
            return Err(fault);
        }
        if let Err(fault) = open.witness.advance(&head) {
            // What was committed is on disk and is acknowledged; what follows would not be witnessed.
            tracing::warn!("{fault}");
            self.dead = Some(Death::of(&fault));
        }
        self.grown.send_replace(head.seq);
        Ok(Batch::Answered(answers))
    }

    /// The open files, checked against the witness when they are opened.
    fn opened(&mut self) -> Result<&mut Open> {
        let current = file_identity(&self.place.database);
        if self.open.as_ref().is_some_and(|open| open.identity != current) {
            let message = format!("The history in {} was replaced.", self.place.database.display());
            return Err(Fault::new(Code::Conflict, message).hint("Nothing was recorded. Run the command again."));
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::files(&self.place)?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn files(place: &Place) -> Result<Self> {
        if let Some(dir) = place.database.parent() {
            schema::make_private_dir(dir).map_err(|error| errors::unwritable(error, dir))?;
        }
        // The witness first: another process may go on in between, and then the log may only be longer than it says.
        let witnessed = Witness::read(&place.witness)?;
        let connection = schema::open_writer(&place.database)?;
        let head = tip(&connection).map_err(|error| errors::writing(error, &place.database))?;
        if let Some(witnessed) = witnessed {
            check_tail(&connection, place, &head, &witnessed)?;
        }
        let mut witness = Witness::open(&place.witness)?;
        if witnessed.is_none() {
            witness.advance(&head)?;
        }
        let identity = file_identity(&place.database);
        Ok(Self { connection, identity, witness, memory: Memory::new() })
    }
}

/// Going on from a log that has lost its end would hide the loss.
fn check_tail(connection: &Connection, place: &Place, head: &LogHead, witnessed: &LogHead) -> Result<()> {
    let damaged = |message: String| {
        Err(Fault::new(Code::HistoryDamaged, message).hint(
            "Nothing was recorded. `vice greed verify` says more; `vice greed restore URL` brings a backup back.",
        ))
    };
    let path = place.database.display();
    if head.seq < witnessed.seq {
        return damaged(format!("The history in {path} ends at event {}, but had {} before.", head.seq, witnessed.seq));
    }
    if witnessed.seq == 0 {
        return Ok(());
    }
    let chain: [u8; 32] = connection
        .query_row("SELECT chain FROM events WHERE seq = ?1", [witnessed.seq], |row| row.get(0))
        .map_err(|error| errors::writing(error, &place.database))?;
    if Digest(chain) == witnessed.chain {
        return Ok(());
    }
    damaged(format!("Event {} of the history in {path} is not the one that was witnessed.", witnessed.seq))
}

type Worked = (Vec<Answer>, LogHead, bool);

fn run(connection: &Connection, memory: &mut Memory, jobs: &[Job]) -> rusqlite::Result<Worked> {
    let mut ingest = Ingest::new(connection, memory)?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let answer = match &job.work {
            Work::Append(prepared, _) => match ingest.append(prepared) {
                Ok(appended) => Answer::Append(Ok(appended)),
                Err(Failure::Refused(fault)) => Answer::Append(Err(fault)),
                Err(Failure::Broken(error)) => return Err(error),
            },
            Work::Snapshot { fold, stream, snapshot, .. } => match ingest.snapshot(fold, stream, snapshot) {
                Err(Failure::Broken(error)) => return Err(error),
                _ => Answer::Done,
            },
            Work::Finish(_) => Answer::Done,
        };
        answers.push(answer);
    }
    Ok((answers, ingest.tip(), ingest.wrote))
}

// A caller that doesn't wait for its answer any more does not get it; that is no error of the writer.

fn reply(job: Job, answer: Answer) {
    match (job.work, answer) {
        (Work::Append(_, reply), Answer::Append(result)) => drop(reply.send(result)),
        (Work::Snapshot { reply, .. } | Work::Finish(reply), _) => drop(reply.send(Ok(()))),
        (Work::Append(_, reply), Answer::Done) => {
            drop(reply.send(Err(Fault::internal("An append got the answer of another job."))));
        }
    }
}

fn reply_failed(job: Job, fault: Fault) {
    match job.work {
        Work::Append(_, reply) => drop(reply.send(Err(fault))),
        Work::Snapshot { reply, .. } | Work::Finish(reply) => drop(reply.send(Err(fault))),
    }
}

fn answer_finished(jobs: Vec<Job>, mut done: Result<()>) {
    for job in jobs {
        if let Work::Finish(reply) = job.work {
            drop(reply.send(std::mem::replace(&mut done, Ok(()))));
        }
    }
}

/// A fault for each of several callers.
fn repeat(fault: &Fault) -> Fault {
    fault.hints().iter().fold(Death::of(fault).again(), |again, hint| again.hint(hint.clone()))
}
