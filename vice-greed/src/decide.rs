//! What becomes of an append, decided from what a store knows and before anything is written: repeated, refused, or which
//! of its events are new. Stores that keep their numbers themselves share these rules; SQLite's have the same order on
//! numbers of its own.

use vice_core::event::Event;
use vice_core::store::{Append, Appended};
use vice_core::{Fault, Result};

use crate::prepared::{Extra, Prepared, is_twin, refuse_twins};

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) seq: u64,
    pub(crate) version: u64,
}

/// What a store knows, with what the batch has added so far.
pub(crate) trait Facts {
    /// Where the event is stored already.
    ///
    /// # Errors
    /// `Conflict` when its id is stored with other content.
    fn find(&mut self, event: &Event, extra: &Extra) -> Result<Option<Spot>>;

    /// The last version of a stream; 0 when it has no events.
    fn version(&mut self, stream: &str) -> u64;

    /// The highest epoch that was seen for a scope; 0 when there was none.
    fn highest(&mut self, scope: &str) -> u64;
}

/// What becomes of one event of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is stored already.
    Old(Spot),
    /// It repeats an earlier event of the same append.
    Twin(usize),
    /// It is to be written.
    New,
}

/// What becomes of an append.
#[derive(Debug)]
pub(crate) enum Decision {
    /// All of it is stored already.
    Repeat(Appended),
    /// It goes through; so for each event.
    Write(Vec<Step>),
}

/// Decides on an append.
///
/// # Errors
/// `Conflict` and `Fenced`, as [`vice_core::store`] says.
pub(crate) fn decide(prepared: &Prepared, facts: &mut impl Facts) -> Result<Decision> {
    let Prepared { append, extras } = prepared;
    let spots = append
        .events
        .iter()
        .zip(extras)
        .map(|(event, extra)| facts.find(event, extra))
        .collect::<Result<Vec<Option<Spot>>>>()?;
    refuse_twins(&append.events)?;
    let duplicates = spots.iter().flatten().count();
    if duplicates > 0 && duplicates == spots.len() {
        let (seqs, versions) = spots.into_iter().flatten().map(|spot| (spot.seq, spot.version)).unzip();
        return Ok(Decision::Repeat(Appended { seqs, versions, duplicates }));
    }
    check(append, facts)?;
    let step = |(index, spot): (usize, Option<Spot>)| match spot {
        Some(spot) => Step::Old(spot),
        None => twin_before(&append.events, index).map_or(Step::New, Step::Twin),
    };
    Ok(Decision::Write(spots.into_iter().enumerate().map(step).collect()))
}

fn check(append: &Append, facts: &mut impl Facts) -> Result<()> {
    if let Some(fence) = &append.fence {
        let highest = facts.highest(&fence.scope);
        if fence.epoch < highest {
            return Err(Fault::fenced(fence, highest));
        }
    }
    for (stream, expected) in &append.conditions {
        let version = facts.version(stream);
        if !expected.holds(version) {
            return Err(Fault::unexpected(stream, *expected, version));
        }
    }
    Ok(())
}

fn twin_before(events: &[Event], index: usize) -> Option<usize> {
    let event = &events[index];
    events[..index].iter().position(|other| is_twin(other, event))
}

/// Puts the answer together while an append is written.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    spots: Vec<Spot>,
    duplicates: usize,
}

impl Tally {
    /// Notes one step; a new event has got `written`.
    pub(crate) fn note(&mut self, step: Step, written: impl FnOnce() -> Spot) {
        let spot = match step {
            Step::New => written(),
            Step::Old(spot) => spot,
            Step::Twin(at) => self.spots[at],
        };
        self.duplicates += usize::from(step != Step::New);
        self.spots.push(spot);
    }

    pub(crate) fn appended(self) -> Appended {
        let (seqs, versions) = self.spots.into_iter().map(|spot| (spot.seq, spot.version)).unzip();
        Appended { seqs, versions, duplicates: self.duplicates }
    }
}
