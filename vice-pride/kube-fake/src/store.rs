//! The objects, their versions and what happened to them. One lock around everything; nothing here waits.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fields::{self, Owner};
use crate::kinds::Kind;

/// How many changes are remembered for watches; who asks for older ones is told that they are gone.
const CHANGES_MAX: usize = 20_000;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One change, for watches.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) what: &'static str,
    pub(crate) key: Key,
    pub(crate) object: Value,
}

/// A refusal, as an API server words it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) causes: Vec<Value>,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), causes: Vec::new() }
    }

    pub(crate) fn missing(kind: Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", kind.plural))
    }

    pub(crate) fn invalid(kind: Kind, name: &str, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{} {name:?} is invalid: {why}", kind.kind))
    }

    pub(crate) fn body(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code,
            "reason": self.reason, "message": self.message, "details": {"causes": self.causes}})
    }
}

/// Who writes, and how.
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) dry: bool,
}

/// Everything.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Value>,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) version: u64,
    /// The oldest version from which changes are known.
    pub(crate) oldest: u64,
    /// Every change of the specification of a workload by somebody from outside.
    pub(crate) effects: Vec<String>,
    uids: u64,
}

pub(crate) fn now() -> String {
    let second = Timestamp::from_second(now_ms() / 1_000).unwrap_or_default();
    second.to_string()
}

