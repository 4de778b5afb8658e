//! The API server of one context: finding it by the kubeconfig, asking it, and saying what its refusals mean. It knows
//! objects by their paths and nothing of releases.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::client::AuthError;
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::Value;
use tokio::time::timeout;
use vice_core::app::ProcessEnv;
use vice_core::fault::{causes, root_cause};
use vice_core::manifest::TargetSpec;
use vice_core::{Code, Context, Fault, Result};

use super::object::ObjectId;

/// Who applies, in the managed fields of objects.
pub(super) const MANAGER: &str = "vice";
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one answer may take; an API server itself gives up after 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);
/// The largest text of a refusal that is kept.
const TEXT_CHARS_MAX: usize = 600;

/// How an object is named in a path.
#[derive(Debug, Clone)]
struct Resource {
    plural: String,
    namespaced: bool,
}

/// What came of a request that may be refused for a reason that is no failure.
pub(super) enum Answer {
    Done(Value),
    /// It, or its namespace, is not there.
    Missing,
    /// It has changed, exists already, or somebody else owns what was to be changed.
    Conflict(Box<Status>),
}

/// A connection to an API server.
pub(super) struct Cluster {
    client: Client,
    /// Where objects go that do not say.
    pub(super) namespace: String,
    resources: Mutex<HashMap<(String, String), Resource>>,
}

impl Cluster {
    /// Reads the kubeconfig; asks nothing yet.
    pub(super) async fn connect(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Result<Self> {
        let mut config = config(spec, root, env).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let namespace = spec.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        // A plug-in for credentials is started here.
        let client = Client::try_from(config).map_err(|error| auth(error).unwrap_or_else(|error| unusable(&error)))?;
        Ok(Self { client, namespace, resources: Mutex::default() })
    }

    /// Sends a request and reads its JSON.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let kind = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
        self.ask_as(method, path, kind, body).await
    }

    /// As [`Self::ask`], with a content type.
    pub(super) async fn ask_as(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Result<Answer> {
        let what = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(bytes);
        let request = request.context(Code::Internal, || "A request can't be made.".to_owned())?;
        match timeout(ANSWER_TIMEOUT, self.client.request::<Value>(request)).await {
            Ok(Ok(value)) => Ok(Answer::Done(value)),
            Ok(Err(kube::Error::Api(status))) => refused(&what, status),
            Ok(Err(error)) => Err(silent(&what, error)),
            Err(_) => Err(Fault::new(Code::Unreachable, format!("The API server did not answer {what} in time."))),
        }
    }

    /// An object, if it is there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.ask(Method::GET, path, None).await? {
            Answer::Done(value) => Ok(Some(value)),
            Answer::Missing => Ok(None),
            Answer::Conflict(status) => Err(backend("GET", &status)),
        }
    }

    /// The items of a list; nothing where there is no such list.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.get(path).await?.unwrap_or_default();
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// A text, such as a log.
    pub(super) async fn text(&self, path: &str) -> Result<String> {
        let request =
            Request::get(path).body(Vec::new()).context(Code::Internal, || "A request can't be made.".to_owned())?;
        match timeout(ANSWER_TIMEOUT, self.client.request_text(request)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(kube::Error::Api(status))) => Err(backend("GET", &status)),
            Ok(Err(error)) => Err(silent("GET", error)),
            Err(_) => Err(Fault::new(Code::Unreachable, "The API server did not send a log in time.")),
        }
    }

    /// A text as it comes, for as long as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<impl futures::AsyncBufRead + use<>> {
        let request =
            Request::get(path).body(Vec::new()).context(Code::Internal, || "A request can't be made.".to_owned())?;
        match timeout(ANSWER_TIMEOUT, self.client.request_stream(request)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(kube::Error::Api(status))) => Err(backend("GET", &status)),
            Ok(Err(error)) => Err(silent("GET", error)),
            Err(_) => Err(Fault::new(Code::Unreachable, "The API server did not begin to send in time.")),
        }
    }

    /// The path of an object; none where the cluster has no such kind.
    pub(super) async fn path(&self, id: &ObjectId) -> Result<Option<String>> {
        let Some(resource) = self.resource(&id.api_version, &id.kind).await? else { return Ok(None) };
        let root = root_of(&id.api_version);
        let name = &id.name;
        Ok(Some(if resource.namespaced {
            let namespace = id.namespace.as_deref().unwrap_or(&self.namespace);
            format!("{root}/namespaces/{namespace}/{}/{name}", resource.plural)
        } else {
            format!("{root}/{}/{name}", resource.plural)
        }))
    }

    async fn resource(&self, api_version: &str, kind: &str) -> Result<Option<Resource>> {
        let key = (api_version.to_owned(), kind.to_owned());
        let known = |this: &Self| this.resources.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(resource) = known(self) {
            return Ok(Some(resource));
        }
        let Some(list) = self.get(&root_of(api_version)).await? else { return Ok(None) };
        let mut found = HashMap::new();
        for entry in list["resources"].as_array().into_iter().flatten() {
            let (Some(plural), Some(kind)) = (entry["name"].as_str(), entry["kind"].as_str()) else { continue };
            if !plural.contains('/') {
                let namespaced = entry["namespaced"].as_bool().unwrap_or(false);
                found.insert(
                    (api_version.to_owned(), kind.to_owned()),
                    Resource { plural: plural.to_owned(), namespaced },
                );
            }
        }
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(known(self))
    }
}

