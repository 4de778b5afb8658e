//! Bodies in files of Hurl: JSON and XML as they are, one line in a backtick, several between three, and files.

use base64::Engine as _;
use vice_core::Result;

use super::super::Body;
use super::{Line, Reader, is_request, is_response, section};

impl<'t> Reader<'t> {
    /// The body that begins at a line, and the content type that Hurl gives it.
    pub(super) fn body(&mut self, line: Line<'t>) -> Result<(Body, Option<&'static str>)> {
        let text = line.text.trim();
        if text.starts_with("```") {
            return self.fenced(line);
        }
        if let Some(rest) = text.strip_prefix('`') {
            self.at += 1;
            let inner = rest.strip_suffix('`').ok_or_else(|| self.wrong(line, "The backtick is not closed."))?;
            return Ok((Body::Text(inner.to_owned()), None));
        }
        if text.starts_with(['{', '[', '"']) {
            return self.json(line).map(|text| (Body::Text(text), Some("application/json")));
        }
        if text.starts_with('<') {
            return Ok((Body::Text(self.until_next_part()), Some("application/xml")));
        }
        if let Some(rest) = text.strip_prefix("file,") {
            self.at += 1;
            let name = rest
                .strip_suffix(';')
                .ok_or_else(|| self.wrong(line, "A file ends with `;`, as in `file,a.json;`."))?;
            return Ok((Body::File(name.trim().to_owned()), None));
        }
        if let Some(rest) = text.strip_prefix("base64,") {
            self.at += 1;
            let code = rest.strip_suffix(';').unwrap_or(rest).replace(char::is_whitespace, "");
            let bytes = base64::engine::general_purpose::STANDARD.decode(code);
            let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            return match text {
                Some(text) => Ok((Body::Text(text), None)),
                None => Err(self.unknown(line, "A body in base64 that is no text")),
            };
        }
        if text.starts_with("hex,") {
            return Err(self.unknown(line, "A body in `hex,`"));
        }
        Err(self.wrong(line, "Here a header, a section, a body or an answer (`HTTP 200`) is expected."))
    }

    fn fenced(&mut self, line: Line<'t>) -> Result<(Body, Option<&'static str>)> {
        self.at += 1;
        let head = line.text.trim().trim_start_matches('`');
        if let Some(inner) = head.strip_suffix("```") {
            return Ok((Body::Text(inner.to_owned()), None));
        }
        let kind = match head.trim().trim_end_matches(',') {
            "" => None,
            "json" => Some("application/json"),
            "xml" => Some("application/xml"),
            other => return Err(self.unknown(line, &format!("A body of the kind ```{other}"))),
        };
        let mut text = String::new();
        while let Some(next) = self.peek() {
            self.at += 1;
            if let Some(last) = next.text.strip_suffix("```") {
                text.push_str(last);
                return Ok((Body::Text(text), kind));
            }
            text.push_str(next.text);
            text.push('\n');
        }
        Err(self.wrong(line, "The three backticks are not closed."))
    }

    /// JSON up to the bracket that closes the first one; templates may stand where values would.
    fn json(&mut self, line: Line<'t>) -> Result<String> {
        let (mut depth, mut quoted, mut escaped) = (0_i64, false, false);
        let mut text = String::new();
        while let Some(next) = self.peek() {
            self.at += 1;
            for c in next.text.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if quoted => escaped = true,
                    '"' => quoted = !quoted,
                    '{' | '[' if !quoted => depth += 1,
                    '}' | ']' if !quoted => depth -= 1,
                    _ => {}
                }
            }
            text.push_str(next.text);
            if depth <= 0 && !quoted {
                return Ok(text.trim().to_owned());
            }
            text.push('\n');
        }
        Err(self.wrong(line, "The JSON that begins here does not end."))
    }

    fn until_next_part(&mut self) -> String {
        let mut text = String::new();
        while let Some(line) = self.peek() {
            let trimmed = line.text.trim();
            if is_request(trimmed) || is_response(trimmed) || section(trimmed).is_some() {
                break;
            }
            self.at += 1;
            text.push_str(line.text);
            text.push('\n');
        }
        text.trim().to_owned()
    }
}
