//! TOML layers. Lines come from the spans of the parser and are exact.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::key::{DEPTH_MAX, Flaw, Lines, Sheet, join};

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    read_below(text, &[])
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
                sheet.add(name, value, line)?;
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