/// Where the kinds of an API version are.
fn root_of(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

async fn config(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Result<Config> {
    let files = files(spec, root, env);
    let present: Vec<&PathBuf> = files.iter().filter(|file| spec.kubeconfig.is_some() || file.exists()).collect();
    if present.is_empty() {
        if env.get("KUBERNETES_SERVICE_HOST").is_some() && spec.context.is_none() {
            return Config::incluster_env().map_err(|error| unusable(&error));
        }
        let looked = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Fault::new(Code::Usage, format!("There is no kubeconfig; looked for {looked}."))
            .hint("Name one with `kubeconfig` in the target, or set KUBECONFIG."));
    }
    let mut all = Kubeconfig::default();
    for file in present {
        let read = Kubeconfig::read_from(file).and_then(|read| all.clone().merge(read));
        all = read.map_err(|error| unusable(&error).detail("file", file.display().to_string()))?;
    }
    for user in all.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        // A plug-in that asks questions would take the terminal from vice, which may have none.
        if let Some(exec) = user.exec.as_mut().filter(|exec| exec.interactive_mode != Some(ExecInteractiveMode::Always))
        {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    let known = all.contexts.iter().map(|context| context.name.clone()).collect::<Vec<_>>();
    if let Some(context) = spec.context.as_ref().filter(|context| !known.contains(context)) {
        return Err(Fault::new(Code::UnknownName, format!("The kubeconfig has no context {context:?}."))
            .hint(format!("It has: {}.", known.join(", "))));
    }
    let options = KubeConfigOptions { context: spec.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(all, &options).await.map_err(|error| unusable(&error))
}

fn files(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Vec<PathBuf> {
    if let Some(file) = &spec.kubeconfig {
        return vec![root.join(file)];
    }
    if let Some(list) = env.get("KUBECONFIG") {
        return std::env::split_paths(list)
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| env.dir.join(path))
            .collect();
    }
    vec![Path::new(env.get("HOME").unwrap_or("/")).join(".kube/config")]
}

/// What the kubeconfig says can't be followed. The parser's own text is not kept: it quotes the file, which may hold
/// credentials.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Fault {
    let why = match error.downcast_ref::<KubeconfigError>() {
        Some(KubeconfigError::Parse(_)) => "it is not the YAML of a kubeconfig".to_owned(),
        _ => causes(root_cause(error)),
    };
    Fault::new(Code::Usage, "The kubeconfig can't be used.").because(why).hint("`kubectl config view` shows it.")
}

/// Whether a fault is that of a cluster that said nothing.
pub(super) fn is_silence(fault: &Fault) -> bool {
    matches!(fault.code(), Code::Unreachable | Code::TimedOut)
}

/// A request that got no answer.
fn silent(what: &str, error: kube::Error) -> Fault {
    let error = match auth(error) {
        Ok(fault) => return fault,
        Err(error) => error,
    };
    if matches!(error, kube::Error::SerdeError(_)) {
        return Fault::new(Code::Backend, format!("What answered {what} is no API server."))
            .hint("Is the `server` of the kubeconfig right?");
    }
    Fault::new(Code::Unreachable, format!("The API server did not answer {what}."))
        .because(causes(root_cause(&error)))
        .hint("Is the `server` of the kubeconfig right, and does `kubectl version` reach it?")
}

/// What went wrong with the credentials, if they are what went wrong. What a plug-in printed to standard output is never
/// shown: it may be a token.
fn auth(error: kube::Error) -> std::result::Result<Fault, kube::Error> {
    let why = match find_auth(&error) {
        None => return Err(error),
        Some(AuthError::AuthExecRun { out, .. }) => {
            let text = String::from_utf8_lossy(&out.stderr);
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("the plug-in ended with {}: {}", out.status, last.chars().take(TEXT_CHARS_MAX).collect::<String>())
        }
        Some(AuthError::AuthExecParse(_)) => "the plug-in printed no ExecCredential".to_owned(),
        Some(other) => other.to_string(),
    };
    Ok(Fault::new(Code::Unreachable, "The credentials for the cluster can't be had.")
        .because(why)
        .hint("Look at `users` in the kubeconfig; a plug-in's command has to be on PATH."))
}

fn find_auth(error: &kube::Error) -> Option<&AuthError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(auth) = error.downcast_ref::<AuthError>() {
            return Some(auth);
        }
        next = error.source();
    }
    None
}

fn refused(what: &str, status: Box<Status>) -> Result<Answer> {
    match status.code {
        404 => Ok(Answer::Missing),
        409 => Ok(Answer::Conflict(status)),
        _ => Err(backend(what, &status)),
    }
}

/// What a refusal means.
pub(super) fn backend(what: &str, status: &Status) -> Fault {
    let text: String = status.message.chars().take(TEXT_CHARS_MAX).collect();
    let fault =
        |code: Code, message: &str| Fault::new(code, message).because(text.clone()).detail("status", status.code);
    match status.code {
        401 => fault(Code::Backend, "The cluster does not know who is asking.")
            .hint("The token or certificate of the kubeconfig may have expired."),
        403 => fault(Code::Backend, "The cluster does not allow this.")
            .hint("docs/kubernetes-target.md lists the rights that vice needs."),
        429 | 500..=599 => fault(Code::Unreachable, &format!("The API server could not answer {what}.")),
        _ => fault(Code::Backend, &format!("The API server refuses {what}.")),
    }
}
