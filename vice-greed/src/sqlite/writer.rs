//! Putting batches into the database: one transaction each, checked against the witness when the files are opened.

use rusqlite::{Connection, TransactionBehavior};
use tokio::time::Duration;
use vice_core::store::LogHead;
use vice_core::{Code, Digest, Fault, Result};

use super::ingest::{Failure, Ingest, Memory};
use super::reader::{file_identity, tip};
use super::{Place, errors, schema};
use crate::desk::{Answer, Failed, Scribe, Work, Written};
use crate::disk::{make_private_dir, unwritable};
use crate::witness::Witness;

/// The writing side of the database.
pub(crate) struct SqliteScribe {
    place: Place,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    identity: Option<(u64, u64)>,
    witness: Witness,
    memory: Memory,
}

impl SqliteScribe {
    pub(crate) const fn new(place: Place) -> Self {
        Self { place, open: None }
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

impl Scribe for SqliteScribe {
    /// Runs the works in one transaction, commits, witnesses.
    fn write(&mut self, works: &[Work]) -> Result<Written, Failed> {
        let path = self.place.database.clone();
        let writing = |error| errors::writing(error, &path);
        let open = self.opened()?;
        let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(writing)?;
        open.memory.refresh(tip(&transaction).map_err(writing)?);
        let worked = run(&transaction, &mut open.memory, works);
        let (answers, head, wrote) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                // The rollback of a transaction that failed is what dropping it does; there is nothing to add to it.
                drop(transaction);
                open.memory.forget();
                return Err(writing(error).into());
            }
        };
        if !wrote {
            return Ok(Written { answers, head: None, last_word: None });
        }
        if let Err(error) = transaction.commit() {
            open.memory.forget();
            return Err(Failed { fault: writing(error), fatal: true });
        }
        let last_word = open.witness.advance(&head).err();
        Ok(Written { answers, head: Some(head), last_word })
    }

    fn due_in(&self) -> Option<Duration> {
        self.open.as_ref().and_then(|open| open.witness.due_in())
    }

    fn sync(&mut self) -> Result<()> {
        self.open.as_mut().map_or(Ok(()), |open| open.witness.sync())
    }

    fn release(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |mut open| open.witness.sync())
    }
}

impl Open {
    fn files(place: &Place) -> Result<Self> {
        if let Some(dir) = place.database.parent() {
            make_private_dir(dir).map_err(|error| unwritable(error, dir))?;
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

fn run(connection: &Connection, memory: &mut Memory, works: &[Work]) -> rusqlite::Result<Worked> {
    let mut ingest = Ingest::new(connection, memory)?;
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        let answer = match work {
            Work::Append(prepared) => match ingest.append(prepared) {
                Ok(appended) => Answer::Append(Ok(appended)),
                Err(Failure::Refused(fault)) => Answer::Append(Err(fault)),
                Err(Failure::Broken(error)) => return Err(error),
            },
            Work::Snapshot { fold, stream, snapshot } => match ingest.snapshot(fold, stream, snapshot) {
                Err(Failure::Broken(error)) => return Err(error),
                _ => Answer::Done,
            },
        };
        answers.push(answer);
    }
    Ok((answers, ingest.tip(), ingest.wrote))
}
