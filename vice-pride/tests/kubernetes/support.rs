//! A fake cluster, a folder with manifests and a kubeconfig, and targets that deploy the one to the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use vice_core::Millis;
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::manifest::TargetSpec;
use vice_core::port::target::{Change, Op, Target, UnitState, Workload};
use vice_core::testkit::target_fixtures::workload;
use vice_core::time::SystemClock;
use vice_kube_fake::Fake;
use vice_pride::target::kubernetes::{KubernetesOptions, KubernetesTarget};

/// A Deployment whose image is that of the version; versions with `bad` in their name never become ready.
pub(crate) const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  progressDeadlineSeconds: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: shop:{{version}}
";

pub(crate) struct Ground {
    pub(crate) fake: Fake,
    pub(crate) dir: TempDir,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self::with(Fake::start().await.unwrap())
    }

    pub(crate) fn with(fake: Fake) -> Self {
        // A second one is already there in another test of this process.
        drop(rustls::crypto::ring::default_provider().install_default());
        let ground = Self { fake, dir: tempfile::tempdir().unwrap() };
        ground.write("kubeconfig", &ground.fake.kubeconfig());
        ground.write("k8s/web.yaml", WEB);
        ground
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A new client, as every command makes one.
    pub(crate) fn target(&self) -> Arc<KubernetesTarget> {
        self.target_of(&TargetSpec::default())
    }

    pub(crate) fn target_of(&self, spec: &TargetSpec) -> Arc<KubernetesTarget> {
        target_at(self.dir.path(), "dev", spec)
    }

    /// The object of that name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        self.fake.get(kind, name).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    pub(crate) fn image(&self) -> String {
        image_of(&self.fake)
    }

    pub(crate) async fn unit(&self) -> Option<UnitState> {
        self.target().inventory().await.unwrap().units.pop()
    }

    pub(crate) async fn place(&self, version: &str) -> Op {
        let op = place(&format!("place-{version}"), 1, version, None);
        self.target().apply(&op, Some(&workload(version))).await.unwrap();
        op
    }
}

pub(crate) fn target_at(root: &Path, env: &str, spec: &TargetSpec) -> Arc<KubernetesTarget> {
    Arc::new(KubernetesTarget::new(options_at(root, env, spec)))
}

pub(crate) fn options_at(root: &Path, env: &str, spec: &TargetSpec) -> KubernetesOptions {
    let spec = TargetSpec {
        kind: "kubernetes".to_owned(),
        kubeconfig: Some(spec.kubeconfig.clone().unwrap_or_else(|| "kubeconfig".to_owned())),
        manifests: Some(spec.manifests.clone().unwrap_or_else(|| "k8s".to_owned())),
        timeout: Some(spec.timeout.unwrap_or(Millis(20_000))),
        ..spec.clone()
    };
    KubernetesOptions {
        scope: Scope::new(ProjectName::new("shop").unwrap(), EnvName::new(env).unwrap()),
        part: None,
        spec,
        root: root.to_path_buf(),
        url: None,
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv { vars: BTreeMap::new(), ..ProcessEnv::default() }),
        runner: None,
        registries: None,
    }
}

pub(crate) fn image_of(fake: &Fake) -> String {
    let web = fake.get("Deployment", "web").expect("there is a Deployment web");
    web["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

pub(crate) fn place(id: &str, epoch: u64, version: &str, before: Option<&Workload>) -> Op {
    Op {
        id: id.to_owned(),
        epoch,
        unit: "1".to_owned(),
        change: Change::Place(workload(version).release),
        before: before.map(|before| before.release.clone()),
    }
}
