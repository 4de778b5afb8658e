//! From text to words: names, literals and signs, each with its place. It knows nothing of grammar.

use super::Slip;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Int(u64),
    Double(f64),
    Sign(&'static str),
    End,
}

/// The signs, longer ones first.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}",
    ".", ",",
];

/// Every word with its place, and the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Slip> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let (token, end) = one(text, at, first)?;
        found.push((token, at));
        at = end;
    }
    found.push((Token::End, text.len()));
    Ok(found)
}

fn one(text: &str, at: usize, first: char) -> Result<(Token, usize), Slip> {
    let rest = &text[at..];
    if first == '"' || first == '\'' {
        return quoted(text, at, first, false);
    }
    if let Some(quote) =
        rest.strip_prefix(['r', 'R']).and_then(|rest| rest.chars().next()).filter(|c| "'\"".contains(*c))
    {
        return quoted(text, at + 1, quote, true);
    }
    if rest.starts_with("b\"") || rest.starts_with("b'") {
        return Err(Slip::new(at, "Bytes are not known here."));
    }
    if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
        return number(text, at);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(text.len(), |end| at + end);
        return Ok((Token::Name(text[at..end].to_owned()), end));
    }
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    match sign {
        Some(sign) => Ok((Token::Sign(sign), at + sign.len())),
        None => Err(Slip::new(at, format!("The character {first:?} means nothing here."))),
    }
}

fn number(text: &str, at: usize) -> Result<(Token, usize), Slip> {
    let bytes = text.as_bytes();
    let bad = || Slip::new(at, "This is not a number.");
    if text[at..].starts_with("0x") {
        let digits: &str = &text[at + 2..];
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).map_or(text.len(), |end| at + 2 + end);
        let value = u64::from_str_radix(&text[at + 2..end], 16).map_err(|_| bad())?;
        return Ok((Token::Int(value), end));
    }
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut end = digits(at);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        (end, whole) = (digits(end + 1), false);
    }
    if bytes.get(end).is_some_and(|byte| b"eE".contains(byte)) {
        let sign = usize::from(bytes.get(end + 1).is_some_and(|byte| b"+-".contains(byte)));
        let exponent = digits(end + 1 + sign);
        if exponent == end + 1 + sign {
            return Err(bad());
        }
        (end, whole) = (exponent, false);
    }
    if bytes.get(end).is_some_and(|byte| b"uU".contains(byte)) {
        return Err(Slip::new(at, "Unsigned numbers are not known here: leave the u away."));
    }
    let token = if whole {
        Token::Int(text[at..end].parse().map_err(|_| bad())?)
    } else {
        Token::Double(text[at..end].parse().map_err(|_| bad())?)
    };
    Ok((token, end))
}

fn quoted(text: &str, at: usize, quote: char, raw: bool) -> Result<(Token, usize), Slip> {
    let open = |at| Slip::new(at, "A text is not closed.");
    let mut out = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(out), at + 1 + offset + 1));
        }
        if c == '\n' {
            return Err(open(at));
        }
        if c != '\\' || raw {
            out.push(c);
            continue;
        }
        let (_, escape) = chars.next().ok_or_else(|| open(at))?;
        let digits = match escape {
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
            out.push(code.ok_or_else(|| Slip::new(at + 1 + offset, "This escape is no character."))?);
            continue;
        }
        out.push(match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' | '`' | '?' => escape,
            _ => return Err(Slip::new(at + 1 + offset, format!("The escape \\{escape} is not known."))),
        });
    }
    Err(open(at))
}
