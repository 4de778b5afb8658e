//! Simple questions to observations: how many, how much, how fast, which quantile, by label and window. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vice_core::series::Point;

/// What is asked of the points of one group and window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// How many points there are.
    Count,
    /// The sum of their values.
    Sum,
    /// The mean of their values.
    Mean,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The increase of counters a second: what they grew by, over the time between the first and the last point. A counter
    /// that falls has begun anew at 0.
    Rate,
    /// The value below or at which this part of the points lies (nearest rank), 0 to 1.
    Quantile(f64),
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The value of the label that the points are grouped by; empty without one.
    pub(crate) group: String,
    /// When the window begins.
    pub(crate) from: Timestamp,
    /// The measure; `None` where the points of the window can't tell.
    pub(crate) value: Option<f64>,
    /// How many points were looked at.
    pub(crate) points: usize,
}

/// Answers by group and window, in that order. `window` is in milliseconds; windows begin at multiples of it since 1970,
/// and a point belongs to the one that it is not before.
pub(crate) fn aggregate(points: &[Point], by: Option<&str>, window: i64, measure: Measure) -> Vec<Answer> {
    let mut groups: BTreeMap<(String, i64), Vec<&Point>> = BTreeMap::new();
    for point in points {
        let group = by.and_then(|label| point.labels.get(label)).cloned().unwrap_or_default();
        let begins = point.time.as_millisecond().div_euclid(window.max(1));
        groups.entry((group, begins)).or_default().push(point);
    }
    let answer = |((group, begins), points): ((String, i64), Vec<&Point>)| Answer {
        group,
        from: Timestamp::from_millisecond(begins.saturating_mul(window.max(1))).unwrap_or(Timestamp::MIN),
        value: value(&points, measure),
        points: points.len(),
    };
    groups.into_iter().map(answer).collect()
}

fn value(points: &[&Point], measure: Measure) -> Option<f64> {
    let values = points.iter().map(|point| point.value);
    let count = points.len() as f64;
    match measure {
        Measure::Count => Some(count),
        Measure::Sum => Some(values.sum()),
        Measure::Mean => Some(values.sum::<f64>() / count),
        Measure::Min => values.reduce(f64::min),
        Measure::Max => values.reduce(f64::max),
        Measure::Rate => rate(points),
        Measure::Quantile(part) => {
            let mut sorted: Vec<f64> = values.collect();
            sorted.sort_by(f64::total_cmp);
            // Nearest rank: the smallest value that at least this part of all is not above.
            let rank = (part.clamp(0.0, 1.0) * count).ceil().max(1.0);
            sorted.into_iter().enumerate().find(|(index, _)| *index as f64 + 1.0 >= rank).map(|(_, value)| value)
        }
    }
}

/// Each series by itself, then their sum. One point alone says nothing about growth.
fn rate(points: &[&Point]) -> Option<f64> {
    let mut series: BTreeMap<_, Vec<&Point>> = BTreeMap::new();
    for point in points {
        series.entry(&point.labels).or_default().push(point);
    }
    let mut rates = series.into_values().filter_map(|points| {
        let (first, last) = (points.first()?, points.last()?);
        let seconds = (last.time.as_millisecond() - first.time.as_millisecond()) as f64 / 1000.0;
        let grown: f64 = points
            .windows(2)
            .map(|pair| if pair[1].value < pair[0].value { pair[1].value } else { pair[1].value - pair[0].value })
            .sum();
        (seconds > 0.0).then(|| grown / seconds)
    });
    let first = rates.next()?;
    Some(first + rates.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rows: &[(&str, i64, f64)]) -> Vec<Point> {
        let point = |(version, millis, value): &(&str, i64, f64)| Point {
            name: "requests".into(),
            labels: [("version".to_owned(), (*version).to_owned())].into(),
            time: Timestamp::from_millisecond(*millis).unwrap(),
            value: *value,
        };
        rows.iter().map(point).collect()
    }

    fn values(rows: &[(&str, i64, f64)], by: Option<&str>, window: i64, measure: Measure) -> Vec<Option<f64>> {
        aggregate(&points(rows), by, window, measure).into_iter().map(|answer| answer.value).collect()
    }

    #[test]
    fn windows_are_half_open_and_groups_are_apart() {
        let rows = [("1", 0, 1.0), ("2", 500, 9.0), ("1", 999, 2.0), ("1", 1000, 3.0)];
        assert_eq!(values(&rows, None, 1000, Measure::Count), [Some(3.0), Some(1.0)]);
        assert_eq!(values(&rows, Some("version"), 1000, Measure::Sum), [Some(3.0), Some(3.0), Some(9.0)]);
        assert_eq!(values(&rows, Some("absent"), 2000, Measure::Max), [Some(9.0)]);
        let before = aggregate(&points(&[("1", -1, 1.0)]), None, 1000, Measure::Count);
        assert_eq!(before[0].from.as_millisecond(), -1000);
    }

    #[test]
    fn counters_that_begin_anew_go_on() {
        let rows = [("1", 0, 10.0), ("1", 1000, 14.0), ("1", 2000, 2.0), ("2", 0, 0.0), ("2", 2000, 8.0)];
        assert_eq!(values(&rows, None, 10_000, Measure::Rate), [Some(3.0 + 4.0)]);
        assert_eq!(values(&rows[..1], None, 10_000, Measure::Rate), [None], "one point says nothing about growth");
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let rows: Vec<(&str, i64, f64)> = (1..=100).map(|n| ("1", n, n as f64)).collect();
        for (part, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)] {
            assert_eq!(values(&rows, None, 1_000_000, Measure::Quantile(part)), [Some(expected)], "{part}");
        }
    }
}
