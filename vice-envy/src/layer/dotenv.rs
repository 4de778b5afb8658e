//! dotenv layers: `NAME=value` lines, comments, an optional `export`, single and double quotes over several lines.
//! Nothing is ever interpolated. What the writer makes is read by this reader and by a POSIX shell alike.

use crate::key::Flaw;
use crate::sheet::Sheet;

/// The key for the name of a variable: lower case, `__` separates tables.
pub(crate) fn key_of(name: &str) -> String {
    name.to_ascii_lowercase().replace("__", ".")
}

/// Reads a whole text as a layer.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    for (name, value, line) in variables(text)? {
        sheet.add(&key_of(&name), value.into(), Some(line))?;
    }
    sheet.finish()
}

/// The variables with their lines.
pub(crate) fn variables(text: &str) -> Result<Vec<(String, String, u32)>, Flaw> {
    let mut scan = Scan { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut found = Vec::new();
    while let Some(variable) = scan.next_variable()? {
        found.push(variable);
    }
    Ok(found)
}

struct Scan<'t> {
    rest: &'t str,
    line: u32,
}

impl Scan<'_> {
    fn next_variable(&mut self) -> Result<Option<(String, String, u32)>, Flaw> {
        loop {
            self.blanks();
            match self.rest.chars().next() {
                None => return Ok(None),
                Some('#') => self.skip_line(),
                Some('\n' | '\r') => self.skip_line(),
                Some(_) => break,
            }
        }
        let line = self.line;
        let name = self.name()?;
        let value = match self.rest.chars().next() {
            Some('\'') => self.single()?,
            Some('"') => self.double()?,
            _ => self.bare()?,
        };
        Ok(Some((name, value, line)))
    }

    fn flaw<T>(&self, what: &str) -> Result<T, Flaw> {
        Err(Flaw::new(Some(self.line), what))
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn skip_line(&mut self) {
        while self.take().is_some_and(|c| c != '\n') {}
    }

    fn name(&mut self) -> Result<String, Flaw> {
        if let Some(rest) = self.rest.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
            self.rest = rest;
            self.blanks();
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let name = name.to_owned();
        self.rest = rest;
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.flaw("a name such as NAME is expected, made of A-Z, a-z, 0-9 and _");
        }
        match self.take() {
            Some('=') => Ok(name),
            _ => self.flaw("`=` is expected right after the name"),
        }
    }

    /// The end of the line after a quoted value: blanks and a comment.
    fn end(&mut self) -> Result<(), Flaw> {
        let blank = self.rest.starts_with([' ', '\t']);
        self.blanks();
        match self.rest.chars().next() {
            None => Ok(()),
            Some('\n' | '\r') => {
                self.skip_line();
                Ok(())
            }
            Some('#') if blank => {
                self.skip_line();
                Ok(())
            }
            Some(_) => self.flaw("something follows the closing quote"),
        }
    }

    fn single(&mut self) -> Result<String, Flaw> {
        let open = self.line;
        self.take();
        let Some(end) = self.rest.find('\'') else {
            return Err(Flaw::new(Some(open), "a single quote is not closed"));
        };
        let value = self.rest[..end].to_owned();
        for _ in 0..=value.chars().count() {
            self.take();
        }
        self.end()?;
        Ok(value)
    }

    fn double(&mut self) -> Result<String, Flaw> {
        let open = self.line;
        self.take();
        let mut value = String::new();
        loop {
            match self.take() {
                None => return Err(Flaw::new(Some(open), "a double quote is not closed")),
                Some('"') => break,
                Some('\\') => match self.take() {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some(c @ ('\\' | '"' | '$' | '`' | '\'')) => value.push(c),
                    _ => return self.flaw("an unknown escape; known are \\n \\r \\t \\\\ \\\" \\' \\$ and \\`"),
                },
                Some(c) => value.push(c),
            }
        }
        self.end()?;
        Ok(value)
    }

    fn bare(&mut self) -> Result<String, Flaw> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let raw = &self.rest[..end];
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let comment = if raw.starts_with('#') { Some(0) } else { raw.find(" #").or_else(|| raw.find("\t#")) };
        let value = raw[..comment.unwrap_or(raw.len())].trim_matches([' ', '\t']).to_owned();
        if value.contains(['"', '\'', '`', '\\', '\r']) {
            return self.flaw("a value with quotes or backslashes has to be quoted as a whole");
        }
        self.skip_line();
        Ok(value)
    }
}

/// One `NAME=value` line, or several for a value with line ends. None when the value can't be written: it has a NUL.
pub(crate) fn write(name: &str, value: &str) -> Option<String> {
    let simple = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if value.contains('\0') {
        return None;
    }
    let written = if value.chars().all(simple) {
        value.to_owned()
    } else if !value.contains('\'') {
        format!("'{value}'")
    } else {
        let mut text = String::from("\"");
        for c in value.chars() {
            if matches!(c, '\\' | '"' | '$' | '`') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
        text
    };
    Some(format!("{name}={written}\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_one(text: &str) -> Result<String, Flaw> {
        let found = variables(text)?;
        assert_eq!(found.len(), 1, "{text:?}");
        Ok(found[0].1.clone())
    }

    #[test]
    fn the_forms_of_a_value() {
        for (text, value) in [
            ("A=b c # note", "b c"),
            ("A=", ""),
            ("A=b#c", "b#c"),
            ("export A='x # $y \\n'  # note", "x # $y \\n"),
            ("A=\"x\\n\\\"$y\\$\" ", "x\n\"$y$"),
            ("A='two\nlines'\r\n", "two\nlines"),
            ("  A=1\r\n", "1"),
            ("A=${HOME}", "${HOME}"),
        ] {
            assert_eq!(read_one(text).unwrap(), value, "{text:?}");
        }
    }

    #[test]
    fn lines_and_keys() {
        let sheet = read("# head\n\nDB__HOST=x\nMULTI='a\nb'\nlast=1").unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.line)).collect();
        assert_eq!(seen, [("db.host", Some(3)), ("last", Some(6)), ("multi", Some(4))]);
    }

    #[test]
    fn broken_lines_are_refused_and_not_quoted() {
        for bad in [
            "hunter22canary",
            "A",
            "A =b",
            "1A=b",
            "A='x",
            "A=\"x",
            "A='x'y",
            "A=\"\\q\"",
            "A=x\"y",
            "A-B=1",
            "A=1\na=2",
            "=x",
        ] {
            let flaw = read(bad).err().unwrap_or_else(|| panic!("{bad:?} was read"));
            assert!(flaw.line.is_some());
            assert!(!flaw.what.contains("hunter22"));
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_is_said_so() {
        assert_eq!(write("A", "x\0y"), None);
        assert_eq!(write("A", "it's $5").unwrap(), "A=\"it's \\$5\"\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in prop::collection::vec("[^\\x00]{0,12}|['\"\\\\$`\r\n #=]{0,8}", 1..5)) {
            let text: String = values.iter().enumerate().map(|(i, value)| write(&format!("V{i}"), value).unwrap()).collect();
            let back: Vec<String> = variables(&text).unwrap().into_iter().map(|(_, value, _)| value).collect();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn no_text_makes_the_reader_fail_badly(text in "\\PC{0,40}|[A='\"\\\\\n\r# ]{0,30}") {
            let first = variables(&text);
            prop_assert_eq!(first, variables(&text));
        }
    }
}
