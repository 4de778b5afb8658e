//! TOML layers. Lines come from the spans of the parser and are exact. What most layers are made of (tables with texts,
//! whole numbers and truth values, one on a line) is read by a short way of its own; everything else, and whatever is
//! wrong, is the parser's.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::key::{DEPTH_MAX, Flaw, KEY_BYTES_MAX, Lines, ancestors, join};
use crate::sheet::{Sheet, Span};

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    quick(text).map_or_else(|| read_below(text, &[]), Ok)
}

/// Reads a text of which every line is plain; none when one is not, or when the lines do not go together.
fn quick(text: &str) -> Option<Sheet> {
    let odd = |byte: u8| (byte < b' ' && byte != b'\n' && byte != b'\t') || byte == 0x7f;
    // Looks at all of them, because that is done for many at once.
    if text.bytes().fold(false, |any, byte| any | odd(byte)) {
        return None;
    }
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let (mut sheet, mut tables, mut table, mut start) = (Sheet::over(text, lines), BTreeSet::new(), "", 0);
    for number in 1..=lines {
        let rest = text.get(start..)?;
        let whole = &rest[..rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len())];
        let line = unindented(whole);
        let at = start + whole.len() - line.len();
        start += whole.len() + 1;
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'[') => {
                let name = line.trim_end_matches(BLANKS).strip_prefix('[')?.strip_suffix(']')?;
                table = Some(name).filter(|name| name.split('.').all(is_bare))?;
                if !tables.insert(table) || table.split('.').count() >= DEPTH_MAX {
                    return None;
                }
            }
            Some(_) => quick_entry(&mut sheet, table, line, at, u32::try_from(number).ok())?,
        }
    }
    let sheet = sheet.finish().ok()?;
    // A table that is a value elsewhere is no TOML, also when nothing stands in it.
    let mut all = tables.iter().flat_map(|table| ancestors(table).chain([*table]));
    all.all(|table| sheet.get(table).is_none()).then_some(sheet)
}

/// Adds what a line says that begins at a place of the text.
fn quick_entry(sheet: &mut Sheet, table: &str, line: &str, at: usize, number: Option<u32>) -> Option<()> {
    let end = line.bytes().position(|byte| !is_bare_byte(byte)).filter(|end| *end > 0)?;
    let (key, rest) = line.split_at(end);
    let value = unindented(unindented(rest).strip_prefix('=')?);
    let Some(text) = value.strip_prefix('"') else {
        let value = quick_value(value.trim_end_matches(BLANKS))?;
        return sheet.add(&join(table, key), value, number).ok();
    };
    let length = text.bytes().position(|byte| byte == b'"' || byte == b'\\')?;
    let after = unindented(text[length..].strip_prefix('"')?);
    if table.len() + 1 + key.len() > KEY_BYTES_MAX || !(after.is_empty() || after.starts_with('#')) {
        return None;
    }
    let start = at + line.len() - text.len();
    let span = Span::new(start, start + length)?;
    let whole = [table, ".", key];
    sheet.add_part(if table.is_empty() { &whole[2..] } else { &whole }, span, number)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The text without blanks before it. There are few, and looking at bytes is quicker than at characters.
fn unindented(text: &str) -> &str {
    &text[text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

const fn is_bare_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_bare_byte)
}

/// A truth value or a whole number.
fn quick_value(text: &str) -> Option<Value> {
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let plain = whole && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| text.parse::<i64>().ok()).flatten().map(Value::from)
}

/// Reads the table at a path of a text, such as `env`, `dev`, `config` of a `vice.toml`; empty when it is absent.
pub(crate) fn read_below(text: &str, path: &[&str]) -> Result<Sheet, Flaw> {
    let lines = Lines::of(text);
    let root = DeTable::parse(text).map_err(|error| {
        // The parser's own words are left out: they may quote the text.
        Flaw::new(error.span().and_then(|span| lines.at(span.start)), "it is not valid TOML")
    })?;
    let mut sheet = Sheet::default();
    if let Some(table) = find(root.get_ref(), path) {
        add_table(&mut sheet, &lines, "", table, 1)?;
    }
    sheet.finish()
}

