//! `[env.NAME.target]`: where an environment runs. One target, or several that one rollout takes together.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The kind that an environment has without being asked.
pub const LOCAL: &str = "local";

/// Where something runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The backend, such as `local`.
    pub kind: String,
    /// How many instances run there; the environment's `instances` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
}

/// One target (`target = { kind = "local" }`), or several by name (`target.eu = { kind = "local" }`): one rollout, one
/// budget and one way back for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetsSpec {
    /// One.
    One(TargetSpec),
    /// Several, in the order of the file. A unit's name begins with that of its target, as in `eu.1`.
    Several(IndexMap<String, TargetSpec>),
}

impl TargetsSpec {
    /// The kinds with the key that says each, below `target`.
    pub fn kinds(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let (one, several) = match self {
            Self::One(spec) => (Some(spec), None),
            Self::Several(specs) => (None, Some(specs)),
        };
        let one = one.into_iter().map(|spec| (None, spec.kind.as_str()));
        one.chain(several.into_iter().flatten().map(|(name, spec)| (Some(name.as_str()), spec.kind.as_str())))
    }
}

impl<'de> Deserialize<'de> for TargetsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Targets;
        impl<'de> Visitor<'de> for Targets {
            type Value = TargetsSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a target such as { kind = \"local\" }, or several of them by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetsSpec, A::Error> {
                targets(map)
            }
        }
        deserializer.deserialize_map(Targets)
    }
}

fn targets<'de, A: MapAccess<'de>>(mut map: A) -> Result<TargetsSpec, A::Error> {
    let (mut kind, mut instances) = (None, None);
    let mut several = IndexMap::new();
    while let Some(key) = map.next_key::<String>()? {
        match key.as_str() {
            "kind" => kind = Some(map.next_value::<String>()?),
            "instances" => instances = Some(map.next_value::<u32>()?),
            _ => {
                check_name(&key).map_err(A::Error::custom)?;
                several.insert(key, map.next_value::<TargetSpec>()?);
            }
        }
    }
    match (kind, several.first()) {
        (Some(kind), None) => Ok(TargetsSpec::One(TargetSpec { kind, instances })),
        (Some(_), Some((name, _))) => Err(A::Error::custom(format!(
            "`target` has a kind of its own and also the target {name:?}; keep one of them"
        ))),
        (None, Some(_)) if instances.is_some() => {
            Err(A::Error::custom("`instances` belongs to each of several targets, not beside them"))
        }
        (None, Some(_)) => Ok(TargetsSpec::Several(several)),
        (None, None) => Err(A::Error::custom("`target` needs a `kind`, such as \"local\"")),
    }
}

/// Names stand in paths and before a dot in the names of units.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 40 && name.chars().all(plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    Err(format!("a target is named with lower case letters, digits and dashes, and this is {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TargetsSpec, String> {
        #[derive(Deserialize)]
        struct Env {
            target: TargetsSpec,
        }
        toml::from_str::<Env>(text).map(|env| env.target).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn one_target_or_several() {
        let one = read("target = { kind = 'local', instances = 3 }").unwrap();
        assert_eq!(one, TargetsSpec::One(TargetSpec { kind: "local".into(), instances: Some(3) }));
        let several = read("target.us = { kind = 'local' }\ntarget.eu = { kind = 'local', instances = 2 }").unwrap();
        assert_eq!(several.kinds().collect::<Vec<_>>(), [(Some("us"), "local"), (Some("eu"), "local")]);
    }

    #[test]
    fn what_is_neither_is_refused_with_its_reason() {
        for (text, said) in [
            ("target = {}", "needs a `kind`"),
            ("target = { kind = 'local', eu = { kind = 'local' } }", "has a kind of its own"),
            ("target = { instances = 2, eu = { kind = 'local' } }", "belongs to each"),
            ("target.EU = { kind = 'local' }", "lower case letters"),
            ("target.eu = { kind = 'local', colour = 1 }", "colour"),
            ("target.eu = 3", "invalid type"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
