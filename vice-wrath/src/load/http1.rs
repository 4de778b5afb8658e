//! The hot path: one HTTP/1.1 connection that sends ready-made bytes and reads answers no further than it must to know
//! where they end. Bodies are counted and thrown away; nothing is allocated for a request.

use std::mem::MaybeUninit;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::tally::Failure;

/// The buffer of a connection at first, in bytes: a usual answer fits.
const BUFFER_BYTES: usize = 16 * 1024;

/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// The longest line that says how long a chunk is, and the longest trailer line.
const CHUNK_LINE_MAX: usize = 8 * 1024;

/// What is counted of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Bytes of head and body as they came.
    pub(super) bytes: u64,
    /// Whether the connection can be used again.
    pub(super) keep: bool,
}

/// How long a body is.
enum Length {
    None,
    Exactly(u64),
    Chunked,
    UntilClose,
}

struct Head {
    status: u16,
    size: usize,
    length: Length,
    keep: bool,
}

pub(super) struct Http1<S> {
    stream: S,
    buffer: Vec<u8>,
    /// What was read and not yet used.
    begin: usize,
    end: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0 }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends one request and reads its answer. `bodiless` says that the answer has no body whatever its head says.
    pub(super) async fn exchange(&mut self, request: &[u8], bodiless: bool) -> Result<Answered, Failure> {
        self.stream.write_all(request).await.map_err(|_| Failure::Broken)?;
        let mut bytes = 0;
        let head = loop {
            let head = self.head(bodiless).await?;
            bytes += head.size as u64;
            // 100 and its like announce an answer; 101 was not asked for.
            match head.status {
                101 => return Err(Failure::Malformed),
                100..200 => {}
                _ => break head,
            }
        };
        let (body, keep) = match head.length {
            Length::None => (0, head.keep),
            Length::Exactly(length) => (self.skip(length).await?, head.keep),
            Length::Chunked => (self.chunks().await?, head.keep),
            Length::UntilClose => (self.rest().await?, false),
        };
        // Bytes behind the answer belong to nothing that was asked.
        Ok(Answered { status: head.status, bytes: bytes + body, keep: keep && self.begin == self.end })
    }

    async fn head(&mut self, bodiless: bool) -> Result<Head, Failure> {
        loop {
            if self.begin < self.end
                && let Some(head) = parse(&self.buffer[self.begin..self.end], bodiless)?
            {
                self.begin += head.size;
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Reads some more behind what is there.
    async fn fill(&mut self) -> Result<(), Failure> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.buffer.len() && self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.end == self.buffer.len() {
            if self.buffer.len() >= HEAD_BYTES_MAX {
                return Err(Failure::Malformed);
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.end..]).await {
            Ok(0) | Err(_) => Err(Failure::Broken),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
        }
    }

    async fn skip(&mut self, length: u64) -> Result<u64, Failure> {
        let mut left = length;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.begin);
            self.begin += here;
            left -= here as u64;
            if left == 0 {
                return Ok(length);
            }
            self.fill().await?;
        }
    }

    async fn rest(&mut self) -> Result<u64, Failure> {
        let mut count = 0;
        loop {
            count += (self.end - self.begin) as u64;
            (self.begin, self.end) = (0, 0);
            match self.stream.read(&mut self.buffer).await {
                Ok(0) => return Ok(count),
                Ok(more) => self.end = more,
                Err(_) => return Err(Failure::Broken),
            }
        }
    }

    async fn chunks(&mut self) -> Result<u64, Failure> {
        let mut count = 0;
        loop {
            let line = self.line().await?;
            let size = chunk_size(&self.buffer[line.clone()]).ok_or(Failure::Malformed)?;
            count += line.len() as u64;
            if size == 0 {
                break;
            }
            count += self.skip(size).await?;
            if !self.line().await?.is_empty() {
                return Err(Failure::Malformed);
            }
        }
        // Trailers, up to an empty line.
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(count);
            }
            count += line.len() as u64;
            if count > u64::MAX / 2 {
                return Err(Failure::Malformed);
            }
        }
    }

    /// The place of the next line in the buffer, without its end.
    async fn line(&mut self) -> Result<std::ops::Range<usize>, Failure> {
        let mut seen = 0;
        loop {
            let here = &self.buffer[self.begin..self.end];
            if let Some(at) = here[seen..].iter().position(|byte| *byte == b'\n') {
                let end = self.begin + seen + at;
                let begin = self.begin;
                self.begin = end + 1;
                let text_end = if end > begin && self.buffer[end - 1] == b'\r' { end - 1 } else { end };
                return Ok(begin..text_end);
            }
            seen = here.len();
            if seen > CHUNK_LINE_MAX {
                return Err(Failure::Malformed);
            }
            self.fill().await?;
        }
    }
}

