//! A history in a bucket: one object a batch, named by its first record as segments of JSON lines are, so that a copy of
//! the prefix is a folder that `vice` reads. Of several writers the one wins whose object is made first
//! (`If-None-Match: *`).
//!
//! Not every server that speaks S3 keeps two writers apart: one that writes over what is there, or lets two through that
//! come at once, is found before the first append and refused.

mod probe;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::capability::BackendInfo;
use vice_core::fault::causes;
use vice_core::{Code, Digest, Fault, Result};

use crate::bucket::{self, Bucket, is_absent};
use crate::jsonl::log::segment_name;
use crate::place::Opening;
use crate::shared::SharedStore;
use crate::shared::batch::READ_BYTES_MAX;
use crate::shared::medium::{Kept, Known, Medium, Page, Pushed};

/// The folder of the batches below the prefix.
const FOLDER: &str = "history";

/// So many batches are listed and fetched at once.
const PAGE: usize = 200;
const FETCHES: usize = 8;

const WHAT: &str = "a history";

/// The URL of a history in a bucket.
///
/// # Errors
/// `Usage`.
pub(crate) fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| {
        Fault::new(Code::Usage, "The URL of the history in a bucket is none.")
            .because(error)
            .hint("Write s3://bucket/prefix.")
    })?;
    bucket::parts(&url, WHAT)?;
    Ok(url)
}

/// The store of a URL.
///
/// # Errors
/// `Usage` without credentials.
pub(crate) fn open(url: &Url, opening: &Opening) -> Result<SharedStore> {
    // The same URL at another endpoint is another bucket.
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| opening.env.get(name));
    let name = Digest::of(format!("{url}\n{}", endpoint.unwrap_or_default()).as_bytes()).short();
    let folder = opening.state.join("shared").join(format!("s3-{name}"));
    let medium = S3Medium::new(url, &opening.env, &folder)?;
    let info = BackendInfo { kind: "s3", location: medium.bucket.shown.clone(), shared: true };
    Ok(SharedStore::new(info, Box::new(medium), folder, Arc::clone(&opening.notices)))
}

/// A prefix of a bucket.
struct S3Medium {
    bucket: Arc<Bucket>,
    folder: PathBuf,
    /// Whether it was seen that the batch known as the last one is there, and everything behind it.
    caught_up: bool,
    proven: bool,
}

impl S3Medium {
    fn new(url: &Url, env: &ProcessEnv, folder: &Path) -> Result<Self> {
        let bucket = Arc::new(Bucket::new(url, env, WHAT, Code::Backend)?);
        Ok(Self { bucket, folder: folder.to_owned(), caught_up: false, proven: false })
    }

    /// What comes behind, by listing: one request for many.
    async fn list(&mut self, known: &Known) -> Result<Page> {
        let last = record_of(&known.tip);
        // The listing begins behind the name it is given, and is to begin with the one that is known.
        let behind = last.map_or_else(|| "0".to_owned(), |record| segment_name(record - 1));
        let (folder, offset) = (self.bucket.key(FOLDER), self.bucket.key(&format!("{FOLDER}/{behind}")));
        let listed = self.bucket.store.list_with_offset(Some(&folder), &offset);
        let found: Vec<_> = listed.take(PAGE + 1).try_collect().await.map_err(|error| self.bucket.fault(error))?;
        let mut names: Vec<String> =
            found.iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect();
        names.sort();
        if last.is_some() {
            if names.first() != Some(&known.tip) {
                return Err(Fault::new(
                    Code::HistoryDamaged,
                    format!("The object {} is not there any more.", known.tip),
                ));
            }
            names.remove(0);
        }
        let more = found.len() > PAGE;
        let fetched = futures::stream::iter(names).map(|name| fetch(Arc::clone(&self.bucket), name)).buffered(FETCHES);
        let batches: Vec<Option<Kept>> = fetched.try_collect().await?;
        self.caught_up = !more;
        Ok(Page { batches: batches.into_iter().flatten().collect(), more })
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        put_new(&self.bucket, name, bytes.to_vec()).await
    }
}

