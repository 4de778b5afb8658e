//! The downstream side: accepts connections and serves each in a task of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::clients::ClientId;
use super::{Shared, proxy};

/// How long to wait after a failed accept: it fails when descriptors run out, and only time brings them back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// One downstream connection, as its requests see it.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    /// The peer's address as `X-Forwarded-For` has it.
    pub(super) address: HeaderValue,
    /// What tells clients of this connection apart, where its address does not.
    header: Option<HeaderName>,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Client {
    fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical().to_string();
        let address = HeaderValue::try_from(address).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let header = shared.client_header();
        Self { shared, address, header, begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Who sent a request with these headers.
    pub(super) fn identity(&self, headers: &HeaderMap) -> ClientId {
        let named = self.header.as_ref().and_then(|header| headers.get(header));
        ClientId::of(named.unwrap_or(&self.address).as_bytes())
    }

    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// How many requests have ended, unless one is going on.
    fn resting_at(&self) -> Option<u64> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun == self.ended.load(Ordering::Relaxed)).then_some(begun)
    }
}

/// A request of this client is going on, up to the last byte of its response.
pub(super) struct Busy(Arc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Accepts until told to stop; dropping the listener then refuses whoever comes later.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(shared.options.connections_max));
    while let Some((stream, peer, place)) = next(&shared, &listener, &places).await {
        let client = Client::new(Arc::clone(&shared), peer);
        shared.tasks.spawn(serve(Arc::new(client), stream, place));
    }
}

async fn next(
    shared: &Shared,
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        accepted = accepted => accepted,
    }
}

async fn serve(client: Arc<Client>, stream: TcpStream, _place: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let shared = Arc::clone(&client.shared);
    let stop = shared.stop.child_token();
    let idle_max = Duration::from_millis(shared.options.client_idle.0);
    let requests = Arc::clone(&client);
    let service = service_fn(move |request| {
        let client = Arc::clone(&requests);
        async move { Ok::<_, Infallible>(proxy::answer(&client, request).await) }
    });
    // Not `pipeline_flush`: it holds a response back while anything that can't be answered yet has been read, such as
    // half of the next request, the first bytes after an upgrade, or what made the request malformed.
    let mut http = http1::Builder::new();
    http.max_buf_size(shared.options.buffer_max)
        .max_header_size(shared.options.head_max)
        .max_headers(shared.options.headers_max);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut stopping = false;
    let mut rested = None;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "client connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.cut.cancelled(), if stopping => return,
            // One long timer for each connection, looked at twice, in place of one for each request.
            () = sleep(idle_max / 2) => {
                let resting = client.resting_at();
                if resting.is_some() && resting == rested {
                    return;
                }
                rested = resting;
            }
        }
    }
}
