//! Questions to an answer: where a value stands, and how it is turned before it is compared. It owns the extraction of
//! values from what a system said; it must not decide what is right.

pub(crate) mod css;
pub(crate) mod facts;
pub(crate) mod filter;
pub(crate) mod html;
pub(crate) mod jsonpath;
pub(crate) mod predicate;
pub(crate) mod text_diff;
pub(crate) mod xpath;

use serde_json::Value;

use crate::values::Values;
use facts::Facts;

/// What is asked of an answer. Texts are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Query {
    Status,
    Version,
    Url,
    Redirects,
    Header(String),
    Cookie {
        name: String,
        attribute: Option<String>,
    },
    /// The body as text.
    Body,
    /// The length of the body as it was decoded, in bytes.
    Size,
    /// SHA-256 of the body, in hexadecimal.
    Sha256,
    /// A JSON Pointer (`/a/0`) or a JSONPath (`$.a[0]`).
    Json(String),
    Xpath(String),
    /// A selector; `@name` behind it takes an attribute instead of the text.
    Css(String),
    Regex(String),
    /// In milliseconds.
    Latency,
    Certificate(String),
    Tls(String),
    /// Records of a DNS answer, or rows of a database.
    Records,
    Exit,
    Stderr,
    Variable(String),
    Ip,
}

/// How a value is turned. Texts are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    Count,
    First,
    Last,
    Nth(i64),
    Regex(String),
    Replace(String, String),
    ReplaceRegex(String, String),
    Split(String),
    ToInt,
    ToFloat,
    ToText,
    UrlEncode,
    UrlDecode,
    Base64Encode,
    Base64Decode,
    HtmlUnescape,
    JsonPath(String),
    Xpath(String),
    DaysAfterNow,
    DaysBeforeNow,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// Nothing, and why.
    Nothing(String),
    One(Value),
    /// What a question that can have any number of answers gave.
    Many(Vec<Value>),
}

impl Found {
    /// One value for a capture: a list of one thing is that thing.
    pub(crate) fn into_value(self) -> Result<Value, String> {
        match self {
            Self::Nothing(why) => Err(why),
            Self::One(value) => Ok(value),
            Self::Many(mut values) if values.len() == 1 => Ok(values.remove(0)),
            Self::Many(values) if values.is_empty() => Err("nothing matches".to_owned()),
            Self::Many(values) => Ok(Value::Array(values)),
        }
    }
}

impl Query {
    /// Its templates.
    pub(crate) fn template(&self) -> Option<&str> {
        match self {
            Self::Header(text)
            | Self::Json(text)
            | Self::Xpath(text)
            | Self::Css(text)
            | Self::Regex(text)
            | Self::Variable(text) => Some(text),
            Self::Cookie { name, .. } => Some(name),
            _ => None,
        }
    }

    /// As a person would write it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Version => "version".to_owned(),
            Self::Url => "url".to_owned(),
            Self::Redirects => "redirects".to_owned(),
            Self::Header(name) => format!("header {name}"),
            Self::Cookie { name, attribute: None } => format!("cookie {name}"),
            Self::Cookie { name, attribute: Some(attribute) } => format!("cookie {name}[{attribute}]"),
            Self::Body => "body".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Sha256 => "sha256".to_owned(),
            Self::Json(path) => format!("json {path}"),
            Self::Xpath(path) => format!("xpath {path}"),
            Self::Css(selector) => format!("css {selector}"),
            Self::Regex(pattern) => format!("regex /{pattern}/"),
            Self::Latency => "latency".to_owned(),
            Self::Certificate(field) => format!("certificate {field}"),
            Self::Tls(field) => format!("tls {field}"),
            Self::Records => "records".to_owned(),
            Self::Exit => "exit".to_owned(),
            Self::Stderr => "stderr".to_owned(),
            Self::Variable(name) => format!("variable {name}"),
            Self::Ip => "ip".to_owned(),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// Text that says why the question can't be asked at all, such as a path that does not parse.
    pub(crate) fn ask(&self, facts: &Facts, values: &Values) -> Result<Found, String> {
        let text = |template: &str| values.text(template).map_err(|fault| fault.to_string());
        Ok(match self {
            Self::Header(name) => facts.header(&text(name)?),
            Self::Cookie { name, attribute } => facts.cookie(&text(name)?, attribute.as_deref()),
            Self::Json(path) => facts.json(&text(path)?)?,
            Self::Xpath(path) => facts.xpath(&text(path)?)?,
            Self::Css(selector) => facts.css(&text(selector)?)?,
            Self::Regex(pattern) => facts.regex(pattern, values)?,
            Self::Variable(name) => match values.value(&text(name)?) {
                Some(value) => Found::One(value),
                None => Found::Nothing(format!("there is no variable {name}")),
            },
            _ => facts.plain(self),
        })
    }
}

/// Takes the question of a capture apart: `json:/id`, `header:ETag`, `cookie:sid`, `regex:v(\d+)`, `xpath://h1`,
/// `css:h1`, `certificate:days_left`, `status`, `body`, `url`.
///
/// # Errors
/// Text that continues "… is ".
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    let bare = match text {
        "status" => Some(Query::Status),
        "body" | "output" => Some(Query::Body),
        "url" => Some(Query::Url),
        "size" => Some(Query::Size),
        "latency" => Some(Query::Latency),
        "sha256" => Some(Query::Sha256),
        "records" | "rows" => Some(Query::Records),
        "exit" => Some(Query::Exit),
        "version" => Some(Query::Version),
        _ => None,
    };
    if let Some(query) = bare {
        return Ok(query);
    }
    let unknown = || {
        format!(
            "{text:?}; write json:/pointer, json:$.path, header:Name, cookie:name, regex:pattern, xpath:path, css:selector, status, url or body"
        )
    };
    let (word, rest) = text.split_once(':').ok_or_else(unknown)?;
    if rest.is_empty() && word != "json" {
        return Err(unknown());
    }
    Ok(match word {
        "json" => {
            jsonpath::check(rest)?;
            Query::Json(rest.to_owned())
        }
        "header" => Query::Header(rest.to_owned()),
        "cookie" => Query::Cookie { name: rest.to_owned(), attribute: None },
        "regex" => {
            crate::values::check_pattern(rest)?;
            Query::Regex(rest.to_owned())
        }
        "xpath" => {
            xpath::check(rest)?;
            Query::Xpath(rest.to_owned())
        }
        "css" => {
            css::check(rest)?;
            Query::Css(rest.to_owned())
        }
        "certificate" => Query::Certificate(rest.to_owned()),
        "tls" => Query::Tls(rest.to_owned()),
        _ => return Err(unknown()),
    })
}
