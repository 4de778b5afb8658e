//! One line of `[Captures]` or `[Asserts]`: a query, filters, and for an assert a predicate with its value.

use serde_json::Value;

use crate::query::predicate::{Kind, Op, Predicate};
use crate::query::{Filter, Query, jsonpath, xpath};

/// Why a line is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// What is not known here.
    Unknown(String),
    /// A sentence.
    Wrong(String),
}

/// A capture.
pub(super) struct Captured {
    pub(super) query: Query,
    pub(super) filters: Vec<Filter>,
    pub(super) redacted: bool,
}

/// Reads what stands behind the name of a capture.
pub(super) fn capture(text: &str) -> Result<Captured, Refused> {
    let mut words = Words { rest: text };
    let query = words.query()?;
    let filters = words.filters()?;
    let redacted = words.eat("redact");
    words.end()?;
    Ok(Captured { query, filters, redacted })
}

/// Reads an assert.
pub(super) fn assert(text: &str) -> Result<(Query, Vec<Filter>, Predicate), Refused> {
    let mut words = Words { rest: text };
    let query = words.query()?;
    let filters = words.filters()?;
    let predicate = words.predicate()?;
    words.end()?;
    Ok((query, filters, predicate))
}

struct Words<'t> {
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&mut self) -> &'t str {
        self.skip();
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        if found {
            self.rest = &self.rest[word.len()..];
        }
        found
    }

    fn end(&mut self) -> Result<(), Refused> {
        self.skip();
        if self.rest.is_empty() || self.rest.starts_with('#') {
            return Ok(());
        }
        Err(Refused::Wrong(format!("What is {:?} doing here?", self.rest.chars().take(40).collect::<String>())))
    }

    /// A text in quotes, a pattern between slashes, or a template.
    fn text(&mut self) -> Result<String, Refused> {
        self.skip();
        if self.rest.starts_with("{{") {
            let end = self.rest.find("}}").ok_or_else(|| Refused::Wrong("`{{` is not closed.".to_owned()))?;
            let (template, rest) = self.rest.split_at(end + 2);
            self.rest = rest;
            return Ok(template.to_owned());
        }
        let quote = self.rest.chars().next().filter(|quote| matches!(quote, '"' | '/' | '`'));
        let quote = quote.ok_or_else(|| Refused::Wrong("Here a text in quotes is expected.".to_owned()))?;
        if let Some(inner) = self.rest.strip_prefix("```") {
            let (inner, rest) =
                inner.split_once("```").ok_or_else(|| Refused::Wrong("``` is not closed.".to_owned()))?;
            self.rest = rest;
            return Ok(inner.strip_prefix('\n').unwrap_or(inner).to_owned());
        }
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                '\\' if quote == '"' => {
                    let escaped = chars.next().map(|(_, c)| c);
                    out.push(match escaped {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('u') => return Err(Refused::Unknown("A text with \\u".to_owned())),
                        Some(c) => c,
                        None => break,
                    });
                }
                '\\' if quote == '/' && self.rest[at + 1..].starts_with('/') => {
                    out.push('/');
                    chars.next();
                }
                c => out.push(c),
            }
        }
        Err(Refused::Wrong("A text is not closed.".to_owned()))
    }

    fn query(&mut self) -> Result<Query, Refused> {
        let word = self.peek();
        self.rest = &self.rest[word.len()..];
        Ok(match word {
            "status" => Query::Status,
            "version" => Query::Version,
            "url" => Query::Url,
            "body" => Query::Body,
            "bytes" => Query::Body,
            "sha256" => Query::Sha256,
            "duration" => Query::Latency,
            "ip" => Query::Ip,
            "header" => Query::Header(self.text()?),
            "variable" => Query::Variable(self.text()?),
            "cookie" => cookie(&self.text()?),
            "jsonpath" => {
                let path = self.text()?;
                jsonpath::check(&path).map_err(|why| Refused::Wrong(format!("Here is {why}.")))?;
                Query::Json(path)
            }
            "xpath" => {
                let path = self.text()?;
                xpath::check(&path).map_err(|why| Refused::Wrong(format!("Here is {why}.")))?;
                Query::Xpath(path)
            }
            "regex" => Query::Regex(self.pattern()?),
            "certificate" => Query::Certificate(certificate(&self.text()?)?.to_owned()),
            other => return Err(Refused::Unknown(format!("The query `{other}`"))),
        })
    }

    fn pattern(&mut self) -> Result<String, Refused> {
        let pattern = self.text()?;
        crate::values::check_pattern(&pattern).map_err(|why| Refused::Wrong(format!("Here is {why}.")))?;
        Ok(pattern)
    }

    fn filters(&mut self) -> Result<Vec<Filter>, Refused> {
        let mut filters = Vec::new();
        loop {
            let word = self.peek();
            let before = self.rest;
            self.rest = &self.rest[word.len()..];
            filters.push(match word {
                "count" => Filter::Count,
                "first" => Filter::First,
                "last" => Filter::Last,
                "nth" => Filter::Nth(self.number()?),
                "regex" => Filter::Regex(self.pattern()?),
                "replace" => Filter::Replace(self.text()?, self.text()?),
                "replaceRegex" => Filter::ReplaceRegex(self.pattern()?, self.text()?),
                "split" => Filter::Split(self.text()?),
                "toInt" => Filter::ToInt,
                "toFloat" => Filter::ToFloat,
                "toString" => Filter::ToText,
                "urlEncode" => Filter::UrlEncode,
                "urlDecode" => Filter::UrlDecode,
                "base64Encode" => Filter::Base64Encode,
                "base64Decode" => Filter::Base64Decode,
                "htmlUnescape" => Filter::HtmlUnescape,
                "jsonpath" => Filter::JsonPath(self.text()?),
                "xpath" => Filter::Xpath(self.text()?),
                "daysAfterNow" => Filter::DaysAfterNow,
                "daysBeforeNow" => Filter::DaysBeforeNow,
                "format"
                | "dateFormat"
                | "toDate"
                | "toHex"
                | "decode"
                | "charsetDecode"
                | "htmlEscape"
                | "urlQueryParam"
                | "location"
                | "base64UrlSafeEncode"
                | "base64UrlSafeDecode"
                | "utf8Encode"
                | "utf8Decode" => {
                    return Err(Refused::Unknown(format!("The filter `{word}`")));
                }
                _ => {
                    self.rest = before;
                    return Ok(filters);
                }
            });
        }
    }

    fn number(&mut self) -> Result<i64, Refused> {
        let word = self.peek();
        self.rest = &self.rest[word.len()..];
        word.parse().map_err(|_| Refused::Wrong(format!("Here a number is expected, not {word:?}.")))
    }

    fn value(&mut self) -> Result<Value, Refused> {
        self.skip();
        if self.rest.starts_with(['"', '`', '/', '{']) {
            return self.text().map(Value::from);
        }
        let word = self.peek();
        self.rest = &self.rest[word.len()..];
        if ["base64,", "hex,", "file,"].iter().any(|kind| word.starts_with(kind)) {
            let kind = word.split(',').next().unwrap_or_default();
            return Err(Refused::Unknown(format!("A value in `{kind},`")));
        }
        serde_json::from_str(word).map_err(|_| Refused::Wrong(format!("Here a value is expected, not {word:?}.")))
    }

    fn predicate(&mut self) -> Result<Predicate, Refused> {
        let negated = self.eat("not");
        let word = self.peek();
        if word.is_empty() || word.starts_with('#') {
            return Err(Refused::Wrong(
                "The assert says nothing about its value, such as `== 1` or `exists`.".to_owned(),
            ));
        }
        self.rest = &self.rest[word.len()..];
        let (op, flipped) = match word {
            "==" => (Op::Equals(self.value()?), false),
            "!=" => (Op::Equals(self.value()?), true),
            ">" => (Op::Above(self.value()?), false),
            ">=" => (Op::AtLeast(self.value()?), false),
            "<" => (Op::Below(self.value()?), false),
            "<=" => (Op::AtMost(self.value()?), false),
            "startsWith" => (Op::StartsWith(self.text()?), false),
            "endsWith" => (Op::EndsWith(self.text()?), false),
            "contains" | "includes" => (Op::Contains(self.value()?), false),
            "matches" => (Op::Matches(self.pattern()?), false),
            "exists" => (Op::Exists, false),
            "isEmpty" => (Op::Empty, false),
            "isBoolean" => (Op::Type(Kind::Bool), false),
            "isInteger" => (Op::Type(Kind::Integer), false),
            "isFloat" | "isNumber" => (Op::Type(Kind::Number), false),
            "isString" => (Op::Type(Kind::Text), false),
            "isCollection" | "isList" => (Op::Type(Kind::List), false),
            "isObject" => (Op::Type(Kind::Object), false),
            "isDate" | "isIsoDate" => (Op::Type(Kind::Date), false),
            "isUuid" => (Op::Type(Kind::Uuid), false),
            other => return Err(Refused::Unknown(format!("The predicate `{other}`"))),
        };
        Ok(Predicate { negated: negated != flipped, op })
    }
}

