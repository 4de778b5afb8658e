//! Steps over TLS: a handshake, what the server shows in it, whether it is trusted, and which versions it takes.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ProtocolVersion, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::{Tried, Try, certificates, hello};
use crate::http::explain::io_cause;
use crate::query::Query;
use crate::query::facts::Facts;
use crate::tcp::parse_address;
use crate::tls::{certificate_facts, looking};

/// What a step asks for.
pub(super) struct Asked<'a> {
    pub(super) address: &'a str,
    pub(super) server_name: Option<&'a str>,
    pub(super) verify: bool,
    pub(super) ca: Option<&'a str>,
}

pub(super) async fn attempt(attempt: &Try<'_>, asked: Asked<'_>, mut facts: Facts) -> Tried {
    match timeout_at(attempt.until, look(attempt, &asked, &mut facts)).await {
        Err(_) => Tried::failed(facts, format!("no TLS handshake within {}", attempt.timeout)),
        Ok(Err(why)) => Tried::failed(facts, why),
        Ok(Ok(())) => Tried { facts, error: None, late: false },
    }
}

async fn look(attempt: &Try<'_>, asked: &Asked<'_>, facts: &mut Facts) -> Result<(), String> {
    let address = attempt.text(asked.address)?;
    let (host, port) = parse_address(&address).map_err(|why| format!("the step {why}"))?;
    let name = match asked.server_name {
        Some(name) => attempt.text(name)?,
        None => host.to_owned(),
    };
    let server = ServerName::try_from(name.clone()).map_err(|_| format!("TLS: {name:?} does not name a server"))?;
    let began = Instant::now();
    let stream =
        TcpStream::connect((host, port)).await.map_err(|error| format!("can't connect: {}", io_cause(&error)))?;
    facts.timing.first = Some(began.elapsed());
    facts.ip = stream.peer_addr().ok().map(|address| address.ip().to_string());
    let (config, recorder) = looking().map_err(|error| format!("TLS: {error}"))?;
    let mut config = config;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let shaken = TlsConnector::from(Arc::new(config)).connect(server.clone(), stream).await;
    let chain = recorder.chain();
    if let Some(leaf) = chain.first() {
        facts.certificate = Some(certificate_facts(leaf, Some(chain.len()))?);
    }
    let stream = shaken.map_err(|error| format!("TLS: {}", io_cause(&error)))?;
    let (_, connection) = stream.get_ref();
    facts.tls = vec![
        ("version", json!(connection.protocol_version().map_or("", version))),
        (
            "cipher",
            json!(connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default()),
        ),
        (
            "alpn",
            json!(
                connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
            ),
        ),
    ];
    facts.timing.total = began.elapsed();
    drop(stream);
    if asks_accepts(attempt) {
        facts.tls.push(("accepts", accepts(host, port, &name).await));
    }
    if asked.verify { trust(attempt, asked, &chain, &server, facts) } else { Ok(()) }
}

fn asks_accepts(attempt: &Try<'_>) -> bool {
    let asks = |query: &Query| matches!(query, Query::Tls(field) if field == "accepts");
    attempt.step.expect.iter().any(|assertion| asks(&assertion.query))
        || attempt.step.captures.iter().any(|capture| asks(&capture.query))
}

const fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "1.3",
        ProtocolVersion::TLSv1_2 => "1.2",
        ProtocolVersion::TLSv1_1 => "1.1",
        ProtocolVersion::TLSv1_0 => "1.0",
        _ => "other",
    }
}

/// The versions that the server takes, each asked for alone.
async fn accepts(host: &str, port: u16, name: &str) -> Value {
    let mut taken = Vec::new();
    for version in hello::VERSIONS {
        if hello::accepted(host, port, name, version).await {
            taken.push(json!(version.0));
        }
    }
    Value::Array(taken)
}

/// Whether the chain leads to a trusted root and names the server.
fn trust(
    attempt: &Try<'_>,
    asked: &Asked<'_>,
    chain: &[CertificateDer<'static>],
    server: &ServerName<'_>,
    facts: &Facts,
) -> Result<(), String> {
    let roots = match asked.ca {
        Some(name) => certificates(&attempt.file(name)?)?,
        None => Vec::new(),
    };
    let (leaf, rest) = chain.split_first().ok_or("TLS: the server showed no certificate")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store(&roots)), provider)
        .build()
        .map_err(|error| format!("TLS: there are no roots to trust ({error})"))?;
    let seconds = u64::try_from(facts.now.as_second()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let verified = verifier.verify_server_cert(leaf, rest, server, &[], now);
    verified.map(drop).map_err(|error| format!("TLS: {error}"))
}

fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    if roots.is_empty() {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        store.add_parsable_certificates(roots.iter().cloned());
    }
    store
}

/// A client that verifies, for protocols that bring their own handshake.
///
/// # Errors
/// Text that says why TLS can't be set up.
#[cfg(feature = "postgres")]
pub(super) fn client_config(needed: bool) -> Result<rustls::ClientConfig, String> {
    let store = if needed { store(&[]) } else { RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}
