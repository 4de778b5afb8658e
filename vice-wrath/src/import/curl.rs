//! Command lines of curl, as browsers copy them and people keep them: words as a shell splits them, then the options
//! that say something about the request. An option that is not known is refused by its name.

use serde_json::{Map, Value, json};
use url::Url;

use super::{HttpMade, Import, REQUESTS_MAX, body_of, common_origin};

/// Options without a value that change nothing about the request.
const SILENT: &[&str] = &[
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-v",
    "--verbose",
    "-i",
    "--include",
    "-f",
    "--fail",
    "-#",
    "--progress-bar",
    "-N",
    "--no-buffer",
    "--globoff",
    "-g",
    "--path-as-is",
    "-sS",
    "-fsS",
    "-fsSL",
    "-sL",
    "--fail-with-body",
    "-O",
    "--remote-name",
];

/// Options with a value that change nothing about the request.
const SILENT_WITH_VALUE: &[&str] =
    &["-o", "--output", "-w", "--write-out", "--trace", "--trace-ascii", "-D", "--dump-header", "--connect-timeout"];

/// Options whose value may stick to them.
const SHORT_WITH_VALUE: &[&str] = &["-X", "-H", "-d", "-F", "-u", "-b", "-A", "-e", "-m", "-o"];

/// Reads one or more commands.
///
/// # Errors
/// A sentence that says what is not understood.
pub(crate) fn parse(text: &str) -> Result<Import, String> {
    let mut import = Import {
        name: "Imported from curl".to_owned(),
        about: "Made of curl command lines.".to_owned(),
        ..Import::default()
    };
    let mut made = Vec::new();
    for words in commands(text)? {
        made.push(request(&words, &mut import.notes)?);
        if made.len() > REQUESTS_MAX {
            return Err(format!("There are more than {REQUESTS_MAX} commands."));
        }
    }
    if made.is_empty() {
        return Err("There is no curl command.".to_owned());
    }
    import.url = common_origin(made.iter().map(|made| made.url.as_str()));
    let common = import.url.clone();
    import.steps = made.into_iter().map(|made| made.step(common.as_deref(), &mut import.notes)).collect();
    Ok(import)
}

/// The words of each command, as a shell would split them. Nothing is expanded.
fn commands(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some('\r') if chars.peek() == Some(&'\n') => drop(chars.next()),
                Some(c) => word.get_or_insert_default().push(c),
            },
            '\'' => single(&mut chars, word.get_or_insert_default())?,
            '"' => double(&mut chars, word.get_or_insert_default())?,
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                ansi(&mut chars, word.get_or_insert_default())?;
            }
            '#' if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            '\n' | ';' => {
                commands.last_mut().into_iter().for_each(|command: &mut Vec<String>| command.extend(word.take()));
                commands.push(Vec::new());
            }
            c if c.is_whitespace() => commands.last_mut().into_iter().for_each(|command| command.extend(word.take())),
            c => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().into_iter().for_each(|command| command.extend(word.take()));
    commands.retain(|command| !command.is_empty());
    match commands.iter().find(|command| command[0] != "curl" && !command[0].ends_with("/curl")) {
        Some(other) => Err(format!("{:?} is not curl; only commands of curl can be imported.", other[0])),
        None => Ok(commands),
    }
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn single(chars: &mut Chars<'_>, word: &mut String) -> Result<(), String> {
    for c in chars.by_ref() {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err("A quote is not closed.".to_owned())
}

fn double(chars: &mut Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' if matches!(chars.peek(), Some('"' | '\\' | '$' | '`')) => word.extend(chars.next()),
            '\\' if chars.peek() == Some(&'\n') => drop(chars.next()),
            c => word.push(c),
        }
    }
    Err("A quote is not closed.".to_owned())
}

