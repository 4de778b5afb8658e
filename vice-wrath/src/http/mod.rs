//! Checks over HTTP: one request, its answer read within bounds, and what is asserted about it.
//!
//! Redirects are not followed: a check asserts the status that it gets, and a redirect is an answer like any other.
//! Every attempt has a connection of its own, so that a kept-alive one that the server has just closed never looks
//! like a failure. No proxy is used: a check looks at the system itself.

mod answer;
mod client;
pub(crate) mod explain;
mod receive;

use std::borrow::Cow;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use tokio::time::{Instant, timeout_at};
use vice_core::Millis;
use vice_core::manifest::CheckSpec;
use vice_core::time::Clock;

use crate::attempt::Attempt;
use crate::coding::OFFERED;
use crate::plan::Planned;
use crate::tls::Tls;
use crate::values::Values;
use answer::Answer;
pub(crate) use answer::STATUS_DEFAULT;
pub(crate) use client::{Clients, Settings};
pub(crate) use receive::{Patience, receive};

/// What HTTP checks need.
pub(crate) struct Http<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) tls: &'a Tls,
    pub(crate) clock: &'a dyn Clock,
}

/// A URL that can be checked.
///
/// # Errors
/// Text that continues "The check x …".
pub(crate) fn parse_url(text: &str, needs_tls: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("has a URL that is not valid ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("has a URL that begins with neither http: nor https:".to_owned());
    }
    if needs_tls && url.scheme() != "https" {
        return Err("has tls_expiry_min, but its URL is not https".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has a URL without a host".to_owned());
    }
    Ok(url)
}

/// The URL as it may be shown: without a password.
pub(crate) fn shown_url(text: &str) -> Cow<'_, str> {
    let Some(mut url) = Url::parse(text).ok().filter(|url| url.password().is_some()) else {
        return Cow::Borrowed(text);
    };
    match url.set_password(Some("…")) {
        Ok(()) => Cow::Owned(url.to_string().replace("%E2%80%A6", "…")),
        Err(()) => Cow::Borrowed("a URL with a password"),
    }
}

/// The method in force: GET, or POST with a body.
pub(crate) fn method(spec: &CheckSpec) -> &str {
    let with_body = spec.body.is_some() || spec.body_json.is_some();
    spec.method.as_deref().unwrap_or(if with_body { "POST" } else { "GET" })
}

impl Http<'_> {
    /// One attempt, given up at `until`.
    pub(crate) async fn attempt(&self, check: &Planned, values: &Values, timeout: Millis, until: Instant) -> Attempt {
        let (client, request) = match self.request(check, values) {
            Ok(built) => built,
            Err(why) => return Attempt::errored(why),
        };
        let mut attempt = Attempt::default();
        if let Some(least) = check.spec.tls_expiry_min {
            match timeout_at(until, self.tls.expiry(request.url(), self.clock.now())).await {
                Err(_) => return Attempt::errored(format!("no TLS handshake within {timeout}")),
                Ok(Err(why)) => return Attempt::errored(why),
                Ok(Ok(left)) => attempt.failures.extend(left.failure(least)),
            }
        }
        match fetch(&client, request, Patience { timeout, until }).await {
            Ok(answer) => {
                attempt.latency = Some(answer.latency);
                if let Err(fault) = answer::assert(&check.spec, values, &answer, &mut attempt) {
                    attempt.error = Some(fault.to_string());
                }
                attempt.assert_latency(check.spec.latency_max);
                if attempt.messages().next().is_none() {
                    answer::capture(&check.captures, &answer, &mut attempt);
                }
            }
            Err(why) => attempt.error = Some(why),
        }
        attempt
    }

    /// The request of a check, and the client that can send it.
    fn request(&self, check: &Planned, values: &Values) -> Result<(reqwest::Client, Request), String> {
        let spec = &check.spec;
        let text = |fault: vice_core::Fault| fault.to_string();
        let url = values.text(spec.http.as_deref().unwrap_or_default()).map_err(text)?;
        let url = parse_url(&url, spec.tls_expiry_min.is_some()).map_err(|why| format!("the check {why}"))?;
        let client =
            self.clients.of(Settings::of_check(url.scheme() == "https")).map_err(|fault| fault.chain().join(": "))?;
        let method = Method::from_bytes(method(spec).as_bytes()).map_err(|_| "the method is not valid".to_owned())?;
        // The builder turns a user and password of the URL into a header.
        let builder = client.request(method, url).headers(headers(spec, values)?);
        let mut request = builder.build().map_err(|error| explain::request(&error))?;
        request.headers_mut().entry(ACCEPT_ENCODING).or_insert(OFFERED);
        if let Some(body) = &spec.body {
            *request.body_mut() = Some(values.text(body).map_err(text)?.into());
        }
        if let Some(body) = &spec.body_json {
            *request.body_mut() = Some(values.json(body).map_err(text)?.to_string().into());
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
        }
        Ok((client, request))
    }
}

/// Sends the request and reads the whole answer, or says why that was not possible.
async fn fetch(client: &reqwest::Client, request: Request, patience: Patience) -> Result<Answer, String> {
    let started = Instant::now();
    let sent = timeout_at(patience.until, client.execute(request)).await;
    let mut response = match sent {
        Err(_) => return Err(format!("no answer within {}", patience.timeout)),
        Ok(Err(error)) => return Err(explain::request(&error)),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    receive(response, Some(&headers), patience, &mut body).await?;
    Ok(Answer { status, headers, body, latency: started.elapsed() })
}

fn headers(spec: &CheckSpec, values: &Values) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, template) in &spec.headers {
        let value = values.text(template).map_err(|fault| fault.to_string())?;
        let (Ok(key), Ok(mut value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            return Err(format!("the header {name} has a value that can't be sent, such as one with a line end"));
        };
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}
