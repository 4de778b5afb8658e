//! When a server's certificate expires. Whether it is trusted is found out by the request itself; this handshake
//! only looks, so it accepts everything and sends nothing.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vice_core::Millis;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::http::explain::io_cause;

/// Looks at certificates.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
}

/// How long a certificate is still valid.
pub(crate) struct Expiry {
    not_after: Timestamp,
    now: Timestamp,
}

impl Expiry {
    /// The message when less than `least` is left.
    pub(crate) fn failure(&self, least: Millis) -> Option<String> {
        let left = Millis::between(self.now, self.not_after);
        if self.not_after < self.now {
            let gone = Millis::between(self.not_after, self.now);
            let when = self.not_after;
            return Some(format!("certificate: expected {least} left, but it expired {gone} ago, at {when}"));
        }
        (left < least)
            .then(|| format!("certificate: expected {least} left, got {left}: it expires at {}", self.not_after))
    }
}

impl Tls {
    pub(crate) fn new() -> Self {
        Self { provider: Arc::new(rustls::crypto::ring::default_provider()) }
    }

    /// When the certificate that a server shows expires.
    ///
    /// # Errors
    /// Text that says why it can't be looked at.
    pub(crate) async fn expiry(&self, url: &Url, now: Timestamp) -> Result<Expiry, String> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(443);
        let name =
            ServerName::try_from(bare.to_owned()).map_err(|_| "TLS: the URL does not name a server".to_owned())?;
        let recorder = Arc::new(Recorder { provider: Arc::clone(&self.provider), leaf: Mutex::new(None) });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let stream =
            TcpStream::connect((bare, port)).await.map_err(|error| format!("can't connect: {}", io_cause(&error)))?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let leaf = recorder.leaf.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (leaf, shaken) {
            (Some(leaf), _) => not_after(&leaf).map(|not_after| Expiry { not_after, now }),
            (None, Err(error)) => Err(format!("TLS: {}", io_cause(&error))),
            (None, Ok(_)) => Err("TLS: the server showed no certificate".to_owned()),
        }
    }
}

fn not_after(leaf: &[u8]) -> Result<Timestamp, String> {
    let unreadable = |_| "TLS: the server's certificate can't be read".to_owned();
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(unreadable)?;
    let seconds = certificate.validity().not_after.timestamp();
    // A certificate without a real end names the year 9999, which is about where time ends here.
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// Remembers the certificate and lets everything pass.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    leaf: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
