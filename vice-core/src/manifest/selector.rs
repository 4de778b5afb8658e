//! The little language that selects units: `service=web, region=eu`, `eu/dc1`, `*`. It owns the syntax only; what a
//! selector means in a fleet is the business of the engine's topology.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest selector that is read, in bytes. It is typed by hand; more is surely a slip.
const TEXT_BYTES_MAX: usize = 4096;

/// Which units are meant. A list means any of its texts; inside of a text, a comma means and.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector(Vec<Conjunction>);

/// Terms that all have to fit; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conjunction(Vec<Term>);

/// One condition on a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Term {
    /// `*`: every unit.
    Everything,
    /// `key=value` or `key!=value`: a label, a level of the tree, a set of domains, or `group`.
    Label {
        /// The key.
        key: String,
        /// The values, of which one has to fit; written `web|api`. A `*` in it fits any text.
        values: Vec<String>,
        /// Whether none of the values may fit.
        negated: bool,
    },
    /// `eu/dc1`: a node of the tree by its path from the root, or a unit by its name. A part `*` fits any name.
    Path(Vec<String>),
}

impl Selector {
    /// Every unit.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec![Conjunction(vec![Term::Everything])])
    }

    /// The alternatives; never empty.
    #[must_use]
    pub fn alternatives(&self) -> &[Conjunction] {
        &self.0
    }

    /// Parses one text.
    ///
    /// # Errors
    /// What is wrong with it, as a text that can follow a colon.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::any([text])
    }

    /// Parses several texts, of which any may fit.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn any<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let alternatives = texts.into_iter().map(conjunction).collect::<Result<Vec<_>, _>>()?;
        if alternatives.is_empty() {
            return Err("an empty list selects nothing; write \"*\" for every unit".to_owned());
        }
        Ok(Self(alternatives))
    }
}

impl Conjunction {
    /// The terms.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.0
    }
}

fn conjunction(text: &str) -> Result<Conjunction, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("a selector has at most {TEXT_BYTES_MAX} bytes"));
    }
    text.split(',').map(|term| self::term(text, term.trim())).collect::<Result<Vec<_>, _>>().map(Conjunction)
}

fn term(text: &str, term: &str) -> Result<Term, String> {
    let usage = "write a label such as service=web, a path such as eu/dc1, or *";
    match term.split_once('=') {
        _ if term.is_empty() => Err(format!("{text:?} has nothing between its commas; {usage}")),
        _ if term == "*" => Ok(Term::Everything),
        None => {
            let parts: Vec<String> = term.trim_end_matches('/').split('/').map(str::to_owned).collect();
            if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
                return Err(format!("{term:?} is not a selector; {usage}"));
            }
            Ok(Term::Path(parts))
        }
        Some((key, values)) => {
            let (key, negated) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
            let values: Vec<String> = values.split('|').map(|value| value.trim().to_owned()).collect();
            let key = key.trim();
            if key.is_empty() || key.contains(char::is_whitespace) || values.iter().any(String::is_empty) {
                return Err(format!("{term:?} is not a label with a value; write service=web"));
            }
            Ok(Term::Label { key: key.to_owned(), values, negated })
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Label { key, values, negated } => {
                write!(f, "{key}{}{}", if *negated { "!=" } else { "=" }, values.join("|"))
            }
            Self::Path(parts) => f.write_str(&parts.join("/")),
        }
    }
}

impl fmt::Display for Conjunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&terms.join(", "))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(" or "))
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [only] => serializer.collect_str(only),
            all => serializer.collect_seq(all.iter().map(ToString::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SelectorVisitor;
        impl<'de> Visitor<'de> for SelectorVisitor {
            type Value = Selector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a selector such as \"service=web, region=eu\", or a list of which any may fit")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Selector, E> {
                Selector::parse(text).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Selector, A::Error> {
                let mut texts: Vec<String> = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Selector::any(texts.iter().map(String::as_str)).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(SelectorVisitor)
    }
}

impl JsonSchema for Selector {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Selector".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Which units: a label (service=web), a level (region=eu), a path (eu/dc1), a unit, or *. \
                            A comma means and, a list means or.",
            "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_written_alike() {
        for text in ["*", "eu", "eu/dc1", "*/dc1", "service=web", "service!=web|api, region=eu", "domain=3, eu"] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.to_string(), text);
            let stored = serde_json::to_string(&selector).unwrap();
            assert_eq!(serde_json::from_str::<Selector>(&stored).unwrap(), selector);
        }
        let any: Selector = serde_json::from_str(r#"["a=1", "b/c"]"#).unwrap();
        assert_eq!(any.alternatives().len(), 2);
        assert_eq!(serde_json::to_string(&any).unwrap(), r#"["a=1","b/c"]"#);
    }

    #[test]
    fn what_selects_nothing_by_a_slip_is_refused() {
        for text in ["", "a=", "=b", "a=b,", "a b", "/x", "a//b", "a=b|", "!=x"] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<Selector>("[]").is_err());
    }
}
