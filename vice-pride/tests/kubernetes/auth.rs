use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use vice_core::Code;
use vice_core::port::target::Target;
use vice_kube_fake::Fake;

use crate::support::Ground;

fn with_user(ground: &Ground, user: Value) {
    let mut config: Value = serde_json::from_str(&ground.fake.kubeconfig()).unwrap();
    config["users"][0]["user"] = user;
    ground.write("kubeconfig", &config.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_a_wrong_one_does_not() {
    let ground = Ground::new().await;
    ground.fake.require_token("let-me-in");
    with_user(&ground, json!({"token": "let-me-in"}));
    ground.place("1").await;
    with_user(&ground, json!({"token": "somebody-else"}));
    let fault = ground.target().inventory().await.unwrap_err();
    assert_eq!(fault.code(), Code::Backend);
    assert!(fault.to_string().contains("does not know who is asking"), "{fault}");
    assert!(!format!("{fault:?}").contains("somebody-else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_gives_the_token_and_its_failure_tells_no_secret() {
    let ground = Ground::new().await;
    ground.fake.require_token("from-the-plug-in");
    let plug_in = |body: &str| {
        ground.write("plug-in", &format!("#!/bin/sh\n{body}\n"));
        let path = ground.dir.path().join("plug-in");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let version = "client.authentication.k8s.io/v1";
        with_user(&ground, json!({"exec": {"apiVersion": version, "command": path, "interactiveMode": "IfAvailable"}}));
    };
    plug_in(
        r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-the-plug-in"}}'"#,
    );
    ground.place("1").await;
    plug_in("echo top-secret; echo 'you are logged out' >&2; exit 3");
    let fault = ground.target().inventory().await.unwrap_err();
    assert!(fault.to_string().contains("credentials"), "{fault:?}");
    assert!(fault.chain().join(" ").contains("logged out"), "{fault:?}");
    assert!(!format!("{fault:?}").contains("top-secret"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_asked_for_again() {
    let ground = Ground::new().await;
    ground.write("token", "old");
    let body = r#"echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"$(cat "$(dirname "$0")/token")\"}}""#;
    ground.write("plug-in", &format!("#!/bin/sh\necho >> \"$(dirname \"$0\")/asked\"\n{body}\n"));
    let path = ground.dir.path().join("plug-in");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let version = "client.authentication.k8s.io/v1";
    with_user(&ground, json!({"exec": {"apiVersion": version, "command": path, "interactiveMode": "Never"}}));
    ground.fake.require_token("old");
    let target = ground.target();
    target.inventory().await.unwrap();
    let asked = || std::fs::read_to_string(ground.dir.path().join("asked")).unwrap().lines().count();
    // A client that is made asks for its parts.
    let first = asked();
    ground.fake.require_token("new");
    ground.write("token", "new");
    target.inventory().await.unwrap();
    assert!(asked() > first);
    let second = asked();
    // One that is refused again is refused for good.
    ground.fake.require_token("third");
    let fault = target.inventory().await.unwrap_err();
    assert!(fault.to_string().contains("does not know who is asking"), "{fault}");
    assert!(asked() > second && asked() <= second + 2 * first, "it does not go on asking");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_kubeconfig_is_not_quoted() {
    let ground = Ground::new().await;
    for text in [
        "users: [{name: me, user: {token: hunter2-hunter2",
        "users:\n- name: me\n  user: {token: {hunter2-hunter2: 1}}\n",
    ] {
        ground.write("kubeconfig", text);
        let fault = ground.target().inventory().await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage);
        assert!(!format!("{fault:?}").contains("hunter2"), "{fault:?}");
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_in_and_none_does_not() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let authority = Authority::new();
    let (certificate, key) = authority.issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key_of(&key))
        .unwrap();
    let ground = Ground::with(Fake::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await.unwrap());
    ground.write("ca.pem", &authority.0.pem());
    let (certificate, key) = authority.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    ground.write("me.pem", &certificate.pem());
    ground.write("me.key", &key.serialize_pem());
    let mut kubeconfig: Value = serde_json::from_str(&ground.fake.kubeconfig()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["certificate-authority"] = json!("ca.pem");
    ground.write("kubeconfig", &kubeconfig.to_string());
    assert_eq!(ground.target().inventory().await.unwrap_err().code(), Code::Unreachable);
    kubeconfig["users"][0]["user"] = json!({"client-certificate": "me.pem", "client-key": "me.key"});
    ground.write("kubeconfig", &kubeconfig.to_string());
    ground.place("1").await;
    assert_eq!(ground.image(), "shop:1");
}
