//! Who asked what, and when: from recordings, from nginx's combined log, Caddy's JSON, and JSON lines of others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use vice_core::{Code, Context, Fault, Result};

use super::persona::{Sorting, Trait};
use super::route;
use crate::recording::{Exchange, Recording};

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The most requests that are learnt from.
const VISITS_MAX: usize = 5_000_000;

/// The share of lines that may make no sense.
const NONSENSE_MAX: f64 = 0.1;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Visit {
    /// Who asked.
    pub(crate) who: String,
    /// Its kind, such as `GET /items/{id}`.
    pub(crate) kind: String,
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// When, in seconds.
    pub(crate) at: f64,
    /// How long the answer took, in seconds.
    pub(crate) took: f64,
    /// The body with its content type, where it is known.
    pub(crate) body: Option<(String, String)>,
    /// What it says of who asks, by the rules of personas.
    pub(crate) marks: Vec<Option<String>>,
}

impl Visit {
    fn new(who: String, method: &str, target: &str, at: f64, took: f64) -> Option<Self> {
        let proper = target.starts_with('/') && target.parse::<http::Uri>().is_ok();
        let proper = proper && http::Method::from_bytes(method.as_bytes()).is_ok() && at.is_finite();
        proper.then(|| Self {
            who,
            kind: route::name(method, target.split('?').next().unwrap_or_default()),
            method: method.to_owned(),
            target: target.to_owned(),
            at,
            took: took.max(0.0),
            body: None,
            marks: Vec::new(),
        })
    }
}

/// The requests of a recording; `who` is the session.
pub(crate) fn of_recording(recording: &Recording, sessions: &[Vec<usize>], sorting: &Sorting) -> Vec<Visit> {
    let mut visits = Vec::new();
    for (session, steps) in sessions.iter().enumerate() {
        visits.extend(steps.iter().filter_map(|index| visit(session, &recording.exchanges[*index], sorting)));
    }
    visits
}

fn visit(session: usize, exchange: &Exchange, sorting: &Sorting) -> Option<Visit> {
    let asked = &exchange.request;
    let seconds = |micros: u64| micros as f64 / 1e6;
    let who = session.to_string();
    let mut visit = Visit::new(who, &asked.method, &asked.target, seconds(exchange.at_us), seconds(exchange.took_us))?;
    let kind = asked.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value.as_str());
    visit.body = asked.body.as_ref().and_then(|body| body.text.clone()).map(|text| (kind.to_owned(), text));
    visit.marks = sorting.marks(|by| match by {
        Trait::Header(name) => crate::recording::values(&asked.headers, name).next().map(str::to_owned),
        Trait::Cookie(name) => asked.cookie(name).map(str::to_owned),
        Trait::First | Trait::Target | Trait::Field(_) => None,
    });
    Some(visit)
}

/// Reads an access log. Gives how many lines made no sense as well.
///
/// # Errors
/// `Io` when it can't be read, `Decode` when too many lines make no sense.
pub(crate) fn read(path: &Path, sorting: &Sorting) -> Result<(Vec<Visit>, usize)> {
    let unreadable = || format!("The log {} can't be read.", path.display());
    let mut input = BufReader::new(File::open(path).context(Code::Io, unreadable)?);
    let (mut visits, mut lines, mut nonsense) = (Vec::new(), 0_usize, 0_usize);
    let mut first_bad = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context(Code::Io, unreadable)?;
        if count == 0 {
            break;
        }
        lines += 1;
        match parse(String::from_utf8_lossy(&line).trim(), sorting) {
            Some(visit) => visits.push(visit),
            None => {
                nonsense += 1;
                first_bad.get_or_insert(lines);
            }
        }
        if visits.len() >= VISITS_MAX {
            break;
        }
    }
    if lines == 0 || nonsense as f64 > NONSENSE_MAX * lines as f64 {
        let place = first_bad.unwrap_or(0);
        let fault =
            Fault::new(Code::Decode, format!("{nonsense} of {lines} lines of {} make no sense.", path.display()));
        return Err(fault
            .hint(format!("The first of them is line {place}."))
            .hint("Known: recordings, HAR, nginx's combined log, Caddy's JSON, JSON lines with time, method, path and client."));
    }
    visits.sort_by(|one, other| one.at.total_cmp(&other.at));
    Ok((visits, nonsense))
}

