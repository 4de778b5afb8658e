//! The commands against a real history.

mod archive;
mod copy;
mod memory;
mod restore;
pub(crate) mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::store::Append;
use vice_core::testkit::event_store::{event, scope};
use vice_core::ui::Format;
use vice_core::{Class, Code};

pub(crate) use support::Told;
use support::{NOW, app, greed};

struct Bench {
    app: App,
    told: Arc<Told>,
    dir: tempfile::TempDir,
}

fn bench(told: Told) -> Bench {
    let (dir, told) = (tempfile::tempdir().unwrap(), Arc::new(told));
    Bench { app: app(dir.path(), Arc::clone(&told)), told, dir }
}

/// Three events of two projects, hours apart.
async fn filled(told: Told) -> Bench {
    let bench = bench(told);
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let mut events = Vec::new();
    for (n, (project, hours)) in [("shop", 30), ("cart", 3), ("shop", 1)].into_iter().enumerate() {
        let mut event = event(&format!("id-{n}"), &format!("s/{project}"));
        event.scope = Some(scope(project, "dev"));
        event.kind = format!("dev.cdeventsx.vice-rollout.{}.0.1.0", ["started", "stepped", "finished"][n]);
        event.time = now.checked_sub(jiff::SignedDuration::from_hours(hours)).unwrap();
        event.subject = format!("\u{1b}[31m{project}");
        events.push(event);
    }
    bench.app.events.append(Append::of(events)).await.unwrap();
    bench
}

