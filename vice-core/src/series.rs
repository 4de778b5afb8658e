//! Observations are not history: health reports, probe results and metric points go to a series store, unchained,
//! compact and expiring. The log gets summaries, which is what decisions cite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::capability::BackendInfo;
use crate::fault::Result;

/// The labels of a point, such as version and instance.
pub type Labels = BTreeMap<String, String>;

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The series' name, such as `http_requests`.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// When, in whole milliseconds.
    pub time: Timestamp,
    /// The value; NaN and infinities are refused.
    pub value: f64,
}

/// Which points to read: a name, exact label values, and a half-open span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesQuery {
    /// The series' name.
    pub name: String,
    /// Labels that must have these values; others are free.
    pub labels: Labels,
    /// Not before.
    pub from: Timestamp,
    /// Before.
    pub until: Timestamp,
}

/// A store of observations.
#[async_trait]
pub trait SeriesStore: Send + Sync + 'static {
    /// What and where it is.
    fn describe(&self) -> BackendInfo;

    /// Stores points; a point with the same name, labels and time replaces the earlier one.
    ///
    /// # Errors
    /// `Usage` for values that are not finite, `Io` otherwise.
    async fn record(&self, points: Vec<Point>) -> Result<()>;

    /// The matching points, oldest first, at most [`crate::store::PAGE_MAX`] times ten.
    ///
    /// # Errors
    /// `Io`.
    async fn query(&self, query: &SeriesQuery) -> Result<Vec<Point>>;

    /// Forgets points before a time; gives how many.
    ///
    /// # Errors
    /// `Io`.
    async fn expire(&self, before: Timestamp) -> Result<u64>;
}
