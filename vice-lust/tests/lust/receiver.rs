//! An HTTP receiver made of a bare socket, so that what is tested does not test itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How a receiver treats one request.
pub(crate) enum Answer {
    /// A status line with extra header lines.
    Status(u16, &'static str),
    /// Never.
    Hang,
    /// The connection is closed after the request was read.
    Close,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An HTTP receiver that answers as told, then with 200.
pub(crate) struct Receiver {
    pub(crate) url: String,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
}

impl Receiver {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answers) = (sender.clone(), answers.clone());
                tokio::spawn(serve(stream, sender, answers));
            }
        });
        Self { url, requests }
    }

    /// The requests so far.
    pub(crate) fn all(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

async fn serve(mut stream: TcpStream, sender: mpsc::UnboundedSender<Request>, answers: Arc<Mutex<VecDeque<Answer>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(200, ""));
    sender.send(request).unwrap();
    match answer {
        Answer::Status(status, headers) => {
            let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 3\r\nConnection: close\r\n\r\nok\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        Answer::Hang => std::future::pending().await,
        Answer::Close => {}
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.ok()?;
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = Request { head: head.to_owned(), body: body.to_owned() };
            let length: usize = request.header("content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(request);
            }
        }
        if read == 0 {
            return None;
        }
    }
}
