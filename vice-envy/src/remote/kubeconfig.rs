//! How a cluster is reached: the pod's own account, or the current context of a kubeconfig file with a token or a
//! client certificate, or with a program that gives one (as cloud providers have them). A program is asked each time; what
//! it gives is kept nowhere.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use vice_core::app::ProcessEnv;
use vice_core::port::command::{CommandSpec, EnvValue};
use vice_core::{Code, Fault, Millis, Result};

use super::Tools;
use super::http::{Trust, small_file};
use crate::credential::their_variables;

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A way to a cluster.
pub(super) struct Cluster {
    pub(super) server: String,
    pub(super) token: Option<String>,
    pub(super) trust: Trust,
    /// The program that gives the rest.
    pub(super) login: Option<Login>,
}

/// How long a program may take to log in.
const LOGIN_WITHIN: Millis = Millis(60_000);

/// A program that gives a token or a certificate: `exec` of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    interactive_mode: Option<String>,
    /// The folder of the kubeconfig, for a command that is a path.
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// What such a program writes.
#[derive(Deserialize)]
struct ExecCredential {
    #[serde(default)]
    status: Option<LoginStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginStatus {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<String>,
}

impl Login {
    /// Runs the program and takes over what it gives.
    pub(super) async fn log_in(&self, name: &str, tools: &Tools, cluster: &mut Cluster) -> Result<()> {
        let program = &self.command;
        let wrong = |what: String| {
            let message = format!("The program {program:?} of the kubeconfig {what}.");
            Fault::new(Code::Usage, message).detail("layer", name)
        };
        let known = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
        if !known.contains(&self.api_version.as_str()) {
            return Err(wrong("speaks a version of the protocol that vice does not know".to_owned()));
        }
        if self.interactive_mode.as_deref() == Some("Always") {
            return Err(wrong("wants to ask a person, which it can't here".to_owned())
                .hint("Log in by hand first, or give the user a token."));
        }
        let runner = tools.runner.as_ref().ok_or_else(|| Fault::unsupported("a program", "logging in here"))?;
        let output =
            runner.run(self.spec(tools)).await.map_err(|fault| wrong("gave nothing".to_owned()).because(fault))?;
        if !output.ok() {
            return Err(wrong(format!("failed ({})", output.failure())));
        }
        // The parser's words may quote a token.
        let answer: Option<ExecCredential> = serde_json::from_str(&output.stdout).ok();
        let status =
            answer.and_then(|answer| answer.status).ok_or_else(|| wrong("gave no ExecCredential".to_owned()))?;
        let identity = status.client_certificate_data.zip(status.client_key_data);
        if status.token.is_none() && identity.is_none() {
            return Err(wrong("gave neither a token nor a certificate with its key".to_owned()));
        }
        cluster.token = status.token;
        cluster.trust.identity = identity.map(|(certificate, key)| format!("{certificate}\n{key}").into_bytes());
        Ok(())
    }

