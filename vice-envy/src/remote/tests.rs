//! One suite that every store passes. The stores are fakes that speak the part of each API that is used, written from
//! its documentation: they check the token, answer what the real one answers for what exists and what does not, and
//! misbehave on request. What they don't show: real permissions, and versions of the real servers that differ from
//! the documentation. Consul and S3 are tested against real servers too (`lab_…`), git against git itself.

mod fake;
pub(crate) mod git;
mod lab;
mod plugin;
mod tls;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault};

use self::fake::{Answer, Ask, Fake};
use super::*;

const TOKEN: &str = "hunter22-canary-token";

fn tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn env(vars: &[(&str, &str)]) -> ProcessEnv {
    ProcessEnv { vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), ..ProcessEnv::default() }
}

async fn ask(layer: &str, env: ProcessEnv) -> Result<Option<Fetched>> {
    tls();
    let address = Address::parse(layer)?.expect("a layer in a store");
    let runner: Arc<dyn CommandRunner> = Arc::new(git::Real);
    let tools = Tools { process: Arc::new(env), root: PathBuf::from("/"), runner: Some(runner) };
    connect(layer, &address, &tools)?.fetch().await
}

/// What a layer holds, as keys with texts.
fn flat(fetched: Fetched) -> Vec<(String, Value)> {
    let sheet = match fetched {
        Fetched::Sheet(sheet) => sheet,
        Fetched::Text { kind, bytes, .. } => kind.read(std::str::from_utf8(&bytes).unwrap()).unwrap(),
    };
    sheet.iter().map(|(key, found)| (key.to_owned(), found.value.clone())).collect()
}

/// A store with a layer that has `db.host = "x"` and `port = "1"`, and one that does not exist.
struct Fixture {
    good: String,
    absent: String,
    env: Vec<(String, String)>,
    /// The store's own answers.
    answers: fn(&Ask) -> Answer,
    secret: bool,
    dir: tempfile::TempDir,
}

type Make = fn(&str) -> Fixture;

const STORES: &[(&str, Make)] = &[
    ("consul", consul),
    ("consul document", consul_document),
    ("k8s configmap", configmap),
    ("k8s secret", secret),
    ("vault", vault),
    #[cfg(feature = "s3")]
    ("s3", s3),
];

impl Fixture {
    fn env(&self) -> ProcessEnv {
        let pairs: Vec<(&str, &str)> = self.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        ProcessEnv { dir: self.dir.path().to_owned(), ..env(&pairs) }
    }
}

fn fixture(good: String, absent: String, env: &[(&str, String)], answers: fn(&Ask) -> Answer, secret: bool) -> Fixture {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    Fixture { good, absent, env, answers, secret, dir: tempfile::tempdir().unwrap() }
}

fn consul(base: &str) -> Fixture {
    fn answers(ask: &Ask) -> Answer {
        if ask.header("x-consul-token") != Some(TOKEN) {
            return Answer::new(403, "Permission denied");
        }
        let entry = |key: &str, text: Option<&str>| json!({ "Key": key, "Value": text.map(|t| STANDARD.encode(t)), "Flags": 0 });
        match ask.target.as_str() {
            "/v1/kv/shop/prod/?recurse=true" => Answer::json(&json!([
                entry("shop/prod/", None),
                entry("shop/prod/db/", None),
                entry("shop/prod/db/host", Some("x")),
                entry("shop/prod/PORT", Some("1")),
            ])),
            _ => Answer::new(404, ""),
        }
    }
    let env = [("CONSUL_HTTP_ADDR", base.replace("http://", "")), ("CONSUL_HTTP_TOKEN", TOKEN.to_owned())];
    fixture("consul:shop/prod".into(), "consul:shop/gone".into(), &env, answers, false)
}

fn consul_document(base: &str) -> Fixture {
    fn answers(ask: &Ask) -> Answer {
        match (ask.header("x-consul-token"), ask.target.as_str()) {
            (Some(TOKEN), "/v1/kv/shop/prod.toml?raw=true") => Answer::new(200, "port = \"1\"\n[db]\nhost = \"x\"\n"),
            (Some(TOKEN), _) => Answer::new(404, ""),
            _ => Answer::new(403, "Permission denied"),
        }
    }
    let good = format!("consul:{base}/shop/prod.toml");
    let absent = format!("consul:{base}/shop/gone.toml");
    fixture(good, absent, &[("CONSUL_HTTP_TOKEN", TOKEN.to_owned())], answers, false)
}

