//! Steps over HTTP: one request with its redirects, its answer read within bounds.
//!
//! Connections are kept within a run, as a browser keeps them. No proxy is used: a scenario looks at the system itself.

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
};
use reqwest::{Method, Request, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::{Tried, Try, body, cookies};
use crate::coding::OFFERED;
use crate::http::{Patience, Settings, explain, receive};
use crate::query::facts::Facts;
use crate::scenario::HttpStep;
use crate::tls::certificate_facts;

/// One attempt with its redirects.
pub(super) async fn attempt(attempt: &Try<'_>, step: &HttpStep, facts: Facts) -> Tried {
    let mut exchange = match Exchange::new(attempt, step, facts) {
        Ok(exchange) => exchange,
        Err(why) => return Tried::failed(Facts::at(attempt.bench.clock.now()), why),
    };
    let error = exchange.run().await.err();
    Tried { facts: exchange.facts, error, late: false }
}

struct Exchange<'a> {
    attempt: &'a Try<'a>,
    step: &'a HttpStep,
    facts: Facts,
    began: Instant,
    ca: Option<Vec<u8>>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl<'a> Exchange<'a> {
    fn new(attempt: &'a Try<'a>, step: &'a HttpStep, facts: Facts) -> Result<Self, String> {
        let method = attempt.text(&step.method)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| "the method is not valid".to_owned())?;
        let mut headers = headers(attempt, step)?;
        let body = body::make(attempt, &step.body)?.map(|(bytes, kind)| {
            if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
                headers.entry(CONTENT_TYPE).or_insert(kind);
            }
            bytes
        });
        let ca = step.ca.as_deref().map(|name| attempt.file(name)).transpose()?;
        Ok(Self { attempt, step, facts, began: Instant::now(), ca, method, url: url(attempt, step)?, headers, body })
    }

    async fn run(&mut self) -> Result<(), String> {
        loop {
            let mut response = self.send().await?;
            self.note(&mut response);
            let next = self.next_url()?;
            let Some(next) = next else { return self.read(response).await };
            if self.facts.redirects >= self.step.follow {
                let follow = self.step.follow;
                return Err(format!(
                    "more than {follow} redirects; the next one goes to {}",
                    crate::http::shown_url(next.as_str())
                ));
            }
            self.facts.redirects += 1;
            self.turn(next);
        }
    }

    async fn send(&mut self) -> Result<Response, String> {
        let settings = Settings {
            secured: self.url.scheme() == "https",
            protocol: self.step.protocol,
            verify: self.step.verify,
            ca: self.ca.clone(),
            keep: true,
        };
        let client = self.attempt.bench.clients.of(settings).map_err(|fault| fault.chain().join(": "))?;
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        if self.step.compressed {
            request.headers_mut().entry(ACCEPT_ENCODING).or_insert(OFFERED);
        }
        self.add_cookies(request.headers_mut())?;
        *request.body_mut() = self.body.clone().map(Into::into);
        match timeout_at(self.attempt.until, client.execute(request)).await {
            Err(_) => Err(format!("no answer within {}", self.attempt.timeout)),
            Ok(Err(error)) => Err(explain::request(&error)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn add_cookies(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let mut all = match self.attempt.jar {
            Some(jar) => jar.for_url(&self.url, self.facts.now),
            None => Vec::new(),
        };
        for (name, value) in &self.step.cookies {
            let (name, value) = (self.attempt.text(name)?, self.attempt.text(value)?);
            all.retain(|(known, _)| *known != name);
            all.push((name, value));
        }
        if all.is_empty() || headers.contains_key(COOKIE) {
            return Ok(());
        }
        let line: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut value = HeaderValue::from_str(&line.join("; ")).map_err(|_| "a cookie can't be sent".to_owned())?;
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
        Ok(())
    }

    fn note(&mut self, response: &mut Response) {
        self.facts.timing.first = Some(self.began.elapsed());
        self.facts.status = Some(response.status().as_u16());
        self.facts.version = Some(version(response.version()));
        self.facts.url = Some(self.url.to_string());
        self.facts.ip = response.remote_addr().map(|address| address.ip().to_string());
        let info = response.extensions().get::<reqwest::tls::TlsInfo>();
        let leaf = info.and_then(reqwest::tls::TlsInfo::peer_certificate);
        self.facts.certificate = leaf.and_then(|der| certificate_facts(der, None).ok());
        self.facts.headers = std::mem::take(response.headers_mut());
        let set = self.facts.headers.get_all(SET_COOKIE).iter();
        let new: Vec<_> = set.filter_map(|value| cookies::parse(&String::from_utf8_lossy(value.as_bytes()))).collect();
        if let Some(jar) = self.attempt.jar {
            jar.take(&self.url, &new, self.facts.now);
        }
        self.facts.set_cookies.extend(new);
    }

    /// Where the answer sends us, if it is to be followed.
    fn next_url(&self) -> Result<Option<Url>, String> {
        let redirect = matches!(self.facts.status, Some(301 | 302 | 303 | 307 | 308));
        let Some(location) = self.facts.headers.get(LOCATION).filter(|_| redirect && self.step.follow > 0) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(location.as_bytes());
        let next = self.url.join(&text).map_err(|_| "the answer redirects to something that is no URL".to_owned())?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(format!("the answer redirects to {}:, which is not followed", next.scheme()));
        }
        Ok(Some(next))
    }

    /// As browsers do it: what is not kept on purpose becomes a GET, and credentials stay with their host.
    fn turn(&mut self, next: Url) {
        let status = self.facts.status.unwrap_or_default();
        let becomes_get =
            status == 303 && self.method != Method::HEAD || matches!(status, 301 | 302) && self.method == Method::POST;
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(CONTENT_TYPE);
        }
        let same =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
        if same(&self.url) != same(&next) {
            self.headers.remove(AUTHORIZATION);
            self.headers.remove(COOKIE);
        }
        self.url = next;
    }

    async fn read(&mut self, response: Response) -> Result<(), String> {
        let patience = Patience { timeout: self.attempt.timeout, until: self.attempt.until };
        let Facts { headers, body, .. } = &mut self.facts;
        receive(response, self.step.compressed.then_some(&*headers), patience, body).await?;
        self.facts.timing.total = self.began.elapsed();
        Ok(())
    }
}

