//! Values in `vice.toml` that may be written in more than one way, with errors that say which.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::types::HealthSpec;

/// A number of units, absolute or as a share: `2`, `"25%"` or `0.25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many hundredths, 0..=100.
    Percent(u32),
    /// So many ten-thousandths, 0..=10,000; for shares that are no whole hundredths.
    BasisPoints(u32),
}

impl Amount {
    /// The number of units out of `total`, rounded down, but at least one when the amount is not zero: a share that
    /// rounds to nothing would stop every rollout of a small environment.
    #[must_use]
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count.min(total),
            Self::Percent(percent) => Self::share(total, percent.saturating_mul(100)),
            Self::BasisPoints(points) => Self::share(total, points),
        }
    }

    fn share(total: u32, basis_points: u32) -> u32 {
        let units = u64::from(total) * u64::from(basis_points) / 10_000;
        u32::try_from(units).unwrap_or(u32::MAX).max(u32::from(basis_points > 0)).min(total)
    }

    /// From a whole number.
    pub(super) fn count(count: impl TryInto<u32> + Copy + fmt::Display) -> Result<Self, String> {
        count.try_into().map(Self::Count).map_err(|_| format!("{count} is no count: it is negative or too large"))
    }

    /// From a fraction such as 0.25; rounded to a basis point.
    pub(super) fn fraction(fraction: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(format!("a share is between 0 and 1 (0% and 100%), and this is {fraction}"));
        }
        let points = (fraction * 10_000.0).round();
        if points == 0.0 && fraction > 0.0 {
            return Err(format!("the smallest share is 0.01%, and {fraction} is less"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was just checked to be between 0 and 10,000"
        )]
        let points = points as u32;
        Ok(if points.is_multiple_of(100) { Self::Percent(points / 100) } else { Self::BasisPoints(points) })
    }

    /// From a text such as `25%` or `0.5%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok()) {
            Some(percent) if percent > 100.0 => Err("a share can't be over 100%".to_owned()),
            Some(percent) => Self::fraction(percent / 100.0),
            None => Err(format!("{text:?} is neither a count nor a share such as \"25%\"")),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::BasisPoints(points) => write!(f, "{}%", f64::from(*points) / 100.0),
        }
    }
}

impl Serialize for Amount {
    /// As it is written in `vice.toml`, so that what is stored can be read again.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) | Self::BasisPoints(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count such as 2 or a share such as \"25%\"")
            }
            fn visit_i64<E: Error>(self, count: i64) -> Result<Amount, E> {
                Amount::count(count).map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, count: u64) -> Result<Amount, E> {
                Amount::count(count).map_err(E::custom)
            }
            fn visit_f64<E: Error>(self, fraction: f64) -> Result<Amount, E> {
                Amount::fraction(fraction).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Amount::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A count such as 2, or a share such as \"25%\" or 0.25.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "number", "minimum": 0, "maximum": 1 },
                { "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]+)?%$" },
            ],
        })
    }
}

/// An argument list. Never a shell string: `["./shop", "--port", "{{port}}"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;
        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of arguments such as [\"./shop\", \"--port\", \"{{port}}\"]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Command, A::Error> {
                let mut argv: Vec<String> = Vec::new();
                while let Some(argument) = seq.next_element()? {
                    argv.push(argument);
                }
                if argv.first().is_none_or(String::is_empty) {
                    return Err(A::Error::custom("a command needs at least the name of a program"));
                }
                Ok(Command(argv))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Command, E> {
                let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
                Err(E::custom(format!("a command is a list and not a shell line; write [{}]", words.join(", "))))
            }
        }
        deserializer.deserialize_any(CommandVisitor)
    }
}

/// One text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManyVisitor;
        impl<'de> Visitor<'de> for ManyVisitor {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(ManyVisitor)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

/// What a rollback means for a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RollbackPolicy {
    /// Going back over it is safe: nothing is done.
    #[default]
    Safe,
    /// Going back over it would break something: the rollout pauses and asks.
    Forbid,
    /// This command takes it back.
    Command(Vec<String>),
}

impl Serialize for RollbackPolicy {
    /// As it is written in `vice.toml`, so that what is stored can be read again.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Safe => serializer.serialize_str("safe"),
            Self::Forbid => serializer.serialize_str("forbid"),
            Self::Command(argv) => argv.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RollbackPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PolicyVisitor;
        impl<'de> Visitor<'de> for PolicyVisitor {
            type Value = RollbackPolicy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"safe\", \"forbid\", or a command as a list of arguments")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RollbackPolicy, E> {
                match text {
                    "safe" => Ok(RollbackPolicy::Safe),
                    "forbid" => Ok(RollbackPolicy::Forbid),
                    other => Err(E::custom(format!(
                        "{other:?} is not a rollback policy; write \"safe\", \"forbid\", or a list of arguments"
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RollbackPolicy, A::Error> {
                let command = Command::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
                Ok(RollbackPolicy::Command(command.0))
            }
        }
        deserializer.deserialize_any(PolicyVisitor)
    }
}

impl JsonSchema for RollbackPolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RollbackPolicy".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "enum": ["safe", "forbid"] },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ],
        })
    }
}

/// How health is asked: a path such as `"/healthz"`, or a table with more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health(pub HealthSpec);

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HealthVisitor;
        impl<'de> Visitor<'de> for HealthVisitor {
            type Value = Health;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as \"/healthz\", or a table with path, interval, timeout, …")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Health, E> {
                if !text.starts_with('/') {
                    return Err(E::custom(format!("{text:?} is not a path; write \"/{text}\"")));
                }
                Ok(Health(HealthSpec { path: Some(text.to_owned()), ..HealthSpec::default() }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Health, A::Error> {
                HealthSpec::deserialize(MapAccessDeserializer::new(map)).map(Health)
            }
        }
        deserializer.deserialize_any(HealthVisitor)
    }
}

impl JsonSchema for Health {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Health".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let table = generator.subschema_for::<HealthSpec>();
        schemars::json_schema!({ "anyOf": [{ "type": "string", "pattern": "^/" }, table] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollback_policies_survive_being_stored() {
        for policy in [RollbackPolicy::Safe, RollbackPolicy::Forbid, RollbackPolicy::Command(vec!["a".into()])] {
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<RollbackPolicy>(&text).unwrap(), policy, "{text}");
        }
    }

    #[test]
    fn a_share_that_rounds_to_nothing_is_one() {
        assert_eq!(Amount::Percent(25).of(1), 1);
        assert_eq!(Amount::Percent(25).of(8), 2);
        assert_eq!(Amount::Percent(0).of(8), 0);
        assert_eq!(Amount::BasisPoints(50).of(1000), 5);
        assert_eq!(Amount::BasisPoints(50).of(10), 1);
        assert_eq!(Amount::Percent(100).of(5_000_000), 5_000_000);
        assert_eq!(Amount::Count(9).of(4), 4);
    }
}
