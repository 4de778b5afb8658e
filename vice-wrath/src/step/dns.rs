//! Steps over DNS (RFC 1035): one question to one server, by UDP and, where the answer was cut, by TCP. Its own few
//! lines instead of a resolver, because a check wants to see what a server says and not what a cache remembers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::{Tried, Try};
use crate::http::explain::io_cause;
use crate::query::facts::Facts;

/// Kinds of records with their numbers.
const KINDS: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("CAA", 257),
];

/// The longest answer by UDP that we ask for: what passes everywhere without being split.
const UDP_BYTES_MAX: u16 = 1232;

/// So many jumps a compressed name may take.
const JUMPS_MAX: usize = 64;

/// How often a question is sent by UDP; a packet may be lost.
const SENDS: u32 = 3;

/// Whether a word is a kind of record.
pub(crate) fn is_kind(word: &str) -> bool {
    KINDS.iter().any(|(kind, _)| *kind == word)
}

/// The kinds that are known.
pub(crate) fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|(kind, _)| *kind).collect()
}

pub(super) async fn attempt(
    attempt: &Try<'_>,
    name: &str,
    kind: &str,
    server: Option<&str>,
    mut facts: Facts,
) -> Tried {
    match ask(attempt, name, kind, server, &mut facts).await {
        Ok(()) => Tried { facts, error: None, late: false },
        Err(why) => Tried::failed(facts, why),
    }
}

async fn ask(attempt: &Try<'_>, name: &str, kind: &str, server: Option<&str>, facts: &mut Facts) -> Result<(), String> {
    let name = attempt.text(name)?;
    let number = KINDS.iter().find(|(known, _)| *known == kind).map_or(1, |(_, number)| *number);
    let server = match server {
        Some(server) => address(&attempt.text(server)?)?,
        None => system_server()?,
    };
    // Which number a question has matters only to tell answers apart; the socket's port is the system's choice.
    let id = u16::try_from(facts.now.as_nanosecond().rem_euclid(65_521)).unwrap_or(1);
    let question = question(id, &name, number)?;
    let began = Instant::now();
    let late = || format!("{server} gave no answer within {}", attempt.timeout);
    let mut answer = timeout_at(attempt.until, by_udp(server, &question, id)).await.map_err(|_| late())??;
    if answer.get(2).is_some_and(|flags| flags & 0x02 != 0) {
        answer = timeout_at(attempt.until, by_tcp(server, &question)).await.map_err(|_| late())??;
    }
    facts.timing.total = began.elapsed();
    facts.ip = Some(server.ip().to_string());
    let (code, records) =
        read(&answer, id, number).ok_or_else(|| format!("{server} gave an answer that makes no sense"))?;
    facts.status = Some(code);
    facts.body =
        records.iter().map(|record| record.as_str().unwrap_or_default()).collect::<Vec<_>>().join("\n").into_bytes();
    facts.records = Some(records);
    let error = match code {
        0 => return Ok(()),
        3 => format!("there is no name {name}"),
        2 => format!("{server} could not find it out (SERVFAIL)"),
        5 => format!("{server} refuses to answer"),
        other => format!("{server} answered with the code {other}"),
    };
    // Whoever expects no records has not failed at a name that does not exist.
    let expects_none = code == 3
        && attempt.step.expect.iter().any(|assertion| matches!(assertion.query, crate::query::Query::Records));
    if expects_none { Ok(()) } else { Err(error) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is not the address of a server; write 127.0.0.1 or 127.0.0.1:53");
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 53));
    }
    text.parse().map_err(|_| wrong())
}

fn system_server() -> Result<SocketAddr, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let first = named.filter_map(|rest| rest.trim().parse::<IpAddr>().ok()).next();
    first
        .map(|ip| SocketAddr::new(ip, 53))
        .ok_or_else(|| "the system names no DNS server; give the step a server, such as \"127.0.0.1:53\"".to_owned())
}

fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    // Recursion desired; one question, one additional record (EDNS, for longer answers).
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    let bare = name.trim_end_matches('.');
    for label in bare.split('.').filter(|_| !bare.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        out.push(length.ok_or_else(|| format!("{name:?} is not a name that can be asked for"))?);
        out.extend(label.bytes());
    }
    if bare.len() > 253 {
        return Err(format!("{name:?} is too long for a name"));
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend([0, 0, 41]);
    out.extend(UDP_BYTES_MAX.to_be_bytes());
    out.extend([0, 0, 0, 0, 0, 0]);
    Ok(out)
}

