//! SIGKILL of real processes in the middle: what comes from a topic has exactly one effect; what goes to one is there, and
//! where the broker knows repeated numbers, once.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::kafka::{compare, consume, produce};
use super::nats::stream;
use super::{append, history, lab, run, some_events, taken, unique};

const DIR: &str = "BRIDGE_TEST_DIR";
const WORDS: &str = "BRIDGE_TEST_WORDS";

/// So many kills each.
const KILLS: u64 = 20;

#[expect(clippy::disallowed_methods, reason = "a test of what another process does starts one")]
fn start(dir: &Path, words: &[&str]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bridge::tests::kill::the_child_works", "--nocapture", "--test-threads=1"])
        .envs([(DIR, dir.as_os_str()), (WORDS, words.join(" ").as_ref())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun when it says anything; what it says later is of no interest.
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    child
}

/// What the child does. As a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_works() {
    #[expect(clippy::disallowed_methods, reason = "the child is told by variables what to do")]
    let (Ok(dir), Ok(words)) = (std::env::var(DIR), std::env::var(WORDS)) else { return };
    let app = history(Path::new(&dir), &Arc::default());
    run(&app, &words.split(' ').collect::<Vec<_>>()).await.unwrap();
}

/// Kills it after other times, from at once to as long as a whole batch takes.
fn kill_soon(mut child: Child, round: u64) {
    let end = Instant::now() + Duration::from_millis(5 + (round * 37) % 240);
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_killed_while_it_takes_in_each_message_counts_once() {
    let (dir, brokers) = (tempfile::tempdir().unwrap(), lab("VICE_LAB_KAFKA_MOCK"));
    let topic = unique(dir.path());
    let from = format!("kafka://{brokers}/{topic}");
    let mut expected = 0_u64;
    for round in 0..KILLS {
        let records: Vec<Value> = (expected..expected + 60)
            .map(|n| {
                let event = json!({"specversion":"1.0","id":format!("e{n}"),"source":"/t","type":"a","data":{"n":n}});
                json!({ "key": format!("k{}", n % 5), "value": event.to_string() })
            })
            .collect();
        expected += 60;
        produce(&brokers, &topic, &["linger.ms=0", "batch.num.messages=7"], &records);
        kill_soon(start(dir.path(), &["follow", "--from", &from]), round);
    }
    let app = history(dir.path(), &Arc::default());
    let before = taken(&app).await.len();
    run(&app, &["follow", "--from", &from, "--once"]).await.unwrap();
    let mut found: Vec<u64> = taken(&app).await.into_iter().map(|(_, n)| n).collect();
    found.sort_unstable();
    assert_eq!(found, (0..expected).collect::<Vec<u64>>(), "{before} before the last run");
    assert_eq!(app.events.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_kafka_killed_while_it_sends_each_event_is_there() {
    for (brokers, exactly) in [(lab("VICE_LAB_KAFKA"), true), (lab("VICE_LAB_KAFKA_MOCK"), false)] {
        let dir = tempfile::tempdir().unwrap();
        let topic = unique(dir.path());
        let to = format!("kafka://{brokers}/{topic}");
        let app = history(dir.path(), &Arc::default());
        for round in 0..KILLS {
            append(&app, some_events(usize::try_from(round).unwrap() * 60, 60)).await;
            kill_soon(start(dir.path(), &["forward", "--to", &to]), round);
        }
        run(&app, &["forward", "--to", &to, "--once"]).await.unwrap();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for record in consume(&brokers, &topic) {
            let document: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
            *found.entry(document["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let count = usize::try_from(KILLS).unwrap() * 60;
        assert_eq!(found.len(), count, "each is there");
        let doubled = found.values().filter(|times| **times > 1).count();
        assert!(!exactly || doubled == 0, "{doubled} are there twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_nats_killed_on_the_way_out_and_on_the_way_in_each_event_is_there_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, two) = (history(dirs[0].path(), &Arc::default()), history(dirs[1].path(), &Arc::default()));
    let (context, name) = stream(dirs[0].path()).await;
    let (to, from) = (format!("{}/{name}.events", lab("VICE_LAB_NATS")), format!("{}/{name}.>", lab("VICE_LAB_NATS")));
    for round in 0..KILLS {
        append(&one, some_events(usize::try_from(round).unwrap() * 60, 60)).await;
        kill_soon(start(dirs[0].path(), &["forward", "--to", &to]), round);
        kill_soon(start(dirs[1].path(), &["follow", "--from", &from]), round + 3);
    }
    run(&one, &["forward", "--to", &to, "--once"]).await.unwrap();
    run(&two, &["follow", "--from", &from, "--once"]).await.unwrap();
    let count = KILLS * 60;
    // The server knows the ids of what it has already.
    let kept = context.get_stream(&name).await.unwrap().cached_info().state.messages;
    assert_eq!(kept, count, "each is in the stream once");
    compare(&one, &two).await;
    assert_eq!(two.events.verify().await.unwrap().problems, Vec::<String>::new());
}
