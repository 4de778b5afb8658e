//! The proxy that records: it takes connections, passes each request on to one server and the answer back, and looks on.
//!
//! What it changes: headers of one connection stay behind, `Host` becomes that of the server unless it is to be kept, and
//! of the codings a client takes only gzip is passed on, because a body that can't be unpacked can't be masked.
//! Where client and server agree on another protocol (WebSocket), bytes pass as they are, and only the agreement is
//! recorded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use vice_core::{Code, Context, Result};

use super::exchange::{Closing, Opening};
use super::mask::Mask;
use super::tap::{Download, Shared, Upload, Watched};
use super::write;
use crate::upstream::Upstream;

/// How many clients may be connected at once.
const CONNECTIONS_MAX: usize = 4096;

/// The most headers of a request.
const HEADERS_MAX: usize = 256;

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// How long a client may take for the head of a request, and for a TLS handshake.
const HEAD_WAIT: Duration = Duration::from_secs(30);

/// How long the head of an answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(300);

/// How many connections may have switched to another protocol at once.
const TUNNELS_MAX: usize = 1024;

/// How long what is under way may take to end when the recording is ended.
const DRAIN: Duration = Duration::from_secs(5);

/// The first bytes of HTTP/2 without TLS.
const PREFACE: &[u8; 14] = b"PRI * HTTP/2.0";

/// How the proxy is set up.
pub(crate) struct ProxyOptions {
    /// Where clients come in.
    pub(crate) listen: SocketAddr,
    /// Certificate and key, where clients speak TLS.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// The server's URL, as it is shown and written.
    pub(crate) to: String,
    /// The `Host` of the server; that of the client is kept when absent.
    pub(crate) host: Option<HeaderValue>,
    /// The file.
    pub(crate) out: PathBuf,
    /// The largest body that is kept, in bytes.
    pub(crate) body_max: usize,
    /// Beginnings of media types whose bodies are not kept.
    pub(crate) without: Vec<String>,
    /// The moment, RFC 3339.
    pub(crate) began: String,
}

/// A proxy that listens.
pub(crate) struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    way: Arc<Way>,
    written: write::Written,
    tls: Option<TlsAcceptor>,
}

/// What a finished recording holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) exchanges: u64,
    pub(crate) lost: u64,
    pub(crate) connections: u64,
}

/// What every request needs.
struct Way {
    upstream: Arc<Upstream>,
    shared: Arc<Shared>,
    host: Option<HeaderValue>,
    seen: AtomicU64,
    tunnels: Arc<Semaphore>,
}

impl Proxy {
    /// Listens, and makes the file.
    ///
    /// # Errors
    /// `PortInUse` when the address can't be had, `Io` when the file can't be made.
    pub(crate) async fn start(options: ProxyOptions, upstream: Upstream, mask: Mask) -> Result<Self> {
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.context(Code::PortInUse, || format!("Nobody can listen at {}.", options.listen))?;
        let address = listener.local_addr().context(Code::Io, || "The address is not known.".to_owned())?;
        let opening = Opening { vice_recording: 1, began: options.began, to: options.to, masked: mask.is_on() };
        let (sink, written) = write::start(&options.out, &opening, mask)?;
        let shared = Shared {
            begun: Instant::now(),
            body_max: options.body_max,
            without: options.without,
            held: AtomicUsize::new(0),
            sink,
        };
        let way = Way {
            upstream: Arc::new(upstream),
            shared: Arc::new(shared),
            host: options.host,
            seen: AtomicU64::new(0),
            tunnels: Arc::new(Semaphore::new(TUNNELS_MAX)),
        };
        let tls = options.tls.map(TlsAcceptor::from);
        Ok(Self { listener, address, way: Arc::new(way), written, tls })
    }

    /// Where clients come in.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come so far.
    pub(crate) fn counter(&self) -> impl Fn() -> u64 + use<> {
        let way = Arc::clone(&self.way);
        move || way.seen.load(Ordering::Relaxed)
    }

