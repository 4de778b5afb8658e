//! Backups in S3 and what speaks its protocol. Credentials come from the usual variables and go nowhere else.

use std::path::Path;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Fault, Result};

use super::Vault;
use crate::bucket::{Bucket as Reached, is_absent};

/// Above this size a file goes up in parts, so that memory stays flat.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest manifest that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// A bucket with a prefix.
#[derive(Debug)]
pub(crate) struct Bucket(Reached);

impl Bucket {
    pub(crate) fn new(url: &Url, env: &ProcessEnv) -> Result<Self> {
        Reached::new(url, env, "a backup", Code::Backup).map(Self)
    }

    async fn put_parts(&self, key: Key, file: &Path) -> Result<()> {
        let unreadable = || format!("{} can't be read.", file.display());
        let mut source = tokio::fs::File::open(file).await.context(Code::Io, unreadable)?;
        let store: Arc<dyn ObjectStore> = self.0.store.clone();
        let mut writer = BufWriter::with_capacity(store, key, 8 * 1024 * 1024);
        let copied = tokio::io::copy(&mut source, &mut writer).await;
        let done = match copied {
            Ok(_) => writer.shutdown().await,
            Err(error) => {
                // The parts that are there already cost money until they are given up; when that fails too, the
                // first error is the one to tell.
                writer.abort().await.ok();
                Err(error)
            }
        };
        done.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => self.0.fault(error),
            Err(error) => Fault::new(Code::Backup, format!("Copying to {} failed.", self.0.shown)).because(error),
        })
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        let payload = PutPayload::from(bytes);
        match self.0.store.put_opts(&self.0.key(name), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.0.fault(error)),
        }
    }
}

#[async_trait]
impl Vault for Bucket {
    async fn put_new_file(&self, name: &str, file: &Path) -> Result<bool> {
        let unreadable = || format!("{} can't be read.", file.display());
        let size = tokio::fs::metadata(file).await.context(Code::Io, unreadable)?.len();
        if size <= WHOLE_BYTES_MAX {
            let bytes = tokio::fs::read(file).await.context(Code::Io, unreadable)?;
            return self.create(name, bytes).await;
        }
        // An upload in parts can't be made conditional. The name holds the end of the log, so what another process may
        // put there meanwhile is the same history; what is there in the end is fetched and verified.
        let key = self.0.key(name);
        match self.0.store.head(&key).await {
            Ok(_) => return Ok(false),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(self.0.fault(error)),
        }
        self.put_parts(key, file).await.map(|()| true)
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.create(name, bytes).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.store.put(&self.0.key(name), bytes.into()).await.map(drop).map_err(|error| self.0.fault(error))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = match self.0.store.get(&self.0.key(name)).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.0.fault(error)),
        };
        if found.meta.size > BYTES_MAX {
            return Err(Fault::new(Code::Backup, format!("{name} in {} is too large to be a manifest.", self.0.shown)));
        }
        found.bytes().await.map(|bytes| Some(bytes.to_vec())).map_err(|error| self.0.fault(error))
    }

    async fn fetch(&self, name: &str, file: &Path) -> Result<bool> {
        let found = match self.0.store.get(&self.0.key(name)).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(self.0.fault(error)),
        };
        let unwritable = || format!("{} can't be written.", file.display());
        let mut target = tokio::fs::File::create_new(file).await.context(Code::Io, unwritable)?;
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| self.0.fault(error))? {
            target.write_all(&chunk).await.context(Code::Io, unwritable)?;
        }
        target.flush().await.context(Code::Io, unwritable)?;
        Ok(true)
    }
}
