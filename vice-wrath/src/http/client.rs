//! The HTTP clients of checks, probes and scenarios, made as they are needed: reading the machine's trusted roots takes
//! longer than most requests, and `http:` needs none of them.
//!
//! What all have in common: no redirects, no proxy, no retries. Whoever asks follows redirects and retries by rules of
//! their own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use vice_core::{Code, Context, Fault, Result};

use crate::scenario::Protocol;

/// So many clients a run may need; one for each combination of settings.
const CLIENTS_MAX: usize = 64;

/// How long an idle connection is kept: shorter than servers usually keep theirs, so that it is rarely one that is
/// just being closed.
const IDLE: Duration = Duration::from_secs(2);

/// What tells clients apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Settings {
    /// Whether it is for `https:`.
    pub(crate) secured: bool,
    /// The version that is spoken.
    pub(crate) protocol: Protocol,
    /// Whether the certificate must be trusted.
    pub(crate) verify: bool,
    /// Roots (PEM) to trust instead of those of all clients.
    pub(crate) ca: Option<Vec<u8>>,
    /// Whether connections are kept for a next request.
    pub(crate) keep: bool,
}

impl Settings {
    /// Those of a check: a connection for each request, so that one that the server has just closed never looks like a
    /// failure.
    pub(super) const fn of_check(secured: bool) -> Self {
        Self { secured, protocol: Protocol::Any, verify: true, ca: None, keep: false }
    }
}

/// The clients of a run.
#[derive(Default)]
pub(crate) struct Clients {
    /// Roots (DER) to trust instead of the machine's.
    roots: Vec<CertificateDer<'static>>,
    made: Mutex<BTreeMap<Settings, reqwest::Client>>,
}

impl Clients {
    /// Clients that trust only these roots.
    pub(crate) fn trusting(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, ..Self::default() }
    }

    /// The client with these settings.
    ///
    /// # Errors
    /// `Internal` when the program has not installed its TLS provider; `Usage` for roots that are none, and for more
    /// settings than make sense.
    pub(crate) fn of(&self, settings: Settings) -> Result<reqwest::Client> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&settings) {
            return Ok(client.clone());
        }
        if made.len() >= CLIENTS_MAX {
            return Err(Fault::new(Code::Usage, format!("The run needs more than {CLIENTS_MAX} HTTP clients."))
                .hint("Use fewer different roots (`ca`) in one run."));
        }
        let client = self.build(&settings)?;
        made.insert(settings, client.clone());
        Ok(client)
    }

    fn build(&self, settings: &Settings) -> Result<reqwest::Client> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Fault::internal("No TLS provider is installed, so no HTTP request can be made."));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .tls_info(true)
            .pool_idle_timeout(IDLE)
            // Bodies are unpacked when they are whole: see `coding`.
            .gzip(false);
        if !settings.keep {
            builder = builder.pool_max_idle_per_host(0);
        }
        builder = match settings.protocol {
            Protocol::Any => builder,
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_prior_knowledge(),
        };
        if !settings.secured {
            builder = builder.tls_certs_only([]);
        } else if !settings.verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        } else if let Some(roots) = self.roots_of(settings)? {
            builder = builder.tls_certs_only(roots);
        }
        builder.build().context(Code::Internal, || "The HTTP client can't be built.".to_owned())
    }

    /// The roots of a client that trusts others than the machine does.
    fn roots_of(&self, settings: &Settings) -> Result<Option<Vec<reqwest::Certificate>>> {
        let own = match &settings.ca {
            Some(pem) => crate::step::certificates(pem).map_err(|why| Fault::new(Code::Usage, format!("{why}.")))?,
            None if self.roots.is_empty() => return Ok(None),
            None => self.roots.clone(),
        };
        let all = own.iter().map(|root| reqwest::Certificate::from_der(root));
        let all: reqwest::Result<Vec<_>> = all.collect();
        all.map(Some).context(Code::Usage, || "A trusted root can't be read.".to_owned())
    }
}