fn seqs(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|event| event["viceseq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn log_lists_newest_first_and_filters() {
    let bench = filled(Told::default()).await;
    for (words, expected) in [
        (vec!["log"], vec![3, 2, 1]),
        (vec!["log", "--limit", "2"], vec![3, 2]),
        (vec!["log", "--project", "shop"], vec![3, 1]),
        (vec!["log", "--env", "prod"], vec![]),
        (vec!["log", "--type", "dev.cdeventsx.vice-rollout.st*"], vec![2, 1]),
        (vec!["log", "--since", "2h"], vec![3]),
        (vec!["log", "--since", "1d", "--until", "2h"], vec![2]),
        (vec!["log", "--until", "2026-07-13T12:00:00Z"], vec![1]),
        (vec!["log", "--stream", "s/cart"], vec![2]),
    ] {
        let outcome = greed(&bench.app, &words).await.unwrap();
        assert_eq!(seqs(&outcome.json), expected, "{words:?}");
    }
    let text = greed(&bench.app, &["log"]).await.unwrap().text;
    assert!(text.contains("rollout.finished") && text.contains("1h ago") && text.contains("shop/dev"), "{text}");
    assert!(!text.contains("\u{1b}[31mshop"), "a subject must not steer the terminal");
    for bad in [vec!["log", "--since", "soon"], vec!["log", "--type", "a*b"], vec!["log", "--limit", "0"]] {
        assert_eq!(greed(&bench.app, &bad).await.unwrap_err().code(), Code::Usage, "{bad:?}");
    }
}

#[tokio::test]
async fn log_emits_whole_cloudevents_as_lines() {
    let bench = filled(Told { format: Some(Format::Ndjson), ..Told::default() }).await;
    let outcome = greed(&bench.app, &["log"]).await.unwrap();
    assert_eq!(outcome.json, json!({ "count": 3 }));
    let emitted = bench.told.emitted.lock().unwrap();
    assert_eq!(emitted.len(), 3);
    assert_eq!(emitted[0]["specversion"], "1.0");
    assert_eq!(emitted[0]["data"]["id"], "id-2");
}

#[tokio::test]
async fn conditions_look_into_the_data() {
    let bench = filled(Told::default()).await;
    for (words, expected) in [
        (vec!["log", "--where", "id=id-1"], vec![2]),
        (vec!["log", "-w", "id!=id-1"], vec![3, 1]),
        (vec!["log", "-w", "id", "-w", "id!=id-1", "-n", "1"], vec![3]),
        (vec!["log", "-w", "other"], vec![]),
        (vec!["tail", "-w", "id=id-0"], vec![1]),
    ] {
        assert_eq!(seqs(&greed(&bench.app, &words).await.unwrap().json), expected, "{words:?}");
    }
    assert_eq!(greed(&bench.app, &["log", "-w", "a[b"]).await.unwrap_err().code(), Code::Usage);
}

#[tokio::test]
async fn a_deploy_is_explained_by_the_change_that_names_its_version() {
    let bench = bench(Told::default());
    let made = |id: &str, kind: &str, stream: &str, data: Value| {
        let mut event = event(id, stream);
        event.kind = kind.to_owned();
        event.data = data.to_string();
        event
    };
    let change = json!({ "subject": { "id": "pr-7", "content": { "commit": "c0ffee" } } });
    let start = json!({ "subject": { "content": { "reason": "fixes the cart", "to": { "version": "c0ffee" } } } });
    let deployed = json!({ "context": { "links": [{ "linkType": "RELATION", "target": { "contextId": "m" } }] },
                           "subject": { "content": { "rollout": "shop/dev/1" } } });
    let events = vec![
        made("m", "dev.cdevents.change.merged.0.3.0", "inbox", change),
        made("s", "dev.cdeventsx.vice-rollout.started.0.1.0", "rollout/shop/dev/1", start),
        made("d", "dev.cdevents.service.deployed.0.3.0", "environment/shop/dev", deployed),
    ];
    bench.app.events.append(Append::of(events)).await.unwrap();
    let text = greed(&bench.app, &["log", "--explain"]).await.unwrap().text;
    let expected = [
        "linked to event 1, change.merged thing-m",
        "part of the rollout of event 2, rollout.started",
        "because: fixes the cart",
        "because of event 1, change.merged thing-m by vice/test, which names c0ffee",
    ];
    for part in expected {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn exports_are_whole_and_in_the_order_of_the_log() {
    let bench = filled(Told { format: Some(Format::Ndjson), ..Told::default() }).await;
    let outcome = greed(&bench.app, &["export"]).await.unwrap();
    assert_eq!(outcome.json, json!({ "count": 3 }));
    assert_eq!(seqs(&Value::Array(bench.told.emitted.lock().unwrap().clone())), [1, 2, 3]);
    let outcome = greed(&bench.app, &["export", "--as", "csv", "--project", "shop", "-w", "id=id-2"]).await.unwrap();
    assert_eq!(outcome.json, json!({ "count": 1 }));
    let lines = bench.told.lines.lock().unwrap();
    assert!(lines[3].starts_with("seq,time,type,"), "{lines:?}");
    assert!(
        lines[4].starts_with("3,2026-07-14T08:00:00Z,") && lines[4].ends_with(r#","{""id"":""id-2""}""#),
        "{lines:?}"
    );
}

#[tokio::test]
async fn series_are_asked_and_forgotten() {
    let bench = bench(Told::default());
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let point = |seconds: i64, version: &str, value: f64| vice_core::series::Point {
        name: "requests".into(),
        labels: [("version".to_owned(), version.to_owned())].into(),
        time: now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap(),
        value,
    };
    let points = vec![point(30, "1", 10.0), point(10, "1", 30.0), point(10, "2", 5.0), point(7200, "1", 0.0)];
    bench.app.series.record(points).await.unwrap();
    let words = ["series", "query", "requests", "--measure", "rate", "--by", "version", "--window", "1h"];
    let found = greed(&bench.app, &words).await.unwrap();
    assert_eq!(found.json[0]["value"].as_f64(), Some(1.0), "{}", found.json);
    assert!(found.json[1]["value"].is_null() && found.text.contains("RATE"), "{}", found.text);
    let found = greed(&bench.app, &["series", "query", "requests", "-m", "p50", "-l", "version=1"]).await.unwrap();
    assert_eq!((found.json[0]["value"].as_f64(), found.json[0]["points"].as_u64()), (Some(10.0), Some(2)));
    let found = greed(&bench.app, &["series", "expire", "--before", "1h"]).await.unwrap();
    assert_eq!(found.json["forgotten"], 1);
    for bad in [vec!["-m", "p101"], vec!["-m", "most"], vec!["-l", "x"], vec!["--window", "0s"]] {
        let words: Vec<&str> = ["series", "query", "requests"].into_iter().chain(bad).collect();
        assert_eq!(greed(&bench.app, &words).await.unwrap_err().code(), Code::Usage, "{words:?}");
    }
}

#[tokio::test]
async fn show_takes_numbers_and_ids() {
    let bench = filled(Told::default()).await;
    for wanted in ["2", "id-1"] {
        let outcome = greed(&bench.app, &["show", wanted]).await.unwrap();
        assert_eq!(outcome.json["id"], "id-1");
        assert!(outcome.text.contains("\"id\": \"id-1\""), "{}", outcome.text);
    }
    assert_eq!(greed(&bench.app, &["show", "9"]).await.unwrap_err().code(), Code::UnknownName);
}

#[tokio::test]
async fn tail_shows_the_last_and_follows_until_nobody_reads() {
    let bench = filled(Told { readers_leave_after: Some(3), ..Told::default() }).await;
    // What comes late comes after the last ones were shown, or it would be one of them.
    let late = async {
        while bench.told.emitted.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
        bench.app.events.append(Append::of(vec![event("late", "s/1")])).await
    };
    let (outcome, appended) = futures::join!(greed(&bench.app, &["tail", "-f", "-n", "2"]), late);
    outcome.unwrap();
    appended.unwrap();
    let last = bench.told.emitted.lock().unwrap().last().map(|event| event["id"].clone());
    assert_eq!(last, Some(json!("late")));
    let outcome = greed(&bench.app, &["tail", "-n", "1"]).await.unwrap();
    assert_eq!(outcome.json[0]["id"], "late");
}

#[tokio::test]
async fn following_that_is_interrupted_says_so() {
    for (interrupt, code) in [(true, Code::Interrupted), (false, Code::Terminated)] {
        let bench = filled(Told::default()).await;
        // The signal comes while the command waits for more: before that it has shown what is there.
        let follow = greed(&bench.app, &["tail", "-f", "-n", "2"]);
        let interrupted = async {
            while bench.told.emitted.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            bench.app.stop.raise(interrupt);
        };
        let (outcome, ()) = futures::join!(follow, interrupted);
        assert_eq!(outcome.unwrap_err().code(), code);
        let bounded = greed(&bench.app, &["tail", "-n", "1"]).await.unwrap();
        assert_eq!(bounded.class, Class::Done, "without -f there is an end to come to");
    }
}

#[test]
fn every_help_ends_with_an_example() {
    use clap::CommandFactory;
    let line = support::Line::command();
    let commands: Vec<_> = std::iter::once(&line).chain(line.get_subcommands()).collect();
    assert!(commands.len() >= 8, "{} commands", commands.len());
    for command in commands {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Example") && help.contains("vice greed "), "{}: {help:?}", command.get_name());
    }
}

#[tokio::test]
async fn a_witness_that_can_not_be_read_is_not_called_damage() {
    let bench = filled(Told::default()).await;
    bench.app.events.close().await.unwrap();
    let witness = bench.dir.path().join("state/history.head");
    std::fs::remove_file(&witness).unwrap();
    // A folder can't be read as a file by anybody, root among them, who may read every file.
    std::fs::create_dir(&witness).unwrap();
    let fault = greed(&bench.app, &["verify"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Io, "{fault:?}");
    assert!(!format!("{fault:?}").contains("restore"), "{fault:?}");
    let fault = bench.app.events.append(Append::of(vec![event("later", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Io, "{fault:?}");
}

#[tokio::test]
async fn append_takes_flags_and_repeats_nothing() {
    let bench = bench(Told::default());
    let words =
        ["append", "--type", "com.example.cleared", "--subject", "shop", "--data", "{\"n\": 1}", "--id", "nightly-7"];
    let first = greed(&bench.app, &words).await.unwrap();
    assert_eq!(first.json, json!({ "seq": 1, "id": "nightly-7", "repeated": false }));
    let again = greed(&bench.app, &words).await.unwrap();
    assert_eq!(again.json, json!({ "seq": 1, "id": "nightly-7", "repeated": true }));
    let other = ["append", "--type", "com.example.cleared", "--data", "2", "--id", "nightly-7"];
    assert_eq!(greed(&bench.app, &other).await.unwrap_err().code(), Code::Conflict);
}

#[tokio::test]
async fn append_keeps_a_cloudevent_as_it_is() {
    let bench = bench(Told::default());
    let text = r#"{"specversion":"1.0","id":"x","source":"https://e.test/ci","type":"com.example.built","subject":"s",
        "time":"2026-07-14T08:00:00.5+02:00","viceproject":"shop","viceenv":"dev","traceparent":"00-x","data":{"b": 1.50, "a":[ ]}}"#;
    std::fs::write(bench.dir.path().join("event.json"), text).unwrap();
    greed(&bench.app, &["append", "--file", "event.json"]).await.unwrap();
    let stored = bench.app.events.read(&vice_core::store::Query::default()).await.unwrap().remove(0).event;
    assert_eq!(stored.data, r#"{"b": 1.50, "a":[ ]}"#, "data is kept byte for byte");
    assert_eq!((stored.scope, stored.stream.as_str()), (Some(scope("shop", "dev")), "inbox/shop/dev"));
    assert_eq!(stored.time, "2026-07-14T06:00:00.5Z".parse().unwrap());
    assert!(bench.told.said.lock().unwrap()[0].contains("traceparent"), "what is not stored is said");
}

#[tokio::test]
async fn append_refuses_bad_input() {
    let bench = bench(Told::default());
    let with = |more: &str| format!(r#"{{"specversion":"1.0","id":"x","source":"s","type":"t"{more}}}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("not JSON", b"{\"specversion\":".to_vec()),
        ("not UTF-8", b"\"\xff\"".to_vec()),
        ("not an object", b"[1]".to_vec()),
        ("two documents", with("").repeat(2).into_bytes()),
        ("a key twice", with(r#","data":{"a":1,"a":2}"#).into_bytes()),
        ("a key twice outside", with(r#","id":"y""#).into_bytes()),
        ("too deep", with(&format!(",\"data\":{deep}")).into_bytes()),
        ("too large", with(&format!(",\"data\":{large}")).into_bytes()),
        ("far too large", vec![b' '; 5 * 1024 * 1024]),
        ("from the future", with(r#","time":"2026-07-16T09:00:00Z""#).into_bytes()),
        ("no time", with(r#","time":"yesterday""#).into_bytes()),
        ("no id", br#"{"specversion":"1.0","source":"s","type":"t"}"#.to_vec()),
        ("another version", br#"{"specversion":"0.3","id":"x","source":"s","type":"t"}"#.to_vec()),
        ("binary data", with(r#","data_base64":"AA==""#).into_bytes()),
        ("a bad project", with(r#","viceproject":"../x","viceenv":"dev""#).into_bytes()),
    ];
    for (name, bytes) in cases {
        std::fs::write(bench.dir.path().join("bad.json"), bytes).unwrap();
        let fault = greed(&bench.app, &["append", "--file", "bad.json"]).await.unwrap_err();
        assert_eq!(fault.class(), Class::Usage, "{name}: {fault:?}");
    }
    assert_eq!(bench.app.events.head().await.unwrap().seq, 0);
}

#[tokio::test]
async fn verify_reports_damage_with_exit_status_1() {
    let bench = filled(Told::default()).await;
    assert_eq!(greed(&bench.app, &["verify"]).await.unwrap().class, Class::Done);
    bench.app.events.close().await.unwrap();
    let connection = rusqlite::Connection::open(bench.dir.path().join("state/history.db")).unwrap();
    connection.execute_batch("DROP TRIGGER events_update; UPDATE events SET subject = 'x' WHERE seq = 2").unwrap();
    let outcome = greed(&bench.app, &["verify"]).await.unwrap();
    assert_eq!(outcome.class.exit_status(), 1);
    assert_eq!(outcome.json["problems"], json!(["Event 2 does not fit into the chain."]));
}

#[tokio::test]
async fn backup_and_restore_as_commands_and_as_an_action() {
    let bench = filled(Told::default()).await;
    let url = url::Url::from_directory_path(bench.dir.path().join("backups")).unwrap().to_string();
    let backup = crate::cmd::actions(&bench.app).remove(0);
    assert_eq!(backup.describe().name, "backup");
    let made = backup.run(json!({ "url": url })).await.unwrap();
    assert_eq!((&made["events"], &made["verified"]), (&json!(3), &json!(true)));
    assert!(greed(&bench.app, &["backup", &url]).await.unwrap().text.contains("verified"));
    bench.app.events.append(Append::of(vec![event("later", "s/1")])).await.unwrap();
    let fault = greed(&bench.app, &["restore", &url]).await.unwrap_err();
    assert_eq!(fault.code(), Code::NoInput, "{fault:?}");
    assert!(fault.hints()[0].contains("--yes"));
    let outcome = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap();
    assert!(outcome.text.contains("before-restore-4"), "{}", outcome.text);
    assert_eq!(bench.app.events.head().await.unwrap().seq, 3, "the same process reads what was restored");
    bench.app.events.append(Append::of(vec![event("next", "s/1")])).await.unwrap();
    greed(&bench.app, &["restore", &url, "--to", "elsewhere"]).await.unwrap();
    assert!(bench.dir.path().join("elsewhere/history.db").exists());
}
