//! Observations in memory. Deterministic.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::capability::BackendInfo;
use crate::fault::Result;
use crate::series::{Labels, Point, SeriesQuery, SeriesStore};
use crate::store::PAGE_MAX;

/// The most points that one query gives.
pub const POINTS_MAX: usize = PAGE_MAX * 10;

/// By time in milliseconds first, because queries and expiry go by time.
type Points = BTreeMap<(i64, String, Labels), f64>;

/// A store of observations in memory.
#[derive(Debug, Default)]
pub struct MemorySeriesStore {
    points: Mutex<Points>,
}

impl MemorySeriesStore {
    fn points(&self) -> MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SeriesStore for MemorySeriesStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "memory", location: "memory".into(), shared: false }
    }

    async fn record(&self, points: Vec<Point>) -> Result<()> {
        points.iter().try_for_each(Point::check)?;
        let mut stored = self.points();
        for point in points {
            stored.insert((point.time.as_millisecond(), point.name, point.labels), point.value);
        }
        Ok(())
    }

    async fn query(&self, query: &SeriesQuery) -> Result<Vec<Point>> {
        let span = (query.from.as_millisecond(), query.until.as_millisecond());
        let wanted = |labels: &Labels| query.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        let stored = self.points();
        let fitting = stored.iter().filter(|((time, name, labels), _)| {
            (span.0..span.1).contains(time) && *name == query.name && wanted(labels)
        });
        let point = |((time, name, labels), value): (&(i64, String, Labels), &f64)| Point {
            name: name.clone(),
            labels: labels.clone(),
            time: Timestamp::from_millisecond(*time).unwrap_or(Timestamp::UNIX_EPOCH),
            value: *value,
        };
        Ok(fitting.take(POINTS_MAX).map(point).collect())
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        let mut stored = self.points();
        let count = stored.len();
        stored.retain(|(time, _, _), _| *time >= before.as_millisecond());
        Ok(u64::try_from(count - stored.len()).unwrap_or(u64::MAX))
    }
}
