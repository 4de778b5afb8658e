//! What goes wrong, and what the client then sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use vice_core::{Code, Millis};

use super::super::{ClientOptions, Front, FrontOptions};
use super::support::*;

#[tokio::test]
async fn nobody_to_ask_is_a_503() {
    let backend = Backend::named("a").await;
    let front = front(vec![]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let response = client.ask(GET).await;
    assert_eq!((response.status(), response.text()), (503, "No upstream is available.\n"));
    front.set_table(vec![upstream("a", backend.addr, 0)]);
    assert_eq!(client.ask(post(b"body")).await.status(), 503);
    front.set_table(vec![upstream("a", backend.addr, 1)]);
    assert_eq!(client.ask(GET).await.text(), "a");
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_upstream() {
    let backend = Backend::answering(|request| ok(&request.body)).await;
    let front = front(vec![upstream("gone", nobody().await, 1), upstream("b", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for index in 0..100 {
        let body = format!("body {index}");
        let response = client.ask(post(body.as_bytes())).await;
        assert_eq!((response.status(), response.text()), (200, body.as_str()));
    }
    let counts = front.counts();
    assert_eq!((counts[0].connect_failures, counts[0].requests), (50, 0));
    assert_eq!((counts[1].connect_failures, counts[1].requests), (0, 100));

    assert!(front.set_healthy("gone", false));
    assert!(!front.set_healthy("unknown", false));
    for _ in 0..10 {
        assert_eq!(client.ask(GET).await.status(), 200);
    }
    assert_eq!(front.counts()[0].connect_failures, 50, "an unhealthy upstream is not even tried");
    // With nobody healthy left, all are tried.
    front.set_healthy("b", false);
    assert_eq!(client.ask(GET).await.status(), 200);
}

#[tokio::test]
async fn upstreams_that_can_t_be_reached_are_a_502() {
    let front = front(vec![upstream("a", nobody().await, 1), upstream("b", nobody().await, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    assert_eq!(client.ask(GET).await.status(), 502);
    assert_eq!(client.ask(post(b"x")).await.status(), 502);
    assert_eq!(front.counts().iter().map(|it| it.connect_failures).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn an_upstream_that_stays_silent_is_a_504() {
    let backend = Backend::start(|mut raw| async move {
        raw.until(b"never").await;
    })
    .await;
    let options = FrontOptions { response_timeout: Millis(50), ..FrontOptions::default() };
    let front = front_with(options, vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    assert_eq!(client.ask(GET).await.status(), 504);
    assert_eq!(front.counts()[0].upstream_errors, 1);
}

#[tokio::test]
async fn a_client_that_tries_again_and_again_is_one_failure_where_clients_can_be_told_apart() {
    let broken = String::from_utf8(ok(b"")).unwrap().replacen("200 OK", "500 Broken", 1).into_bytes();
    let answer = move |request: Message| if request.head.starts_with("GET /good") { ok(b"") } else { broken.clone() };
    let backend = Backend::answering(answer).await;
    let asks = async |client: &mut Raw, path: &str, user: u32| {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: app.test\r\nX-User: u{user}\r\n\r\n");
        client.ask(request).await.status()
    };
    for (users, counted) in [(26, 26), (3, 9)] {
        let options = FrontOptions { clients: by_user(), ..FrontOptions::default() };
        let front = front_with(options, vec![upstream("a", backend.addr, 1)]).await;
        let mut client = Raw::connect(front.local_addr()).await;
        for user in 0..users {
            assert_eq!(asks(&mut client, "good", user).await, 200);
        }
        for user in (0..users).cycle().take(3 * users as usize) {
            assert_eq!(asks(&mut client, "bad", user).await, 500);
        }
        let counts = &front.counts()[0];
        assert_eq!((counts.failures, counts.client_failures), (3 * u64::from(users), counted), "{users} users");
    }
}

/// Users are named by a header, and a minute is a window.
fn by_user() -> ClientOptions {
    ClientOptions { window: Millis::from_secs(60), header: Some("X-User".to_owned()) }
}

/// Answers `answered` requests on each connection, reads one more and then closes without a word.
async fn falls_silent_after(answered: usize) -> (Backend, Arc<AtomicUsize>) {
    let unanswered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&unanswered);
    let backend = Backend::start(move |mut raw| {
        let count = Arc::clone(&count);
        async move {
            for _ in 0..answered {
                if raw.message().await.is_none() {
                    return;
                }
                raw.send(ok("fine")).await;
            }
            if raw.message().await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (backend, unanswered)
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_replaced_for_what_may_be_repeated() {
    let (backend, unanswered) = falls_silent_after(1).await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for _ in 0..20 {
        assert_eq!(client.ask(GET).await.text(), "fine");
    }
    // A request is either repeated on a new connection, which is kept, or the first on one.
    assert_eq!(unanswered.load(Ordering::SeqCst), 19);
    assert_eq!(front.counts()[0].upstream_errors, 0);
    // What may have had an effect is not repeated.
    assert_eq!(client.ask(post(b"pay")).await.status(), 502);
    assert_eq!((unanswered.load(Ordering::SeqCst), front.counts()[0].upstream_errors), (20, 1));
}

#[tokio::test]
async fn a_new_connection_that_breaks_sends_what_may_be_repeated_elsewhere() {
    let (broken, unanswered) = falls_silent_after(0).await;
    let good = Backend::named("good").await;
    let front = front(vec![upstream("broken", broken.addr, 1), upstream("good", good.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for _ in 0..10 {
        assert_eq!(client.ask(GET).await.text(), "good");
    }
    assert_eq!(unanswered.load(Ordering::SeqCst), 5);
    assert_eq!(front.counts()[0].upstream_errors, 5);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_never_used() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut raw| {
        let closed = closed.clone();
        async move {
            let request = raw.message().await.unwrap();
            raw.send(ok(&request.body)).await;
            drop(raw);
            closed.send(()).unwrap();
        }
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    for index in 0..100 {
        let body = format!("order {index}");
        assert_eq!(client.ask(post(body.as_bytes())).await.text(), body);
        closes.recv().await.unwrap();
    }
    assert_eq!(front.counts()[0].upstream_errors, 0);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_cut_and_not_ended() {
    let backend = Backend::start(|mut raw| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    client.send(GET).await;
    assert!(client.message().await.is_none(), "the end of the chunks must be missing");
    assert_eq!(front.counts()[0].upstream_errors, 1);
}

#[tokio::test]
async fn an_early_answer_to_an_unfinished_upload_is_passed_on() {
    let backend = Backend::start(|mut raw| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nno\n").await;
        raw.until(b"never").await;
    })
    .await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let mut client = Raw::connect(front.local_addr()).await;
    let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nbeginning").await;
    assert_eq!((response.status(), response.text()), (413, "no\n"));
    drop(client);
    assert_eq!(front.drain("a", Millis::from_secs(60)).await.in_flight_left, 0);
}

#[tokio::test]
async fn malformed_requests_are_refused_before_any_upstream_sees_them() {
    let backend = Backend::named("a").await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(200));
    for (request, status) in [
        ("what is this\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (&long, 431),
        (&many, 431),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    ] {
        let mut client = Raw::connect(front.local_addr()).await;
        // The front end may answer and close before it has read everything.
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, request.as_bytes()).await.ok();
        let head = client.head().await.unwrap_or_else(|| panic!("no answer to {request:.40}"));
        assert_eq!(head.status(), status, "{request:.60}");
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn clients_that_send_nothing_are_closed() {
    let backend = Backend::named("a").await;
    let options = FrontOptions { client_idle: Millis(40), ..FrontOptions::default() };
    let front = front_with(options, vec![upstream("a", backend.addr, 1)]).await;
    let mut silent = Raw::connect(front.local_addr()).await;
    let mut halting = Raw::connect(front.local_addr()).await;
    halting.send("GET / HTTP/1.1\r\nHo").await;
    let mut idle = Raw::connect(front.local_addr()).await;
    assert_eq!(idle.ask(GET).await.status(), 200);
    for client in [&mut silent, &mut halting, &mut idle] {
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_way_out() {
    let first = front(vec![]).await;
    let fault = Front::bind(first.local_addr(), FrontOptions::default()).await.err().unwrap();
    assert_eq!(fault.code(), Code::PortInUse);
    assert!(fault.to_string().contains(&first.local_addr().to_string()), "{fault}");
    assert!(!fault.hints().is_empty());
}

#[tokio::test]
async fn a_dropped_front_end_closes_everything() {
    let backend = Backend::named("a").await;
    let front = front(vec![upstream("a", backend.addr, 1)]).await;
    let addr = front.local_addr();
    let mut client = Raw::connect(addr).await;
    assert_eq!(client.ask(GET).await.status(), 200);
    drop(front);
    assert!(client.rest().await.is_empty());
    assert!(TcpStream::connect(addr).await.is_err());
}
