//! Real sockets whose other side is slow, deaf or one too many.

use std::net::SocketAddr;

use axum::extract::State;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

/// Short enough to be waited for, and long enough for a busy machine to answer what is whole at once.
fn short() -> Patience {
    let moment = Duration::from_millis(500);
    Patience { head: moment, body: moment, rate: 1_000_000, answer: moment, connections: 4 }
}

/// Nobody is ended by it in a test.
fn long() -> Patience {
    let hour = Duration::from_secs(3_600);
    Patience { head: hour, body: hour, rate: 1, answer: hour, connections: 2 }
}

struct Bench {
    address: SocketAddr,
    counted: Arc<Connections>,
    end: Arc<Notify>,
    done: JoinHandle<()>,
}

async fn bench(patience: Patience, routes: Router<Arc<Connections>>) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (counted, end) = (Arc::<Connections>::default(), Arc::new(Notify::new()));
    let told = Arc::clone(&end);
    let serving =
        serve(listener, routes.with_state(Arc::clone(&counted)), patience, Arc::clone(&counted), async move {
            told.notified().await;
        });
    Bench { address, counted, end, done: tokio::spawn(serving) }
}

fn routes() -> Router<Arc<Connections>> {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/open", get(|State(counted): State<Arc<Connections>>| async move { counted.open().to_string() }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/deaf", post(|| async { "not read" }))
        .route("/large", get(|| async { vec![b'x'; 64 * 1024 * 1024] }))
}

impl Bench {
    async fn connect(&self, words: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, words: &str) -> String {
        all(self.connect(words).await).await
    }
}

/// Everything until the other side ends the connection.
async fn all(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // One that is reset has ended as well.
    stream.read_to_end(&mut said).await.ok();
    String::from_utf8(said).unwrap()
}

fn get_from(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn post_to(path: &str, said: usize, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {said}\r\nconnection: close\r\n\r\n{body}")
}

/// Writes letter after letter, until the other side has ended the connection.
async fn trickle(stream: TcpStream, letter: &str) -> String {
    let (mut reading, mut writing) = stream.into_split();
    let mut said = Vec::new();
    let write = async {
        while writing.write_all(letter.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = reading.read_to_end(&mut said) => {}
        () = write => {}
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn whole_requests_are_answered() {
    let bench = bench(short(), routes()).await;
    assert!(bench.ask(&get_from("/")).await.ends_with("hello"));
    assert!(bench.ask(&post_to("/length", 5, "12345")).await.ends_with("\r\n\r\n5"));
    assert!(bench.ask(&post_to("/length", 0, "")).await.ends_with("\r\n\r\n0"));
    let chunked = "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    assert!(bench.ask(chunked).await.ends_with("\r\n\r\n7"));
    // Two on one connection.
    let both = format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{}", get_from("/"));
    assert_eq!(bench.ask(&both).await.matches("hello").count(), 2);
    assert_eq!(bench.counted.slow(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let bench = bench(short(), routes()).await;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let said = bench.ask(begun).await;
        assert!(!said.contains("hello"), "{begun:?}: {said}");
    }
    let trickled = trickle(bench.connect("GET / HTTP/1.1\r\nx: ").await, "a").await;
    assert!(!trickled.contains("hello"), "{trickled}");
    let idle = bench.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(idle.ends_with("hello"), "one that asks no more is ended as well: {idle}");
    assert!(bench.counted.slow() > 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_and_ends_the_connection() {
    let bench = bench(short(), routes()).await;
    let stalled = bench.ask(&post_to("/length", 100, "abc")).await;
    assert!(stalled.starts_with("HTTP/1.1 408") && stalled.contains("too long to arrive"), "{stalled}");
    // Something comes all the time, and never enough of it.
    let slow = trickle(bench.connect(&post_to("/length", 1_000_000, "abc")).await, "a").await;
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 408"), "{slow}");
    let unread = trickle(bench.connect(&post_to("/deaf", 1_000_000, "abc")).await, "a").await;
    assert!(unread.is_empty() || unread.contains("not read"), "{unread}");
    let cut = bench.connect(&post_to("/length", 100, "abc")).await;
    drop(cut);
    assert!(bench.ask(&get_from("/")).await.ends_with("hello"), "others are answered");
    assert!(bench.counted.slow() >= 2);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_the_connection() {
    let bench = bench(short(), routes()).await;
    let deaf = bench.connect(&get_from("/large")).await;
    while bench.counted.slow() == 0 {
        tokio::task::yield_now().await;
    }
    drop(deaf);
    let mut taken = bench.connect(&get_from("/large")).await;
    let mut length = 0;
    let mut part = vec![0; 1024 * 1024];
    loop {
        match taken.read(&mut part).await.unwrap() {
            0 => break,
            read => length += read,
        }
    }
    assert!(length > 64 * 1024 * 1024, "who reads gets all of it: {length}");
}

#[tokio::test]
async fn there_are_so_many_connections_and_the_next_waits() {
    let bench = bench(long(), routes()).await;
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut stream = bench.connect("GET /open HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        holding.push(stream);
    }
    let others: Vec<TcpStream> = futures::future::join_all((0..6).map(|_| bench.connect("GET /open"))).await;
    assert_eq!(bench.counted.open(), 2);
    drop(holding);
    let rest = " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let asked = others.into_iter().map(|mut stream| async move {
        stream.write_all(rest.as_bytes()).await.unwrap();
        all(stream).await
    });
    for said in futures::future::join_all(asked).await {
        let open: u64 = said.rsplit("\r\n").next().unwrap().parse().unwrap_or_else(|_| panic!("{said}"));
        assert!((1..=2).contains(&open), "{open} connections at once");
    }
}

#[tokio::test]
async fn what_is_under_way_is_answered_when_it_ends() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, waits) = (Arc::clone(&began), Arc::clone(&go_on));
    let slow = get(move || async move {
        told.notify_one();
        waits.notified().await;
        "at last"
    });
    let bench = bench(long(), Router::new().route("/slow", slow)).await;
    let idle = bench.connect("").await;
    let asked = bench.connect(&get_from("/slow")).await;
    began.notified().await;
    bench.end.notify_one();
    assert_eq!(all(idle).await, "", "who asked nothing is not waited for");
    assert!(!bench.done.is_finished());
    go_on.notify_one();
    assert!(all(asked).await.ends_with("at last"));
    bench.done.await.unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err(), "nobody new is let in");
}
