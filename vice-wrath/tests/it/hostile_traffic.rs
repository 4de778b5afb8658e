//! Load and replay against servers that stall, lie, flood and break off: each request is counted for what became of it,
//! within bounds, and the run comes to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use vice_core::Class;

use crate::load::wrath;
use crate::record::Recorder;
use crate::server::{Conn, Server};

/// How a server treats whoever asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Stalls,
    LiesAboutItsLength,
    SendsTenGigabytes,
    SendsChunksForEver,
    Resets,
    RedirectsInCircles,
    SendsBadChunks,
    SendsManyHeaders,
    SendsAnEndlessHeader,
    HangsUp,
}

/// How a replay shows that no whole answer came, that it is another one, and that it was too large to be kept.
const NOTHING: &str = "\"after\":\"0\"";
const MOVED: &str = "\"after\":\"302\"";
const TOO_LARGE: &str = "has another length";

/// All of them, with what a load counts and what a replay says of an answer that used to be `ok`.
const MANNERS: [(Manner, &[&str], &str); 10] = [
    (Manner::Stalls, &["no_answer_in_time"], NOTHING),
    (Manner::LiesAboutItsLength, &["broke_off"], NOTHING),
    (Manner::SendsTenGigabytes, &["no_answer_in_time"], TOO_LARGE),
    (Manner::SendsChunksForEver, &["no_answer_in_time"], TOO_LARGE),
    (Manner::Resets, &["broke_off"], NOTHING),
    (Manner::RedirectsInCircles, &[], MOVED),
    (Manner::SendsBadChunks, &["malformed"], NOTHING),
    (Manner::SendsManyHeaders, &["malformed"], NOTHING),
    (Manner::SendsAnEndlessHeader, &["malformed"], NOTHING),
    (Manner::HangsUp, &["broke_off"], NOTHING),
];

async fn flood(conn: &mut Conn, head: &[u8], block: &[u8]) {
    conn.write(head).await;
    while conn.write(block).await {}
}

async fn behave(manner: Manner, mut conn: Conn) {
    let kilobytes = vec![b'x'; 64 * 1024];
    match manner {
        Manner::Stalls => conn.until_gone().await,
        Manner::LiesAboutItsLength => {
            conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
        }
        Manner::SendsTenGigabytes => {
            flood(&mut conn, b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", &kilobytes).await;
        }
        Manner::SendsChunksForEver => {
            let chunk = [b"10000\r\n".as_slice(), &kilobytes, b"\r\n"].concat();
            flood(&mut conn, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &chunk).await;
        }
        Manner::Resets => {
            // Closing with a zero linger sends a reset instead of an orderly end.
            conn.stream.set_zero_linger().unwrap();
        }
        Manner::RedirectsInCircles => conn.answer("302 Found", "location: /\r\n", "").await,
        Manner::SendsBadChunks => {
            conn.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnothing\r\n").await;
            conn.until_gone().await;
        }
        Manner::SendsManyHeaders => {
            let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
            conn.write(format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n").as_bytes()).await;
            conn.until_gone().await;
        }
        Manner::SendsAnEndlessHeader => flood(&mut conn, b"HTTP/1.1 200 OK\r\nx: ", &kilobytes).await,
        Manner::HangsUp => {}
    }
}

async fn hostile(manner: Manner) -> Server {
    Server::start(move |_, conn| behave(manner, conn)).await
}

/// What this process takes in memory now, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_load_counts_what_each_hostile_server_did() {
    let before = resident();
    for (manner, failures, _) in MANNERS {
        let server = hostile(manner).await;
        let begun = Instant::now();
        let words = ["load", &server.url(), "--rate", "20/s", "--for", "250ms", "--timeout", "1s"];
        let outcome = wrath(&words).await.unwrap();
        let counts = &outcome.json["counts"];
        assert_eq!(counts["requests"], 5, "{manner:?}: {:#}", outcome.json);
        let sum: u64 = failures.iter().map(|it| counts["failures"][it].as_u64().unwrap_or(0)).sum();
        let due = if failures.is_empty() { 0 } else { 5 };
        assert_eq!((sum, counts["failed"].as_u64()), (due, Some(due)), "{manner:?}: {:#}", outcome.json);
        assert!(begun.elapsed() < Duration::from_secs(30), "{manner:?} came to an end");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 * 1024, "{grown} KiB more than before");
}

/// An honest server whose answers are recorded once.
async fn recorded(dir: &std::path::Path) -> String {
    let honest = Server::start(|_, mut conn| async move { conn.answer("200 OK", "", "ok").await }).await;
    let recorder = Recorder::start(dir, &honest.url(), &[]).await;
    for _ in 0..3 {
        let answer = reqwest::get(format!("http://{}/", recorder.address)).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "ok");
    }
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    file
}

#[tokio::test]
async fn a_replay_tells_what_each_hostile_server_did() {
    crate::support::provider();
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path()).await;
    let before = resident();
    for (manner, _, says) in MANNERS {
        let server = hostile(manner).await;
        let words = ["replay", &file, "--to", &server.url(), "--speed", "max", "--once", "--timeout", "2s"];
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Verification, "{manner:?}: {:#}", outcome.json);
        assert_eq!(outcome.json["equal"], 0, "{manner:?}: {:#}", outcome.json);
        let told = outcome.json.to_string();
        assert!(told.contains(says), "{manner:?}: {told}");
        let written = server.written.load(Ordering::SeqCst);
        assert!(written < 256 * 1024 * 1024, "{manner:?}: {written} bytes left the server");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 * 1024, "{grown} KiB more than before");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_answer() {
    crate::support::provider();
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path()).await;
    let server = crate::tls::Authority::new().server("localhost", 1).await;
    let server = format!("https://localhost:{}", server.port());
    let loaded = wrath(&["load", &server, "--rate", "20/s", "--for", "250ms"]).await.unwrap();
    assert_eq!(loaded.json["counts"]["failures"]["no_connection"], 5, "{:#}", loaded.json);
    assert_eq!(loaded.class, Class::Failed);
    let replayed = wrath(&["replay", &file, "--to", &server, "--speed", "max", "--once"]).await;
    let told = match replayed {
        Ok(outcome) => {
            assert_eq!((outcome.class, &outcome.json["equal"]), (Class::Verification, &Value::from(0)));
            outcome.json.to_string()
        }
        Err(fault) => format!("{fault:?}"),
    };
    assert!(told.contains("certificate") || told.contains("no connection"), "{told}");
}

/// Every user of a closed loop goes on after each bad answer, and none is lost.
#[tokio::test]
async fn users_go_on_after_a_server_breaks_off_now_and_then() {
    let turns = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&turns);
    let server = Server::start(move |_, conn| {
        let turn = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut conn = conn;
            match turn % 3 {
                0 => behave(Manner::Resets, conn).await,
                1 => behave(Manner::SendsBadChunks, conn).await,
                _ => conn.answer("200 OK", "", "ok").await,
            }
        }
    })
    .await;
    let outcome = wrath(&["load", &server.url(), "--users", "4", "--for", "1s", "--timeout", "5s"]).await.unwrap();
    let counts = &outcome.json["counts"];
    let (all, failed) = (counts["requests"].as_u64().unwrap(), counts["failed"].as_u64().unwrap());
    assert!(all > 30, "{counts:#}");
    assert!(failed.abs_diff(all * 2 / 3) <= 8, "two of three broke: {counts:#}");
    assert_eq!(all, turns.load(Ordering::SeqCst), "each request is counted once: {counts:#}");
}
