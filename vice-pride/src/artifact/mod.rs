//! Finding, fetching, unpacking and keeping artifacts.
//!
//! [`resolve`] turns a [`Reference`] into a release in the [`ArtifactStore`]. Everything that arrives is taken for
//! hostile: names, links, sizes and formats are checked before anything is written, and what is written lies in a
//! folder that only this process knows until it is whole. This module never runs what it unpacks, never follows a link
//! that an artifact brought along, and never builds a command line from text.

mod cache;
mod decode;
mod fetch;
mod found;
mod git;
mod links;
mod names;
mod prune;
mod reference;
mod source;
mod staging;
mod store;
mod tarball;
mod tarwalk;
mod tree;
mod unpack;
mod zipball;
mod zipwalk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use vice_core::digest::Digest;
use vice_core::fault::{Code, Fault, Result};
use vice_core::port::command::CommandRunner;

pub use fetch::{Patience, configure};
pub use found::{newest_version, versions};
pub use prune::Pruned;
pub use reference::{Format, Reference};
pub use store::{Artifact, ArtifactStore, Content, Origin};
pub use tree::Limits;

use found::missing;
use staging::Staging;

/// What resolving needs from outside.
#[derive(Clone)]
pub struct Resolver {
    /// Where releases are kept.
    pub store: ArtifactStore,
    /// What relative paths are relative to.
    pub root: PathBuf,
    /// For `http(s)://`; made with [`configure`].
    pub http: Option<reqwest::Client>,
    /// For `git+…`.
    pub commands: Option<Arc<dyn CommandRunner>>,
    /// Variables that the user's git needs, such as `SSH_AUTH_SOCK`; no others reach it.
    pub git_env: BTreeMap<String, String>,
    /// What an artifact may take.
    pub limits: Limits,
    /// How long a download may take.
    pub patience: Patience,
}

impl Resolver {
    /// A resolver for local artifacts, with the default limits.
    #[must_use]
    pub fn new(store: ArtifactStore, root: impl Into<PathBuf>) -> Self {
        Self {
            store,
            root: root.into(),
            http: None,
            commands: None,
            git_env: BTreeMap::new(),
            limits: Limits::default(),
            patience: Patience::default(),
        }
    }
}

/// Brings what `reference` names into the store, or finds it there.
///
/// # Errors
/// [`Code::ArtifactMissing`] with what lies near, [`Code::ArtifactRejected`] with the entry that is to blame,
/// [`Code::ArtifactDigest`], [`Code::Unreachable`], [`Code::BackendMissing`] when the resolver has no client for the
/// scheme, [`Code::StateUnwritable`]. The store is as before then.
pub async fn resolve(reference: &Reference, resolver: &Resolver, now: Timestamp) -> Result<Artifact> {
    let origin = Origin { reference: reference.to_string(), archive_sha256: None, commit: None };
    match reference.clone().below(&resolver.root) {
        Reference::Path(path) => {
            local(resolver, origin, now, move || {
                Ok(if path.is_file() { Content::File(path) } else { Content::Folder(path) })
            })
            .await
        }
        Reference::Archive { path, format } => {
            local(resolver, origin, now, move || match path.is_dir() {
                true => Ok(Content::Folder(path)),
                false => Ok(Content::Archive { path, format }),
            })
            .await
        }
        Reference::Http { url, format, sha256 } => http(resolver, (&url, format, sha256), origin, now).await,
        Reference::Git { url, rev, subdir } => from_git(resolver, (&url, &rev, subdir.as_deref()), origin, now).await,
    }
}

async fn local(
    resolver: &Resolver,
    origin: Origin,
    now: Timestamp,
    content: impl FnOnce() -> Result<Content> + Send + 'static,
) -> Result<Artifact> {
    let (store, limits) = (resolver.store.clone(), resolver.limits);
    blocking(move || store.ingest(&content()?, origin, &limits, now)).await
}

async fn http(
    resolver: &Resolver,
    (url, format, pinned): (&url::Url, Format, Option<Digest>),
    mut origin: Origin,
    now: Timestamp,
) -> Result<Artifact> {
    let key = |digest: Digest| format!("sha256:{}:{digest}", format.as_str());
    if let Some(pinned) = pinned {
        origin.archive_sha256 = Some(pinned);
        if let Some(artifact) = named(resolver, key(pinned), origin.clone(), now).await? {
            return Ok(artifact);
        }
    }
    let client = resolver.http.as_ref().ok_or_else(|| no_backend("an HTTP client"))?;
    let staging = stage(resolver).await?;
    let bytes_max = resolver.limits.download_bytes;
    let fetched = fetch::fetch(client, url, pinned, &staging, bytes_max, resolver.patience).await?;
    tracing::debug!(url = %reference::shown(url), bytes = fetched.bytes, sha256 = %fetched.sha256, "downloaded");
    origin.archive_sha256 = Some(fetched.sha256);
    unpacked(resolver, staging, (fetch::FILE, format), key(fetched.sha256), origin, now).await
}

async fn from_git(
    resolver: &Resolver,
    (url, rev, subdir): (&url::Url, &str, Option<&str>),
    mut origin: Origin,
    now: Timestamp,
) -> Result<Artifact> {
    let runner = resolver.commands.as_deref().ok_or_else(|| no_backend("a runner for git"))?;
    let staging = stage(resolver).await?;
    let checkout = git::fetch(runner, &staging, url, rev, &resolver.git_env).await?;
    origin.commit = Some(checkout.commit.clone());
    let key = format!("git:{}:{}", checkout.commit, subdir.unwrap_or(""));
    if let Some(artifact) = named(resolver, key.clone(), origin.clone(), now).await? {
        return Ok(artifact);
    }
    checkout.export(subdir).await?;
    drop(checkout);
    unpacked(resolver, staging, (git::FILE, Format::Tar), key, origin, now).await
}

async fn stage(resolver: &Resolver) -> Result<Staging> {
    let store = resolver.store.clone();
    blocking(move || store.stage()).await
}

async fn named(resolver: &Resolver, key: String, origin: Origin, now: Timestamp) -> Result<Option<Artifact>> {
    let store = resolver.store.clone();
    blocking(move || store.named(&key, &origin, now)).await
}

async fn unpacked(
    resolver: &Resolver,
    staging: Staging,
    (file, format): (&'static str, Format),
    key: String,
    origin: Origin,
    now: Timestamp,
) -> Result<Artifact> {
    let (store, limits) = (resolver.store.clone(), resolver.limits);
    blocking(move || {
        let path = staging.beside(file);
        store.ingest_named(&staging, (&path, format), &key, origin, &limits, now)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(Fault::internal("The work on an artifact was cut short.").because(error)))
}

fn no_backend(what: &str) -> Fault {
    Fault::new(Code::BackendMissing, format!("This artifact needs {what}, which is not available here."))
}
