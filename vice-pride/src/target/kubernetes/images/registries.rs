//! Asking registries which digest a tag has now, by the API that all of them have (the distribution specification): a
//! `HEAD` of the manifest, with a token where one is wanted. An image that was asked for once keeps its answer for as
//! long as the process lives, so that several clusters get the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::host::is_loopback;
use vice_core::port::command::CommandRunner;
use vice_core::text::sanitize;
use vice_core::{Code, Digest, Fault, Result, Secret};

use super::challenge::Challenge;
use super::login::{self, Login};
use super::name::{ImageName, is_digest};

/// Makes the HTTP client, when one is needed.
pub type HttpMaker = fn() -> Result<Client>;

/// What a tag can point at, an index of platforms first: its digest is good on every node.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Where a registry says the digest.
const DIGEST: &str = "docker-content-digest";
/// The most images of one version. More is surely a slip.
const IMAGES_MAX: usize = 200;
/// How many are asked for at the same time.
const AT_ONCE: usize = 8;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long is waited before a registry is asked again that did not answer.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// The largest manifest: registries take 4 MiB.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest answer of whoever gives tokens out.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Registries, with what they have said so far.
pub struct Registries {
    http: HttpMaker,
    env: Arc<ProcessEnv>,
    runner: Option<Arc<dyn CommandRunner>>,
    known: Mutex<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Registries {
    /// Asks nothing yet. `runner` runs credential helpers.
    #[must_use]
    pub fn new(http: HttpMaker, env: Arc<ProcessEnv>, runner: Option<Arc<dyn CommandRunner>>) -> Self {
        Self { http, env, runner, known: Mutex::default() }
    }

    /// The digest of each of these images.
    ///
    /// # Errors
    /// `Unreachable` for a registry that does not answer, `ArtifactMissing` for an image that it does not have, `Backend`
    /// for one that it does not give to whoever asks.
    pub(in super::super) async fn digests(&self, images: BTreeSet<String>) -> Result<BTreeMap<String, String>> {
        if images.len() > IMAGES_MAX {
            let message = format!("The manifests name {} images; {IMAGES_MAX} is the limit.", images.len());
            return Err(advised(Fault::new(Code::ManifestInvalid, message)));
        }
        // Whoever asks at the same time waits, and then gets the same answers.
        let mut known = self.known.lock().await;
        let unknown: Vec<&String> = images.iter().filter(|image| !known.contains_key(*image)).collect();
        if !unknown.is_empty() {
            let client = (self.http)()?;
            let each: Vec<_> = unknown.into_iter().map(|image| self.digest(&client, image)).collect();
            let found: Vec<(String, String)> = stream::iter(each).buffered(AT_ONCE).try_collect().await?;
            known.extend(found);
        }
        Ok(images.into_iter().filter_map(|image| known.get(&image).cloned().map(|digest| (image, digest))).collect())
    }

    async fn digest(&self, client: &Client, image: &str) -> Result<(String, String)> {
        let name = ImageName::parse(image).ok_or_else(|| super::unreadable(image))?;
        let login = login::of(&name.host, &self.env, self.runner.as_deref()).await?;
        let desk = Desk { client, image, name: &name, login };
        desk.digest().await.map(|digest| (image.to_owned(), digest))
    }
}

/// What every refusal of a registry says one can do.
fn advised(fault: Fault) -> Fault {
    fault.hint("Write the image by its digest, or set `pin_images = false` in the target to apply tags as they are.")
}

/// Asking for one image.
struct Desk<'a> {
    client: &'a Client,
    image: &'a str,
    name: &'a ImageName,
    login: Option<Login>,
}

