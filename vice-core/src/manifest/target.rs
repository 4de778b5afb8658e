//! `[env.NAME.target]`: where an environment runs. One target, or several that one rollout takes together.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::values::Command;
use crate::time::Millis;

/// The kind that an environment has without being asked.
pub const LOCAL: &str = "local";

/// The kind whose one unit is a set of objects in a Kubernetes cluster.
pub const KUBERNETES: &str = "kubernetes";

/// Where something runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The backend, such as `local`.
    pub kind: String,
    /// How many instances run there; the environment's `instances` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// kubernetes: the context of the kubeconfig; its current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// kubernetes: the namespace; that of the context when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// kubernetes: the kubeconfig, relative to `vice.toml`; `KUBECONFIG` or `~/.kube/config` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// kubernetes: a file or folder of manifests (`.yaml`, `.yml`, `.json`), relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<String>,
    /// kubernetes: a folder for `kubectl kustomize`, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<String>,
    /// kubernetes: a command that prints the manifests, such as `["helm", "template", "shop", "chart/"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// kubernetes: how long the workloads may take to roll out; 10 minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// kubernetes: whether fields that belong to other field managers are taken over; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
}

impl TargetSpec {
    /// Takes one key; false for a key that no target has.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "kind" => self.kind = map.next_value()?,
            "instances" => self.instances = Some(map.next_value()?),
            "context" => self.context = Some(map.next_value()?),
            "namespace" => self.namespace = Some(map.next_value()?),
            "kubeconfig" => self.kubeconfig = Some(map.next_value()?),
            "manifests" => self.manifests = Some(map.next_value()?),
            "kustomize" => self.kustomize = Some(map.next_value()?),
            "command" => self.command = Some(map.next_value()?),
            "timeout" => self.timeout = Some(map.next_value()?),
            "force" => self.force = Some(map.next_value()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The keys that only a target in a cluster has, as far as they are written.
    fn keys_of_clusters(&self) -> Vec<&'static str> {
        let written = [
            ("manifests", self.manifests.is_some()),
            ("kustomize", self.kustomize.is_some()),
            ("command", self.command.is_some()),
            ("context", self.context.is_some()),
            ("namespace", self.namespace.is_some()),
            ("kubeconfig", self.kubeconfig.is_some()),
            ("timeout", self.timeout.is_some()),
            ("force", self.force.is_some()),
        ];
        written.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }

    /// What makes no sense in a target in a cluster, or in one that is none.
    fn check_cluster(&self) -> Result<(), String> {
        let keys = self.keys_of_clusters();
        if self.kind != KUBERNETES {
            return match keys.first() {
                // Of a kind that does not exist, the kind is what is wrong.
                Some(key) if self.kind == LOCAL => Err(format!(
                    "`{key}` belongs to a target of kind \"{KUBERNETES}\", and this one is {:?}",
                    self.kind
                )),
                _ => Ok(()),
            };
        }
        if self.instances.is_some() {
            return Err("`instances` belongs in the manifests of a Kubernetes target, as `replicas`".to_owned());
        }
        let sources: Vec<&str> =
            keys.into_iter().filter(|key| ["manifests", "kustomize", "command"].contains(key)).collect();
        match sources.as_slice() {
            [_] => {}
            [] => return Err("a Kubernetes target needs `manifests`, `kustomize` or `command`".to_owned()),
            [one, other, ..] => {
                return Err(format!("the manifests are said twice, by `{one}` and by `{other}`; keep one of them"));
            }
        }
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match &self.namespace {
            Some(name) if name.is_empty() || name.len() > 63 || !name.chars().all(label) => {
                let shown: String = name.chars().take(80).collect();
                Err(format!("{shown:?} can't be the name of a namespace"))
            }
            _ => Ok(()),
        }
    }
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
    /// The targets with the key of each below `target`.
    pub fn each(&self) -> impl Iterator<Item = (Option<&str>, &TargetSpec)> {
        let (one, several) = match self {
            Self::One(spec) => (Some(spec), None),
            Self::Several(specs) => (None, Some(specs)),
        };
        let one = one.into_iter().map(|spec| (None, spec));
        one.chain(several.into_iter().flatten().map(|(name, spec)| (Some(name.as_str()), spec)))
    }

    /// The kinds with the key that says each, below `target`.
    pub fn kinds(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.each().map(|(name, spec)| (name, spec.kind.as_str()))
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
    let (mut one, mut said) = (TargetSpec::default(), Vec::new());
    let mut several = IndexMap::new();
    while let Some(key) = map.next_key::<String>()? {
        if one.take(&key, &mut map)? {
            said.push(key);
            continue;
        }
        check_name(&key).map_err(A::Error::custom)?;
        let spec = map.next_value::<TargetSpec>()?;
        spec.check_cluster().map_err(|why| A::Error::custom(format!("the target {key:?}: {why}")))?;
        several.insert(key, spec);
    }
    let has_kind = said.iter().any(|key| key == "kind");
    match (has_kind, several.first()) {
        (true, None) => {
            one.check_cluster().map_err(A::Error::custom)?;
            Ok(TargetsSpec::One(one))
        }
        (true, Some((name, _))) => Err(A::Error::custom(format!(
            "`target` has a kind of its own and also the target {name:?}; keep one of them"
        ))),
        (false, Some(_)) => match said.first() {
            Some(key) => Err(A::Error::custom(format!("`{key}` belongs to each of several targets, not beside them"))),
            None => Ok(TargetsSpec::Several(several)),
        },
        (false, None) => Err(A::Error::custom("`target` needs a `kind`, such as \"local\"")),
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
        assert_eq!(
            one,
            TargetsSpec::One(TargetSpec { kind: "local".into(), instances: Some(3), ..TargetSpec::default() })
        );
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
            ("target = { kind = 'local', manifests = 'k8s' }", "belongs to a target of kind \"kubernetes\""),
            ("target = { kind = 'kubernetes' }", "needs `manifests`"),
            ("target = { kind = 'kubernetes', manifests = 'a', kustomize = 'b' }", "said twice"),
            ("target.eu = { kind = 'kubernetes', manifests = 'a', instances = 2 }", "as `replicas`"),
            ("target = { kind = 'kubernetes', manifests = 'a', namespace = 'A_b' }", "name of a namespace"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
