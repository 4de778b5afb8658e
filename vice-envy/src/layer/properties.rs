//! Java properties: `key=value`, `key: value` or `key value`, with `\` escapes, continued lines and comments by `#` and
//! `!`, as `java.util.Properties` reads them. Everything is text.

use std::iter::Peekable;
use std::str::Chars;

use crate::key::Flaw;
use crate::sheet::Sheet;

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1_u32..).zip(text.split('\n'));
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.trim_end_matches('\r').is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = first.strip_suffix('\r').unwrap_or(first).to_owned();
        while continues(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            let next = next.trim_start_matches(BLANKS);
            whole.push_str(next.strip_suffix('\r').unwrap_or(next));
        }
        let (key, value) = pair(&whole).map_err(|what| Flaw::new(Some(number), what))?;
        sheet.add(&key, value.into(), Some(number))?;
    }
    sheet.finish()
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Whether a line ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn pair(line: &str) -> Result<(String, String), &'static str> {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(c) = chars.peek().copied() {
        if BLANKS.contains(&c) || c == '=' || c == ':' {
            break;
        }
        chars.next();
        key.push(if c == '\\' { escape(&mut chars)? } else { c });
    }
    skip_blanks(&mut chars);
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        skip_blanks(&mut chars);
    }
    let mut value = String::new();
    while let Some(c) = chars.next() {
        value.push(if c == '\\' { escape(&mut chars)? } else { c });
    }
    Ok((key, value))
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
}

fn escape(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    Ok(match chars.next() {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('f') => '\u{c}',
        Some('u') => unicode(chars)?,
        Some(other) => other,
        None => return Err("it ends with a backslash"),
    })
}

/// The character of a `\u` and four digits, or of two of them for one outside of the first plane.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const BROKEN: &str = "a \\u escape is no character; it has four hexadecimal digits";
    let mut unit = || {
        let digits: String = chars.by_ref().take(4).collect();
        let whole = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(&digits, 16).ok().filter(|_| whole)
    };
    let first = unit().ok_or(BROKEN)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(u32::from(first)).ok_or(BROKEN);
    }
    let pair = chars.next() == Some('\\') && chars.next() == Some('u');
    let digits: String = chars.by_ref().take(4).collect();
    let second = u16::from_str_radix(&digits, 16).ok().filter(|_| pair).ok_or(BROKEN)?;
    char::decode_utf16([first, second]).next().and_then(Result::ok).ok_or(BROKEN)
}

/// One `key=value` line that this reader and Java's take the same way. Everything but ASCII is escaped, because older
/// Java reads these files as Latin-1.
pub(crate) fn write(key: &str, value: &str) -> String {
    let mut out = format!("{key}=");
    for (index, c) in value.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            ' ' if index == 0 => out.push_str("\\ "),
            ' '..='~' => out.push(c),
            other => {
                let mut units = [0; 2];
                out.extend(other.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_java_reads() {
        let text = "# note\n! note\n\n a.b = x y \nc:1\nd   2\ne\nf=a\\\n   b\\\\\ng=\\u00e9\\ud83d\\ude00\\t\\q\r\n";
        let sheet = read(text).unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.value.as_str().unwrap(), found.line)).collect();
        assert_eq!(
            seen,
            [
                ("a.b", "x y ", Some(4)),
                ("c", "1", Some(5)),
                ("d", "2", Some(6)),
                ("e", "", Some(7)),
                ("f", "ab\\", Some(8)),
                ("g", "é😀\tq", Some(10)),
            ]
        );
    }

    #[test]
    fn broken_escapes_and_keys_are_refused() {
        for bad in ["a=\\u12", "a=\\uD800", "a=\\ud800\\u0041", "a=1\na=2", "é=1", "=1", "a=\\u00g0"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