/// After an error of the server nobody can tell whether the object was made.
fn uncertain(fault: Fault) -> Fault {
    if fault.code() != Code::Backend {
        return fault;
    }
    fault.hints().iter().fold(Fault::new(Code::Unreachable, fault.chain().join(" ")), Fault::hint)
}

/// The number of the first record in the name of a batch.
fn record_of(name: &str) -> Option<u64> {
    name.strip_suffix(".jsonl")?.parse().ok().filter(|record| *record > 0)
}

/// An object as a batch; none when it is not there.
async fn fetch(bucket: Arc<Bucket>, name: String) -> Result<Option<Kept>> {
    let found = match bucket.store.get(&bucket.key(&format!("{FOLDER}/{name}"))).await {
        Ok(found) => found,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(bucket.fault(error)),
    };
    if found.meta.size > READ_BYTES_MAX {
        return Err(Fault::new(Code::HistoryDamaged, format!("The object {name} is too large to be a batch.")));
    }
    let bytes = found.bytes().await.map_err(|error| bucket.fault(error))?;
    Ok(Some(Kept { tip: name, bytes: bytes.to_vec() }))
}

/// Makes an object; false when it is there already.
async fn put_new(bucket: &Bucket, name: &str, bytes: Vec<u8>) -> Result<bool> {
    let done = bucket.store.put_opts(&bucket.key(name), PutPayload::from(bytes), PutMode::Create.into()).await;
    match done {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
        // Amazon's answer to one of two that come at the same moment.
        Err(error) if causes(&error).contains("ConditionalRequestConflict") => Ok(false),
        Err(error) if causes(&error).contains("501 Not Implemented") => {
            Err(probe::unfit(bucket, "it knows no conditional put"))
        }
        Err(error) => Err(bucket.fault(error)),
    }
}

#[async_trait]
impl Medium for S3Medium {
    async fn pull(&mut self, known: &Known) -> Result<Page> {
        if !self.caught_up || known.tip.is_empty() {
            return self.list(known).await;
        }
        let next = fetch(Arc::clone(&self.bucket), segment_name(known.records + 1)).await?;
        let more = next.is_some();
        Ok(Page { batches: next.into_iter().collect(), more })
    }

    async fn push(&mut self, known: &Known, bytes: &[u8], _: &str) -> Result<Pushed> {
        if !self.proven {
            probe::once(&self.bucket, &self.folder).await?;
            self.proven = true;
        }
        let name = segment_name(known.records + 1);
        let first = self.create(&format!("{FOLDER}/{name}"), bytes).await.map_err(uncertain)?;
        Ok(if first { Pushed::Done(name) } else { Pushed::Lost })
    }

    async fn beat(&mut self, scope: &str, mark: &str) -> Result<()> {
        let key = self.bucket.key(&beat_name(scope));
        let payload = PutPayload::from(mark.as_bytes().to_vec());
        self.bucket.store.put(&key, payload).await.map(drop).map_err(|error| self.bucket.fault(error))
    }

    async fn pulse(&mut self, scope: &str) -> Result<Option<String>> {
        let found = match self.bucket.store.get(&self.bucket.key(&beat_name(scope))).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.bucket.fault(error)),
        };
        if found.meta.size > 4096 {
            return Err(Fault::new(Code::Backend, format!("The sign of life for {scope} is none.")));
        }
        let bytes = found.bytes().await.map_err(|error| self.bucket.fault(error))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn elsewhere(&self, folder: &Path) -> Box<dyn Medium> {
        Box::new(Self {
            bucket: Arc::clone(&self.bucket),
            folder: folder.to_owned(),
            caught_up: false,
            proven: self.proven,
        })
    }
}

fn beat_name(scope: &str) -> String {
    format!("alive/{}", Digest::of(scope.as_bytes()).short())
}
