//! HAR 1.2, the format in which browsers and other proxies write what they saw.

use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::body::Body;
use super::exchange::{Answer, Asked, Exchange, Opening, values};
use super::read::{Ending, Recording};

/// A recording as a HAR document.
pub(crate) fn to_har(recording: &Recording) -> Value {
    let began: Timestamp = recording.opening.began.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let base = recording.opening.to.trim_end_matches('/');
    let entries: Vec<Value> = recording.exchanges.iter().map(|exchange| entry(base, began, exchange)).collect();
    json!({ "log": {
        "version": "1.2",
        "creator": { "name": "vice", "version": env!("CARGO_PKG_VERSION") },
        "entries": entries,
    } })
}

fn entry(base: &str, began: Timestamp, exchange: &Exchange) -> Value {
    let micros = i64::try_from(exchange.at_us).unwrap_or(i64::MAX);
    let at = began.checked_add(jiff::SignedDuration::from_micros(micros)).unwrap_or(began);
    let took = exchange.took_us as f64 / 1e3;
    let first = exchange.answer.as_ref().map_or(took, |answer| answer.first_us as f64 / 1e3).min(took);
    json!({
        "startedDateTime": at.to_string(),
        "time": took,
        "request": request(base, &exchange.request),
        "response": response(exchange.answer.as_ref()),
        "cache": {},
        "timings": { "send": 0, "wait": first, "receive": took - first },
        "connection": exchange.conn.to_string(),
        "_error": exchange.error,
    })
}

fn pairs<'p>(all: impl Iterator<Item = (&'p str, &'p str)>) -> Value {
    all.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn header_pairs(headers: &[(String, String)]) -> Value {
    pairs(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn request(base: &str, asked: &Asked) -> Value {
    let query = asked.target.split_once('?').map_or("", |(_, query)| query);
    let query = url::form_urlencoded::parse(query.as_bytes());
    let query: Vec<Value> = query.map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let cookies = values(&asked.headers, "cookie").flat_map(|value| value.split(';'));
    let cookies = cookies.filter_map(|pair| pair.trim().split_once('='));
    let mut out = json!({
        "method": asked.method,
        "url": format!("{base}{}", asked.target),
        "httpVersion": asked.version,
        "cookies": pairs(cookies),
        "headers": header_pairs(&asked.headers),
        "queryString": query,
        "headersSize": -1,
        "bodySize": asked.body.as_ref().map_or(0, |body| body.size),
    });
    if let Some(body) = &asked.body {
        let kind = values(&asked.headers, "content-type").next().unwrap_or_default();
        let mut data = json!({ "mimeType": kind, "text": body.text.as_ref().or(body.base64.as_ref()) });
        if body.base64.is_some() {
            // HAR has no word for it in requests; other tools write this one.
            data["_encoding"] = "base64".into();
        }
        if let Some(cut) = &body.cut {
            data["comment"] = format!("not kept: {cut}").into();
        }
        out["postData"] = data;
    }
    out
}

fn response(answer: Option<&Answer>) -> Value {
    let Some(answer) = answer else {
        return json!({
            "status": 0, "statusText": "", "httpVersion": "", "cookies": [], "headers": [], "redirectURL": "",
            "headersSize": -1, "bodySize": -1, "content": { "size": 0, "mimeType": "" },
        });
    };
    let body = answer.body.clone().unwrap_or_default();
    let kind = values(&answer.headers, "content-type").next().unwrap_or_default();
    let mut content = json!({ "size": body.size, "mimeType": kind });
    if let Some(text) = body.text.as_ref().or(body.base64.as_ref()) {
        content["text"] = text.as_str().into();
    }
    if body.base64.is_some() {
        content["encoding"] = "base64".into();
    }
    if let Some(cut) = &body.cut {
        content["comment"] = format!("not kept: {cut}").into();
    }
    json!({
        "status": answer.status, "statusText": "", "httpVersion": "HTTP/1.1",
        "cookies": pairs(answer.set_cookies()),
        "headers": header_pairs(&answer.headers),
        "redirectURL": values(&answer.headers, "location").next().unwrap_or_default(),
        "headersSize": -1, "bodySize": body.size, "content": content,
    })
}

/// Reads a HAR document. Only the host that is asked most is kept: a recording is of one server.
///
/// # Errors
/// Text that says what is wrong.
pub(super) fn from_har(text: &[u8]) -> Result<Recording, String> {
    let document: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON ({error})"))?;
    let entries = document.pointer("/log/entries").and_then(Value::as_array).ok_or("it has no log of entries")?;
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        found.push(read_entry(entry).ok_or_else(|| format!("its entry {index} is not one"))?);
    }
    let base = main_origin(&found).ok_or("it has no entry")?;
    let began = found.iter().map(|(_, at, _)| *at).min().unwrap_or(Timestamp::UNIX_EPOCH);
    let mut exchanges: Vec<Exchange> = found
        .into_iter()
        .filter(|(origin, ..)| *origin == base)
        .map(|(_, at, mut exchange)| {
            exchange.at_us = u64::try_from(at.as_microsecond() - began.as_microsecond()).unwrap_or(0);
            exchange
        })
        .collect();
    exchanges.sort_by_key(|exchange| exchange.at_us);
    let opening = Opening { vice_recording: 1, began: began.to_string(), to: base, masked: false };
    Ok(Recording { opening, exchanges, ending: Ending::Closed(0) })
}

fn main_origin(found: &[(String, Timestamp, Exchange)]) -> Option<String> {
    let mut counts = std::collections::BTreeMap::new();
    for (origin, ..) in found {
        *counts.entry(origin).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(origin, _)| origin.clone())
}

fn read_entry(entry: &Value) -> Option<(String, Timestamp, Exchange)> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let request = entry.get("request")?;
    let url = Url::parse(request.get("url")?.as_str()?).ok()?;
    let at: Timestamp = entry.get("startedDateTime")?.as_str()?.parse().ok()?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let micros = |value: Option<&Value>| (value.and_then(Value::as_f64).unwrap_or(0.0).max(0.0) * 1e3) as u64;
    let asked = Asked {
        method: text(request, "method")?,
        target: format!("{}{query}", url.path()),
        version: text(request, "httpVersion").unwrap_or_default(),
        headers: read_headers(request),
        body: request.get("postData").and_then(|data| read_body(data, data.get("_encoding"), request.get("bodySize"))),
    };
    let response = entry.get("response")?;
    let status = u16::try_from(response.get("status")?.as_u64()?).ok()?;
    let content = response.get("content");
    let answer = (status > 0).then(|| Answer {
        status,
        headers: read_headers(response),
        body: content.and_then(|content| read_body(content, content.get("encoding"), content.get("size"))),
        first_us: micros(entry.pointer("/timings/wait")),
    });
    let error = text(entry, "_error").or_else(|| (status == 0).then(|| "there was no answer".to_owned()));
    let conn = text(entry, "connection").and_then(|conn| conn.parse().ok()).unwrap_or(0);
    let protocol = |answer: &Answer| values(&answer.headers, "upgrade").next().unwrap_or("unknown").to_owned();
    let upgraded = answer.as_ref().filter(|answer| answer.status == 101).map(protocol);
    let took_us = micros(entry.get("time"));
    let exchange = Exchange { conn, at_us: 0, took_us, request: asked, answer, upgraded, error };
    Some((url.origin().ascii_serialization(), at, exchange))
}

