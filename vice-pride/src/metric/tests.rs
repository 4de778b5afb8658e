//! Sources against scripted servers, honest, broken and hostile ones: each kind of trouble is a reading of its own, and
//! none is ever a number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vice_core::memory::MemorySeriesStore;
use vice_core::payload::version_in;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended};
use vice_core::port::metric::{MetricArm, MetricMark, MetricReading, MetricSource, MetricWindow};
use vice_core::secret::Masker;
use vice_core::series::{Labels, Point, SeriesStore};
use vice_core::{Code, Fault, Millis, Result, Secret};

use super::document::{Document, Origin};
use super::front::{FrontCounts, FrontEnd};
use super::http::{Http, bearer};
use super::prometheus::Prometheus;
use super::series::OwnSeries;
use super::source::{Ask, Source};
use crate::target::local::{FrontCounters, UnitCounters};
use vice_core::manifest::{MetricSpec, Project};

/// The metric `m` of a project.
fn spec(text: &str) -> MetricSpec {
    let text = format!("name = \"shop\"\n[env.dev]\n[metric.m]\n{text}\n");
    Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap().manifest.metric["m"].clone()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

/// The window of a minute that ends so many minutes after the beginning.
fn window(minute: i64) -> MetricWindow {
    MetricWindow { from: at(60 * minute - 60), until: at(60 * minute), canary: "2".into(), baseline: "1".into() }
}

fn source<A: Ask>(spec: &MetricSpec, ask: A) -> Source<A> {
    let scope = vice_core::id::Scope::new("shop".parse().unwrap(), "dev".parse().unwrap());
    Source { scope, spec: spec.clone(), name: "m".into(), ask, masker: Masker::default() }
}

/// A server that answers every request with what the script gives for its head and body, and counts them.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, seen, number) = (Arc::new(script), Arc::clone(&asked), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, seen, number) = (Arc::clone(&script), Arc::clone(&seen), Arc::clone(&number));
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let mut buffer = [0_u8; 4096];
                    while !is_whole(&bytes) {
                        match stream.read(&mut buffer).await {
                            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                            _ => return,
                        }
                    }
                    let request = String::from_utf8_lossy(&bytes).into_owned();
                    seen.lock().unwrap().push(request.clone());
                    let answer = script(number.fetch_add(1, Ordering::SeqCst), &request);
                    if answer.is_empty() {
                        // Silence, until the other side has had enough.
                        while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {}
                    }
                    drop(stream.write_all(&answer).await);
                });
            }
        });
        Self { url, asked }
    }

    /// A Prometheus that answers with the result that the script gives for a decoded query.
    async fn prometheus(script: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |_, request| {
            let form = request.split("\r\n\r\n").nth(1).unwrap_or_default();
            let query = url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "query");
            http(200, &vector(&script(&query.expect("a query").1)))
        })
        .await
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn vector(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
}

fn value(text: &str) -> String {
    format!(r#"{{"metric":{{}},"value":[1780000000,"{text}"]}}"#)
}

const ERRORS: &str =
    "bad = 'bad{v=\"{{version}}\"}[{{window}}]'\ntotal = 'total{v=\"{{version}}\"}'\ntimeout = \"300ms\"";

pub(super) fn prometheus(url: &str, rest: &str) -> Source<Prometheus> {
    tls();
    let spec = spec(&format!("prometheus = \"{url}\"\n{rest}"));
    let http = Http::new(&spec, &[]).unwrap();
    source(&spec, Prometheus::new(&spec, http).unwrap())
}

/// Clients panic without a TLS provider.
pub(super) fn tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

async fn one(source: &dyn MetricSource) -> (MetricReading, String) {
    let metered = source.read(&window(1), &MetricMark::default()).await;
    assert_eq!(metered.readings.len(), 1, "{metered:?}");
    (metered.readings[0], metered.notes.join(" "))
}

fn errors(canary: (u64, u64), baseline: (u64, u64)) -> MetricReading {
    let arm = |(seen, bad)| MetricArm::errors(seen, bad);
    MetricReading::Counts { stratum: 0, canary: arm(canary), baseline: arm(baseline) }
}

#[tokio::test]
async fn numbers_of_both_versions_become_counts() {
    let fake = Fake::prometheus(|query| match query {
        "bad{v=\"2\"}[60s]" => value("3.2"),
        "bad{v=\"1\"}[60s]" => value("1"),
        "total{v=\"2\"}" => format!("{},{}", value("40"), value("60.4")),
        "total{v=\"1\"}" => value("900"),
        other => panic!("{other}"),
    })
    .await;
    let (reading, notes) = one(&prometheus(&fake.url, ERRORS)).await;
    assert_eq!((reading, notes.as_str()), (errors((100, 3), (900, 1)), ""));
    let asked = fake.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|request| request.contains("time=1780000060")), "at the window's end: {asked:?}");
}

