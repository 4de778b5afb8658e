//! The writing side: batches of the desk, group by group, on the medium's runtime.

use std::sync::Arc;

use tokio::time::Duration;
use vice_core::{Fault, Result};

use super::exchange::{Exchange, Grouped};
use crate::desk::{Answer, Failed, Scribe, Work, Written, repeat};

/// Writes for the desk.
pub(crate) struct SharedScribe {
    exchange: Arc<Exchange>,
}

impl SharedScribe {
    pub(crate) const fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange }
    }
}

impl Scribe for SharedScribe {
    fn write(&mut self, works: &[Work]) -> Result<Written, Failed> {
        let engine = self.exchange.handle()?;
        let (mut answers, mut head) = (Vec::with_capacity(works.len()), None);
        while answers.len() < works.len() {
            match engine.block_on(self.exchange.group(&works[answers.len()..])) {
                Ok(Grouped { answers: given, .. }) if given.is_empty() => {
                    return Err(Fault::internal("A group of appends has no answers.").into());
                }
                Ok(mut grouped) => {
                    answers.append(&mut grouped.answers);
                    head = grouped.head.or(head);
                }
                // What was stored before counts; nothing here is ever in a state that nobody knows.
                Err(fault) if answers.is_empty() => return Err(fault.into()),
                Err(fault) => answers.extend(works[answers.len()..].iter().map(|work| failed(work, &fault))),
            }
        }
        Ok(Written { answers, head, last_word: None })
    }

    fn due_in(&self) -> Option<Duration> {
        self.exchange.due_in()
    }

    fn sync(&mut self) -> Result<()> {
        self.exchange.sync()
    }

    fn release(&mut self) -> Result<()> {
        self.exchange.release()
    }
}

fn failed(work: &Work, fault: &Fault) -> Answer {
    match work {
        Work::Append(_) => Answer::Append(Err(repeat(fault))),
        Work::Snapshot { .. } => Answer::Done,
    }
}
