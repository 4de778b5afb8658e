//! The values of an evaluation, and how they compare. Texts and documents are borrowed wherever they can be.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Number, Value};

use super::doc::Doc;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Time(Timestamp),
    Span(SignedDuration),
    List(Rc<Vec<Self>>),
    Map(Rc<Vec<(Self, Self)>>),
    /// A list or an object of a document; what is simple is taken out of it.
    Doc(&'a Doc<'a>),
}

impl<'a> Val<'a> {
    pub(crate) fn of(doc: &'a Doc<'a>) -> Self {
        match doc {
            Doc::Null => Self::Null,
            Doc::Bool(is) => Self::Bool(*is),
            Doc::Int(number) => Self::Int(*number),
            Doc::Double(number) => Self::Double(*number),
            Doc::Text(text) => Self::Text(Cow::Borrowed(text)),
            Doc::List(_) | Doc::Map(_) => Self::Doc(doc),
        }
    }

    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// How many items, entries or characters it has.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::List(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Doc(Doc::List(items)) => Some(items.len()),
            Self::Doc(Doc::Map(entries)) => Some(entries.len()),
            _ => None,
        }
    }

    /// The items of a list, or the keys of a map.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.as_ref().clone()),
            Self::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            Self::Doc(Doc::List(items)) => Some(items.iter().map(Self::of).collect()),
            Self::Doc(Doc::Map(entries)) => Some(entries.iter().map(|(key, _)| Self::text(key)).collect()),
            _ => None,
        }
    }

    /// The value of a text key.
    pub(super) fn field(&self, key: &str) -> Option<Self> {
        match self {
            Self::Doc(doc) => doc.get(key).map(Self::of),
            Self::Map(entries) => {
                let found = entries.iter().find(|(name, _)| matches!(name, Self::Text(text) if text == key));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Doc(Doc::Map(_)))
    }

    fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.as_ref().clone()),
            Self::Doc(Doc::Map(entries)) => {
                Some(entries.iter().map(|(key, value)| (Self::text(key), Self::of(value))).collect())
            }
            _ => None,
        }
    }

    /// Whether two values are the same; those of different kinds never are, except numbers.
    pub(super) fn same(&self, other: &Self) -> bool {
        if let (Some(one), Some(two)) = (self.entries(), other.entries()) {
            let has = |key: &Self, value: &Self| two.iter().any(|(k, v)| k.same(key) && v.same(value));
            return one.len() == two.len() && one.iter().all(|(key, value)| has(key, value));
        }
        if let (false, Some(one), Some(two)) = (self.is_map() || other.is_map(), self.items(), other.items()) {
            return one.len() == two.len() && one.iter().zip(&two).all(|(one, two)| one.same(two));
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Which comes first, where both have an order in common.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => Some(one.cmp(two)),
            (Self::Double(one), Self::Double(two)) => one.partial_cmp(two),
            (Self::Int(one), Self::Double(two)) => mixed(*one, *two),
            (Self::Double(one), Self::Int(two)) => mixed(*two, *one).map(Ordering::reverse),
            (Self::Text(one), Self::Text(two)) => Some(one.cmp(two)),
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::Time(one), Self::Time(two)) => Some(one.cmp(two)),
            (Self::Span(one), Self::Span(two)) => Some(one.cmp(two)),
            _ => None,
        }
    }

    /// The same in JSON; times and durations as text.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Int(number) => Value::from(*number),
            Self::Double(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|(key, value)| (key.show(), value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
            Self::Doc(doc) => doc.to_json(),
            Self::Text(_) | Self::Time(_) | Self::Span(_) => Value::from(self.show()),
        }
    }

    /// As a person would write it: texts without quotes.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Time(time) => time.to_string(),
            Self::Span(span) => format!("{}s", span.as_secs_f64()),
            other => other.to_json().to_string(),
        }
    }

    /// As a number, for measures.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Double(number) if number.is_finite() => Some(*number),
            Self::Span(span) => Some(span.as_secs_f64()),
            _ => None,
        }
    }
}

/// Compares without losing the last digits of a large whole number.
fn mixed(whole: i64, real: f64) -> Option<Ordering> {
    // Beyond these bounds every whole number lies on one side.
    if real >= 9_223_372_036_854_775_808.0 {
        return Some(Ordering::Less);
    }
    if real < -9_223_372_036_854_775_808.0 {
        return Some(Ordering::Greater);
    }
    if real.is_nan() {
        return None;
    }
    let floor = real.floor() as i64;
    Some(whole.cmp(&floor).then(if real > real.floor() { Ordering::Less } else { Ordering::Equal }))
}
