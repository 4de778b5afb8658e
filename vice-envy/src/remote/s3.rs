//! `s3://BUCKET/KEY`: a document in S3 or in what speaks its protocol. Credentials and the endpoint come from the usual
//! variables and go nowhere else.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ClientOptions, Error, ObjectStoreExt as _, RetryConfig};
use vice_core::app::{ProcessEnv, S3Access};
use vice_core::fault::causes;
use vice_core::{Code, Fault, Result};

use super::http::{limit, too_slow};
use super::{Ability, Fetched, Remote, document, too_large};
use crate::file::FILE_BYTES_MAX;

/// A layer in S3.
pub(super) struct S3 {
    store: AmazonS3,
    name: String,
    key: String,
    limit: Duration,
}

impl S3 {
    pub(super) fn new(name: &str, bucket: &str, key: &str, env: &ProcessEnv) -> Result<Self> {
        let access = S3Access::of(env, &format!("The layer {name}"))?;
        let limit = limit(env)?;
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            // The limit of the whole question, in `fetch`, is what counts and what is told.
            .with_timeout(limit.saturating_mul(2))
            .with_allow_http(access.is_plain());
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(access.region)
            .with_access_key_id(access.id)
            .with_secret_access_key(access.secret)
            .with_client_options(client)
            .with_retry(RetryConfig { max_retries: 1, retry_timeout: limit, ..RetryConfig::default() })
            .with_virtual_hosted_style_request(false);
        if let Some(token) = access.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = access.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| {
            Fault::new(Code::Usage, format!("The layer {name} can't be asked for."))
                .because(error)
                .hint("Check AWS_ENDPOINT_URL and AWS_REGION.")
        })?;
        Ok(Self { store, name: name.to_owned(), key: key.to_owned(), limit })
    }

    fn fault(&self, error: &Error) -> Fault {
        let name = &self.name;
        let text = causes(error);
        let said = |code, what: &str| Fault::new(code, format!("The store of the layer {name} {what}."));
        let fault = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => said(Code::Backend, "does not let us in")
                .hint("Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may read."),
            _ if text.contains("NoSuchBucket") => said(Code::ConfigInvalid, "has no such bucket"),
            _ if ["onnect", "dns error", "timed out", "error sending request"]
                .iter()
                .any(|sign| text.contains(sign)) =>
            {
                said(Code::Unreachable, "can't be reached")
                    .hint("Check AWS_ENDPOINT_URL (or AWS_REGION) and the network.")
            }
            _ => said(Code::Backend, "failed").hint("Try again; look at its log."),
        };
        fault.detail("layer", name.as_str())
    }
}

#[async_trait]
impl Remote for S3 {
    fn ability(&self) -> Ability {
        Ability { kind: "s3", secret: false, document: true }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        tokio::time::timeout(self.limit, self.get()).await.unwrap_or_else(|_| Err(too_slow(&self.name, self.limit)))
    }
}

impl S3 {
    async fn get(&self) -> Result<Option<Fetched>> {
        let found = match self.store.get(&Key::from(self.key.as_str())).await {
            Ok(found) => found,
            Err(Error::NotFound { source, .. }) if !causes(&*source).contains("NoSuchBucket") => return Ok(None),
            Err(error) => return Err(self.fault(&error)),
        };
        if found.meta.size > FILE_BYTES_MAX {
            return Err(too_large(&self.name));
        }
        let mut bytes = Vec::new();
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.try_next().await.map_err(|error| self.fault(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > FILE_BYTES_MAX {
                return Err(too_large(&self.name));
            }
        }
        document(&self.name, &self.key, bytes).map(Some)
    }
}