    fn spec(&self, tools: &Tools) -> CommandSpec {
        // As kubectl has it: a path is meant from the kubeconfig, a bare name is looked for on PATH.
        let program = if self.command.contains('/') {
            self.dir.join(&self.command).display().to_string()
        } else {
            self.command.clone()
        };
        let argv = std::iter::once(program).chain(self.args.iter().flatten().cloned()).collect();
        let mut spec = CommandSpec::new(argv, tools.process.dir.clone(), LOGIN_WITHIN);
        spec.env = their_variables(&tools.process);
        let asked = serde_json::json!({
            "apiVersion": self.api_version, "kind": "ExecCredential", "spec": { "interactive": false },
        });
        spec.env.insert("KUBERNETES_EXEC_INFO".to_owned(), EnvValue::Plain(asked.to_string()));
        let own = self.env.iter().flatten();
        spec.env.extend(own.map(|one| (one.name.clone(), EnvValue::Plain(one.value.clone()))));
        spec
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextSpec,
}

#[derive(Deserialize)]
struct ContextSpec {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterSpec {
    server: String,
    #[serde(default)]
    certificate_authority: Option<PathBuf>,
    #[serde(default)]
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: UserSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct UserSpec {
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default)]
    client_certificate: Option<PathBuf>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    #[serde(default)]
    client_key_data: Option<String>,
    #[serde(default)]
    exec: Option<Login>,
}

/// The cluster that the environment names.
pub(super) fn cluster(name: &str, env: &ProcessEnv) -> Result<Cluster> {
    if let Some(path) = file(env) {
        return from_file(name, &path);
    }
    let (host, port) = (env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT").unwrap_or("443"));
    let account = Path::new(env.get("VICE_KUBERNETES_ACCOUNT").unwrap_or(ACCOUNT));
    let Some(host) = host else {
        return Err(Fault::new(Code::Usage, format!("The layer {name} needs a cluster, and none is known."))
            .hint("Set KUBECONFIG, or make ~/.kube/config; in a pod, the account is found by itself."));
    };
    let token = String::from_utf8_lossy(&small_file(&account.join("token"))?).trim().to_owned();
    let trust = Trust { ca: Some(small_file(&account.join("ca.crt"))?), identity: None };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(Cluster { server: format!("https://{host}:{port}"), token: Some(token), trust, login: None })
}

fn file(env: &ProcessEnv) -> Option<PathBuf> {
    if let Some(list) = env.get("KUBECONFIG") {
        return list
            .split(':')
            .filter(|path| !path.is_empty())
            .map(|path| env.dir.join(path))
            .find(|path| path.exists());
    }
    env.get("HOME").map(|home| Path::new(home).join(".kube/config")).filter(|path| path.exists())
}

fn from_file(name: &str, path: &Path) -> Result<Cluster> {
    let shown = path.display();
    let wrong = |what: &str| Fault::new(Code::Usage, format!("The kubeconfig {shown} {what}.")).detail("layer", name);
    let text = String::from_utf8(small_file(path)?).map_err(|_| wrong("is not text"))?;
    // The parser's words may quote a token.
    let config: Kubeconfig = serde_saphyr::from_str(&text).map_err(|_| wrong("can't be read"))?;
    let context = config.contexts.iter().find(|context| context.name == config.current_context);
    let context = &context.ok_or_else(|| wrong("has no current context"))?.context;
    let found = config.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = found.ok_or_else(|| wrong("does not have the cluster of its current context"))?.cluster;
    if cluster.insecure_skip_tls_verify {
        return Err(wrong("wants certificates unchecked, which vice does not do")
            .hint("Give certificate-authority in place of insecure-skip-tls-verify."));
    }
    let user =
        config.users.into_iter().find(|user| user.name == context.user).map(|user| user.user).unwrap_or_default();
    let dir = path.parent().unwrap_or(Path::new("."));
    let login = user.exec.filter(|_| user.token.is_none() && user.token_file.is_none());
    let login = login.map(|login| Login { dir: dir.to_path_buf(), ..login });
    let material = |data: Option<String>, file: Option<PathBuf>| -> Result<Option<Vec<u8>>> {
        match (data, file) {
            (Some(data), _) => STANDARD.decode(data.trim()).map(Some).map_err(|_| wrong("has data that is not base64")),
            (None, Some(file)) => small_file(&dir.join(file)).map(Some),
            (None, None) => Ok(None),
        }
    };
    let ca = material(cluster.certificate_authority_data, cluster.certificate_authority)?;
    let certificate = material(user.client_certificate_data, user.client_certificate)?;
    let key = material(user.client_key_data, user.client_key)?;
    let identity = certificate.zip(key).map(|(certificate, key)| [certificate, b"\n".to_vec(), key].concat());
    let token = match (user.token, user.token_file) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => Some(String::from_utf8_lossy(&small_file(&dir.join(file))?).trim().to_owned()),
        (None, None) => None,
    };
    let server = cluster.server.trim_end_matches('/').to_owned();
    Ok(Cluster { server, token, trust: Trust { ca, identity }, login })
}
