//! Why a workload does not become ready: what its pods wait for, their last events and the last lines they printed. It
//! reads; it decides nothing.

use serde_json::Value;
use vice_core::{Code, Fault};

use super::cluster::{Cluster, printable};
use super::object::ObjectId;
use super::split::TRACK;

/// How many pods are looked at.
const PODS_MAX: usize = 5;
/// How many lines of the log are quoted, and how many events.
const LINES: usize = 5;
const EVENTS: usize = 3;
/// How long a quoted text may be, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// The fault of a workload that does not become ready.
pub(super) async fn explain(cluster: &Cluster, id: &ObjectId, live: &Value, missing: &str) -> Fault {
    // Whatever can't be read is left out: the fault itself is what matters.
    let pods = pods(cluster, id, live).await;
    let Some((pod, trouble)) = pods.iter().find_map(|pod| trouble(pod).map(|trouble| (pod, trouble))) else {
        let said = events(cluster, id, live).await;
        return without_pods(id, live, missing, &said);
    };
    let name = pod["metadata"]["name"].as_str().unwrap_or("?");
    let mut said = vec![format!("{missing}.")];
    if !trouble.message.is_empty() {
        said.push(short(&trouble.message));
    }
    said.extend(events_of(cluster, pod).await);
    if let Some(container) = &trouble.container {
        said.extend(last_lines(cluster, pod, container, trouble.crashed).await);
    }
    let message = format!("{id} did not become ready: {} in pod {name}.", trouble.reason);
    Fault::new(Code::Unhealthy, message).because(said.join("\n")).detail("reason", trouble.reason)
}

/// No pod has anything to say: what the controller says of those that it could not make, such as for a quota.
/// Only Deployments and ReplicaSets have a condition for that; the others say it in events.
fn without_pods(id: &ObjectId, live: &Value, missing: &str, events: &[String]) -> Fault {
    let conditions = live["status"]["conditions"].as_array().into_iter().flatten();
    let failure = conditions.into_iter().find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True");
    let Some(failure) = failure else {
        let fault = Fault::new(Code::Unhealthy, format!("{id} did not become ready: {missing}."));
        return if events.is_empty() { fault } else { fault.because(events.join("\n")) };
    };
    let reason = failure["reason"].as_str().unwrap_or("ReplicaFailure");
    let said = short(failure["message"].as_str().unwrap_or_default());
    Fault::new(Code::Unhealthy, format!("{id} did not become ready: {reason}.")).because(said).detail("reason", reason)
}

struct Trouble {
    reason: String,
    message: String,
    container: Option<String>,
    crashed: bool,
}

/// What is wrong with a pod, if something is.
fn trouble(pod: &Value) -> Option<Trouble> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &pod["status"];
    let all = ["initContainerStatuses", "containerStatuses"];
    for container in all.iter().flat_map(|name| status[*name].as_array().into_iter().flatten()) {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or("ContainerCreating");
        if reason != "ContainerCreating" && reason != "PodInitializing" {
            return Some(Trouble {
                reason: reason.to_owned(),
                message: text(&waiting["message"]),
                container: Some(text(&container["name"])),
                crashed: reason == "CrashLoopBackOff",
            });
        }
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let is_false =
        |kind: &'static str| move |condition: &&Value| condition["type"] == kind && condition["status"] == "False";
    let unscheduled = conditions.clone().find(is_false("PodScheduled"));
    if let Some(condition) = unscheduled {
        let reason = condition["reason"].as_str().unwrap_or("Unschedulable").to_owned();
        return Some(Trouble { reason, message: text(&condition["message"]), container: None, crashed: false });
    }
    let unready = conditions.clone().find(is_false("ContainersReady"))?;
    let container = pod["spec"]["containers"][0]["name"].as_str().map(str::to_owned);
    Some(Trouble { reason: "NotReady".to_owned(), message: text(&unready["message"]), container, crashed: false })
}

/// The pods of a workload, the latest first.
pub(super) async fn pods(cluster: &Cluster, id: &ObjectId, live: &Value) -> Vec<Value> {
    let labels = live["spec"]["selector"]["matchLabels"].as_object();
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| value.as_str().map(|value| format!("{}%3D{}", escaped(name), escaped(value))))
        .collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    let namespace = id.namespace.as_deref().unwrap_or(&cluster.namespace);
    let path = format!("/api/v1/namespaces/{namespace}/pods?limit=500&labelSelector={}", pairs.join("%2C"));
    let mut pods = cluster.list(&path).await.unwrap_or_default();
    let created = |pod: &Value| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    pods.sort_by_key(|pod| std::cmp::Reverse(created(pod)));
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    // The pods of a copy that shares the Service have the labels of those that it is a copy of, and one more.
    let is_copy = labels.is_some_and(|labels| labels.contains_key(TRACK));
    pods.retain(|pod| is_copy || pod["metadata"]["labels"][TRACK].is_null());
    // A pod that is well tells nothing, however new it is.
    pods.sort_by_key(|pod| trouble(pod).is_none());
    pods.truncate(PODS_MAX);
    pods
}

/// Every pod of a workload, for its logs.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn events_of(cluster: &Cluster, pod: &Value) -> Vec<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&cluster.namespace);
    events_about(cluster, namespace, name, "Pod").await
}

/// What is said of the workload itself.
async fn events(cluster: &Cluster, id: &ObjectId, live: &Value) -> Vec<String> {
    let namespace = live["metadata"]["namespace"].as_str().unwrap_or(&cluster.namespace);
    events_about(cluster, namespace, &id.name, &id.kind).await
}

/// The last warnings about what has that name.
async fn events_about(cluster: &Cluster, namespace: &str, name: &str, kind: &str) -> Vec<String> {
    let path = format!(
        "/api/v1/namespaces/{namespace}/events?limit=100&fieldSelector=involvedObject.name%3D{}",
        escaped(name)
    );
    let mut events = cluster.list(&path).await.unwrap_or_default();
    events.retain(|event| event["type"] == "Warning" && event["involvedObject"]["kind"] == kind);
    let last = |event: &Value| event["lastTimestamp"].as_str().unwrap_or_default().to_owned();
    events.sort_by_key(last);
    let shown = events.iter().rev().take(EVENTS);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    shown.map(|event| short(&format!("event {}: {}", text(&event["reason"]), text(&event["message"])))).collect()
}

async fn last_lines(cluster: &Cluster, pod: &Value, container: &str, crashed: bool) -> Vec<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&cluster.namespace);
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{name}/log?tailLines={LINES}&limitBytes=8192&container={}&previous={crashed}",
        escaped(container)
    );
    let text = cluster.text(&path).await.unwrap_or_default();
    text.lines().map(|line| short(&format!("log: {line}"))).collect()
}

fn short(text: &str) -> String {
    printable(text).chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_reason_is_that_of_the_container_or_of_the_scheduler() {
        let reason = |status: Value| trouble(&json!({"status": status})).map(|trouble| trouble.reason);
        let waiting =
            |reason: &str| json!({"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": reason}}}]});
        assert_eq!(reason(waiting("ImagePullBackOff")).as_deref(), Some("ImagePullBackOff"));
        assert_eq!(reason(waiting("ContainerCreating")), None);
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
        assert_eq!(reason(unscheduled).as_deref(), Some("Unschedulable"));
        let unready = json!({"conditions": [{"type": "ContainersReady", "status": "False"}]});
        assert_eq!(reason(unready).as_deref(), Some("NotReady"));
        assert_eq!(reason(json!({"conditions": [{"type": "ContainersReady", "status": "True"}]})), None);
    }
}
