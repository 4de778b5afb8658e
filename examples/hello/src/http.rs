//! The part of HTTP/1.1 that a small service needs: keep-alive, Content-Length and chunked request bodies,
//! bounded heads and bodies. One thread serves one connection; it knows nothing of the service's routes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request head longer than this is refused: no honest client of this service needs 16 KiB of headers.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// `/echo` keeps the whole body in memory, so the body is bounded.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longer than the idle time of common proxies, so that the proxy closes first and no request meets a closing socket.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// A request whose body has been read completely.
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Query,
    pub body: Vec<u8>,
    keep_alive: bool,
}

/// The decoded `key=value` pairs behind the question mark, in their order.
#[derive(Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What goes back to the client; the length and connection headers are added on the way out.
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: String) -> Self {
        Self { status, content_type: "application/json", body: body.into_bytes() }
    }

    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, format!("{{\"error\":{}}}", json_string(message)))
    }

    fn write_to(&self, out: &mut impl Write, keep_alive: bool, head_only: bool) -> io::Result<()> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
        )
        .into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        // One write, so that head and body leave in one packet where they fit.
        out.write_all(&bytes)
    }
}

/// Serves requests on one connection until the client closes it, asks to close it, or breaks the protocol.
pub fn serve(stream: TcpStream, handle: impl Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_MAX))?;
    stream.set_write_timeout(Some(IDLE_MAX))?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let request = match read_request(&mut input, &mut out) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(Broken::Io(error)) => return Err(error),
            Err(Broken::Refused(status, why)) => return Response::error(status, why).write_to(&mut out, false, false),
        };
        handle(&request).write_to(&mut out, request.keep_alive, request.method == "HEAD")?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

/// Answers without reading, and closes. A client that is gone already does not matter here.
pub fn refuse(mut stream: TcpStream, response: &Response) {
    drop(response.write_to(&mut stream, false, false));
}

/// Why a request could not be read.
enum Broken {
    Io(io::Error),
    Refused(u16, &'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The headers that change how a request is read.
struct Framing {
    length: usize,
    chunked: bool,
    keep_alive: bool,
    expects_continue: bool,
}

fn read_request(input: &mut impl BufRead, out: &mut impl Write) -> Result<Option<Request>, Broken> {
    let mut head = input.by_ref().take(HEAD_BYTES_MAX);
    let Some(line) = read_line(&mut head)? else { return Ok(None) };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Broken::Refused(400, "The request line is not METHOD TARGET VERSION."));
    };
    let framing = read_framing(&mut head, version == "HTTP/1.1")?;
    if framing.expects_continue {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = if framing.chunked { read_chunks(input)? } else { read_sized(input, framing.length)? };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: Query::parse(query),
        body,
        keep_alive: framing.keep_alive,
    }))
}

fn read_framing(head: &mut impl BufRead, keep_alive: bool) -> Result<Framing, Broken> {
    let mut framing = Framing { length: 0, chunked: false, keep_alive, expects_continue: false };
    loop {
        let line = read_line(head)?.ok_or(Broken::Refused(431, "The request head is cut off or too long."))?;
        if line.is_empty() {
            return Ok(framing);
        }
        let (name, value) = line.split_once(':').ok_or(Broken::Refused(400, "A header line has no colon."))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                framing.length = value.parse().map_err(|_| Broken::Refused(400, "Content-Length is not a number."))?;
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => framing.chunked = true,
            "transfer-encoding" => return Err(Broken::Refused(501, "Only the chunked transfer encoding is known.")),
            "connection" if value.eq_ignore_ascii_case("close") => framing.keep_alive = false,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => framing.keep_alive = true,
            "expect" => framing.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
}

/// One line without its end; `None` where the stream ends before the line does.
fn read_line(input: &mut impl BufRead) -> Result<Option<String>, Broken> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| Broken::Refused(400, "The request head is not UTF-8."))
}

fn read_sized(input: &mut impl Read, length: usize) -> Result<Vec<u8>, Broken> {
    if length > BODY_BYTES_MAX {
        return Err(Broken::Refused(413, "The body is larger than 16 MiB."));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(input: &mut impl BufRead) -> Result<Vec<u8>, Broken> {
    const CUT: Broken = Broken::Refused(400, "The chunked body is cut off.");
    let mut body = Vec::new();
    loop {
        let line = read_line(&mut input.by_ref().take(HEAD_BYTES_MAX))?.ok_or(CUT)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(digits, 16).map_err(|_| Broken::Refused(400, "A chunk size is not hexadecimal."))?;
        if size == 0 {
            break;
        }
        if size > BODY_BYTES_MAX - body.len() {
            return Err(Broken::Refused(413, "The body is larger than 16 MiB."));
        }
        body.extend(read_sized(input, size)?);
        read_line(&mut input.by_ref().take(2))?.ok_or(CUT)?;
    }
    let mut trailers = input.by_ref().take(HEAD_BYTES_MAX);
    while !read_line(&mut trailers)?.ok_or(CUT)?.is_empty() {}
    Ok(body)
}

/// Decodes `%41` and `+`; what is not a valid escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// `text` as a JSON string, quotes included.
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if u32::from(c) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, Broken> {
        read_request(&mut text.as_bytes(), &mut Vec::new())
    }

    fn refusal(text: &str) -> u16 {
        match read(text) {
            Err(Broken::Refused(status, _)) => status,
            Err(Broken::Io(error)) => panic!("refused by the socket: {error}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let request =
            read("GET /greet?name=Ada+L%C3%B6w&x HTTP/1.1\r\nHost: a\r\n\r\n").ok().flatten().expect("a request");
        assert_eq!(request.path, "/greet");
        assert_eq!(request.query.get("name"), Some("Ada Löw"));
        assert_eq!(request.query.get("x"), Some(""));
        assert_eq!(decode("100%"), "100%");
    }

    #[test]
    fn two_requests_share_a_connection_and_their_bodies_stay_apart() {
        let mut input = "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\noneGET / HTTP/1.1\r\n\r\n".as_bytes();
        let first = read_request(&mut input, &mut Vec::new()).ok().flatten().expect("the first request");
        let second = read_request(&mut input, &mut Vec::new()).ok().flatten().expect("the second request");
        assert_eq!((first.body.as_slice(), second.method.as_str()), (b"one".as_slice(), "GET"));
        assert!(first.keep_alive, "HTTP/1.1 keeps the connection unless told otherwise");
        assert!(matches!(read_request(&mut input, &mut Vec::new()), Ok(None)));
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let head = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = read(&format!("{head}4;x=y\r\nviva\r\n2\r\n!!\r\n0\r\nTrailer: 1\r\n\r\n")).ok().flatten();
        assert_eq!(request.expect("a request").body, b"viva!!");
        assert_eq!(refusal(&format!("{head}zz\r\n")), 400);
        assert_eq!(refusal(&format!("{head}ffffffffffff\r\n")), 413);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        assert_eq!(refusal("nonsense\r\n\r\n"), 400);
        assert_eq!(refusal("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(refusal("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), 413);
        assert_eq!(refusal(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000))), 431);
    }

    #[test]
    fn strings_are_escaped_for_json() {
        assert_eq!(json_string("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
