//! One attempt of one step: it does what the step says, within a time, and gives the facts. Whether they are right is
//! for [`crate::play`] to say. Each kind of step has a file.

mod body;
mod command;
pub(crate) mod cookies;
pub(crate) mod dns;
mod hello;
pub(crate) mod http;
mod postgres;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use vice_core::Millis;
use vice_core::port::command::{CommandRunner, EnvValue};
use vice_core::time::Clock;

use crate::query::facts::Facts;
use crate::scenario::{Action, Spot, Step};
use crate::values::Values;
use cookies::Jar;

/// What all steps share. Cheap to clone; it lives as long as the run.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runner: Arc<dyn CommandRunner>,
    pub(crate) clients: Arc<crate::http::Clients>,
    /// Where commands start.
    pub(crate) dir: PathBuf,
    /// What commands find in their environment beside captures.
    pub(crate) env: Arc<BTreeMap<String, EnvValue>>,
}

/// One attempt that is to be made.
pub(crate) struct Try<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) step: &'a Step,
    pub(crate) values: &'a Values,
    pub(crate) jar: Option<&'a Jar>,
    /// The time that is named in messages.
    pub(crate) timeout: Millis,
    pub(crate) until: Instant,
}

/// How far an attempt came: the facts, and why it went no further.
pub(crate) struct Tried {
    pub(crate) facts: Facts,
    pub(crate) error: Option<String>,
    /// Whether time ran out; whoever gave the time says so.
    pub(crate) late: bool,
}

impl Tried {
    pub(crate) fn failed(facts: Facts, why: impl Into<String>) -> Self {
        Self { facts, error: Some(why.into()), late: false }
    }
}

impl Try<'_> {
    /// Makes the attempt.
    pub(crate) async fn run(&self) -> Tried {
        let facts = Facts::at(self.bench.clock.now());
        let began = Instant::now();
        // Each kind on the heap by itself: kept in place, every step under way would take what the largest of them needs.
        let mut tried = match &self.step.action {
            Action::Http(request) => Box::pin(http::attempt(self, request, facts)).await,
            Action::Tcp { address, send } => Box::pin(tcp::attempt(self, address, send.as_deref(), facts)).await,
            Action::Tls { address, server_name, verify, ca } => {
                let asked =
                    tls::Asked { address, server_name: server_name.as_deref(), verify: *verify, ca: ca.as_deref() };
                Box::pin(tls::attempt(self, asked, facts)).await
            }
            Action::Dns { name, kind, server } => {
                Box::pin(dns::attempt(self, name, kind, server.as_deref(), facts)).await
            }
            Action::Postgres { url, query } => Box::pin(postgres::attempt(self, url, query.as_deref(), facts)).await,
            Action::Command { argv, stdin } => Box::pin(command::attempt(self, argv, stdin.as_deref(), facts)).await,
        };
        if tried.facts.timing.total.is_zero() {
            tried.facts.timing.total = began.elapsed();
        }
        tried
    }

    /// A template with its values.
    ///
    /// # Errors
    /// Text that names what is missing.
    pub(crate) fn text(&self, template: &str) -> Result<String, String> {
        self.values.text(template).map_err(|fault| fault.to_string())
    }

    /// A file beside the scenario.
    ///
    /// # Errors
    /// Text that says why it can't be read.
    pub(crate) fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        read_beside(&self.step.spot, &self.text(name)?)
    }
}

/// The largest file that a step sends or trusts, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn read_beside(spot: &Spot, name: &str) -> Result<Vec<u8>, String> {
    let (path, shown) = crate::scenario::library::beside(&spot.source, name)?;
    let size = std::fs::metadata(&path).map_err(|error| format!("the file {shown} can't be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("the file {shown} has more than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(&path).map_err(|error| format!("the file {shown} can't be read: {error}"))
}

/// Certificates of a PEM file.
///
/// # Errors
/// Text that says that there is none.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    use rustls_pki_types::pem::PemObject as _;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("the file of roots holds no certificate in PEM".to_owned()),
    }
}
