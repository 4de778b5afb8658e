//! One bounded HTTP request: no redirects, a largest body, a longest time. What goes wrong is a sentence without the
//! URL, which can hold secrets.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::time::timeout;
use vice_core::fault::root_cause;
use vice_core::manifest::MetricSpec;
use vice_core::{Code, Context, Fault, Millis, Result, Secret};

use super::trouble::Trouble;

/// The largest answer that is read, in bytes, after decompression.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long one answer may take when nobody says.
const TIMEOUT: Millis = Millis::from_secs(10);

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// The client of one metric, with its headers.
pub(super) struct Http {
    client: Client,
    headers: HeaderMap,
    limit: Duration,
}

impl Http {
    /// A client with the metric's headers; `secrets` has the values of its secret headers and of its bearer token.
    pub(super) fn new(spec: &MetricSpec, secrets: &[(String, Secret)]) -> Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(Duration::from_secs(10))
            .build()
            .context(Code::Internal, || "The HTTP client of metrics can't be made.".to_owned())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            headers.append(header_name(name)?, header_value(name, value)?);
        }
        for (name, secret) in secrets {
            let mut value = header_value(name, secret.reveal())?;
            value.set_sensitive(true);
            headers.append(header_name(name)?, value);
        }
        Ok(Self { client, headers, limit: spec.timeout.unwrap_or(TIMEOUT).as_duration() })
    }

    pub(super) async fn get(&self, url: &str) -> Result<Answer, Trouble> {
        self.send(self.client.get(url)).await
    }

    pub(super) async fn post(&self, url: &str, form: &[(&str, String)]) -> Result<Answer, Trouble> {
        self.send(self.client.post(url).form(form)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let answered = timeout(self.limit, exchange(request.headers(self.headers.clone()))).await;
        answered.unwrap_or_else(|_| {
            let limit = Millis(u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX));
            Err(Trouble::timed_out(format!("There was no whole answer within {limit}.")))
        })
    }
}

async fn exchange(request: RequestBuilder) -> Result<Answer, Trouble> {
    let mut response = request.send().await.map_err(|error| unanswered(&error))?;
    let status = response.status();
    if status.is_redirection() {
        let known = response.headers().contains_key(LOCATION);
        let wants = if known { "elsewhere, perhaps to a login page" } else { "nowhere" };
        return Err(Trouble::elsewhere(format!(
            "The answer is a redirect (status {}) {wants}; it is not followed.",
            status.as_u16()
        )));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            let limit = BODY_BYTES_MAX / 1024 / 1024;
            return Err(Trouble::failed(format!("The answer is larger than {limit} MiB.")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

fn unanswered(error: &reqwest::Error) -> Trouble {
    let what = if error.is_connect() { "The source can't be reached" } else { "The source gave no answer" };
    Trouble::unreachable(format!("{what}: {}.", innermost(error)))
}

fn broken(error: &reqwest::Error) -> Trouble {
    Trouble::unreachable(format!("The answer broke off: {}.", innermost(error)))
}

/// The innermost cause, which names the fact and no URL.
fn innermost(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    match cause.downcast_ref::<reqwest::Error>() {
        // Its own text would have the URL in it.
        Some(_) => "it could not be sent or understood".to_owned(),
        None => cause.to_string(),
    }
}

/// What a status other than success means.
pub(super) fn refused(status: StatusCode, said: &str) -> Trouble {
    let number = status.as_u16();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match number {
        401 | 403 => Trouble::denied(format!("The source does not let us in (status {number}){said}.")),
        404 | 405 | 410 => Trouble::elsewhere(format!("The source knows no such address (status {number}){said}.")),
        400..=499 if number != 408 && number != 429 => {
            Trouble::refused(format!("The source refuses the question (status {number}){said}."))
        }
        _ => Trouble::failed(format!("The source failed (status {number}){said}.")),
    }
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::try_from(name)
        .map_err(|_| Fault::new(Code::ManifestInvalid, format!("{name:?} can't be the name of a header.")))
}

/// The error never repeats the value.
fn header_value(name: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(value).map_err(|_| {
        Fault::new(Code::ConfigInvalid, format!("The header {name} has a value that can't be sent."))
            .hint("It may have a line end.")
    })
}

/// The name and value of a bearer token's header.
pub(super) fn bearer(token: &Secret) -> (String, Secret) {
    (AUTHORIZATION.as_str().to_owned(), Secret::new(format!("Bearer {}", token.reveal())))
}
