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
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::http::explain::io_cause;
use crate::query::facts::CertificateFacts;

/// So many certificates of a chain are remembered.
const CHAIN_MAX: usize = 16;

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
        let (config, recorder) = recording(&self.provider).map_err(|error| format!("TLS: {error}"))?;
        let stream =
            TcpStream::connect((bare, port)).await.map_err(|error| format!("can't connect: {}", io_cause(&error)))?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let leaf = recorder.chain().into_iter().next();
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

/// A client that accepts everything, and what remembers the certificates that it was shown.
///
/// # Errors
/// As rustls, when its provider lacks a version.
pub(crate) fn looking() -> Result<(ClientConfig, Arc<Recorder>), rustls::Error> {
    recording(&Arc::new(rustls::crypto::ring::default_provider()))
}

fn recording(provider: &Arc<CryptoProvider>) -> Result<(ClientConfig, Arc<Recorder>), rustls::Error> {
    let recorder = Arc::new(Recorder { provider: Arc::clone(provider), chain: Mutex::default() });
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    Ok((config, recorder))
}

/// What a certificate says.
///
/// # Errors
/// Text that says that it can't be read.
pub(crate) fn certificate_facts(der: &[u8], chain: Option<usize>) -> Result<CertificateFacts, String> {
    let unreadable = |_| "TLS: the server's certificate can't be read".to_owned();
    let (_, certificate) = X509Certificate::from_der(der).map_err(unreadable)?;
    let time = |seconds: i64, end: Timestamp| Timestamp::from_second(seconds).unwrap_or(end);
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    });
    Ok(CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: names.collect(),
        not_before: time(certificate.validity().not_before.timestamp(), Timestamp::MIN),
        not_after: time(certificate.validity().not_after.timestamp(), Timestamp::MAX),
        serial: certificate.raw_serial_as_string(),
        chain,
    })
}

/// Remembers the certificates and lets everything pass.
#[derive(Debug)]
pub(crate) struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Recorder {
    /// What the server showed, its own certificate first.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = [leaf].into_iter().chain(intermediates).take(CHAIN_MAX);
        let shown = shown.map(|certificate| certificate.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown;
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
