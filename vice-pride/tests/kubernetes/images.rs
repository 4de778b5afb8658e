//! Images by digest: what the tag of an image is worth is asked of a registry when a release is planned, and never again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use vice_core::app::ProcessEnv;
use vice_core::manifest::TargetSpec;
use vice_core::payload::recipe::Recipe;
use vice_core::port::target::{Target, Workload};
use vice_core::testkit::target_fixtures::workload;
use vice_core::{Code, Fault, Result};
use vice_kube_fake::{Door, Registry};
use vice_pride::target::kubernetes::{KubernetesTarget, Registries};

use crate::bad_input::hostile;
use crate::support::{Ground, WEB, options_at, place};

fn client() -> Result<reqwest::Client> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = vice_pride::artifact::configure(reqwest::Client::builder().no_proxy()).build();
    client.map_err(|_| Fault::internal("There is no client."))
}

struct Yard {
    ground: Ground,
    registry: Registry,
}

impl Yard {
    /// A cluster, and a registry with `shop:1` and `shop:2`.
    async fn new() -> Self {
        let yard = Self { ground: Ground::new().await, registry: Registry::start().await.unwrap() };
        let image = format!("{}/shop:", yard.registry.address());
        yard.ground.write("k8s/web.yaml", &WEB.replace("shop:", &image));
        for tag in ["1", "2"] {
            assert!(yard.registry.push("shop", tag).starts_with("sha256:"));
        }
        yard
    }

    fn registries(&self) -> Arc<Registries> {
        let vars = [("HOME".to_owned(), self.ground.dir.path().join("home").display().to_string())].into();
        Arc::new(Registries::new(client, Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }), None))
    }

    fn target_with(&self, spec: &TargetSpec, registries: Option<Arc<Registries>>) -> KubernetesTarget {
        let mut options = options_at(self.ground.dir.path(), "dev", spec);
        options.registries = registries;
        KubernetesTarget::new(options)
    }

    /// A new client, as every command makes one.
    fn target(&self) -> KubernetesTarget {
        self.target_with(&TargetSpec::default(), Some(self.registries()))
    }

    fn log_in(&self, entry: &serde_json::Value) {
        let config = json!({"auths": {self.registry.address(): entry}});
        self.ground.write("home/.docker/config.json", &config.to_string());
    }

    fn image(&self, tag: &str, digest: &str) -> String {
        format!("{}/shop:{tag}@{digest}", self.registry.address())
    }
}

/// A version as a plan freezes it.
async fn planned(target: &KubernetesTarget, version: &str) -> Result<Workload> {
    let (objects, images) = (target.objects(version).await?, target.images(version).await?);
    let mut planned = Workload { objects, images, ..workload(version) };
    planned.release.recipe = Some(Recipe::of(&planned).digest());
    Ok(planned)
}

