//! One POST, and what its answer means for the message.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use vice_core::Millis;
use vice_core::fault::causes;

use super::{SEND_TIMEOUT, SendError};
use crate::message::shorten;

/// How much of an answer is read, in bytes; a receiver can't make vice hold more.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// The longest wait that a receiver can ask for.
const RETRY_AFTER_MAX: Millis = Millis::from_secs(3_600);

pub(crate) struct Post {
    pub(crate) client: Client,
    /// The URL as it may be shown.
    pub(crate) shown: String,
}

impl Post {
    /// Posts a body and gives the answer's first line.
    pub(crate) async fn send(&self, url: &str, headers: HeaderMap, body: String) -> Result<String, SendError> {
        let shown = &self.shown;
        let url = url::Url::parse(url).map_err(|_| SendError::permanent(format!("{shown} is not a URL.")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SendError::permanent(format!("{shown} does not begin with http:// or https://.")));
        }
        let request = self.client.post(url.clone()).headers(headers).body(body);
        let sent = request.timeout(SEND_TIMEOUT.as_duration()).send().await;
        let response = sent.map_err(|error| self.unreached(error))?;
        if bare(response.url()) != bare(&url) {
            let to = crate::mask::shown_url(response.url().as_str());
            return Err(SendError::permanent(format!("{shown} redirects (to {to}): name the final URL.")));
        }
        judge(shown, response).await
    }

    fn unreached(&self, error: reqwest::Error) -> SendError {
        let shown = &self.shown;
        // Before the connection stands nothing was sent; afterwards nobody knows.
        let before = error.is_connect() || error.is_builder();
        let redirects = error.is_redirect();
        let why = if error.is_timeout() && !before {
            format!("{shown} did not answer within {SEND_TIMEOUT}.")
        } else {
            format!("{shown} can't be reached: {}.", causes(&error.without_url()))
        };
        match (redirects, before) {
            (true, _) => SendError::permanent(why),
            (false, true) => SendError::retry(why),
            (false, false) => SendError::uncertain(why),
        }
    }
}

/// A URL as it is requested: user and password travel in a header, the fragment not at all.
fn bare(url: &url::Url) -> (Option<&str>, Option<u16>, &str, Option<&str>) {
    (url.host_str(), url.port_or_known_default(), url.path(), url.query())
}

async fn judge(shown: &str, response: Response) -> Result<String, SendError> {
    let status = response.status();
    let retry_after = retry_after(&response);
    let answer = first_line(response).await;
    if status.is_success() {
        return Ok(format!("{} {answer}", status.as_u16()).trim_end().to_owned());
    }
    let reason = format!("{shown} answered {status}: {answer}").trim_end_matches([' ', ':']).to_owned();
    Err(SendError { permanent: hopeless(status), retry_after, ..SendError::retry(reason) })
}

/// The answers that stay the same however often one asks.
fn hopeless(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_redirection() || (status.is_client_error() && !passing.contains(&status))
}

fn retry_after(response: &Response) -> Option<Millis> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Millis::from_secs(seconds).min(RETRY_AFTER_MAX))
}

async fn first_line(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]),
            // The status is known; a body that breaks off changes nothing.
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    shorten(text.lines().next().unwrap_or_default().trim(), 200)
}