    /// Serves until `end`, and then until what is under way has ended.
    ///
    /// # Errors
    /// `Io` when the recording can't be written.
    pub(crate) async fn run(self, end: impl Future<Output = ()>) -> Result<Served> {
        let Self { listener, way, written, tls, .. } = self;
        let (stop, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = 0;
        let mut tasks = JoinSet::new();
        let mut end = pin!(end);
        let mut written = written;
        let mut ended = None;
        loop {
            tokio::select! {
                () = &mut end => break,
                // The writer ends early only when it can't write.
                done = &mut written => {
                    ended = Some(done);
                    break;
                }
                (stream, place) = accept(&listener, &places) => {
                    connections += 1;
                    tasks.spawn(serve(Arc::clone(&way), stream, tls.clone(), connections, stopped.clone(), place));
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        drop(listener);
        stop.send_replace(true);
        // Whoever does not end in time is cut off, and what passed until then is written.
        drop(timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await);
        tasks.shutdown().await;
        drop(way);
        let done = match ended {
            Some(done) => done,
            None => {
                let late = || "The recording was not ended in time; it is read up to its last whole line.".to_owned();
                timeout(DRAIN, written).await.context(Code::TimedOut, late)?
            }
        };
        let broke = || "The writer of the recording broke.".to_owned();
        let Closing { exchanges, lost } = done.context(Code::Internal, broke)??;
        Ok(Served { exchanges, lost, connections })
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // It fails when descriptors run out, and only time brings them back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(
    way: Arc<Way>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    conn: u64,
    stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    // It makes answers slower, and nothing else.
    drop(stream.set_nodelay(true));
    match tls {
        Some(tls) => {
            let Ok(Ok(stream)) = timeout(HEAD_WAIT, tls.accept(stream)).await else { return };
            let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            talk(way, stream, second, conn, stopped).await;
        }
        None => {
            let Ok(Some(second)) = timeout(HEAD_WAIT, speaks_second(&stream)).await else { return };
            talk(way, stream, second, conn, stopped).await;
        }
    }
}

/// Whether a client begins with HTTP/2; nothing when it goes before that is known.
async fn speaks_second(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await.ok().filter(|count| *count > 0)?;
        if first[..count] != PREFACE[..count] {
            return Some(false);
        }
        if count == PREFACE.len() {
            return Some(true);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn talk<S>(way: Arc<Way>, stream: S, second: bool, conn: u64, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let end = stopped.clone();
    let service = service_fn(move |request| {
        let (way, end) = (Arc::clone(&way), end.clone());
        async move { Ok::<_, Infallible>(answer(&way, conn, request, end).await) }
    });
    let io = TokioIo::new(stream);
    // An error of a client's connection concerns the client alone.
    if second {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(256).max_header_list_size(HEAD_BYTES_MAX as u32);
        let mut connection = pin!(builder.serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => {}
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                drop(connection.await);
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        tokio::select! {
            _ = connection.as_mut() => {}
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                drop(connection.await);
            }
        }
    }
}

/// Waits until the recording is ended.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left to wait for.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Passes one request on. A failure is an answer too.
async fn answer(
    way: &Arc<Way>,
    conn: u64,
    mut request: Request<Incoming>,
    end: watch::Receiver<bool>,
) -> Response<Download> {
    way.seen.fetch_add(1, Ordering::Relaxed);
    name_host(&mut request);
    let switch = Switch::asked(&mut request);
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().remove(EXPECT);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let method = request.method().clone();
    let watched =
        Arc::new(Watched::new(&way.shared, conn, method.as_str(), &target, request.version(), request.headers()));
    let refuse = |status: StatusCode, why: &str| {
        watched.failed(why);
        let text = format!("vice wrath record: {why}.\n");
        let mut response = Response::new(Download::text(&text, &watched, &way.upstream));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    };
    if method == Method::CONNECT {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "this is not a forward proxy");
    }
    let Ok(uri) = target.parse::<Uri>() else { return refuse(StatusCode::BAD_REQUEST, "the target makes no sense") };
    let (mut parts, body) = request.into_parts();
    (parts.uri, parts.version) = (uri, Version::HTTP_11);
    restrict_codings(&mut parts.headers);
    if let Some(host) = &way.host {
        parts.headers.insert(HOST, host.clone());
    }
    if let Some(switch) = &switch {
        switch.name(&mut parts.headers);
    }
    let request = Request::from_parts(parts, Upload::new(body, &watched).boxed_unsync());
    match timeout(ANSWER_WAIT, way.upstream.send(request)).await {
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "the server did not answer in time"),
        Ok(Err(why)) => refuse(StatusCode::BAD_GATEWAY, &format!("the server gave no answer: {why}")),
        Ok(Ok((mut response, lease))) => {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let Some(switch) = switch else {
                    return refuse(StatusCode::BAD_GATEWAY, "the server switched to another protocol unasked");
                };
                let Ok(place) = Arc::clone(&way.tunnels).try_acquire_owned() else {
                    return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections have switched protocols");
                };
                let server = hyper::upgrade::on(&mut response);
                strip_hop_by_hop(response.headers_mut());
                switch.name(response.headers_mut());
                watched.upgraded(&switch.protocol);
                tokio::spawn(tunnel(switch.client, server, end, place));
            } else {
                strip_hop_by_hop(response.headers_mut());
            }
            watched.answered(response.status().as_u16(), response.headers());
            *response.version_mut() = Version::HTTP_11;
            response.map(|body| Download::new(body, &watched, &way.upstream, lease))
        }
    }
}

/// A client's wish to go on in another protocol.
struct Switch {
    protocol: HeaderValue,
    client: hyper::upgrade::OnUpgrade,
}

impl Switch {
    /// The wish of a request, if it has one.
    fn asked(request: &mut Request<Incoming>) -> Option<Self> {
        let headers = request.headers();
        let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let wished = named.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
        let protocol = headers.get(UPGRADE).filter(|_| wished && request.version() == Version::HTTP_11)?.clone();
        // HTTP/2 is spoken to the client from the first byte or not at all.
        if protocol.as_bytes().eq_ignore_ascii_case(b"h2c") {
            return None;
        }
        Some(Self { protocol, client: hyper::upgrade::on(request) })
    }

    /// Puts the wish, or its fulfilment, into headers.
    fn name(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }
}

/// Passes bytes both ways until either side ends, or the recording does.
async fn tunnel(
    client: hyper::upgrade::OnUpgrade,
    server: hyper::upgrade::OnUpgrade,
    mut end: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let Ok((client, server)) = tokio::try_join!(client, server) else { return };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    tokio::select! {
        // How it ends concerns the two sides, who both see it.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = told(&mut end) => {}
    }
}

/// Servers of HTTP/1.1 need a `Host`; in HTTP/2 the URI has it.
fn name_host(request: &mut Request<Incoming>) {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// Takes out what concerns only the connection that it came on. As in the front end of the local target, which also
/// passes upgrades on; the crates share no HTTP, and this is all that they would share.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH)
        .collect();
    let always = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
    let others = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    for name in named.into_iter().chain(always).chain(others) {
        headers.remove(name);
    }
}

fn restrict_codings(headers: &mut HeaderMap) {
    let takes = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("gzip"));
    let gzip = headers.get_all(ACCEPT_ENCODING).iter().any(takes);
    if headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if gzip { "gzip" } else { "identity" }));
    }
}
