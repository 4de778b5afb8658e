//! The controllers: Deployments make ReplicaSets, which make pods, as StatefulSets and DaemonSets do; pods become ready
//! or don't, by the name of their image. Each turn takes one small step of each, so that intermediate states can be
//! seen.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kinds::named;
use crate::store::{Key, Store, now, now_ms};

/// How long a good pod takes to become ready.
pub(crate) const READY_AFTER_MS: i64 = 60;
/// The nodes, for DaemonSets.
const NODES: &[&str] = &["node-1", "node-2"];

/// What the controllers remember between turns.
#[derive(Default)]
pub(crate) struct Memory {
    /// When a Deployment last got on, and how far it was.
    progress: BTreeMap<String, (i64, String)>,
    born: BTreeMap<String, i64>,
}

/// One turn of everything.
pub(crate) fn turn(store: &mut Store, memory: &mut Memory) {
    collect_orphans(store);
    for (key, object) in store.of(kind("Deployment"), "") {
        deployment(store, memory, &key, object);
    }
    for (key, object) in store.of(kind("ReplicaSet"), "") {
        replica_set(store, &key, object);
    }
    for (key, object) in store.of(kind("StatefulSet"), "") {
        stateful_set(store, &key, object);
    }
    for (key, object) in store.of(kind("DaemonSet"), "") {
        daemon_set(store, &key, object);
    }
    for (key, object) in store.of(kind("Pod"), "") {
        pod(store, memory, &key, object);
    }
}

fn kind(name: &str) -> crate::kinds::Kind {
    // The names are written in this file; a typo shows in the first test.
    named(name).unwrap_or(crate::kinds::KINDS[0])
}

