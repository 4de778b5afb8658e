//! Backups in S3 and what speaks its protocol. Credentials come from the usual variables and go nowhere else.

use std::path::Path;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use url::Url;
use vice_core::app::{ProcessEnv, S3Access};
use vice_core::fault::causes;
use vice_core::{Code, Context, Fault, Result};

use super::Vault;

/// Above this size a file goes up in parts, so that memory stays flat.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest manifest that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// A bucket with a prefix.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Key,
    shown: String,
}

impl Bucket {
    pub(crate) fn new(url: &Url, env: &ProcessEnv) -> Result<Self> {
        let usage = |message: &str| Fault::new(Code::Usage, message).hint("Write s3://bucket/prefix.");
        let bucket = url.host_str().ok_or_else(|| usage("The URL of the backup names no bucket."))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(usage(
                "The URL of a backup has only a bucket and a prefix; credentials come from the environment.",
            ));
        }
        let prefix = Key::from_url_path(url.path())
            .map_err(|error| usage("The prefix of the backup is not a path.").because(error))?;
        let shown = format!("s3://{bucket}/{prefix}");
        let access = S3Access::of(env, &shown)?;
        // Part by part a large file may take long; what is bounded is the time to connect and each single request.
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(600))
            .with_allow_http(access.is_plain());
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
            max_retries: 3,
            retry_timeout: Duration::from_secs(60),
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(access.region)
            .with_access_key_id(access.id)
            .with_secret_access_key(access.secret)
            .with_client_options(client)
            .with_retry(retry)
            .with_virtual_hosted_style_request(false);
        if let Some(token) = access.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = access.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| {
            Fault::new(Code::Usage, format!("{shown} can't be used."))
                .because(error)
                .hint("Check AWS_ENDPOINT_URL and AWS_REGION.")
        })?;
        Ok(Self { store: Arc::new(store), prefix, shown })
    }

    fn key(&self, name: &str) -> Key {
        let parts = self.prefix.parts().chain(name.split('/').map(Into::into));
        parts.collect()
    }

    /// What the store's error means for whoever made the backup.
    fn fault(&self, error: Error) -> Fault {
        let shown = &self.shown;
        let text = causes(&error);
        let refused = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
        let fault = if refused {
            Fault::new(Code::Backup, format!("{shown} refuses the credentials.")).hint(
                "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and what they may do there.",
            )
        } else if text.contains("NoSuchBucket") {
            Fault::new(Code::Backup, format!("The bucket of {shown} does not exist."))
                .hint("Make it, or check the URL and AWS_ENDPOINT_URL.")
        } else if ["onnect", "dns error", "timed out", "error sending request"].iter().any(|sign| text.contains(sign)) {
            Fault::new(Code::Unreachable, format!("{shown} can't be reached."))
                .hint("Check AWS_ENDPOINT_URL (or AWS_REGION for Amazon's own) and the network.")
        } else {
            Fault::new(Code::Backup, format!("{shown} answered with an error."))
        };
        fault.because(error)
    }

    async fn put_parts(&self, key: Key, file: &Path) -> Result<()> {
        let unreadable = || format!("{} can't be read.", file.display());
        let mut source = tokio::fs::File::open(file).await.context(Code::Io, unreadable)?;
        let store: Arc<dyn ObjectStore> = self.store.clone();
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
            Ok(error) => self.fault(error),
            Err(error) => Fault::new(Code::Backup, format!("Copying to {} failed.", self.shown)).because(error),
        })
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        let payload = PutPayload::from(bytes);
        match self.store.put_opts(&self.key(name), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.fault(error)),
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
        let key = self.key(name);
        match self.store.head(&key).await {
            Ok(_) => return Ok(false),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(self.fault(error)),
        }
        self.put_parts(key, file).await.map(|()| true)
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.create(name, bytes).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&self.key(name), bytes.into()).await.map(drop).map_err(|error| self.fault(error))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = match self.store.get(&self.key(name)).await {
            Ok(found) => found,
            Err(Error::NotFound { source, .. }) if !causes(&*source).contains("NoSuchBucket") => return Ok(None),
            Err(error) => return Err(self.fault(error)),
        };
        if found.meta.size > BYTES_MAX {
            return Err(Fault::new(Code::Backup, format!("{name} in {} is too large to be a manifest.", self.shown)));
        }
        found.bytes().await.map(|bytes| Some(bytes.to_vec())).map_err(|error| self.fault(error))
    }

    async fn fetch(&self, name: &str, file: &Path) -> Result<bool> {
        let found = match self.store.get(&self.key(name)).await {
            Ok(found) => found,
            Err(Error::NotFound { source, .. }) if !causes(&*source).contains("NoSuchBucket") => return Ok(false),
            Err(error) => return Err(self.fault(error)),
        };
        let unwritable = || format!("{} can't be written.", file.display());
        let mut target = tokio::fs::File::create_new(file).await.context(Code::Io, unwritable)?;
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| self.fault(error))? {
            target.write_all(&chunk).await.context(Code::Io, unwritable)?;
        }
        target.flush().await.context(Code::Io, unwritable)?;
        Ok(true)
    }
}