/// `$'…'`, as browsers write texts with line ends.
fn ansi(chars: &mut Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '\'' => return Ok(()),
            '\\' => match chars.next() {
                Some('n') => word.push('\n'),
                Some('r') => word.push('\r'),
                Some('t') => word.push('\t'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    word.push(c.ok_or("\\u is not followed by four digits of a character.")?);
                }
                Some(c) => word.push(c),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err("A quote is not closed.".to_owned())
}

#[derive(Default)]
struct Reading {
    made: HttpMade,
    data: Vec<String>,
    parts: Vec<Value>,
    get: bool,
    json: bool,
    keys: Map<String, Value>,
}

fn request(words: &[String], notes: &mut Vec<String>) -> Result<HttpMade, String> {
    let mut reading = Reading::default();
    let mut words = words.iter().skip(1).cloned();
    while let Some(word) = words.next() {
        let stuck = SHORT_WITH_VALUE.iter().find(|short| word.starts_with(**short) && word.len() > 2);
        let (option, inline) = match (stuck, word.split_once('=').filter(|_| word.starts_with("--"))) {
            (Some(short), _) => ((*short).to_owned(), Some(word[2..].to_owned())),
            (None, Some((name, value))) => (name.to_owned(), Some(value.to_owned())),
            (None, None) => (word, None),
        };
        if !option.starts_with('-') || option == "-" {
            reading.url(&option)?;
            continue;
        }
        if reading.flag(&option) || SILENT.contains(&option.as_str()) {
            continue;
        }
        let value = inline.or_else(|| words.next()).ok_or_else(|| format!("The option {option} has no value."))?;
        if SILENT_WITH_VALUE.contains(&option.as_str()) {
            continue;
        }
        reading.valued(&option, value, notes)?;
    }
    reading.finish()
}

impl Reading {
    fn url(&mut self, text: &str) -> Result<(), String> {
        if !self.made.url.is_empty() {
            return Err("The command has more than one URL; make each a command of its own.".to_owned());
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|error| format!("{text:?} is not a URL ({error})."))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{text:?} is not HTTP."));
        }
        self.made.url = whole;
        Ok(())
    }

    /// Options without a value.
    fn flag(&mut self, option: &str) -> bool {
        match option {
            "-L" | "--location" => drop(self.keys.insert("follow".to_owned(), json!(true))),
            "-k" | "--insecure" => drop(self.keys.insert("verify".to_owned(), json!(false))),
            "--compressed" => drop(self.keys.insert("compressed".to_owned(), json!(true))),
            "--http1.1" => drop(self.keys.insert("protocol".to_owned(), json!("1.1"))),
            "--http2" | "--http2-prior-knowledge" => drop(self.keys.insert("protocol".to_owned(), json!("2"))),
            "-G" | "--get" => self.get = true,
            "-I" | "--head" => self.made.method = Some("HEAD".to_owned()),
            _ => return false,
        }
        true
    }

    fn valued(&mut self, option: &str, value: String, notes: &mut Vec<String>) -> Result<(), String> {
        match option {
            "--url" => return self.url(&value),
            "-X" | "--request" => self.made.method = Some(value.to_ascii_uppercase()),
            "-H" | "--header" => self.header(&value, notes)?,
            "-A" | "--user-agent" => self.made.headers.push(("User-Agent".to_owned(), value)),
            "-e" | "--referer" => self.made.headers.push(("Referer".to_owned(), value)),
            "-u" | "--user" => self.made.basic = Some(value),
            "-d" | "--data" | "--data-ascii" | "--data-binary" | "--data-raw" => self.datum(option, value)?,
            "--json" => {
                self.json = true;
                self.datum(option, value)?;
            }
            "--data-urlencode" => {
                let (name, content) = value.split_once('=').unwrap_or(("", value.as_str()));
                let coded: String = url::form_urlencoded::byte_serialize(content.as_bytes()).collect();
                self.data.push(if name.is_empty() { coded } else { format!("{name}={coded}") });
            }
            "-F" | "--form" | "--form-string" => self.part(&value)?,
            "-b" | "--cookie" if !value.contains('=') => {
                notes.push("Cookies from a file were left out; the scenario keeps its own.".to_owned());
            }
            "-b" | "--cookie" => self.cookies(&value, notes),
            "-c" | "--cookie-jar" => {
                notes.push("A cookie jar is not needed: a scenario keeps cookies from step to step.".to_owned());
            }
            "--max-redirs" => {
                let most = value.parse::<u32>().map_err(|_| format!("--max-redirs {value} is not a number."))?;
                self.keys.insert("follow".to_owned(), json!(most.min(crate::scenario::toml_file::FOLLOW_MAX)));
            }
            "-m" | "--max-time" => {
                let seconds = value.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds < 1e6);
                let seconds = seconds.ok_or_else(|| format!("--max-time {value} is not a time."))?;
                self.keys.insert("timeout".to_owned(), json!(format!("{}ms", (seconds * 1000.0) as u64)));
            }
            "--cacert" => drop(self.keys.insert("ca".to_owned(), json!(value))),
            "-T" | "--upload-file" => {
                self.made.method.get_or_insert_with(|| "PUT".to_owned());
                self.made.body = Some(("body_file", json!(value)));
            }
            _ => return Err(format!("The option {option} of curl is not known here.")),
        }
        Ok(())
    }

    fn header(&mut self, text: &str, notes: &mut Vec<String>) -> Result<(), String> {
        let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not a header."))?;
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("cookie") {
            self.cookies(value, notes);
        } else if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("accept-encoding") {
            self.made.headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }

    fn cookies(&mut self, text: &str, notes: &mut Vec<String>) {
        let mut cookies = Map::new();
        for (name, value) in text.split(';').filter_map(|pair| pair.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            let secret = crate::capture::sounds_secret(name) || name.to_ascii_lowercase().contains("sid");
            let value = if secret { super::credential(name, notes) } else { value.to_owned() };
            cookies.insert(name.to_owned(), Value::from(value));
        }
        self.keys.insert("cookies".to_owned(), Value::Object(cookies));
    }

    fn datum(&mut self, option: &str, value: String) -> Result<(), String> {
        match value.strip_prefix('@').filter(|_| option != "--data-raw") {
            Some("-") => Err("A body from standard input can't be imported.".to_owned()),
            Some(file) => {
                self.made.body = Some(("body_file", json!(file)));
                Ok(())
            }
            None => {
                self.data.push(value);
                Ok(())
            }
        }
    }

    fn part(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not a part of a form."))?;
        let mut part = Map::new();
        part.insert("name".to_owned(), json!(name));
        let (content, kind) = match value.split_once(";type=") {
            Some((content, kind)) => (content, Some(kind)),
            None => (value, None),
        };
        match content.strip_prefix(['@', '<']) {
            Some(file) => part.insert("file".to_owned(), json!(file.split(';').next().unwrap_or(file))),
            None => part.insert("text".to_owned(), json!(content)),
        };
        if let Some(kind) = kind {
            part.insert("type".to_owned(), json!(kind));
        }
        self.parts.push(Value::Object(part));
        Ok(())
    }

    fn finish(mut self) -> Result<HttpMade, String> {
        if self.made.url.is_empty() {
            return Err("The command has no URL.".to_owned());
        }
        let has = |made: &HttpMade, name: &str| made.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !self.parts.is_empty() {
            self.made.body = Some(("body_multipart", Value::Array(self.parts)));
        } else if self.get && !self.data.is_empty() {
            let sign = if self.made.url.contains('?') { '&' } else { '?' };
            self.made.url.push_str(&format!("{sign}{}", self.data.join("&")));
        } else if !self.data.is_empty() {
            let text = self.data.join(if self.json { "" } else { "&" });
            let kind = self.made.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let kind =
                kind.map(|(_, value)| value.clone()).or_else(|| self.json.then(|| "application/json".to_owned()));
            let body = body_of(&text, kind.as_deref());
            if !has(&self.made, "content-type") && body.0 == "body" {
                // What curl sends without being asked.
                let kind = kind.unwrap_or_else(|| "application/x-www-form-urlencoded".to_owned());
                self.made.headers.push(("Content-Type".to_owned(), kind));
            }
            self.made.body = Some(body);
        }
        if self.get {
            self.made.method = Some("GET".to_owned());
        }
        // Our own default; saying it would be noise.
        if self.keys.get("compressed") == Some(&json!(true)) {
            self.keys.remove("compressed");
        }
        self.made.keys.extend(self.keys);
        self.made.expect.push(("status".to_owned(), json!("2xx")));
        Ok(self.made)
    }
}