/// The wall clock: a cluster lives in real time.
#[expect(clippy::disallowed_methods, reason = "the fake is a cluster of its own, with its own clock")]
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Store {
    pub(crate) fn get(&self, key: &Key) -> Result<&Value, Refusal> {
        self.objects.get(key).ok_or_else(|| Refusal::missing(key.kind, &key.name))
    }

    pub(crate) fn of(&self, kind: Kind, namespace: &str) -> Vec<(Key, Value)> {
        let fits = |key: &&Key| key.kind == kind && (namespace.is_empty() || key.namespace == namespace);
        self.objects.iter().filter(|(key, _)| fits(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn note(&mut self, what: &'static str, key: &Key, object: &Value) {
        self.changes.push_back(Change { version: self.version, what, key: key.clone(), object: object.clone() });
        while self.changes.len() > CHANGES_MAX {
            if let Some(gone) = self.changes.pop_front() {
                self.oldest = gone.version;
            }
        }
    }

    /// Forgets every change so far.
    pub(crate) fn forget(&mut self) {
        self.changes.clear();
        self.oldest = self.version;
    }

    /// Creates an object.
    pub(crate) fn create(&mut self, key: &Key, mut object: Value, writer: &Writer<'_>) -> Result<Value, Refusal> {
        if self.objects.contains_key(key) {
            let message = format!("{} {:?} already exists", key.kind.plural, key.name);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        complete(key, &mut object)?;
        let owners = fields::updated(None, &object, writer.manager, writer.subresource, &now());
        self.insert(key, object, &owners, writer)
    }

    /// As [`Self::create`], with owners that are known.
    pub(crate) fn insert(
        &mut self,
        key: &Key,
        mut object: Value,
        owners: &[Owner],
        writer: &Writer<'_>,
    ) -> Result<Value, Refusal> {
        self.check_namespace(key)?;
        self.check_quota(key)?;
        complete(key, &mut object)?;
        validate(key, None, &object)?;
        self.uids += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.uids));
        metadata["creationTimestamp"] = json!(now());
        metadata["generation"] = json!(1);
        fields::store(&mut object, owners);
        if writer.dry {
            return Ok(object);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.effect("create", key);
        self.note("ADDED", key, &object);
        self.objects.insert(key.clone(), object.clone());
        Ok(object)
    }

    fn check_namespace(&self, key: &Key) -> Result<(), Refusal> {
        let there = |(at, _): (&Key, &Value)| at.kind.kind == "Namespace" && at.name == key.namespace;
        if !key.kind.namespaced || self.objects.iter().any(there) {
            return Ok(());
        }
        Err(Refusal::new(404, "NotFound", format!("namespaces {:?} not found", key.namespace)))
    }

    /// A quota for the number of objects of a kind, such as `count/services`.
    fn check_quota(&self, key: &Key) -> Result<(), Refusal> {
        let name = format!("count/{}", key.kind.plural);
        let used = self.objects.keys().filter(|at| at.kind == key.kind && at.namespace == key.namespace).count();
        let here = |at: &Key| at.kind.kind == "ResourceQuota" && at.namespace == key.namespace;
        for (quota, object) in self.objects.iter().filter(|(at, _)| here(at)) {
            let hard = object["spec"]["hard"][name.as_str()].as_str().and_then(|hard| hard.parse::<usize>().ok());
            if hard.is_some_and(|hard| used >= hard) {
                let why = format!(
                    "{} {:?} is forbidden: exceeded quota: {}, requested: {name}=1, used: {name}={used}",
                    key.kind.plural, key.name, quota.name
                );
                return Err(Refusal::new(403, "Forbidden", why));
            }
        }
        Ok(())
    }

    /// Replaces an object by a new state of it.
    pub(crate) fn update(&mut self, key: &Key, mut object: Value, writer: &Writer<'_>) -> Result<Value, Refusal> {
        let old = self.get(key)?.clone();
        check_version(key, &old, &object)?;
        complete(key, &mut object)?;
        keep_status(&old, &mut object);
        // Whoever sends other managed fields says who owns what; an empty list begins anew.
        let said = &object["metadata"]["managedFields"];
        let says = said.is_array() && *said != old["metadata"]["managedFields"];
        let mut before = old.clone();
        if says {
            before["metadata"]["managedFields"] = said.clone();
        }
        let owners = fields::updated(Some(&before), &object, writer.manager, writer.subresource, &now());
        self.replace(key, object, &owners, writer)
    }

    /// As [`Self::update`], with owners that are known.
    pub(crate) fn replace(
        &mut self,
        key: &Key,
        mut object: Value,
        owners: &[Owner],
        writer: &Writer<'_>,
    ) -> Result<Value, Refusal> {
        let old = self.get(key)?.clone();
        complete(key, &mut object)?;
        keep_status(&old, &mut object);
        validate(key, Some(&old), &object)?;
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
            object["metadata"][field] = old["metadata"][field].clone();
        }
        let spec_changed = old["spec"] != object["spec"];
        if spec_changed {
            object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        fields::store(&mut object, owners);
        if object == old || writer.dry {
            return Ok(object);
        }
        if spec_changed {
            self.effect("change", key);
        }
        Ok(self.put(key, object))
    }

    /// Stores a state as it is: what controllers do.
    pub(crate) fn put(&mut self, key: &Key, mut object: Value) -> Value {
        let old = self.objects.get(key);
        if old.is_some_and(|old| *old == object) {
            return object;
        }
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        if old.is_none() {
            self.uids += 1;
            object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.uids));
            object["metadata"]["creationTimestamp"] = json!(now());
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note(what, key, &object);
        self.objects.insert(key.clone(), object.clone());
        object
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Value> {
        let mut object = self.objects.remove(key)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note("DELETED", key, &object);
        Some(object)
    }

    pub(crate) fn effect(&mut self, what: &str, key: &Key) {
        if ["Deployment", "StatefulSet", "DaemonSet"].contains(&key.kind.kind) {
            self.effects.push(format!("{what} {}/{}", key.namespace, key.name));
        }
    }
}

/// Only the controllers write the status.
fn keep_status(old: &Value, object: &mut Value) {
    match old.get("status") {
        Some(status) => object["status"] = status.clone(),
        None => drop(object.as_object_mut().and_then(|object| object.remove("status"))),
    }
}

/// Refuses a change of another version than the present one.
pub(crate) fn check_version(key: &Key, old: &Value, object: &Value) -> Result<(), Refusal> {
    let named = object["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty());
    if named.is_none_or(|version| old["metadata"]["resourceVersion"] == version) {
        return Ok(());
    }
    let message = format!(
        "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the \
         latest version and try again",
        key.kind.plural, key.name
    );
    Err(Refusal::new(409, "Conflict", message))
}

/// Puts in what an API server puts in when it is not said.
pub(crate) fn complete(key: &Key, object: &mut Value) -> Result<(), Refusal> {
    if !object.is_object() {
        return Err(Refusal::new(400, "BadRequest", "the body is no object"));
    }
    object["apiVersion"] = json!(key.kind.api_version());
    object["kind"] = json!(key.kind.kind);
    object["metadata"]["name"] = json!(key.name);
    if key.kind.namespaced {
        object["metadata"]["namespace"] = json!(key.namespace);
    }
    match key.kind.kind {
        "Deployment" => {
            default(&mut object["spec"], "replicas", json!(1));
            default(&mut object["spec"], "revisionHistoryLimit", json!(10));
            default(&mut object["spec"], "progressDeadlineSeconds", json!(600));
            default(
                &mut object["spec"],
                "strategy",
                json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            );
        }
        "StatefulSet" => {
            default(&mut object["spec"], "replicas", json!(1));
            default(
                &mut object["spec"],
                "updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
            );
        }
        "DaemonSet" => default(
            &mut object["spec"],
            "updateStrategy",
            json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        ),
        "Service" => default(&mut object["spec"], "type", json!("ClusterIP")),
        "HTTPRoute" => route(object),
        "Secret" => secret(object),
        _ => {}
    }
    let ports = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in ports.into_iter().flatten() {
        container["ports"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .for_each(|port| default(port, "protocol", json!("TCP")));
        if container["ports"].is_null() {
            container.as_object_mut().map(|fields| fields.remove("ports"));
        }
    }
    if key.kind.kind == "Service" {
        for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
            default(port, "protocol", json!("TCP"));
            let number = port["port"].clone();
            default(port, "targetPort", number);
        }
    }
    Ok(())
}

/// The defaults of the custom resource's schema.
fn route(object: &mut Value) {
    default(&mut object["spec"], "rules", json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]));
    for rule in object["spec"]["rules"].as_array_mut().into_iter().flatten() {
        default(rule, "matches", json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
        for backend in rule.get_mut("backendRefs").and_then(Value::as_array_mut).into_iter().flatten() {
            default(backend, "group", json!(""));
            default(backend, "kind", json!("Service"));
            default(backend, "weight", json!(1));
        }
    }
}

/// The validation of the custom resource's schema, as far as weights go.
fn validate_route(key: &Key, object: &Value) -> Result<(), Refusal> {
    let rules = object["spec"]["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        for (number, backend) in rule["backendRefs"].as_array().into_iter().flatten().enumerate() {
            let place = format!("spec.rules[{at}].backendRefs[{number}]");
            if !backend["weight"].as_i64().is_some_and(|weight| (0..=1_000_000).contains(&weight)) {
                let why = format!("{place}.weight: Invalid value: should be between 0 and 1000000");
                return Err(Refusal::invalid(key.kind, &key.name, &why));
            }
            if backend["name"].as_str().is_none_or(str::is_empty) {
                return Err(Refusal::invalid(key.kind, &key.name, &format!("{place}.name: Required value")));
            }
        }
    }
    Ok(())
}

fn secret(object: &mut Value) {
    default(object, "type", json!("Opaque"));
    let Some(open) = object.as_object_mut().and_then(|object| object.remove("stringData")) else { return };
    for (name, value) in open.as_object().into_iter().flatten() {
        object["data"][name] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn default(value: &mut Value, name: &str, what: Value) {
    if !value.is_object() {
        *value = json!({});
    }
    if value[name].is_null() {
        value[name] = what;
    }
}

/// What of the specification of a StatefulSet stays as it was made.
fn frozen(spec: &Value) -> Value {
    let mut frozen = spec.clone();
    if let Some(fields) = frozen.as_object_mut() {
        for changing in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            fields.remove(changing);
        }
    }
    frozen
}

fn validate(key: &Key, old: Option<&Value>, object: &Value) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::invalid(key.kind, &key.name, why));
    if key.kind.kind == "Secret" && old.is_some_and(|old| old["type"] != object["type"]) {
        return invalid("type: Invalid value: field is immutable");
    }
    if key.kind.kind == "HTTPRoute" {
        return validate_route(key, object);
    }
    if !["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&key.kind.kind) {
        return Ok(());
    }
    let spec = &object["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    let wanted = spec["selector"]["matchLabels"].as_object();
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        return invalid("spec.selector: Required value");
    };
    if wanted.iter().any(|(name, value)| labels[name] != *value) {
        return invalid("spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`");
    }
    if key.kind.kind == "StatefulSet" && old.is_some_and(|old| frozen(&old["spec"]) != frozen(spec)) {
        return invalid(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
             forbidden",
        );
    }
    if old.is_some_and(|old| old["spec"]["selector"] != spec["selector"]) {
        return invalid("spec.selector: Invalid value: field is immutable");
    }
    let containers = spec["template"]["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        return invalid("spec.template.spec.containers: Required value");
    }
    for (at, container) in containers.iter().enumerate() {
        if container["image"].as_str().is_none_or(str::is_empty) {
            return invalid(&format!("spec.template.spec.containers[{at}].image: Required value"));
        }
    }
    Ok(())
}
