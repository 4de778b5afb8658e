//! One recorded request, made new and sent to one server, and what came back.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::memory::{Memory, scalar};
use super::rules::{Rules, Set, Target};
use crate::coding::{RECORDED_BYTES_MAX, unpack};
use crate::recording::{Asked, Exchange, media_type};
use crate::traffic::route;
use crate::upstream::{Upstream, cause};

/// The largest body that is compared, in bytes; of larger ones the beginning is.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Headers that are made new for the connection on which a request goes out.
const OWN: [&str; 8] =
    ["host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "accept-encoding"];

/// A server to which requests are sent.
pub(crate) struct Arm {
    /// Its connections.
    pub(crate) upstream: Upstream,
    /// As it stands in `Host`.
    pub(crate) authority: String,
    /// Such as `https`.
    pub(crate) scheme: String,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
    /// Whether the recorded `Host` is kept.
    pub(crate) keep_host: bool,
    /// Whether HTTP/2 is spoken, whose URIs are whole.
    pub(crate) absolute: bool,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// Unpacked, and not more than the limit.
    pub(super) body: Vec<u8>,
    /// Whether the limit cut it.
    pub(super) cut: bool,
    pub(super) took: Duration,
}

impl Seen {
    /// The recorded answer in the same form; nothing where it is not whole.
    pub(super) fn recorded(exchange: &Exchange) -> Option<Self> {
        let answer = exchange.answer.as_ref().filter(|_| exchange.error.is_none())?;
        let (body, cut) = match &answer.body {
            None => (Vec::new(), false),
            Some(body) => body.content().map_or((Vec::new(), true), |content| (content, false)),
        };
        let took = Duration::from_micros(exchange.took_us);
        Some(Self { status: answer.status, headers: answer.headers.clone(), body, cut, took })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The value of a cookie that is set.
    pub(super) fn set_cookie(&self, name: &str) -> Option<&str> {
        let set = self.headers.iter().filter(|(it, _)| it == "set-cookie");
        set.filter_map(|(_, value)| value.split(';').next()?.split_once('='))
            .find(|(it, _)| it.trim() == name)
            .map(|(_, value)| value.trim())
    }
}

impl Arm {
    /// Sends a request as this session would now say it.
    ///
    /// # Errors
    /// Text that says why nothing came back.
    pub(super) async fn send(&self, asked: &Asked, memory: &Memory, rules: &Rules) -> Result<Seen, String> {
        let request = self.request(asked, memory, rules)?;
        let begun = Instant::now();
        match timeout(self.patience, self.exchange(request)).await {
            Err(_) => Err(format!("no answer within {}s", self.patience.as_secs())),
            Ok(seen) => seen.map(|seen| Seen { took: begun.elapsed(), ..seen }),
        }
    }

    fn request(&self, asked: &Asked, memory: &Memory, rules: &Rules) -> Result<Request<Bytes>, String> {
        let route = route::of(asked);
        let sets: Vec<&Set> = rules.set_on(&route).collect();
        let target = target(&asked.target, memory, &sets);
        let uri = if self.absolute { format!("{}://{}{target}", self.scheme, self.authority) } else { target };
        let body = match &asked.body {
            None => Bytes::new(),
            Some(body) => {
                let content = body.content().ok_or("its body was not kept in the recording")?;
                body_of(&media_type(&asked.headers), content, memory, &sets).into()
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(asked.method.as_bytes()).map_err(|_| "its method is not valid")?;
        *request.uri_mut() = uri.parse::<Uri>().map_err(|_| "its target is not valid")?;
        self.headers(asked, memory, &sets, &mut request);
        Ok(request)
    }

    fn headers(&self, asked: &Asked, memory: &Memory, sets: &[&Set], request: &mut Request<Bytes>) {
        let length = request.body().len();
        let own_host = HeaderValue::from_str(&self.authority);
        let headers = request.headers_mut();
        let mut put = |name: &str, value: &str| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        };
        let recorded_host = asked.headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.as_str());
        for (name, value) in asked.headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            let told = header(name, value, memory, sets);
            match (name.as_str(), recorded_host) {
                // Where a page came from is now elsewhere.
                ("origin" | "referer", Some(host)) => put(name, &told.replace(host, &self.authority)),
                _ => put(name, &told),
            }
        }
        for set in sets {
            match &set.target {
                Target::Header(name) if !asked.headers.iter().any(|(it, _)| it == name) => put(name, &set.value),
                _ => {}
            }
        }
        if asked.headers.iter().any(|(name, value)| name == "accept-encoding" && value.contains("gzip")) {
            put("accept-encoding", "gzip");
        }
        if let Some(host) = recorded_host.filter(|_| self.keep_host) {
            put("host", host);
        } else if let (Ok(host), false) = (own_host, self.absolute) {
            headers.insert(HOST, host);
        }
        if length > 0 || asked.body.is_some() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Seen, String> {
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        let (response, lease) = self.upstream.send(request).await?;
        let (parts, mut incoming) = response.into_parts();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<(String, String)> =
            parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let (mut body, mut cut) = (Vec::new(), false);
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {}", cause(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            if body.len() + data.len() > BODY_BYTES_MAX {
                cut = true;
                break;
            }
            body.extend_from_slice(data);
        }
        if !cut {
            self.upstream.settle(lease);
        }
        let coding =
            headers.iter().find(|(name, _)| name == "content-encoding").map_or("", |(_, value)| value.as_str());
        if cut {
            body.clear();
        } else if let Ok(Some(content)) = unpack(coding, &body, RECORDED_BYTES_MAX) {
            body = content;
        }
        Ok(Seen { status: parts.status.as_u16(), headers, body, cut, took: Duration::ZERO })
    }
}

