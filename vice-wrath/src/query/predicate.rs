//! What must hold of a value, and what to say when it does not: expected, got, and where the two differ.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::Value;

use super::Found;
use super::text_diff;
use crate::json_diff::differences;
use crate::say::excerpt;
use crate::values::Values;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Predicate {
    pub(crate) negated: bool,
    pub(crate) op: Op,
}

/// The conditions. Texts are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Equals(Value),
    Contains(Value),
    StartsWith(String),
    EndsWith(String),
    Matches(String),
    Above(Value),
    AtLeast(Value),
    Below(Value),
    AtMost(Value),
    OneOf(Vec<Value>),
    Exists,
    Empty,
    Count(Box<Predicate>),
    Type(Kind),
    /// A status of this hundred.
    StatusClass(u16),
}

/// Kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Integer,
    Bool,
    List,
    Object,
    Null,
    Date,
    Uuid,
}

impl Kind {
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Text, "string"),
        (Self::Number, "number"),
        (Self::Integer, "integer"),
        (Self::Bool, "boolean"),
        (Self::List, "list"),
        (Self::Object, "object"),
        (Self::Null, "null"),
        (Self::Date, "date"),
        (Self::Uuid, "uuid"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("value", |(_, word)| word)
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Bool => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            Self::Null => value.is_null(),
            Self::Date => value.as_str().is_some_and(is_date),
            Self::Uuid => value.as_str().is_some_and(is_uuid),
        }
    }
}