fn find<'t, 'i>(table: &'t DeTable<'i>, path: &[&str]) -> Option<&'t DeTable<'i>> {
    let Some((first, rest)) = path.split_first() else {
        return Some(table);
    };
    let (_, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    find(value.get_ref().as_table()?, rest)
}

fn add_table(sheet: &mut Sheet, lines: &Lines, prefix: &str, table: &DeTable<'_>, depth: usize) -> Result<(), Flaw> {
    for (key, value) in table {
        let line = lines.at(key.span().start);
        if depth > DEPTH_MAX {
            return Err(Flaw::new(line, format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let name = join(prefix, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => add_table(sheet, lines, &name, inner, depth + 1)?,
            other => {
                let value = plain(other).map_err(|what| Flaw::new(line, what))?;
                sheet.add(&name, value, line)?;
            }
        }
    }
    Ok(())
}

fn plain(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Number(parsed.map_err(|_| "a number does not fit into 64 bits")?.into())
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or("a number is not finite")?)
        }
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let fields = table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), plain(value.get_ref())?)));
            Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_flattened_with_exact_lines() {
        let text = "a = 1\n\n[db]\nhost = \"x\"\nports = [1,\n 2]\n[db.pool]\nmax = 0x10\n\"q.r\" = 1_0.5\n";
        let sheet = read(text).unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.value.clone(), found.line)).collect();
        assert_eq!(
            seen,
            [
                ("a", json!(1), Some(1)),
                ("db.host", json!("x"), Some(4)),
                ("db.pool.max", json!(16), Some(8)),
                ("db.pool.q.r", json!(10.5), Some(9)),
                ("db.ports", json!([1, 2]), Some(5)),
            ]
        );
    }

    const LINES: [&str; 32] = [
        "[a]",
        "[a.b]",
        "[ a ]",
        "[[a]]",
        "[b]",
        "[a] # c",
        "a = 1",
        "b = \"x\"",
        "a.b = 1",
        "b-c=true",
        "c\t= false",
        "",
        " \t",
        "# c",
        " x = \"é # no\" # c",
        "y = \"a\\\"b\"",
        "z = 'w'",
        "n = -0",
        "m = 01",
        "o = 1_0",
        "p = \"\"",
        "q = \"\"\"r\"\"\"",
        "\"r\" = 1",
        "s = 9223372036854775808",
        "t = -9223372036854775808",
        "u = [1]",
        "v = 1.5",
        "w = \"x\" y",
        "d = +1",
        "e = ",
        "= 1",
        "f = \"tab\there\"",
    ];

    proptest! {
        #[test]
        fn the_short_way_leads_where_the_parser_does(
            lines in prop::collection::vec(prop::sample::select(LINES.to_vec()), 0..8),
        ) {
            let text = lines.join("\n");
            if let Some(sheet) = quick(&text) {
                prop_assert!(read_below(&text, &[]).is_ok_and(|whole| whole == sheet), "{}", text);
            }
        }
    }

    #[test]
    fn plain_layers_go_the_short_way_and_others_do_not() {
        let plain = "# head\na = 1\n\n[db]\nhost = \"x\" # kept\n[db.pool]\nmax = 10\non = true\n";
        assert!(quick(plain).is_some_and(|sheet| sheet == read_below(plain, &[]).unwrap() && sheet.len() == 4));
        for other in ["a = [1]", "a = 1\r\n", "a = 1\na = 2", "a = 1\n[a]", "[a.b]\n[a]\nb = 1", "[a]\n[a]", "a"] {
            assert!(quick(other).is_none(), "{other}");
        }
    }

    #[test]
    fn broken_text_names_the_line_and_quotes_nothing() {
        let flaw = read("a = 1\nb = hunter22canary\n").err().unwrap();
        assert_eq!(flaw.line, Some(2));
        assert!(!flaw.what.contains("hunter22canary"));
        assert_eq!(read("a = 1\na = 2\n").err().unwrap().line, Some(2));
        assert!(read("a = inf").is_err());
        assert!(read("a = 99999999999999999999").is_err());
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        assert!(read(&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
        assert!(read(&format!("[{}]\nx = 1", vec!["a"; 70].join("."))).is_err());
    }
}
