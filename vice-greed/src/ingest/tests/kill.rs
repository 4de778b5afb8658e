//! SIGKILLs while events come in: every id that was acknowledged is there, and none is there twice.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reqwest::StatusCode;
use tokio::net::TcpListener;
use vice_core::event::Recorded;
use vice_core::store::{EventStoreExt as _, Query};
use vice_core::time::SystemClock;

use super::{Told, app_with, client, cloud};
use crate::ingest::{Ingest, serve};

const DIR: &str = "INGEST_TEST_DIR";

/// So many rounds; the kills come after another number of acknowledgements each time.
const ROUNDS: usize = 30;

#[expect(clippy::disallowed_methods, reason = "a test of what another process does starts one")]
fn start(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ingest::tests::kill::the_child_listens", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| line.unwrap().split_once("listening ").map(|(_, url)| url.to_owned())).unwrap();
    (child, url)
}

/// What the child does. As a test of its own it answers itself once and ends.
#[tokio::test]
async fn the_child_listens() {
    #[expect(clippy::disallowed_methods, reason = "the child is told by a variable where to write")]
    let told = std::env::var(DIR).ok();
    let own = tempfile::tempdir().unwrap();
    let dir = told.as_ref().map_or_else(|| own.path().to_owned(), Into::into);
    let app = app_with(&dir, Arc::new(Told::default()), Arc::new(SystemClock), Vec::new());
    let ingest = Ingest::new(app.clone(), None).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {url}").unwrap();
    out.flush().unwrap();
    drop(out);
    let served = tokio::spawn(serve(ingest, listener));
    if told.is_none() {
        assert_eq!(client().get(format!("{url}/livez")).send().await.unwrap().status(), StatusCode::OK);
        app.stop.raise(false);
    }
    served.await.unwrap();
}

/// Sends until the server dies; gives the ids that were acknowledged.
async fn send(url: String, writer: String) -> Vec<String> {
    let (client, mut acknowledged) = (client(), Vec::new());
    for n in 0.. {
        let id = format!("{writer}.{n}");
        let request = client.post(format!("{url}/events")).header("content-type", "application/cloudevents+json");
        match request.body(cloud(&id).to_string()).send().await {
            Ok(response) if response.status() == StatusCode::CREATED => acknowledged.push(id),
            Ok(other) => panic!("{}", other.status()),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_ingest_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let (mut child, url) = start(dir.path());
        let senders: Vec<_> = (0..3).map(|n| tokio::spawn(send(url.clone(), format!("{round}.{n}")))).collect();
        let own = send_some(&url, round, 1 + (round * 7) % 23).await;
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(own);
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
    }
    let app = app_with(dir.path(), Arc::new(Told::default()), Arc::new(SystemClock), Vec::new());
    assert_eq!(app.events.verify().await.unwrap().problems, Vec::<String>::new());
    let mut found: HashMap<String, usize> = HashMap::new();
    for Recorded { event, .. } in app.events.read_all(Query::default()).await.unwrap() {
        *found.entry(event.id).or_default() += 1;
    }
    assert!(acknowledged.len() > ROUNDS);
    assert!(acknowledged.iter().all(|id| found.get(id) == Some(&1)), "an acknowledged event is lost or doubled");
    assert!(found.values().all(|times| *times == 1));
}

/// As many as it takes, one after the other.
async fn send_some(url: &str, round: usize, count: usize) -> Vec<String> {
    let client = client();
    let mut acknowledged = Vec::new();
    for n in 0..count {
        let id = format!("{round}.main.{n}");
        let request = client.post(format!("{url}/events")).header("content-type", "application/cloudevents+json");
        let response = request.body(cloud(&id).to_string()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        acknowledged.push(id);
    }
    acknowledged
}
