//! What happens to headers on their way through: those of one connection stay behind, and the upstream is told who
//! really asked. Names are passed in lower case; `Host` is kept and no `Via` is added.

use http::header::{
    CONNECTION, CONTENT_LENGTH, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Takes out what concerns only the connection it came on. Returns the protocol to which an upgrade was asked for.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrading = false;
    if let Entry::Occupied(connection) = headers.entry(CONNECTION) {
        let values: Vec<HeaderValue> = connection.remove_entry_mult().1.collect();
        for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let name = name.trim();
            if name.eq_ignore_ascii_case("upgrade") {
                upgrading = true;
            } else if may_be_named(name) {
                headers.remove(name);
            }
        }
    }
    let trailers = headers.get(TE).is_some_and(wants_trailers);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(UPGRADE).filter(|_| upgrading)
}

/// `Connection` may name a header for removal, but not one without which the message would mean something else.
fn may_be_named(name: &str) -> bool {
    let needed = [HOST.as_str(), CONTENT_LENGTH.as_str(), "close", "keep-alive", ""];
    !needed.iter().any(|needed| name.eq_ignore_ascii_case(needed))
}

fn wants_trailers(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or("");
    text.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Asks for, or grants, the switch to `protocol`.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Says on whose behalf the request is made. Unless the client is itself a proxy that is trusted, what it claims about
/// an earlier hop is replaced.
pub(super) fn set_forwarded(headers: &mut HeaderMap, client: &HeaderValue, trusted: bool) {
    let chain = headers.get(&FORWARDED_FOR).filter(|_| trusted).and_then(|earlier| {
        let text = [earlier.as_bytes(), b", ", client.as_bytes()].concat();
        HeaderValue::from_bytes(&text).ok()
    });
    headers.insert(FORWARDED_FOR, chain.unwrap_or_else(|| client.clone()));
    if !(trusted && headers.contains_key(&FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !(trusted && headers.contains_key(&FORWARDED_HOST)) {
        match headers.get(HOST).cloned() {
            Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
            None => drop(headers.remove(&FORWARDED_HOST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut map = headers(&[
            ("connection", "close, X-Secret-Hop, host"),
            ("x-secret-hop", "1"),
            ("host", "a"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-kept", "1"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut map), None);
        assert_eq!(map, headers(&[("host", "a"), ("te", "trailers"), ("x-kept", "1")]));
    }

    #[test]
    fn an_upgrade_is_recognised_only_when_the_connection_names_it() {
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip_hop_by_hop(&mut map).unwrap(), "websocket");
        assert!(map.is_empty());
    }

    #[test]
    fn claims_of_an_untrusted_client_are_replaced() {
        let client = HeaderValue::from_static("10.0.0.9");
        let claimed =
            [("host", "a"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "b")];
        let mut map = headers(&claimed);
        set_forwarded(&mut map, &client, false);
        assert_eq!(
            map,
            headers(&[
                ("host", "a"),
                ("x-forwarded-for", "10.0.0.9"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "a")
            ])
        );
        let mut map = headers(&claimed);
        set_forwarded(&mut map, &client, true);
        assert_eq!(
            map,
            headers(&[
                ("host", "a"),
                ("x-forwarded-for", "1.1.1.1, 10.0.0.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "b")
            ])
        );
    }
}
