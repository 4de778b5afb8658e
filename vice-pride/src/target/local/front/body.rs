//! The bodies that pass through: [`Upload`] towards the upstream, [`Download`] towards the client. Neither holds more
//! than the frame that is being handed on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::link::Link;
use super::serve::Busy;
use super::upstream::InFlight;

/// A request's body. It counts its frames, because the wait for a response begins when the upload has ended.
pub(super) struct Upload {
    incoming: Option<Incoming>,
    frames: Option<Arc<AtomicU64>>,
}

impl Upload {
    /// The body, and its frame counter unless it is empty.
    pub(super) fn new(incoming: Incoming) -> (Self, Option<Arc<AtomicU64>>) {
        let frames = (!incoming.is_end_stream()).then(|| Arc::new(AtomicU64::new(0)));
        (Self { incoming: Some(incoming), frames: frames.clone() }, frames)
    }

    /// No body, for a request that is sent once more.
    pub(super) fn none() -> Self {
        Self { incoming: None, frames: None }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        if let (Poll::Ready(_), Some(frames)) = (&polled, &this.frames) {
            frames.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Why a response's body stopped. hyper then cuts the client's connection, so that a part is never taken for the whole.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream broke off its response")
    }
}

impl std::error::Error for BrokenOff {}

enum Source {
    /// A short text of the front end's own.
    Text(Option<Bytes>),
    /// A body that has been received in full already; its connection is back in the pool.
    Received(Incoming),
    /// A body that is still being received.
    Streaming { incoming: Incoming, link: Option<Link>, request: InFlight },
}

/// A response's body. While it lives, its client counts as busy.
pub(super) struct Download {
    source: Source,
    busy: Option<Busy>,
}

impl Download {
    pub(super) fn text(text: &'static str) -> Self {
        Self { source: Source::Text((!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()))), busy: None }
    }

    /// Takes over the connection that the body arrives on. A short body has usually arrived together with its head;
    /// then the connection is free at once.
    pub(super) fn new(incoming: Incoming, mut link: Link, request: InFlight) -> Self {
        let source = if link.settle() {
            request.upstream().pool.put(link);
            Source::Received(incoming)
        } else {
            Source::Streaming { incoming, link: Some(link), request }
        };
        Self { source, busy: None }
    }

    pub(super) fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.get_mut().source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Received(incoming) => Pin::new(incoming).poll_frame(cx).map_err(|_| BrokenOff),
            Source::Streaming { incoming, link, request } => {
                let polled = stream(incoming, link.as_mut(), cx);
                if let Poll::Ready(Some(Err(BrokenOff))) = &polled {
                    request.upstream().counts.broke_off();
                    *link = None;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Received(incoming) | Source::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Received(incoming) | Source::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Source::Streaming { link, request, .. } = &mut self.source
            && let Some(mut link) = link.take()
            && link.settle()
        {
            request.upstream().pool.put(link);
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BrokenOff>>>;

fn stream(incoming: &mut Incoming, link: Option<&mut Link>, cx: &mut Context<'_>) -> Polled {
    // Asking tells the connection that more is wanted; only the connection can then supply it, and it is polled here,
    // so the body needs no wakeup of its own.
    let mut ask =
        || Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop())).map_err(|_| BrokenOff);
    let first = ask();
    let Some(link) = link else { return Poll::Ready(Some(Err(BrokenOff))) };
    if first.is_ready() {
        return first;
    }
    link.drive(cx);
    match ask() {
        Poll::Pending if link.is_closed() => Poll::Ready(Some(Err(BrokenOff))),
        polled => polled,
    }
}
