//! Scenarios as TOML: from text to [`Scenario`], with every slip at its place. Includes are followed by
//! [`super::library`], which hands in what it has read.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use vice_core::id::EnvName;
use vice_core::{Millis, Result};

use super::expect::{ExpectFile, assertions};
use super::places::{At, Places};
use super::{Action, Body, HttpStep, Part, PartContent, Protocol, Retry, Row, Source, Spot, Step, StepCapture};
use crate::capture::sounds_secret;
use crate::query;

/// So many redirects a step may follow.
pub(crate) const FOLLOW_MAX: u32 = 50;

/// How long to wait between attempts when nobody says.
pub(crate) const RETRY_EVERY: Millis = Millis(500);

/// A file before its includes are followed.
pub(super) struct Draft {
    pub(super) file: ScenarioFile,
    pub(super) spot: Spot,
    pub(super) setup: Vec<Entry>,
    pub(super) steps: Vec<Entry>,
    pub(super) teardown: Vec<Entry>,
    pub(super) rows: Vec<Row>,
    /// A table in a file of its own.
    pub(super) table: Option<(String, Spot)>,
    pub(super) includes: Vec<(String, Spot)>,
}

/// A step, or the steps of another file.
pub(super) enum Entry {
    Step(Box<Step>),
    Include(String, Spot),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Data {
    File(String),
    Rows(Vec<IndexMap<String, Value>>),
}

/// What a file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScenarioFile {
    pub(super) name: Option<String>,
    pub(super) about: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) only: Vec<EnvName>,
    pub(super) timeout: Option<Millis>,
    pub(super) cookies: Option<bool>,
    pub(super) keep_going: bool,
    include: Vec<String>,
    data: Option<Data>,
    pub(super) vars: IndexMap<String, Value>,
    defaults: Defaults,
    setup: Vec<StepFile>,
    step: Vec<StepFile>,
    teardown: Vec<StepFile>,
}

