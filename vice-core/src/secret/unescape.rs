//! Undoing of escapes, byte by byte, with the place of every byte in the text that was written. What is no escape goes
//! through as it is; nothing here knows what is looked for.

use std::collections::VecDeque;

/// A byte after decoding, and the bytes of the text that stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) byte: u8,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A way of escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// JSON, C, Rust, `printf %q`, `$'…'`: everything that begins with a backslash.
    Backslash,
    /// Only `\u{1b}`, as logs make control characters visible and leave everything else as it was.
    Visible,
    /// `%41` in URLs.
    Percent,
    /// Doubled single quotes (SQL, YAML) and the splices of shell quoting (`'\''`, `'"'"'`).
    SingleQuotes,
    /// Doubled double quotes (CSV).
    DoubleQuotes,
    /// `&quot;`, `&#39;`, `&#x27;` in HTML and XML.
    Entity,
}

/// The longest escape, in bytes: `\u{10FFFF}` and a surrogate pair are shorter than this.
const ESCAPE_BYTES_MAX: usize = 12;

/// Undoes one way of escaping in a stream.
#[derive(Debug, Clone)]
pub(super) struct Unescape {
    escape: Escape,
    held: VecDeque<Token>,
}

/// What the held bytes are.
#[derive(Clone, Copy)]
enum Read {
    /// So many of them stand for these bytes.
    Whole(usize, [u8; 4], usize),
    /// Not an escape.
    Literal,
    /// It depends on what follows.
    More,
}

impl Read {
    const fn byte(taken: usize, byte: u8) -> Self {
        Self::Whole(taken, [byte, 0, 0, 0], 1)
    }

    fn code_point(taken: usize, code: u32) -> Self {
        let Some(c) = char::from_u32(code) else { return Self::Literal };
        let mut bytes = [0; 4];
        let length = c.encode_utf8(&mut bytes).len();
        Self::Whole(taken, bytes, length)
    }
}

impl Unescape {
    pub(super) fn new(escape: Escape) -> Self {
        Self { escape, held: VecDeque::with_capacity(ESCAPE_BYTES_MAX) }
    }

    /// Where an escape began that is not complete yet.
    pub(super) fn held_from(&self) -> Option<usize> {
        self.held.front().map(|token| token.start)
    }

    /// Takes a byte and hands on what is decided.
    pub(super) fn push(&mut self, token: Token, mut next: impl FnMut(Token)) {
        if self.held.is_empty() && !self.escape.begins(token.byte) {
            return next(token);
        }
        self.held.push_back(token);
        self.settle(false, &mut next);
    }

    /// Hands on what is left at the end of the stream.
    pub(super) fn finish(&mut self, mut next: impl FnMut(Token)) {
        self.settle(true, &mut next);
    }

    fn settle(&mut self, ended: bool, next: &mut impl FnMut(Token)) {
        while let Some(first) = self.held.front().copied() {
            let mut bytes = [0; ESCAPE_BYTES_MAX];
            let length = self.held.len().min(ESCAPE_BYTES_MAX);
            bytes.iter_mut().zip(&self.held).for_each(|(byte, token)| *byte = token.byte);
            match self.escape.read(&bytes[..length]) {
                Read::More if !ended && length < ESCAPE_BYTES_MAX => return,
                Read::Whole(taken, decoded, count) => {
                    let end = self.held.get(taken - 1).map_or(first.end, |last| last.end);
                    self.held.drain(..taken);
                    decoded[..count].iter().for_each(|byte| next(Token { byte: *byte, start: first.start, end }));
                }
                Read::Literal | Read::More => {
                    self.held.pop_front();
                    next(first);
                }
            }
        }
    }
}

