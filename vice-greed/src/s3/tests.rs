//! A history in a bucket: what is wrong before anything is asked here, the rest on real servers.

use std::path::Path;
use std::sync::Arc;

use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_core::store::{Append, EventStore, Expected};
use vice_core::testkit::event_store::{self, event};
use vice_core::time::SystemClock;

use crate::place::{Opening, StorePlace};

fn env(endpoint: &str, key: &str, secret: &str) -> Arc<ProcessEnv> {
    // The binary does this in its main function.
    rustls::crypto::ring::default_provider().install_default().ok();
    let pairs = [("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
    let vars = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Arc::new(ProcessEnv { vars, ..ProcessEnv::default() })
}

fn open(url: &str, env: &Arc<ProcessEnv>, state: &Path) -> vice_core::Result<Arc<dyn EventStore>> {
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: Arc::clone(env),
        notices: Arc::new(|_| {}),
        state: state.to_owned(),
    };
    StorePlace::parse(url, state)?.open(&opening)
}

#[tokio::test]
async fn bad_urls_missing_keys_and_deaf_hosts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = env(&format!("http://127.0.0.1:{port}"), "key", "canary-secret");
    for bad in ["s3:///x", "s3://key:canary-secret@bucket/x", "s3://bucket/x?y=z", "s3://bucket/x#y"] {
        let fault = open(bad, &env, dir.path()).err().unwrap();
        assert_eq!(fault.code(), Code::Usage, "{bad}: {fault:?}");
        assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
    }
    let fault = open("s3://bucket/x", &Arc::default(), dir.path()).err().unwrap();
    assert!(fault.to_string().contains("AWS_ACCESS_KEY_ID"), "{fault:?}");
    let store = open("s3://bucket/x", &env, dir.path()).unwrap();
    let fault = store.append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
}

#[expect(clippy::disallowed_methods, reason = "the lab says by variables where its server is")]
fn lab(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts the S3 server"))
}

fn lab_env() -> Arc<ProcessEnv> {
    env(&lab("VICE_LAB_S3_ENDPOINT"), &lab("VICE_LAB_S3_ACCESS_KEY"), &lab("VICE_LAB_S3_SECRET_KEY"))
}

/// A prefix that no other run has.
fn lab_url(dir: &Path) -> String {
    let unique = dir.file_name().unwrap().to_string_lossy().replace('.', "");
    format!("s3://{}/history-{unique}", lab("VICE_LAB_S3_BUCKET"))
}

#[tokio::test]
async fn lab_s3_history_conforms() {
    let dirs = std::cell::RefCell::new(Vec::new());
    let make = async || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&lab_url(dir.path()), &lab_env(), dir.path()).unwrap();
        dirs.borrow_mut().push(dir);
        store
    };
    event_store::suite(make).await;
    let dir = tempfile::tempdir().unwrap();
    event_store::durable_suite(async || open(&lab_url(dir.path()), &lab_env(), dir.path()).unwrap()).await;
}

#[tokio::test]
async fn lab_s3_history_has_one_winner_of_two_machines() {
    let dir = tempfile::tempdir().unwrap();
    let (url, env) = (lab_url(dir.path()), lab_env());
    let machines = [open(&url, &env, &dir.path().join("1")).unwrap(), open(&url, &env, &dir.path().join("2")).unwrap()];
    let mut won = 0;
    for round in 0..40_u64 {
        let claim = |n: usize| {
            let event = event(&format!("{round}.{n}"), "claim");
            machines[n].append(Append::of(vec![event]).expect("claim", Expected::from_version(round)))
        };
        let (one, two) = futures::join!(claim(0), claim(1));
        won += u64::from(one.is_ok()) + u64::from(two.is_ok());
        assert_eq!(won, round + 1, "exactly one of two gets each version");
    }
    let third = open(&url, &env, &dir.path().join("3")).unwrap();
    let found = third.verify().await.unwrap();
    assert_eq!((found.events, found.problems), (40, Vec::new()));
}

#[tokio::test]
async fn lab_s3_history_that_lost_an_object_is_damaged() {
    use object_store::ObjectStoreExt;
    let dir = tempfile::tempdir().unwrap();
    let (url, env) = (lab_url(dir.path()), lab_env());
    let store = open(&url, &env, dir.path()).unwrap();
    for id in ["a", "b", "c"] {
        store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
    }
    store.close().await.unwrap();
    let bucket = crate::bucket::Bucket::new(&url.parse().unwrap(), &env, "a test", Code::Backend).unwrap();
    bucket.store.delete(&bucket.key("history/00000000000000000003.jsonl")).await.unwrap();
    let store = open(&url, &env, dir.path()).unwrap();
    let fault = store.append(Append::of(vec![event("d", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
}

/// How a server that can't hold a history answers a conditional put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It writes over what is there.
    Overwrites,
    /// It looks first and writes then, so that several that come at once all find nothing.
    LooksFirst,
    /// It does not know the header.
    Unknown,
}

/// A server in a few lines that keeps names only; gives its address.
fn unfit_server(how: Unfit) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let names = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let names = Arc::clone(&names);
            std::thread::spawn(move || answer(stream, how, &names));
        }
    });
    address
}

fn answer(mut stream: std::net::TcpStream, how: Unfit, names: &std::sync::Mutex<std::collections::HashSet<String>>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) < 3 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let there = names.lock().unwrap().contains(&path);
    let status = match (method, how) {
        ("PUT", Unfit::Unknown) => "501 Not Implemented",
        ("PUT", Unfit::LooksFirst) if there => "412 Precondition Failed",
        ("PUT", _) => {
            // Long enough that all who come at once have looked.
            std::thread::sleep(std::time::Duration::from_millis(100));
            names.lock().unwrap().insert(path);
            "200 OK"
        }
        ("DELETE", _) => "204 No Content",
        _ => "200 OK",
    };
    let body = if method == "GET" {
        "<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
    } else {
        ""
    };
    let head =
        format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).ok();
}

#[tokio::test]
async fn a_server_that_does_not_keep_two_writers_apart_is_refused() {
    for (how, said) in [
        (Unfit::Overwrites, "8 of 8 writers were told that they were first"),
        (Unfit::LooksFirst, "writers were told that they were first"),
        (Unfit::Unknown, "it knows no conditional put"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open("s3://bucket/x", &env(&unfit_server(how), "key", "secret"), dir.path()).unwrap();
        let fault = store.append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unsupported, "{how:?}: {fault:?}");
        assert!(fault.to_string().contains(said), "{how:?}: {fault:?}");
        assert!(fault.hints().iter().any(|hint| hint.contains("git:REMOTE")), "{fault:?}");
    }
}