const fn version(version: reqwest::Version) -> &'static str {
    match version {
        reqwest::Version::HTTP_09 => "HTTP/0.9",
        reqwest::Version::HTTP_10 => "HTTP/1.0",
        reqwest::Version::HTTP_11 => "HTTP/1.1",
        reqwest::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}

fn url(attempt: &Try<'_>, step: &HttpStep) -> Result<Url, String> {
    let text = attempt.text(&step.url)?;
    let mut url = crate::http::parse_url(&text, false).map_err(|why| format!("the step {why}"))?;
    if !step.query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in &step.query {
            pairs.append_pair(&attempt.text(name)?, &attempt.text(value)?);
        }
    }
    Ok(url)
}

fn headers(attempt: &Try<'_>, step: &HttpStep) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_static(concat!("vice/", env!("CARGO_PKG_VERSION")));
    headers.insert(reqwest::header::USER_AGENT, agent);
    headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static("*/*"));
    let mut own: Vec<HeaderName> = Vec::new();
    for (name, template) in &step.headers {
        let (key, value) = (attempt.text(name)?, attempt.text(template)?);
        let (Ok(key), Ok(mut value)) = (HeaderName::try_from(key.as_str()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            return Err(format!("the header {name} has a value that can't be sent, such as one with a line end"));
        };
        value.set_sensitive(true);
        // The first of a name takes the place of ours, further ones stand beside it.
        if own.contains(&key) {
            headers.append(key, value);
        } else {
            own.push(key.clone());
            headers.insert(key, value);
        }
    }
    let url_user = Url::parse(&attempt.text(&step.url)?).ok().filter(|url| !url.username().is_empty());
    let from_url = url_user.map(|url| {
        let decode = |text: &str| percent_decode(text);
        (decode(url.username()), decode(url.password().unwrap_or_default()))
    });
    let basic = match &step.basic {
        Some((user, password)) => Some((attempt.text(user)?, attempt.text(password)?)),
        None => from_url,
    };
    if let Some((user, password)) = basic.filter(|_| !headers.contains_key(AUTHORIZATION)) {
        use base64::Engine as _;
        let code = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut value =
            HeaderValue::from_str(&format!("Basic {code}")).map_err(|_| "the user can't be sent".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// `%41` as `A`; what is not UTF-8 then is replaced.
fn percent_decode(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
