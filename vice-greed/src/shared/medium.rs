//! What a shared history needs of the place where it lies. A medium keeps batches in one order and lets exactly one of
//! several writers add the next one; it knows nothing of events.

use std::path::Path;

use async_trait::async_trait;
use vice_core::Result;

/// How far a history is known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Known {
    /// Records so far.
    pub(crate) records: u64,
    /// What the medium calls the last batch that is known; empty when none is.
    pub(crate) tip: String,
}

/// A batch as the medium keeps it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What the medium calls it.
    pub(crate) tip: String,
    pub(crate) bytes: Vec<u8>,
}

/// Some batches behind what is known, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) batches: Vec<Kept>,
    /// Whether there are further ones.
    pub(crate) more: bool,
}

/// What became of a batch that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is the next one, under this name, and durable.
    Done(String),
    /// Something else was first. Nothing was written.
    Lost,
}

/// Where the batches of a shared history lie.
#[async_trait]
pub(crate) trait Medium: Send + 'static {
    /// What comes behind `known`, as it is now on the medium.
    ///
    /// # Errors
    /// `Unreachable`; `HistoryDamaged` when the batch that is known as the last one is not there any more.
    async fn pull(&mut self, known: &Known) -> Result<Page>;

    /// Makes `bytes`, which begin with record `known.records + 1`, the next batch, if `known` is still the end.
    ///
    /// # Errors
    /// `Unreachable` when nobody can tell whether it was written; anything else when it was not and never will be.
    async fn push(&mut self, known: &Known, bytes: &[u8], summary: &str) -> Result<Pushed>;

    /// Leaves a sign of life for a scope.
    ///
    /// # Errors
    /// As [`Medium::pull`].
    async fn beat(&mut self, scope: &str, mark: &str) -> Result<()>;

    /// What differs with each sign of life for a scope.
    ///
    /// # Errors
    /// As [`Medium::pull`].
    async fn pulse(&mut self, scope: &str) -> Result<Option<String>>;

    /// Another one for the same place that keeps what it has to keep below `folder`.
    fn elsewhere(&self, folder: &Path) -> Box<dyn Medium>;
}