/// What all requests of a file share.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    url: Option<String>,
    headers: IndexMap<String, String>,
    timeout: Option<Millis>,
    follow: Option<Value>,
    protocol: Option<String>,
    verify: Option<bool>,
    ca: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CaptureFile {
    Short(String),
    Long(CaptureLong),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureLong {
    from: String,
    secret: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFile {
    name: String,
    text: Option<String>,
    file: Option<String>,
    #[serde(rename = "type")]
    content_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StepFile {
    name: Option<String>,
    http: Option<String>,
    tcp: Option<String>,
    tls: Option<String>,
    dns: Option<String>,
    postgres: Option<String>,
    command: Option<Vec<String>>,
    include: Option<String>,

    headers: IndexMap<String, String>,
    query: IndexMap<String, Value>,
    cookies: IndexMap<String, String>,
    basic: Option<String>,
    body: Option<String>,
    body_json: Option<Value>,
    body_form: Option<IndexMap<String, String>>,
    body_multipart: Option<Vec<PartFile>>,
    body_file: Option<String>,
    follow: Option<Value>,
    protocol: Option<String>,
    compressed: Option<bool>,
    verify: Option<bool>,
    ca: Option<String>,

    send: Option<String>,
    server_name: Option<String>,
    server: Option<String>,
    sql: Option<String>,
    stdin: Option<String>,

    expect: ExpectFile,
    capture: IndexMap<String, CaptureFile>,
    timeout: Option<Millis>,
    retry_for: Option<Millis>,
    retry_every: Option<Millis>,
    retries: Option<u32>,
    parallel: Option<String>,
}

/// What to write instead of a key that checks of `vice.toml` have beside what they do, and steps have under `expect`.
fn moved_key(message: &str) -> Option<String> {
    let key = message.split_once("unknown field `")?.1.split_once('`')?.0;
    let instead = match key {
        "status" | "json" | "css" | "xpath" | "regex" | "size" | "sha256" | "latency" | "redirects" | "version"
        | "certificate" | "records" | "rows" | "exit" | "output" | "stderr" => format!("expect.{key} = …"),
        "expect_headers" => "expect.headers = { Name = { matches = \"…\" } }".to_owned(),
        "matches" => "expect.body = { matches = \"…\" }".to_owned(),
        "latency_max" => "expect.latency = \"500ms\"".to_owned(),
        "tls_expiry_min" => "expect.certificate = { days_left = 30 }".to_owned(),
        _ => return None,
    };
    Some(format!("In a scenario what is expected stands under `expect`: {instead}."))
}

/// Reads a file.
///
/// # Errors
/// `ManifestInvalid` at the place.
pub(super) fn parse(source: &Arc<Source>) -> Result<Draft> {
    let text = Arc::clone(&source.text);
    let mut file: ScenarioFile = toml::from_str(&text).map_err(|error| {
        let fault = vice_core::manifest::explain(&source.file, &text, &error);
        match moved_key(error.message()) {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    })?;
    let places = Places::new(Arc::clone(source), &text);
    let defaults = std::mem::take(&mut file.defaults);
    let reading = Reading { places: &places, defaults: &defaults };
    let setup = reading.entries("setup", std::mem::take(&mut file.setup))?;
    let steps = reading.entries("step", std::mem::take(&mut file.step))?;
    let teardown = reading.entries("teardown", std::mem::take(&mut file.teardown))?;
    let (rows, table) = reading.data(file.data.take())?;
    for name in file.vars.keys() {
        if !super::csv::is_name(name) {
            let spot = places.spot(&[At::Key("vars"), At::Key(name)]);
            return Err(spot
                .invalid(format!("A variable can't be called {name:?}."))
                .hint("Use letters, digits, _ and -."));
        }
    }
    let spot_of = |index: usize| places.spot(&[At::Key("include"), At::Index(index)]);
    let includes = std::mem::take(&mut file.include).into_iter().enumerate();
    let includes = includes.map(|(index, name)| (name, spot_of(index))).collect();
    let spot = places.spot(&[At::Key("name")]);
    Ok(Draft { file, spot, setup, steps, teardown, rows, table, includes })
}

struct Reading<'a, 't> {
    places: &'a Places<'t>,
    defaults: &'a Defaults,
}

type Path<'p> = [At<'p>; 2];

/// Rows, or a file of them with the place that names it.
type Rows = (Vec<Row>, Option<(String, Spot)>);

impl Reading<'_, '_> {
    fn spot(&self, path: &Path<'_>, key: &str) -> Spot {
        self.places.spot(&[path[0], path[1], At::Key(key)])
    }

    /// The rows, or the name of the file that has them.
    fn data(&self, data: Option<Data>) -> Result<Rows> {
        let spot = self.places.spot(&[At::Key("data")]);
        let rows = match data {
            None => return Ok((vec![Row::default()], None)),
            Some(Data::File(file)) => return Ok((Vec::new(), Some((file, spot)))),
            Some(Data::Rows(rows)) => rows,
        };
        if rows.is_empty() || rows.len() > super::ROWS_MAX {
            return Err(spot.invalid(format!("A table has 1 to {} rows.", super::ROWS_MAX)));
        }
        let mut out = Vec::new();
        for (index, row) in rows.into_iter().enumerate() {
            if let Some(bad) = row.keys().find(|name| !super::csv::is_name(name)) {
                return Err(spot.invalid(format!("The column {bad:?} can't be the name of a variable.")));
            }
            out.push(Row { label: row_label(index, row.values().next()), values: row.into_iter().collect() });
        }
        Ok((out, None))
    }

    fn entries(&self, list: &str, steps: Vec<StepFile>) -> Result<Vec<Entry>> {
        let entries = steps.into_iter().enumerate();
        entries.map(|(index, step)| self.entry([At::Key(list), At::Index(index)], index, step)).collect()
    }

    fn entry(&self, path: Path<'_>, index: usize, step: StepFile) -> Result<Entry> {
        self.one_kind(&path, &step)?;
        if let Some(file) = &step.include {
            return Ok(Entry::Include(file.clone(), self.spot(&path, "include")));
        }
        self.placed(&path, &step)?;
        let action = self.action(&path, &step)?;
        let expect = assertions(&step.expect, &action, self.places, &path)?;
        let captures = self.captures(&path, &step)?;
        let retry = self.retry(&path, &step)?;
        let name = step.name.unwrap_or_else(|| match &action {
            Action::Http(_) => action.subject(),
            other => format!("{} {}", other.kind(), other.subject()),
        });
        if name.trim().is_empty() || name.len() > 200 {
            return Err(self
                .spot(&path, "name")
                .invalid(format!("Step {} needs a name of 1 to 200 bytes.", index + 1)));
        }
        Ok(Entry::Step(Box::new(Step {
            name,
            spot: self.places.spot(&path),
            action,
            expect,
            captures,
            timeout: step.timeout.or(self.defaults.timeout),
            retry,
            parallel: step.parallel,
        })))
    }

    fn one_kind(&self, path: &Path<'_>, step: &StepFile) -> Result<()> {
        let kinds = [
            ("http", step.http.is_some()),
            ("tcp", step.tcp.is_some()),
            ("tls", step.tls.is_some()),
            ("dns", step.dns.is_some()),
            ("postgres", step.postgres.is_some()),
            ("command", step.command.is_some()),
            ("include", step.include.is_some()),
        ];
        let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
        match given.as_slice() {
            [_] => Ok(()),
            [] => Err(self.places.spot(path).invalid("The step says nothing to do.").hint(
                "Give it one of http, tcp, tls, dns, postgres, command and include; for example http = \"GET /\".",
            )),
            [_, second, ..] => Err(self
                .spot(path, second)
                .invalid(format!("The step does more than one thing: {}.", given.join(", ")))
                .hint("Make each a step of its own.")),
        }
    }

    /// Refuses keys of another kind of step: they would be ignored, and somebody would rely on them.
    fn placed(&self, path: &Path<'_>, step: &StepFile) -> Result<()> {
        let http = step.http.is_some();
        let keys: [(&str, bool, bool); 17] = [
            ("headers", !step.headers.is_empty(), http),
            ("query", !step.query.is_empty(), http),
            ("cookies", !step.cookies.is_empty(), http),
            ("basic", step.basic.is_some(), http),
            ("body", step.body.is_some(), http),
            ("body_json", step.body_json.is_some(), http),
            ("body_form", step.body_form.is_some(), http),
            ("body_multipart", step.body_multipart.is_some(), http),
            ("body_file", step.body_file.is_some(), http),
            ("follow", step.follow.is_some(), http),
            ("protocol", step.protocol.is_some(), http),
            ("compressed", step.compressed.is_some(), http),
            ("send", step.send.is_some(), step.tcp.is_some()),
            ("server_name", step.server_name.is_some(), step.tls.is_some()),
            ("server", step.server.is_some(), step.dns.is_some()),
            ("sql", step.sql.is_some(), step.postgres.is_some()),
            ("stdin", step.stdin.is_some(), step.command.is_some()),
        ];
        if let Some((key, ..)) = keys.iter().find(|(_, given, fits)| *given && !fits) {
            return Err(self.spot(path, key).invalid(format!("`{key}` does not belong to this kind of step.")));
        }
        let bodies = keys[4..9].iter().filter(|(_, given, _)| *given).count();
        if bodies > 1 {
            return Err(self.spot(path, "body").invalid("The step has more than one body.").hint("Keep one of them."));
        }
        Ok(())
    }

    fn action(&self, path: &Path<'_>, step: &StepFile) -> Result<Action> {
        if let Some(request) = &step.http {
            return self.http(path, step, request).map(|http| Action::Http(Box::new(http)));
        }
        let address = |key: &str, text: &String| -> Result<String> {
            crate::tcp::parse_address(&crate::values::with_placeholders(text).replace(":1:", ":"))
                .map(|_| text.clone())
                .or_else(|why| if text.contains("{{") { Ok(text.clone()) } else { Err(why) })
                .map_err(|why| self.spot(path, key).invalid(format!("The step {why}.")))
        };
        if let Some(text) = &step.tcp {
            return Ok(Action::Tcp { address: address("tcp", text)?, send: step.send.clone() });
        }
        if let Some(text) = &step.tls {
            return Ok(Action::Tls {
                address: address("tls", text)?,
                server_name: step.server_name.clone(),
                verify: step.verify.or(self.defaults.verify).unwrap_or(true),
                ca: step.ca.clone().or_else(|| self.defaults.ca.clone()),
            });
        }
        if let Some(question) = &step.dns {
            let (kind, name) = question.split_once(' ').unwrap_or(("A", question));
            if !crate::step::dns::is_kind(kind) {
                let known = crate::step::dns::kinds().join(", ");
                return Err(self
                    .spot(path, "dns")
                    .invalid(format!("{kind:?} is no kind of record that is known here."))
                    .hint(format!("Known: {known}; for example dns = \"AAAA shop.example\".")));
            }
            return Ok(Action::Dns {
                name: name.trim().to_owned(),
                kind: kind.to_owned(),
                server: step.server.clone(),
            });
        }
        if let Some(url) = &step.postgres {
            return Ok(Action::Postgres { url: url.clone(), query: step.sql.clone() });
        }
        let argv = step.command.clone().unwrap_or_default();
        if argv.first().is_none_or(String::is_empty) {
            return Err(self.spot(path, "command").invalid("The command is empty."));
        }
        Ok(Action::Command { argv, stdin: step.stdin.clone() })
    }

    fn http(&self, path: &Path<'_>, step: &StepFile, request: &str) -> Result<HttpStep> {
        let (method, url) = match request.split_once(' ') {
            Some((method, url)) if !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                (Some(method), url.trim())
            }
            _ => (None, request.trim()),
        };
        let body = body(step).map_err(|(key, why)| self.spot(path, key).invalid(why))?;
        let method = method.unwrap_or(if matches!(body, Body::None) { "GET" } else { "POST" });
        if method == "CONNECT" {
            return Err(self.spot(path, "http").invalid("A step can't use the method CONNECT."));
        }
        let url = if url.starts_with('/') || url.is_empty() {
            format!("{}{url}", self.defaults.url.as_deref().unwrap_or("{{env.url}}"))
        } else {
            url.to_owned()
        };
        if !url.contains("{{") {
            crate::http::parse_url(&url, false)
                .map_err(|why| self.spot(path, "http").invalid(format!("The step {why}.")))?;
        }
        Ok(HttpStep {
            method: method.to_owned(),
            url,
            query: step.query.iter().flat_map(|(key, value)| query_values(key, value)).collect(),
            headers: self.headers(path, step)?,
            cookies: step.cookies.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            basic: self.basic(path, step)?,
            body,
            follow: self.follow(path, step)?,
            protocol: self.protocol(path, step)?,
            compressed: step.compressed.unwrap_or(true),
            verify: step.verify.or(self.defaults.verify).unwrap_or(true),
            ca: step.ca.clone().or_else(|| self.defaults.ca.clone()),
        })
    }

    fn headers(&self, path: &Path<'_>, step: &StepFile) -> Result<Vec<(String, String)>> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let own = |name: &str| step.headers.keys().any(|key| key.eq_ignore_ascii_case(name));
        let defaults = self.defaults.headers.iter().filter(|(name, _)| !own(name));
        for (name, value) in defaults.chain(&step.headers) {
            if ::http::HeaderName::try_from(name.as_str()).is_err() {
                return Err(self.spot(path, "headers").invalid(format!("{name:?} can't be the name of a header.")));
            }
            headers.push((name.clone(), value.clone()));
        }
        Ok(headers)
    }

    fn basic(&self, path: &Path<'_>, step: &StepFile) -> Result<Option<(String, String)>> {
        let Some(text) = &step.basic else { return Ok(None) };
        match text.split_once(':') {
            Some((user, password)) => Ok(Some((user.to_owned(), password.to_owned()))),
            None => Err(self.spot(path, "basic").invalid("`basic` is user:password.")),
        }
    }

    fn follow(&self, path: &Path<'_>, step: &StepFile) -> Result<u32> {
        let wrong = || {
            let message = format!("`follow` is true, false or a number up to {FOLLOW_MAX}.");
            self.spot(path, "follow").invalid(message)
        };
        match step.follow.as_ref().or(self.defaults.follow.as_ref()) {
            None | Some(Value::Bool(false)) => Ok(0),
            Some(Value::Bool(true)) => Ok(10),
            Some(value) => {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                number.filter(|number| *number <= FOLLOW_MAX).ok_or_else(wrong)
            }
        }
    }

    fn protocol(&self, path: &Path<'_>, step: &StepFile) -> Result<Protocol> {
        match step.protocol.as_deref().or(self.defaults.protocol.as_deref()) {
            None => Ok(Protocol::Any),
            Some("1.1") => Ok(Protocol::Http1),
            Some("2") => Ok(Protocol::Http2),
            Some(other) => Err(self
                .spot(path, "protocol")
                .invalid(format!("There is no protocol {other:?} here."))
                .hint("Write \"1.1\" or \"2\".")),
        }
    }

    fn captures(&self, path: &Path<'_>, step: &StepFile) -> Result<Vec<StepCapture>> {
        let mut captures = Vec::new();
        for (name, capture) in &step.capture {
            let spot = self.places.spot(&[path[0], path[1], At::Key("capture"), At::Key(name)]);
            if !super::csv::is_name(name) {
                return Err(spot
                    .invalid(format!("A capture can't be called {name:?}."))
                    .hint("Use letters, digits, _ and -."));
            }
            let (from, secret) = match capture {
                CaptureFile::Short(from) => (from, None),
                CaptureFile::Long(long) => (&long.from, long.secret),
            };
            let query = query::parse(from).map_err(|why| spot.invalid(format!("The capture {name} is {why}.")))?;
            let origin = if from.starts_with("regex:") { "" } else { from };
            let secret = secret.unwrap_or_else(|| sounds_secret(name) || sounds_secret(origin));
            captures.push(StepCapture { name: name.clone(), query, filters: Vec::new(), secret, spot });
        }
        Ok(captures)
    }

    fn retry(&self, path: &Path<'_>, step: &StepFile) -> Result<Option<Retry>> {
        if step.retry_for.is_none() && step.retries.is_none() {
            return match step.retry_every {
                None => Ok(None),
                Some(_) => Err(self
                    .spot(path, "retry_every")
                    .invalid("The step has retry_every but no retry_for.")
                    .hint("Add for example: retry_for = \"30s\".")),
            };
        }
        Ok(Some(Retry {
            within: step.retry_for,
            times: step.retries,
            every: step.retry_every.unwrap_or(RETRY_EVERY).max(Millis(1)),
        }))
    }
}

/// What tells a row from the others.
pub(super) fn row_label(index: usize, first: Option<&Value>) -> String {
    let first = first.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let first: String = first.unwrap_or_default().chars().take(40).collect();
    format!("{} {first}", index + 1).trim().to_owned()
}

fn query_values(key: &str, value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) => items.iter().map(|item| (key.to_owned(), text(item))).collect(),
        other => vec![(key.to_owned(), text(other))],
    }
}

fn body(step: &StepFile) -> Result<Body, (&'static str, String)> {
    if let Some(text) = &step.body {
        return Ok(Body::Text(text.clone()));
    }
    if let Some(value) = &step.body_json {
        return Ok(Body::Json(value.clone()));
    }
    if let Some(fields) = &step.body_form {
        return Ok(Body::Form(fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect()));
    }
    if let Some(file) = &step.body_file {
        return Ok(Body::File(file.clone()));
    }
    let Some(parts) = &step.body_multipart else { return Ok(Body::None) };
    let mut out = Vec::new();
    for part in parts {
        let content = match (&part.text, &part.file) {
            (Some(text), None) => PartContent::Text(text.clone()),
            (None, Some(file)) => PartContent::File(file.clone()),
            _ => return Err(("body_multipart", format!("The part {:?} needs either text or file.", part.name))),
        };
        out.push(Part { name: part.name.clone(), content, content_type: part.content_type.clone() });
    }
    Ok(Body::Multipart(out))
}
