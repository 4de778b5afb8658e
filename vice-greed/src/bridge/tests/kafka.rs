//! Against two implementations of Kafka that know nothing of each other, and what librdkafka, which most clients are made of,
//! sees of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vice_core::app::{App, ProcessEnv};
use vice_core::{Class, Code};

use super::{append, history, in_stream, lab, number, run, some_events, taken, unique};
use crate::bridge::Place;
use crate::cmd::testing::Told;

const BROKERS: [&str; 2] = ["VICE_LAB_KAFKA", "VICE_LAB_KAFKA_MOCK"];

#[expect(clippy::disallowed_methods, reason = "a client of others is a process")]
fn client(words: &[&str], input: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab/kafka_client.py");
    let mut child = Command::new(lab("VICE_LAB_PYTHON"))
        .arg(script)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything that a topic holds.
pub(super) fn consume(brokers: &str, topic: &str) -> Vec<Value> {
    client(&["consume", brokers, topic], "")
}

pub(super) fn produce(brokers: &str, topic: &str, settings: &[&str], records: &[Value]) {
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    client(&[&["produce", brokers, topic], settings].concat(), &lines);
}

fn url(brokers: &str, topic: &str) -> String {
    format!("kafka://{brokers}/{topic}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_events_go_out_and_come_in_as_they_were() {
    for (brokers, mode) in BROKERS.into_iter().flat_map(|name| [(lab(name), "structured"), (lab(name), "binary")]) {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (one, two) = (history(dirs[0].path(), &Arc::default()), history(dirs[1].path(), &Arc::default()));
        let topic = unique(dirs[0].path());
        let to = url(&brokers, &topic);
        append(&one, some_events(0, 1_300)).await;
        let sent = run(&one, &["forward", "--to", &to, "--once", "--mode", mode]).await.unwrap().json;
        assert_eq!(sent["sent"], 1_300, "{sent}");
        append(&one, some_events(1_300, 7)).await;
        let sent = run(&one, &["forward", "--to", &to, "--once", "--mode", mode]).await.unwrap().json;
        assert_eq!(sent["sent"], 7, "it goes on where it stopped: {sent}");
        look_from_outside(&consume(&brokers, &topic), mode);
        let report = run(&two, &["follow", "--from", &to, "--once"]).await.unwrap().json;
        assert_eq!((report["taken"].as_u64(), report["refused"].as_u64()), (Some(1_307), Some(0)), "{report}");
        compare(&one, &two).await;
        let report = run(&two, &["follow", "--from", &to, "--once"]).await.unwrap().json;
        assert_eq!(report["taken"], 0);
    }
}

/// What another client sees: each event once, what has one key in one partition and in order, the attributes where the
/// binding of CloudEvents has them.
fn look_from_outside(records: &[Value], mode: &str) {
    assert_eq!(records.len(), 1_307);
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for record in records {
        let (headers, value) = (&record["headers"], record["value"].as_str().unwrap());
        let document: Value = serde_json::from_str(value).unwrap();
        let (n, id) = if mode == "binary" {
            assert_eq!(
                (headers["content-type"].as_str(), headers["ce_specversion"].as_str()),
                (Some("application/json"), Some("1.0"))
            );
            assert_eq!(headers["ce_partitionkey"], record["key"]);
            assert!(headers["ce_subject"].as_str().unwrap().starts_with("größe \""), "{headers}");
            (number(value), headers["ce_id"].as_str().unwrap())
        } else {
            assert_eq!(headers["content-type"], "application/cloudevents+json; charset=UTF-8");
            assert_eq!(document["partitionkey"], record["key"]);
            (document["data"]["n"].as_u64().unwrap(), document["id"].as_str().unwrap())
        };
        assert_eq!(id, format!("e{n}"));
        let key = record["key"].as_str().unwrap().to_owned();
        let partition = record["partition"].as_u64().unwrap();
        if let Some((before, at)) = last.insert(key.clone(), (n, partition)) {
            assert!(before < n && at == partition, "{key}: {before} {n}");
        }
    }
    assert_eq!(last.keys().map(String::as_str).collect::<Vec<_>>(), ["cart/prod", "inbox", "shop/prod", "till/prod"]);
}

pub(super) async fn compare(one: &App, two: &App) {
    let query = |prefix: &str| vice_core::store::Query { stream_prefix: Some(prefix.to_owned()), ..Default::default() };
    let mut sent = one.events.read(&query("s/")).await.unwrap();
    sent.extend(one.events.read(&query("inbox")).await.unwrap());
    let came = two.events.read(&query("inbox")).await.unwrap();
    assert_eq!(came.len(), sent.len());
    let by_id: BTreeMap<&str, _> = came.iter().map(|recorded| (recorded.event.id.as_str(), &recorded.event)).collect();
    for event in sent.iter().map(|recorded| &recorded.event) {
        let other = by_id[event.id.as_str()];
        assert_eq!((&event.source, &event.kind, &event.subject), (&other.source, &other.kind, &other.subject));
        assert_eq!((event.time, &event.scope, &event.data), (other.time, &other.scope, &other.data));
        assert!(other.actor.id.starts_with("follow/"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_what_others_send_is_taken_however_it_is_packed() {
    for brokers in BROKERS.map(lab) {
        let dir = tempfile::tempdir().unwrap();
        let app = history(dir.path(), &Arc::default());
        let topic = unique(dir.path());
        let long = "packed ".repeat(2_000);
        let kind = json!({ "content-type": "application/cloudevents+json" });
        for (n, packing) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
            let one = |k: u32| {
                let id = n * 10 + k;
                let event = json!({"specversion":"1.0","id":format!("e{id}"),"source":"/t","type":"a","data":{"n":id,"long":long}});
                json!({ "key": "k", "value": event.to_string(), "headers": kind })
            };
            let records: Vec<Value> = (0..10).map(one).collect();
            produce(&brokers, &topic, &[&format!("compression.codec={packing}"), "linger.ms=200"], &records);
        }
        let odd = [
            json!({ "key": "k", "value": "just words" }),
            json!({ "key": "k", "base64": "//79" }),
            json!({ "key": "k" }),
            json!({ "key": "k", "value": "{}", "headers": { "content-type": "application/cloudevents+json" } }),
            json!({ "key": "k", "value": "x", "headers": { "ce_specversion": "1.0", "ce_id": "x", "content-type": "text/plain" } }),
        ];
        produce(&brokers, &topic, &[], &odd);
        let binary = json!({ "key": "k", "value": "{\"n\":50}", "headers": {
            "ce_specversion": "1.0", "ce_id": "e50", "ce_source": "/t", "ce_type": "a", "ce_subject": "größe", "content-type": "application/json" } });
        produce(&brokers, &topic, &[], &[binary]);
        let from = url(&brokers, &topic);
        let report =
            run(&app, &["follow", "--from", &from, "--once", "--project", "shop", "--env", "prod"]).await.unwrap();
        assert_eq!(
            (report.json["taken"].as_u64(), report.json["refused"].as_u64()),
            (Some(51), Some(5)),
            "{}",
            report.json
        );
        let expected: Vec<(String, u64)> = (0..51).map(|n| (format!("e{n}"), n)).collect();
        assert_eq!(taken(&app).await, expected);
        let name = Place::parse(&from).unwrap().name();
        assert_eq!(in_stream(&app, &format!("refused/{name}")).await.len(), 5);
        assert_eq!(in_stream(&app, "inbox/shop/prod").await.len(), 51);
        assert!(report.text.contains("vice greed log --stream refused/"), "{}", report.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_only_what_comes_from_now_on() {
    for brokers in BROKERS.map(lab) {
        let dir = tempfile::tempdir().unwrap();
        let app = history(dir.path(), &Arc::default());
        let (topic, event) = (unique(dir.path()), |n: u64| {
            let event = json!({"specversion":"1.0","id":format!("e{n}"),"source":"/t","type":"a","data":{"n":n}});
            json!({ "key": format!("k{n}"), "value": event.to_string() })
        });
        produce(&brokers, &topic, &[], &[event(0), event(1)]);
        let from = url(&brokers, &topic);
        let words = ["follow", "--from", &from, "--once", "--begin", "latest"];
        assert_eq!(run(&app, &words).await.unwrap().json["taken"], 0);
        produce(&brokers, &topic, &[], &[event(2), event(3)]);
        assert_eq!(run(&app, &words).await.unwrap().json["taken"], 2);
        let mut found = taken(&app).await;
        found.sort();
        assert_eq!(found, [("e2".to_owned(), 2), ("e3".to_owned(), 3)]);
    }
}

/// A broker of its own, at a port.
struct Own(Child);

impl Own {
    fn start(port: u16, more: &[&str]) -> Self {
        Self::start_as(port, port, more)
    }

    /// One that says that it is at another port.
    #[expect(clippy::disallowed_methods, reason = "a broker is a process")]
    fn start_as(port: u16, said: u16, more: &[&str]) -> Self {
        let (address, said) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://localhost:{said}"));
        let mut command = Command::new(lab("VICE_LAB_KAFKA_BROKER"));
        command.args(["broker", "--silent", "--listener-url", &address, "--advertised-listener-url", &said]);
        command.args(["--storage-engine", "memory://tansu/"]).args(more);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "signals are sent by a program")]
    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while !there() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_a_broker_that_comes_late_and_goes_away_is_waited_for() {
    let (dir, told, port) = (tempfile::tempdir().unwrap(), Arc::new(Told::default()), free_port());
    let app = history(dir.path(), &told);
    append(&app, some_events(0, 40)).await;
    let (to, working) = (format!("kafka://127.0.0.1:{port}/late"), app.clone());
    let work = tokio::spawn(async move { run(&working, &["forward", "--to", &to]).await });
    let said = |part: &str| told.said.lock().unwrap().iter().any(|line| line.contains(part));
    until("it is said that nobody answers", || said("40 events wait.")).await;
    let broker = Own::start(port, &[]);
    until("it answers", || said("answers again")).await;
    // It hangs, with the connection open.
    broker.signal("-STOP");
    append(&app, some_events(40, 40)).await;
    until("it is said that nobody answers any more", || said("it took longer than")).await;
    broker.signal("-CONT");
    until("all came", || consume_if_there(port).len() >= 80).await;
    app.stop.raise(false);
    let report = work.await.unwrap().unwrap();
    assert_eq!((report.class, report.json["sent"].as_u64()), (Class::Done, Some(80)));
    let mut found: Vec<u64> = consume_if_there(port)
        .iter()
        .map(|record| {
            let document: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
            document["data"]["n"].as_u64().unwrap()
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..80).collect::<Vec<u64>>());
}

fn consume_if_there(port: u16) -> Vec<Value> {
    consume(&format!("127.0.0.1:{port}"), "late")
}

#[tokio::test]
async fn lab_kafka_what_is_not_there_is_said() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 1)).await;
    let nobody = format!("kafka://127.0.0.1:{port}/x");
    let fault = run(&app, &["forward", "--to", &nobody, "--once"]).await.unwrap_err();
    assert!(fault.code() == Code::Unreachable && fault.to_string().contains("does not answer"), "{fault:?}");
    let unknown = url(&lab("VICE_LAB_KAFKA"), &format!("none-{}", unique(dir.path())));
    let fault = run(&app, &["follow", "--from", &unknown, "--once"]).await.unwrap_err();
    assert!(fault.hints().iter().any(|hint| hint.contains("Create the topic")), "{fault:?}");
    // Something else listens there.
    let nats = lab("VICE_LAB_NATS").replace("nats://", "kafka://");
    let fault = run(&app, &["follow", "--from", &format!("{nats}/x"), "--once"]).await.unwrap_err();
    assert!(fault.to_string().contains("is not understood"), "{fault:?}");
}

fn with(app: &App, vars: &[(&str, &str)]) -> App {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    App { env: Arc::new(ProcessEnv { vars, ..ProcessEnv::clone(&app.env) }), ..app.clone() }
}

async fn listens(port: u16) {
    until("the broker listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
}

#[tokio::test]
async fn lab_kafka_who_is_not_known_is_not_let_in() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 1)).await;
    let _broker = Own::start(port, &["--authentication"]);
    listens(port).await;
    let to = format!("kafka://127.0.0.1:{port}/x");
    for way in ["scram-sha-256", "scram-sha-512"] {
        let app = with(&app, &[("KAFKA_USER", "ann"), ("KAFKA_PASSWORD", "canary"), ("KAFKA_SASL", way)]);
        let fault = run(&app, &["forward", "--to", &to, "--once"]).await.unwrap_err();
        assert!(fault.to_string().contains("does not let this user in"), "{way}: {fault:?}");
        assert!(!format!("{fault:?}").contains("canary") && fault.hints()[0].contains("KAFKA_SASL"), "{fault:?}");
    }
    let app = with(&app, &[("KAFKA_USER", "ann"), ("KAFKA_SASL", "kerberos")]);
    assert_eq!(run(&app, &["forward", "--to", &to, "--once"]).await.unwrap_err().code(), Code::Usage);
}

const USER: &str = "ann=1,b";

/// Lets in before a broker who logs in as somebody else's code understands the standard.
#[expect(clippy::disallowed_methods, reason = "what asks for a login is a process")]
fn asks_for_a_login(port: u16, broker: u16, more: &[&str]) -> Own {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab/kafka_sasl.py");
    let mut command = Command::new(lab("VICE_LAB_PYTHON"));
    command.arg(script).args([&port.to_string(), &broker.to_string(), USER, "canary"]).args(more);
    Own(command.stdin(Stdio::null()).spawn().unwrap())
}

/// No broker of the lab keeps passwords, so that what asks for them stands before it; librdkafka shows that it asks as brokers do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_who_is_known_is_let_in() {
    let (dir, broker, front) = (tempfile::tempdir().unwrap(), free_port(), free_port());
    let app = history(dir.path(), &Arc::default());
    let _broker = Own::start_as(broker, front, &[]);
    let _front = asks_for_a_login(front, broker, &[]);
    listens(broker).await;
    listens(front).await;
    let ways = ["plain", "scram-sha-256", "scram-sha-512"];
    for (number, way) in ways.into_iter().enumerate() {
        let upper = way.to_uppercase();
        let settings = [
            "security.protocol=sasl_plaintext".to_owned(),
            format!("sasl.mechanism={upper}"),
            format!("sasl.username={USER}"),
            "sasl.password=canary".to_owned(),
        ];
        let (settings, to) = (settings.each_ref().map(String::as_str), format!("kafka://localhost:{front}/{way}"));
        produce(&format!("localhost:{front}"), way, &settings, &[json!({ "value": "by librdkafka" })]);

        append(&app, some_events(number * 10, 10)).await;
        let as_user = |user: &str, password: &str| {
            with(&app, &[("KAFKA_USER", user), ("KAFKA_PASSWORD", password), ("KAFKA_SASL", way)])
        };
        let words = ["forward", "--to", &to, "--name", way, "--once"];
        for (user, password) in [(USER, "another"), ("eve", "canary"), (USER, "")] {
            let fault = run(&as_user(user, password), &words).await.unwrap_err();
            assert!(fault.to_string().contains("does not let this user in"), "{way}, {user}: {fault:?}");
            assert!(!format!("{fault:?}").contains("another"), "{fault:?}");
        }
        let sent = run(&as_user(USER, "canary"), &words).await.unwrap().json;
        assert_eq!(sent["sent"], (number + 1) * 10, "{way}");
        let place = format!("localhost:{front}");
        let found = client(&[&["consume", &place, way], &settings[..]].concat(), "");
        assert_eq!(found.len(), 1 + (number + 1) * 10, "{way}: all of it is there, once");
    }
}

#[tokio::test]
async fn lab_kafka_who_does_not_know_the_password_is_no_broker() {
    let (dir, broker, front) = (tempfile::tempdir().unwrap(), free_port(), free_port());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 1)).await;
    let _broker = Own::start_as(broker, front, &[]);
    let _front = asks_for_a_login(front, broker, &["liar"]);
    listens(broker).await;
    listens(front).await;
    for way in ["scram-sha-256", "scram-sha-512"] {
        let app = with(&app, &[("KAFKA_USER", USER), ("KAFKA_PASSWORD", "canary"), ("KAFKA_SASL", way)]);
        let to = format!("kafka://localhost:{front}/x");
        let fault = run(&app, &["forward", "--to", &to, "--once"]).await.unwrap_err();
        assert!(fault.to_string().contains("does not know the password itself"), "{way}: {fault:?}");
    }
}

