//! The same sources against real servers: a Prometheus that scrapes, and a VictoriaMetrics that is given points of the
//! past. Both are started by `scripts/test` or `scripts/lab/run COMMAND`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vice_core::port::metric::{MetricMark, MetricReading, MetricSource, MetricWindow};

use super::RangeQuery;
use super::tests::{prometheus, tls};
use vice_core::time::{Clock, SystemClock};
use vice_core::{Code, Millis};

/// Fails a test that would wait for ever; decides nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the lab's addresses are in the environment of the test process")]
fn lab(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. Run the test with scripts/test or scripts/lab/run COMMAND, which install what is missing: apt-get install -y prometheus victoria-metrics")
    })
}

fn last(seconds: i64) -> MetricWindow {
    let until = SystemClock.now();
    let from = until - SignedDuration::from_secs(seconds);
    MetricWindow { from, until, canary: "2".into(), baseline: "1".into() }
}

fn spec(label: &str) -> String {
    let query =
        |name: &str| format!("sum(increase({name}{{lab=\"{label}\",version=\"{{{{version}}}}\"}}[{{{{window}}}}]))");
    format!("bad = '{}'\ntotal = '{}'\nstrata = []", query("lab_bad_total"), query("lab_total"))
}

/// An exporter whose counters grow with every scrape: 100 and 200 exposures, 10 and 2 bad ones.
async fn exporter(label: &'static str) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scrapes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&scrapes);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0_u8; 8192];
            if !matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {
                continue;
            }
            let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let line = |name: &str, version: u8, each: u64| {
                format!("{name}{{lab=\"{label}\",version=\"{version}\"}} {}\n", each * n)
            };
            let body = line("lab_total", 2, 100) + &line("lab_total", 1, 200);
            let body = body + &line("lab_bad_total", 2, 10) + &line("lab_bad_total", 1, 2);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all((head + &body).as_bytes()).await);
        }
    });
    (port, scrapes)
}

#[tokio::test]
async fn lab_a_real_prometheus_scrapes_and_is_read() {
    let url = lab("VICE_LAB_PROMETHEUS");
    let (port, scrapes) = exporter("pride-scrape").await;
    let target = std::path::PathBuf::from(lab("VICE_LAB_PROMETHEUS_DIR")).join("pride-scrape.json");
    std::fs::write(&target, format!("[{{\"targets\": [\"127.0.0.1:{port}\"]}}]")).unwrap();
    let source = prometheus(&url, &spec("pride-scrape"));
    // Nothing is there yet, which is no trouble before the first exposure.
    source.begin(&last(10)).await.unwrap();
    let scraped = async {
        loop {
            let metered = source.read(&last(10), &MetricMark::default()).await;
            if let [MetricReading::Counts { canary, baseline, .. }] = metered.readings.as_slice()
                && canary.seen > 300
                && baseline.seen > 300
            {
                return (*canary, *baseline);
            }
            let quiet = [MetricReading::NoSeries, MetricReading::NoTraffic];
            let counts = matches!(metered.readings[0], MetricReading::Counts { .. });
            assert!(counts || quiet.contains(&metered.readings[0]), "{metered:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (canary, baseline) = tokio::time::timeout(PATIENCE, scraped).await.expect("scraped in time");
    std::fs::remove_file(&target).unwrap();
    assert!(scrapes.load(Ordering::SeqCst) >= 3);
    // Extrapolated by the server, so only nearly a tenth and a hundredth.
    let share = |arm: vice_core::port::metric::MetricArm| f64::from(arm.bad[0]) / arm.seen as f64;
    assert!((share(canary) - 0.1).abs() < 0.01 && (share(baseline) - 0.01).abs() < 0.005, "{canary:?} {baseline:?}");
}

#[tokio::test]
async fn lab_a_bad_query_is_refused_before_anything_begins() {
    for url in [lab("VICE_LAB_PROMETHEUS"), lab("VICE_LAB_VICTORIA")] {
        let source = prometheus(&url, "bad = 'sum(x{version=\"{{version}}\"'\ntotal = 'y{version=\"{{version}}\"}'");
        let fault = source.begin(&last(60)).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage, "{fault:?}");
        // Each says in its own words what is wrong with the query.
        assert!(fault.chain().join(" ").contains("unexpected"), "{fault:?}");
        assert_eq!(source.read(&last(60), &MetricMark::default()).await.readings, [MetricReading::Failed]);
        let none = prometheus(&url, &spec("pride-nobody"));
        assert_eq!(none.read(&last(60), &MetricMark::default()).await.readings, [MetricReading::NoSeries]);
    }
}

/// Gives the VictoriaMetrics counters of the last ten minutes, a point every 10 s. After five minutes the process of
/// version 2 begins again at zero.
async fn backfill(url: &str, now: Timestamp) {
    let mut text = String::new();
    let mut counters = [[0_u64; 2]; 2];
    for step in 0..60_i64 {
        let millis = now.as_millisecond() - (60 - step) * 10_000;
        if step == 30 {
            counters[1] = [0, 0];
        }
        for (version, counter) in counters.iter_mut().enumerate() {
            counter[0] += 100;
            counter[1] += if version == 1 { 5 } else { 1 };
            let labels = format!("{{lab=\"pride-past\",version=\"{}\"}}", version + 1);
            text.push_str(&format!(
                "lab_total{labels} {} {millis}\nlab_bad_total{labels} {} {millis}\n",
                counter[0], counter[1]
            ));
        }
    }
    let client = reqwest::Client::builder().build().unwrap();
    client.post(format!("{url}/api/v1/import/prometheus")).body(text).send().await.unwrap().error_for_status().unwrap();
    client.get(format!("{url}/internal/force_flush")).send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test]
async fn lab_victoria_metrics_is_read_the_same_way() {
    tls();
    let url = lab("VICE_LAB_VICTORIA");
    let now = SystemClock.now();
    backfill(&url, now).await;
    let source = prometheus(&url, &spec("pride-past"));
    let window = MetricWindow {
        until: now - SignedDuration::from_secs(10),
        from: now - SignedDuration::from_secs(550),
        ..last(1)
    };
    let metered = source.read(&window, &MetricMark::default()).await;
    let [MetricReading::Counts { canary, baseline, .. }] = metered.readings.as_slice() else { panic!("{metered:?}") };
    // 54 steps of 100; a restart in between must not show as a jump.
    for arm in [canary, baseline] {
        assert!((5200..=5600).contains(&arm.seen), "{arm:?}");
    }
    assert!((250..=290).contains(&canary.bad[0]) && (50..=58).contains(&baseline.bad[0]), "{canary:?} {baseline:?}");
}

#[tokio::test]
async fn lab_ranges_are_samples_and_nothing_is_an_empty_one() {
    tls();
    for url in [lab("VICE_LAB_PROMETHEUS"), lab("VICE_LAB_VICTORIA")] {
        let now = SystemClock.now();
        let range =
            RangeQuery::new(&url, now - SignedDuration::from_mins(10), now, Millis::from_secs(60), None).unwrap();
        assert_eq!(range.ask("--canary", "vector(2)").await.unwrap().values, [2.0; 11]);
        assert!(range.ask("--canary", "absent_series_of_the_lab").await.unwrap().values.is_empty());
        let both = "label_replace(vector(1), \"a\", \"b\", \"\", \"\") or vector(2)";
        assert!(range.ask("--canary", both).await.unwrap_err().to_string().contains("2 series"));
        assert_eq!(range.ask("--canary", "sum(").await.unwrap_err().code(), Code::Usage);
    }
}
