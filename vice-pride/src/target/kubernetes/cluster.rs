//! The API server of one context: asking it, and saying what its refusals mean. It knows objects by their paths and
//! nothing of releases.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::{AuthError, Body};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use vice_core::app::ProcessEnv;
use vice_core::fault::{causes, root_cause};
use vice_core::manifest::TargetSpec;
use vice_core::text::sanitize;
use vice_core::{Code, Context, Fault, Result};

use super::kubeconfig::{self, unusable};
use super::object::ObjectId;

/// Who applies, in the managed fields of objects.
pub(super) const MANAGER: &str = "vice";
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one answer may take; an API server itself gives up after 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);
/// How long is waited before a server is asked again.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1)];
/// The detail of a fault of a server that broke off.
const SILENT: &str = "silent";
/// The most bytes of one answer: a list of 500 pods has about 10 MB, and whoever sends without end is no API server.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
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
    /// The client is made anew when its credentials are refused: a plug-in may have others by then.
    client: Mutex<Client>,
    config: Config,
    /// Where objects go that do not say.
    pub(super) namespace: String,
    resources: Mutex<HashMap<(String, String), Resource>>,
}

impl Cluster {
    /// Reads the kubeconfig; asks nothing yet.
    pub(super) async fn connect(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Result<Self> {
        let mut config = kubeconfig::read(spec, root, env).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let namespace = spec.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        // A plug-in for credentials is started here.
        let client = connected(&config)?;
        Ok(Self { client: Mutex::new(client), config, namespace, resources: Mutex::default() })
    }

    fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other credentials, where a plug-in or a file may have some.
    fn renewed(&self) -> Result<bool> {
        let who = &self.config.auth_info;
        if who.exec.is_none() && who.token_file.is_none() && who.auth_provider.is_none() {
            return Ok(false);
        }
        let client = connected(&self.config)?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(true)
    }

    /// Sends a request and reads the whole answer: what was sent, or the refusal.
    async fn exchange(
        &self,
        what: &str,
        request: &Request<Vec<u8>>,
    ) -> Result<std::result::Result<Vec<u8>, Box<Status>>> {
        let asked = async {
            let response = self.client().send(copy(request)).await.map_err(|error| silent(what, error))?;
            let code = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let bytes = body.map_err(|error| cut_off(what, error.as_ref()))?.to_bytes();
            Ok(if code.is_success() { Ok(bytes.to_vec()) } else { Err(status_of(code.as_u16(), &bytes)) })
        };
        let late = |_| Fault::new(Code::Unreachable, format!("The API server did not answer {what} in time."));
        timeout(ANSWER_TIMEOUT, asked).await.map_err(late)?
    }

    /// As [`Self::exchange`], again for what only asks, when the server breaks off or is not well, as one of several does
    /// while it is updated. A server that is too busy (429, 503) is asked again by the client itself, until the time is up.
    async fn patient(
        &self,
        what: &str,
        request: &Request<Vec<u8>>,
    ) -> Result<std::result::Result<Vec<u8>, Box<Status>>> {
        let asks = *request.method() == Method::GET;
        let mut pauses = PAUSES.into_iter();
        loop {
            let answer = self.exchange(what, request).await;
            let again = match &answer {
                Ok(Err(status)) => asks && status.code >= 500,
                Ok(Ok(_)) => false,
                // Credentials that can't be had are not had by asking again.
                Err(fault) => asks && fault.details().get(SILENT).is_some(),
            };
            match pauses.next().filter(|_| again) {
                Some(pause) => sleep(pause).await,
                None => return answer,
            }
        }
    }

    /// As [`Self::patient`], once more with other credentials when these are refused.
    async fn exchanged(
        &self,
        what: &str,
        request: Request<Vec<u8>>,
    ) -> Result<std::result::Result<Vec<u8>, Box<Status>>> {
        let first = self.patient(what, &request).await?;
        let unknown = first.as_ref().is_err_and(|status| status.code == 401);
        if unknown && self.renewed()? { self.patient(what, &request).await } else { Ok(first) }
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
        let request = request.context(Code::Backend, unaskable)?;
        match self.exchanged(&what, request).await? {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Answer::Done).map_err(|_| {
                Fault::new(Code::Backend, format!("What answered {what} is no API server."))
                    .hint("Is the `server` of the kubeconfig right?")
            }),
            Err(status) => refused(&what, status),
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

    /// A text, such as a log. What is no text in it is replaced.
    pub(super) async fn text(&self, path: &str) -> Result<String> {
        let bytes = self.exchanged("GET", get(path)?).await?.map_err(|status| backend("GET", &status))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A text as it comes, for as long as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<impl futures::AsyncBufRead + use<>> {
        let client = self.client();
        match timeout(ANSWER_TIMEOUT, client.request_stream(get(path)?)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(kube::Error::Api(status))) => {
                // Whoever takes the stream up again does so with others.
                let code = status.code == 401 && self.renewed()?;
                let fault = backend("GET", &status);
                Err(if code {
                    Fault::new(Code::Unreachable, "The credentials were renewed.").because(fault)
                } else {
                    fault
                })
            }
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

fn connected(config: &Config) -> Result<Client> {
    Client::try_from(config.clone()).map_err(|error| auth(error).unwrap_or_else(|error| unusable(&error)))
}

fn get(path: &str) -> Result<Request<Vec<u8>>> {
    Request::get(path).body(Vec::new()).context(Code::Backend, unaskable)
}

/// Names that a server gave and that no address can have.
fn unaskable() -> String {
    "The API server names something that can't be asked for.".to_owned()
}

fn copy(request: &Request<Vec<u8>>) -> Request<Body> {
    let mut copy = Request::new(Body::from(request.body().clone()));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// What a refusal says; a text that is no JSON says its beginning.
fn status_of(code: u16, bytes: &[u8]) -> Box<Status> {
    let read = serde_json::from_slice::<Status>(bytes).ok();
    let message = || String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_CHARS_MAX)]).into_owned();
    let mut status = read.unwrap_or_else(|| Status { message: message(), ..Status::default() });
    status.code = code;
    Box::new(status)
}

/// An answer that was not read to its end.
fn cut_off(what: &str, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Fault {
    if error.is::<LengthLimitError>() {
        let message = format!("The API server answers {what} with more than {ANSWER_BYTES_MAX} bytes.");
        return Fault::new(Code::Backend, message).hint("Is the `server` of the kubeconfig right?");
    }
    Fault::new(Code::Unreachable, format!("The answer to {what} broke off."))
        .because(causes(error))
        .detail(SILENT, true)
}

/// Where the kinds of an API version are.
fn root_of(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
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
    Fault::new(Code::Unreachable, format!("The API server did not answer {what}."))
        .because(causes(root_cause(&error)))
        .detail(SILENT, true)
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

/// A text of the cluster in one line, without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    sanitize(&text.replace('\n', " "))
}

/// Whether a refusal is about a field that stays what it was when the object was made.
fn is_immutable(text: &str) -> bool {
    text.contains("field is immutable") || text.contains("updates to statefulset spec")
}

/// What a refusal means.
pub(super) fn backend(what: &str, status: &Status) -> Fault {
    // What a refusal is about may stand behind a whole pod template.
    let said = status.message.as_str();
    let text: String = printable(said).chars().take(TEXT_CHARS_MAX).collect();
    let fault =
        |code: Code, message: &str| Fault::new(code, message).because(text.clone()).detail("status", status.code);
    match status.code {
        401 => fault(Code::Backend, "The cluster does not know who is asking.")
            .hint("The token or certificate of the kubeconfig may have expired."),
        403 if said.contains("exceeded quota") => {
            fault(Code::Backend, "A quota of the namespace does not leave room for this.")
                .hint("`kubectl describe quota` shows what is used; ask for less, or have it raised.")
        }
        // Whoever may not do something at all is told so in the same words, without these.
        403 if ["admission webhook", "violates PodSecurity"].iter().any(|word| said.contains(word)) => {
            fault(Code::Backend, "A policy of the cluster refuses this.")
                .hint("Change the manifests as the policy wants it; it looks at every write, also those of kubectl.")
        }
        403 => fault(Code::Backend, "The cluster does not allow this.")
            .hint("docs/kubernetes-target.md lists the rights that vice needs."),
        422 if is_immutable(said) => fault(Code::Backend, &format!("The API server refuses {what}.")).hint(
            "What is there already can't be changed so: give the object a new name, or remove it by hand first \
             (`kubectl delete --cascade=orphan` leaves its pods alone).",
        ),
        429 | 500..=599 => fault(Code::Unreachable, &format!("The API server could not answer {what}.")),
        _ => fault(Code::Backend, &format!("The API server refuses {what}.")),
    }
}
