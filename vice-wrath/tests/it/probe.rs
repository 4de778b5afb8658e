//! Probes: paired, counted, recorded by version, and refused where they would compare nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use vice_core::memory::MemorySeriesStore;
use vice_core::payload::ReleaseRef;
use vice_core::port::metric::{ProbeArm, ProbeRequest, Prober};
use vice_core::port::target::{UnitHealth, UnitState};
use vice_core::series::{SeriesQuery, SeriesStore};
use vice_core::template::Vars;
use vice_core::time::SystemClock;
use vice_core::ui::Format;
use vice_core::{Class, Code, Fault, Millis};
use vice_wrath::Wrath;
use vice_wrath::cmd::{ProbeArgs, WrathCommand, run};

use crate::app::{args, setup};
use crate::server::Server;
use crate::support::{FakeRunner, project, provider};

const SMOKE: &str = "[check.smoke]\nhttp = \"{{env.url}}/v/{{version}}\"\ntimeout = \"2s\"\n";

/// Answers 200, but every `bad_every`th request with 500.
async fn server(bad_every: u64) -> Server {
    Server::start(move |request, mut conn| async move {
        let bad = request.number.is_multiple_of(bad_every);
        conn.answer(if bad { "500 Broken" } else { "200 OK" }, "", "x").await;
    })
    .await
}

fn request(checks: &str, canary: &[&str], baseline: &[&str]) -> ProbeRequest {
    let arm = |version: &str, urls: &[&str]| ProbeArm {
        version: version.to_owned(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
    };
    ProbeRequest {
        project: project(checks),
        env: "dev".parse().unwrap(),
        canary: arm("2", canary),
        baseline: arm("1", baseline),
        rate: 200.0,
        during: Millis(300),
        checks: Vec::new(),
        vars: Vars::new(),
        config: None,
        labels: vice_core::series::Labels::default(),
    }
}

fn wrath(series: &Arc<MemorySeriesStore>) -> Wrath {
    provider();
    Wrath::new(Arc::new(SystemClock), Arc::<FakeRunner>::default()).with_series(Arc::clone(series) as _)
}

async fn refused(request: ProbeRequest) -> Fault {
    wrath(&Arc::default()).probe(request).await.unwrap_err()
}

async fn sum(series: &MemorySeriesStore, name: &str, version: &str) -> f64 {
    let labels = BTreeMap::from([("version".to_owned(), version.to_owned())]);
    let (from, until) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let query = SeriesQuery { name: name.to_owned(), labels, from, until };
    series.query(&query).await.unwrap().iter().map(|point| point.value).sum()
}

#[tokio::test]
async fn both_versions_get_the_same_probes_and_the_bad_one_shows() {
    let (canary, baseline) = (server(2).await, server(u64::MAX).await);
    let series = Arc::new(MemorySeriesStore::default());
    let report = wrath(&series).probe(request(SMOKE, &[&canary.url()], &[&baseline.url()])).await.unwrap();
    assert!(report.canary.seen >= 5, "{report:?}");
    assert_eq!(report.canary.seen, report.baseline.seen, "pairs");
    assert_eq!((report.canary.bad, report.baseline.bad), (report.canary.seen / 2, 0));
    assert!(report.reasons[0].starts_with("2: smoke: "), "{:?}", report.reasons);
    assert_eq!(canary.requests().len() as u64, report.canary.seen, "each probe is one request, nothing is repeated");
    assert!(canary.requests()[0].line().contains("/v/2 ") && baseline.requests()[0].line().contains("/v/1 "));
    for (version, counts) in [("2", report.canary), ("1", report.baseline)] {
        assert_eq!(sum(&series, "probe_total", version).await, counts.seen as f64);
        assert_eq!(sum(&series, "probe_bad", version).await, counts.bad as f64);
        assert_eq!(sum(&series, "probe_bucket", version).await, counts.seen as f64);
    }
}

#[tokio::test]
async fn a_version_that_is_silent_or_gone_is_bad_and_not_absent() {
    let baseline = server(u64::MAX).await;
    let silent = Server::start(|_, mut conn| async move { conn.until_gone().await }).await;
    let checks = SMOKE.replace("2s", "50ms");
    let gone = "http://127.0.0.1:9";
    for url in [silent.url().as_str(), gone] {
        let report = wrath(&Arc::default()).probe(request(&checks, &[url], &[&baseline.url()])).await.unwrap();
        assert!(report.canary.seen > 0);
        assert_eq!((report.canary.bad, report.canary.seen), (report.canary.seen, report.baseline.seen), "{url}");
    }
}

#[tokio::test]
async fn what_can_be_no_probe_is_refused() {
    let url = &["http://127.0.0.1:9"][..];
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        let mut request = request(SMOKE, url, url);
        request.rate = rate;
        assert_eq!(refused(request).await.code(), Code::Usage, "{rate}");
    }
    assert_eq!(refused(request(SMOKE, &[], url)).await.code(), Code::Usage);
    let tcp = "[check.a]\ntcp = \"127.0.0.1:1\"\n";
    assert!(refused(request(tcp, url, url)).await.to_string().contains("can be a probe"));
    let elsewhere = "[check.a]\nhttp = \"http://127.0.0.1:9/\"\n";
    assert!(refused(request(elsewhere, url, url)).await.to_string().contains("can be a probe"));
    let mut named = request(&format!("{SMOKE}{tcp}"), url, url);
    named.checks = vec!["a".to_owned()];
    assert!(refused(named).await.to_string().contains("a can't be a probe"));
    let mut unknown = request(SMOKE, url, url);
    unknown.checks = vec!["smok".to_owned()];
    assert_eq!(refused(unknown).await.code(), Code::UnknownName);
}

