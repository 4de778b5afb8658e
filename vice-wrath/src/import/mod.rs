//! From what others recorded to a scenario file: curl commands, HAR files, modules of the blackbox exporter. Each source
//! has a file; all give [`Made`], which `write` turns into TOML. What can't be kept is said, never dropped in silence.

pub(crate) mod blackbox;
pub(crate) mod curl;
pub(crate) mod har;
mod write;

use serde_json::Value;
use url::Url;

pub(crate) use write::document;

/// So many requests one file may hold.
pub(crate) const REQUESTS_MAX: usize = 2000;

/// A step that was made of something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    pub(crate) name: String,
    /// The key of the kind with its value: `http`, `tcp`, `tls`, `dns`.
    pub(crate) action: (String, String),
    /// Keys of the step with their values, in order.
    pub(crate) keys: Vec<(String, Value)>,
    /// Keys of `expect`.
    pub(crate) expect: Vec<(String, Value)>,
}

/// A scenario that was made of something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) about: String,
    /// What stands for the address of the system in the steps, where they name one.
    pub(crate) url: Option<String>,
    pub(crate) vars: Vec<(String, Value)>,
    pub(crate) steps: Vec<Made>,
    /// What could not be kept, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// An HTTP request before it becomes a step.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpMade {
    pub(crate) method: Option<String>,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(&'static str, Value)>,
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) expect: Vec<(String, Value)>,
    pub(crate) basic: Option<String>,
}

/// The origin that most requests go to; `{{env.url}}` stands for it.
pub(crate) fn common_origin<'u>(urls: impl Iterator<Item = &'u str>) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for origin in urls.filter_map(origin) {
        match counts.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, count)) => *count += 1,
            None => counts.push((origin, 1)),
        }
    }
    // The first of those that are named most often.
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(origin, _)| origin)
}

fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.origin().ascii_serialization())
}

/// The template that stands for a credential, so that it is not written into a file.
pub(crate) fn credential(name: &str, notes: &mut Vec<String>) -> String {
    let key: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let note =
        format!("The value of {name} is a credential and was not written; store it: vice envy set {key} --secret");
    if !notes.contains(&note) {
        notes.push(note);
    }
    format!("{{{{config.{key}}}}}")
}

impl HttpMade {
    /// The step, with its address below the common one where it is.
    pub(crate) fn step(self, common: Option<&str>, notes: &mut Vec<String>) -> Made {
        let below = common.and_then(|common| self.url.strip_prefix(common));
        let below = below.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let address = match below {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('?') => format!("/{rest}"),
            Some(rest) => rest.to_owned(),
            None => self.url.clone(),
        };
        let path = Url::parse(&self.url).map_or_else(|_| address.clone(), |url| url.path().to_owned());
        let default = if self.body.is_some() { "POST" } else { "GET" };
        let method = self.method.unwrap_or_else(|| default.to_owned());
        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut headers = serde_json::Map::new();
        for (name, value) in self.headers {
            let secret = crate::capture::sounds_secret(&name);
            let value = if secret { credential(&name, notes) } else { value.replace("{{", "{ {") };
            headers.insert(name, Value::from(value));
        }
        if !headers.is_empty() {
            keys.push(("headers".to_owned(), Value::Object(headers)));
        }
        if let Some(basic) = self.basic {
            let user = basic.split(':').next().unwrap_or_default();
            keys.push(("basic".to_owned(), Value::from(format!("{user}:{}", credential("password", notes)))));
        }
        keys.extend(self.body.map(|(key, value)| (key.to_owned(), value)));
        keys.extend(self.keys);
        let path: String = path.chars().take(80).collect();
        Made {
            name: format!("{method} {path}"),
            action: ("http".to_owned(), format!("{method} {}", address.replace("{{", "{ {"))),
            keys,
            expect: self.expect,
        }
    }
}

/// A body as JSON where it is some and its type says so, otherwise as text.
pub(crate) fn body_of(text: &str, content_type: Option<&str>) -> (&'static str, Value) {
    let says_json = content_type.is_some_and(|kind| kind.contains("json"));
    if says_json && let Ok(value) = serde_json::from_str::<Value>(text) {
        // TOML has no null.
        if !text.contains("null") && !text.contains("{{") {
            return ("body_json", value);
        }
    }
    ("body", Value::from(text.replace("{{", "{ {")))
}
