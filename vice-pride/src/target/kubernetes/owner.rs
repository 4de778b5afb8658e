//! Who else has a say in an object: what another project, Argo CD or Flux looks after is refused, and conflicts of
//! fields are told by the name of their owner. Pure.

use kube::core::Status;
use serde_json::Value;
use vice_core::{Code, Fault, Result};

use super::object::{OWNER, ObjectId, annotation};

/// Refuses an object of the cluster that somebody else would change back.
pub(super) fn check(id: &ObjectId, live: &Value, owner: &str) -> Result<()> {
    if let Some((who, hint)) = keeper(live) {
        let message = format!("{id} is looked after by {who}, which would change it back.");
        return Err(Fault::new(Code::Conflict, message).hint(hint));
    }
    match annotation(live, OWNER) {
        Some(other) if other != owner => {
            Err(Fault::new(Code::Conflict, format!("{id} belongs to {other}, which vice deploys too."))
                .hint("Give it another name or namespace in one of the two."))
        }
        _ => Ok(()),
    }
}

const ARGO: &str = "Change it in the repository that Argo CD follows, or take the object out of the application.";
const FLUX: &str = "Change it in the repository that Flux follows, or take the object out of what it reconciles.";

fn keeper(live: &Value) -> Option<(&'static str, &'static str)> {
    let metadata = &live["metadata"];
    let labelled = |name: &str| !metadata["labels"][name].is_null();
    let manages = |names: &[&str]| {
        let entries = metadata["managedFields"].as_array().into_iter().flatten();
        entries.filter_map(|entry| entry["manager"].as_str()).any(|manager| names.contains(&manager))
    };
    if labelled("argocd.argoproj.io/instance")
        || annotation(live, "argocd.argoproj.io/tracking-id").is_some()
        || manages(&["argocd-controller", "argocd-application-controller"])
    {
        return Some(("Argo CD", ARGO));
    }
    let flux = labelled("kustomize.toolkit.fluxcd.io/name")
        || labelled("helm.toolkit.fluxcd.io/name")
        || manages(&["kustomize-controller", "helm-controller"]);
    flux.then_some(("Flux", FLUX))
}

/// The conflict of an apply with the owners of fields; none when the object has merely changed meanwhile.
pub(super) fn conflict(id: &ObjectId, status: &Status) -> Option<Fault> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let fields: Vec<String> = causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .take(10)
        .map(|cause| format!("{} ({})", cause.field, cause.message))
        .collect();
    if fields.is_empty() {
        return None;
    }
    let message = format!("Fields of {id} belong to somebody else: {}.", fields.join(", "));
    Some(
        Fault::new(Code::Conflict, message)
            .hint("Leave the fields out of the manifests, or take them over once with `force = true` in the target."),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_look_after_is_refused_by_name() {
        let id = ObjectId { api_version: "v1".into(), kind: "Service".into(), namespace: None, name: "web".into() };
        for (metadata, said) in [
            (json!({"labels": {"argocd.argoproj.io/instance": "a"}}), "Argo CD"),
            (json!({"annotations": {"argocd.argoproj.io/tracking-id": "a"}}), "Argo CD"),
            (json!({"managedFields": [{"manager": "argocd-controller"}]}), "Argo CD"),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "a"}}), "Flux"),
            (json!({"managedFields": [{"manager": "helm-controller"}]}), "Flux"),
            (json!({"annotations": {OWNER: "other/prod"}}), "other/prod"),
        ] {
            let fault = check(&id, &json!({"metadata": metadata}), "shop/prod").unwrap_err();
            assert!(fault.to_string().contains(said) && fault.code() == Code::Conflict, "{fault}");
        }
        let ours =
            json!({"metadata": {"annotations": {OWNER: "shop/prod"}, "managedFields": [{"manager": "kubectl"}]}});
        check(&id, &ours, "shop/prod").unwrap();
    }
}
