//! What passes through, unchanged or changed as promised.

use std::sync::atomic::Ordering;

use vice_core::Millis;

use super::super::FrontOptions;
use super::support::*;

#[tokio::test]
async fn weights_split_exactly_and_are_counted_by_version() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let front = front(vec![upstream("a", a.addr, 3), upstream("b", b.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let mut from_a = 0;
    for _ in 0..40 {
        from_a += usize::from(client.ask(GET).await.text() == "a");
    }
    assert_eq!(from_a, 30);
    let counts = front.counts();
    assert_eq!(
        counts.iter().map(|it| (it.id.as_str(), it.requests, it.status_2xx)).collect::<Vec<_>>(),
        [("a", 30, 30), ("b", 10, 10)]
    );
    assert_eq!(counts.iter().map(|it| it.latency.iter().sum::<u64>()).sum::<u64>(), 40);
    assert!(counts.iter().all(|it| it.in_table && it.in_flight == 0 && it.upstream_errors == 0));

    // A table that gives everything to another version keeps the earlier counters.
    let mut next = upstream("b", b.addr, 1);
    next.version = "2".to_owned();
    front.set_table(vec![next]);
    assert_eq!(client.ask(GET).await.text(), "b");
    let counts = front.counts();
    let facts: Vec<_> =
        counts.iter().map(|it| (it.id.as_str(), it.version.as_str(), it.requests, it.in_table)).collect();
    assert_eq!(facts, [("a", "1", 30, false), ("b", "1", 10, false), ("b", "2", 1, true)]);
}

#[tokio::test]
async fn connections_are_reused_on_both_sides() {
    let backend = Backend::named("a").await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for _ in 0..20 {
        assert_eq!(client.ask(GET).await.status(), 200);
        assert_eq!(client.ask(post(b"body")).await.status(), 200);
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn headers_name_the_client_and_lose_those_of_the_connection() {
    let backend = Backend::answering(|request| ok(request.head)).await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let request = "GET /path?q=1 HTTP/1.1\r\nHost: app.test:81\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\
                   Keep-Alive: 5\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\n\r\n";
    let response = client.ask(request).await;
    let mut lines: Vec<_> = response.text().trim_end().lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /path?q=1 HTTP/1.1",
            "cookie: a=b",
            "host: app.test:81",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: app.test:81",
            "x-forwarded-proto: http",
        ]
    );
    assert!(response.header("via").is_none());

    let response = client.ask("GET http://other.test/x HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert!(response.text().starts_with("GET /x HTTP/1.1\r\n"), "{}", response.text());
    assert!(response.text().contains("host: other.test\r\n"), "{}", response.text());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::answering(|request| ok(request.head.split(' ').nth(1).unwrap())).await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let requests: String = (0..20).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).await;
    for index in 0..20 {
        assert_eq!(client.message().await.unwrap().text(), format!("/{index}"));
    }
}

#[tokio::test]
async fn responses_without_a_body_keep_their_headers_and_the_connection() {
    let backend = Backend::answering(|request| {
        let head = match request.head.split(' ').nth(1).unwrap() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
        };
        head.as_bytes().to_vec()
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for (request, status, header, value) in [
        ("HEAD /head", 200, "content-length", "5"),
        ("GET /204", 204, "x-a", "1"),
        ("GET /304", 304, "etag", "\"x\""),
        ("HEAD /head", 200, "content-length", "5"),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status(), head.header(header)), (status, Some(value)), "{request}");
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let backend = Backend::answering(|request| {
        assert_eq!(request.header("content-length"), None);
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n".to_vec();
        response.extend(format!("{:x}\r\n{}\r\n0\r\nx-sum: 42\r\n\r\n", request.body.len(), request.text()).bytes());
        response
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-in\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    client.send("3\r\nabc\r\n").await;
    let response = client.ask("3\r\ndef\r\n0\r\nx-in: 1\r\n\r\n").await;
    assert_eq!(response.text(), "abcdefx-in: 1\r\nx-sum: 42\r\n");
    assert_eq!(client.ask(head.replace("TE: trailers\r\n", "") + "0\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn http_1_0_clients_get_a_body_that_ends_with_the_connection() {
    let backend =
        Backend::answering(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec())
            .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let response = String::from_utf8(client.rest().await).unwrap();
    assert!(response.starts_with("HTTP/1.0 200"), "{response}");
    assert!(response.ends_with("\r\n\r\nhi"), "{response}");
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_comes() {
    let backend = Backend::answering(|request| {
        assert_eq!(request.header("expect"), None);
        ok(&request.body)
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    assert_eq!(client.ask("body").await.text(), "body");
}

#[tokio::test]
async fn upgraded_connections_pass_bytes_and_hold_up_a_drain() {
    let backend = Backend::start(|mut raw| async move {
        let request = raw.head().await.unwrap();
        assert_eq!((request.header("upgrade"), request.header("connection")), (Some("websocket"), Some("upgrade")));
        // The first bytes come together with the head; they must not get lost.
        raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello").await;
        while let [byte] = raw.bytes(1).await[..] {
            raw.send([byte.to_ascii_uppercase()]).await;
        }
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.bytes(10).await, b"helloEARLY");
    client.send("more").await;
    assert_eq!(client.bytes(4).await, b"MORE");
    assert_eq!((front.counts()[0].upgrades, front.counts()[0].in_flight), (1, 1));

    assert_eq!(front.drain("a", Millis(20)).await.in_flight_left, 1);
    client.send("last").await;
    assert_eq!(client.bytes(4).await, b"LAST");
    drop(client);
    assert_eq!(front.drain("a", Millis::from_secs(60)).await.in_flight_left, 0);
}

#[tokio::test]
async fn trusted_proxies_continue_their_chain() {
    let backend = Backend::answering(|request| ok(request.header("x-forwarded-for").unwrap())).await;
    let options = FrontOptions { trust_forwarded: true, ..FrontOptions::default() };
    let front = front_with(options, vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n").await;
    assert_eq!(response.text(), "1.2.3.4, 127.0.0.1");
}
