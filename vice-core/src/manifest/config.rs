//! Parts of `[config]`: layers with conditions, how lists are merged, rules of the gate, and files that are written.
//! It owns their words; what they mean for a value is the business of envy.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::topology::LabelValue;
use super::values::OneOrMany;
use crate::id::EnvName;

/// How a running instance takes up another configuration: `by = "signal"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadSpec {
    /// How it is told.
    pub by: ReloadKind,
    /// By signal: which one; `HUP` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<ReloadSignal>,
    /// By HTTP: the path that the new configuration is posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A path that answers with a text in which `VICE_RELEASE` of the configuration in use stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// How an instance is told that there is another configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadKind {
    /// By a signal.
    Signal,
    /// By a request.
    Http,
    /// Not at all: it looks at the file that `VICE_CONFIG_FILE` names.
    File,
}

/// A signal that asks for nothing but this. Others end processes that do not expect them in worse ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReloadSignal {
    /// SIGHUP.
    #[default]
    #[serde(rename = "HUP")]
    Hup,
    /// SIGUSR1.
    #[serde(rename = "USR1")]
    Usr1,
    /// SIGUSR2.
    #[serde(rename = "USR2")]
    Usr2,
}

/// A layer as it is written: a text, or a table with a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LayerRef {
    /// One that always applies.
    Always(String),
    /// One that applies under a condition.
    Conditional(ConditionalLayer),
}

/// A layer that applies under a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionalLayer {
    /// Where it comes from, as a plain layer is written.
    pub from: String,
    /// When it applies.
    pub when: LayerCondition,
}

/// When a layer applies: everything that is named has to fit. Each is a text or a list of which one has to fit; a last
/// `*` matches the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerCondition {
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<OneOrMany>,
    /// The project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<OneOrMany>,
    /// The name of the target where an environment has several, its kind (such as `local`) otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<OneOrMany>,
    /// The name of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<OneOrMany>,
    /// Labels by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub label: BTreeMap<String, LabelChoice>,
}

/// The values that a label may have: one, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LabelChoice {
    /// One.
    One(LabelValue),
    /// Any of these.
    Any(Vec<LabelValue>),
}

impl LabelChoice {
    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        let (one, any) = match self {
            Self::One(value) => (Some(value), None),
            Self::Any(values) => (None, Some(values)),
        };
        one.into_iter().chain(any.into_iter().flatten()).map(|value| value.0.as_str())
    }
}

impl LayerRef {
    /// Where it comes from.
    #[must_use]
    pub fn written(&self) -> &str {
        match self {
            Self::Always(from) => from,
            Self::Conditional(layer) => &layer.from,
        }
    }

    /// Its condition, if it has one.
    #[must_use]
    pub fn when(&self) -> Option<&LayerCondition> {
        match self {
            Self::Always(_) => None,
            Self::Conditional(layer) => Some(&layer.when),
        }
    }
}

impl<'de> Deserialize<'de> for LayerRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LayerVisitor;
        impl<'de> Visitor<'de> for LayerVisitor {
            type Value = LayerRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a layer such as \"config/{{env}}.toml\", or { from = \"…\", when = { env = \"prod\" } }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<LayerRef, E> {
                Ok(LayerRef::Always(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LayerRef, A::Error> {
                ConditionalLayer::deserialize(MapAccessDeserializer::new(map)).map(LayerRef::Conditional)
            }
        }
        deserializer.deserialize_any(LayerVisitor)
    }
}

impl JsonSchema for LayerRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LayerRef".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let conditional = generator.subschema_for::<ConditionalLayer>();
        schemars::json_schema!({
            "description": "A layer such as \"config/{{env}}.toml\", or a table with a condition.",
            "anyOf": [{ "type": "string" }, conditional],
        })
    }
}

/// How a list meets the lists of weaker layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeRule {
    /// It replaces them.
    #[default]
    Replace,
    /// It is put behind them.
    Append,
    /// It is put behind them; what is there already is left out.
    Unique,
}

/// A simple rule that a configuration has to keep: a key, where it holds, and exactly one demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigRule {
    /// The dotted key; a last `*` matches the rest.
    pub key: String,
    /// The environments that it holds in; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<OneOrMany>,
    /// The value must never be this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never: Option<Value>,
    /// The value has to be this one, where there is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// The value has to be one of these, where there is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
    /// The value's text has to match this regular expression as a whole, where there is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Whether there has to be a value (true) or must be none (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// Whether the value has to be a secret (true) or must be none (false), where there is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
    /// What is said when it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ConfigRule {
    /// Whether it holds in an environment.
    #[must_use]
    pub fn holds_in(&self, env: &EnvName) -> bool {
        self.env.as_ref().is_none_or(|envs| envs.0.iter().any(|name| fits(name, env.as_str())))
    }

    /// How many demands it makes; exactly one is right.
    #[must_use]
    pub fn demands(&self) -> usize {
        [
            self.never.is_some(),
            self.equals.is_some(),
            self.one_of.is_some(),
            self.matches.is_some(),
            self.required.is_some(),
            self.secret.is_some(),
        ]
        .into_iter()
        .filter(|demand| *demand)
        .count()
    }
}

/// Whether a name fits a pattern: the same, or what stands before a last `*`.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// A file that `vice envy render` writes beside the templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where it is written, below the folder that the command names.
    pub path: String,
    /// Its format: env, systemd, json, yaml, toml, properties, ini, k8s-configmap, k8s-secret. Either this or `template`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Its handlebars template, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Only the keys below this one, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Its mode, such as "0640"; 0644 when absent, and 0600 where it holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner, as `user`, `user:group` or numbers; whoever runs the command when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ConfigSpec;

    fn read(text: &str) -> Result<ConfigSpec, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn layers_are_texts_or_tables() {
        let spec = read(
            "layers = [\"a.toml\", { from = \"b.toml\", when = { env = [\"int\", \"prod*\"], label.region = \"eu\", label.tier = [1, 2] } }]",
        )
        .unwrap();
        assert_eq!(spec.layers[0], LayerRef::Always("a.toml".into()));
        let when = spec.layers[1].when().unwrap();
        assert_eq!(when.env.as_ref().unwrap().0, ["int", "prod*"]);
        assert_eq!(when.label["tier"].values().collect::<Vec<_>>(), ["1", "2"]);
        for (text, said) in [
            ("layers = [1]", "a layer such as"),
            ("layers = [{ from = \"a\" }]", "when"),
            ("layers = [{ from = \"a\", when = { envs = \"x\" } }]", "envs"),
            ("layers = [{ form = \"a\", when = {} }]", "form"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn rules_and_merges_are_read() {
        let spec = read(
            "merge = { \"a.b\" = \"append\" }\n[[rule]]\nkey = \"debug\"\nenv = \"prod*\"\nnever = true\n[[file]]\npath = \"a\"\nformat = \"env\"\n",
        )
        .unwrap();
        assert_eq!(spec.merge["a.b"], MergeRule::Append);
        assert!(spec.rule[0].holds_in(&"prod-eu".parse().unwrap()) && !spec.rule[0].holds_in(&"dev".parse().unwrap()));
        assert_eq!(spec.rule[0].demands(), 1);
        assert!(read("merge = { a = \"concat\" }").unwrap_err().contains("concat"));
    }
}