fn hash(template: &Value) -> String {
    Sha256::digest(template.to_string().as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn owned(store: &Store, what: &str, owner: &Value) -> Vec<(Key, Value)> {
    let mut all = store.of(kind(what), owner["metadata"]["namespace"].as_str().unwrap_or_default());
    all.retain(|(_, object)| object["metadata"]["ownerReferences"][0]["uid"] == uid(owner));
    all
}

fn owner_of(object: &Value) -> Value {
    json!([{"apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
}

fn collect_orphans(store: &mut Store) {
    let uids: Vec<String> = store.objects.values().map(|object| uid(object).to_owned()).collect();
    let orphaned = |object: &Value| {
        let owner = object["metadata"]["ownerReferences"][0]["uid"].as_str();
        owner.is_some_and(|owner| !uids.iter().any(|uid| uid == owner))
    };
    let gone: Vec<Key> =
        store.objects.iter().filter(|(_, object)| orphaned(object)).map(|(key, _)| key.clone()).collect();
    gone.iter().for_each(|key| drop(store.remove(key)));
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A share such as `25%` of a number, rounded as Kubernetes does.
fn share(value: &Value, of: i64, up: bool) -> i64 {
    match value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok()) {
        Some(percent) => (of * percent + if up { 99 } else { 0 }) / 100,
        None => int(value),
    }
}

fn deployment(store: &mut Store, memory: &mut Memory, key: &Key, mut object: Value) {
    let sets = owned(store, "ReplicaSet", &object);
    let revision = |set: &Value| {
        let text = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        text.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
    };
    let latest = sets.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
    let name = format!("{}-{}", key.name, hash(&object["spec"]["template"]));
    let found = sets.iter().find(|(at, _)| at.name == name).map(|(_, set)| set.clone());
    let number = found.as_ref().map_or(latest + 1, |set| if revision(set) == latest { latest } else { latest + 1 });
    let mut new = found.unwrap_or_else(|| new_set(&object, &name));
    new["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!(number.to_string());
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!(number.to_string());
    let old: Vec<(Key, Value)> = sets.into_iter().filter(|(at, _)| at.name != name).collect();
    scale_sets(store, &object, &mut new, &old);
    let new_key = Key { kind: kind("ReplicaSet"), namespace: key.namespace.clone(), name };
    store.put(&new_key, new.clone());
    let status = status_of(memory, &object, &new, &old);
    object["status"] = status;
    store.put(key, object);
}

fn new_set(deployment: &Value, name: &str) -> Value {
    let hash = name.rsplit('-').next().unwrap_or_default();
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = json!(hash);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": deployment["metadata"]["namespace"], "labels": template["metadata"]["labels"],
            "generation": 1, "annotations": {}, "ownerReferences": owner_of(deployment)},
        "spec": {"replicas": 0, "selector": selector, "template": template}, "status": {"replicas": 0}})
}

/// A step of a rolling update: as many new pods as the surge lets, as few old ones as availability lets.
fn scale_sets(store: &mut Store, deployment: &Value, new: &mut Value, old: &[(Key, Value)]) {
    let wanted = int(&deployment["spec"]["replicas"]);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], wanted, true);
    let mut unavailable = share(&rolling["maxUnavailable"], wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let old_pods: i64 = old.iter().map(|(_, set)| int(&set["spec"]["replicas"])).sum();
    let own = int(&new["spec"]["replicas"]);
    let recreate = deployment["spec"]["strategy"]["type"] == "Recreate";
    let room = if recreate { if old_pods > 0 { own } else { wanted } } else { wanted + surge - old_pods };
    let next = if own > wanted { wanted } else { own.max(room.min(wanted)) };
    new["spec"]["replicas"] = json!(next.max(0));
    let available = |set: &Value| int(&set["status"]["availableReplicas"]);
    let all: i64 = old.iter().map(|(_, set)| available(set)).sum::<i64>() + available(new);
    let mut spare = if recreate { i64::MAX } else { all - (wanted - unavailable) };
    for (key, set) in old {
        let (pods, well) = (int(&set["spec"]["replicas"]), available(set));
        // What is not available anyway costs nothing.
        let costless = (pods - well).max(0);
        let take = pods.min(costless.saturating_add(spare.max(0)));
        spare = spare.saturating_sub((take - costless).max(0));
        let mut set = set.clone();
        set["spec"]["replicas"] = json!(pods - take);
        store.put(key, set);
    }
}

fn status_of(memory: &mut Memory, deployment: &Value, new: &Value, old: &[(Key, Value)]) -> Value {
    let count = |set: &Value, name: &str| int(&set["status"][name]);
    let sum = |name: &str| count(new, name) + old.iter().map(|(_, set)| count(set, name)).sum::<i64>();
    let (all, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
    let (updated, wanted) = (count(new, "replicas"), int(&deployment["spec"]["replicas"]));
    let done = updated == wanted && all == wanted && available == wanted;
    let at = format!(
        "{} {updated} {} {available} {}",
        new["metadata"]["name"],
        all - updated,
        deployment["metadata"]["generation"]
    );
    let entry = memory.progress.entry(uid(deployment).to_owned()).or_insert_with(|| (now_ms(), at.clone()));
    if entry.1 != at {
        *entry = (now_ms(), at);
    }
    let late = now_ms() - entry.0 > int(&deployment["spec"]["progressDeadlineSeconds"]) * 1_000;
    let (status, reason) = match (done, late) {
        (true, _) => ("True", "NewReplicaSetAvailable"),
        (false, true) => ("False", "ProgressDeadlineExceeded"),
        (false, false) => ("True", "ReplicaSetUpdated"),
    };
    let unavailable = share(&deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], wanted, false);
    let well = if available >= wanted - unavailable { "True" } else { "False" };
    let mut out = json!({"observedGeneration": deployment["metadata"]["generation"], "replicas": all,
        "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available,
        "conditions": [
            {"type": "Available", "status": well, "reason": if well == "True" { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" }},
            {"type": "Progressing", "status": status, "reason": reason}]});
    for failure in new["status"]["conditions"].as_array().into_iter().flatten() {
        if let Some(all) = out["conditions"].as_array_mut() {
            all.push(failure.clone());
        }
    }
    if wanted > available {
        out["unavailableReplicas"] = json!(wanted - available);
    }
    out
}

fn replica_set(store: &mut Store, key: &Key, mut set: Value) {
    let mut pods = owned(store, "Pod", &set);
    let wanted = usize::try_from(int(&set["spec"]["replicas"])).unwrap_or(0);
    // Those that are not ready go first.
    pods.sort_by_key(|(_, pod)| std::cmp::Reverse(is_ready(pod)));
    for (gone, _) in pods.iter().skip(wanted) {
        store.remove(gone);
    }
    pods.truncate(wanted);
    let mut refused = None;
    for _ in pods.len()..wanted {
        refused = over_quota(store, key);
        if refused.is_some() {
            break;
        }
        let name = format!("{}-{:05}", key.name, store.version % 100_000);
        new_pod(store, &set, &name, &set["spec"]["template"].clone());
    }
    let failed = refused.map(|why| {
        event(store, key, &set, "FailedCreate", &why);
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why}])
    });
    let there = owned(store, "Pod", &set).len();
    let ready = i64::try_from(pods.iter().filter(|(_, pod)| is_ready(pod)).count()).unwrap_or(0);
    set["status"] = json!({"observedGeneration": set["metadata"]["generation"], "replicas": there,
        "readyReplicas": ready, "availableReplicas": ready});
    if let Some(conditions) = failed {
        set["status"]["conditions"] = conditions;
    }
    store.put(key, set);
}

/// Why no further pod may be made in a namespace, if a quota says so.
fn over_quota(store: &Store, set: &Key) -> Option<String> {
    let pods = i64::try_from(store.of(kind("Pod"), &set.namespace).len()).unwrap_or(i64::MAX);
    let quotas = store.of(kind("ResourceQuota"), &set.namespace);
    quotas.iter().find_map(|(key, quota)| {
        let hard = quota["spec"]["hard"]["pods"].as_str()?.parse::<i64>().ok()?;
        (pods >= hard).then(|| {
            format!(
                "pods {:?} is forbidden: exceeded quota: {}, requested: pods=1, used: pods={pods}, limited: pods={hard}",
                format!("{}-new", set.name), key.name
            )
        })
    })
}

fn new_pod(store: &mut Store, owner: &Value, name: &str, template: &Value) {
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let key = Key { kind: kind("Pod"), namespace: namespace.clone(), name: name.to_owned() };
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(namespace);
    metadata["ownerReferences"] = owner_of(owner);
    store.put(
        &key,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
        "status": {"phase": "Pending"}}),
    );
}

