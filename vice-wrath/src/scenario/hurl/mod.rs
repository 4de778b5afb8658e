//! Files of Hurl (<https://hurl.dev>), read natively as far as their requests, captures and asserts go. What of the
//! format is not known here is refused by its name at its line, never passed over. This module owns the entries of a
//! file; `line` takes one line of captures and asserts apart, `options` the options.

mod body;
mod line;
mod options;

use std::sync::Arc;

use serde_json::Value;
use vice_core::{Code, Fault, Result};

use super::{Action, Assertion, Body, HttpStep, Part, PartContent, Row, Scenario, Source, Spot, Step, StepCapture};
use crate::capture::sounds_secret;
use crate::query::Query;
use crate::query::predicate::{Op, Predicate};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "LINK", "UNLINK", "PURGE", "LOCK", "UNLOCK",
    "PROPFIND", "VIEW",
];

/// A line with where it stands.
#[derive(Debug, Clone, Copy)]
struct Line<'t> {
    text: &'t str,
    start: usize,
}

struct Reader<'t> {
    source: &'t Arc<Source>,
    lines: Vec<Line<'t>>,
    at: usize,
}

/// A request under construction.
#[derive(Default)]
struct Entry {
    http: HttpStep,
    name: Option<String>,
    expect: Vec<Assertion>,
    captures: Vec<StepCapture>,
    settings: options::Settings,
}

/// Reads a file.
///
/// # Errors
/// `ManifestInvalid` at the line, for what is wrong and for what is not known here.
pub(super) fn parse(source: &Arc<Source>) -> Result<Scenario> {
    let mut lines = Vec::new();
    let mut start = 0;
    for text in source.text.split_inclusive('\n') {
        lines.push(Line { text: text.trim_end_matches(['\n', '\r']), start });
        start += text.len();
    }
    let mut reader = Reader { source, lines, at: 0 };
    let mut steps = Vec::new();
    let mut vars: Vec<(String, Value)> = Vec::new();
    while let Some((line, comment)) = reader.next_request() {
        let (step, set) = reader.entry(line, comment)?;
        steps.push(step);
        for (name, value) in set {
            vars.retain(|(known, _)| *known != name);
            vars.push((name, value));
        }
        if steps.len() > super::STEPS_MAX {
            return Err(reader.wrong(line, format!("{} has more than {} requests.", source.file, super::STEPS_MAX)));
        }
    }
    let stem = source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Scenario {
        name: stem,
        about: None,
        spot: Spot { source: Arc::clone(source), span: 0..source.text.lines().next().map_or(0, str::len) },
        tags: Vec::new(),
        only: Vec::new(),
        vars,
        rows: vec![Row::default()],
        setup: Vec::new(),
        steps,
        teardown: Vec::new(),
        cookies: true,
        keep_going: false,
        timeout: None,
    })
}

/// What stands before a comment. `\#` is no comment, and neither is one in the middle of a word.
fn uncommented(text: &str) -> &str {
    let bytes = text.as_bytes();
    let comment =
        |index: usize| bytes[index] == b'#' && (index == 0 || bytes[index - 1] == b' ' || bytes[index - 1] == b'\t');
    let end = (0..bytes.len()).find(|index| comment(*index)).unwrap_or(bytes.len());
    text[..end].trim()
}

/// A name between brackets on a line of its own.
fn section(text: &str) -> Option<&str> {
    let name = uncommented(text).strip_prefix('[')?.strip_suffix(']')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())).then_some(name)
}

fn is_request(text: &str) -> bool {
    let word = text.split([' ', '\t']).next().unwrap_or_default();
    METHODS.contains(&word) && text.len() > word.len()
}

fn is_response(text: &str) -> bool {
    let word = text.split([' ', '\t']).next().unwrap_or_default();
    word == "HTTP" || word.starts_with("HTTP/")
}

impl<'t> Reader<'t> {
    fn spot(&self, line: Line<'_>) -> Spot {
        let indent = line.text.len() - line.text.trim_start().len();
        let span = line.start + indent..line.start + line.text.len();
        Spot { source: Arc::clone(self.source), span }
    }

