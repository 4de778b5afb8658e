//! INI layers: `[section]` lines and `name = value` lines. A section is a table, and dots in its name nest. Everything
//! is text, as no INI file says types. Nothing is continued, interpolated or inherited.

use crate::key::{Flaw, check_key, join};
use crate::sheet::Sheet;

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    let mut section = String::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1_u32..).zip(text.lines()) {
        let flaw = |what: &str| Flaw::new(Some(number), what);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.strip_suffix(']').ok_or_else(|| flaw("a section is not closed with ]"))?.trim();
            check_key(name).map_err(|_| flaw("the name of a section is no key"))?;
            section = name.to_owned();
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| flaw("a line is neither [section] nor name = value"))?;
        let value = unquoted(value.trim()).map_err(&flaw)?;
        sheet.add(&join(&section, name.trim()), value.into(), Some(number))?;
    }
    sheet.finish()
}

/// A value in double quotes with the escapes that `write` makes, or as it stands.
fn unquoted(value: &str) -> Result<String, &'static str> {
    let Some(rest) = value.strip_prefix('"') else { return Ok(value.to_owned()) };
    let body = rest.strip_suffix('"').ok_or("a double quote is not closed in its line")?;
    let (mut out, mut chars) = (String::new(), body.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err("something follows the closing quote"),
            '\\' => out.push(match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(c @ ('\\' | '"')) => c,
                _ => return Err("an unknown escape; known are \\n \\r \\\\ and \\\""),
            }),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// A value as `read` takes it back.
pub(crate) fn quoted(value: &str) -> String {
    let plain = value.trim() == value && !value.starts_with('"') && !value.contains(['\n', '\r', '\u{85}', '\u{2028}']);
    if plain {
        return value.to_owned();
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_tables_and_everything_is_text() {
        let text = "; note\ntop = 1\n[db]\nhost = a b ; c\n # x\npath=\"C:\\\\x\\n\"\n[db.pool]\nmax=5\n";
        let sheet = read(text).unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.value.as_str().unwrap(), found.line)).collect();
        assert_eq!(
            seen,
            [
                ("db.host", "a b ; c", Some(4)),
                ("db.path", "C:\\x\n", Some(6)),
                ("db.pool.max", "5", Some(8)),
                ("top", "1", Some(2)),
            ]
        );
    }

    #[test]
    fn broken_lines_are_refused_and_not_quoted() {
        for bad in ["[a", "[a b]\nx=1", "hunter22", "a=\"x", "a=\"x\\q\"", "a=\"x\"y\"", "a=1\na=2", "=1", "é=1"] {
            let flaw = read(bad).err().unwrap_or_else(|| panic!("{bad:?} was read"));
            assert!(flaw.line.is_some() && !flaw.what.contains("hunter22"), "{bad}");
        }
    }
}