/// What becomes of a pod, which the name of its first image says.
enum Fate {
    Ready,
    Waiting {
        reason: &'static str,
        message: String,
    },
    /// It runs, and its readiness probe fails.
    Unready,
    Unschedulable,
}

fn fate(image: &str) -> Fate {
    // A digest may spell anything.
    let image = image.split('@').next().unwrap_or(image);
    if image.contains("bad") {
        let message = format!("Back-off pulling image {image:?}: ErrImagePull: not found");
        return Fate::Waiting { reason: "ImagePullBackOff", message };
    }
    if image.contains("crash") {
        let message = "back-off 10s restarting failed container".to_owned();
        return Fate::Waiting { reason: "CrashLoopBackOff", message };
    }
    if image.contains("unready") {
        return Fate::Unready;
    }
    if image.contains("huge") { Fate::Unschedulable } else { Fate::Ready }
}

fn pod(store: &mut Store, memory: &mut Memory, key: &Key, mut pod: Value) {
    let born = *memory.born.entry(uid(&pod).to_owned()).or_insert_with(now_ms);
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
    let name = pod["spec"]["containers"][0]["name"].clone();
    let condition = |kind: &str, so: bool| json!({"type": kind, "status": if so { "True" } else { "False" }});
    match fate(&image) {
        Fate::Ready => {
            let ready = now_ms() - born >= READY_AFTER_MS;
            let state = if ready {
                json!({"running": {"startedAt": pod["metadata"]["creationTimestamp"]}})
            } else {
                json!({"waiting": {"reason": "ContainerCreating"}})
            };
            pod["status"] = json!({"phase": if ready { "Running" } else { "Pending" },
                "conditions": [condition("PodScheduled", true), condition("Ready", ready), condition("ContainersReady", ready)],
                "containerStatuses": [{"name": name, "image": image, "ready": ready, "restartCount": 0, "state": state}]});
        }
        Fate::Waiting { reason, message } => {
            let restarts = if reason == "CrashLoopBackOff" { 3 } else { 0 };
            pod["status"] = json!({"phase": "Pending",
                "conditions": [condition("PodScheduled", true), condition("Ready", false), condition("ContainersReady", false)],
                "containerStatuses": [{"name": name, "image": image, "ready": false, "restartCount": restarts,
                    "state": {"waiting": {"reason": reason, "message": message}}}]});
            event(store, key, &pod, reason, &message);
        }
        Fate::Unready => {
            pod["status"] = json!({"phase": "Running",
                "conditions": [condition("PodScheduled", true), condition("Ready", false),
                    json!({"type": "ContainersReady", "status": "False", "reason": "ContainersNotReady",
                        "message": format!("containers with unready status: [{}]", name.as_str().unwrap_or_default())})],
                "containerStatuses": [{"name": name, "image": image, "ready": false, "restartCount": 0,
                    "state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}}]});
            event(store, key, &pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503");
        }
        Fate::Unschedulable => {
            let message = "0/2 nodes are available: 2 Insufficient memory.";
            pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": message}]});
            event(store, key, &pod, "FailedScheduling", message);
        }
    }
    store.put(key, pod);
}

fn event(store: &mut Store, key: &Key, pod: &Value, reason: &str, message: &str) {
    let name = format!("{}.{}", key.name, reason.to_lowercase());
    let at = Key { kind: kind("Event"), namespace: key.namespace.clone(), name: name.clone() };
    if store.objects.contains_key(&at) {
        return;
    }
    store.put(
        &at,
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": key.namespace},
        "involvedObject": {"kind": pod["kind"], "name": key.name, "namespace": key.namespace, "uid": uid(pod)},
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": now(), "count": 1}),
    );
}

fn template_of(set: &Value) -> (Value, String) {
    let revision = hash(&set["spec"]["template"]);
    let mut template = set["spec"]["template"].clone();
    template["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
    (template, revision)
}

fn is_of(pod: &Value, revision: &str) -> bool {
    pod["metadata"]["labels"]["controller-revision-hash"] == revision
}

fn stateful_set(store: &mut Store, key: &Key, mut set: Value) {
    let (template, revision) = template_of(&set);
    let wanted = int(&set["spec"]["replicas"]);
    let partition = int(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]);
    let pods: BTreeMap<i64, (Key, Value)> = owned(store, "Pod", &set)
        .into_iter()
        .filter_map(|(key, pod)| Some((key.name.rsplit('-').next()?.parse().ok()?, (key, pod))))
        .collect();
    for (_, (gone, _)) in pods.iter().filter(|(number, _)| **number >= wanted) {
        store.remove(gone);
    }
    let pods: BTreeMap<i64, (Key, Value)> = pods.into_iter().filter(|(number, _)| *number < wanted).collect();
    let broken = pods.iter().find(|(_, (_, pod))| !is_ready(pod));
    let absent = (0..wanted).find(|number| !pods.contains_key(number));
    // One pod after the other, and the next only when all are well.
    if let Some(number) = absent.filter(|_| broken.is_none()) {
        match over_quota(store, key) {
            Some(why) => event(store, key, &set, "FailedCreate", &why),
            None => new_pod(store, &set, &format!("{}-{number}", key.name), &template),
        }
    } else if let Some((_, (gone, _))) = broken.filter(|(_, (_, pod))| !is_of(pod, &revision)) {
        store.remove(gone);
    } else if absent.is_none() && broken.is_none() {
        let old = pods.iter().rev().find(|(number, (_, pod))| **number >= partition && !is_of(pod, &revision));
        if let Some((_, (gone, _))) = old {
            store.remove(gone);
        }
    }
    let updated = pods.values().filter(|(_, pod)| is_of(pod, &revision)).count();
    let ready = pods.values().filter(|(_, pod)| is_ready(pod)).count();
    let whole = i64::try_from(updated.min(ready)).unwrap_or(0) == wanted;
    let current = if whole || set["status"]["currentRevision"].is_null() {
        json!(revision)
    } else {
        set["status"]["currentRevision"].clone()
    };
    set["status"] = json!({"observedGeneration": set["metadata"]["generation"], "replicas": pods.len(), "readyReplicas": ready,
        "availableReplicas": ready, "updatedReplicas": updated, "currentRevision": current, "updateRevision": revision});
    store.put(key, set);
}

fn daemon_set(store: &mut Store, key: &Key, mut set: Value) {
    let (template, revision) = template_of(&set);
    let pods = owned(store, "Pod", &set);
    let broken = pods.iter().find(|(_, pod)| !is_ready(pod));
    for node in NODES {
        if !pods.iter().any(|(_, pod)| pod["spec"]["nodeName"] == *node) {
            let mut template = template.clone();
            template["spec"]["nodeName"] = json!(node);
            new_pod(store, &set, &format!("{}-{node}-{:05}", key.name, store.version % 100_000), &template);
        }
    }
    let old = pods.iter().find(|(_, pod)| !is_of(pod, &revision));
    match (broken, old) {
        (Some((gone, pod)), _) if !is_of(pod, &revision) => drop(store.remove(gone)),
        (None, Some((gone, _))) => drop(store.remove(gone)),
        _ => {}
    }
    let updated = pods.iter().filter(|(_, pod)| is_of(pod, &revision)).count();
    let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
    set["status"] = json!({"observedGeneration": set["metadata"]["generation"], "desiredNumberScheduled": NODES.len(),
        "currentNumberScheduled": pods.len(), "updatedNumberScheduled": updated, "numberReady": ready,
        "numberAvailable": ready, "numberMisscheduled": 0});
    store.put(key, set);
}