    fn wrong(&self, line: Line<'_>, message: impl Into<String>) -> Fault {
        self.spot(line).invalid(message)
    }

    fn unknown(&self, line: Line<'_>, what: &str) -> Fault {
        Fault::new(Code::ManifestInvalid, format!("{what} of Hurl is not known here."))
            .at(self.spot(line).place("not supported"))
            .hint("docs/scenarios.md says which parts of the format are read.")
    }

    fn peek(&self) -> Option<Line<'t>> {
        self.lines.get(self.at).copied()
    }

    /// The next line that says something, if it belongs to this entry.
    fn next_of_entry(&mut self) -> Option<Line<'t>> {
        while let Some(line) = self.peek() {
            if uncommented(line.text).is_empty() {
                self.at += 1;
                continue;
            }
            return (!is_request(line.text.trim())).then_some(line);
        }
        None
    }

    /// The next request, with the comment right above it, which names it.
    fn next_request(&mut self) -> Option<(Line<'t>, Option<&'t str>)> {
        let mut comment = None;
        while let Some(line) = self.peek() {
            self.at += 1;
            let text = line.text.trim();
            if let Some(words) = text.strip_prefix('#') {
                comment = Some(words.trim_start_matches('#').trim()).filter(|words| !words.is_empty());
            } else if text.is_empty() {
                comment = None;
            } else {
                return Some((line, comment));
            }
        }
        None
    }

    fn entry(&mut self, line: Line<'t>, comment: Option<&str>) -> Result<(Step, Vec<(String, Value)>)> {
        let text = uncommented(line.text);
        if !is_request(text) {
            return Err(self.wrong(line, "Here a request such as `GET https://shop.example/` is expected."));
        }
        let (method, url) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let mut entry = Entry { name: comment.map(|name| name.chars().take(100).collect()), ..Entry::default() };
        entry.http =
            HttpStep { method: method.to_owned(), url: unescaped(url.trim()), verify: true, ..HttpStep::default() };
        self.request(&mut entry)?;
        if let Some(line) = self.next_of_entry()
            && is_response(line.text.trim())
        {
            self.at += 1;
            self.response(line, &mut entry)?;
        }
        if let Some(line) = self.next_of_entry() {
            return Err(self.wrong(line, "What stands here belongs to no request."));
        }
        let name = entry.name.unwrap_or_else(|| format!("{} {}", entry.http.method, entry.http.url));
        let settings = entry.settings;
        settings.apply(&mut entry.http);
        let step = Step {
            name,
            spot: self.spot(line),
            action: Action::Http(Box::new(entry.http)),
            expect: entry.expect,
            captures: entry.captures,
            timeout: settings.timeout,
            retry: settings.retry(),
            parallel: None,
        };
        Ok((step, settings.vars))
    }

    /// Headers, sections and body of a request.
    fn request(&mut self, entry: &mut Entry) -> Result<()> {
        let mut headers_over = false;
        while let Some(line) = self.next_of_entry() {
            let text = line.text.trim();
            if is_response(text) {
                return Ok(());
            }
            if let Some(name) = section(text) {
                self.at += 1;
                headers_over = true;
                self.request_section(name, line, entry)?;
                continue;
            }
            if !headers_over && let Some((name, value)) = key_value(text) {
                self.at += 1;
                entry.http.headers.push((name, value));
                continue;
            }
            headers_over = true;
            let (body, kind) = self.body(line)?;
            let has_type = entry.http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            if let Some(kind) = kind.filter(|_| !has_type) {
                entry.http.headers.push(("Content-Type".to_owned(), kind.to_owned()));
            }
            entry.http.body = body;
        }
        Ok(())
    }

    /// The lines `name: value` of a section.
    fn pairs(&mut self) -> Result<Vec<(Line<'t>, String, String)>> {
        let mut pairs = Vec::new();
        while let Some(line) = self.next_of_entry() {
            let text = line.text.trim();
            if section(text).is_some() || is_response(text) || text.starts_with(['{', '`', '<']) {
                break;
            }
            let Some((name, value)) = key_value(text) else {
                if ["file,", "base64,", "hex,"].iter().any(|word| text.starts_with(word)) {
                    break;
                }
                return Err(self.wrong(line, "Here a line `name: value` is expected."));
            };
            self.at += 1;
            pairs.push((line, name, value));
        }
        Ok(pairs)
    }

    fn request_section(&mut self, name: &str, line: Line<'t>, entry: &mut Entry) -> Result<()> {
        let plain =
            |pairs: Vec<(Line<'t>, String, String)>| pairs.into_iter().map(|(_, name, value)| (name, value)).collect();
        match name {
            "QueryStringParams" | "Query" => entry.http.query = plain(self.pairs()?),
            "FormParams" | "Form" => entry.http.body = Body::Form(plain(self.pairs()?)),
            "Cookies" => entry.http.cookies = plain(self.pairs()?),
            "BasicAuth" => {
                entry.http.basic = self.pairs()?.into_iter().next().map(|(_, user, password)| (user, password));
            }
            "MultipartFormData" | "Multipart" => {
                let parts = self.pairs()?.into_iter().map(|(line, name, value)| self.part(line, name, &value));
                entry.http.body = Body::Multipart(parts.collect::<Result<_>>()?);
            }
            "Options" => {
                for (line, name, value) in self.pairs()? {
                    entry.settings.set(&name, &value).map_err(|why| match why {
                        options::Refused::Unknown => self.unknown(line, &format!("The option `{name}`")),
                        options::Refused::Wrong(why) => self.wrong(line, why),
                    })?;
                }
            }
            _ => return Err(self.unknown(line, &format!("The section [{name}]"))),
        }
        Ok(())
    }

    fn part(&self, line: Line<'_>, name: String, value: &str) -> Result<Part> {
        let Some(file) = value.strip_prefix("file,") else {
            return Ok(Part { name, content: PartContent::Text(value.to_owned()), content_type: None });
        };
        let (file, kind) =
            file.split_once(';').ok_or_else(|| self.wrong(line, "A file ends with `;`, as in `file,a.png;`."))?;
        let kind = kind.trim();
        let content_type = (!kind.is_empty()).then(|| kind.to_owned());
        Ok(Part { name, content: PartContent::File(file.trim().to_owned()), content_type })
    }

    /// The status line, headers, captures, asserts and body of an answer.
    fn response(&mut self, line: Line<'t>, entry: &mut Entry) -> Result<()> {
        self.status_line(line, entry)?;
        let mut headers_over = false;
        while let Some(line) = self.next_of_entry() {
            let text = line.text.trim();
            if is_response(text) {
                return Err(self.wrong(line, "An entry has one answer."));
            }
            if let Some(name) = section(text) {
                self.at += 1;
                headers_over = true;
                match name {
                    "Captures" => self.captures(entry)?,
                    "Asserts" => self.asserts(entry)?,
                    _ => return Err(self.unknown(line, &format!("The section [{name}]"))),
                }
                continue;
            }
            let spot = self.spot(line);
            if !headers_over && let Some((name, value)) = key_value(text) {
                self.at += 1;
                let predicate = Predicate::of(Op::Equals(Value::from(value)));
                entry.expect.push(Assertion { query: Query::Header(name), filters: Vec::new(), predicate, spot });
                continue;
            }
            headers_over = true;
            let (body, kind) = self.body(line)?;
            entry.expect.push(self.whole_body(line, body, kind)?);
        }
        Ok(())
    }

    fn whole_body(&self, line: Line<'_>, body: Body, kind: Option<&str>) -> Result<Assertion> {
        let spot = self.spot(line);
        let Body::Text(text) = body else {
            return Err(self.unknown(line, "A file as the body of an answer"));
        };
        if kind == Some("application/json") && !text.contains("{{") {
            let json: Value = serde_json::from_str(&text).map_err(|_| self.wrong(line, "The body is not JSON."))?;
            let predicate = Predicate::of(Op::Equals(json));
            return Ok(Assertion { query: Query::Json(String::new()), filters: Vec::new(), predicate, spot });
        }
        let predicate = Predicate::of(Op::Equals(Value::from(text)));
        Ok(Assertion { query: Query::Body, filters: Vec::new(), predicate, spot })
    }

    fn status_line(&self, line: Line<'_>, entry: &mut Entry) -> Result<()> {
        let spot = self.spot(line);
        let mut words = uncommented(line.text).split_whitespace();
        let version = words.next().unwrap_or("HTTP");
        let status = words.next().unwrap_or("*");
        let mut push = |query: Query, op: Op| {
            let predicate = Predicate::of(op);
            entry.expect.push(Assertion { query, filters: Vec::new(), predicate, spot: spot.clone() });
        };
        match version {
            "HTTP" => {}
            "HTTP/1.0" | "HTTP/1.1" | "HTTP/2" => push(Query::Version, Op::Equals(Value::from(version))),
            _ => return Err(self.unknown(line, &format!("The version {version}"))),
        }
        if status == "*" {
            return Ok(());
        }
        match status.parse::<u16>().ok().filter(|status| (100..=599).contains(status)) {
            Some(status) => push(Query::Status, Op::Equals(Value::from(status))),
            None => return Err(self.wrong(line, format!("{status:?} is no status; write a number or *."))),
        }
        Ok(())
    }

    fn captures(&mut self, entry: &mut Entry) -> Result<()> {
        while let Some(line) = self.next_of_entry() {
            let text = line.text.trim();
            if section(text).is_some() || is_response(text) || text.starts_with(['{', '`', '<']) {
                return Ok(());
            }
            self.at += 1;
            let (name, rest) =
                text.split_once(':').ok_or_else(|| self.wrong(line, "Here `name: query` is expected."))?;
            let name = name.trim();
            if !super::csv::is_name(name) {
                return Err(self.wrong(line, format!("A capture can't be called {name:?}.")));
            }
            let parsed = line::capture(rest).map_err(|why| self.explain(line, why))?;
            let secret = parsed.redacted || sounds_secret(name);
            entry.captures.push(StepCapture {
                name: name.to_owned(),
                query: parsed.query,
                filters: parsed.filters,
                secret,
                spot: self.spot(line),
            });
        }
        Ok(())
    }

    fn asserts(&mut self, entry: &mut Entry) -> Result<()> {
        while let Some(line) = self.next_of_entry() {
            let text = line.text.trim();
            let starts_body = text.starts_with(['{', '`', '<']);
            if section(text).is_some() || is_response(text) || starts_body {
                return Ok(());
            }
            self.at += 1;
            // A value can go on over several lines between three backticks.
            let mut whole = text.to_owned();
            if text.matches("```").count() == 1 {
                while let Some(next) = self.peek() {
                    self.at += 1;
                    whole.push('\n');
                    whole.push_str(next.text);
                    if next.text.contains("```") {
                        break;
                    }
                }
            }
            let (query, filters, predicate) = line::assert(&whole).map_err(|why| self.explain(line, why))?;
            entry.expect.push(Assertion { query, filters, predicate, spot: self.spot(line) });
        }
        Ok(())
    }

    fn explain(&self, line: Line<'_>, why: line::Refused) -> Fault {
        match why {
            line::Refused::Unknown(what) => self.unknown(line, &what),
            line::Refused::Wrong(why) => self.wrong(line, why),
        }
    }
}

/// `name: value`, where the name is one that a header could have.
fn key_value(text: &str) -> Option<(String, String)> {
    if text.starts_with(['{', '[', '"', '<', '`']) {
        let template = text.starts_with("{{");
        if !template {
            return None;
        }
    }
    let text = uncommented(text);
    let from = if text.starts_with("{{") { text.find("}}").map_or(0, |at| at + 2) } else { 0 };
    let colon = from + text.get(from..)?.find(':')?;
    let (name, value) = (text[..colon].trim(), text[colon + 1..].trim());
    let odd = name.is_empty()
        || name.contains(['"', ',', ';'])
        || (name.contains(char::is_whitespace) && !name.contains("{{"));
    (!odd).then(|| (unescaped(name), unescaped(value)))
}

/// `\#` and the like as what they stand for.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('#' | ':' | '\\')) => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}