fn kubernetes(base: &str, kind: &str, answers: fn(&Ask) -> Answer) -> Fixture {
    let good = format!("k8s:shop/{kind}/app");
    let absent = format!("k8s:shop/{kind}/gone");
    let fixture = fixture(good, absent, &[("KUBECONFIG", "kubeconfig".to_owned())], answers, kind == "secret");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{ cluster: k, user: u }}\n\
         clusters:\n- name: k\n  cluster: {{ server: \"{base}\" }}\nusers:\n- name: u\n  user: {{ token: {TOKEN} }}\n"
    );
    std::fs::write(fixture.dir.path().join("kubeconfig"), config).unwrap();
    fixture
}

fn object_answer(ask: &Ask, path: &str, object: &Value) -> Answer {
    if ask.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Answer::json(&json!({ "kind": "Status", "code": 401 })).with_status(401);
    }
    if ask.target == path {
        return Answer::json(object);
    }
    Answer::json(&json!({ "kind": "Status", "reason": "NotFound", "code": 404 })).with_status(404)
}

fn configmap(base: &str) -> Fixture {
    kubernetes(base, "configmap", |ask| {
        let object = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "app" },
                             "data": { "db.host": "x", "PORT": "1" } });
        object_answer(ask, "/api/v1/namespaces/shop/configmaps/app", &object)
    })
}

fn secret(base: &str) -> Fixture {
    kubernetes(base, "secret", |ask| {
        let object = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "app" }, "type": "Opaque",
                             "data": { "DB__HOST": STANDARD.encode("x"), "PORT": STANDARD.encode("1") } });
        object_answer(ask, "/api/v1/namespaces/shop/secrets/app", &object)
    })
}

fn vault_answers(ask: &Ask) -> Answer {
    let login = |fine: bool| match fine {
        true => Answer::json(&json!({ "auth": { "client_token": TOKEN, "lease_duration": 60 } })),
        false => Answer::json(&json!({ "errors": ["invalid role or secret ID"] })).with_status(400),
    };
    let body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    match ask.target.as_str() {
        "/v1/auth/approle/login" => login(body["role_id"] == "role" && body["secret_id"] == TOKEN),
        "/v1/auth/kubernetes/login" => login(body["role"] == "shop" && body["jwt"] == TOKEN),
        _ if ask.header("x-vault-token") != Some(TOKEN) => {
            Answer::json(&json!({ "errors": ["permission denied"] })).with_status(403)
        }
        "/v1/team/kv/data/shop/prod" => Answer::json(&json!({ "data": {
            "data": { "db": { "host": "x" }, "PORT": "1" }, "metadata": { "version": 3 } } })),
        "/v1/team/kv/data/shop/deleted" => Answer::json(&json!({ "data": {
            "data": null, "metadata": { "deletion_time": "2026-01-01T00:00:00Z" } } })),
        _ => Answer::json(&json!({ "errors": [] })).with_status(404),
    }
}

fn vault(base: &str) -> Fixture {
    let env = [("VAULT_ADDR", base.to_owned()), ("VAULT_TOKEN", TOKEN.to_owned())];
    fixture("vault:team/kv//shop/prod".into(), "vault:team/kv//shop/gone".into(), &env, vault_answers, true)
}

