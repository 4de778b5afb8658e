//! The classes of bad input that reach this target, by their numbers in the catalogue that the tests of every backend
//! follow: 1 shell, 2 connection options, 3 options in arguments, 4 foreign tool configuration, 5 and 6 templates,
//! 24 secrets in requests and arguments, 25 programs from elsewhere, 26 hostile answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vice_core::app::ProcessEnv;
use vice_core::manifest::{Command, TargetSpec};
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended, EnvValue};
use vice_core::port::target::{Change, Target};
use vice_core::testkit::target_fixtures::workload;
use vice_core::{Code, Millis, Secret};
use vice_pride::target::kubernetes::KubernetesTarget;

use crate::support::{Ground, WEB, options_at, place};

const NASTY: &[&str] = &["`touch canary`", "$(touch canary)", "1; touch canary", "1\ntouch canary", "--help", "../1"];

#[tokio::test(flavor = "multi_thread")]
async fn class_1_a_version_is_data_whatever_it_looks_like() {
    for version in NASTY {
        let ground = Ground::new().await;
        let op = place("a", 1, version, None);
        // Whether it can be an image is the cluster's business; what counts is that nothing is run or written elsewhere.
        drop(ground.target().apply(&op, Some(&workload(version))).await);
        assert!(!ground.dir.path().join("canary").exists(), "{version}");
        let workloads = ground.fake.names("Deployment");
        assert!(workloads.iter().all(|name| name == "web"), "{version} made {workloads:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_1_names_of_objects_lead_nowhere_else() {
    for name in ["web/../../secrets/x", "web?force=true", "..", "web%2F..", "a b", "web#x"] {
        let ground = Ground::new().await;
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        ground.write("k8s/web.yaml", &object.to_string());
        let fault = ground.target().objects("1").await.unwrap_err();
        assert_eq!(fault.code(), Code::ManifestInvalid, "{name}");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": name}});
        ground.write("k8s/web.yaml", &object.to_string());
        assert_eq!(ground.target().objects("1").await.unwrap_err().code(), Code::ManifestInvalid, "{name}");
        assert!(ground.fake.requests().is_empty(), "{:?}", ground.fake.requests());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_2_options_of_the_connection_are_refused_or_data() {
    let ground = Ground::new().await;
    for (field, value) in [
        ("server", "http://127.0.0.1:1/%ZZ\r\nX: y"),
        ("server", "file:///etc/passwd"),
        ("server", "http://$(touch canary)"),
        ("proxy-url", "`touch canary`"),
    ] {
        let mut config: Value = serde_json::from_str(&ground.fake.kubeconfig()).unwrap();
        config["clusters"][0]["cluster"][field] = json!(value);
        ground.write("kubeconfig", &config.to_string());
        let fault = ground.target().inventory().await.map(drop).unwrap_err();
        assert!([Code::Usage, Code::Unreachable].contains(&fault.code()), "{field}={value}: {fault:?}");
        assert!(!fault.hints().is_empty(), "{fault:?}");
        assert!(!ground.dir.path().join("canary").exists(), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_2_what_shall_secure_the_connection_is_never_passed_over() {
    let ground = Ground::new().await;
    for (section, kind, key) in [
        ("clusters", "cluster", "certificate-authority"),
        ("clusters", "cluster", "certificate-authority-data"),
        ("clusters", "cluster", "tls-server-name"),
        ("users", "user", "client-certificate"),
    ] {
        let mut config: Value = serde_json::from_str(&ground.fake.kubeconfig()).unwrap();
        config[section][0][kind][key] = json!("x");
        ground.write("kubeconfig", &config.to_string());
        let fault = ground.target().inventory().await.map(drop).unwrap_err();
        assert_eq!(fault.code(), Code::Usage);
        assert!(fault.to_string().contains(&format!("`{key}`")) && fault.hints()[0].contains("https://"), "{fault:?}");
    }
    assert!(ground.fake.requests().is_empty());
}

/// Prints one object, and notes what it was called with.
#[derive(Default)]
struct Printer(Mutex<Vec<Vec<String>>>);

#[async_trait]
impl CommandRunner for Printer {
    async fn run(&self, spec: CommandSpec) -> vice_core::Result<CommandOutput> {
        self.0.lock().unwrap().push(spec.argv);
        let stdout = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n".to_owned();
        Ok(CommandOutput { ended: Ended::Exited(0), stdout, stderr: String::new(), truncated: false, took: Millis(1) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_3_what_is_filled_in_is_never_an_option() {
    let ground = Ground::new().await;
    let rendered = async |spec: TargetSpec, version: &str| {
        let printer = Arc::new(Printer::default());
        let mut options = options_at(ground.dir.path(), "dev", &spec);
        options.spec.manifests = None;
        options.runner = Some(printer.clone());
        let made = KubernetesTarget::new(options).objects(version).await.map(drop);
        (made, printer.0.lock().unwrap().clone())
    };
    let command = |words: &[&str]| TargetSpec {
        command: Some(Command(words.iter().map(|word| (*word).to_owned()).collect())),
        ..TargetSpec::default()
    };
    for version in ["--post-renderer=./evil", "-f/etc/passwd", "-"] {
        let (made, run) = rendered(command(&["helm", "template", "{{version}}"]), version).await;
        let fault = made.unwrap_err();
        assert!(fault.code() == Code::InvalidName && !fault.hints().is_empty() && run.is_empty(), "{fault:?}");
        let (made, run) = rendered(command(&["helm", "template", "--set=tag={{version}}"]), version).await;
        made.unwrap();
        assert_eq!(run, [["helm", "template", &format!("--set=tag={version}")]]);
        let kustomize = TargetSpec { kustomize: Some("{{version}}".to_owned()), ..TargetSpec::default() };
        let (made, run) = rendered(kustomize, version).await;
        made.unwrap();
        assert_eq!(run, [["kubectl", "kustomize", &format!("./{version}")]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_4_a_kubeconfig_of_the_repository_is_not_found_by_itself() {
    let ground = Ground::new().await;
    ground.write(".kube/config", &ground.fake.kubeconfig());
    let mut options = options_at(ground.dir.path(), "dev", &TargetSpec::default());
    options.spec.kubeconfig = None;
    let vars = BTreeMap::from([("HOME".to_owned(), "/nonexistent".to_owned())]);
    options.env = Arc::new(ProcessEnv { vars, ..ProcessEnv::default() });
    let fault = KubernetesTarget::new(options).inventory().await.unwrap_err();
    assert!(fault.to_string().contains("/nonexistent/.kube/config"), "{fault}");
    assert!(ground.fake.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_5_and_6_what_is_filled_in_is_not_filled_in_again() {
    let ground = Ground::new().await;
    let map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {of: '{{version}}', rule: '{{ $labels.env }}'}\n";
    ground.write("k8s/a.yaml", map);
    let version = "{{env}}";
    drop(ground.target().apply(&place("a", 1, version, None), Some(&workload(version))).await);
    assert_eq!(ground.get("ConfigMap", "a")["data"], json!({"of": "{{env}}", "rule": "{{ $labels.env }}"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn class_6_what_pods_print_is_data() {
    let ground = Ground::new().await;
    ground.place("1").await;
    let says = "\u{1b}[2J{{ $x }} ${HOME} $(touch canary)";
    let env = format!("        env: [{{name: SAYS, value: {}}}]\n", json!(says));
    ground.write("k8s/web.yaml", &format!("{WEB}{env}"));
    let op = place("b", 1, "unready", Some(&workload("1")));
    let fault = ground.target().apply(&op, Some(&workload("unready"))).await.unwrap_err();
    let said = fault.chain().join("\n");
    assert!(said.contains("log: \\u{1b}[2J{{ $x }} ${HOME} $(touch canary)"), "{said}");
    assert!(!said.contains('\u{1b}'), "a terminal would obey it");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_24_secrets_stand_in_secrets_only() {
    let ground = Ground::new().await;
    ground.write("k8s/web.yaml", &format!("{WEB}        envFrom: [{{secretRef: {{name: '{{{{secret}}}}'}}}}]\n"));
    let mut secret = workload("1");
    secret.environment = BTreeMap::from([("TOKEN".to_owned(), EnvValue::Secret(Secret::new("hunter2-hunter2")))]);
    let mut op = place("a", 1, "1", None);
    op.change = Change::Place(secret.release.clone());
    ground.target().apply(&op, Some(&secret)).await.unwrap();
    assert!(!ground.fake.requests().join("\n").contains("hunter2"), "a request's address holds it");
    for kind in ["ConfigMap", "Deployment", "ReplicaSet", "Pod", "Event"] {
        for name in ground.fake.names(kind) {
            assert!(!ground.get(kind, &name).to_string().contains("hunter2"), "{kind} {name}");
        }
    }
    let kept = ground.fake.names("Secret").into_iter().filter(|name| name.contains("secret")).count();
    assert_eq!(kept, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn class_25_a_plug_in_that_is_not_there_is_said_so_and_nothing_else_is_run() {
    let ground = Ground::new().await;
    ground.write("no-such-plug-in", "#!/bin/sh\ntouch canary\n");
    for command in ["no-such-plug-in", "../../no-such-plug-in", "no-such-plug-in; touch canary"] {
        let mut config: Value = serde_json::from_str(&ground.fake.kubeconfig()).unwrap();
        let version = "client.authentication.k8s.io/v1";
        config["users"][0]["user"] = json!({"exec": {"apiVersion": version, "command": command,
            "interactiveMode": "Never"}});
        ground.write("kubeconfig", &config.to_string());
        let fault = ground.target().inventory().await.unwrap_err();
        assert!(fault.to_string().contains("credentials") && !fault.hints().is_empty(), "{fault:?}");
        assert!(!ground.dir.path().join("canary").exists(), "{command}");
    }
}

/// A server that answers every request with this head and body, and then with zeros for as long as they are taken.
pub(crate) async fn hostile(head: &'static str, zeros: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                drop(stream.read(&mut request).await);
                let mut sent = stream.write_all(head.as_bytes()).await;
                let block = [b' '; 65_536];
                while zeros && sent.is_ok() {
                    sent = stream.write_all(&block).await;
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn class_26_a_hostile_server_gets_no_further_than_an_error() {
    for (head, zeros, said) in [
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", true, "with more than"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html>hi!", false, "no API server"),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n\u{1b}[2Jhello", false, "could not answer"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", false, "did not answer"),
        ("SSH-2.0-OpenSSH\r\n", false, "did not answer"),
    ] {
        let ground = Ground::new().await;
        let url = hostile(head, zeros).await;
        ground.write("kubeconfig", &ground.fake.kubeconfig().replace(ground.fake.url(), &url));
        let fault = ground.target().inventory().await.unwrap_err();
        let text = fault.chain().join(" ");
        assert!(text.contains(said) || text.contains("broke off"), "{said}: {text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_26_a_damaged_record_is_said_so_and_not_overwritten() {
    for (text, code) in [
        ("{", Code::Decode),
        ("{\"format\": 99}", Code::HistoryNewer),
        ("{\"format\": 1, \"epoch\": -1}", Code::Decode),
    ] {
        let ground = Ground::new().await;
        ground.place("1").await;
        assert!(ground.fake.change("ConfigMap", "vice-shop-dev", |object| object["data"]["ledger"] = json!(text)));
        assert_eq!(ground.target().inventory().await.unwrap_err().code(), code);
        let op = place("b", 1, "2", Some(&workload("1")));
        assert_eq!(ground.target().apply(&op, Some(&workload("2"))).await.unwrap_err().code(), code);
        assert_eq!(ground.get("ConfigMap", "vice-shop-dev")["data"]["ledger"], json!(text));
    }
}
