//! Large bodies pass with little memory: a side that does not read stops the side that writes.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::support::*;

const SIZE: usize = 64 * 1024 * 1024;
/// What the kernel may hold for the two connections (its limits are 4 MiB to send and 6 MiB to receive for each), and
/// then some. All of a body that a proxy collected would be [`SIZE`].
const HELD_MAX: usize = SIZE * 5 / 8;

/// Writes [`SIZE`] bytes; reports how many went before the other side held it up, then goes on.
async fn write_all_reporting(stream: &mut TcpStream, report: oneshot::Sender<usize>) {
    let mut report = Some(report);
    let mut written = 0;
    while written < SIZE {
        let chunk: Vec<u8> = (written..(written + 64 * 1024).min(SIZE)).map(byte_at).collect();
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            // A machine that is busy for longer reports less than was possible; it can't report too much.
            let count = match timeout(Duration::from_millis(500), stream.write(rest)).await {
                Ok(count) => count.unwrap(),
                Err(_) => {
                    if let Some(report) = report.take() {
                        report.send(written).unwrap();
                    }
                    stream.write(rest).await.unwrap()
                }
            };
            rest = &rest[count..];
            written += count;
        }
    }
    if let Some(report) = report {
        report.send(written).unwrap();
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
fn byte_at(index: usize) -> u8 {
    (index ^ (index >> 11)) as u8
}

/// Reads [`SIZE`] bytes and compares every one.
async fn read_all_checking(raw: &mut Raw) {
    let mut seen = 0;
    while seen < SIZE {
        let bytes = raw.bytes((SIZE - seen).min(64 * 1024)).await;
        assert!(!bytes.is_empty(), "ended after {seen} bytes");
        assert!(bytes.iter().enumerate().all(|(index, byte)| *byte == byte_at(seen + index)), "changed near {seen}");
        seen += bytes.len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_waits_for_a_client_that_does_not_read() {
    let (report, reported) = oneshot::channel();
    let report = std::sync::Mutex::new(Some(report));
    let backend = Backend::start(move |mut raw| {
        let report = report.lock().unwrap().take().unwrap();
        async move {
            raw.head().await.unwrap();
            raw.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
            write_all_reporting(&mut raw.stream, report).await;
            raw.head().await.unwrap();
            raw.send(ok("again")).await;
        }
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(GET).await;
    let held = reported.await.unwrap();
    assert!(held < HELD_MAX, "{held} bytes were taken from the upstream while nobody read");
    assert_eq!(client.head().await.unwrap().status(), 200);
    read_all_checking(&mut client).await;
    // Both connections can be used again.
    assert_eq!(client.ask(GET).await.text(), "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_waits_for_an_upstream_that_does_not_read() {
    let (go, going) = oneshot::channel();
    let going = std::sync::Mutex::new(Some(going));
    let backend = Backend::start(move |mut raw| {
        let going = going.lock().unwrap().take().unwrap();
        async move {
            raw.head().await.unwrap();
            going.await.unwrap();
            read_all_checking(&mut raw).await;
            raw.send(ok("got it")).await;
        }
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    let (report, reported) = oneshot::channel();
    let uploading = tokio::spawn(async move {
        write_all_reporting(&mut client.stream, report).await;
        client
    });
    let held = reported.await.unwrap();
    assert!(held < HELD_MAX, "{held} bytes were taken from the client while the upstream did not read");
    go.send(()).unwrap();
    assert_eq!(uploading.await.unwrap().message().await.unwrap().text(), "got it");
}

#[tokio::test]
async fn a_stream_without_length_passes_piece_by_piece() {
    let backend = Backend::start(|mut raw| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        // One event, and then nothing: it must arrive although the body goes on.
        raw.send("2\r\nA\n\r\n").await;
        raw.until(b"never").await;
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(GET).await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    assert_eq!(client.bytes(7).await, b"2\r\nA\n\r\n");
    assert_eq!(front.counts()[0].in_flight, 1);
    // A client that goes away takes its upstream connection with it.
    drop(client);
    assert_eq!(front.drain("a", vice_core::Millis::from_secs(60)).await.in_flight_left, 0);
}

#[tokio::test]
async fn a_slow_client_is_served_byte_by_byte() {
    let backend = Backend::answering(|request| ok(&request.body)).await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for byte in post(b"slow but steady") {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.message().await.unwrap().text(), "slow but steady");
}

#[tokio::test]
async fn full_duplex_exchanges_pass() {
    // The upstream answers the head before it has the body, and echoes each byte as it comes.
    let backend = Backend::start(|mut raw| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await;
        for _ in 0..4 {
            let byte = raw.bytes(1).await;
            raw.send(byte).await;
        }
        raw.head().await.unwrap();
        raw.send(ok("again")).await;
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    for byte in *b"ping" {
        client.send([byte]).await;
        assert_eq!(client.bytes(1).await, [byte]);
    }
    assert_eq!(client.ask(GET).await.text(), "again");
}
