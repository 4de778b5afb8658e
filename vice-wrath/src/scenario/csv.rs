//! Tables of data as comma-separated values (RFC 4180): a heading, quotes, doubled quotes, lines of either ending.

use super::ROWS_MAX;

/// A table.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) heading: Vec<String>,
    /// Each as long as the heading.
    pub(crate) rows: Vec<Vec<String>>,
}

/// Reads a table.
///
/// # Errors
/// Text that names the row, counted with the heading from 1.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    let mut records = records(text.trim_start_matches('\u{feff}'))?;
    if records.is_empty() {
        return Err("has no heading".to_owned());
    }
    let heading = records.remove(0);
    if let Some(bad) = heading.iter().find(|name| !is_name(name)) {
        return Err(format!("has the column {bad:?}; use letters, digits, _ and -"));
    }
    for (index, row) in records.iter().enumerate() {
        if row.len() != heading.len() {
            return Err(format!("has {} columns in row {} and {} in its heading", row.len(), index + 2, heading.len()));
        }
    }
    Ok(Table { heading, rows: records })
}

/// Whether a text can be the name of a variable.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records: Vec<Vec<String>> = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if quoted => field.push(c),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                push(&mut records, std::mem::take(&mut record))?;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("does not close a quote in row {}", records.len() + 1));
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        push(&mut records, record)?;
    }
    Ok(records)
}

fn push(records: &mut Vec<Vec<String>>, record: Vec<String>) -> Result<(), String> {
    if records.len() > ROWS_MAX {
        return Err(format!("has more than {ROWS_MAX} rows"));
    }
    // A line without anything on it is no row.
    if record.len() > 1 || record.first().is_some_and(|field| !field.is_empty()) {
        records.push(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let table = parse("\u{feff}user,note\r\nada,\"a, \"\"b\"\"\nc\"\r\n\r\nbob,\n").unwrap();
        assert_eq!(table.heading, ["user", "note"]);
        assert_eq!(table.rows, [["ada", "a, \"b\"\nc"], ["bob", ""]]);
    }

    #[test]
    fn broken_tables_say_where() {
        assert!(parse("").is_err());
        assert!(parse("a b\n1\n").unwrap_err().contains("column"));
        assert!(parse("a,b\n1\n").unwrap_err().contains("row 2"));
        assert!(parse("a\n\"x\n").unwrap_err().contains("row 2"));
        assert!(parse(&format!("a\n{}", "1\n".repeat(ROWS_MAX + 5))).unwrap_err().contains("more than"));
    }
}
