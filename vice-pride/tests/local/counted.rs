//! What the front end counts leaves the agent: for judgements by upstream, for a Prometheus by version.

use std::collections::BTreeMap;
use std::time::Duration;

use vice_core::Code;
use vice_core::port::target::{Traffic, Weight, WeightTable};

use crate::support::{Client, Ground, PATIENCE, service};

async fn ask(ground: &Ground, times: usize) {
    let mut client = Client::connect(&ground.url().await).await.unwrap();
    for _ in 0..times {
        client.ask(None).await.unwrap();
    }
}

/// Requests of a version, by the exposition; none when it has no such series.
async fn exposed(url: &str, name: &str, version: &str) -> Option<u64> {
    let text = reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap();
    let label = format!("version=\"{version}\"");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn provider() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

#[tokio::test]
async fn counters_are_told_by_upstream_and_version() {
    let ground = Ground::new();
    assert_eq!(ground.target().counters().await.unwrap(), None, "no agent, and none is started");
    ground.place("1", &service("1", &[])).await;
    ground.place("2", &service("2", &["--delay-ms", "30"])).await;
    ask(&ground, 20).await;
    let counters = ground.target().counters().await.unwrap().unwrap();
    let units: BTreeMap<&str, _> = counters.units.iter().map(|unit| (unit.version.as_str(), unit)).collect();
    assert_eq!(units.values().map(|unit| unit.exposures).collect::<Vec<_>>(), [10, 10]);
    assert_eq!(units.values().map(|unit| unit.failures).sum::<u64>(), 0);
    let slowest = |version: &str| units[version].latency.iter().map(|(bucket, _)| *bucket).min().unwrap();
    let thirty = u16::try_from(vice_core::histogram::latency_bucket(30_000)).unwrap();
    assert!(slowest("2") >= thirty && slowest("1") < thirty, "{counters:?}");
    // Another agent begins at zero, and says so by another run.
    ground.kill_agent();
    ask_again(&ground).await;
    let later = ground.target().counters().await.unwrap().unwrap();
    assert_ne!(later.run, counters.run);
    assert_eq!(later.units.iter().map(|unit| unit.exposures).sum::<u64>(), 4);
}

/// Starts the next agent by asking something of it, and sends four requests.
async fn ask_again(ground: &Ground) {
    let weights = [("1", 5000), ("2", 5000)]
        .map(|(version, basis_points)| Weight { version: version.into(), basis_points })
        .into();
    ground.target().set_weights(&WeightTable { epoch: 1, weights }).await.unwrap();
    ask(ground, 4).await;
}

#[tokio::test]
async fn the_exposition_is_off_until_it_is_asked_for() {
    provider();
    let mut ground = Ground::new();
    ground.place("1", &service("1", &[])).await;
    assert_eq!(ground.inventory().await.metrics, None);
    ground.metrics = Some(0);
    ground.place("2", &service("2", &[])).await;
    let url = ground.inventory().await.metrics.unwrap();
    ask(&ground, 6).await;
    assert_eq!(exposed(&url, "vice_front_exposures_total", "1").await, Some(3));
    assert_eq!(exposed(&url, "vice_front_failures_total", "2").await, Some(0), "no errors is a series");
    assert_eq!(exposed(&url, "vice_front_exposures_total", "3").await, None, "and no version is none");
    let elsewhere = reqwest::get(url.replace("/metrics", "/state")).await.unwrap();
    assert_eq!(elsewhere.status(), 404);
    // The next agent exposes them at the same place, and whoever wants it off gets it off.
    ground.kill_agent();
    ask_again(&ground).await;
    assert_eq!(ground.inventory().await.metrics.as_deref(), Some(url.as_str()));
    ground.metrics = None;
    ask_again(&ground).await;
    assert_eq!(ground.inventory().await.metrics, None);
    assert!(reqwest::get(&url).await.is_err());
}

#[tokio::test]
async fn a_taken_metrics_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ground = Ground::new();
    ground.metrics = Some(taken.local_addr().unwrap().port());
    let release = service("1", &[]);
    let op = crate::support::place("a", 1, "1", &release, None);
    let fault = vice_core::port::target::Target::apply(&*ground.target(), &op, Some(&release)).await.unwrap_err();
    assert_eq!(fault.code(), Code::PortInUse);
    assert!(fault.hints().join(" ").contains("metrics_port"), "{fault:?}");
}

#[expect(clippy::disallowed_methods, reason = "the lab's addresses are in the environment of the test process")]
fn lab(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. Run the test with scripts/test or scripts/lab/run COMMAND, or install: apt-get install -y prometheus")
    })
}

#[tokio::test]
async fn lab_a_real_prometheus_scrapes_the_agent() {
    provider();
    let (prometheus, dir) = (lab("VICE_LAB_PROMETHEUS"), lab("VICE_LAB_PROMETHEUS_DIR"));
    let mut ground = Ground::new();
    ground.metrics = Some(0);
    ground.place("1", &service("1", &["--delay-ms", "20"])).await;
    let url = ground.inventory().await.metrics.unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let target = std::path::PathBuf::from(dir).join("pride-agent.json");
    std::fs::write(&target, format!("[{{\"targets\": [\"{address}\"], \"labels\": {{\"lab\": \"agent\"}}}}]")).unwrap();
    ask(&ground, 25).await;
    let query = async |query: &str| -> Option<f64> {
        let url = reqwest::Url::parse_with_params(&format!("{prometheus}/api/v1/query"), [("query", query)]).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&reqwest::get(url).await.ok()?.text().await.ok()?).ok()?;
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    };
    let scraped = async {
        while query("vice_front_exposures_total{lab=\"agent\",version=\"1\"}").await != Some(25.0) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, scraped).await.expect("the Prometheus has the 25 requests in time");
    std::fs::remove_file(&target).unwrap();
    assert_eq!(query("vice_front_responses_total{lab=\"agent\",code=\"5xx\"}").await, Some(0.0));
    let p50 = query("histogram_quantile(0.5, vice_front_duration_seconds_bucket{lab=\"agent\"})").await.unwrap();
    assert!(p50 >= 0.02, "each took at least 20 ms: {p50}");
}
