//! One HTTP/1.1 connection to an upstream, driven by whoever uses it.
//!
//! hyper gives a connection as two halves: a sender, and a future that does the I/O. The usual way spawns the future,
//! which costs two task switches and their wakeups for each request. Here the future stays with the sender and is
//! polled inside the downstream connection's own task: while the response's head is awaited, and again whenever the
//! response's body is asked for more. So nothing is read from an upstream that the client has not made room for, and a
//! client that goes away takes its upstream connection with it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::net::RecvFlags;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::FrontOptions;
use super::body::Upload;

/// hyper does not let its upgradeable connection be named.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Why there is no response.
pub(super) enum Lost {
    /// Not a byte of the request was sent; here it is, untouched.
    Unsent(Box<Request<Upload>>),
    /// The connection broke after the request had been handed to it.
    Broken(String),
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLink {
    Refused,
    TimedOut,
}

pub(super) struct Link {
    sender: SendRequest<Upload>,
    driver: Driver,
    /// A second descriptor of the same socket, to ask the kernel whether the peer has closed it.
    probe: OwnedFd,
    closed: bool,
    idle_since: Instant,
}

impl Link {
    pub(super) async fn connect(addr: SocketAddr, options: &FrontOptions) -> Result<Self, NoLink> {
        let limit = Duration::from_millis(options.connect_timeout.0);
        let connected = timeout(limit, TcpStream::connect(addr)).await.map_err(|_| NoLink::TimedOut)?;
        let prepared = connected.and_then(|stream| {
            stream.set_nodelay(true)?;
            let probe = stream.as_fd().try_clone_to_owned()?;
            Ok((stream, probe))
        });
        let (stream, probe) = prepared.map_err(|error| {
            tracing::debug!(%addr, %error, "upstream connect failed");
            NoLink::Refused
        })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(options.buffer_max).max_headers(options.headers_max);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| NoLink::Refused)?;
        let driver = Box::pin(connection.with_upgrades());
        Ok(Self { sender, driver, probe, closed: false, idle_since: Instant::now() })
    }

    /// Lets the connection do what I/O it can, and leaves a wakeup for the rest.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if self.closed {
            return;
        }
        if let Poll::Ready(result) = self.driver.as_mut().poll(cx) {
            self.closed = true;
            if let Err(error) = result {
                tracing::debug!(%error, "upstream connection ended");
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the last exchange has ended in both directions, so that the next one may begin.
    pub(super) fn is_idle(&self) -> bool {
        !self.closed && self.sender.is_ready()
    }

    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// Ends an exchange: whether the connection may be kept for another one.
    pub(super) fn settle(&mut self) -> bool {
        // Whoever takes the connection next polls it with a waker of their own.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.idle_since = Instant::now();
        self.is_idle()
    }

    /// Whether an idle connection can take a request now. `certain` costs a system call, for what can't be repeated.
    pub(super) async fn still_good(&mut self, certain: bool) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.is_idle() && (!certain || self.is_quiet()))
        })
        .await
    }

    /// Asks the kernel. The runtime learns of a close only when it next looks at its events, and a request that must
    /// not be repeated should not be the one to find out. An idle peer sends nothing, so anything but "nothing there"
    /// means that it closed, failed or broke the protocol.
    fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        let peeked = rustix::net::recv(&self.probe, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.err().map(io::Error::from).is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn exchange(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Lost> {
        let mut response = pin!(self.sender.try_send_request(request));
        let (driver, closed) = (&mut self.driver, &mut self.closed);
        poll_fn(|cx| {
            if let Poll::Ready(result) = driver.as_mut().poll(cx) {
                *closed = true;
                tracing::debug!(?result, "upstream connection ended");
            }
            // Only the driver can complete the response, and it has just run in this task; a waker would only make
            // the task run once more for nothing.
            match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Lost::Unsent(Box::new(request)),
                    None => Lost::Broken(error.into_error().to_string()),
                })),
                Poll::Pending if *closed => Poll::Ready(Err(Lost::Broken("the connection ended".to_owned()))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Drives the connection to its end, which is where an upgraded one hands its socket over.
    pub(super) async fn finish(mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.closed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
