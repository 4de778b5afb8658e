//! Connections to one server that are kept between requests, for passing requests on and for replaying them. Nothing is
//! added to a request and nothing is changed in it; bodies stream.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use crate::load::{Dial, Protocol};

/// A connection that rested longer is not used again: most servers close those after 5 s and more, and a request that
/// meets the close would fail without a reason of its own.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// So many resting connections are kept.
const RESTING_MAX: usize = 256;

/// The most headers of an answer.
const HEADERS_MAX: usize = 512;

/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

type Http1 = http1::SendRequest<RequestBody>;

/// One server.
pub(crate) struct Upstream {
    dial: Dial,
    protocol: Protocol,
    resting: Mutex<Vec<(Http1, Instant)>>,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>,
}

/// An HTTP/1.1 connection that goes back when its answer has been read.
pub(crate) struct Lease(Option<Http1>);

impl Upstream {
    pub(crate) const fn new(dial: Dial, protocol: Protocol) -> Self {
        Self { dial, protocol, resting: Mutex::new(Vec::new()), shared: tokio::sync::Mutex::const_new(None) }
    }

    /// Sends a request. The lease has to be given back with [`Upstream::settle`] once the body was read.
    ///
    /// # Errors
    /// Text that says why there is no answer.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<(Response<Incoming>, Lease), String> {
        match self.protocol {
            Protocol::Http1 => self.send1(request).await,
            Protocol::Http2 => self.send2(request).await.map(|response| (response, Lease(None))),
        }
    }

    /// Takes a connection back.
    pub(crate) fn settle(&self, lease: Lease) {
        let Some(sender) = lease.0.filter(|sender| !sender.is_closed()) else { return };
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() < RESTING_MAX {
            resting.push((sender, Instant::now()));
        }
    }

    async fn send1(&self, request: Request<RequestBody>) -> Result<(Response<Incoming>, Lease), String> {
        let mut request = request;
        loop {
            let (mut sender, used) = match self.rested() {
                Some(sender) => (sender, true),
                None => (self.connect1().await?, false),
            };
            if sender.ready().await.is_err() {
                if used { continue } else { return Err("the connection was closed at once".to_owned()) }
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease(Some(sender)))),
                Err(mut error) => match error.take_message() {
                    // Not a byte of it was sent.
                    Some(unsent) if used => request = unsent,
                    _ => return Err(cause(error.error())),
                },
            }
        }
    }

    fn rested(&self) -> Option<Http1> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = resting.pop() {
            if since.elapsed() < IDLE_MAX && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect1(&self) -> Result<Http1, String> {
        let stream = self.dial.connect().await.map_err(|_| "no connection".to_owned())?;
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| cause(&error))?;
        // Whoever waits for an answer learns of the end by that.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    async fn send2(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, String> {
        let mut sender = self.sender2().await?;
        sender.ready().await.map_err(|error| cause(&error))?;
        sender.send_request(request).await.map_err(|error| cause(&error))
    }

    async fn sender2(&self) -> Result<http2::SendRequest<RequestBody>, String> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.dial.connect().await.map_err(|_| "no connection".to_owned())?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let made = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| cause(&error))?;
        tokio::spawn(async move { drop(connection.await) });
        *shared = Some(sender.clone());
        Ok(sender)
    }
}

/// Why an exchange failed, in few words.
pub(crate) fn cause(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the connection was closed before the answer was whole".to_owned();
    }
    if error.is_parse_too_large() {
        return "the answer's head is too large".to_owned();
    }
    match vice_core::fault::root_cause(error).downcast_ref::<std::io::Error>() {
        Some(io) => crate::http::explain::io_cause(io),
        None => vice_core::fault::root_cause(error).to_string(),
    }
}
