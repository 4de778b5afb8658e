//! Whether a workload has rolled out, by the rules of `kubectl rollout status`. Pure: it looks at one object.

use serde_json::Value;

/// How far a workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rollout {
    /// It runs as it is written.
    Done,
    /// It is on its way; the text says what is missing.
    Going(String),
    /// It gave up; the text says why.
    Failed(String),
}

/// How far a Deployment, StatefulSet or DaemonSet is; every other object is done as soon as it is there.
pub(super) fn of(object: &Value) -> Rollout {
    let workload = Workload { spec: &object["spec"], status: &object["status"] };
    // The status of an earlier specification says nothing about this one.
    let observed = workload.status["observedGeneration"].as_i64().unwrap_or(0);
    let is_seen = object["metadata"]["generation"].as_i64().unwrap_or(0) <= observed;
    let kind = object["kind"].as_str().unwrap_or_default();
    match kind {
        _ if !object["metadata"]["deletionTimestamp"].is_null() => {
            Rollout::Failed("somebody has deleted it, and it is on its way out".to_owned())
        }
        "Deployment" | "StatefulSet" | "DaemonSet" if !is_seen || observed == 0 => {
            Rollout::Going("the cluster has not looked at it yet".to_owned())
        }
        "Deployment" => workload.deployment(),
        "StatefulSet" => workload.stateful_set(),
        "DaemonSet" => workload.daemon_set(),
        _ => Rollout::Done,
    }
}

