//! TLS: trust, names and expiry, against servers with certificates made for the test.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::SignedDuration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vice_core::payload::verification::CheckOutcome::{Errored, Failed, Passed};
use vice_core::payload::verification::CheckResult;
use vice_core::port::verifier::Verifier;
use vice_core::time::{Clock, SystemClock};

use crate::support::{provider, request, wrath};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The root as a file.
    pub(crate) fn pem(&self) -> String {
        use base64::Engine as _;
        let code = base64::engine::general_purpose::STANDARD.encode(self.root());
        let lines: Vec<&str> = code.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// A server with a certificate for `name` that expires in so many hours.
    pub(crate) async fn server(&self, name: &str, hours: i64) -> SocketAddr {
        provider();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let ((y, m, d), (year, month, day)) = (date(-24 * 400), date(hours));
        params.not_before = date_time_ymd(y, m, d);
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0_u8; 4096];
                if matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await);
                    drop(stream.shutdown().await);
                }
            }
        });
        address
    }

    async fn check(&self, address: SocketAddr, host: &str, more: &str) -> CheckResult {
        let url = format!("https://{host}:{}", address.port());
        let wrath = wrath(Arc::default()).with_roots(vec![self.root()]);
        let mut suite =
            wrath.verify(request(&format!("[check.a]\nhttp = \"{{{{env.url}}}}\"\n{more}"), &url)).await.unwrap();
        suite.checks.remove(0)
    }
}

/// The day in so many hours.
fn date(hours: i64) -> (i32, u8, u8) {
    let at = SystemClock.now() + SignedDuration::from_hours(hours);
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    (i32::from(date.year()), u8::try_from(date.month()).unwrap(), u8::try_from(date.day()).unwrap())
}

#[tokio::test]
async fn a_good_certificate_passes_and_lasts_long_enough() {
    let authority = Authority::new();
    let address = authority.server("localhost", 24 * 90).await;
    let result = authority.check(address, "localhost", "tls_expiry_min = \"30d\"\nmatches = \"ok\"").await;
    assert_eq!((result.outcome, result.messages), (Passed, vec![]));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_fails_with_the_time_left() {
    let authority = Authority::new();
    let address = authority.server("localhost", 24 * 10).await;
    let result = authority.check(address, "localhost", "tls_expiry_min = \"30d\"").await;
    assert_eq!(result.outcome, Failed);
    assert_eq!(result.messages.len(), 1);
    assert!(result.messages[0].starts_with("certificate: expected 30d 0h left, got 9d "), "{result:?}");
    let without = authority.check(address, "localhost", "").await;
    assert_eq!(without.outcome, Passed);
}

#[tokio::test]
async fn an_expired_certificate_can_not_be_used() {
    let authority = Authority::new();
    let address = authority.server("localhost", -24 * 3).await;
    let without = authority.check(address, "localhost", "").await;
    assert_eq!(without.outcome, Errored);
    assert!(without.messages[0].starts_with("TLS: ") && without.messages[0].contains("expired"), "{without:?}");
    let asserted = authority.check(address, "localhost", "tls_expiry_min = \"1d\"").await;
    assert_eq!(asserted.outcome, Failed);
    assert!(asserted.messages[0].contains("but it expired 3d "), "{asserted:?}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_trusted() {
    let authority = Authority::new();
    let address = authority.server("elsewhere.example", 24 * 90).await;
    let result = authority.check(address, "localhost", "tls_expiry_min = \"1d\"").await;
    assert_eq!(result.outcome, Errored);
    assert!(result.messages[0].starts_with("TLS: ") && result.messages[0].contains("not valid for name"), "{result:?}");
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let address = Authority::new().server("localhost", 24 * 90).await;
    let result = Authority::new().check(address, "localhost", "").await;
    assert_eq!(result.outcome, Errored);
    assert!(result.messages[0].starts_with("TLS: "), "{result:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_or_hangs_is_an_error() {
    let authority = Authority::new();
    let plain = crate::server::Server::raw("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let silent = crate::server::Server::start(|_, mut conn| async move { conn.until_gone().await }).await;
    for more in ["", "tls_expiry_min = \"1d\"\n"] {
        for server in [&plain, &silent] {
            let result = authority.check(server.address, "localhost", &format!("timeout = \"300ms\"\n{more}")).await;
            assert_eq!(result.outcome, Errored, "{result:?}");
        }
    }
}

#[tokio::test]
async fn without_other_roots_the_machine_decides_and_does_not_trust_a_stranger() {
    let address = Authority::new().server("localhost", 24 * 90).await;
    let url = format!("https://localhost:{}", address.port());
    let suite = wrath(Arc::default()).verify(request("[check.a]\nhttp = \"{{env.url}}\"\n", &url)).await.unwrap();
    assert_eq!(suite.checks[0].outcome, Errored, "{suite:?}");
}
