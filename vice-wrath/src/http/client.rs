//! The one HTTP client of all checks.

use reqwest::redirect::Policy;
use rustls_pki_types::CertificateDer;
use vice_core::{Code, Context, Fault, Result};

/// Builds the client: no redirects, no proxy, no retries, no kept connections.
///
/// # Errors
/// `Internal` when the program has not installed its TLS provider, or a given root is not a certificate.
pub(crate) fn build(roots: &[CertificateDer<'static>]) -> Result<reqwest::Client> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Fault::internal("No TLS provider is installed, so no HTTP check can run."));
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .pool_max_idle_per_host(0);
    if !roots.is_empty() {
        let mut certificates = Vec::new();
        for root in roots {
            let certificate = reqwest::Certificate::from_der(root);
            certificates.push(certificate.context(Code::Internal, || "A trusted root can't be read.".to_owned())?);
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().context(Code::Internal, || "The HTTP client of the checks can't be built.".to_owned())
}
