//! The values of a model as people write them: spreads of time, chances, rates, hazards. Text in, numbers out, and back
//! to the same text; nothing is drawn here.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Millis;

/// How many durations a list may have: more than the history of years, and still small.
const LISTED_MAX: usize = 100_000;

/// A duration that varies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// Always the same: `"20s"`.
    Fixed(Millis),
    /// Lognormal: half of the values lie below the median, and 84 of 100 below median plus spread: `"20s ~ 5s"`.
    Around {
        /// The median.
        median: Millis,
        /// How far above the median the 84th percentile lies.
        spread: Millis,
    },
    /// Every value between the two is equally likely: `"10s..30s"`.
    Between(Millis, Millis),
    /// Exponential with this mean: `"exp 3s"`.
    Exponential(Millis),
    /// One of these, each equally likely, as seen in the past: `["18s", "22s"]`.
    Listed(Vec<Millis>),
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| part.trim().parse::<Millis>();
        if let Some(mean) = text.trim().strip_prefix("exp ") {
            let mean = part(mean)?;
            return if mean == Millis::ZERO {
                Err("a mean of zero says nothing".to_owned())
            } else {
                Ok(Self::Exponential(mean))
            };
        }
        if let Some((median, spread)) = text.split_once('~') {
            let (median, spread) = (part(median)?, part(spread)?);
            if median == Millis::ZERO {
                return Err(format!("`{text}` has a median of zero, around which nothing can spread"));
            }
            return Ok(if spread == Millis::ZERO { Self::Fixed(median) } else { Self::Around { median, spread } });
        }
        if let Some((from, until)) = text.split_once("..") {
            let (from, until) = (part(from)?, part(until)?);
            if until < from {
                return Err(format!("`{text}` ends before it begins"));
            }
            return Ok(Self::Between(from, until));
        }
        let bad = |_| {
            format!("`{text}` is not a duration; write 20s, 20s ~ 5s (median ~ spread), 10s..30s, exp 3s, or a list")
        };
        part(text).map(Self::Fixed).map_err(bad)
    }
}

/// A duration as it can be read again, exactly.
fn exact(millis: Millis) -> String {
    let (seconds, rest) = (millis.0 / 1000, millis.0 % 1000);
    match (seconds, rest) {
        (0, rest) => format!("{rest}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, rest) => format!("{seconds}s {rest}ms"),
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => f.write_str(&exact(*value)),
            Self::Around { median, spread } => write!(f, "{} ~ {}", exact(*median), exact(*spread)),
            Self::Between(from, until) => write!(f, "{}..{}", exact(*from), exact(*until)),
            Self::Exponential(mean) => write!(f, "exp {}", exact(*mean)),
            Self::Listed(values) => write!(f, "one of {} seen", values.len()),
        }
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Listed(values) => serializer.collect_seq(values.iter().map(|value| exact(*value))),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpreadVisitor;
        impl<'de> Visitor<'de> for SpreadVisitor {
            type Value = Spread;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration such as \"20s\", \"20s ~ 5s\", \"10s..30s\" or \"exp 3s\", or a list of durations",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Spread, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Spread, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<Millis>()? {
                    values.push(value);
                    if values.len() > LISTED_MAX {
                        return Err(A::Error::custom(format!("the list has more than {LISTED_MAX} durations")));
                    }
                }
                if values.is_empty() {
                    return Err(A::Error::custom("the list of durations is empty"));
                }
                Ok(Spread::Listed(values))
            }
        }
        deserializer.deserialize_any(SpreadVisitor)
    }
}

impl JsonSchema for Spread {
    fn schema_name() -> Cow<'static, str> {
        "Spread".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration that varies: \"20s\", \"20s ~ 5s\" (median ~ spread), \"10s..30s\", \"exp 3s\", or a list of durations seen.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

/// A probability, 0..=1; written `0.01` or `"1%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Chance(pub f64);

impl Chance {
    /// The chance, if it lies between 0 and 1.
    ///
    /// # Errors
    /// A sentence, for anything else, NaN included.
    pub fn new(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("{value} does not lie between 0 and 1 (0% and 100%)"))
        }
    }
}

