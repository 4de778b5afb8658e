//! The path of one request: choose an upstream, get a connection, pass the request, pass the response back, and try
//! again wherever that can't make anything happen twice.
//!
//! What is tried again, and why it is safe:
//! - a failed connect: nothing was sent;
//! - a request that hyper gives back: nothing was sent, its body is untouched;
//! - an idempotent request without a body whose connection broke before the response's head.
//!
//! Everything else that breaks is answered with 502, or 504 when time ran out.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use tokio::time::{Instant, timeout};

use super::body::{Download, Upload};
use super::clients::ClientId;
use super::counts::Exposure;
use super::link::{Link, Lost, NoLink};
use super::serve::Client;
use super::upstream::{InFlight, UpstreamState};
use super::{headers, upgrade};

/// How often a request is sent at most, counting only attempts that reached an upstream.
const SENDS_MAX: usize = 3;

/// A failure as the client sees it.
struct Refusal(StatusCode, &'static str);

const NO_UPSTREAM: Refusal = Refusal(StatusCode::SERVICE_UNAVAILABLE, "No upstream is available.\n");
const UNREACHABLE: Refusal = Refusal(StatusCode::BAD_GATEWAY, "The upstream can't be reached.\n");
const CONNECT_SLOW: Refusal =
    Refusal(StatusCode::GATEWAY_TIMEOUT, "The upstream did not accept the connection in time.\n");
const BROKEN: Refusal = Refusal(StatusCode::BAD_GATEWAY, "The upstream broke off.\n");
const SLOW: Refusal = Refusal(StatusCode::GATEWAY_TIMEOUT, "The upstream did not answer in time.\n");
const NO_HOST: Refusal = Refusal(StatusCode::BAD_REQUEST, "The request needs exactly one Host.\n");
const NO_CONNECT: Refusal = Refusal(StatusCode::METHOD_NOT_ALLOWED, "This is not a forward proxy.\n");

impl Refusal {
    fn response(self) -> Response<Download> {
        let mut response = Response::new(Download::text(self.1));
        *response.status_mut() = self.0;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

/// Answers one request; it can't fail, because a failure is an answer too.
pub(super) async fn answer(client: &Arc<Client>, request: Request<Incoming>) -> Response<Download> {
    let busy = client.busy();
    let started = Instant::now();
    let response = match Outgoing::prepare(client, started, request) {
        Ok(outgoing) => outgoing.send().await.unwrap_or_else(Refusal::response),
        Err(refusal) => refusal.response(),
    };
    response.map(|body| body.keeping(busy))
}

/// What it takes to send a request without a body once more.
struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Replay {
    fn into_request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::none());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// A request on its way, with what it needs besides itself.
struct Outgoing<'a> {
    client: &'a Client,
    identity: ClientId,
    started: Instant,
    request: Option<Request<Upload>>,
    /// Counts the frames of a body; absent when there is none.
    upload: Option<Arc<AtomicU64>>,
    upgrade: Option<OnUpgrade>,
    sends: usize,
    /// At the first upstream, until it has ended there.
    exposure: Option<Exposure>,
}

/// The outcome of sending once.
enum Sent {
    Answered(Response<Incoming>),
    /// It may be sent again, and is at hand for it.
    Again,
}

impl<'a> Outgoing<'a> {
    fn prepare(client: &'a Client, started: Instant, mut request: Request<Incoming>) -> Result<Self, Refusal> {
        if request.method() == Method::CONNECT {
            return Err(NO_CONNECT);
        }
        make_origin_form(&mut request)?;
        let identity = client.identity(request.headers());
        let protocol = headers::strip_hop_by_hop(request.headers_mut());
        let upgrade = protocol.filter(|_| request.version() == Version::HTTP_11).map(|protocol| {
            headers::set_upgrade(request.headers_mut(), protocol);
            hyper::upgrade::on(&mut request)
        });
        // The client is told to continue when its body is first asked for; the upstream need not do so again.
        request.headers_mut().remove(EXPECT);
        headers::set_forwarded(request.headers_mut(), &client.address, client.shared.options.trust_forwarded);
        *request.version_mut() = Version::HTTP_11;
        let (parts, body) = request.into_parts();
        let (body, upload) = Upload::new(body);
        let request = Some(Request::from_parts(parts, body));
        Ok(Self { client, identity, started, request, upload, upgrade, sends: 0, exposure: None })
    }

    async fn send(mut self) -> Result<Response<Download>, Refusal> {
        let shared = &self.client.shared;
        let mut failed: Vec<Arc<UpstreamState>> = Vec::new();
        let mut in_flight = shared.choose(&failed).ok_or(NO_UPSTREAM)?;
        self.exposure = Some(Exposure::begin(&in_flight.upstream().counts, self.identity, self.started));
        let mut fresh_only = false;
        loop {
            let refusal = match self.connection(in_flight.upstream(), fresh_only).await {
                Ok((mut link, reused)) => match self.send_once(&mut link, reused, in_flight.upstream()).await? {
                    Sent::Answered(response) => return self.deliver(response, link, in_flight),
                    Sent::Again if reused => {
                        fresh_only = true;
                        continue;
                    }
                    Sent::Again => BROKEN,
                },
                Err(no_link) => {
                    in_flight.upstream().counts.connect_failed();
                    self.ended(Exposure::broke);
                    if no_link == NoLink::TimedOut { CONNECT_SLOW } else { UNREACHABLE }
                }
            };
            failed.push(Arc::clone(in_flight.upstream()));
            in_flight = shared.choose(&failed).ok_or(refusal)?;
            fresh_only = false;
        }
    }

    /// A connection, and whether it has served before.
    async fn connection(&self, upstream: &UpstreamState, fresh_only: bool) -> Result<(Link, bool), NoLink> {
        let options = &self.client.shared.options;
        let idle_max = Duration::from_millis(options.upstream_idle.0);
        let certain = !self.request.as_ref().is_some_and(|request| self.is_repeatable(request));
        while !fresh_only && let Some(mut link) = upstream.pool.take() {
            if link.idle_for(self.started) <= idle_max && link.still_good(certain).await {
                return Ok((link, true));
            }
        }
        Ok((Link::connect(upstream.addr, options).await?, false))
    }

    async fn send_once(&mut self, link: &mut Link, reused: bool, upstream: &UpstreamState) -> Result<Sent, Refusal> {
        let Some(request) = self.request.take() else { return Err(BROKEN) };
        let replay = self.replay(&request);
        self.sends += 1;
        let Some(exchanged) = self.exchange(link, request).await else {
            upstream.counts.broke_off();
            self.ended(Exposure::late);
            return Err(SLOW);
        };
        match exchanged {
            Ok(response) => return Ok(Sent::Answered(response)),
            Err(Lost::Unsent(request)) => self.request = Some(*request),
            Err(Lost::Broken(error)) => {
                // That a kept connection broke says nothing about the upstream when another one then works.
                if !reused || replay.is_none() {
                    upstream.counts.broke_off();
                    self.ended(Exposure::broke);
                }
                tracing::debug!(error, upstream = upstream.id, "exchange broke off");
                self.request = Some(replay.ok_or(BROKEN)?.into_request());
            }
        }
        if self.sends < SENDS_MAX { Ok(Sent::Again) } else { Err(BROKEN) }
    }

    fn is_repeatable(&self, request: &Request<Upload>) -> bool {
        self.upload.is_none() && self.upgrade.is_none() && request.method().is_idempotent()
    }

    fn replay(&self, request: &Request<Upload>) -> Option<Replay> {
        self.is_repeatable(request).then(|| Replay {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    /// Sends and waits; `None` when the upstream stays silent for too long while nothing is being uploaded.
    async fn exchange(&self, link: &mut Link, request: Request<Upload>) -> Option<Result<Response<Incoming>, Lost>> {
        let limit = Duration::from_millis(self.client.shared.options.response_timeout.0);
        let uploaded = || self.upload.as_ref().map_or(0, |frames| frames.load(Ordering::Relaxed));
        let mut exchange = pin!(link.exchange(request));
        loop {
            let before = uploaded();
            match timeout(limit, exchange.as_mut()).await {
                Ok(exchanged) => return Some(exchanged),
                Err(_) if uploaded() == before => return None,
                Err(_) => {}
            }
        }
    }

    /// Ends the exposure of the first upstream, if it has not ended yet.
    fn ended(&mut self, how: impl FnOnce(&mut Exposure)) {
        if let Some(mut exposure) = self.exposure.take() {
            how(&mut exposure);
        }
    }

    fn deliver(
        mut self,
        mut response: Response<Incoming>,
        link: Link,
        in_flight: InFlight,
    ) -> Result<Response<Download>, Refusal> {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = response.headers().get(UPGRADE).cloned();
        let counts = &in_flight.upstream().counts;
        if switching && (self.upgrade.is_none() || protocol.is_none()) {
            counts.broke_off();
            self.ended(Exposure::broke);
            return Err(BROKEN);
        }
        counts.answered(response.status());
        self.ended(|exposure| exposure.answered(response.status()));
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        if let (true, Some(client), Some(protocol)) = (switching, self.upgrade, protocol) {
            headers::set_upgrade(response.headers_mut(), protocol);
            let upstream = hyper::upgrade::on(&mut response);
            let shared = &self.client.shared;
            shared.tasks.spawn(upgrade::tunnel(link, upstream, client, in_flight, shared.cut.clone()));
            return Ok(response.map(|_| Download::text("")));
        }
        Ok(response.map(|body| Download::new(body, link, in_flight)))
    }
}

/// Upstreams are asked as origins: the authority of an absolute target becomes the `Host`, as RFC 9112 3.2.2 demands.
fn make_origin_form(request: &mut Request<Incoming>) -> Result<(), Refusal> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| NO_HOST)?;
        request.headers_mut().insert(HOST, host);
        let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(target);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && request.version() == Version::HTTP_11) {
        return Err(NO_HOST);
    }
    if first.is_none() {
        // HTTP/1.0 needs no Host, HTTP/1.1 does, and an empty one says that there is none.
        request.headers_mut().insert(HOST, HeaderValue::from_static(""));
    }
    Ok(())
}
