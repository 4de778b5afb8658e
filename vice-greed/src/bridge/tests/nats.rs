//! Against a real NATS server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::Config};
use serde_json::json;
use vice_core::Code;
use vice_core::app::App;

use super::kafka::{compare, free_port, until};
use super::{append, history, in_stream, lab, run, some_events, taken, unique};
use crate::bridge::Place;
use crate::cmd::testing::Told;
use crate::nats::tests::server;

/// A stream that keeps the subjects below a name that no other run has.
pub(super) async fn stream(dir: &Path) -> (jetstream::Context, String) {
    stream_at(&lab("VICE_LAB_NATS"), dir).await
}

async fn stream_at(server: &str, dir: &Path) -> (jetstream::Context, String) {
    let client = async_nats::connect(server).await.unwrap();
    let (context, name) = (jetstream::new(client), unique(dir));
    let config = Config { name: name.clone(), subjects: vec![format!("{name}.>")], ..Config::default() };
    context.create_stream(config).await.unwrap();
    (context, name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_nats_events_go_out_and_come_in_as_they_were() {
    for mode in ["structured", "binary"] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (one, two) = (history(dirs[0].path(), &Arc::default()), history(dirs[1].path(), &Arc::default()));
        let (context, name) = stream(dirs[0].path()).await;
        let to = format!("{}/{name}.events", lab("VICE_LAB_NATS"));
        append(&one, some_events(0, 1_300)).await;
        let sent = run(&one, &["forward", "--to", &to, "--once", "--mode", mode]).await.unwrap().json;
        assert_eq!(sent["sent"], 1_300, "{sent}");
        append(&one, some_events(1_300, 7)).await;
        assert_eq!(run(&one, &["forward", "--to", &to, "--once", "--mode", mode]).await.unwrap().json["sent"], 7);
        // Under another name everything is sent once more, and is there once: the server knows the ids.
        let again = ["forward", "--to", &to, "--once", "--mode", mode, "--name", "again"];
        assert_eq!(run(&one, &again).await.unwrap().json["sent"], 1_307);
        let found = context.get_stream(&name).await.unwrap();
        assert_eq!(found.cached_info().state.messages, 1_307);
        let from = format!("{}/{name}.>", lab("VICE_LAB_NATS"));
        let report = run(&two, &["follow", "--from", &from, "--once"]).await.unwrap().json;
        assert_eq!((report["taken"].as_u64(), report["refused"].as_u64()), (Some(1_307), Some(0)), "{report}");
        compare(&one, &two).await;
        assert_eq!(run(&two, &["follow", "--from", &from, "--once"]).await.unwrap().json["taken"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_nats_what_others_send_is_taken_and_what_is_gone_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let app = history(dir.path(), &Arc::default());
    let (context, name) = stream(dir.path()).await;
    let structured =
        |n: u64| json!({"specversion":"1.0","id":format!("e{n}"),"source":"/t","type":"a","data":{"n":n}}).to_string();
    let mut headers = HeaderMap::new();
    for (header, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "e1"),
        ("ce-source", "/t"),
        ("ce-type", "a"),
        ("ce-subject", "gr%C3%B6%C3%9Fe"),
        ("content-type", "application/json"),
    ] {
        headers.insert(header, value);
    }
    let publish = async |subject: &str, headers: HeaderMap, body: String| {
        let sent = context.publish_with_headers(format!("{name}.{subject}"), headers, body.into()).await.unwrap();
        sent.await.unwrap();
    };
    publish("a", HeaderMap::new(), structured(0)).await;
    publish("b", headers, "{\"n\":1}".into()).await;
    publish("a", HeaderMap::new(), "words".into()).await;
    let from = format!("{}/{name}.>", lab("VICE_LAB_NATS"));
    let words = ["follow", "--from", &from, "--once"];
    let report = run(&app, &words).await.unwrap().json;
    assert_eq!((report["taken"].as_u64(), report["refused"].as_u64()), (Some(2), Some(1)), "{report}");
    assert_eq!(in_stream(&app, "inbox").await[1].event.subject, "größe");
    for n in 2..6 {
        publish("a", HeaderMap::new(), structured(n)).await;
    }
    // The first of them are removed before they were read.
    context.get_stream(&name).await.unwrap().purge().sequence(6).await.unwrap();
    let report = run(&app, &words).await.unwrap().json;
    assert_eq!((report["taken"].as_u64(), report["gaps"].as_u64()), (Some(2), Some(1)), "{report}");
    let expected: Vec<(String, u64)> = [0, 1, 4, 5].map(|n| (format!("e{n}"), n)).into();
    assert_eq!(taken(&app).await, expected);
    let refused = in_stream(&app, &format!("refused/{}", Place::parse(&from).unwrap().name())).await;
    assert!(refused[1].event.data.contains("The messages 4 to 5 of"), "{}", refused[1].event.data);
}

/// The server goes away while events wait and while they come, and is the same one when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_nats_a_server_that_goes_away_is_waited_for() {
    let (dirs, port) = ([(); 3].map(|()| tempfile::tempdir().unwrap()), free_port());
    let url = format!("nats://127.0.0.1:{port}");
    let mut process = server(dirs[2].path(), port);
    until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let (_, name) = stream_at(&url, dirs[2].path()).await;
    let told = [Arc::new(Told::default()), Arc::new(Told::default())];
    let apps = [history(dirs[0].path(), &told[0]), history(dirs[1].path(), &told[1])];
    append(&apps[0], some_events(0, 40)).await;
    let work = |n: usize, words: [String; 3]| {
        let app = apps[n].clone();
        tokio::spawn(async move { run(&app, &words.each_ref().map(String::as_str)).await })
    };
    let out = work(0, ["forward".into(), "--to".into(), format!("{url}/{name}.events")]);
    let back = work(1, ["follow".into(), "--from".into(), format!("{url}/{name}.>")]);
    all_there(&apps[1], 40).await;
    process.kill().unwrap();
    process.wait().unwrap();
    append(&apps[0], some_events(40, 40)).await;
    let said = |n: usize, part: &str| told[n].said.lock().unwrap().iter().any(|line| line.contains(part));
    until("both say that nobody answers", || said(0, "40 events wait.") && said(1, "is tried again")).await;
    let mut process = server(dirs[2].path(), port);
    all_there(&apps[1], 80).await;
    until("both say that it is back", || said(0, "answers again") && said(1, "answers again")).await;
    apps.iter().for_each(|app| app.stop.raise(false));
    assert_eq!(out.await.unwrap().unwrap().json["sent"], 80);
    assert_eq!(back.await.unwrap().unwrap().json["taken"], 80);
    compare(&apps[0], &apps[1]).await;
    process.kill().unwrap();
    process.wait().unwrap();
}

async fn all_there(app: &App, count: usize) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while taken(app).await.len() < count {
        assert!(tokio::time::Instant::now() < end, "{count} events did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn lab_nats_a_subject_that_nobody_keeps_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 1)).await;
    let place = format!("{}/{}.events", lab("VICE_LAB_NATS"), unique(dir.path()));
    for words in [["forward", "--to", &place, "--once"], ["follow", "--from", &place, "--once"]] {
        let fault = run(&app, &words).await.unwrap_err();
        assert!(fault.to_string().contains("No stream of JetStream keeps"), "{fault:?}");
    }
    let fault = run(&app, &["forward", "--to", &format!("{}/a.>", lab("VICE_LAB_NATS")), "--once"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Usage);
}
