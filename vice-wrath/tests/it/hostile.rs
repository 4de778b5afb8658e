//! Servers that stall, lie, flood and break off: each is reported for what it is, within bounds.

use std::sync::atomic::Ordering;

use vice_core::payload::verification::CheckOutcome::{Errored, Failed};
use vice_core::payload::verification::CheckResult;

use crate::server::Server;
use crate::support::one;

/// One check that must not take longer than its attempt may.
async fn quick(server: &Server) -> CheckResult {
    one("http = \"{{env.url}}/\"\ntimeout = \"300ms\"\n", &server.url()).await
}

/// One check of a server that ends its answer by itself; the timeout is only a net.
async fn patient(server: &Server) -> CheckResult {
    one("http = \"{{env.url}}/\"\ntimeout = \"60s\"\n", &server.url()).await
}

fn says(result: &CheckResult, part: &str) {
    assert_eq!(result.outcome, Errored, "{result:?}");
    assert!(result.messages.len() == 1 && result.messages[0].contains(part), "{result:?}");
}

#[tokio::test]
async fn a_server_that_never_answers() {
    let server = Server::start(|_, mut conn| async move { conn.until_gone().await }).await;
    says(&quick(&server).await, "no answer within 300ms");
}

#[tokio::test]
async fn a_body_that_drips_for_ever() {
    let server = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while conn.write(b"1\r\nx\r\n").await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    // Long enough for the headers to arrive on a busy machine.
    let result = one("http = \"{{env.url}}/\"\ntimeout = \"2s\"\n", &server.url()).await;
    says(&result, "the answer (status 200 OK) did not end within 2.0s");
}

#[tokio::test]
async fn headers_that_drip_for_ever() {
    let server = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\n").await;
        while conn.write(b"x").await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    says(&quick(&server).await, "no answer within 300ms");
}

#[tokio::test]
async fn ten_gigabytes_are_not_read() {
    let server = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n").await;
        let block = vec![b'x'; 64 * 1024];
        while conn.write(&block).await {}
    })
    .await;
    says(&patient(&server).await, "larger than 8 MiB; the rest was not read");
    let written = server.written.load(Ordering::SeqCst);
    assert!(written < 64 * 1024 * 1024, "{written} bytes left the server");
}

#[tokio::test]
async fn a_small_zip_of_a_huge_body_is_not_unpacked() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        encoder.write_all(&vec![0_u8; 1024 * 1024]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 200_000);
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len()).into_bytes();
    answer.extend(packed);
    let server = Server::raw(answer).await;
    says(&patient(&server).await, "larger than 8 MiB");
}

#[tokio::test]
async fn a_zip_that_is_none_or_only_half_of_one() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"{\"status\": \"ok\"}").unwrap();
    let whole = encoder.finish().unwrap();
    for packed in [b"plain text".as_slice(), &whole[..whole.len() - 3]] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
        let server = Server::raw([head.as_bytes(), packed].concat()).await;
        says(&patient(&server).await, "the answer (status 200 OK) can't be unpacked as gzip");
    }
}

#[tokio::test]
async fn a_hundred_thousand_headers() {
    let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let server = Server::raw(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    says(&patient(&server).await, "the request got no answer: ");
}

#[tokio::test]
async fn one_endless_header() {
    let server = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\nx: ").await;
        let block = vec![b'x'; 64 * 1024];
        while conn.write(&block).await {}
    })
    .await;
    says(&patient(&server).await, "the request got no answer: ");
    assert!(server.written.load(Ordering::SeqCst) < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_length_that_is_a_lie() {
    let server = Server::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    says(&patient(&server).await, "broke off after");
}

#[tokio::test]
async fn chunks_that_are_garbage() {
    let server = Server::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\nnot a chunk\r\n").await;
    says(&patient(&server).await, "broke off after");
}

#[tokio::test]
async fn a_reset_connection() {
    let server = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nxx").await;
        // Closing with a zero linger sends a reset instead of an orderly end.
        conn.stream.set_zero_linger().unwrap();
    })
    .await;
    let result = patient(&server).await;
    assert_eq!(result.outcome, Errored, "{result:?}");
    assert!(result.messages[0].contains("reset") || result.messages[0].contains("broke off"), "{result:?}");
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word() {
    let server = Server::raw("").await;
    says(&patient(&server).await, "the request got no answer: ");
}

#[tokio::test]
async fn something_that_is_not_http() {
    let server = Server::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    says(&patient(&server).await, "the request got no answer: ");
}

#[tokio::test]
async fn two_lengths_that_differ() {
    let server = Server::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nokok").await;
    says(&patient(&server).await, "the request got no answer: ");
}

#[tokio::test]
async fn deep_json_is_refused_and_does_not_overflow() {
    let body = "[".repeat(1_000_000);
    let server = Server::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    let result = one("http = \"{{env.url}}\"\njson = { '/a' = 1 }", &server.url()).await;
    assert_eq!(result.outcome, Failed);
    assert!(
        result.messages[0].chars().count() <= 200 && result.messages[0].starts_with("body: expected JSON"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_circle_of_redirects_is_one_answer() {
    let server =
        Server::start(|_, mut conn| async move { conn.answer("301 Moved", "location: /\r\n", "").await }).await;
    let result = one("http = \"{{env.url}}\"\nstatus = 301", &server.url()).await;
    assert!(result.messages.is_empty(), "{result:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn messages_stay_short_whatever_the_server_says() {
    let body = "\u{1b}]0;x\u{7}".repeat(10_000);
    let server = Server::raw(format!(
        "HTTP/1.1 500 No\r\nx-long: {}\r\ncontent-length: {}\r\n\r\n{body}",
        "y".repeat(5000),
        body.len()
    ))
    .await;
    let result =
        one("http = \"{{env.url}}\"\nmatches = \"ok\"\nexpect_headers = { x-long = \"^z\" }", &server.url()).await;
    assert_eq!(result.outcome, Failed);
    assert!(
        result.messages.iter().all(|text| text.chars().count() <= 200 && !text.contains(char::is_control)),
        "{result:?}"
    );
}
