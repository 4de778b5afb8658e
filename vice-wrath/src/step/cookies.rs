//! Cookies from step to step, as RFC 6265 has them: domain, path, secure, expiry. It keeps what one scenario was given.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;

use crate::query::facts::SetCookie;

/// So many cookies are kept; a browser keeps 50 for a domain.
const COOKIES_MAX: usize = 300;

/// The longest cookie that is kept, in bytes.
const COOKIE_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone)]
struct Kept {
    value: String,
    host_only: bool,
    secure: bool,
    expires: Option<Timestamp>,
}

/// Domain, path and name.
type Key = (String, String, String);

/// The cookies of one scenario.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    kept: Mutex<BTreeMap<Key, Kept>>,
}

/// Reads one `Set-Cookie` header.
pub(crate) fn parse(header: &str) -> Option<SetCookie> {
    let mut parts = header.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    let attributes = parts.map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (key.trim().to_ascii_lowercase(), value.trim().to_owned())
    });
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some(SetCookie { name: name.to_owned(), value: bare.to_owned(), attributes: attributes.collect() })
}

impl SetCookie {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(seconds) = self.attribute("max-age").and_then(|text| text.parse::<i64>().ok()) {
            let seconds = seconds.clamp(-1, 400 * 86_400);
            return now.checked_add(SignedDuration::from_secs(seconds)).ok();
        }
        let text = self.attribute("expires")?.replace('-', " ");
        jiff::fmt::rfc2822::parse(&text).ok().map(|zoned| zoned.timestamp())
    }
}

impl Jar {
    /// Takes what an answer of this URL sets. Cookies for other hosts are refused.
    pub(crate) fn take(&self, url: &Url, cookies: &[SetCookie], now: Timestamp) {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for cookie in cookies {
            let asked = cookie.attribute("domain").map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
            let asked = asked.filter(|domain| !domain.is_empty());
            let domain = asked.clone().unwrap_or_else(|| host.clone());
            let too_long = cookie.name.len() + cookie.value.len() > COOKIE_BYTES_MAX;
            // A domain of one word would be a whole top level.
            let foreign = !domain_fits(&host, &domain) || (domain != host && !domain.contains('.'));
            if too_long || foreign {
                continue;
            }
            let path = cookie.attribute("path").filter(|path| path.starts_with('/'));
            let path = path.map_or_else(|| default_path(url.path()), str::to_owned);
            let key = (domain, path, cookie.name.clone());
            let expires = cookie.expires(now);
            if expires.is_some_and(|at| at <= now) {
                kept.remove(&key);
            } else if kept.len() < COOKIES_MAX || kept.contains_key(&key) {
                let secure = cookie.attribute("secure").is_some();
                let value = cookie.value.clone();
                kept.insert(key, Kept { value, host_only: asked.is_none(), secure, expires });
            }
        }
    }

    /// The cookies for a URL, those with longer paths first.
    pub(crate) fn for_url(&self, url: &Url, now: Timestamp) -> Vec<(String, String)> {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let secure = url.scheme() == "https" || matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting: Vec<(&Key, &Kept)> = kept
            .iter()
            .filter(|((domain, path, _), kept)| {
                let host_fits = if kept.host_only { host == *domain } else { domain_fits(&host, domain) };
                host_fits
                    && path_fits(url.path(), path)
                    && (secure || !kept.secure)
                    && kept.expires.is_none_or(|at| at > now)
            })
            .collect();
        fitting.sort_by_key(|((_, path, _), _)| std::cmp::Reverse(path.len()));
        fitting.into_iter().map(|((_, _, name), kept)| (name.clone(), kept.value.clone())).collect()
    }
}

fn domain_fits(host: &str, domain: &str) -> bool {
    let below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let is_address = host.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    host == domain || (below && !is_address)
}

fn path_fits(path: &str, cookie: &str) -> bool {
    path == cookie || path.strip_prefix(cookie).is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}

fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().unwrap()
    }

    fn sent(jar: &Jar, url: &str) -> Vec<String> {
        let all = jar.for_url(&Url::parse(url).unwrap(), now());
        all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn take(jar: &Jar, url: &str, header: &str) {
        jar.take(&Url::parse(url).unwrap(), &[parse(header).unwrap()], now());
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let jar = Jar::default();
        take(&jar, "http://shop.test/a/b", "sid=\"1\"; HttpOnly");
        take(&jar, "http://shop.test/", "wide=2; Domain=.shop.test; Path=/");
        take(&jar, "https://shop.test/", "safe=3; Secure; Path=/");
        take(&jar, "http://shop.test/", "evil=4; Domain=bank.test");
        take(&jar, "http://shop.test/", "top=5; Domain=test");
        assert_eq!(sent(&jar, "http://shop.test/a/c"), ["sid=1", "wide=2"]);
        assert_eq!(sent(&jar, "http://shop.test/ab"), ["wide=2"]);
        assert_eq!(sent(&jar, "http://img.shop.test/"), ["wide=2"]);
        assert_eq!(sent(&jar, "https://shop.test/"), ["safe=3", "wide=2"]);
        assert!(sent(&jar, "http://bank.test/").is_empty());
    }

    #[test]
    fn cookies_end() {
        let jar = Jar::default();
        take(&jar, "http://a.test/", "x=1; Expires=Wed, 21-Oct-2099 07:28:00 GMT");
        take(&jar, "http://a.test/", "y=1; Max-Age=60");
        take(&jar, "http://a.test/", "z=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(sent(&jar, "http://a.test/"), ["x=1", "y=1"]);
        take(&jar, "http://a.test/", "x=; Max-Age=0");
        assert_eq!(sent(&jar, "http://a.test/"), ["y=1"]);
    }

    #[test]
    fn a_jar_stays_bounded() {
        let jar = Jar::default();
        for number in 0..1000 {
            take(&jar, "http://a.test/", &format!("c{number}=1"));
        }
        take(&jar, "http://a.test/", &format!("long={}", "x".repeat(5000)));
        assert_eq!(sent(&jar, "http://a.test/").len(), COOKIES_MAX);
        assert!(parse("nothing").is_none() && parse("=x").is_none());
    }
}