async fn apply(target: &KubernetesTarget, id: &str, release: &Workload, before: Option<&Workload>) -> Result<()> {
    let mut op = place(id, 1, "1", before);
    op.change = vice_core::port::target::Change::Place(release.release.clone());
    target.apply(&op, Some(release)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_after_the_plan_changes_nothing() {
    let yard = Yard::new().await;
    let first = yard.registry.push("shop", "1");
    let release = planned(&yard.target(), "1").await.unwrap();
    let second = yard.registry.push("shop", "1");
    assert_ne!(first, second);
    let asked = yard.registry.requests();
    assert_eq!(asked, ["HEAD /v2/shop/manifests/1"]);
    // Another process carries the rollout on, and one whose registry is out of reach.
    apply(&yard.target(), "a", &release, None).await.unwrap();
    assert_eq!(yard.ground.image(), yard.image("1", &first));
    assert_eq!(yard.registry.requests(), asked, "a registry is asked when planning, and never again");
    // The next plan is another release, although its version is called the same.
    let again = planned(&yard.target(), "1").await.unwrap();
    assert!(!again.release.runs_like(&release.release));
    apply(&yard.target(), "b", &again, Some(&release)).await.unwrap();
    assert_eq!(yard.ground.image(), yard.image("1", &second));
    // And back: the kept one is what it was.
    yard.registry.answer_with(Some(503));
    apply(&yard.target(), "c", &release, Some(&again)).await.unwrap();
    assert_eq!(yard.ground.image(), yard.image("1", &first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_digest() {
    let yard = Yard::new().await;
    yard.ground.place("1").await;
    let digest = yard.registry.push("shop", "2");
    let target = yard.target();
    let lines = target.preview(&planned(&target, "2").await.unwrap()).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("/shop:1 → ") && line.contains("/shop:2@sha256:")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(&digest[..20])), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_are_asked_in_the_way_that_they_want() {
    let (user, password) = ("ada".to_owned(), "open:sesame".to_owned());
    let plain = json!({"username": user, "password": password});
    for (door, entry) in [
        (Door::Open, json!({})),
        (Door::Token, json!({})),
        (Door::TokenFor(user.clone(), password.clone()), plain.clone()),
        (Door::TokenForToken("t0ken".to_owned()), json!({"identitytoken": "t0ken"})),
        (Door::Basic(user.clone(), password.clone()), plain.clone()),
    ] {
        for says_digest in [true, false] {
            let yard = Yard::new().await;
            let digest = yard.registry.push("shop", "1");
            yard.log_in(&entry);
            yard.registry.guard(door.clone());
            if !says_digest {
                yard.registry.say_no_digest();
            }
            let images = yard.target().images("1").await.unwrap_or_else(|fault| panic!("{door:?}: {fault:?}"));
            let name = format!("{}/shop:1", yard.registry.address());
            assert_eq!(images, BTreeMap::from([(name, digest)]), "{door:?}, {says_digest}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_a_digest_or_when_it_is_switched_off() {
    let yard = Yard::new().await;
    let sure = format!("shop@sha256:{}", "a".repeat(64));
    let off = TargetSpec { pin_images: Some(false), ..TargetSpec::default() };
    assert!(yard.target_with(&off, Some(yard.registries())).images("1").await.unwrap().is_empty());
    yard.ground.write("k8s/web.yaml", &WEB.replace("shop:{{version}}", &sure));
    let release = planned(&yard.target(), "1").await.unwrap();
    assert!(release.images.is_empty() && yard.registry.requests().is_empty());
    apply(&yard.target(), "a", &release, None).await.unwrap();
    assert_eq!(yard.ground.image(), sure);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_get_the_same_digest_of_a_tag_that_moves_in_between() {
    let yard = Yard::new().await;
    let shared = yard.registries();
    let target = || yard.target_with(&TargetSpec::default(), Some(Arc::clone(&shared)));
    let (eu, us) = (target(), target());
    let first = eu.images("1").await.unwrap();
    assert!(!first.values().any(|digest| *digest == yard.registry.push("shop", "1")));
    assert_eq!(us.images("1").await.unwrap(), first);
    assert_eq!(yard.registry.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_does_not_say_is_an_error_before_anything_has_changed() {
    let yard = Yard::new().await;
    let refused = async |version: &str| {
        let fault = planned(&yard.target(), version).await.map(drop).unwrap_err();
        assert!(fault.hints().iter().any(|hint| hint.contains("pin_images = false")), "{fault:?}");
        fault
    };
    let fault = refused("7").await;
    assert_eq!(fault.code(), Code::ArtifactMissing);
    assert!(fault.to_string().contains("has no image") && fault.to_string().contains("/shop:7"), "{fault}");
    yard.registry.answer_with(Some(503));
    assert_eq!(refused("1").await.code(), Code::Unreachable);
    assert_eq!(yard.registry.requests().len(), 4, "an overloaded registry is asked a few times, and not for ever");
    yard.registry.answer_with(Some(418));
    assert_eq!(refused("1").await.code(), Code::Backend);
    yard.registry.answer_with(None);
    yard.registry.guard(Door::TokenFor("ada".to_owned(), "right".to_owned()));
    let fault = refused("1").await;
    assert!(fault.hints()[0].contains("docker login"), "{fault:?}");
    yard.log_in(&json!({"username": "ada", "password": "wr0ng-passw0rd"}));
    let fault = refused("1").await;
    assert_eq!(fault.code(), Code::Backend);
    assert!(!format!("{fault:?}").contains("wr0ng"), "{fault:?}");
    assert!(yard.ground.fake.requests().is_empty(), "the cluster is not asked before");
    let Yard { ground, registry } = yard;
    let gone = registry.address().to_owned();
    drop(registry);
    let closed = Yard { ground, registry: Registry::start().await.unwrap() };
    closed.ground.write("k8s/web.yaml", &WEB.replace("shop:", &format!("{gone}/shop:")));
    assert_eq!(closed.target().images("1").await.unwrap_err().code(), Code::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn class_20_a_password_is_not_sent_where_others_can_read_it() {
    let yard = Yard::new().await;
    yard.log_in(&json!({"username": "ada", "password": "hunter2"}));
    yard.registry.guard(Door::TokenFor("ada".to_owned(), "hunter2".to_owned()));
    for realm in ["http://auth.example/token", "file:///etc/passwd", "ftp://127.0.0.1/x", "token"] {
        yard.registry.send_for_tokens_to(realm);
        let fault = yard.target().images("1").await.unwrap_err();
        assert!(fault.to_string().contains("not https"), "{realm}: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_4_logins_of_the_repository_are_not_found_by_themselves() {
    let yard = Yard::new().await;
    let entry = json!({"auths": {yard.registry.address(): {"username": "ada", "password": "p"}}});
    yard.ground.write(".docker/config.json", &entry.to_string());
    yard.registry.guard(Door::TokenFor("ada".to_owned(), "p".to_owned()));
    assert_eq!(yard.target().images("1").await.unwrap_err().code(), Code::Backend);
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_1_and_3_an_image_that_is_no_name_is_refused_before_anybody_is_asked() {
    let yard = Yard::new().await;
    for version in ["`touch canary`", "$(touch canary)", "--config=x", "../../v2/other", "1?x=y", "1@host", "1\n2"] {
        let fault = yard.target().images(version).await.unwrap_err();
        assert!([Code::ManifestInvalid].contains(&fault.code()) && !fault.hints().is_empty(), "{version}: {fault:?}");
    }
    assert!(yard.registry.requests().is_empty() && yard.ground.fake.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn class_26_a_hostile_registry_gets_no_further_than_an_error() {
    for (head, zeros, said) in [
        (
            "HTTP/1.1 200 OK\r\ndocker-content-digest: sha256:../../x\r\ncontent-length: 0\r\n\r\n",
            false,
            "a digest that is none",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n", true, "an answer without end"),
        ("HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n", false, "refuses"),
        ("HTTP/1.1 599 \x1b[2J\r\ncontent-length: 0\r\n\r\n", false, "did not say"),
        ("SSH-2.0-OpenSSH\r\n", false, "did not say"),
    ] {
        let yard = Yard::new().await;
        let address = hostile(head, zeros).await.replace("http://", "");
        yard.ground.write("k8s/web.yaml", &WEB.replace("shop:", &format!("{address}/shop:")));
        let fault = yard.target().images("1").await.unwrap_err();
        let text = fault.chain().join(" ");
        assert!(text.contains(said), "{said}: {text}");
        assert!(!text.contains('\u{1b}') && !fault.hints().is_empty(), "{fault:?}");
    }
}
