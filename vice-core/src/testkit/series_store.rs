//! The conformance suite of observations. Every series store runs the whole of it through [`suite`].

use std::sync::Arc;

use jiff::Timestamp;

use crate::fault::Code;
use crate::series::{Labels, Point, SeriesQuery, SeriesStore};

type Store = Arc<dyn SeriesStore>;

/// Holds a store to every rule of [`crate::series`]. `make` gives a fresh, empty store each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(make: impl AsyncFn() -> Store) {
    gives_what_was_recorded(make().await).await;
    labels_and_time_select(make().await).await;
    a_point_replaces_its_twin(make().await).await;
    only_finite_values(make().await).await;
    expiry_forgets(make().await).await;
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a time")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn point(name: &str, pairs: &[(&str, &str)], millis: i64, value: f64) -> Point {
    Point { name: name.into(), labels: labels(pairs), time: at(millis), value }
}

fn query(name: &str, pairs: &[(&str, &str)], from: i64, until: i64) -> SeriesQuery {
    SeriesQuery { name: name.into(), labels: labels(pairs), from: at(from), until: at(until) }
}

async fn record(store: &Store, points: Vec<Point>) {
    store.record(points).await.expect("points are recorded");
}

async fn values(store: &Store, query: &SeriesQuery) -> Vec<f64> {
    let points = store.query(query).await.expect("points are read");
    points.into_iter().map(|point| point.value).collect()
}

async fn gives_what_was_recorded(store: Store) {
    let points = vec![
        point("cpu", &[], 10, -1.5),
        point("cpu", &[("a", "1"), ("b", "ü=,\"")], 20, 1e300),
        point("cpu", &[], 30, 0.1),
    ];
    record(&store, points.clone()).await;
    let back = store.query(&query("cpu", &[], 0, 100)).await.expect("points are read");
    assert_eq!(back, points, "points come back exactly as they were given, oldest first");
    assert!(values(&store, &query("mem", &[], 0, 100)).await.is_empty(), "a series that is not there has no points");
}

/// Labels as they are written in a table of cases.
type Pairs<'a> = &'a [(&'a str, &'a str)];

async fn labels_and_time_select(store: Store) {
    let rows = vec![
        point("req", &[("v", "1"), ("i", "1")], 30, 3.0),
        point("req", &[("v", "1"), ("i", "2")], 10, 1.0),
        point("req", &[("v", "2"), ("i", "1")], 20, 2.0),
        point("other", &[("v", "1")], 10, 9.0),
    ];
    record(&store, rows).await;
    let cases: [(Pairs<'_>, i64, i64, Vec<f64>); 6] = [
        (&[], 0, 100, vec![1.0, 2.0, 3.0]),
        (&[("v", "1")], 0, 100, vec![1.0, 3.0]),
        (&[("v", "1"), ("i", "2")], 0, 100, vec![1.0]),
        (&[("x", "1")], 0, 100, vec![]),
        (&[], 10, 30, vec![1.0, 2.0]),
        (&[], 31, 100, vec![]),
    ];
    for (pairs, from, until, expected) in cases {
        assert_eq!(
            values(&store, &query("req", pairs, from, until)).await,
            expected,
            "{pairs:?} from {from} until {until}"
        );
    }
}

async fn a_point_replaces_its_twin(store: Store) {
    record(&store, vec![point("cpu", &[("i", "1")], 10, 1.0)]).await;
    record(&store, vec![point("cpu", &[("i", "1")], 10, 2.0), point("cpu", &[("i", "2")], 10, 3.0)]).await;
    assert_eq!(values(&store, &query("cpu", &[("i", "1")], 0, 100)).await, [2.0], "the later value counts");
    assert_eq!(values(&store, &query("cpu", &[], 0, 100)).await.len(), 2, "other labels are another point");
}

async fn only_finite_values(store: Store) {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let points = vec![point("cpu", &[], 10, 1.0), point("cpu", &[], 20, value)];
        let fault = store.record(points).await.expect_err("a value that is not finite is refused");
        assert_eq!(fault.code(), Code::Usage, "{value} is refused as usage");
    }
    assert!(values(&store, &query("cpu", &[], 0, 100)).await.is_empty(), "a refused batch stores nothing");
}

async fn expiry_forgets(store: Store) {
    let rows = (0..10).map(|n| point("cpu", &[("i", if n % 2 == 0 { "1" } else { "2" })], n * 10, 1.0)).collect();
    record(&store, rows).await;
    assert_eq!(store.expire(at(40)).await.expect("expiry works"), 4, "expiry says how many it forgot");
    assert_eq!(values(&store, &query("cpu", &[], 0, 1000)).await.len(), 6, "points at or after the time stay");
    assert_eq!(store.expire(at(40)).await.expect("expiry works"), 0, "there is nothing left to forget");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySeriesStore;

    #[test]
    fn the_memory_store_conforms() {
        futures::executor::block_on(suite(async || Arc::new(MemorySeriesStore::default()) as Store));
    }
}
