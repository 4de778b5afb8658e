//! Against a real NATS server.

use std::path::Path;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::Config};
use serde_json::json;
use vice_core::Code;

use super::kafka::compare;
use super::{append, history, in_stream, lab, run, some_events, taken, unique};
use crate::bridge::Place;

/// A stream that keeps the subjects below a name that no other run has.
async fn stream(dir: &Path) -> (jetstream::Context, String) {
    let client = async_nats::connect(lab("VICE_LAB_NATS")).await.unwrap();
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
