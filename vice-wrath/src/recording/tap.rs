//! Looking on while bodies pass: each frame is handed on at once, and copied up to the limit.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Version};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::body::Body;
use super::exchange::{Answer, Asked, Exchange, media_type};
use super::mask::Mask;
use super::write::Sink;
use crate::coding::{RECORDED_BYTES_MAX, unpack};
use crate::upstream::{Lease, Upstream};

/// The most bytes of bodies that are held at once, over all exchanges. Beyond it bodies are not kept.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What all exchanges of a recording share.
pub(super) struct Shared {
    pub(super) begun: Instant,
    pub(super) body_max: usize,
    /// Media types whose bodies are not kept.
    pub(super) without: Vec<String>,
    pub(super) held: AtomicUsize,
    pub(super) sink: Sink,
}

/// A copy of a body in the making.
#[derive(Default)]
struct Copy {
    content: Vec<u8>,
    size: u64,
    cut: Option<&'static str>,
    ended: bool,
}

/// One exchange in the making.
pub(super) struct Watched {
    shared: Arc<Shared>,
    conn: u64,
    began: Instant,
    asked: Mutex<Option<(String, String, Version, HeaderMap)>>,
    answered: Mutex<Option<(u16, HeaderMap, Instant)>>,
    error: Mutex<Option<String>>,
    upgraded: Mutex<Option<String>>,
    upload: Mutex<Copy>,
    download: Mutex<Copy>,
    put: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(super) fn new(
        shared: &Arc<Shared>,
        conn: u64,
        method: &str,
        target: &str,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            conn,
            began: Instant::now(),
            asked: Mutex::new(Some((method.to_owned(), target.to_owned(), version, headers.clone()))),
            answered: Mutex::default(),
            error: Mutex::default(),
            upgraded: Mutex::default(),
            upload: Mutex::default(),
            download: Mutex::default(),
            put: AtomicBool::new(false),
        }
    }

    pub(super) fn answered(&self, status: u16, headers: &HeaderMap) {
        *lock(&self.answered) = Some((status, headers.clone(), Instant::now()));
        let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.shared.without.iter().any(|prefix| kind.starts_with(prefix.as_str())) {
            lock(&self.download).cut = Some("bodies of this kind are not kept");
        }
    }

    /// Client and server go on in another protocol.
    pub(super) fn upgraded(&self, protocol: &http::HeaderValue) {
        let name = String::from_utf8_lossy(protocol.as_bytes()).to_ascii_lowercase();
        *lock(&self.upgraded) = Some(name);
        // What follows is no body.
        lock(&self.download).ended = true;
    }

    pub(super) fn failed(&self, why: &str) {
        lock(&self.error).get_or_insert_with(|| why.to_owned());
    }

    fn copy(&self, place: &Mutex<Copy>, data: &Bytes) {
        let mut copy = lock(place);
        copy.size += data.len() as u64;
        if copy.cut.is_some() {
            return;
        }
        let held = self.shared.held.load(Ordering::Relaxed);
        let why = if copy.content.len() + data.len() > self.shared.body_max {
            Some("it is larger than the limit")
        } else if held + data.len() > HELD_BYTES_MAX {
            Some("too much was under way")
        } else {
            None
        };
        if why.is_some() {
            self.shared.held.fetch_sub(copy.content.len(), Ordering::Relaxed);
            copy.content = Vec::new();
            copy.cut = why;
            return;
        }
        self.shared.held.fetch_add(data.len(), Ordering::Relaxed);
        copy.content.extend_from_slice(data);
    }

    /// Hands the exchange to the writer, once.
    pub(super) fn finish(&self) {
        if self.put.swap(true, Ordering::SeqCst) {
            return;
        }
        let Some((method, target, version, headers)) = lock(&self.asked).take() else { return };
        let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let mut upload = std::mem::take(&mut *lock(&self.upload));
        let download = std::mem::take(&mut *lock(&self.download));
        if upload.size > 0 && !upload.ended && upload.cut.is_none() {
            upload.cut = Some("it was not sent to its end");
        }
        let answered = lock(&self.answered).take();
        if answered.is_some() && !download.ended {
            self.failed("the answer was not read to its end");
        }
        let raw = Raw {
            shared: Arc::clone(&self.shared),
            conn: self.conn,
            at_us: micros(self.began.saturating_duration_since(self.shared.begun)),
            took_us: micros(self.began.elapsed()),
            first_us: answered.as_ref().map_or(0, |(_, _, at)| micros(*at - self.began)),
            asked: (method, target, version, headers),
            answered: answered.map(|(status, headers, _)| (status, headers)),
            error: lock(&self.error).take(),
            upgraded: lock(&self.upgraded).take(),
            upload,
            download,
        };
        self.shared.sink.put(raw);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A finished exchange as it passed, with its secrets. It lives until the writer has masked it.
pub(super) struct Raw {
    shared: Arc<Shared>,
    conn: u64,
    at_us: u64,
    took_us: u64,
    first_us: u64,
    asked: (String, String, Version, HeaderMap),
    answered: Option<(u16, HeaderMap)>,
    error: Option<String>,
    upgraded: Option<String>,
    upload: Copy,
    download: Copy,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.upload.content.len() + self.download.content.len(), Ordering::Relaxed);
    }
}

