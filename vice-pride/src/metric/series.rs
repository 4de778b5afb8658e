//! vice's own series: what was recorded by version, by probes or by whoever writes points.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use vice_core::Result;
use vice_core::capability::BackendInfo;
use vice_core::manifest::{MetricKind, MetricSpec};
use vice_core::memory::POINTS_MAX;
use vice_core::port::metric::PROBE_SERIES;
use vice_core::series::{Labels, Point, SeriesQuery, SeriesStore};

use super::number::{Histogram, Numbers, count};
use super::scene::Asked;
use super::source::{Ask, Growth, Tally};
use super::trouble::Trouble;

/// A series that had no point for so long is taken for one that does not exist.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The series of one metric.
pub(super) struct OwnSeries {
    pub(super) spec: MetricSpec,
    pub(super) store: Arc<dyn SeriesStore>,
}

impl OwnSeries {
    fn base(&self) -> &str {
        self.spec.series.as_deref().unwrap_or(PROBE_SERIES)
    }

    /// The names of the checks whose probes count; none for all.
    fn checks(&self) -> Option<&[String]> {
        let checks = self.spec.checks.as_ref()?.0.as_slice();
        (!checks.iter().any(|check| check == "*")).then_some(checks)
    }

    fn labels(&self, asked: Asked<'_>) -> Result<Labels, Trouble> {
        let mut labels: Labels = [("version".to_owned(), asked.version.to_owned())].into();
        if self.spec.checks.is_some() {
            labels.insert("project".to_owned(), asked.scope.project.to_string());
            labels.insert("env".to_owned(), asked.scope.env.to_string());
        }
        for (name, value) in &self.spec.labels {
            let value = asked.plain(value).map_err(|fault| Trouble::refused(fault.to_string()))?;
            labels.insert(name.clone(), value);
        }
        Ok(labels)
    }

    /// All points of a window, however many; a store gives a bounded number at a time.
    async fn points(&self, asked: Asked<'_>, suffix: &str) -> Result<Vec<Point>, Trouble> {
        let name = format!("{}{suffix}", self.base());
        let labels = self.labels(asked)?;
        let mut spans = vec![(asked.window.from, asked.window.until)];
        let mut points = Vec::new();
        while let Some((from, until)) = spans.pop() {
            let query = SeriesQuery { name: name.clone(), labels: labels.clone(), from, until };
            let found = self.store.query(&query).await.map_err(|fault| Trouble::failed(fault.chain().join(": ")))?;
            let millis = until.as_millisecond().saturating_sub(from.as_millisecond());
            if found.len() < POINTS_MAX || millis <= 1 {
                points.extend(found);
                continue;
            }
            let middle = Timestamp::from_millisecond(from.as_millisecond() + millis / 2);
            let middle = middle.map_err(|error| Trouble::failed(error.to_string()))?;
            spans.extend([(from, middle), (middle, until)]);
        }
        let checks = self.checks();
        let wanted = |point: &Point| {
            checks.is_none_or(|checks| point.labels.get("check").is_some_and(|check| checks.contains(check)))
        };
        points.retain(wanted);
        Ok(points)
    }

    /// Why there are no points: nobody came, or there is no such series.
    async fn absence(&self, asked: Asked<'_>, suffix: &str) -> Trouble {
        if self.spec.checks.is_some() {
            return Trouble::no_traffic("No probes were sent.");
        }
        let name = format!("{}{suffix}", self.base());
        let from = asked.window.until.checked_sub(FORGOTTEN_AFTER).unwrap_or(asked.window.from);
        let labels = match self.labels(asked) {
            Ok(labels) => labels,
            Err(trouble) => return trouble,
        };
        let query = SeriesQuery { name: name.clone(), labels, from, until: asked.window.until };
        match self.store.query(&query).await {
            Ok(points) if points.is_empty() => Trouble::no_series(format!("There is no series {name}.")),
            Ok(_) => Trouble::no_traffic(format!("The series {name} has no points in the window.")),
            Err(fault) => Trouble::failed(fault.chain().join(": ")),
        }
    }

    async fn sum(&self, asked: Asked<'_>, suffix: &str) -> Result<Option<u64>, Trouble> {
        let points = self.points(asked, suffix).await?;
        if points.is_empty() {
            return Ok(None);
        }
        if let Some(point) = points.iter().find(|point| point.value < 0.0) {
            return Err(Trouble::failed(format!("A point of {} is {}.", point.name, point.value)));
        }
        count(points.iter().map(|point| point.value).sum(), suffix).map(Some)
    }

    async fn errors(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let Some(total) = self.sum(asked, "_total").await? else {
            return Err(self.absence(asked, "_total").await);
        };
        let Some(bad) = self.sum(asked, "_bad").await? else {
            return Err(Trouble::no_series(format!("There is {}_total and no {}_bad.", self.base(), self.base())));
        };
        Numbers::errors(total, bad)
    }

    async fn times(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let points = self.points(asked, "_bucket").await?;
        if points.is_empty() {
            return Err(self.absence(asked, "_bucket").await);
        }
        let mut buckets = Vec::with_capacity(points.len());
        for point in points {
            let edge = point.labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|edge| !edge.is_nan());
            let edge = edge.ok_or_else(|| Trouble::failed(format!("A point of {} has no bound `le`.", point.name)))?;
            buckets.push((edge, count(point.value, "A bucket")?));
        }
        Ok(Numbers::Times(Histogram::sparse(buckets)))
    }

    async fn scores(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let points = self.points(asked, "").await?;
        if points.is_empty() {
            return Err(self.absence(asked, "").await);
        }
        let scores: Vec<f64> = points.iter().map(|point| point.value).collect();
        Numbers::scores(&scores, None)
    }
}

#[async_trait]
impl Ask for OwnSeries {
    fn describe(&self) -> BackendInfo {
        let kind = if self.spec.checks.is_some() { "checks" } else { "series" };
        BackendInfo { kind, location: self.base().to_owned(), ..self.store.describe() }
    }

    fn growth(&self) -> Growth {
        Growth::Window
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Vec<Tally>, Trouble> {
        let numbers = match self.spec.kind {
            MetricKind::Errors => self.errors(asked).await?,
            MetricKind::Latency => self.times(asked).await?,
            MetricKind::Health => self.scores(asked).await?,
        };
        Ok(vec![Tally { process: String::new(), numbers }])
    }
}