/// Speaks TLS before a broker.
async fn encrypt(listener: tokio::net::TcpListener, config: rustls::ServerConfig, broker: u16) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut outside) = acceptor.accept(tcp).await else { return };
            let mut inside = tokio::net::TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_speaks_tls_with_whom_it_knows() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 20)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap().port();
    // Where it says that it is, is behind the encryption.
    let _broker = Own::start_as(port, front, &[]);
    listens(port).await;
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), key.cert.pem()).unwrap();
    let private = rustls_pki_types::PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    tokio::spawn(encrypt(listener, config, port));
    let to = format!("kafka://localhost:{front}/x?tls=require");
    let fault = run(&app, &["forward", "--to", &to, "--once"]).await.unwrap_err();
    assert!(
        fault.to_string().contains("No encrypted connection") && fault.hints()[0].contains("KAFKA_CA"),
        "{fault:?}"
    );
    let known = with(&app, &[("KAFKA_CA", "ca.pem")]);
    assert_eq!(run(&known, &["forward", "--to", &to, "--once"]).await.unwrap().json["sent"], 20);
    append(&app, some_events(20, 1)).await;
    let fault = run(&with(&app, &[("KAFKA_CA", "none.pem")]), &["forward", "--to", &to, "--once"]).await.unwrap_err();
    assert!(fault.to_string().contains("can't be read"), "{fault:?}");
}
