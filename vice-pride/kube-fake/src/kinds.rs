//! The kinds that the fake knows, and how discovery tells of them.

use serde_json::{Value, json};

/// One kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short: &'static str,
    pub(crate) scale: bool,
}

const fn kind(group: &'static str, plural: &'static str, kind: &'static str, short: &'static str) -> Kind {
    Kind { group, plural, kind, namespaced: true, short, scale: false }
}

/// All of them. Every group has the one version `v1`.
pub(crate) const KINDS: &[Kind] = &[
    Kind { namespaced: false, ..kind("", "namespaces", "Namespace", "ns") },
    kind("", "configmaps", "ConfigMap", "cm"),
    kind("", "secrets", "Secret", ""),
    kind("", "services", "Service", "svc"),
    kind("", "serviceaccounts", "ServiceAccount", "sa"),
    kind("", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc"),
    kind("", "pods", "Pod", "po"),
    kind("", "resourcequotas", "ResourceQuota", "quota"),
    kind("", "events", "Event", "ev"),
    Kind { scale: true, ..kind("apps", "deployments", "Deployment", "deploy") },
    Kind { scale: true, ..kind("apps", "replicasets", "ReplicaSet", "rs") },
    Kind { scale: true, ..kind("apps", "statefulsets", "StatefulSet", "sts") },
    kind("apps", "daemonsets", "DaemonSet", "ds"),
    kind("gateway.networking.k8s.io", "httproutes", "HTTPRoute", ""),
];

/// The kind of a path's parts.
pub(crate) fn find(group: &str, plural: &str) -> Option<Kind> {
    KINDS.iter().copied().find(|kind| kind.group == group && kind.plural == plural)
}

pub(crate) fn named(name: &str) -> Option<Kind> {
    KINDS.iter().copied().find(|kind| kind.kind == name)
}

impl Kind {
    pub(crate) fn api_version(self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }
}

const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// The list of a group's kinds.
pub(crate) fn resources(group: &str) -> Option<Value> {
    let of: Vec<Kind> = KINDS.iter().copied().filter(|kind| kind.group == group).collect();
    let first = of.first()?;
    let mut entries = Vec::new();
    for kind in &of {
        let short: Vec<&str> = if kind.short.is_empty() { Vec::new() } else { vec![kind.short] };
        entries
            .push(json!({"name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": VERBS, "shortNames": short}));
        if kind.scale {
            entries.push(json!({"name": format!("{}/scale", kind.plural), "singularName": "", "namespaced": true,
                "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}));
        }
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": entries}),
    )
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

/// The groups besides the first.
pub(crate) fn groups() -> Value {
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.group).filter(|group| !group.is_empty()).collect();
    names.dedup();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": names.into_iter().map(group).collect::<Vec<_>>()})
}
