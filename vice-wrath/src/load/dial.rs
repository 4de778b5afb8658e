//! Connections to the server: where it is, and TLS where its URL says so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;
use vice_core::{Code, Context as _, Fault, Result};

use super::Protocol;
use super::tally::Failure;

/// How TLS is spoken.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// TLS to `host` that trusts the machine's roots, or only `roots` where there are some.
    ///
    /// # Errors
    /// `Usage` for a host that is no name, `Io` when the machine has no roots, `Internal` without a TLS provider.
    pub(crate) fn new(host: &str, roots: &[CertificateDer<'static>], protocol: Protocol) -> Result<Self> {
        let mut store = RootCertStore::empty();
        if roots.is_empty() {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            store.add_parsable_certificates(roots.iter().cloned());
        }
        if store.is_empty() {
            return Err(Fault::new(Code::Io, "There is no certificate authority to trust.")
                .hint("Install ca-certificates, or name a PEM file with --ca."));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Fault::internal("No TLS provider is installed."));
        }
        let mut config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).context(Code::Usage, || "The URL's host is not a name.".to_owned())?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

/// Where to connect.
pub(crate) struct Dial {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
    tls: Option<Tls>,
}

impl Dial {
    /// Looks the host of a URL up, once.
    ///
    /// # Errors
    /// `Unreachable` when the host has no address.
    pub(crate) async fn new(url: &Url, tls: Option<Tls>) -> Result<Self> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = lookup_host((bare, port)).await;
        let found = found.context(Code::Unreachable, || format!("The host {host} has no address."))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(Fault::new(Code::Unreachable, format!("The host {host} has no address.")));
        }
        Ok(Self { addresses, next: AtomicUsize::new(0), tls })
    }

    /// A new connection; the addresses take turns.
    pub(crate) async fn connect(&self) -> Result<Stream, Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
        let stream = TcpStream::connect(self.addresses[turn]).await.map_err(|_| Failure::Connect)?;
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                let secured = tls.connector.connect(tls.name.clone(), stream).await;
                secured.map(|stream| Stream::Tls(Box::new(stream))).map_err(|_| Failure::Connect)
            }
        }
    }
}

/// A connection with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether the other side has closed it, as far as is known without waiting.
    pub(super) fn is_closed(&self) -> bool {
        let tcp = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // Data that nobody asked for is as bad as an end.
        tcp.poll_peek(&mut Context::from_waker(std::task::Waker::noop()), &mut buffer).is_ready()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