#[tokio::test]
async fn no_data_of_any_kind_is_never_zero_errors() {
    type Case = (&'static str, &'static str, &'static str, &'static str);
    // What `bad` and `total` give, then the reading and a word of the note.
    let cases: [Case; 11] = [
        ("", "5", "no_series", "or vector(0)"),
        ("0", "", "no_series", "total"),
        ("", "", "no_series", "total"),
        ("0", "0", "no_traffic", "no exposures"),
        ("NaN", "5", "failed", "NaN"),
        ("0", "NaN", "failed", "NaN"),
        ("+Inf", "5", "failed", "inf"),
        ("-3", "5", "failed", "-3"),
        ("7", "5", "failed", "7 bad ones of 5"),
        ("x", "5", "failed", "not a number"),
        ("0", "1e300", "failed", "can't be a count"),
    ];
    for (bad, total, reading, said) in cases {
        let fake = Fake::prometheus(move |query| {
            let text = if query.starts_with("bad") { bad } else { total };
            if text.is_empty() { String::new() } else { value(text) }
        })
        .await;
        let (found, notes) = one(&prometheus(&fake.url, ERRORS)).await;
        assert_eq!(serde_json::to_value(found).unwrap(), reading, "{bad:?} of {total:?}: {notes}");
        assert!(notes.contains(said), "{bad:?} of {total:?}: {notes}");
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_is_a_failed_reading_that_says_how() {
    let bad_query = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected <eof>"}"#;
    let huge = "x".repeat(super::http::BODY_BYTES_MAX + 1);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (http(400, bad_query), "unexpected <eof>"),
        (http(404, "no"), "status 404"),
        (http(401, ""), "does not let us in"),
        (http(500, "<html>"), "status 500"),
        (http(503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#), "timed out"),
        (http(200, "<html>login</html>"), "not what a Prometheus says"),
        (http(200, ""), "not what a Prometheus says"),
        (http(200, "{}"), "not what a Prometheus says"),
        (http(200, r#"{"status":"success"}"#), "no data"),
        (http(200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#), "gives a matrix"),
        (http(200, r#"{"status":"success","data":{"resultType":"vector","result":[{"value":"x"}]}}"#), "no sense"),
        (http(200, &"[".repeat(100_000)), "not what a Prometheus says"),
        (http(200, &huge), "larger than 8 MiB"),
        (b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec(), "redirect"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec(), "broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no answer"),
        (Vec::new(), "within 300ms"),
    ];
    for (answer, said) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let fake = Fake::start(move |_, _| answer.clone()).await;
        // Only what never answers has to be waited for; a busy machine may take its time for 8 MiB.
        let rest = if said.contains("300ms") { ERRORS.to_owned() } else { ERRORS.replace("300ms", "30s") };
        let source = prometheus(&fake.url, &rest);
        let (reading, notes) = one(&source).await;
        assert_eq!(reading, MetricReading::Failed, "{shown}");
        assert!(notes.contains(said), "{shown}: {notes}");
        assert!(!notes.contains(&fake.url) && notes.chars().count() < 1000, "{notes}");
        let fault = source.begin(&window(1)).await.unwrap_err();
        assert!(fault.chain().join(" ").contains(said), "{fault:?}");
    }
    let gone = prometheus("http://127.0.0.1:9", ERRORS);
    assert!(one(&gone).await.1.contains("can't be reached"));
    assert_eq!(gone.begin(&window(1)).await.unwrap_err().code(), Code::Unreachable);
}

#[tokio::test]
async fn numbers_from_before_the_window_are_late() {
    let newest = format!("{ERRORS}\nnewest = 'max(timestamp(x))'");
    let answers = |newest: i64| {
        move |query: &str| if query.contains("timestamp") { value(&newest.to_string()) } else { value("5") }
    };
    let late = Fake::prometheus(answers(1_780_000_000 - 1)).await;
    let (reading, notes) = one(&prometheus(&late.url, &newest)).await;
    assert_eq!(reading, MetricReading::Late, "{notes}");
    assert!(notes.contains("61 s older"), "{notes}");
    let fresh = Fake::prometheus(answers(1_780_000_000 + 59)).await;
    assert_eq!(one(&prometheus(&fresh.url, &newest)).await.0, errors((5, 5), (5, 5)));
}

#[tokio::test]
async fn latency_is_compared_at_thresholds_of_before_the_change() {
    let bucket = |le: &str, count: u64| format!(r#"{{"metric":{{"le":"{le}"}},"value":[0,"{count}"]}}"#);
    let fake = Fake::prometheus(move |query| {
        let counts: [(&str, u64); 5] = match query {
            // An hour of the baseline.
            "b{v=\"1\"}[3600s]" => [("0.1", 5000), ("0.2", 9000), ("0.5", 9900), ("1", 9990), ("+Inf", 10_000)],
            "b{v=\"1\"}[60s]" => [("0.1", 50), ("0.2", 90), ("0.5", 99), ("1", 100), ("+Inf", 100)],
            "b{v=\"2\"}[60s]" => [("0.1", 10), ("0.2", 50), ("0.5", 90), ("1", 95), ("+Inf", 100)],
            "b{v=\"2\"}[3600s]" => [("0.1", 0), ("0.2", 0), ("0.5", 0), ("1", 0), ("+Inf", 0)],
            other => panic!("{other}"),
        };
        counts.map(|(le, count)| bucket(le, count)).join(",")
    })
    .await;
    let source = prometheus(&fake.url, "kind = \"latency\"\nbuckets = 'b{v=\"{{version}}\"}[{{window}}]'");
    let mark = source.begin(&window(0)).await.unwrap();
    assert_eq!(mark.thresholds, [0.1, 0.2, 0.5, 1.0]);
    let metered = source.read(&window(1), &mark).await;
    let MetricReading::Counts { canary, baseline, .. } = metered.readings[0] else { panic!("{metered:?}") };
    assert_eq!((canary.seen, &canary.bad[..4]), (100, &[90, 50, 10, 5][..]));
    assert_eq!((baseline.seen, &baseline.bad[..4]), (100, &[50, 10, 1, 0][..]));
    // Without thresholds nothing is judged; they are taken for the next window.
    let first = source.read(&window(1), &MetricMark::default()).await;
    assert_eq!(first.readings, [MetricReading::NoTraffic]);
    assert_eq!(first.mark.thresholds, mark.thresholds);
}

#[tokio::test]
async fn health_counts_silence_as_death() {
    let fake = Fake::prometheus(|query| match query {
        "s2" => format!("{},{}", value("1"), value("0.5")),
        "s1" => format!("{},{}", value("1"), value("1")),
        _ => value("3"),
    })
    .await;
    let source = prometheus(&fake.url, "kind = \"health\"\nscores = 's{{version}}'\ntotal = 't{{version}}'");
    let MetricReading::Counts { canary, baseline, .. } = one(&source).await.0 else { panic!() };
    assert_eq!((canary.seen, canary.bad[0], canary.bad[8], canary.bad[15]), (3, 1, 1, 1));
    assert_eq!((baseline.seen, baseline.bad[0], baseline.bad[15]), (3, 2, 1));
}

#[tokio::test]
async fn each_stratum_is_a_reading_and_an_absent_one_does_not_hide_the_others() {
    let fake = Fake::prometheus(|query| match query {
        "t2eu" => value("10"),
        "t1eu" => value("20"),
        "t2us" => String::new(),
        query if query.starts_with('t') => value("30"),
        _ => value("1"),
    })
    .await;
    let rest =
        "bad = 'b{{version}}{{stratum}}'\ntotal = 't{{version}}{{stratum}}'\nstrata = [\"us\", \"eu\", \"asia\"]";
    let metered = prometheus(&fake.url, rest).read(&window(1), &MetricMark::default()).await;
    let arm = MetricArm::errors;
    let counts = |stratum, canary, baseline| MetricReading::Counts { stratum, canary, baseline };
    // In the absent one only the old version was counted: that compares nothing, and says how much traffic there is.
    let only_old = counts(0, arm(0, 0), arm(30, 1));
    assert_eq!(metered.readings, [only_old, counts(1, arm(10, 1), arm(20, 1)), counts(2, arm(30, 1), arm(30, 1))]);
    assert_eq!(metered.notes.len(), 1);
}

#[tokio::test]
async fn before_its_first_share_a_new_version_has_no_series_and_the_old_one_tells_the_traffic() {
    let fake = Fake::prometheus(|query| if query.contains('2') { String::new() } else { value("30") }).await;
    let rest = "bad = 'b{{version}}'\ntotal = 't{{version}}'";
    let metered = prometheus(&fake.url, rest).read(&window(1), &MetricMark::default()).await;
    let old =
        MetricReading::Counts { stratum: 0, canary: MetricArm::errors(0, 0), baseline: MetricArm::errors(30, 30) };
    assert_eq!(metered.readings, [old, MetricReading::NoSeries]);
}

fn document(url: &str, rest: &str) -> Source<Document> {
    tls();
    let spec = spec(&format!("json = \"{url}/{{{{version}}}}\"\ntimeout = \"300ms\"\n{rest}"));
    let http = Http::new(&spec, &[]).unwrap();
    source(&spec, Document { spec: spec.clone(), origin: Origin::Web(http) })
}

#[tokio::test]
async fn counters_that_grow_give_windows_across_restarts_and_outages() {
    // Of each version: requests and errors at each look.
    let looks: Vec<[(u64, u64); 2]> = vec![
        [(0, 0), (1000, 10)],
        [(50, 5), (1950, 20)],
        [(0, 0), (0, 0)], // An outage: answered with 500.
        [(90, 9), (2950, 30)],
        [(20, 1), (3950, 40)], // The canary began again at zero.
    ];
    let look = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&look);
    let fake = Fake::start(move |_, request| {
        let look = now.load(Ordering::SeqCst);
        let (total, bad) = looks[look][usize::from(request.contains("/1 "))];
        if look == 2 { http(500, "") } else { http(200, &format!(r#"{{"total":{total},"bad":{bad}}}"#)) }
    })
    .await;
    let source = document(&fake.url, "counts = \"cumulative\"");
    let mut mark = source.begin(&window(0)).await.unwrap();
    let mut found = Vec::new();
    for minute in 1..5 {
        look.store(minute, Ordering::SeqCst);
        let metered = source.read(&window(minute as i64), &mark).await;
        mark = serde_json::from_value(serde_json::to_value(&metered.mark).unwrap()).unwrap();
        found.extend(metered.readings);
    }
    let expected =
        [errors((50, 5), (950, 10)), MetricReading::Failed, errors((40, 4), (1000, 10)), errors((20, 1), (1000, 10))];
    assert_eq!(found, expected);
    // A mark that was lost costs one window, and makes up no counts.
    let lost = source.read(&window(5), &MetricMark::default()).await;
    assert_eq!(lost.readings, [MetricReading::Late]);
    assert_eq!(source.read(&window(6), &lost.mark).await.readings, [MetricReading::NoTraffic]);
}

#[tokio::test]
async fn documents_that_make_no_sense_are_readings_too() {
    let cases = [
        (http(200, "{}"), MetricReading::NoSeries, "nothing at"),
        (http(200, r#"{"total":null,"bad":1}"#), MetricReading::NoSeries, "nothing at"),
        (http(200, r#"{"total":[],"bad":1}"#), MetricReading::Failed, "not a number"),
        (http(200, r#"{"total":5,"bad":-1}"#), MetricReading::Failed, "-1"),
        (http(200, r#"{"total":5,"bad":9}"#), MetricReading::Failed, "9 bad ones of 5"),
        (http(200, "not json"), MetricReading::Failed, "not JSON"),
        (http(404, "{}"), MetricReading::Failed, "status 404"),
        (Vec::new(), MetricReading::Failed, "within 300ms"),
    ];
    for (answer, reading, said) in cases {
        let fake = Fake::start(move |_, _| answer.clone()).await;
        let (found, notes) = one(&document(&fake.url, "counts = \"window\"")).await;
        assert_eq!(found, reading, "{notes}");
        assert!(notes.contains(said), "{notes}");
    }
}

#[tokio::test]
async fn secrets_are_sent_and_never_shown() {
    tls();
    let fake =
        Fake::start(|_, _| http(403, r#"{"status":"error","errorType":"x","error":"bad token hunter22"}"#)).await;
    let spec = spec(&format!("prometheus = \"{}\"\n{ERRORS}\nheaders = {{ X-Org = \"a\" }}", fake.url));
    let secret = Secret::new("hunter22");
    let http = Http::new(&spec, &[bearer(&secret)]).unwrap();
    let mut source = source(&spec, Prometheus::new(&spec, http).unwrap());
    source.masker.add("metrics.token", &secret);
    let (_, notes) = one(&source).await;
    assert!(notes.contains("«secret:metrics.token»") && !notes.contains("hunter22"), "{notes}");
    let fault = source.begin(&window(1)).await.unwrap_err();
    assert!(!format!("{fault:?}").contains("hunter22"));
    let asked = fake.asked.lock().unwrap()[0].clone();
    assert!(asked.contains("authorization: Bearer hunter22") && asked.contains("x-org: a"), "{asked}");
    assert!(!asked.lines().next().unwrap().contains("hunter22"));
}

/// Answers with one output a version.
struct Runner(BTreeMap<String, CommandOutput>);

#[async_trait]
impl CommandRunner for Runner {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        assert_eq!(spec.env["VICE_VERSION"].reveal(), spec.argv[1]);
        let absent = || Fault::new(Code::Usage, "There is no program ./count.");
        self.0.get(&spec.argv[1]).cloned().ok_or_else(absent)
    }
}

fn printed(ended: Ended, stdout: &str, truncated: bool) -> CommandOutput {
    CommandOutput { ended, stdout: stdout.to_owned(), stderr: "why".into(), truncated, took: Millis(1) }
}

#[tokio::test]
async fn commands_print_documents_or_fail() {
    let good = r#"{"total": 100, "bad": "2"}"#;
    let cases = [
        (Some(printed(Ended::Exited(0), good, false)), errors((100, 2), (100, 2)), ""),
        (Some(printed(Ended::Exited(1), good, false)), MetricReading::Failed, "why"),
        (Some(printed(Ended::TimedOut, good, false)), MetricReading::Failed, "did not end"),
        (Some(printed(Ended::Exited(0), good, true)), MetricReading::Failed, "more than"),
        (None, MetricReading::Failed, "no program"),
    ];
    for (output, reading, said) in cases {
        let spec = spec("command = [\"./count\", \"{{version}}\"]\ncounts = \"window\"");
        let outputs = output.into_iter().flat_map(|it| [("1".to_owned(), it.clone()), ("2".to_owned(), it)]).collect();
        let origin = Origin::Command {
            runner: Arc::new(Runner(outputs)),
            dir: "/p".into(),
            env: BTreeMap::new(),
            masker: Masker::default(),
        };
        let (found, notes) = one(&source(&spec, Document { spec: spec.clone(), origin })).await;
        assert_eq!(found, reading, "{notes}");
        assert!(notes.contains(said), "{notes}");
    }
}

fn point(name: &str, version: &str, second: i64, value: f64, le: Option<&str>) -> Point {
    let mut labels = Labels::from([("version".to_owned(), version.to_owned())]);
    for (name, value) in [("project", Some("shop")), ("env", Some("dev")), ("check", Some("smoke")), ("le", le)] {
        labels.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    Point { name: name.to_owned(), labels, time: at(second), value }
}

#[tokio::test]
async fn own_series_are_summed_over_the_window_and_silence_is_told_apart() {
    let store = Arc::new(MemorySeriesStore::default());
    let read = async |text: &str| {
        let spec = spec(text);
        let own = OwnSeries { spec: spec.clone(), store: Arc::clone(&store) as _ };
        one(&source(&spec, own)).await.0
    };
    assert_eq!(read("series = \"probe\"").await, MetricReading::NoSeries);
    assert_eq!(read("checks = \"*\"").await, MetricReading::NoTraffic);
    // From before the window: the series exists.
    let before = [("2", 4.0), ("1", 4.0)].map(|(version, value)| point("probe_total", version, -5, value, None));
    store.record(before.into()).await.unwrap();
    assert_eq!(read("series = \"probe\"").await, MetricReading::NoTraffic);
    let mut points = Vec::new();
    for second in [0, 30, 59] {
        for version in ["1", "2"] {
            points.push(point("probe_total", version, second, 10.0, None));
            points.push(point("probe_bad", version, second, if version == "2" { 2.0 } else { 0.0 }, None));
        }
    }
    // At the window's end, which is not part of it.
    points.push(point("probe_total", "2", 60, 1000.0, None));
    store.record(points).await.unwrap();
    assert_eq!(read("series = \"probe\"").await, errors((30, 6), (30, 0)));
    assert_eq!(read("checks = [\"smoke\"]").await, errors((30, 6), (30, 0)));
    assert_eq!(read("checks = [\"other\"]").await, MetricReading::NoTraffic);
}

/// A front end with counters that a test sets.
#[derive(Default)]
struct Counters(Mutex<Option<FrontCounters>>);

#[async_trait]
impl FrontCounts for Counters {
    async fn counters(&self) -> Result<Option<FrontCounters>> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A front end's counters: id, version, exposures, failures, and the failures of which each client had one.
type Unit<'a> = (&'a str, &'a str, u64, u64, Option<u64>);

impl Counters {
    fn set(&self, run: &str, units: &[Unit<'_>]) {
        let unit = |(id, version, exposures, failures, client_failures): &Unit<'_>| UnitCounters {
            id: (*id).to_owned(),
            version: version_in(version).to_owned(),
            release: version.contains('~').then(|| (*version).to_owned()),
            exposures: *exposures,
            failures: *failures,
            client_failures: *client_failures,
            latency: vec![(20, *exposures)],
        };
        let units = units.iter().map(unit).collect();
        *self.0.lock().unwrap() = Some(FrontCounters { run: run.to_owned(), units });
    }

    fn source(self: &Arc<Self>, text: &str) -> Source<FrontEnd> {
        let spec = spec(text);
        let front = Arc::clone(self) as Arc<dyn FrontCounts>;
        source(&spec, FrontEnd { kind: spec.kind, per_client: spec.per_client.unwrap_or(true), front })
    }
}

#[tokio::test]
async fn the_front_end_is_read_by_process_and_a_restart_loses_nothing_else() {
    let counters = Arc::new(Counters::default());
    let source = counters.source("front = true");
    assert_eq!(source.begin(&window(0)).await.unwrap().counters.len(), 0, "not running is no trouble yet");
    assert_eq!(one(&source).await.0, MetricReading::NoSeries);
    counters.set("a", &[("1#1", "1", 1000, 10, None)]);
    let mark = source.begin(&window(0)).await.unwrap();
    let quiet = source.read(&window(1), &mark).await;
    assert_eq!(quiet.readings, [MetricReading::NoTraffic]);
    counters.set("a", &[("1#1", "1", 1500, 15, None), ("2#2", "2", 40, 4, None)]);
    let second = source.read(&window(2), &quiet.mark).await;
    assert_eq!(second.readings, [errors((40, 4), (500, 5))]);
    // The canary's process is replaced, and then the agent: new ids and a new run begin at zero.
    counters.set("a", &[("1#1", "1", 1600, 15, None), ("2#2", "2", 45, 5, None), ("2#3", "2", 10, 0, None)]);
    let third = source.read(&window(3), &second.mark).await;
    assert_eq!(third.readings, [errors((15, 1), (100, 0))]);
    counters.set("b", &[("1#1", "1", 7, 0, None), ("2#3", "2", 3, 3, None)]);
    assert_eq!(source.read(&window(4), &third.mark).await.readings, [errors((3, 3), (7, 0))]);
}

#[tokio::test]
async fn two_configurations_of_one_version_are_told_apart_in_one_process() {
    let counters = Arc::new(Counters::default());
    let source = counters.source("front = true\nsensor = false");
    let window = |minute| MetricWindow { canary: "1~bbbb".into(), baseline: "1~aaaa".into(), ..window(minute) };
    counters.set("a", &[("1#1", "1~aaaa", 1000, 10, None), ("2#1", "1~aaaa", 900, 9, None)]);
    let mark = source.begin(&window(0)).await.unwrap();
    // The second process has been given another configuration, and goes on.
    counters.set(
        "a",
        &[("1#1", "1~aaaa", 1100, 11, None), ("2#1", "1~aaaa", 950, 9, None), ("2#1", "1~bbbb", 40, 4, None)],
    );
    let read = source.read(&window(1), &mark).await;
    assert_eq!(read.readings, [errors((40, 4), (150, 1))]);
}

#[tokio::test]
async fn the_old_versions_instances_are_compared_with_each_other() {
    let counters = Arc::new(Counters::default());
    let before = [("1#1", "1", 9, 1, None), ("2#1", "1", 9, 1, None), ("3#1", "1", 9, 1, None)];
    // The second one has ended; those that serve are in the two groups in turn.
    let after =
        [("1#1", "1", 109, 2, None), ("2#1", "1", 9, 1, None), ("3#1", "1", 209, 5, None), ("4#1", "2", 50, 1, None)];
    let both = |counted, halves: Option<(MetricArm, MetricArm)>| {
        let halves = halves.map(|(left, right)| MetricReading::Halves { stratum: 0, left, right });
        std::iter::once(counted).chain(halves).collect::<Vec<_>>()
    };
    for (text, seen) in [("front = true", true), ("front = true\nsensor = false", false)] {
        let source = counters.source(text);
        counters.set("a", &before);
        let mark = source.begin(&window(0)).await.unwrap();
        counters.set("a", &after);
        let read = source.read(&window(1), &mark).await;
        let halves = seen.then(|| (MetricArm::errors(100, 1), MetricArm::errors(200, 4)));
        assert_eq!(read.readings, both(errors((50, 1), (300, 5)), halves), "{text}");
    }
    // One instance of the old version has no other half.
    let source = counters.source("front = true");
    let mark = source.begin(&window(0)).await.unwrap();
    counters.set("a", &[("1#1", "1", 209, 2, None), ("4#1", "2", 60, 1, None)]);
    assert_eq!(source.read(&window(1), &mark).await.readings, [errors((10, 0), (100, 0))]);
}

#[tokio::test]
async fn failures_are_counted_by_client_unless_somebody_says_otherwise() {
    let counters = Arc::new(Counters::default());
    for (text, bad) in [("front = true", 3), ("front = true\nper_client = false", 40)] {
        let source = counters.source(text);
        counters.set("a", &[("1#1", "1", 100, 0, Some(0)), ("2#1", "2", 100, 0, Some(0))]);
        let mark = source.begin(&window(0)).await.unwrap();
        counters.set("a", &[("1#1", "1", 400, 2, Some(2)), ("2#1", "2", 200, 40, Some(3))]);
        assert_eq!(source.read(&window(1), &mark).await.readings, [errors((100, bad), (300, 2))], "{text}");
    }
}

#[tokio::test]
async fn a_prometheus_is_asked_for_both_halves() {
    let fake = Fake::prometheus(|query| match query {
        "bad{v=\"2\",i=~\".*\"}" | "bad{v=\"1\",i=~\".*\"}" => value("6"),
        "total{v=\"2\",i=~\".*\"}" | "total{v=\"1\",i=~\".*\"}" => value("300"),
        "bad{v=\"1\",i=~\"a\\\\d\"}" => value("4"),
        "bad{v=\"1\",i=~\"b\"}" => value("2"),
        "total{v=\"1\",i=~\"a\\\\d\"}" => value("100"),
        "total{v=\"1\",i=~\"b\"}" => value("200"),
        other => panic!("{other}"),
    })
    .await;
    let query = |name: &str| format!("{name} = '{name}{{v=\"{{{{version}}}}\",i=~\"{{{{half}}}}\"}}'\n");
    let source = prometheus(&fake.url, &format!("{}{}halves = ['a\\d', 'b']", query("bad"), query("total")));
    let read = source.read(&window(1), &MetricMark::default()).await;
    let halves =
        MetricReading::Halves { stratum: 0, left: MetricArm::errors(100, 4), right: MetricArm::errors(200, 2) };
    assert_eq!(read.readings, [errors((300, 6), (300, 6)), halves]);
}