impl Escape {
    /// Whether an escape may begin with this byte.
    pub(super) const fn begins(self, byte: u8) -> bool {
        match self {
            Self::Backslash | Self::Visible => byte == b'\\',
            Self::Percent => byte == b'%',
            Self::SingleQuotes => byte == b'\'' || byte == b'"',
            Self::DoubleQuotes => byte == b'"',
            Self::Entity => byte == b'&',
        }
    }

    fn read(self, bytes: &[u8]) -> Read {
        if !bytes.first().is_some_and(|byte| self.begins(*byte)) {
            return Read::Literal;
        }
        match self {
            Self::Backslash => backslash(bytes),
            Self::Visible if bytes.starts_with(b"\\u{") => braces(bytes),
            Self::Visible if b"\\u{".starts_with(bytes) => Read::More,
            Self::Visible => Read::Literal,
            Self::Percent => match hex(bytes, 1, 2) {
                Ok(code) => Read::byte(3, code as u8),
                Err(read) => read,
            },
            Self::SingleQuotes => quotes(bytes, &[br"'\''", br#"'"'"'"#, br#""'"'""#, b"''"], b'\''),
            Self::DoubleQuotes => quotes(bytes, &[br#""""#], b'"'),
            Self::Entity => entity(bytes),
        }
    }
}

/// The number that stands at `at` in `digits` hexadecimal digits.
fn hex(bytes: &[u8], at: usize, digits: usize) -> Result<u32, Read> {
    let mut number = 0;
    for index in at..at + digits {
        let Some(byte) = bytes.get(index) else { return Err(Read::More) };
        number = number * 16 + char::from(*byte).to_digit(16).ok_or(Read::Literal)?;
    }
    Ok(number)
}

fn backslash(bytes: &[u8]) -> Read {
    let Some(kind) = bytes.get(1) else { return Read::More };
    match kind {
        b'n' => Read::byte(2, b'\n'),
        b't' => Read::byte(2, b'\t'),
        b'r' => Read::byte(2, b'\r'),
        b'b' => Read::byte(2, 8),
        b'f' => Read::byte(2, 12),
        b'v' => Read::byte(2, 11),
        b'a' => Read::byte(2, 7),
        b'e' | b'E' => Read::byte(2, 27),
        b'0'..=b'7' => octal(bytes),
        b'x' => hex(bytes, 2, 2).map_or_else(fall_back, |code| Read::byte(4, code as u8)),
        b'u' if bytes.get(2) == Some(&b'{') => braces(bytes),
        b'u' => utf16(bytes),
        b'U' => hex(bytes, 2, 8).map_or_else(fall_back, |code| Read::code_point(10, code)),
        other => Read::byte(2, *other),
    }
}

/// A letter that would begin a number stands for itself when there is none.
fn fall_back(read: Read) -> Read {
    match read {
        Read::More => Read::More,
        _ => Read::Literal,
    }
}

fn octal(bytes: &[u8]) -> Read {
    let digits = bytes[1..].iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    if digits < 3 && bytes.len() == 1 + digits {
        return Read::More;
    }
    let number = bytes[1..=digits].iter().fold(0_u32, |number, digit| number * 8 + u32::from(digit - b'0'));
    u8::try_from(number).map_or(Read::Literal, |byte| Read::byte(1 + digits, byte))
}

fn braces(bytes: &[u8]) -> Read {
    let Some(length) = bytes.iter().position(|byte| *byte == b'}') else {
        return if bytes.len() < ESCAPE_BYTES_MAX { Read::More } else { Read::Literal };
    };
    hex(bytes, 3, length.saturating_sub(3).min(6)).map_or_else(fall_back, |code| Read::code_point(length + 1, code))
}

fn utf16(bytes: &[u8]) -> Read {
    let first = match hex(bytes, 2, 4) {
        Ok(first) => first,
        Err(read) => return fall_back(read),
    };
    if !(0xd800..0xdc00).contains(&first) {
        return Read::code_point(6, first);
    }
    if bytes.len() < 8 {
        return if b"\\u".starts_with(&bytes[6..]) { Read::More } else { Read::Literal };
    }
    match (&bytes[6..8], hex(bytes, 8, 4)) {
        (b"\\u", Ok(second)) if (0xdc00..0xe000).contains(&second) => {
            Read::code_point(12, 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
        }
        (b"\\u", Err(Read::More)) => Read::More,
        _ => Read::Literal,
    }
}

/// A quote that is written as one of these.
fn quotes(bytes: &[u8], written: &[&[u8]], quote: u8) -> Read {
    match written.iter().find(|written| bytes.starts_with(written)) {
        Some(written) => Read::byte(written.len(), quote),
        None if written.iter().any(|written| written.starts_with(bytes)) => Read::More,
        None => Read::Literal,
    }
}

fn entity(bytes: &[u8]) -> Read {
    let named: [(&[u8], u8); 8] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&nbsp;", b' '),
        (b"&sol;", b'/'),
        (b"&equals;", b'='),
    ];
    if let Some((name, byte)) = named.iter().find(|(name, _)| bytes.starts_with(name)) {
        return Read::byte(name.len(), *byte);
    }
    if bytes.len() > 1 && bytes[1] == b'#' {
        return numbered(bytes);
    }
    if named.iter().any(|(name, _)| name.starts_with(bytes)) { Read::More } else { Read::Literal }
}

fn numbered(bytes: &[u8]) -> Read {
    let (radix, at) = if bytes.get(2).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'x')) { (16, 3) } else { (10, 2) };
    let mut code = 0_u32;
    for (index, byte) in bytes.iter().enumerate().skip(at) {
        match char::from(*byte).to_digit(radix) {
            Some(digit) => code = code.saturating_mul(radix).saturating_add(digit),
            None if *byte == b';' && index > at => return Read::code_point(index + 1, code),
            None => return Read::Literal,
        }
    }
    if bytes.len() < ESCAPE_BYTES_MAX { Read::More } else { Read::Literal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(escape: Escape, text: &str) -> String {
        let mut unescape = Unescape::new(escape);
        let mut out = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            unescape.push(Token { byte, start: at, end: at + 1 }, |token| out.push(token.byte));
        }
        unescape.finish(|token| out.push(token.byte));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_undone_and_the_rest_is_left() {
        for (escape, text, plain) in [
            (Escape::Backslash, r#"a\"b\\c\/d\n"#, "a\"b\\c/d\n"),
            (Escape::Backslash, r"\u00e9\uD83D\ude00\u{e9}\x41\101\U0001F600", "é😀éAA😀"),
            (Escape::Backslash, r"\ufoo \xzz \q\", r"\ufoo \xzz q\"),
            (Escape::Visible, r"a\\n\u{1b}\u{e9}\u{", "a\\\\n\u{1b}é\\u{"),
            (Escape::Percent, "%41%c3%A9%%zz%4", "Aé%%zz%4"),
            (Escape::SingleQuotes, r#"it'\''s 'x'"'"'y' ''z'' ""q"""#, "it's 'x'y' 'z' \"\"q\"\""),
            (Escape::DoubleQuotes, r#"''z'' ""q"""#, "''z'' \"q\""),
            (Escape::Entity, "a&amp;b&quot;&#39;&#x27;&foo;&", "a&b\"''&foo;&"),
        ] {
            assert_eq!(decoded(escape, text), plain, "{escape:?}");
        }
    }

    #[test]
    fn a_decoded_byte_knows_where_its_escape_stands() {
        let mut unescape = Unescape::new(Escape::Percent);
        let mut out = Vec::new();
        for (at, byte) in b"a%41b".iter().enumerate() {
            unescape.push(Token { byte: *byte, start: at, end: at + 1 }, |token| out.push(token));
            assert_eq!(unescape.held_from(), (1..3).contains(&at).then_some(1));
        }
        assert_eq!(out[1], Token { byte: b'A', start: 1, end: 4 });
    }
}
