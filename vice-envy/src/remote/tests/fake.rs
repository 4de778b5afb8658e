//! A server that answers as it is told, and remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What was asked.
pub(super) struct Ask {
    pub(super) target: String,
    headers: hyper::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Ask {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What is answered.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    hang: bool,
}

impl Answer {
    pub(super) fn new(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()), hang: false }
    }

    pub(super) fn json(value: &Value) -> Self {
        Self::new(200, &value.to_string())
    }

    pub(super) fn hang() -> Self {
        Self { hang: true, ..Self::new(200, "") }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Answers = dyn Fn(&Ask) -> Answer + Send + Sync;

/// The server. It ends when it is dropped.
pub(super) struct Fake {
    pub(super) base: String,
    answers: Arc<Mutex<Arc<Answers>>>,
    seen: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let first: Arc<Answers> = Arc::new(|_: &Ask| Answer::new(500, ""));
        let (answers, seen) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(Vec::new())));
        let (told, remembered) = (Arc::clone(&answers), Arc::clone(&seen));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (told, remembered) = (Arc::clone(&told), Arc::clone(&remembered));
                let service = service_fn(move |request| answer(request, Arc::clone(&told), Arc::clone(&remembered)));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { base, answers, seen, accepting }
    }

    pub(super) fn answer_with(&self, answers: fn(&Ask) -> Answer) {
        *self.answers.lock().unwrap() = Arc::new(answers);
    }

    pub(super) fn answer_always(&self, answer: Answer) {
        *self.answers.lock().unwrap() = Arc::new(move |_: &Ask| answer.clone());
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Mutex<Arc<Answers>>>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    seen.lock().unwrap().push(target.clone());
    let answers = Arc::clone(&*answers.lock().unwrap());
    let answer = answers(&Ask { target, headers: head.headers, body });
    if answer.hang {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder()
        .status(answer.status)
        .header("etag", "\"1\"")
        .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body)).unwrap())
}