impl Desk<'_> {
    async fn digest(&self) -> Result<String> {
        let (response, pass) = self.let_in().await?;
        self.check(response.status())?;
        if let Some(said) = response.headers().get(DIGEST) {
            let said = said.to_str().unwrap_or_default();
            return if is_digest(said) { Ok(said.to_owned()) } else { Err(self.nonsense("a digest that is none")) };
        }
        // Whoever does not say it lets it be told from the content.
        let response = self.send(|| self.manifest(Method::GET, pass.as_ref())).await?;
        self.check(response.status())?;
        let body = self.body(response, MANIFEST_BYTES_MAX).await?;
        Ok(format!("sha256:{}", Digest::of(&body)))
    }

    /// The answer for the manifest, and what it took to get it.
    async fn let_in(&self) -> Result<(Response, Option<HeaderValue>)> {
        let first = self.send(|| self.manifest(Method::HEAD, None)).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok((first, None));
        }
        let said = first.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|header| header.to_str().ok());
        let pass = match (Challenge::of(said), &self.login) {
            (Some(Challenge::Bearer { realm, service }), _) => self.token(&realm, service.as_deref()).await?,
            (Some(Challenge::Basic), Some(Login::Basic(user, password))) => {
                let both = format!("{user}:{}", password.reveal());
                let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, both);
                self.pass(&format!("Basic {encoded}"))?
            }
            _ => return Ok((first, None)),
        };
        let second = self.send(|| self.manifest(Method::HEAD, Some(&pass))).await?;
        Ok((second, Some(pass)))
    }

    fn manifest(&self, method: Method, pass: Option<&HeaderValue>) -> RequestBuilder {
        let ImageName { path, tag, .. } = self.name;
        let url = format!("{}/v2/{path}/manifests/{tag}", self.name.api());
        let request = self.client.request(method, url).header(ACCEPT, MANIFESTS);
        match pass {
            Some(pass) => request.header(reqwest::header::AUTHORIZATION, pass.clone()),
            None => request,
        }
    }

    /// A token that lets read this image.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue> {
        let url = Url::parse(realm).ok().filter(|url| {
            let here = url.host_str().is_some_and(is_loopback);
            url.scheme() == "https" || (url.scheme() == "http" && here)
        });
        // A password must not go over the wire for all to read.
        let url = url.ok_or_else(|| self.nonsense("an address for tokens that is not https"))?;
        let scope = format!("repository:{}:pull", self.name.path);
        let response = self.send(|| self.token_request(&url, service, &scope)).await?;
        self.check(response.status())?;
        let body = self.body(response, TOKEN_BYTES_MAX).await?;
        let given: Token = serde_json::from_slice(&body).map_err(|_| self.nonsense("a token that is none"))?;
        let token = Secret::new(if given.token.is_empty() { given.access_token } else { given.token });
        if token.reveal().is_empty() {
            return Err(self.nonsense("a token that is none"));
        }
        self.pass(&format!("Bearer {}", token.reveal()))
    }

    fn token_request(&self, url: &Url, service: Option<&str>, scope: &str) -> RequestBuilder {
        let service = service.map(|service| ("service", service));
        match &self.login {
            Some(Login::Identity(token)) => {
                let form: Vec<(&str, &str)> = [("grant_type", "refresh_token"), ("client_id", "vice")]
                    .into_iter()
                    .chain([("scope", scope), ("refresh_token", token.reveal())])
                    .chain(service)
                    .collect();
                self.client.post(url.clone()).form(&form)
            }
            login => {
                let query: Vec<(&str, &str)> = service.into_iter().chain([("scope", scope)]).collect();
                let request = self.client.get(url.clone()).query(&query);
                match login {
                    Some(Login::Basic(user, password)) => request.basic_auth(user, Some(password.reveal())),
                    _ => request,
                }
            }
        }
    }

    fn pass(&self, text: &str) -> Result<HeaderValue> {
        let mut value = HeaderValue::try_from(text).map_err(|_| self.nonsense("a token that can't be sent"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Sends until somebody answers who is not overloaded, a few times.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let answer = timeout(ANSWER_TIMEOUT, request().send()).await;
            let trouble = match answer {
                Ok(Ok(response)) if !is_overload(response.status()) => return Ok(response),
                Ok(Ok(response)) => self.silent(&format!("Its status is {}.", response.status().as_u16())),
                // The error's own text would repeat the address.
                Ok(Err(error)) => self.silent(&vice_core::fault::root_cause(&error.without_url()).to_string()),
                Err(_) => self.silent(&format!("There was no answer within {} s.", ANSWER_TIMEOUT.as_secs())),
            };
            match pauses.next() {
                Some(pause) => sleep(pause).await,
                None => return Err(trouble),
            }
        }
    }

    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = timeout(ANSWER_TIMEOUT, response.chunk()).await;
            let late = |_| self.silent("Its answer stalled.");
            let chunk = chunk.map_err(late)?.map_err(|_| self.silent("Its answer broke off."))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > most {
                return Err(self.nonsense("an answer without end"));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// What a status other than success means.
    fn check(&self, status: StatusCode) -> Result<()> {
        let (host, image) = (&self.name.host, self.image);
        let fault = match status.as_u16() {
            200..=299 => return Ok(()),
            404 => Fault::new(Code::ArtifactMissing, format!("The registry {host} has no image {image}."))
                .hint("Was it pushed, and is its name in the manifests right?"),
            401 | 403 => {
                let who = if self.login.is_some() { "whoever is logged in" } else { "just anybody" };
                Fault::new(Code::Backend, format!("The registry {host} does not give {image} to {who}."))
                    .hint(format!("It may not exist there, or `docker login {host}` is needed."))
            }
            _ => Fault::new(Code::Backend, format!("The registry {host} refuses {image}.")),
        };
        Err(advised(fault.detail("status", status.as_u16())))
    }

    fn silent(&self, why: &str) -> Fault {
        let message = format!("The registry {} did not say which digest {} has.", self.name.host, self.image);
        advised(Fault::new(Code::Unreachable, message).because(sanitize(why)))
    }

    fn nonsense(&self, what: &str) -> Fault {
        let message = format!("The registry {} gave {what} for {}.", self.name.host, self.image);
        advised(Fault::new(Code::Backend, message))
    }
}

/// Whether asking again makes sense.
fn is_overload(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}