struct Workload<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl Workload<'_> {
    fn count(&self, name: &str) -> i64 {
        self.status[name].as_i64().unwrap_or(0)
    }

    fn replicas(&self) -> i64 {
        self.spec["replicas"].as_i64().unwrap_or(1)
    }

    fn deployment(&self) -> Rollout {
        let conditions = self.status["conditions"].as_array();
        let progressing = conditions.into_iter().flatten().find(|condition| condition["type"] == "Progressing");
        if progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
            return Rollout::Failed("it exceeded its progress deadline".to_owned());
        }
        let (wanted, updated) = (self.replicas(), self.count("updatedReplicas"));
        if updated < wanted && self.spec["paused"] == true {
            return Rollout::Failed("it is paused, so nothing rolls it out (`kubectl rollout resume`)".to_owned());
        }
        if updated < wanted {
            return Rollout::Going(format!("{updated} of {wanted} new replicas have been updated"));
        }
        let all = self.count("replicas");
        if all > updated {
            return Rollout::Going(format!("{} old replicas are pending termination", all - updated));
        }
        let available = self.count("availableReplicas");
        if available < updated {
            return Rollout::Going(format!("{available} of {updated} updated replicas are available"));
        }
        Rollout::Done
    }

    fn stateful_set(&self) -> Rollout {
        let strategy = self.spec["updateStrategy"]["type"].as_str().unwrap_or("RollingUpdate");
        if strategy != "RollingUpdate" {
            return Rollout::Failed(format!("its update strategy is {strategy}, so nothing rolls it out"));
        }
        let (wanted, updated, ready) = (self.replicas(), self.count("updatedReplicas"), self.count("readyReplicas"));
        if ready < wanted {
            return Rollout::Going(format!("{ready} of {wanted} pods are ready"));
        }
        if let Some(partition) = self.spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64().filter(|at| *at > 0)
        {
            let due = wanted - partition;
            return if updated < due {
                Rollout::Going(format!("{updated} of {due} new pods have been updated"))
            } else {
                Rollout::Done
            };
        }
        if self.status["updateRevision"] != self.status["currentRevision"] {
            return Rollout::Going(format!("{updated} of {wanted} pods are of the new revision"));
        }
        Rollout::Done
    }

    fn daemon_set(&self) -> Rollout {
        let strategy = self.spec["updateStrategy"]["type"].as_str().unwrap_or("RollingUpdate");
        if strategy != "RollingUpdate" {
            return Rollout::Failed(format!("its update strategy is {strategy}, so nothing rolls it out"));
        }
        let wanted = self.count("desiredNumberScheduled");
        let updated = self.count("updatedNumberScheduled");
        if updated < wanted {
            return Rollout::Going(format!("{updated} of {wanted} nodes have been updated"));
        }
        let available = self.count("numberAvailable");
        if available < wanted {
            return Rollout::Going(format!("{available} of {wanted} updated pods are available"));
        }
        Rollout::Done
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(kind: &str, spec: Value, status: Value) -> Rollout {
        let mut object = json!({"kind": kind, "metadata": {"generation": 3}});
        (object["spec"], object["status"]) = (spec, status);
        if object["status"]["observedGeneration"].is_null() {
            object["status"]["observedGeneration"] = json!(3);
        }
        of(&object)
    }

    fn going(rollout: &Rollout, said: &str) -> bool {
        matches!(rollout, Rollout::Going(text) if text.contains(said))
    }

    #[test]
    fn a_deployment_is_done_when_only_the_new_pods_are_left_and_available() {
        let at = |updated: i64, all: i64, available: i64| {
            let status = json!({"updatedReplicas": updated, "replicas": all, "availableReplicas": available});
            workload("Deployment", json!({"replicas": 3}), status)
        };
        assert!(going(&at(1, 3, 3), "1 of 3 new"));
        assert!(going(&at(3, 4, 4), "1 old"));
        assert!(going(&at(3, 3, 2), "2 of 3 updated"));
        assert_eq!(at(3, 3, 3), Rollout::Done);
        let unseen = json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3});
        assert!(going(&workload("Deployment", json!({"replicas": 3}), unseen), "not looked"));
        let late = json!({"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]});
        assert!(matches!(workload("Deployment", json!({}), late), Rollout::Failed(_)));
        assert_eq!(workload("Deployment", json!({"replicas": 0}), json!({})), Rollout::Done);
        let paused = |updated: i64| {
            let status = json!({"updatedReplicas": updated, "replicas": 3, "availableReplicas": 3});
            workload("Deployment", json!({"replicas": 3, "paused": true}), status)
        };
        assert!(matches!(paused(1), Rollout::Failed(why) if why.contains("rollout resume")));
        assert_eq!(paused(3), Rollout::Done);
    }

    #[test]
    fn what_is_being_deleted_is_not_rolled_out_however_well_it_is() {
        let mut dying = json!({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 0},
            "status": {"observedGeneration": 1}});
        assert_eq!(of(&dying), Rollout::Done);
        dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(matches!(of(&dying), Rollout::Failed(why) if why.contains("deleted")));
    }

    #[test]
    fn a_stateful_set_is_done_by_revision_or_by_partition() {
        let at = |partition: i64, updated: i64, ready: i64, current: &str| {
            let spec = json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}});
            let status = json!({"updatedReplicas": updated, "readyReplicas": ready, "currentRevision": current,
                "updateRevision": "b"});
            workload("StatefulSet", spec, status)
        };
        assert!(going(&at(0, 3, 2, "b"), "2 of 3 pods are ready"));
        assert!(going(&at(0, 1, 3, "a"), "1 of 3 pods are of the new"));
        assert_eq!(at(0, 3, 3, "b"), Rollout::Done);
        assert!(going(&at(2, 0, 3, "a"), "0 of 1"));
        assert_eq!(at(2, 1, 3, "a"), Rollout::Done);
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        assert!(matches!(workload("StatefulSet", on_delete, json!({})), Rollout::Failed(_)));
    }

    #[test]
    fn a_daemon_set_is_done_on_every_node() {
        let at = |updated: i64, available: i64| {
            let status = json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": updated,
                "numberAvailable": available});
            workload("DaemonSet", json!({}), status)
        };
        assert!(going(&at(1, 2), "1 of 2 nodes"));
        assert!(going(&at(2, 1), "1 of 2 updated"));
        assert_eq!(at(2, 2), Rollout::Done);
        assert_eq!(of(&json!({"kind": "ConfigMap"})), Rollout::Done);
    }
}