fn read_headers(message: &Value) -> Vec<(String, String)> {
    let all = message.get("headers").and_then(Value::as_array).into_iter().flatten();
    let pair = |header: &Value| {
        let name = header.get("name")?.as_str()?.to_ascii_lowercase();
        // Browsers write the pseudo-headers of HTTP/2 down as well.
        (!name.starts_with(':')).then_some((name, header.get("value")?.as_str()?.to_owned()))
    };
    all.filter_map(pair).collect()
}

fn read_body(content: &Value, encoding: Option<&Value>, size: Option<&Value>) -> Option<Body> {
    let text = content.get("text").and_then(Value::as_str);
    let size = size.and_then(Value::as_u64).unwrap_or_else(|| text.map_or(0, |text| text.len() as u64));
    match text {
        Some(text) if encoding.and_then(Value::as_str) == Some("base64") => {
            Some(Body { size, base64: Some(text.to_owned()), ..Body::default() })
        }
        Some(text) if !text.is_empty() => Some(Body { size, text: Some(text.to_owned()), ..Body::default() }),
        _ if size > 0 => Some(Body::without(size, "the HAR file has no content of it")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_comes_back_from_har() {
        let exchange = |at_us: u64, target: &str, body: Option<Body>| Exchange {
            conn: 3,
            at_us,
            took_us: 1500,
            request: Asked {
                method: "POST".into(),
                target: target.into(),
                version: "HTTP/1.1".into(),
                headers: vec![("content-type".into(), "text/plain".into()), ("cookie".into(), "a=b; c=d".into())],
                body: body.clone(),
            },
            answer: Some(Answer { status: 201, headers: vec![("x".into(), "y".into())], body, first_us: 1000 }),
            upgraded: None,
            error: None,
        };
        let recording = Recording {
            opening: Opening {
                vice_recording: 1,
                began: "2026-01-02T03:04:05Z".into(),
                to: "http://shop.test".into(),
                masked: true,
            },
            exchanges: vec![
                exchange(0, "/a?b=c%20d", Some(Body::of(2, b"hi".to_vec()))),
                exchange(2_500_000, "/b", Some(Body::of(3, vec![0xff, 0, 1]))),
                exchange(3_000_000, "/c", None),
            ],
            ending: Ending::Closed(0),
        };
        let har = to_har(&recording);
        let back = from_har(har.to_string().as_bytes()).unwrap();
        assert_eq!(back.exchanges, recording.exchanges);
        assert_eq!(har.pointer("/log/entries/0/request/queryString/0/value"), Some(&"c d".into()));
        assert_eq!(har.pointer("/log/entries/0/request/cookies/1/name"), Some(&"c".into()));
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        assert!(from_har(b"{").unwrap_err().contains("not JSON"));
        assert!(from_har(b"{}").unwrap_err().contains("no log"));
        assert!(from_har(br#"{"log":{"entries":[{"request":1}]}}"#).unwrap_err().contains("entry 0"));
    }
}
