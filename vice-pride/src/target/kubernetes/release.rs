//! What is kept of a release, and the objects that are made of it. It holds the values of secrets; in the cluster it
//! lies in a Secret, packed.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vice_core::payload::ReleaseRef;
use vice_core::port::command::EnvValue;
use vice_core::port::target::Workload;
use vice_core::{Code, Context, Digest, Fault, Result};

use super::ledger::Running;
use super::manifests::{CONFIG_MARK, SECRET_MARK};
use super::names::Names;
use super::object::{ObjectId, RESTARTED, annotate, rank, rewrite};
use super::split::Split;

/// The most bytes that are unpacked.
const UNPACKED_MAX: u64 = 32 * 1024 * 1024;
/// The most characters that are packed: a Secret has at most 1 MiB.
const PACKED_MAX: usize = 1_000_000;

/// The objects of a version before configuration is put in, and the configuration.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Release {
    template: Vec<Value>,
    plain: BTreeMap<String, String>,
    secret: BTreeMap<String, String>,
    /// The digest of the configuration, which names the objects that hold it.
    config: Option<String>,
}

impl Release {
    /// These objects with the configuration of a workload.
    pub(super) fn new(template: Vec<Value>, workload: &Workload) -> Self {
        let (mut plain, mut secret) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in &workload.environment {
            let into = if matches!(value, EnvValue::Secret(_)) { &mut secret } else { &mut plain };
            into.insert(name.clone(), value.reveal().to_owned());
        }
        Self { template, plain, secret, config: workload.release.config.clone() }
    }

    /// The same objects with another configuration.
    pub(super) fn reconfigured(self, workload: &Workload) -> Self {
        Self::new(self.template, workload)
    }

    /// What the manifests said.
    pub(super) fn template(&self) -> &[Value] {
        &self.template
    }

    /// The objects as they are written, in order: those of one of two units where the traffic is split.
    pub(super) fn objects(&self, names: &Names, running: &Running, split: Option<&Split>) -> Vec<Value> {
        let configured = self.config.as_deref().unwrap_or_default();
        let suffix: String = Digest::of(configured.as_bytes()).short().chars().take(10).collect();
        let (config, secret) = (names.config(&suffix), names.secret(&suffix));
        let mut objects = self.template.clone();
        if let Some(split) = split {
            objects = split.objects(objects, &running.release);
        }
        let text = Value::Array(objects.clone()).to_string();
        for object in &mut objects {
            rewrite(object, &|text| {
                let marked = text.contains(CONFIG_MARK) || text.contains(SECRET_MARK);
                marked.then(|| text.replace(CONFIG_MARK, &config).replace(SECRET_MARK, &secret))
            });
            overlay(object, running);
        }
        if text.contains(CONFIG_MARK) {
            objects.push(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config}, "data": self.plain,
            }));
        }
        if text.contains(SECRET_MARK) {
            let data: BTreeMap<&String, String> =
                self.secret.iter().map(|(name, value)| (name, STANDARD.encode(value))).collect();
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "type": "Opaque", "data": data,
            }));
        }
        objects.sort_by_key(|object| rank(object["kind"].as_str().unwrap_or_default()));
        objects
    }

    /// Packed for the data of a Secret.
    pub(super) fn pack(&self, of: &ReleaseRef) -> Result<String> {
        let failed = || "The release can't be packed.".to_owned();
        let bytes = serde_json::to_vec(self).map_err(|_| Fault::internal(failed()))?;
        let mut packed = Vec::new();
        GzEncoder::new(bytes.as_slice(), Compression::best())
            .read_to_end(&mut packed)
            .context(Code::Internal, failed)?;
        let text = STANDARD.encode(packed);
        if text.len() > PACKED_MAX {
            let message = format!("The objects of version {} have {} bytes when packed.", of.version, text.len());
            return Err(Fault::new(Code::ManifestInvalid, message)
                .hint(format!("{PACKED_MAX} is the limit, because the cluster keeps them in one object.")));
        }
        Ok(text)
    }

    /// Unpacks what [`Self::pack`] made.
    pub(super) fn unpack(text: &str) -> Option<Self> {
        let packed = STANDARD.decode(text).ok()?;
        let mut bytes = Vec::new();
        GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// What is written differently while the unit is stopped, or since it was started again.
fn overlay(object: &mut Value, running: &Running) {
    let Some(id) = ObjectId::of(object).filter(ObjectId::is_workload) else { return };
    if running.stopped && id.kind != "DaemonSet" {
        object["spec"]["replicas"] = json!(0);
    }
    if let Some(op) = &running.restarted {
        annotate(object, "/spec/template", RESTARTED, op);
    }
}

#[cfg(test)]
mod tests {
    use vice_core::Secret;
    use vice_core::testkit::target_fixtures::workload;

    use super::*;

    fn running(workload: &Workload) -> Running {
        Running { release: workload.release.clone(), ..Running::default() }
    }

    #[test]
    fn configuration_becomes_objects_whose_names_change_with_it() {
        let mut workload = workload("1");
        workload.environment = [
            ("COLOUR".to_owned(), EnvValue::Plain("red".into())),
            ("TOKEN".to_owned(), EnvValue::Secret(Secret::new("s3cret"))),
        ]
        .into();
        workload.release.config = Some("one".into());
        let template = vec![json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"from": [CONFIG_MARK, SECRET_MARK]}})];
        let names = Names::for_tests();
        let release = Release::new(template, &workload);
        let objects = release.objects(&names, &running(&workload), None);
        assert_eq!(objects[0]["data"]["TOKEN"], STANDARD.encode("s3cret"));
        assert_eq!(objects[1]["data"], json!({"COLOUR": "red"}));
        assert_eq!(objects[2]["spec"]["from"], json!([objects[1]["metadata"]["name"], objects[0]["metadata"]["name"]]));
        workload.release.config = Some("two".into());
        let other = release.clone().reconfigured(&workload).objects(&names, &running(&workload), None);
        assert_ne!(objects[1]["metadata"]["name"], other[1]["metadata"]["name"]);
        let unpacked = Release::unpack(&release.pack(&workload.release).unwrap()).unwrap();
        assert_eq!(unpacked.objects(&names, &running(&workload), None), objects);
        assert!(Release::unpack("bm90IGd6aXA=").is_none());
    }

    #[test]
    fn a_stopped_unit_has_no_replicas() {
        let workload = workload("1");
        let object = |kind: &str| {
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a"},
            "spec": {"replicas": 3, "template": {}}})
        };
        let release = Release::new(vec![object("Deployment"), object("DaemonSet")], &workload);
        let stopped = Running { stopped: true, restarted: Some("op".into()), ..running(&workload) };
        let objects = release.objects(&Names::for_tests(), &stopped, None);
        assert_eq!((&objects[0]["spec"]["replicas"], &objects[1]["spec"]["replicas"]), (&json!(3), &json!(0)));
        assert_eq!(objects[1]["spec"]["template"]["metadata"]["annotations"][RESTARTED], "op");
    }
}