#[cfg(feature = "s3")]
fn s3(base: &str) -> Fixture {
    fn answers(ask: &Ask) -> Answer {
        // The signature itself is checked by the real server of the lab.
        if !ask.header("authorization").is_some_and(|header| header.contains("Credential=key/")) {
            return Answer::new(403, "<Error><Code>InvalidAccessKeyId</Code></Error>");
        }
        match ask.target.as_str() {
            "/bucket/shop/prod.toml" => Answer::new(200, "port = \"1\"\n[db]\nhost = \"x\"\n"),
            _ => Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        }
    }
    let env = [
        ("AWS_ENDPOINT_URL", base.to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", TOKEN.to_owned()),
    ];
    fixture("s3://bucket/shop/prod.toml".into(), "s3://bucket/shop/gone.toml".into(), &env, answers, false)
}

/// No fault tells a token.
fn told(fault: &Fault) -> String {
    let text = format!("{fault:?} {:?} {}", fault.details(), fault.chain().join(" "));
    assert!(!text.contains(TOKEN), "{text}");
    text
}

#[tokio::test]
async fn every_store_gives_what_it_has_and_says_what_it_has_not() {
    for &(name, make) in STORES {
        let fake = Fake::start().await;
        let fixture = make(&fake.base);
        fake.answer_with(fixture.answers);
        let address = Address::parse(&fixture.good).unwrap().unwrap();
        let tools = Tools { process: Arc::new(fixture.env()), root: PathBuf::from("/"), runner: None };
        tls();
        let ability = connect(&fixture.good, &address, &tools).unwrap().ability();
        assert_eq!((ability.secret, address.is_secret()), (fixture.secret, fixture.secret), "{name}");
        assert!(fixture.good.starts_with(ability.kind), "{name}");
        let found = ask(&fixture.good, fixture.env()).await.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let found = flat(found.unwrap_or_else(|| panic!("{name} says there is nothing")));
        assert_eq!(found, [("db.host".to_owned(), json!("x")), ("port".to_owned(), json!("1"))], "{name}");
        assert!(ask(&fixture.absent, fixture.env()).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn every_store_tells_what_goes_wrong_and_no_token() {
    for &(name, make) in STORES {
        let fake = Fake::start().await;
        let fixture = make(&fake.base);
        let limited = || {
            let mut env = fixture.env();
            env.vars.insert("VICE_CONFIG_TIMEOUT".into(), "20s".into());
            env
        };
        for (status, code, word) in [
            (401, Code::Backend, "let us in"),
            (403, Code::Backend, "let us in"),
            (400, Code::Backend, ""),
            (500, Code::Backend, "failed"),
            (503, Code::Backend, "failed"),
        ] {
            fake.answer_always(Answer::new(status, &format!("<html>{TOKEN}</html>")));
            let fault = ask(&fixture.good, limited()).await.err().unwrap_or_else(|| panic!("{name} took {status}"));
            assert_eq!(fault.code(), code, "{name} {status}: {fault:?}");
            assert!(told(&fault).contains(word), "{name} {status}: {fault:?}");
            assert!(fault.to_string().contains(&fixture.good), "{name} {status}: {fault:?}");
        }
    }
}

#[tokio::test]
async fn every_store_is_bounded_and_not_followed_elsewhere() {
    for &(name, make) in STORES {
        let fake = Fake::start().await;
        let fixture = make(&fake.base);
        fake.answer_always(Answer::new(200, &"x".repeat(11 * 1024 * 1024)));
        let fault = ask(&fixture.good, fixture.env()).await.err().unwrap_or_else(|| panic!("{name} took it all"));
        assert!(told(&fault).contains("more than"), "{name}: {fault:?}");
        // S3 sends a signature that fits one address only, and its client follows by itself.
        let elsewhere = Answer::new(307, "").with_header("location", "/v1/elsewhere");
        fake.answer_always(elsewhere);
        assert!(ask(&fixture.good, fixture.env()).await.is_err(), "{name} followed a redirect");
        let followed = fake.seen().iter().any(|target| target.contains("elsewhere"));
        assert!(!followed || name == "s3", "{name} followed a redirect");
        drop(fake);
        let fault = ask(&fixture.good, fixture.env()).await.err().unwrap_or_else(|| panic!("{name} reached nobody"));
        assert_eq!(fault.code(), Code::Unreachable, "{name}: {fault:?}");
        told(&fault);
    }
}

/// Answers of something that is not the store.
const BODIES: [&str; 7] = ["", "<html>login</html>", "[1]", "{}", "\"x\"", "{\"data\":{\"data\":5}}", "[{\"Key\":1}]"];

#[tokio::test]
async fn answers_that_are_no_api_and_answers_that_never_come() {
    for &(name, make) in STORES {
        let fake = Fake::start().await;
        let fixture = make(&fake.base);
        // What gives documents has no form of its own that an answer could break.
        let bodies: &[&str] = if name.contains("document") || name == "s3" { &[] } else { &BODIES };
        for body in bodies {
            fake.answer_always(Answer::new(200, body));
            let fault = ask(&fixture.good, fixture.env()).await.err().unwrap_or_else(|| panic!("{name} took {body:?}"));
            assert_eq!(fault.code(), Code::Backend, "{name} {body:?}: {fault:?}");
        }
        fake.answer_always(Answer::hang());
        let mut env = fixture.env();
        env.vars.insert("VICE_CONFIG_TIMEOUT".into(), "50ms".into());
        let fault = ask(&fixture.good, env).await.err().unwrap();
        assert!(fault.code() == Code::Unreachable && told(&fault).contains("0.05 s"), "{name}: {fault:?}");
    }
}

#[tokio::test]
async fn the_ways_into_vault() {
    let fake = Fake::start().await;
    fake.answer_with(vault_answers);
    let layer = "vault:team/kv//shop/prod";
    let addr = ("VAULT_ADDR", fake.base.as_str());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret-id"), format!("{TOKEN}\n")).unwrap();
    let file = dir.path().join("secret-id").display().to_string();
    for vars in [
        vec![addr, ("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID", TOKEN)],
        vec![addr, ("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID_FILE", &file)],
        vec![addr, ("VAULT_JWT", TOKEN), ("VAULT_ROLE", "shop"), ("VAULT_JWT_MOUNT", "kubernetes")],
        vec![("BAO_ADDR", fake.base.as_str()), ("BAO_TOKEN", TOKEN)],
    ] {
        assert!(ask(layer, env(&vars)).await.unwrap().is_some(), "{vars:?}");
    }
    for (vars, code) in [
        (vec![addr, ("VAULT_ROLE_ID", "role"), ("VAULT_SECRET_ID", "wrong")], Code::Backend),
        (vec![addr, ("VAULT_JWT", TOKEN), ("VAULT_ROLE", "shop")], Code::Backend),
        (vec![addr, ("VAULT_TOKEN", "wrong")], Code::Backend),
        (vec![addr, ("VAULT_TOKEN", "a\nb")], Code::Usage),
        (vec![addr], Code::Usage),
        (vec![("VAULT_TOKEN", TOKEN)], Code::Usage),
    ] {
        assert_eq!(ask(layer, env(&vars)).await.err().unwrap().code(), code, "{vars:?}");
    }
    let with_token = || env(&[addr, ("VAULT_TOKEN", TOKEN)]);
    assert!(ask("vault:team/kv//shop/deleted", with_token()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_pod_finds_its_own_account() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), TOKEN).unwrap();
    let account = dir.path().display().to_string();
    let vars = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("VICE_KUBERNETES_ACCOUNT", account.as_str())];
    let fault = ask("k8s:shop/secret/app", env(&vars)).await.err().unwrap();
    assert!(fault.code() == Code::Usage && fault.to_string().contains("ca.crt"), "{fault:?}");
    std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
    let fault = ask("k8s:shop/secret/app", env(&vars)).await.err().unwrap();
    assert!(fault.to_string().contains("certificate authority"), "{fault:?}");
    let fault = ask("k8s:shop/secret/app", env(&[])).await.err().unwrap();
    assert!(fault.hints()[0].contains("KUBECONFIG"), "{fault:?}");
    for (text, said) in [
        ("users: [{ name: u, user: { exec: { command: aws, apiVersion: x/v1 } } }]", "does not know"),
        ("clusters: [{ name: k, cluster: { server: https://x, insecure-skip-tls-verify: true } }]", "unchecked"),
        ("current-context: other", "no current context"),
        ("current-context: [", "can't be read"),
    ] {
        let mut parts = vec!["current-context: c", "contexts: [{ name: c, context: { cluster: k, user: u } }]"];
        parts.push("clusters: [{ name: k, cluster: { server: http://127.0.0.1:1 } }]");
        parts.push("users: [{ name: u, user: { token: t } }]");
        let word = text.split(':').next().unwrap();
        parts.retain(|part| !part.starts_with(word));
        parts.push(text);
        let path = dir.path().join("config");
        std::fs::write(&path, parts.join("\n")).unwrap();
        let fault = ask("k8s:shop/secret/app", env(&[("KUBECONFIG", path.to_str().unwrap())])).await.err().unwrap();
        assert!(fault.to_string().contains(said), "{text}: {fault:?}");
    }
}

#[tokio::test]
async fn the_program_that_a_kubeconfig_names_logs_in() {
    let fake = Fake::start().await;
    let fixture = configmap(&fake.base);
    fake.answer_with(fixture.answers);
    let path = fixture.dir.path().join("kubeconfig");
    let given = std::fs::read_to_string(&path).unwrap();
    let program = |script: &str, more: &str| {
        let file = fixture.dir.path().join("login");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let exec = format!(
            "exec: {{ apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [one], \
             env: [{{ name: PROFILE, value: team }}]{more} }}"
        );
        std::fs::write(&path, given.replace(&format!("token: {TOKEN}"), &exec)).unwrap();
    };
    let answer = format!("{{\\\"kind\\\":\\\"ExecCredential\\\",\\\"status\\\":{{\\\"token\\\":\\\"{TOKEN}\\\"}}}}");
    // It is told what it is for, and given no key of ours.
    let asked = format!(
        "[ \"$1$PROFILE$VICE_AGE_IDENTITY\" = oneteam ] && case \"$KUBERNETES_EXEC_INFO\" in *'\"interactive\":false'*) \
         echo \"{answer}\";; esac"
    );
    program(&asked, "");
    let mut env = fixture.env();
    env.vars.insert("VICE_AGE_IDENTITY".to_owned(), "AGE-SECRET-KEY-1X".to_owned());
    let found = ask(&fixture.good, env).await.unwrap().unwrap();
    assert_eq!(flat(found)[0], ("db.host".to_owned(), json!("x")));
    for (script, more, said) in [
        ("echo expired >&2; exit 3", "", "failed (exit status 3: expired)"),
        ("echo hello", "", "no ExecCredential"),
        ("echo '{\"status\":{}}'", "", "neither a token"),
        ("true", ", interactiveMode: Always", "ask a person"),
    ] {
        program(script, more);
        let fault = ask(&fixture.good, fixture.env()).await.err().unwrap();
        assert!(fault.code() == Code::Usage && fault.to_string().contains(said), "{script}: {fault:?}");
        assert!(!format!("{fault:?}").contains(TOKEN));
    }
}

#[test]
fn addresses_that_are_none_are_refused_and_not_repeated() {
    for bad in [
        "git:prod.toml",
        "git:--output=x:prod.toml",
        "git:a..b:prod.toml",
        "git:main:../x.toml",
        "git:main:x",
        "git: :x.toml",
        "s3:bucket/x.toml",
        "s3://bucket",
        "s3://user:hunter22@bucket/x.toml",
        "s3://bucket/x",
        "consul:",
        "consul:../x",
        "consul:a b",
        "consul:http://user:hunter22@host/x",
        "consul:http://host/x?token=hunter22",
        "consul:http://host",
        "k8s:shop/app",
        "k8s:shop/pod/app",
        "k8s:Shop/secret/app",
        "k8s:shop/secret/../x",
        "k8s:shop/secret/app/x",
        "vault:secret",
        "vault:secret/../x",
        "vault:secret/a?b",
        "vault://x",
    ] {
        let fault = Address::parse(bad).err().unwrap_or_else(|| panic!("{bad} was taken"));
        assert!(fault.code() == Code::ConfigInvalid && !fault.hints().is_empty(), "{bad}");
        assert!(!format!("{fault:?}").contains("hunter22"), "{fault:?}");
    }
    assert_eq!(Address::parse("config/prod.toml").unwrap(), None);
    assert_eq!(Address::parse("https://x/y.toml").unwrap(), None);
}