/// Path and query with live values.
fn target(recorded: &str, memory: &Memory, sets: &[&Set]) -> String {
    let (path, query) = match recorded.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (recorded, None),
    };
    let mut thing = "";
    let live = |part| memory.live_of(std::mem::replace(&mut thing, part), part).unwrap_or(part);
    let parts: Vec<&str> = path.split('/').map(live).collect();
    let path = parts.join("/");
    match query {
        Some(query) => {
            format!("{path}?{}", pairs(query, memory, sets, |target, name| *target == Target::Query(name.to_owned())))
        }
        None => path,
    }
}

fn pairs(text: &str, memory: &Memory, sets: &[&Set], is: impl Fn(&Target, &str) -> bool) -> String {
    let encode = |value: &str| url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
    let pair = |pair: &str| {
        let Some((name, value)) = pair.split_once('=') else { return pair.to_owned() };
        if let Some(set) = sets.iter().find(|set| is(&set.target, name)) {
            return format!("{name}={}", encode(&set.value));
        }
        let named = format!("a={value}");
        let plain = url::form_urlencoded::parse(named.as_bytes()).next();
        let plain = plain.map_or_else(String::new, |(_, plain)| plain.into_owned());
        let live = memory.live_named(name, &plain);
        live.map_or_else(|| pair.to_owned(), |live| format!("{name}={}", encode(live)))
    };
    text.split('&').map(pair).collect::<Vec<_>>().join("&")
}

fn header(name: &str, value: &str, memory: &Memory, sets: &[&Set]) -> String {
    if let Some(set) = sets.iter().find(|set| set.target == Target::Header(name.to_owned())) {
        return set.value.clone();
    }
    match name {
        "cookie" => {
            let cookie = |pair: &str| {
                let Some((name, value)) = pair.trim().split_once('=') else { return pair.trim().to_owned() };
                let set = sets.iter().find(|set| set.target == Target::Cookie(name.to_owned()));
                let set = set.map(|set| set.value.as_str());
                let live = set.or_else(|| memory.cookie(name)).or_else(|| memory.live(value, false)).unwrap_or(value);
                format!("{name}={live}")
            };
            value.split(';').map(cookie).collect::<Vec<_>>().join("; ")
        }
        "authorization" => match value.split_once(' ') {
            Some((scheme, token)) => format!("{scheme} {}", memory.live(token.trim(), false).unwrap_or(token)),
            None => memory.live(value, false).unwrap_or(value).to_owned(),
        },
        _ => memory.live(value, false).unwrap_or(value).to_owned(),
    }
}

fn body_of(kind: &str, content: Vec<u8>, memory: &Memory, sets: &[&Set]) -> Vec<u8> {
    if kind == "application/x-www-form-urlencoded" {
        return match String::from_utf8(content) {
            Ok(text) => {
                pairs(&text, memory, sets, |target, name| *target == Target::Form(name.to_owned())).into_bytes()
            }
            Err(error) => error.into_bytes(),
        };
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&content) else { return content };
    let mut changed = replace(&mut value, "", memory);
    for set in sets {
        if let Target::Json(pointer) = &set.target
            && let Some(place) = value.pointer_mut(pointer)
        {
            *place = Value::from(set.value.as_str());
            changed = true;
        }
    }
    if changed { value.to_string().into_bytes() } else { content }
}