/// The hexadecimal number in front of extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let next = line.get(digits);
    if digits == 0 || digits > 15 || next.is_some_and(|byte| !matches!(byte, b';' | b' ' | b'\t')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

/// The head at the beginning of `bytes`, once it is there as a whole.
fn parse(bytes: &[u8], bodiless: bool) -> Result<Option<Head>, Failure> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let size = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed),
    };
    let status = response.code.unwrap_or(0);
    let mut keep = response.version == Some(1);
    let (mut length, mut chunked) = (None, false);
    for header in response.headers.iter() {
        match header.name.len() {
            10 if header.name.eq_ignore_ascii_case("connection") => {
                keep = connection(header.value, keep);
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let value = number(header.value).ok_or(Failure::Malformed)?;
                if length.is_some_and(|other| other != value) {
                    return Err(Failure::Malformed);
                }
                length = Some(value);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                chunked = header.value.to_ascii_lowercase().ends_with(b"chunked");
            }
            _ => {}
        }
    }
    let length = match length {
        _ if bodiless || matches!(status, 100..200 | 204 | 304) => Length::None,
        _ if chunked => Length::Chunked,
        Some(length) => Length::Exactly(length),
        None => Length::UntilClose,
    };
    Ok(Some(Head { status, size, length, keep }))
}

fn connection(value: &[u8], keep: bool) -> bool {
    let has = |word: &str| {
        value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    if has("close") { false } else { keep || has("keep-alive") }
}

fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers what is asked with bytes in pieces of one size.
    async fn answered(answer: &[u8], piece: usize, bodiless: bool) -> Result<Answered, Failure> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let answer = answer.to_vec();
        let server = tokio::spawn(async move {
            let mut request = [0; 3];
            far.read_exact(&mut request).await.unwrap();
            for part in answer.chunks(piece) {
                if far.write_all(part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let result = Http1::new(near).exchange(b"GET", bodiless).await;
        server.abort();
        result
    }

    #[tokio::test]
    async fn answers_end_where_they_say() {
        let cases: [(&str, u16, bool); 8] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n", 200, true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", 204, true),
            ("HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", 304, true),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, true),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, false),
        ];
        for (text, status, keep) in cases {
            for piece in [1, 7, 4096] {
                let answer = answered(text.as_bytes(), piece, false).await.unwrap();
                assert_eq!((answer.status, answer.keep), (status, keep), "{text}");
            }
        }
        let head = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 9, true).await.unwrap();
        assert!(head.keep);
    }

    #[tokio::test]
    async fn a_large_answer_is_counted_and_not_kept() {
        let mut text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 900_000).into_bytes();
        let head = text.len() as u64;
        text.resize(text.len() + 900_000, b'x');
        assert_eq!(answered(&text, 100_000, false).await.unwrap().bytes, head + 900_000);
    }

    #[tokio::test]
    async fn broken_answers_are_failures() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(100_000));
        let cases: [(&str, Failure); 7] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", Failure::Broken),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Failure::Malformed),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Failure::Malformed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Failure::Malformed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", Failure::Malformed),
            ("SSH-2.0-OpenSSH\r\n", Failure::Malformed),
            (&many, Failure::Malformed),
        ];
        for (text, failure) in cases {
            assert_eq!(answered(text.as_bytes(), 4096, false).await, Err(failure), "{text:.60}");
        }
    }
}
