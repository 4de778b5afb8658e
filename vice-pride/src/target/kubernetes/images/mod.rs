//! Images by digest: which images the manifests name by a tag, and the same objects with each of them by the digest that
//! its tag had when the release was planned. What a tag is worth is asked of a registry in `registries`; this module is
//! pure.

mod challenge;
mod login;
mod name;
mod registries;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vice_core::{Code, Fault, Result};

use name::ImageName;

pub use registries::{HttpMaker, Registries};

/// Where the pods of a kind are specified, by API version and kind.
const PODS: &[(&str, &str, &str)] = &[
    ("v1", "Pod", "/spec"),
    ("v1", "ReplicationController", "/spec/template/spec"),
    ("apps/v1", "Deployment", "/spec/template/spec"),
    ("apps/v1", "StatefulSet", "/spec/template/spec"),
    ("apps/v1", "DaemonSet", "/spec/template/spec"),
    ("apps/v1", "ReplicaSet", "/spec/template/spec"),
    ("batch/v1", "Job", "/spec/template/spec"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// The images that are named by a tag and come from a registry.
///
/// # Errors
/// `ManifestInvalid` for what can't be the name of an image.
pub(super) fn named(objects: &[Value]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for object in objects {
        for image in places(object).iter().filter_map(|place| object.pointer(place)).filter_map(Value::as_str) {
            let kind = object["kind"].as_str().unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let read = ImageName::parse(image).ok_or_else(|| unreadable(image).about(format_args!("{kind} {name}")))?;
            if read.digest.is_none() {
                names.insert(image.to_owned());
            }
        }
    }
    Ok(names)
}

/// The objects with every image that has a known digest named by it. The tag stays, for whoever looks.
pub(super) fn pinned(mut objects: Vec<Value>, digests: &BTreeMap<String, String>) -> Vec<Value> {
    for object in &mut objects {
        for place in places(object) {
            let Some(image) = object.pointer_mut(&place) else { continue };
            if let Some((name, digest)) = image.as_str().and_then(|name| Some((name, digests.get(name)?))) {
                *image = Value::String(format!("{name}@{digest}"));
            }
        }
    }
    objects
}

/// Where an object names images that are pulled.
fn places(object: &Value) -> Vec<String> {
    let fits = |(version, kind, _): &&(&str, &str, &str)| object["apiVersion"] == **version && object["kind"] == **kind;
    let Some((_, _, root)) = PODS.iter().find(fits) else { return Vec::new() };
    let mut places = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = object.pointer(&format!("{root}/{list}")).and_then(Value::as_array);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            // What is never pulled is on the nodes already, and in no registry.
            if container["image"].is_string() && container["imagePullPolicy"] != "Never" {
                places.push(format!("{root}/{list}/{index}/image"));
            }
        }
    }
    let volumes = object.pointer(&format!("{root}/volumes")).and_then(Value::as_array);
    for (index, volume) in volumes.into_iter().flatten().enumerate() {
        let image = &volume["image"];
        if image["reference"].is_string() && image["pullPolicy"] != "Never" {
            places.push(format!("{root}/volumes/{index}/image/reference"));
        }
    }
    places
}

fn unreadable(image: &str) -> Fault {
    let shown: String = image.chars().take(120).collect();
    Fault::new(Code::ManifestInvalid, format!("{shown:?} can't be the name of an image."))
        .hint("A name is such as registry.example/team/shop:1.4.2, in lower case but for the tag.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn every_image_that_is_pulled_by_a_tag_is_found_and_pinned() {
        let objects = vec![
            deployment(&json!({
                "initContainers": [{"image": "setup"}],
                "containers": [{"image": "shop:1"}, {"image": "local:1", "imagePullPolicy": "Never"},
                    {"image": format!("sure:1@sha256:{}", "a".repeat(64))}, {"name": "without"}],
                "volumes": [{"image": {"reference": "models:2"}}, {"emptyDir": {}}],
            })),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"},
                "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "job:1"}]}}}}}}),
            json!({"apiVersion": "example.com/v1", "kind": "Deployment", "metadata": {"name": "other"},
                "spec": {"template": {"spec": {"containers": [{"image": "foreign:1"}]}}}}),
        ];
        let names = named(&objects).unwrap();
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["job:1", "models:2", "setup", "shop:1"]);
        let digests = names.into_iter().map(|name| (name, "sha256:d".to_owned())).collect();
        let pinned = pinned(objects.clone(), &digests);
        let spec = &pinned[0]["spec"]["template"]["spec"];
        assert_eq!(spec["initContainers"][0]["image"], "setup@sha256:d");
        assert_eq!(spec["containers"][0]["image"], "shop:1@sha256:d");
        assert_eq!(spec["containers"][1], objects[0]["spec"]["template"]["spec"]["containers"][1]);
        assert_eq!(spec["volumes"][0]["image"]["reference"], "models:2@sha256:d");
        assert_eq!(pinned[2], objects[2], "what another API means by an image is its own matter");
    }

    #[test]
    fn what_can_t_be_an_image_is_refused_with_its_object() {
        for image in ["", "--help", "shop:$(id)", "Shop:1", "shop:1\n", "http://shop", "a//b", "shop@sha256:x"] {
            let fault = named(&[deployment(&json!({"containers": [{"image": image}]}))]).unwrap_err();
            assert_eq!(fault.code(), Code::ManifestInvalid);
            assert!(fault.to_string().starts_with("Deployment web: ") && !fault.hints().is_empty(), "{fault:?}");
        }
    }
}
