//! Reading the body of an answer: all of it, within a time and a size.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};
use vice_core::Millis;

use super::explain;
use crate::coding::{Hidden, unpack};

/// The largest body that is read, in bytes, packed and unpacked.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The time that is named in messages.
    pub(crate) timeout: Millis,
    /// When it is over.
    pub(crate) until: Instant,
}

/// Reads what is left of an answer to the end of `body`. `packed` are its headers, where codings are to be undone; one
/// that is not known stays.
///
/// # Errors
/// Text that says why not all of it is there.
pub(crate) async fn receive(
    mut response: Response,
    packed: Option<&HeaderMap>,
    patience: Patience,
    body: &mut Vec<u8>,
) -> Result<(), String> {
    let status = response.status();
    loop {
        match timeout_at(patience.until, response.chunk()).await {
            Err(_) => {
                let (timeout, read) = (patience.timeout, body.len());
                return Err(format!("the answer (status {status}) did not end within {timeout}; {read} bytes came"));
            }
            Ok(Err(error)) => return Err(explain::body(&error, status, body.len())),
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > BODY_BYTES_MAX => return Err(too_large(status)),
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
        }
    }
    let coding = packed.and_then(|headers| headers.get(CONTENT_ENCODING)).and_then(|value| value.to_str().ok());
    match coding.map_or(Ok(None), |coding| unpack(coding, body, BODY_BYTES_MAX)) {
        Ok(Some(content)) => *body = content,
        Ok(None) | Err(Hidden::Unknown(_)) => {}
        Err(Hidden::TooLarge) => return Err(too_large(status)),
        Err(Hidden::Broken) => {
            let coding = coding.unwrap_or_default();
            return Err(format!("the answer (status {status}) can't be unpacked as {coding:.20}"));
        }
    }
    Ok(())
}

fn too_large(status: StatusCode) -> String {
    let limit = BODY_BYTES_MAX / 1024 / 1024;
    format!("the answer (status {status}) is larger than {limit} MiB; the rest was not read")
}