/// Puts live values into JSON; whether anything changed.
fn replace(value: &mut Value, name: &str, memory: &Memory) -> bool {
    match value {
        Value::Array(items) => {
            items.iter_mut().map(|item| replace(item, name, memory)).fold(false, |any, one| any | one)
        }
        Value::Object(fields) => {
            fields.iter_mut().map(|(name, field)| replace(field, name, memory)).fold(false, |any, one| any | one)
        }
        _ => {
            let live = scalar(value).and_then(|text| memory.live_named(name, &text).map(str::to_owned));
            let Some(live) = live else { return false };
            let number = value.is_number().then(|| serde_json::from_str::<Value>(&live).ok()).flatten();
            *value = number.filter(Value::is_number).unwrap_or_else(|| Value::from(live));
            true
        }
    }
}

/// Whether a request still says a value that was masked, and so can't mean what it meant.
pub(super) fn still_masked(asked: &Asked, memory: &Memory, rules: &Rules) -> bool {
    let route = route::of(asked);
    let sets: Vec<&Set> = rules.set_on(&route).collect();
    let in_headers = asked.headers.iter().any(|(name, value)| header(name, value, memory, &sets).contains("masked-"));
    let body = asked.body.as_ref().and_then(crate::recording::Body::content).unwrap_or_default();
    let body = body_of(&media_type(&asked.headers), body, memory, &sets);
    in_headers
        || target(&asked.target, memory, &sets).contains("masked-")
        || String::from_utf8_lossy(&body).contains("masked-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Answer, Body};
    use vice_core::app::ProcessEnv;

    fn asked(target: &str, headers: &[(&str, &str)], body: Option<&str>) -> Asked {
        Asked {
            method: "POST".into(),
            target: target.into(),
            version: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.map(|text| Body::of(text.len() as u64, text.as_bytes().to_vec())),
        }
    }

    fn learnt(recorded: &str, live: &str) -> Memory {
        let headers = |sid: &str| vec![("set-cookie".to_owned(), format!("sid={sid}; Path=/"))];
        let exchange = Exchange {
            conn: 0,
            at_us: 0,
            took_us: 0,
            request: asked("/", &[], None),
            answer: Some(Answer {
                status: 200,
                headers: headers("old"),
                body: Some(Body::of(1, recorded.as_bytes().to_vec())),
                first_us: 0,
            }),
            upgraded: None,
            error: None,
        };
        let seen = Seen { status: 200, headers: headers("new"), body: live.as_bytes().to_vec(), ..Seen::default() };
        let mut memory = Memory::default();
        memory.learn(0, &exchange, &seen, &[]);
        memory
    }

    #[test]
    fn ids_of_two_kinds_with_one_number_are_told_apart() {
        let memory = learnt(
            r#"{"users":[{"id":5}],"orders":[{"id":5}],"parcel_id":5}"#,
            r#"{"users":[{"id":8}],"orders":[{"id":9}],"parcel_id":7}"#,
        );
        let none: [&Set; 0] = [];
        assert_eq!(target("/users/5/orders/5", &memory, &none), "/users/8/orders/9");
        assert_eq!(target("/parcels/5?user_id=5", &memory, &none), "/parcels/7?user_id=8");
    }

    #[test]
    fn live_values_stand_in_the_place_of_recorded_ones() {
        let memory = learnt(
            r#"{"token":"tok-0123456789","id":17,"name":"a","count":17}"#,
            r#"{"token":"tok-9876543210","id":42,"name":"b","count":18}"#,
        );
        let none: [&Set; 0] = [];
        assert_eq!(
            target("/items/17?page=17&user_id=17&t=tok-0123456789", &memory, &none),
            "/items/42?page=17&user_id=42&t=tok-9876543210"
        );
        assert_eq!(header("authorization", "Bearer tok-0123456789", &memory, &none), "Bearer tok-9876543210");
        assert_eq!(header("cookie", "a=b; sid=old", &memory, &none), "a=b; sid=new");
        let body = body_of(
            "application/json",
            br#"{"id":17,"n":17,"t":["tok-0123456789"],"name":"a"}"#.to_vec(),
            &memory,
            &none,
        );
        assert_eq!(String::from_utf8(body).unwrap(), r#"{"id":42,"n":17,"t":["tok-9876543210"],"name":"a"}"#);
        let untouched = br#"{ "n": 1.0 }"#;
        assert_eq!(body_of("application/json", untouched.to_vec(), &memory, &none), untouched);
    }

    #[test]
    fn rules_set_values_and_masked_ones_are_noticed() {
        let text = "[[set]]\njson = \"/password\"\nvalue = \"pw\"\n[[set]]\nheader = \"x-env\"\nvalue = \"test\"\n";
        let rules = Rules::parse(text, &ProcessEnv::default()).unwrap();
        let login = asked("/login", &[("content-type", "application/json")], Some(r#"{"password":"masked-1"}"#));
        assert!(still_masked(&login, &Memory::default(), &Rules::default()));
        assert!(!still_masked(&login, &Memory::default(), &rules));
    }
}
