//! One bounded HTTP request to a store: no redirects, because they would carry tokens elsewhere; a largest answer, a
//! longest time; and what goes wrong as a fault that names the layer and neither the address nor what was sent.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder};
use serde_json::Value;
use tokio::time::timeout;
use vice_core::app::ProcessEnv;
use vice_core::fault::root_cause;
use vice_core::{Code, Context, Fault, Result};

use super::too_large;
use crate::file::FILE_BYTES_MAX;

/// How long one answer may take. A deploy waits for it, and a store that is well answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a store is spoken to.
#[derive(Default)]
pub(super) struct Trust {
    /// A certificate authority in PEM, in place of the machine's.
    pub(super) ca: Option<Vec<u8>>,
    /// A certificate with its key in PEM, by which the store knows us.
    pub(super) identity: Option<Vec<u8>>,
}

/// A client for one layer.
pub(super) struct Http {
    client: Client,
    headers: HeaderMap,
    name: String,
    limit: Duration,
}

/// An answer that is neither a refusal nor a failure.
pub(super) struct Answer {
    pub(super) found: bool,
    pub(super) body: Vec<u8>,
}

impl Http {
    /// A client for a layer, with the headers of its token.
    pub(super) fn new(name: &str, trust: &Trust, headers: &[(&'static str, &str)], env: &ProcessEnv) -> Result<Self> {
        let builder = Client::builder()
            .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(TIMEOUT);
        let client = trusting(name, builder, trust)?
            .build()
            .context(Code::ConfigInvalid, || format!("The HTTP client of the layer {name} can't be made."))?;
        let mut all = HeaderMap::new();
        for (header, value) in headers {
            all.insert(HeaderName::from_static(header), sensitive(name, value)?);
        }
        Ok(Self { client, headers: all, name: name.to_owned(), limit: limit(env)? })
    }

    pub(super) async fn get(&self, url: &str) -> Result<Answer> {
        self.send(self.client.get(url)).await
    }

    pub(super) async fn post(&self, url: &str, body: &Value) -> Result<Answer> {
        self.send(self.client.post(url).json(body)).await
    }

    /// Adds a header that is known only later, such as the token that a login gave.
    pub(super) fn with(mut self, header: &'static str, value: &str) -> Result<Self> {
        self.headers.insert(HeaderName::from_static(header), sensitive(&self.name, value)?);
        Ok(self)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let answered = timeout(self.limit, self.exchange(request.headers(self.headers.clone()))).await;
        answered.unwrap_or_else(|_| Err(too_slow(&self.name, self.limit)))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer> {
        let mut response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unanswered(&error))? {
            if body.len() + chunk.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
                return Err(too_large(&self.name));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            200..=299 => Ok(Answer { found: true, body }),
            404 => Ok(Answer { found: false, body }),
            _ => Err(self.refused(status)),
        }
    }

    fn refused(&self, status: u16) -> Fault {
        match status {
            401 | 403 => self
                .fault(Code::Backend, &format!("does not let us in (status {status})"))
                .hint("Check the token, whether it has expired, and what it may read."),
            300..=399 => self
                .fault(Code::Backend, &format!("answers with a redirect (status {status}), which is not followed"))
                .hint("Give the address that it really answers at."),
            429 => self.fault(Code::Backend, "has too many questions at once (status 429)").hint("Try again later."),
            400..=499 => self.fault(Code::Backend, &format!("refuses the question (status {status})")),
            _ => self.fault(Code::Backend, &format!("failed (status {status})")).hint("Try again; look at its log."),
        }
        .detail("status", status)
    }

    fn unanswered(&self, error: &reqwest::Error) -> Fault {
        let what = if error.is_connect() { "can't be reached" } else { "gave no whole answer" };
        self.fault(Code::Unreachable, what)
            .hint(format!("The network says: {}.", innermost(error)))
            .hint("Check its address and the network.")
    }

    /// A fault about the store.
    pub(super) fn fault(&self, code: Code, what: &str) -> Fault {
        Fault::new(code, format!("The store of the layer {} {what}.", self.name)).detail("layer", self.name.as_str())
    }

    /// The answer's JSON.
    pub(super) fn json(&self, body: &[u8]) -> Result<Value> {
        // The parser's words may quote the answer.
        serde_json::from_slice(body).map_err(|_| self.fault(Code::Backend, "gave an answer that is not its API's"))
    }
}

/// How long one answer may take.
pub(super) fn limit(env: &ProcessEnv) -> Result<Duration> {
    let Some(text) = env.get("VICE_CONFIG_TIMEOUT") else { return Ok(TIMEOUT) };
    let parsed = text.parse::<vice_core::Millis>().map(vice_core::Millis::as_duration);
    parsed.map_err(|_| Fault::new(Code::Usage, "VICE_CONFIG_TIMEOUT is no duration such as 5s."))
}

/// The fault of a store that takes too long.
pub(super) fn too_slow(name: &str, limit: Duration) -> Fault {
    let seconds = limit.as_secs_f64();
    Fault::new(Code::Unreachable, format!("The store of the layer {name} gave no whole answer within {seconds} s."))
        .hint("Try again; VICE_CONFIG_TIMEOUT gives it more time.")
        .detail("layer", name)
}

/// A header's value that is a token and is never repeated.
fn sensitive(name: &str, value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Fault::new(Code::Usage, format!("The token of the layer {name} has characters that can't be sent."))
            .hint("Does its file or variable have a line end in it?")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn trusting(name: &str, mut builder: ClientBuilder, trust: &Trust) -> Result<ClientBuilder> {
    let unusable = |what: &str| Fault::new(Code::Usage, format!("The {what} of the layer {name} can't be used."));
    if let Some(ca) = &trust.ca {
        let all = Certificate::from_pem_bundle(ca).ok().filter(|all| !all.is_empty());
        builder = builder.tls_certs_only(all.ok_or_else(|| unusable("certificate authority"))?);
    }
    if let Some(identity) = &trust.identity {
        builder = builder.identity(Identity::from_pem(identity).map_err(|_| unusable("client certificate"))?);
    }
    Ok(builder)
}

/// The innermost cause, which names the fact and no address.
fn innermost(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "it could not be sent or understood".to_owned(),
        None => cause.to_string(),
    }
}

/// A value of the environment, or what stands in the file that a second variable names.
pub(super) fn given(env: &ProcessEnv, name: &str) -> Result<Option<String>> {
    if let Some(value) = env.get(name) {
        return Ok(Some(value.to_owned()));
    }
    let variable = format!("{name}_FILE");
    let Some(path) = env.get(&variable) else { return Ok(None) };
    let bytes = small_file(&env.dir.join(path)).map_err(|fault| fault.hint(format!("{variable} names it.")))?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::new(Code::Usage, format!("{variable} names no text.")))?;
    Ok(Some(text.trim().to_owned()))
}

/// The largest file of a token or certificate.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;

/// The content of a small file of the user's.
pub(super) fn small_file(path: &std::path::Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let unreadable = || format!("{} can't be read.", path.display());
    let file = std::fs::File::open(path).context(Code::Usage, unreadable)?;
    let mut bytes = Vec::new();
    file.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes).context(Code::Usage, unreadable)?;
    if bytes.len() as u64 > SMALL_BYTES_MAX {
        return Err(Fault::new(Code::Usage, format!("{} is too large.", path.display())));
    }
    Ok(bytes)
}