impl Raw {
    /// What may be written.
    pub(super) fn into_exchange(mut self, mask: &Mask) -> Exchange {
        let held = self.upload.content.len() + self.download.content.len();
        let (upload, download) = (std::mem::take(&mut self.upload), std::mem::take(&mut self.download));
        self.shared.held.fetch_sub(held, Ordering::Relaxed);
        let (method, target, version, headers) = &self.asked;
        let request = Asked {
            method: method.clone(),
            target: mask.target(target).into_owned(),
            version: format!("{version:?}"),
            // Headers first: what is secret in them is then known in the body.
            headers: masked(mask, headers),
            body: kept(mask, headers, upload),
        };
        let answer = self.answered.as_ref().map(|(status, headers)| Answer {
            status: *status,
            headers: masked(mask, headers),
            body: kept(mask, headers, download),
            first_us: self.first_us,
        });
        let (conn, at_us, took_us) = (self.conn, self.at_us, self.took_us);
        let (error, upgraded) = (self.error.take(), self.upgraded.take());
        Exchange { conn, at_us, took_us, request, answer, upgraded, error }
    }
}

fn plain(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn masked(mask: &Mask, headers: &HeaderMap) -> Vec<(String, String)> {
    let all = plain(headers).into_iter();
    all.map(|(name, value)| {
        let value = mask.header(&name, &value);
        (name, value)
    })
    .collect()
}

fn kept(mask: &Mask, headers: &HeaderMap, copy: Copy) -> Option<Body> {
    if copy.size == 0 {
        return None;
    }
    if let Some(why) = copy.cut {
        return Some(Body::without(copy.size, why));
    }
    let coding = headers.get(http::header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(match unpack(coding, &copy.content, RECORDED_BYTES_MAX) {
        Ok(unpacked) => {
            let content = unpacked.unwrap_or(copy.content);
            Body::of(copy.size, mask.body(&media_type(&plain(headers)), content))
        }
        // What can't be looked into can't be masked either.
        Err(why) => Body::without(copy.size, &why.to_string()),
    })
}

/// The body of a request on its way to the server.
pub(super) struct Upload {
    incoming: Incoming,
    watched: Arc<Watched>,
}

impl Upload {
    pub(super) fn new(incoming: Incoming, watched: &Arc<Watched>) -> Self {
        Self { incoming, watched: Arc::clone(watched) }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.watched.copy(&self.watched.upload, data);
                }
                if self.incoming.is_end_stream() {
                    lock(&self.watched.upload).ended = true;
                }
            }
            Poll::Ready(None) => lock(&self.watched.upload).ended = true,
            Poll::Ready(Some(Err(_))) => self.watched.failed("the client broke off its request"),
            Poll::Pending => {}
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of an answer on its way to the client. When it is over, the exchange is, and the connection is free.
pub(super) struct Download {
    incoming: Option<Incoming>,
    own: Option<Bytes>,
    watched: Arc<Watched>,
    upstream: Arc<Upstream>,
    lease: Option<Lease>,
}

impl Download {
    pub(super) fn new(incoming: Incoming, watched: &Arc<Watched>, upstream: &Arc<Upstream>, lease: Lease) -> Self {
        let ended = incoming.is_end_stream();
        lock(&watched.download).ended = ended;
        let (watched, upstream) = (Arc::clone(watched), Arc::clone(upstream));
        Self { incoming: Some(incoming), own: None, watched, upstream, lease: Some(lease) }
    }

    /// A short text of the recorder's own.
    pub(super) fn text(text: &str, watched: &Arc<Watched>, upstream: &Arc<Upstream>) -> Self {
        let own = Some(Bytes::from(text.to_owned()));
        Self { incoming: None, own, watched: Arc::clone(watched), upstream: Arc::clone(upstream), lease: None }
    }

    fn ended(&mut self) {
        lock(&self.watched.download).ended = true;
        self.watched.finish();
        if let Some(lease) = self.lease.take() {
            self.upstream.settle(lease);
        }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(self.own.take().map(|text| Ok(Frame::data(text))));
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.watched.copy(&self.watched.download, data);
                }
                if self.incoming.as_ref().is_some_and(HttpBody::is_end_stream) {
                    self.ended();
                }
            }
            Poll::Ready(None) => self.ended(),
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                self.watched.failed(&crate::upstream::cause(error));
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().map_or(self.own.is_none(), HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, &self.own) {
            (Some(incoming), _) => incoming.size_hint(),
            (None, own) => SizeHint::with_exact(own.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if lock(&self.watched.download).ended {
            self.ended();
        }
    }
}
