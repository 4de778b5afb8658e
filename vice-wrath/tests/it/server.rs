//! A scripted HTTP server on a raw socket, so that it can also answer in ways that no library would.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// A connection that counts what it could write.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    written: Arc<AtomicU64>,
}

impl Conn {
    /// Writes; false when the other side is gone.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        let done = self.stream.write_all(bytes).await.is_ok();
        if done {
            self.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        done
    }

    /// A whole honest answer.
    pub(crate) async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let text =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        self.write(text.as_bytes()).await;
    }

    /// Waits until the other side hangs up.
    pub(crate) async fn until_gone(&mut self) {
        let mut sink = [0_u8; 1024];
        while matches!(self.stream.read(&mut sink).await, Ok(count) if count > 0) {}
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) written: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves each connection with the script.
    pub(crate) async fn start<F, W>(script: F) -> Self
    where
        F: Fn(Request, Conn) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (written, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, written: Arc::clone(&written), requests: Arc::clone(&requests) };
        let script = Arc::new(script);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                number += 1;
                let (script, requests, written) = (Arc::clone(&script), Arc::clone(&requests), Arc::clone(&written));
                tokio::spawn(async move {
                    let Some(request) = read_request(number, &mut stream).await else { return };
                    requests.lock().unwrap().push(request.clone());
                    script(request, Conn { stream, written }).await;
                });
            }
        });
        server
    }

    /// Answers every request with these bytes and closes.
    pub(crate) async fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |_, mut conn| {
            let bytes = Arc::clone(&bytes);
            async move {
                conn.write(&bytes).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(number: u64, stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    Some(Request { number, head, body: String::from_utf8_lossy(&bytes[end..]).into_owned() })
}