fn is_date(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Why something does not hold. All texts are masked and short enough to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mismatch {
    pub(crate) expected: String,
    pub(crate) got: String,
    /// Where the two differ, a line each; empty where `expected` and `got` say it all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) diff: Vec<String>,
}

impl Predicate {
    pub(crate) const fn of(op: Op) -> Self {
        Self { negated: false, op }
    }

    pub(crate) const fn not(op: Op) -> Self {
        Self { negated: true, op }
    }

    /// Whether it holds; if not, why.
    ///
    /// # Errors
    /// Text that says why it can't be told, such as an unknown name.
    pub(crate) fn holds(&self, found: &Found, values: &Values) -> Result<Option<Mismatch>, String> {
        let holds = match (&self.op, found) {
            (Op::Exists, Found::Nothing(_)) => false,
            (Op::Exists, Found::One(_)) => true,
            (Op::Exists, Found::Many(all)) => !all.is_empty(),
            (Op::Count(count), found) => {
                let number = count_of(found);
                let inner = count.holds(&Found::One(Value::from(number)), values)?;
                return Ok(match (inner, self.negated) {
                    (None, false) | (Some(_), true) => None,
                    (Some(inner), false) => Some(Mismatch { expected: format!("{} of it", inner.expected), ..inner }),
                    (None, true) => Some(self.mismatch(found, values)?),
                });
            }
            (Op::Empty, Found::Many(all)) => all.is_empty() || matches!(all.as_slice(), [one] if is_empty(one)),
            // What is not there equals nothing: "is not x" holds only of something.
            (_, Found::Nothing(_)) => return self.mismatch(found, values).map(Some),
            (_, Found::One(value)) => self.op.fits(value, values)?,
            (_, Found::Many(all)) => self.op.fits_many(all, values)?,
        };
        if holds != self.negated { Ok(None) } else { self.mismatch(found, values).map(Some) }
    }

    fn mismatch(&self, found: &Found, values: &Values) -> Result<Mismatch, String> {
        let not = if self.negated { "not " } else { "" };
        let expected = format!("{not}{}", self.op.shown(values)?);
        let (got, diff) = match found {
            Found::Nothing(why) => (excerpt(values.masker(), why), Vec::new()),
            Found::One(value) => (shown(value, values), self.diff(value, values)?),
            Found::Many(all) => match all.as_slice() {
                [] => ("nothing".to_owned(), Vec::new()),
                [value] => (shown(value, values), self.diff(value, values)?),
                many => {
                    let list = Value::Array(many.to_vec());
                    (shown(&list, values), self.diff(&list, values)?)
                }
            },
        };
        Ok(Mismatch { expected, got, diff })
    }

    fn diff(&self, got: &Value, values: &Values) -> Result<Vec<String>, String> {
        let Op::Equals(expected) = &self.op else { return Ok(Vec::new()) };
        if self.negated {
            return Ok(Vec::new());
        }
        let expected = filled(expected, values)?;
        Ok(match (&expected, got) {
            (Value::String(want), Value::String(have)) if want.contains('\n') || have.contains('\n') => {
                text_diff::lines(values.masker(), want, have)
            }
            (Value::Object(_) | Value::Array(_), Value::Object(_) | Value::Array(_)) => {
                differences(values.masker(), "", &expected, got)
            }
            _ => Vec::new(),
        })
    }
}

fn count_of(found: &Found) -> usize {
    match found {
        Found::Nothing(_) => 0,
        Found::Many(all) => match all.as_slice() {
            [Value::Array(items)] => items.len(),
            all => all.len(),
        },
        Found::One(Value::Array(items)) => items.len(),
        Found::One(Value::Object(fields)) => fields.len(),
        Found::One(Value::String(text)) => text.chars().count(),
        Found::One(_) => 1,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn shown(value: &Value, values: &Values) -> String {
    excerpt(values.masker(), &value.to_string())
}

fn filled(value: &Value, values: &Values) -> Result<Value, String> {
    values.json(value).map_err(|fault| fault.to_string())
}

fn text(template: &str, values: &Values) -> Result<String, String> {
    values.text(template).map_err(|fault| fault.to_string())
}

/// Texts from headers, pages and tables that look like numbers compare as such with a number.
fn loosely(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Number(want), Value::Number(have)) => want.as_f64() == have.as_f64(),
        (Value::Number(want), Value::String(have)) => have.trim().parse().ok() == want.as_f64(),
        (Value::Bool(want), Value::String(have)) => have == if *want { "true" } else { "false" },
        (Value::Array(want), Value::Array(have)) => {
            want.len() == have.len() && want.iter().zip(have).all(|(want, have)| loosely(want, have))
        }
        (Value::Object(want), Value::Object(have)) => {
            want.len() == have.len()
                && want.iter().all(|(key, want)| have.get(key).is_some_and(|have| loosely(want, have)))
        }
        _ => expected == got,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn order(got: &Value, bound: &Value) -> Option<Ordering> {
    match (number(got), number(bound)) {
        (Some(got), Some(bound)) => got.partial_cmp(&bound),
        // Dates as RFC 3339 writes them, and words, have the order of their texts.
        _ => Some(got.as_str()?.cmp(bound.as_str()?)),
    }
}

impl Op {
    fn fits(&self, got: &Value, values: &Values) -> Result<bool, String> {
        let text_of = |got: &Value| got.as_str().map_or_else(|| got.to_string(), str::to_owned);
        let compares = |bound: &Value, wanted: &[Ordering]| -> Result<bool, String> {
            let bound = filled(bound, values)?;
            Ok(order(got, &bound).is_some_and(|order| wanted.contains(&order)))
        };
        Ok(match self {
            Self::Equals(expected) => loosely(&filled(expected, values)?, got),
            Self::Contains(part) => {
                let part = filled(part, values)?;
                match (got, &part) {
                    (Value::Array(items), part) => items.iter().any(|item| loosely(part, item)),
                    (Value::Object(fields), Value::String(key)) => fields.contains_key(key),
                    (got, part) => text_of(got).contains(&text_of(part)),
                }
            }
            Self::StartsWith(start) => text_of(got).starts_with(&text(start, values)?),
            Self::EndsWith(end) => text_of(got).ends_with(&text(end, values)?),
            Self::Matches(pattern) => {
                values.pattern(pattern).map_err(|fault| fault.to_string())?.is_match(&text_of(got))
            }
            Self::Above(bound) => compares(bound, &[Ordering::Greater])?,
            Self::AtLeast(bound) => compares(bound, &[Ordering::Greater, Ordering::Equal])?,
            Self::Below(bound) => compares(bound, &[Ordering::Less])?,
            Self::AtMost(bound) => compares(bound, &[Ordering::Less, Ordering::Equal])?,
            Self::OneOf(all) => {
                let mut any = false;
                for one in all {
                    any |= loosely(&filled(one, values)?, got);
                }
                any
            }
            Self::Exists => true,
            Self::Empty => is_empty(got),
            Self::Count(_) => false,
            Self::Type(kind) => kind.fits(got),
            Self::StatusClass(hundred) => got.as_u64().is_some_and(|status| status / 100 == u64::from(*hundred)),
        })
    }

    /// Of a list of findings: one thing is that thing, equality is about all of them, the rest about any of them.
    fn fits_many(&self, all: &[Value], values: &Values) -> Result<bool, String> {
        match (self, all) {
            (_, [one]) => {
                let list = Value::Array(vec![one.clone()]);
                Ok(self.fits(one, values)? || (matches!(self, Self::Equals(_)) && self.fits(&list, values)?))
            }
            (Self::Equals(_) | Self::OneOf(_) | Self::Type(Kind::List), all) => {
                self.fits(&Value::Array(all.to_vec()), values)
            }
            (_, all) => {
                for one in all {
                    if self.fits(one, values)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn shown(&self, values: &Values) -> Result<String, String> {
        let value = |value: &Value| filled(value, values).map(|value| shown(&value, values));
        let quoted = |template: &str| text(template, values).map(|text| shown(&Value::from(text), values));
        Ok(match self {
            Self::Equals(expected) => value(expected)?,
            Self::Contains(part) => format!("to contain {}", value(part)?),
            Self::StartsWith(start) => format!("to start with {}", quoted(start)?),
            Self::EndsWith(end) => format!("to end with {}", quoted(end)?),
            Self::Matches(pattern) => format!("to match /{pattern}/"),
            Self::Above(bound) => format!("above {}", value(bound)?),
            Self::AtLeast(bound) => format!("at least {}", value(bound)?),
            Self::Below(bound) => format!("below {}", value(bound)?),
            Self::AtMost(bound) => format!("at most {}", value(bound)?),
            Self::OneOf(all) => {
                let all = all.iter().map(value).collect::<Result<Vec<_>, _>>()?;
                format!("one of {}", all.join(", "))
            }
            Self::Exists => "to exist".to_owned(),
            Self::Empty => "to be empty".to_owned(),
            Self::Count(count) => format!("a count of {}", count.op.shown(values)?),
            Self::Type(kind) => format!("a {}", kind.word()),
            Self::StatusClass(hundred) => format!("{hundred}xx"),
        })
    }

    /// All templates inside.
    pub(crate) fn templates<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Self::Equals(value)
            | Self::Contains(value)
            | Self::Above(value)
            | Self::AtLeast(value)
            | Self::Below(value)
            | Self::AtMost(value) => crate::values::templates_in(value, out),
            Self::OneOf(all) => all.iter().for_each(|value| crate::values::templates_in(value, out)),
            Self::StartsWith(text) | Self::EndsWith(text) | Self::Matches(text) => out.push(text),
            Self::Count(count) => count.op.templates(out),
            Self::Exists | Self::Empty | Self::Type(_) | Self::StatusClass(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fails(op: Op, got: &Found) -> Option<Mismatch> {
        Predicate::of(op).holds(got, &Values::default()).unwrap()
    }

    #[test]
    fn conditions_hold_or_say_why() {
        let one = |value: Value| Found::One(value);
        assert_eq!(fails(Op::Equals(json!(1)), &one(json!(1.0))), None);
        assert_eq!(fails(Op::Equals(json!(7)), &Found::Many(vec![json!("7")])), None, "a header is text");
        assert_eq!(fails(Op::Above(json!(3)), &one(json!(4))), None);
        assert_eq!(fails(Op::Contains(json!("b")), &one(json!(["a", "b"]))), None);
        assert_eq!(fails(Op::Count(Box::new(Predicate::of(Op::AtLeast(json!(2))))), &one(json!([1, 2]))), None);
        assert_eq!(fails(Op::Type(Kind::Uuid), &one(json!("0190d1a5-0000-7000-8000-000000000001"))), None);
        assert_eq!(fails(Op::StatusClass(2), &one(json!(204))), None);
        let mismatch = fails(Op::Below(json!(3)), &one(json!(4))).unwrap();
        assert_eq!((mismatch.expected.as_str(), mismatch.got.as_str()), ("below 3", "4"));
        let mismatch = fails(Op::Equals(json!({"a": 1, "b": 2})), &one(json!({"a": 1, "b": 3}))).unwrap();
        assert_eq!(mismatch.diff, ["/b: expected 2, got 3"]);
        let mismatch = fails(Op::Equals(json!("a\nb\nc")), &one(json!("a\nx\nc"))).unwrap();
        assert_eq!(mismatch.diff, ["  a", "- b", "+ x", "  c"]);
    }

    #[test]
    fn what_is_not_there_is_not_something_else() {
        let nothing = || Found::Nothing("nothing is at /a".to_owned());
        let not = Predicate::not(Op::Equals(json!(1)));
        assert_eq!(not.holds(&nothing(), &Values::default()).unwrap().unwrap().got, "nothing is at /a");
        assert_eq!(Predicate::not(Op::Exists).holds(&nothing(), &Values::default()).unwrap(), None);
        assert!(Predicate::not(Op::Exists).holds(&Found::One(json!(null)), &Values::default()).unwrap().is_some());
    }
}
