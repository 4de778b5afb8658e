//! The HTTP clients of all checks, built when the first check needs them.

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls_pki_types::CertificateDer;
use tokio::sync::OnceCell;
use vice_core::{Code, Context, Fault, Result};

/// Two clients: reading the machine's trusted roots takes longer than most checks, and `http:` needs none of them.
#[derive(Default)]
pub(crate) struct Clients {
    /// Roots to trust instead of the machine's.
    roots: Vec<CertificateDer<'static>>,
    plain: OnceCell<reqwest::Client>,
    secured: OnceCell<reqwest::Client>,
}

impl Clients {
    /// Clients that trust only these roots.
    pub(crate) fn trusting(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, ..Self::default() }
    }

    /// The client for a URL. Redirects are not followed, so one for `http:` never meets TLS.
    ///
    /// # Errors
    /// `Internal` when the program has not installed its TLS provider, or a given root is not a certificate.
    pub(super) async fn of(&self, url: &Url) -> Result<&reqwest::Client> {
        if url.scheme() == "https" {
            let roots = (!self.roots.is_empty()).then_some(self.roots.as_slice());
            self.secured.get_or_try_init(async || build(roots)).await
        } else {
            self.plain.get_or_try_init(async || build(Some(&[]))).await
        }
    }
}

/// Builds a client: no redirects, no proxy, no retries, no kept connections; trusting only `roots`, where given.
fn build(roots: Option<&[CertificateDer<'static>]>) -> Result<reqwest::Client> {
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
    if let Some(roots) = roots {
        let mut certificates = Vec::new();
        for root in roots {
            let certificate = reqwest::Certificate::from_der(root);
            certificates.push(certificate.context(Code::Internal, || "A trusted root can't be read.".to_owned())?);
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().context(Code::Internal, || "The HTTP client of the checks can't be built.".to_owned())
}