fn parse(line: &str, sorting: &Sorting) -> Option<Visit> {
    if line.starts_with('{') {
        let value: Value = serde_json::from_str(line).ok()?;
        let is_caddy = value.get("request").is_some_and(Value::is_object);
        let mut visit = if is_caddy { caddy(&value) } else { json(&value) }?;
        visit.marks = sorting.marks(|by| if is_caddy { caddy_mark(&value, by) } else { json_mark(&value, by) });
        return Some(visit);
    }
    let mut visit = combined(line)?;
    // "referer" and "agent" are the last two texts of the line.
    let mut texts = line.rsplit('"').skip(1).step_by(2);
    let (agent, referer) = (texts.next(), texts.next());
    visit.marks = sorting.marks(|by| match by {
        Trait::Header(name) if name == "user-agent" => agent.map(str::to_owned),
        Trait::Header(name) if name == "referer" => referer.map(str::to_owned),
        _ => None,
    });
    Some(visit)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What a line of Caddy says of a trait. Cookies are in it only where it was told to log credentials.
fn caddy_mark(value: &Value, by: &Trait) -> Option<String> {
    let header = |name: &str| {
        let headers = value.pointer("/request/headers")?.as_object()?;
        let (_, values) = headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        plain(values.get(0)?)
    };
    match by {
        Trait::Header(name) => header(name),
        Trait::Cookie(name) => {
            let pairs = header("cookie")?;
            let mut pairs = pairs.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(it, _)| it == name).map(|(_, value)| value.to_owned())
        }
        Trait::Field(name) => plain(value.get(name)?),
        Trait::First | Trait::Target => None,
    }
}

/// What a line of another log says of a trait: `user-agent` may be written `user_agent` and `http_user_agent`.
fn json_mark(value: &Value, by: &Trait) -> Option<String> {
    match by {
        Trait::Header(name) => {
            let word = name.replace('-', "_");
            [name.clone(), format!("http_{word}"), word].iter().find_map(|name| plain(value.get(name)?))
        }
        Trait::Cookie(name) => [format!("cookie_{name}")].iter().find_map(|name| plain(value.get(name)?)),
        Trait::Field(name) => plain(value.get(name)?),
        Trait::First | Trait::Target => None,
    }
}

/// `address - user [time] "method target version" status size "referer" "agent"`.
fn combined(line: &str) -> Option<Visit> {
    let (address, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (time, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once('"')?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let agent = rest.rsplit('"').nth(1).unwrap_or_default();
    let at = Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", time).ok()?;
    Visit::new(format!("{address} {agent}"), method, target, at.as_second() as f64, 0.0)
}

fn caddy(value: &Value) -> Option<Visit> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let took = value.get("duration").and_then(Value::as_f64).unwrap_or(0.0);
    // The line is written when the answer is over.
    let at = value.get("ts").and_then(moment)? - took;
    let address = text("/request/remote_ip").or_else(|| text("/request/client_ip")).unwrap_or_default();
    let agent = text("/request/headers/User-Agent/0").unwrap_or_default();
    Visit::new(format!("{address} {agent}"), text("/request/method")?, text("/request/uri")?, at, took)
}

/// JSON lines of others, by the names that are usual.
fn json(value: &Value) -> Option<Visit> {
    let first = |names: &[&str]| names.iter().find_map(|name| value.get(name));
    let at = first(&["time", "ts", "timestamp", "@timestamp", "time_local", "time_iso8601"]).and_then(moment)?;
    let method = first(&["method", "request_method", "verb"]).and_then(Value::as_str).unwrap_or("GET");
    let target = first(&["path", "uri", "request_uri", "url", "target"]).and_then(Value::as_str)?;
    let target = match url::Url::parse(target) {
        Ok(url) => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        Err(_) => target.to_owned(),
    };
    let who = first(&["session", "user", "client", "ip", "remote_addr", "remote_ip", "client_ip"]);
    let who = who.map_or_else(String::new, |who| who.as_str().map_or_else(|| who.to_string(), str::to_owned));
    let took = first(&["duration", "request_time", "took"]).and_then(Value::as_f64).unwrap_or(0.0);
    Visit::new(who, method, &target, at, took)
}

/// Seconds since 1970, from a number (seconds or milliseconds) or a text.
fn moment(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            Some(if number > 1e11 { number / 1e3 } else { number })
        }
        Value::String(text) => {
            let at: Timestamp = text.parse().or_else(|_| Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", text)).ok()?;
            Some(at.as_microsecond() as f64 / 1e6)
        }
        _ => None,
    }
}

