//! TLS for what brings no client of its own: whose certificates are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vice_core::{Code, Context as _, Fault, Result};

/// A configuration that believes the authorities in a file, or those of this machine. `named_by` is what named the file.
///
/// # Errors
/// `Io`, `Usage` for a file without a certificate.
pub(crate) fn config(file: Option<&Path>, named_by: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => add_file(&mut roots, file, named_by)?,
        None => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
        }
    }
    with_roots(roots)
}

/// A configuration that believes these authorities.
pub(crate) fn with_roots(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context(Code::Internal, || "TLS can't be set up.".to_owned())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, file: &Path, named_by: &str) -> Result<()> {
    let unreadable = || format!("The certificates in {} can't be read.", file.display());
    let found = CertificateDer::pem_file_iter(file).context(Code::Io, unreadable)?;
    let certificates: Vec<_> = found.collect::<Result<_, _>>().context(Code::Io, unreadable)?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added > 0 {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("{} holds no certificate.", file.display()))
        .hint(format!("{named_by} names a file in PEM with the authority that signed the server's certificate.")))
}
