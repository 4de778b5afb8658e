//! Copies of the history somewhere else, each verified by bringing it back before it counts.
//!
//! Under the given place lie `<seq>-<chain>/history.db`, `<seq>-<chain>/manifest.json` and `latest.json`. The first two
//! never change once they are written; `latest.json` names the newest copy that was verified. Incremental backups lie in
//! `segments/` beside them.

mod epochs;
mod files;
mod locks;
mod manifest;
mod moment;
mod restore;
#[cfg(feature = "s3")]
mod s3;
pub(crate) mod seal;
pub(crate) mod segment;
mod take;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

pub(crate) use locks::Locks;
pub(crate) use moment::Until;
pub(crate) use restore::{Restored, restore};
pub(crate) use take::{measured, take};

/// A place that keeps backups: names are relative, with `/` between the parts.
#[async_trait]
pub(crate) trait Vault: Send + Sync {
    /// Stores a file under a name that is free; false when something is there already.
    async fn put_new_file(&self, name: &str, file: &Path) -> Result<bool>;

    /// Stores bytes under a name that is free; false when something is there already.
    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool>;

    /// Stores bytes under a name, whatever is there.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()>;

    /// The bytes under a name, at most a mebibyte; `None` when there is nothing.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Copies what is under a name to a new file; false when there is nothing.
    async fn fetch(&self, name: &str, file: &Path) -> Result<bool>;
}

/// The place that a URL names.
///
/// # Errors
/// `Usage` for a URL that names none, `BackendMissing` for a kind that this build does not have.
pub(crate) fn vault(url: &str, env: &ProcessEnv) -> Result<Arc<dyn Vault>> {
    const FORMS: &str = "Write file:///folder or s3://bucket/prefix.";
    let parsed = Url::parse(url)
        .map_err(|error| Fault::new(Code::Usage, "The place of the backup is not a URL.").because(error).hint(FORMS))?;
    match parsed.scheme() {
        "file" => {
            let folder = parsed.to_file_path().map_err(|()| {
                Fault::new(Code::Usage, "A file URL of a backup names an absolute path and no host.").hint(FORMS)
            })?;
            Ok(Arc::new(files::Folder::new(folder)))
        }
        #[cfg(feature = "s3")]
        "s3" => Ok(Arc::new(s3::Bucket::new(&parsed, env)?)),
        #[cfg(not(feature = "s3"))]
        "s3" => {
            let _ = env;
            Err(Fault::new(Code::BackendMissing, "This build of vice has no S3.").hint("Build it with the feature s3."))
        }
        other => {
            let scheme: String = other.chars().take(40).collect();
            Err(Fault::new(Code::Usage, format!("Backups can't go to {scheme:?} URLs.")).hint(FORMS))
        }
    }
}
