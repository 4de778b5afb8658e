//! What is sent: requests that are ready to be written, one after the other or as a walk of a session; or whole journeys
//! that somebody else plays.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};

use super::tally::Failure;

/// One request, ready for both versions of HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The number of its kind; see [`Feed::kinds`].
    pub(crate) kind: usize,
    /// Its bytes in HTTP/1.1.
    pub(super) bytes: Bytes,
    /// Its parts for HTTP/2.
    pub(super) request: Request<Bytes>,
    /// The one status that is good; any below 400 when absent.
    pub(crate) expect: Option<u16>,
}

impl Prepared {
    /// Puts a request together. `uri` is absolute; `Host` and `Content-Length` are added where they are missing.
    pub(crate) fn new(kind: usize, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let mut headers = headers.clone();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            headers.insert(HOST, host);
        }
        if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        // HTTP/2 names the authority in its URI.
        headers.remove(HOST);
        *request.headers_mut() = headers;
        Self { kind, bytes: bytes.into(), request, expect: None }
    }

    pub(super) fn bodiless(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    pub(super) fn is_good(&self, status: u16) -> bool {
        self.expect.map_or(status < 400, |expected| status == expected)
    }
}

/// A session that goes on: how long to wait, then what to send.
pub(crate) trait Walker {
    /// The next step, until the session is over.
    fn step(&mut self) -> Option<(Duration, Arc<Prepared>)>;
}

/// Makes sessions.
pub(crate) trait Walk: Send + Sync {
    /// The session of this number; the same number gives the same session.
    fn session(&self, number: u64) -> Box<dyn Walker>;
}

/// One request of a journey that has ended.
pub(crate) struct Beat {
    /// The number of its kind.
    pub(crate) kind: usize,
    /// From its own beginning.
    pub(crate) took: Duration,
    /// The status, where one came; zero where what was asked has none.
    pub(crate) status: u16,
    /// Bytes that came.
    pub(crate) bytes: u64,
    /// Why it is not good.
    pub(crate) bad: Option<Failure>,
}

/// What came of a journey.
pub(crate) struct Played {
    /// The number of its kind.
    pub(crate) kind: usize,
    /// Whether all of it was as it should be; nothing when it was broken off.
    pub(crate) good: Option<bool>,
    /// Its requests, in order.
    pub(crate) beats: Vec<Beat>,
    /// What was wrong first, in one line.
    pub(crate) reason: Option<String>,
}

/// Plays journeys on one thread.
pub(crate) trait Journey {
    /// Plays the journey of this number; the same number gives the same one.
    fn play(&self, number: u64) -> LocalBoxFuture<'_, Played>;

    /// The load is over: what is under way goes no further than putting things right again.
    fn end(&self);
}

/// Makes players of journeys: one for each thread, because connections belong to the thread that made them.
pub(crate) trait Journeys: Send + Sync {
    /// A player for the thread that asks.
    fn player(&self) -> Rc<dyn Journey>;
}

/// What is sent.
#[derive(Clone)]
pub(crate) enum Feed {
    /// These, over and over.
    Cycle {
        /// The requests.
        requests: Arc<[Arc<Prepared>]>,
        /// The names of their kinds.
        kinds: Arc<[String]>,
    },
    /// Sessions, each of several requests.
    Walk {
        /// Where sessions come from.
        walk: Arc<dyn Walk>,
        /// The names of the kinds.
        kinds: Arc<[String]>,
    },
    /// Journeys, each of several requests that depend on each other.
    Journeys {
        /// Who plays them.
        journeys: Arc<dyn Journeys>,
        /// The names of the kinds: of journeys, and of their requests.
        kinds: Arc<[String]>,
    },
}

impl Feed {
    /// The names of the kinds of requests.
    pub(crate) fn kinds(&self) -> &[String] {
        match self {
            Self::Cycle { kinds, .. } | Self::Walk { kinds, .. } | Self::Journeys { kinds, .. } => kinds,
        }
    }

    /// Who plays journeys on this thread, where they are what is sent.
    pub(super) fn player(&self) -> Option<Rc<dyn Journey>> {
        match self {
            Self::Journeys { journeys, .. } => Some(journeys.player()),
            Self::Cycle { .. } | Self::Walk { .. } => None,
        }
    }

    /// Whether journeys are what is sent.
    pub(super) const fn is_journeys(&self) -> bool {
        matches!(self, Self::Journeys { .. })
    }

    /// The session of a number. A cycle is a session of one request.
    pub(super) fn session(&self, number: u64) -> Session {
        match self {
            Self::Cycle { requests, .. } => {
                let index = usize::try_from(number % requests.len().max(1) as u64).unwrap_or(0);
                Session::One(requests.get(index).cloned())
            }
            Self::Walk { walk, .. } => Session::Walk(walk.session(number)),
            // Those are played and not sent from here.
            Self::Journeys { .. } => Session::One(None),
        }
    }
}

/// One session under way.
pub(super) enum Session {
    One(Option<Arc<Prepared>>),
    Walk(Box<dyn Walker>),
}

impl Session {
    pub(super) fn step(&mut self) -> Option<(Duration, Arc<Prepared>)> {
        match self {
            Self::One(request) => request.take().map(|request| (Duration::ZERO, request)),
            Self::Walk(walker) => walker.step(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_ready_to_be_written() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        let uri: Uri = "http://host:8080/a?b=c".parse().unwrap();
        let get = Prepared::new(0, &Method::GET, &uri, &headers, Bytes::new());
        assert_eq!(&get.bytes[..], b"GET /a?b=c HTTP/1.1\r\nx-a: 1\r\nhost: host:8080\r\n\r\n");
        let post = Prepared::new(0, &Method::POST, &uri, &HeaderMap::new(), "hi".into());
        let text = b"POST /a?b=c HTTP/1.1\r\nhost: host:8080\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(&post.bytes[..], text);
        assert!(get.is_good(204) && !get.is_good(404));
    }
}
