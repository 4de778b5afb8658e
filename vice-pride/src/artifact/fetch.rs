//! Downloading an archive: bounded in size and time, hashed while it comes, nothing left behind on failure.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::{Client, ClientBuilder, Response, StatusCode, redirect};
use sha2::{Digest as _, Sha256};
use url::Url;
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Fault, Result};
use vice_core::time::Millis;

use super::reference::shown;
use super::staging::Staging;

const REDIRECTS_MAX: usize = 5;

/// How long a download may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the answer starts, and between two pieces of it.
    pub idle: Millis,
    /// For the whole download.
    pub total: Millis,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Millis::from_secs(30), total: Millis::from_secs(30 * 60) }
    }
}

/// What was downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) sha256: Digest,
    pub(super) bytes: u64,
}

/// Settings that a client for artifacts must have: the bytes as the server sent them (a client that unpacks gzip on its
/// own would change their digest), few redirects, and none from https to http.
pub fn configure(builder: ClientBuilder) -> ClientBuilder {
    let policy = redirect::Policy::custom(|attempt| {
        let downgraded =
            attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
        if downgraded {
            attempt.error("the redirect leads from https to http")
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("there are too many redirects")
        } else {
            attempt.follow()
        }
    });
    builder.no_gzip().redirect(policy).connect_timeout(Duration::from_secs(10))
}

/// The name of the downloaded file inside its temporary folder.
pub(super) const FILE: &str = "download";

/// Downloads `url` into the temporary folder.
pub(super) async fn fetch(
    client: &Client,
    url: &Url,
    expected: Option<Digest>,
    staging: &Staging,
    bytes_max: u64,
    patience: Patience,
) -> Result<Fetched> {
    let download = download(client, url, staging, bytes_max, patience.idle.as_duration());
    let fetched = match tokio::time::timeout(patience.total.as_duration(), download).await {
        Ok(result) => result?,
        Err(_) => return Err(too_slow(url, patience.total)),
    };
    match expected {
        Some(expected) if expected != fetched.sha256 => {
            Err(Fault::new(Code::ArtifactDigest, format!("{} is not the expected artifact.", shown(url)))
                .hint(format!("Expected sha256={expected}, but it has sha256={}.", fetched.sha256))
                .detail("expected", expected.to_string())
                .detail("found", fetched.sha256.to_string()))
        }
        _ => Ok(fetched),
    }
}

async fn download(client: &Client, url: &Url, staging: &Staging, bytes_max: u64, idle: Duration) -> Result<Fetched> {
    let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity").send();
    let answer = tokio::time::timeout(idle, request).await.map_err(|_| too_slow(url, millis(idle)))?;
    let mut response = checked(answer.map_err(|error| unreachable(url, error))?, url)?;
    let too_large = || {
        Fault::new(Code::ArtifactRejected, format!("{} is larger than {bytes_max} bytes.", shown(url)))
            .hint("Raise the limit of artifacts if the content is genuine.")
    };
    if response.content_length().is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let unwritable = || "The download can't be written to the artifact store.".to_owned();
    let mut file = File::create_new(staging.beside(FILE)).context(Code::StateUnwritable, unwritable)?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    loop {
        let piece = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| too_slow(url, millis(idle)))?;
        let Some(piece) = piece.map_err(|error| unreachable(url, error))? else { break };
        bytes = bytes.saturating_add(piece.len() as u64);
        if bytes > bytes_max {
            return Err(too_large());
        }
        hash.update(&piece);
        // A local write of one piece is as short as handing it to another thread would be.
        file.write_all(&piece).context(Code::StateUnwritable, unwritable)?;
    }
    Ok(Fetched { sha256: Digest(hash.finalize().into()), bytes })
}

fn checked(response: Response, url: &Url) -> Result<Response> {
    let status = response.status();
    let encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|value| {
        // Some servers call a .tar.gz "gzip-encoded"; the bytes are still those of the file.
        !matches!(value.as_bytes(), b"identity" | b"gzip" | b"x-gzip")
    });
    let place = shown(url);
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(Fault::new(Code::ArtifactMissing, format!("The server has no {place} ({}).", status.as_u16()))
                .hint("Check the version and the address in the manifest."))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Fault::new(Code::Backend, format!("The server refused access to {place} ({}).", status.as_u16())))
        }
        _ if status != StatusCode::OK => {
            Err(Fault::new(Code::Backend, format!("The server answered {} for {place}.", status.as_u16())))
        }
        _ if encoded => {
            Err(Fault::new(Code::Backend, format!("The server sent {place} in an encoding that was not asked for.")))
        }
        _ => Ok(response),
    }
}

fn unreachable(url: &Url, error: reqwest::Error) -> Fault {
    let code = if error.is_redirect() { Code::Backend } else { Code::Unreachable };
    // The error's own text would repeat the URL with its query, which may be a signature.
    Fault::new(code, format!("{} can't be downloaded.", shown(url))).because(error.without_url())
}

fn too_slow(url: &Url, after: Millis) -> Fault {
    Fault::new(Code::Unreachable, format!("The download of {} stalled or took longer than {after}.", shown(url)))
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
