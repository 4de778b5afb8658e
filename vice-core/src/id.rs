//! Names and ids. Names come from people and are checked once, at the edge; ids are made from an [`Ids`] source,
//! so that a test can repeat them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use jiff::Timestamp;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::{Code, Fault, Result};
use crate::rng::Streams;

/// The longest name that is accepted, in bytes. Names become folder, host and metric names, where 63 is the
/// smallest limit around (DNS labels).
pub const NAME_BYTES_MAX: usize = 63;

fn check_name(kind: &str, text: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if starts && text.len() <= NAME_BYTES_MAX && text.bytes().all(fine) {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(Fault::new(Code::InvalidName, format!("{shown:?} can't be the name of {kind}."))
        .hint("Names have 1 to 63 characters a-z, 0-9, - and _, and start with a letter or digit."))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks the naming rules.
            ///
            /// # Errors
            /// [`Code::InvalidName`] when the rules are broken.
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                check_name($kind, &text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(|fault| {
                    serde::de::Error::custom(format!("{fault} {}", fault.hints().join(" ")))
                })
            }
        }
    };
}

name!(
    /// The name of a project.
    ProjectName,
    "a project"
);
name!(
    /// The name of an environment, such as `dev` or `prod`.
    EnvName,
    "an environment"
);

/// A project in one of its environments: what is deployed to, locked, and reported on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
}

impl Scope {
    /// Both names together.
    #[must_use]
    pub const fn new(project: ProjectName, env: EnvName) -> Self {
        Self { project, env }
    }

    /// A scope as it is displayed, `PROJECT/ENVIRONMENT`; none for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (project, env) = text.split_once('/')?;
        Some(Self::new(ProjectName::new(project).ok()?, EnvName::new(env).ok()?))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.env)
    }
}

/// A rollout: `project.env.number`, counted from 1 in each scope. Names have no dots, so it can be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct RolloutId {
    /// Where it happens.
    pub scope: Scope,
    /// The how-manieth of that scope.
    pub number: u64,
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.scope.project, self.scope.env, self.number))
    }
}

impl FromStr for RolloutId {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Fault::new(Code::InvalidName, format!("{text:?} is not the id of a rollout."))
                .hint("Ids look like shop.prod.12; `vice history` lists them.")
        };
        let mut parts = text.split('.');
        let (Some(project), Some(env), Some(number), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let number = number.parse().map_err(|_| bad())?;
        Ok(Self { scope: Scope::new(ProjectName::new(project)?, EnvName::new(env)?), number })
    }
}

impl Serialize for RolloutId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RolloutId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A source of unique ids (UUID version 7: ordered by time). The randomness is a named stream, seeded by the
/// caller: from the operating system in production, from a number in tests.
pub struct Ids {
    rng: Mutex<rand_pcg::Pcg64Mcg>,
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

impl Ids {
    /// Ids drawn from the `ids` stream.
    #[must_use]
    pub fn new(streams: &Streams) -> Self {
        Self { rng: Mutex::new(streams.stream("ids", 0)) }
    }

    /// The next id, ordered by `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> String {
        let mut random = [0_u8; 10];
        match self.rng.lock() {
            Ok(mut rng) => rng.fill_bytes(&mut random),
            Err(poisoned) => poisoned.into_inner().fill_bytes(&mut random),
        }
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_breaks_folders_hosts_and_streams() {
        for good in ["shop", "a", "9lives", "my-shop_2"] {
            ProjectName::new(good).unwrap();
        }
        let long = "a".repeat(64);
        for bad in ["", "-x", "Shop", "a.b", "a/b", "../x", "a b", "ü", "a\n", long.as_str()] {
            assert_eq!(ProjectName::new(bad).unwrap_err().code(), Code::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn rollout_ids_survive_the_round_trip() {
        let id: RolloutId = "my-shop.prod-eu.12".parse().unwrap();
        assert_eq!(id.to_string(), "my-shop.prod-eu.12");
        assert_eq!(id.number, 12);
        for bad in ["shop", "shop.dev", "shop.dev.x", "shop.dev.1.2", "Shop.dev.1"] {
            assert!(bad.parse::<RolloutId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_repeat_by_seed_and_follow_time() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let later = Timestamp::from_second(1_700_000_001).unwrap();
        let (one, two) = (Ids::new(&Streams::new(7)), Ids::new(&Streams::new(7)));
        let first = one.next(at);
        assert_eq!(first, two.next(at));
        assert!(first < one.next(later));
    }
}
