//! A listener for routes over HTTP/1.1 that nobody can hold up: a request's head and body, and the reading of an answer, have
//! deadlines, and there are so many connections at most. It knows nothing of what is asked; whoever uses it says when it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use futures::{Stream, StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use vice_core::fault::root_cause;

/// How long it is waited when no connection can be taken, because files have run out for example.
const BREATH: Duration = Duration::from_secs(1);

/// How long a connection may take, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, from the beginning of the connection or the end of the answer before.
    pub head: Duration,
    /// For the next bytes of a body, and for all of it beside what `rate` allows.
    pub body: Duration,
    /// So many bytes of a body each second are enough to be waited for longer.
    pub rate: u64,
    /// For the other side to take any byte of an answer.
    pub answer: Duration,
    /// Connections at once; others wait in the queue of the system until one ends.
    pub connections: usize,
}

impl Default for Patience {
    /// Heads have some hundred bytes, which take less than a second on any line that works. A quarter of the connections is
    /// for whoever holds one without asking (512 questions are answered at once), and a process may have 1024 open files on
    /// most systems.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            rate: 8 * 1024,
            answer: Duration::from_secs(30),
            connections: 768,
        }
    }
}

/// What was counted, for metrics.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicU64,
    slow: AtomicU64,
}

impl Connections {
    /// How many there are now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were ended because the other side took too long.
    #[must_use]
    pub fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }
}

/// Answers until `ended`; then nobody new is let in, and this returns when what was under way is answered. Dropping it cuts
/// off whatever is left.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    patience: Patience,
    counted: Arc<Connections>,
    ended: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(false);
    let room = Arc::new(Semaphore::new(patience.connections));
    let mut open = JoinSet::new();
    let mut ended = pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            Some(_) = open.join_next() => {}
            (stream, permit) = next(&listener, &room) => {
                let io = Watched { stream, allowed: patience.answer, stalled: None, _permit: permit };
                open.spawn(connection(io, routes.clone(), patience, Arc::clone(&counted), ending.clone()));
            }
        }
    }
    drop(listener);
    end.send_replace(true);
    while open.join_next().await.is_some() {}
}

/// The next connection, as soon as there is room for it.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else {
            // Nobody closes it.
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) if is_of_the_other_side(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                sleep(BREATH).await;
            }
        }
    }
}

fn is_of_the_other_side(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    io: Watched,
    routes: Router,
    patience: Patience,
    counted: Arc<Connections>,
    mut ending: watch::Receiver<bool>,
) {
    counted.open.fetch_add(1, Ordering::Relaxed);
    let _leave = Leave(Arc::clone(&counted));
    let service = service_fn(|request| {
        let (routes, counted) = (routes.clone(), Arc::clone(&counted));
        async move { Ok::<_, Infallible>(answer(routes, request, patience, &counted).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let told = async {
        // Whoever could say so is gone only when the service is.
        ending.wait_for(|ending| *ending).await.ok();
    };
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        if error.is_timeout() || is_timed_out(&error) {
            counted.slow.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(%error, "a connection ended early");
    }
}

fn is_timed_out(error: &hyper::Error) -> bool {
    root_cause(error).downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Counts a connection out, however its task ends.
struct Leave(Arc<Connections>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the routes answer; or that the body took too long, whatever they make of that.
async fn answer(
    routes: Router,
    request: Request<Incoming>,
    patience: Patience,
    counted: &Connections,
) -> Response<Body> {
    let late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| {
        if hyper::body::Body::is_end_stream(&body) {
            return Body::empty();
        }
        Body::from_stream(hurried(Body::new(body).into_data_stream(), patience, Arc::clone(&late)))
    });
    let answer = TowerToHyperService::new(routes).call(request).await.unwrap_or_else(|never| match never {});
    if !late.load(Ordering::Relaxed) {
        return answer;
    }
    counted.slow.fetch_add(1, Ordering::Relaxed);
    (StatusCode::REQUEST_TIMEOUT, [(header::CONNECTION, "close")], "The body took too long to arrive.\n")
        .into_response()
}

/// A body that ends with an error when its next bytes, or all of it, take too long.
fn hurried(body: BodyDataStream, patience: Patience, late: Arc<AtomicBool>) -> impl Stream<Item = io::Result<Bytes>> {
    let began = Instant::now();
    let rate = patience.rate.max(1);
    stream::unfold(Some((body, 0_u64)), move |state| {
        let late = Arc::clone(&late);
        async move {
            let (mut body, received) = state?;
            let earned = Duration::from_millis(received.saturating_mul(1000) / rate);
            let deadline = (Instant::now() + patience.body).min(began + patience.body + earned);
            match timeout_at(deadline, body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    let received = received + bytes.len() as u64;
                    Some((Ok(bytes), Some((body, received))))
                }
                Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
                Ok(None) => None,
                Err(_) => {
                    late.store(true, Ordering::Relaxed);
                    Some((Err(io::ErrorKind::TimedOut.into()), None))
                }
            }
        }
    })
}

/// A connection whose other side has to take what is sent. It holds its place among the connections.
struct Watched {
    stream: TcpStream,
    allowed: Duration,
    /// Since nothing was taken: until when.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Watched {
    fn hurry<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let allowed = self.allowed;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(allowed)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.hurry(context, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.hurry(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