fn cookie(text: &str) -> Query {
    match text.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
        Some((name, attribute)) => Query::Cookie { name: name.to_owned(), attribute: Some(attribute.to_owned()) },
        None => Query::Cookie { name: text.to_owned(), attribute: None },
    }
}

fn certificate(field: &str) -> Result<&'static str, Refused> {
    Ok(match field {
        "Subject" => "subject",
        "Issuer" => "issuer",
        "Start-Date" => "starts",
        "Expire-Date" => "expires",
        "Serial-Number" => "serial",
        "Subject-Alt-Name" => "names",
        other => return Err(Refused::Unknown(format!("The certificate's `{other}`"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn asserts_are_read() {
        let (query, filters, predicate) = assert(r#"jsonpath "$.a" count >= 2 # why"#).unwrap();
        assert_eq!((query, filters), (Query::Json("$.a".into()), vec![Filter::Count]));
        assert_eq!(predicate, Predicate::of(Op::AtLeast(json!(2))));
        let (query, _, predicate) = assert(r#"cookie "sid[Max-Age]" not exists"#).unwrap();
        assert_eq!(query, Query::Cookie { name: "sid".into(), attribute: Some("Max-Age".into()) });
        assert_eq!(predicate, Predicate::not(Op::Exists));
        let (_, _, predicate) = assert(r#"header "X" matches /^a\/[0-9]+$/"#).unwrap();
        assert_eq!(predicate, Predicate::of(Op::Matches("^a/[0-9]+$".into())));
        let (_, filters, predicate) = assert(r#"certificate "Expire-Date" daysAfterNow > 15"#).unwrap();
        assert_eq!((filters, predicate), (vec![Filter::DaysAfterNow], Predicate::of(Op::Above(json!(15)))));
        let (_, _, predicate) = assert("body == ```\na\nb\n```").unwrap();
        assert_eq!(predicate, Predicate::of(Op::Equals(json!("a\nb\n"))));
        let (_, _, predicate) = assert("variable \"x\" != {{y}}").unwrap();
        assert_eq!(predicate, Predicate::not(Op::Equals(json!("{{y}}"))));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, name) in [
            (r#"md5 == "x""#, "`md5`"),
            (r#"body toDate "%Y" > 1"#, "`toDate`"),
            (r#"body isIpv4"#, "`isIpv4`"),
            (r#"body == hex,ff;"#, "`hex,`"),
        ] {
            match assert(line) {
                Err(Refused::Unknown(what)) => assert!(what.contains(name), "{what}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        for line in [
            "",
            "status",
            "status ==",
            "status == x",
            "header exists",
            "status == 1 2",
            "header \"x",
            "jsonpath \"$.\" exists",
        ] {
            assert!(assert(line).is_err(), "{line}");
        }
    }
}
