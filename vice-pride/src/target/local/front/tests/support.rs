//! Backends and a client that see every byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::{Front, FrontOptions, Upstream};

pub(super) async fn front_with(options: FrontOptions, table: Vec<Upstream>) -> Front {
    let front = Front::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    front.set_table(table);
    front
}

pub(super) async fn front(table: Vec<Upstream>) -> Front {
    front_with(FrontOptions::default(), table).await
}

pub(super) fn upstream(id: &str, addr: SocketAddr, weight: u32) -> Upstream {
    Upstream { id: id.to_owned(), addr, weight, version: "1".to_owned() }
}

/// An address on which nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// One side of an HTTP/1.1 connection, as bytes.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message that came in.
#[derive(Debug)]
pub(super) struct Message {
    /// Start line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Raw {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn connect(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).await.unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads more; false at the end of the stream.
    async fn more(&mut self) -> bool {
        let mut chunk = [0u8; 16 * 1024];
        let count = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..count]);
        count > 0
    }

    /// Exactly `count` bytes, or what there was before the end.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.more().await {}
        let rest = self.buffer.split_off(count.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Everything up to the end of the stream.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Up to and with `mark`; `None` when the stream ends before.
    pub(super) async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Some(self.bytes(at + mark.len()).await);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(super) async fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").await?;
        Some(Message { head: String::from_utf8(head).unwrap(), body: Vec::new() })
    }

    /// A whole message: by its length, or chunked (the trailers are left in the body's end).
    pub(super) async fn message(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        if message.header("transfer-encoding").is_some() {
            message.body = self.chunks().await?;
        } else if let Some(length) = message.header("content-length").map(|length| length.parse().unwrap()) {
            message.body = self.bytes(length).await;
            if message.body.len() < length {
                return None;
            }
        }
        Some(message)
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            match usize::from_str_radix(line.trim(), 16).unwrap() {
                0 => break,
                size => {
                    body.extend(self.bytes(size).await);
                    self.until(b"\r\n").await?;
                }
            }
        }
        loop {
            match self.until(b"\r\n").await?.as_slice() {
                b"\r\n" => return Some(body),
                trailer => body.extend_from_slice(trailer),
            }
        }
    }

    /// Sends a request and reads its response.
    pub(super) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.message().await.expect("a response")
    }
}

pub(super) const GET: &str = "GET /path?q=1 HTTP/1.1\r\nHost: app.test\r\n\r\n";

pub(super) fn post(body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("POST /in HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

pub(super) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.as_ref().len()).into_bytes();
    response.extend_from_slice(body.as_ref());
    response
}

/// A server that hands each connection to a closure.
pub(super) struct Backend {
    pub(super) addr: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Backend {
    pub(super) async fn start<F, Fut>(each: F) -> Self
    where
        F: Fn(Raw) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let connections = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (stop.clone(), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                count.fetch_add(1, Ordering::SeqCst);
                let (each, stopped) = (each(Raw::new(stream)), stopped.clone());
                tokio::spawn(async move {
                    stopped.run_until_cancelled(each).await;
                });
            }
        });
        Self { addr, connections, stop, accepting }
    }

    /// Answers each request with what `answer` makes of it, for as long as the connection lives.
    pub(super) async fn answering<F>(answer: F) -> Self
    where
        F: Fn(Message) -> Vec<u8> + Clone + Send + Sync + 'static,
    {
        Self::start(move |mut raw| {
            let answer = answer.clone();
            async move {
                while let Some(request) = raw.message().await {
                    if raw.stream.write_all(&answer(request)).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await
    }

    /// Answers everything with its name.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::answering(move |_| ok(name)).await
    }

    /// Ends at once: every connection is cut, and new ones are refused.
    pub(super) async fn kill(self) {
        self.stop.cancel();
        self.accepting.await.unwrap();
    }
}