async fn by_udp(server: SocketAddr, question: &[u8], id: u16) -> Result<Vec<u8>, String> {
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let said = |error: std::io::Error| format!("{server} can't be asked: {}", io_cause(&error));
    let socket = UdpSocket::bind(local).await.map_err(said)?;
    socket.connect(server).await.map_err(said)?;
    let mut buffer = [0_u8; 4096];
    let mut sends = 0;
    loop {
        socket.send(question).await.map_err(said)?;
        sends += 1;
        let patience =
            if sends < SENDS { std::time::Duration::from_secs(2) } else { std::time::Duration::from_secs(86_400) };
        match tokio::time::timeout(patience, socket.recv(&mut buffer)).await {
            Err(_) => {}
            // Something else that came from there; the answer may still come.
            Ok(Ok(count)) if count < 12 || buffer[..2] != id.to_be_bytes() => {}
            Ok(Ok(count)) => return Ok(buffer[..count].to_vec()),
            Ok(Err(error)) => return Err(said(error)),
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("{server} can't be asked by TCP: {}", io_cause(&error));
    let mut stream = TcpStream::connect(server).await.map_err(said)?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await.map_err(said)?;
    let mut head = [0_u8; 2];
    stream.read_exact(&mut head).await.map_err(said)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(head))];
    stream.read_exact(&mut answer).await.map_err(said)?;
    Ok(answer)
}

/// The code of an answer and its records of a kind, aliases among them left out unless they were asked for.
fn read(answer: &[u8], id: u16, kind: u16) -> Option<(u16, Vec<Value>)> {
    let mut at = Reader { bytes: answer, at: 0 };
    let same = at.u16()? == id;
    let flags = at.u16()?;
    if !same || flags & 0x8000 == 0 {
        return None;
    }
    let (questions, answers) = (at.u16()?, at.u16()?);
    at.at += 4;
    for _ in 0..questions {
        at.name()?;
        at.at += 4;
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        at.name()?;
        let found = at.u16()?;
        at.at += 6;
        let length = usize::from(at.u16()?);
        let end = at.at.checked_add(length).filter(|end| *end <= answer.len())?;
        if found == kind {
            records.push(at.record(kind, end)?);
        }
        at.at = end;
    }
    Some((flags & 0x0f, records))
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn slice(&mut self, end: usize) -> Option<&[u8]> {
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }

    fn name(&mut self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let mut at = self.at;
        let mut jumped = false;
        for _ in 0..JUMPS_MAX + 128 {
            let length = usize::from(*self.bytes.get(at)?);
            if length & 0xc0 == 0xc0 {
                let low = usize::from(*self.bytes.get(at + 1)?);
                if !std::mem::replace(&mut jumped, true) {
                    self.at = at + 2;
                }
                at = (length & 0x3f) << 8 | low;
                continue;
            }
            if length == 0 {
                if !jumped {
                    self.at = at + 1;
                }
                return Some(labels.join("."));
            }
            labels.push(String::from_utf8_lossy(self.bytes.get(at + 1..at + 1 + length)?).into_owned());
            at += length + 1;
        }
        None
    }

    fn record(&mut self, kind: u16, end: usize) -> Option<Value> {
        let text = match kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(self.slice(end)?).ok()?).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(self.slice(end)?).ok()?).to_string(),
            2 | 5 | 12 => self.name()?,
            15 => {
                let preference = self.u16()?;
                format!("{preference} {}", self.name()?)
            }
            33 => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            6 => {
                let (server, contact) = (self.name()?, self.name()?);
                format!("{server} {contact} {}", self.u32()?)
            }
            16 => {
                let mut text = String::new();
                while self.at < end {
                    let length = usize::from(self.u8()?);
                    text.push_str(&String::from_utf8_lossy(self.slice((self.at + length).min(end))?));
                }
                text
            }
            _ => {
                let flags = self.u8()?;
                let length = usize::from(self.u8()?);
                let tag = String::from_utf8_lossy(self.slice((self.at + length).min(end))?).into_owned();
                format!("{flags} {tag} {}", String::from_utf8_lossy(self.slice(end)?))
            }
        };
        Some(json!(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_read() {
        let question = question(7, "a.example.", 1).unwrap();
        assert_eq!(&question[12..23], b"\x01a\x07example\x00"[..].get(..11).unwrap());
        let mut answer =
            b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01".to_vec();
        answer.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01b\xc0\x0e");
        answer.extend(b"\xc0\x27\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01");
        assert_eq!(read(&answer, 7, 1), Some((0, vec![json!("127.0.0.1")])));
        assert_eq!(read(&answer, 7, 5), Some((0, vec![json!("b.example")])));
        assert_eq!(read(&answer, 8, 1), None);
        for end in 0..answer.len() {
            assert!(read(&answer[..end], 7, 1).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn names_that_point_at_themselves_end() {
        let answer = b"\x00\x07\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01";
        assert_eq!(read(answer, 7, 1), None);
        assert!(question(1, &"a.".repeat(200), 1).is_err());
        assert!(question(1, "a..b", 1).is_err());
    }
}
