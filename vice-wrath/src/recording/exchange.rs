//! One exchange as it stands in a recording. Fields are only ever added, with a default.

use serde::{Deserialize, Serialize};

use super::body::Body;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// The version of the format: 1.
    pub(crate) vice_recording: u32,
    /// When the recording began, RFC 3339.
    pub(crate) began: String,
    /// The server behind the proxy.
    pub(crate) to: String,
    /// Whether secrets were masked.
    pub(crate) masked: bool,
}

/// The last line of a recording that was ended properly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closing {
    /// How many exchanges there are.
    pub(crate) exchanges: u64,
    /// How many more were seen and could not be written in time.
    pub(crate) lost: u64,
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Such as `HTTP/1.1`.
    #[serde(default)]
    pub(crate) version: String,
    /// In order, names in lower case.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// The body; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// In order, names in lower case.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// The body; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
    /// Microseconds until its head came.
    #[serde(default)]
    pub(crate) first_us: u64,
}

/// A request with its answer, or with the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// Which connection of a client it came on.
    #[serde(default)]
    pub(crate) conn: u64,
    /// Microseconds since the recording began.
    pub(crate) at_us: u64,
    /// Microseconds until the whole answer was there.
    #[serde(default)]
    pub(crate) took_us: u64,
    /// The request.
    pub(crate) request: Asked,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// The protocol in which client and server went on, such as `websocket`; nothing of what they said then is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upgraded: Option<String>,
    /// Why the answer is absent or not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The values of a header, by its name in lower case.
pub(crate) fn values<'h>(headers: &'h [(String, String)], name: &str) -> impl Iterator<Item = &'h str> {
    headers.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
}

impl Asked {
    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = values(&self.headers, "cookie").flat_map(|value| value.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(it, _)| *it == name).map(|(_, value)| value)
    }
}

impl Answer {
    /// The cookies that are set, with their values.
    pub(crate) fn set_cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        values(&self.headers, "set-cookie").filter_map(|value| {
            let (name, value) = value.split(';').next()?.split_once('=')?;
            Some((name.trim(), value.trim()))
        })
    }
}

/// The media type that headers name, in lower case and without parameters.
pub(crate) fn media_type(headers: &[(String, String)]) -> String {
    let value = values(headers, "content-type").next().unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