/// The visits of each person, cut where they were away for longer than `gap` seconds.
pub(super) fn sessions(visits: &[Visit], gap: f64) -> Vec<Vec<&Visit>> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sessions: Vec<Vec<&Visit>> = Vec::new();
    for visit in visits {
        let place = open.get(visit.who.as_str()).copied();
        let fresh = |place: &usize| sessions[*place].last().is_some_and(|last| visit.at - last.at <= gap);
        match place.filter(fresh) {
            Some(place) => sessions[place].push(visit),
            None => {
                open.insert(&visit.who, sessions.len());
                sessions.push(vec![visit]);
            }
        }
    }
    sessions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_read() {
        let rules = ["robot=header:user-agent~^curl".to_owned(), "field:plan".to_owned()];
        let sorting = Sorting::parse(&rules).unwrap();
        let combined =
            r#"127.0.0.1 - - [29/Nov/2026:00:26:04 +0000] "GET /items/7?a=b HTTP/1.1" 200 56 "-" "curl/7.88.1""#;
        let caddy = r#"{"ts":1795911966.5,"request":{"remote_ip":"127.0.0.1","method":"GET","uri":"/items/7?a=b","headers":{"User-Agent":["curl/7.88.1"]}},"duration":2.5,"status":200}"#;
        let other = r#"{"time":"2026-11-29T00:26:04Z","method":"GET","path":"/items/7?a=b","ip":"127.0.0.1 curl/7.88.1","user_agent":"curl/7.88.1","duration":2.5}"#;
        for (line, took) in [(combined, 0.0), (caddy, 2.5), (other, 2.5)] {
            let visit = parse(line, &sorting).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((visit.kind.as_str(), visit.target.as_str()), ("GET /items/{id}", "/items/7?a=b"));
            assert_eq!((visit.who.as_str(), visit.took), ("127.0.0.1 curl/7.88.1", took));
            assert_eq!(visit.marks, [Some("curl/7.88.1".to_owned()), None], "{line}");
            assert!((visit.at - 1_795_911_964.0).abs() < 1e-3, "{line}: {}", visit.at);
        }
        for nonsense in
            ["", "-", "{}", "{\"request\":{}}", r#"x - - [never] "GET / HTTP/1.1" 200 1"#, r#"{"ts":1,"path":"no"}"#]
        {
            assert_eq!(parse(nonsense, &sorting), None, "{nonsense}");
        }
    }

    #[test]
    fn who_was_away_for_long_comes_anew() {
        let visit = |who: &str, at: f64| Visit::new(who.into(), "GET", "/", at, 0.0).unwrap();
        let visits = [visit("a", 0.0), visit("b", 1.0), visit("a", 50.0), visit("a", 200.0)];
        let lengths: Vec<usize> = sessions(&visits, 60.0).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }
}
