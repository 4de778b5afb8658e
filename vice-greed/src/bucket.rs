//! Reaching a bucket of S3 and what speaks its protocol, for whatever is kept there. Credentials come from the usual
//! variables and go nowhere else.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};
use url::Url;
use vice_core::app::{ProcessEnv, S3Access};
use vice_core::fault::causes;
use vice_core::{Code, Fault, Result};

/// A bucket with a prefix.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) store: Arc<AmazonS3>,
    prefix: Key,
    pub(crate) shown: String,
    /// The code of errors that say nothing more exact.
    code: Code,
}

/// The bucket and the prefix of a URL.
///
/// # Errors
/// `Usage`; what is kept there stands behind "The URL of ".
pub(crate) fn parts(url: &Url, what: &str) -> Result<(String, Key)> {
    let usage = |message: String| Fault::new(Code::Usage, message).hint("Write s3://bucket/prefix.");
    let bucket = url.host_str().ok_or_else(|| usage(format!("The URL of {what} names no bucket.")))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(usage(format!(
            "The URL of {what} has only a bucket and a prefix; credentials come from the environment."
        )));
    }
    let prefix = Key::from_url_path(url.path())
        .map_err(|error| usage(format!("The prefix of {what} is not a path.")).because(error))?;
    Ok((bucket.to_owned(), prefix))
}

impl Bucket {
    /// The bucket of a URL; nothing is asked yet.
    pub(crate) fn new(url: &Url, env: &ProcessEnv, what: &str, code: Code) -> Result<Self> {
        let (bucket, prefix) = parts(url, what)?;
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
        Ok(Self { store: Arc::new(store), prefix, shown, code })
    }

    /// The key of a name below the prefix.
    pub(crate) fn key(&self, name: &str) -> Key {
        let parts = self.prefix.parts().chain(name.split('/').map(Into::into));
        parts.collect()
    }

    /// What the store's error means for whoever keeps something there.
    pub(crate) fn fault(&self, error: Error) -> Fault {
        let shown = &self.shown;
        let text = causes(&error);
        let refused = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
        let fault = if refused {
            Fault::new(self.code, format!("{shown} refuses the credentials.")).hint(
                "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and what they may do there.",
            )
        } else if text.contains("NoSuchBucket") {
            Fault::new(self.code, format!("The bucket of {shown} does not exist."))
                .hint("Make it, or check the URL and AWS_ENDPOINT_URL.")
        } else if ["onnect", "dns error", "timed out", "error sending request"].iter().any(|sign| text.contains(sign)) {
            Fault::new(Code::Unreachable, format!("{shown} can't be reached."))
                .hint("Check AWS_ENDPOINT_URL (or AWS_REGION for Amazon's own) and the network.")
        } else {
            Fault::new(self.code, format!("{shown} answered with an error."))
        };
        fault.because(error)
    }
}

/// Whether an object is not there, in a bucket that is.
pub(crate) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound { source, .. } if !causes(&**source).contains("NoSuchBucket"))
}