impl FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            Some(percent) => Self::new(percent / 100.0),
            None => Err(format!("`{text}` is not a chance; write 0.01 or \"1%\"")),
        }
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded so that 0.07 does not print as 7.000000000000001%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

impl Serialize for Chance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// An amount for each unit of time, kept per hour; written `"6000/min"`, `"0.01/h"`, `"1/d"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Rate {
    /// How many an hour; finite and not negative.
    pub per_hour: f64,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a rate; write 6000/min, 0.01/h or 1/d");
        let (number, unit) = text.trim().split_once('/').ok_or_else(bad)?;
        let number: f64 = number.trim().parse().map_err(|_| bad())?;
        let hours = match unit.trim() {
            "s" | "sec" => 1.0 / 3600.0,
            "min" | "m" => 1.0 / 60.0,
            "h" => 1.0,
            "d" => 24.0,
            _ => return Err(bad()),
        };
        if !number.is_finite() || number < 0.0 {
            return Err(bad());
        }
        Ok(Self { per_hour: number / hours })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", self.per_hour)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How often something happens, and how unsure that is: a gamma distribution by mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Hazard {
    /// The mean.
    pub mean: Rate,
    /// The standard deviation; zero when the mean is certain.
    pub deviation: Rate,
}

impl FromStr for Hazard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mean, deviation) = match text.split_once('~') {
            Some((mean, deviation)) => (mean.parse::<Rate>()?, deviation.parse::<Rate>()?),
            None => (text.parse()?, Rate::default()),
        };
        if mean.per_hour == 0.0 && deviation.per_hour > 0.0 {
            return Err(format!("`{text}` has a mean of zero, around which nothing can spread"));
        }
        Ok(Self { mean, deviation })
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deviation.per_hour == 0.0 {
            write!(f, "{}", self.mean)
        } else {
            write!(f, "{} ~ {}", self.mean, self.deviation)
        }
    }
}

impl Serialize for Hazard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a text by `FromStr`, or a plain number by the second function.
struct Written<T>(fn(f64) -> Result<T, String>, &'static str);

impl<T: FromStr<Err = String>> Visitor<'_> for Written<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        self.0(value).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        #[expect(clippy::cast_precision_loss, reason = "a number that a person types is far below 2^53")]
        self.0(value as f64).map_err(E::custom)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        #[expect(clippy::cast_precision_loss, reason = "a number that a person types is far below 2^53")]
        self.0(value as f64).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Chance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written(Self::new, "a chance such as 0.01 or \"1%\""))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let no_unit =
            |value| Err(format!("{value} is a rate without its time; write \"{value}/min\" or \"{value}/h\""));
        deserializer.deserialize_any(Written(no_unit, "a rate such as \"6000/min\" or \"0.01/h\""))
    }
}

impl<'de> Deserialize<'de> for Hazard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let no_unit = |value| Err(format!("{value} is a rate without its time; write \"{value}/h\""));
        deserializer.deserialize_any(Written(no_unit, "a rate such as \"0.01/h\" or \"0.01/h ~ 0.005/h\""))
    }
}

impl JsonSchema for Chance {
    fn schema_name() -> Cow<'static, str> {
        "Chance".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A probability: 0.01 or \"1%\".",
            "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": "%$" }],
        })
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A rate such as 6000/min, 0.01/h or 1/d.", "type": "string", "pattern": "/" })
    }
}

impl JsonSchema for Hazard {
    fn schema_name() -> Cow<'static, str> {
        "Hazard".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How often: 0.01/h, or 0.01/h ~ 0.005/h (mean ~ standard deviation).",
            "type": "string", "pattern": "/",
        })
    }
}
