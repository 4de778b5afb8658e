//! One object of a cluster as JSON: what it is called, what vice notes on it, and the order in which objects are
//! written. It knows no cluster and does no I/O.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The operation that wrote an object last.
pub(super) const OP: &str = "vice.dev/op";
/// The epoch of that operation.
pub(super) const EPOCH: &str = "vice.dev/epoch";
/// The highest epoch that shut out whoever was at work on an object; see `operate`.
pub(super) const FENCE: &str = "vice.dev/fence";
/// The version that the object belongs to.
pub(super) const RELEASE: &str = "vice.dev/release";
/// The project, environment and target that the object belongs to. Objects without it are never removed.
pub(super) const OWNER: &str = "vice.dev/owner";
/// On the pods of a workload: why they were started again.
pub(super) const RESTARTED: &str = "vice.dev/restarted";

/// What tells an object from all others of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct ObjectId {
    pub(super) api_version: String,
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl ObjectId {
    /// The identity of an object that has a kind and a name.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            api_version: text(&object["apiVersion"])?,
            kind: text(&object["kind"])?,
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"])?,
        })
    }

    /// The part of it that would lead elsewhere in a path, if one would.
    pub(super) fn unsound(&self) -> Option<&str> {
        let plain = |text: &&str| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
            !text.is_empty() && text.len() <= 253 && text.chars().all(fine) && *text != "." && *text != ".."
        };
        let version = self.api_version.splitn(2, '/');
        let parts = version.chain([self.kind.as_str(), self.name.as_str()]).chain(self.namespace.as_deref());
        parts.into_iter().find(|part| !plain(part))
    }

    /// Whether it is of this kind of the group `apps`.
    pub(super) fn is_workload(&self) -> bool {
        self.api_version == "apps/v1" && ["Deployment", "StatefulSet", "DaemonSet"].contains(&self.kind.as_str())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// An annotation of an object.
pub(super) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][name].as_str()
}

/// Who may write: the epoch of a holder and, within it, how often the holder has shut out work of its own that it had
/// lost sight of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Token {
    pub(super) epoch: u64,
    pub(super) turn: u32,
}

impl Token {
    fn read(text: &str) -> Option<Self> {
        let (epoch, turn) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self { epoch: epoch.parse().ok()?, turn: turn.parse().ok()? })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.turn {
            0 => write!(f, "{}", self.epoch),
            turn => write!(f, "{}.{turn}", self.epoch),
        }
    }
}

/// The highest token that an object has seen.
pub(super) fn token_of(object: &Value) -> Token {
    let read = |name: &str| annotation(object, name).and_then(Token::read).unwrap_or_default();
    read(EPOCH).max(read(FENCE))
}

/// Takes out what only the cluster says, as it stands in an object that was read from one.
pub(super) fn clean(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"] {
            metadata.remove(field);
        }
    }
}

/// Sets an annotation in metadata that stand at `path`, such as those of a pod template.
pub(super) fn annotate(object: &mut Value, path: &str, name: &str, value: &str) {
    let Some(at) = object.pointer_mut(path) else { return };
    let Some(metadata) = at.as_object_mut().map(|at| at.entry("metadata").or_insert_with(empty)) else { return };
    let Some(metadata) = metadata.as_object_mut() else { return };
    // `annotations:` with nothing below it is null.
    let annotations = metadata.entry("annotations").or_insert_with(empty);
    if annotations.is_null() {
        *annotations = empty();
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(name.to_owned(), Value::from(value));
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// What has to be there before something else can use it, first: the order that Helm made known.
const ORDER: &[&str] = &[
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "HTTPRoute",
];

/// The place of a kind in the order; unknown kinds come last, because they may need what the others define.
pub(super) fn rank(kind: &str) -> usize {
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

/// The strings of an object, wherever they stand, replaced by what `change` makes of them.
pub(super) fn rewrite(value: &mut Value, change: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(changed) = change(text) {
                *text = changed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rewrite(field, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_are_set_wherever_metadata_are_or_are_not() {
        let mut object = json!({"spec": {"template": {"metadata": {"annotations": null}}}});
        annotate(&mut object, "", OP, "a");
        annotate(&mut object, "/spec/template", RESTARTED, "b");
        annotate(&mut object, "/nowhere", OP, "c");
        assert_eq!(annotation(&object, OP), Some("a"));
        assert_eq!(object["spec"]["template"]["metadata"]["annotations"][RESTARTED], "b");
    }

    #[test]
    fn a_later_turn_of_an_epoch_is_higher_and_a_later_epoch_higher_still() {
        let token = |text: &str| Token::read(text).unwrap();
        assert!(token("3") < token("3.1") && token("3.9") < token("3.10") && token("3.10") < token("4"));
        assert_eq!((token("3.1").to_string(), token("4.0").to_string()), ("3.1".to_owned(), "4".to_owned()));
        assert_eq!(Token::read("x"), None);
    }

    #[test]
    fn what_is_used_comes_before_what_uses_it() {
        assert!(rank("Namespace") < rank("ConfigMap") && rank("ConfigMap") < rank("Deployment"));
        assert!(rank("Deployment") < rank("HTTPRoute"));
    }
}