fn deployed(name: &str, version: &str, url: &str) -> UnitState {
    let release = ReleaseRef { version: version.to_owned(), ..example() };
    UnitState {
        name: name.to_owned(),
        release: Some(release),
        health: UnitHealth::Healthy,
        since: None,
        restarts: 0,
        url: Some(url.to_owned()),
        facts: BTreeMap::new(),
    }
}

fn example() -> ReleaseRef {
    ReleaseRef { version: String::new(), artifact: None, source: String::new(), config: None, recipe: None }
}

fn probe_args() -> ProbeArgs {
    ProbeArgs {
        project: Some("hello".into()),
        env: Some("dev".parse().unwrap()),
        rate: 100.0,
        during: Millis(100),
        check: vec![],
        get: vec![],
        label: vec![],
        canary: None,
        baseline: None,
    }
}

#[tokio::test]
async fn the_command_finds_the_two_versions_or_says_what_is_missing() {
    let (old, new) = (server(u64::MAX).await, server(1).await);
    let world = setup(SMOKE, None, None, Format::Text);
    let probe = |probe: ProbeArgs| {
        let mut args = args();
        args.command = Some(WrathCommand::Probe(probe));
        run(&world.app, args)
    };
    assert_eq!(probe(probe_args()).await.unwrap_err().code(), Code::Usage);
    world.deploy(vec![deployed("1", "1", &old.url()), deployed("2", "2", &new.url())]);
    // Two run and none is in force: which is new can't be told.
    assert_eq!(probe(probe_args()).await.unwrap_err().code(), Code::Usage);
    let same = ProbeArgs { canary: Some("1".into()), baseline: Some("1".into()), ..probe_args() };
    assert!(probe(same).await.unwrap_err().to_string().contains("itself"));
    let outcome = probe(ProbeArgs { baseline: Some("1".into()), ..probe_args() }).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["canary"]["version"]), (Class::Done, &"2".into()));
    assert_eq!(outcome.json["canary"]["bad"], outcome.json["canary"]["seen"]);
    assert_eq!(outcome.json["baseline"]["bad"], 0);
    assert!(outcome.text.contains("100.00 %"), "{}", outcome.text);
    let got = probe(ProbeArgs {
        baseline: Some("1".into()),
        get: vec!["/a?b=c".into(), "/d".into()],
        label: vec!["region=eu".into()],
        ..probe_args()
    });
    assert_eq!(got.await.unwrap().class, Class::Done);
    let lines: Vec<String> = old.requests().iter().map(|request| request.line().to_owned()).collect();
    assert!(lines.contains(&"GET /a?b=c HTTP/1.1".to_owned()) && lines.contains(&"GET /d HTTP/1.1".to_owned()));
    for (get, label) in [("a", "x=y"), ("/{{x}}", "x=y"), ("/a b", "x=y"), ("/a", "host=mine"), ("/a", "noise")] {
        let bad =
            ProbeArgs { baseline: Some("1".into()), get: vec![get.into()], label: vec![label.into()], ..probe_args() };
        assert_eq!(probe(bad).await.unwrap_err().code(), Code::Usage, "{get} {label}");
    }
}

/// A story of two steps, the second of which needs what the first gave, as a probe of both versions.
#[tokio::test]
async fn scenarios_are_probes_and_series_have_labels() {
    let shop = async |broken: bool| {
        Server::start(move |request, mut conn| async move {
            let login = request.line().starts_with("POST /login");
            let right = login || (request.line().starts_with("GET /cart/c7") && !broken);
            conn.answer(if right { "200 OK" } else { "500 No" }, "", "c7").await;
        })
        .await
    };
    let (old, new) = (shop(false).await, shop(true).await);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("buy.toml"),
        "[[step]]\nname = \"in\"\nhttp = \"POST /login\"\ncapture = { cart = \"body\" }\n\
         [[step]]\nname = \"cart\"\nhttp = \"/cart/{{cart}}\"\n",
    )
    .unwrap();
    let series = Arc::new(MemorySeriesStore::default());
    let (new_url, old_url) = (new.url(), old.url());
    let mut asked = request("", &[&new_url], &[&old_url]);
    let text = "name = \"hello\"\n[env.dev]\n[check.buy]\nscenario = \"buy.toml\"\n";
    asked.project = Arc::new(vice_core::manifest::Project::parse(dir.path().into(), "vice.toml".into(), text).unwrap());
    asked.rate = 50.0;
    asked.labels = [("region".to_owned(), "eu".to_owned()), ("host".to_owned(), "box".to_owned())].into();
    let report = wrath(&series).probe(asked).await.unwrap();
    assert!(report.canary.seen > 2 && report.canary.seen == report.baseline.seen, "{report:?}");
    assert_eq!((report.canary.bad, report.baseline.bad), (report.canary.seen, 0), "{report:?}");
    assert!(report.reasons[0].contains("2: buy: cart: status: expected 200, got 500"), "{report:?}");
    let (from, until) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let query = SeriesQuery { name: "probe_total".to_owned(), labels: BTreeMap::new(), from, until };
    let points = series.query(&query).await.unwrap();
    assert!(!points.is_empty());
    for labels in points.into_iter().map(|point| point.labels) {
        assert_eq!(
            (labels["region"].as_str(), labels["host"].as_str(), labels["check"].as_str()),
            ("eu", "box", "buy")
        );
        assert!(["1", "2"].contains(&labels["version"].as_str()));
    }
}
