//! HTTP: paths, content types, lists, watches and logs. What a request does to an object is in `store` and `fields`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use crate::fields;
use crate::kinds::{self, Kind};
use crate::patch;
use crate::select::Selection;
use crate::store::{Key, Refusal, Store, Writer, check_version, complete, now};
use crate::{Cut, LockNow, Shared};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A connection that is to be broken off.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken off on purpose")
    }
}

impl std::error::Error for BrokenOff {}

/// The largest body that is read.
const BODY_MAX: usize = 3 * 1024 * 1024;

struct Call {
    method: Method,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    kind: String,
    agent: String,
    body: Vec<u8>,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true" || value == "1" || value == "All")
    }

    fn manager(&self) -> String {
        let agent = || self.agent.split('/').next().unwrap_or("unknown").to_owned();
        self.query.get("fieldManager").cloned().unwrap_or_else(agent)
    }

    fn changes(&self) -> bool {
        self.method != Method::GET && !self.is("dryRun")
    }

    fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .ok()
            .or_else(|| serde_saphyr::from_slice(&self.body).ok())
            .ok_or_else(|| Refusal::new(400, "BadRequest", "the body is neither JSON nor YAML"))
    }
}

/// Answers one request.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, BrokenOff> {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let bytes = http_body_util::Limited::new(body, BODY_MAX).collect().await.map_err(|_| BrokenOff)?.to_bytes();
    let call = Call {
        method: parts.method.clone(),
        path: parts.uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        kind: header("content-type"),
        agent: header("user-agent"),
        body: bytes.to_vec(),
    };
    if let Some(token) = shared.token().filter(|token| header("authorization") != format!("Bearer {token}")) {
        // The wanted token is not told to whoever has another.
        drop(token);
        return Ok(refusal(&Refusal::new(401, "Unauthorized", "Unauthorized")));
    }
    shared.requests.lock_now().push(format!("{} {}", call.method, parts.uri));
    if let Some(status) = shared.refusal() {
        return Ok(refusal(&Refusal::new(status, "TooManyRequests", "the server is too busy")));
    }
    let cut = shared.cut(call.changes());
    if cut == Some(Cut::Request) {
        return Err(BrokenOff);
    }
    let answer = route(&shared, &call).await;
    shared.changed();
    if cut == Some(Cut::Reply) {
        return Err(BrokenOff);
    }
    Ok(answer.unwrap_or_else(|fault| refusal(&fault)))
}

fn refusal(refusal: &Refusal) -> Response<Body> {
    respond(refusal.code, &refusal.body())
}

fn respond(status: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn text(body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

async fn route(shared: &Arc<Shared>, call: &Call) -> Result<Response<Body>, Refusal> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let unknown = || Refusal::new(404, "NotFound", "the server could not find the requested resource");
    match path.as_slice() {
        ["version"] => Ok(respond(200, &json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0-fake"}))),
        ["healthz" | "readyz" | "livez"] => Ok(text("ok".to_owned())),
        ["api"] => Ok(respond(
            200,
            &json!({"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"],
            "serverAddressByClientCIDRs": []}),
        )),
        ["apis"] => Ok(respond(200, &kinds::groups())),
        ["api", "v1"] => kinds::resources("").map(|list| respond(200, &list)).ok_or_else(unknown),
        ["apis", group, "v1"] => kinds::resources(group).map(|list| respond(200, &list)).ok_or_else(unknown),
        ["api", "v1", rest @ ..] => object(shared, call, "", rest).await,
        ["apis", group, "v1", rest @ ..] => object(shared, call, group, rest).await,
        _ => Err(unknown()),
    }
}

async fn object(shared: &Arc<Shared>, call: &Call, group: &str, rest: &[&str]) -> Result<Response<Body>, Refusal> {
    // A namespace is an object and a place of others.
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, rest) = rest.split_first().ok_or_else(|| Refusal::new(404, "NotFound", "no resource"))?;
    let kind = kinds::find(group, plural)
        .ok_or_else(|| Refusal::new(404, "NotFound", "the server could not find the requested resource"))?;
    match rest {
        [] => collection(shared, call, kind, namespace),
        [name] => {
            let key = Key { kind, namespace: namespace.to_owned(), name: (*name).to_owned() };
            let answer = one(&mut shared.store(), call, &key);
            if call.method == Method::GET {
                shared.after_reading(&key);
            }
            answer
        }
        [name, "log"] => {
            let key = Key { kind, namespace: namespace.to_owned(), name: (*name).to_owned() };
            log(shared, call, &key)
        }
        [name, "scale"] if kind.scale => {
            let key = Key { kind, namespace: namespace.to_owned(), name: (*name).to_owned() };
            scale(&mut shared.store(), call, &key)
        }
        _ => Err(Refusal::new(404, "NotFound", "the server could not find the requested resource")),
    }
}

fn collection(shared: &Arc<Shared>, call: &Call, kind: Kind, namespace: &str) -> Result<Response<Body>, Refusal> {
    match call.method {
        Method::GET if call.is("watch") => watch(shared, call, kind, namespace),
        Method::GET => {
            let store = shared.store();
            let selection = Selection::of(&call.query)?;
            let items: Vec<Value> = store
                .of(kind, namespace)
                .into_iter()
                .map(|(_, object)| object)
                .filter(|object| selection.takes(object))
                .collect();
            Ok(respond(
                200,
                &json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                "metadata": {"resourceVersion": store.version.to_string()}, "items": items}),
            ))
        }
        Method::POST => {
            let body = call.json()?;
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if name.is_empty() {
                return Err(Refusal::invalid(kind, "", "metadata.name: Required value"));
            }
            let key = Key { kind, namespace: namespace.to_owned(), name };
            let manager = call.manager();
            let writer = Writer { manager: &manager, subresource: "", dry: call.is("dryRun") };
            Ok(respond(201, &shared.store().create(&key, body, &writer)?))
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", "the server does not allow this method here")),
    }
}

fn one(store: &mut Store, call: &Call, key: &Key) -> Result<Response<Body>, Refusal> {
    let manager = call.manager();
    let writer = Writer { manager: &manager, subresource: "", dry: call.is("dryRun") };
    match call.method {
        Method::GET => Ok(respond(200, store.get(key)?)),
        Method::PUT => Ok(respond(200, &store.update(key, call.json()?, &writer)?)),
        Method::PATCH => patched(store, call, key, &writer),
        Method::DELETE => {
            let options = call.json()?;
            let live = store.get(key)?.clone();
            check_version(
                key,
                &live,
                &json!({"metadata": {"resourceVersion": options["preconditions"]["resourceVersion"]}}),
            )?;
            if !writer.dry {
                store.effect("delete", key);
                store.remove(key);
            }
            Ok(respond(200, &live))
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", "the server does not allow this method here")),
    }
}

fn patched(store: &mut Store, call: &Call, key: &Key, writer: &Writer<'_>) -> Result<Response<Body>, Refusal> {
    let body = call.json()?;
    if call.kind.starts_with("application/apply-patch") {
        return applied(store, call, key, body, writer);
    }
    let mut object = store.get(key)?.clone();
    let bad = |why: String| Refusal::new(422, "Invalid", why);
    match call.kind.as_str() {
        "application/merge-patch+json" => patch::merge(&mut object, &body),
        "application/json-patch+json" => patch::json_patch(&mut object, &body).map_err(bad)?,
        "application/strategic-merge-patch+json" => patch::strategic(&mut object, &body),
        other => {
            return Err(Refusal::new(415, "UnsupportedMediaType", format!("the patch type {other:?} is not known")));
        }
    }
    Ok(respond(200, &store.update(key, object, writer)?))
}

fn applied(
    store: &mut Store,
    call: &Call,
    key: &Key,
    mut body: Value,
    writer: &Writer<'_>,
) -> Result<Response<Body>, Refusal> {
    if !call.query.contains_key("fieldManager") {
        return Err(Refusal::new(400, "BadRequest", "fieldManager is required for apply patch"));
    }
    if !body["metadata"]["managedFields"].is_null() {
        return Err(Refusal::new(400, "BadRequest", "metadata.managedFields must be nil"));
    }
    let live = store.objects.get(key).cloned();
    let named = body["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
    match &live {
        Some(live) => check_version(key, live, &body)?,
        None if named => {
            return Err(Refusal::new(409, "Conflict", "the object to be changed is not there"));
        }
        None => {}
    }
    prepare(key, &mut body)?;
    let base = live.clone().unwrap_or_else(|| json!({}));
    let (object, owners) =
        fields::apply(&base, &body, writer.manager, call.is("force"), &now()).map_err(|clashes| {
            let causes: Vec<Value> = clashes
                .iter()
                .map(|clash| {
                    json!({"reason": "FieldManagerConflict", "field": clash.field,
                "message": format!("conflict with {:?}", clash.manager)})
                })
                .collect();
            let all: Vec<String> =
                clashes.iter().map(|clash| format!("conflict with {:?}: {}", clash.manager, clash.field)).collect();
            let plural = if all.len() == 1 { "conflict" } else { "conflicts" };
            let message = format!("Apply failed with {} {plural}: {}", all.len(), all.join(", "));
            Refusal { causes, ..Refusal::new(409, "Conflict", message) }
        })?;
    match live {
        Some(_) => Ok(respond(200, &store.replace(key, object, &owners, writer)?)),
        None => Ok(respond(201, &store.insert(key, object, &owners, writer)?)),
    }
}

/// What is put in before fields are compared, so that a default is nobody's field: only what tells items of lists apart
/// and what is stored in another form.
fn prepare(key: &Key, body: &mut Value) -> Result<(), Refusal> {
    let mut whole = body.clone();
    complete(key, &mut whole)?;
    if key.kind.kind == "Secret" {
        *body = whole;
        return Ok(());
    }
    if let Some(ports) = body.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
        ports.iter_mut().filter(|port| port["protocol"].is_null()).for_each(|port| port["protocol"] = json!("TCP"));
    }
    let containers = body.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let ports = container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        ports.filter(|port| port["protocol"].is_null()).for_each(|port| port["protocol"] = json!("TCP"));
    }
    Ok(())
}

fn scale(store: &mut Store, call: &Call, key: &Key) -> Result<Response<Body>, Refusal> {
    let live = store.get(key)?.clone();
    let present = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": live["metadata"]["uid"],
            "resourceVersion": live["metadata"]["resourceVersion"], "creationTimestamp": live["metadata"]["creationTimestamp"]},
        "spec": {"replicas": live["spec"]["replicas"]}, "status": {"replicas": live["status"]["replicas"]}});
    let wanted = match call.method {
        Method::GET => return Ok(respond(200, &present)),
        Method::PUT => call.json()?,
        _ => {
            let mut patched = present.clone();
            patch::merge(&mut patched, &call.json()?);
            patched
        }
    };
    check_version(key, &live, &wanted)?;
    let mut object = live;
    object["spec"]["replicas"] = wanted["spec"]["replicas"].clone();
    let manager = call.manager();
    let writer = Writer { manager: &manager, subresource: "scale", dry: call.is("dryRun") };
    let object = store.update(key, object, &writer)?;
    let mut answer = present;
    answer["spec"]["replicas"] = object["spec"]["replicas"].clone();
    answer["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    Ok(respond(200, &answer))
}

fn log(shared: &Arc<Shared>, call: &Call, key: &Key) -> Result<Response<Body>, Refusal> {
    let pod = shared.store().get(key)?.clone();
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let image = image.split('@').next().unwrap_or(image).to_owned();
    if image.contains("bad") {
        return Err(Refusal::new(400, "BadRequest", "container is waiting to start: trying and failing to pull image"));
    }
    let mut lines = vec![format!("starting {image}"), "listening on :8080".to_owned()];
    if let Some(said) =
        pod["spec"]["containers"][0]["env"].as_array().into_iter().flatten().find(|e| e["name"] == "SAYS")
    {
        lines.push(said["value"].as_str().unwrap_or_default().to_owned());
    }
    if image.contains("crash") {
        lines = vec![format!("starting {image}"), "panic: it always crashes".to_owned()];
    }
    let tail = call.query.get("tailLines").and_then(|count| count.parse::<usize>().ok()).unwrap_or(lines.len());
    let past: String = lines.iter().skip(lines.len().saturating_sub(tail)).map(|line| format!("{line}\n")).collect();
    if !call.is("follow") {
        return Ok(text(past));
    }
    let more = stream::unfold(0_u32, |number| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Bytes::from(format!("request {number}\n")), number + 1))
    });
    Ok(streamed(stream::once(async { Bytes::from(past) }).chain(more).boxed()))
}

fn streamed(chunks: BoxStream<'static, Bytes>) -> Response<Body> {
    // A body has to be shareable, which a boxed stream is not.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let mut chunks = chunks;
        while let Some(chunk) = chunks.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok(Frame::data(chunk)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn watch(shared: &Arc<Shared>, call: &Call, kind: Kind, namespace: &str) -> Result<Response<Body>, Refusal> {
    let selection = Selection::of(&call.query)?;
    let from = call.query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok()).unwrap_or(0);
    let mut first = Vec::new();
    let at = {
        let store = shared.store();
        if from > 0 && from < store.oldest {
            return Err(Refusal::new(410, "Expired", "too old resource version"));
        }
        if from == 0 {
            let here = store.of(kind, namespace).into_iter().map(|(_, object)| object);
            first.extend(here.filter(|object| selection.takes(object)).map(|object| line("ADDED", &object)));
        }
        if from == 0 { store.version } else { from }
    };
    let seconds = call.query.get("timeoutSeconds").and_then(|text| text.parse::<u64>().ok()).unwrap_or(300);
    let looker = Watcher {
        shared: Arc::clone(shared),
        kind,
        namespace: namespace.to_owned(),
        selection,
        at,
        bookmarks: call.is("allowWatchBookmarks"),
        dropped: shared.dropped.subscribe(),
        ends: tokio::time::Instant::now() + Duration::from_secs(seconds),
    };
    let later = stream::unfold(looker, |mut looker| async move { looker.next().await.map(|bytes| (bytes, looker)) });
    Ok(streamed(stream::iter(first).chain(later).boxed()))
}

fn line(what: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": what, "object": object})))
}

struct Watcher {
    shared: Arc<Shared>,
    kind: Kind,
    namespace: String,
    selection: Selection,
    at: u64,
    bookmarks: bool,
    dropped: tokio::sync::watch::Receiver<u64>,
    ends: tokio::time::Instant,
}

impl Watcher {
    /// What happened next; nothing when the time is over.
    async fn next(&mut self) -> Option<Bytes> {
        let mut changed = self.shared.changes.subscribe();
        let bookmark = tokio::time::Instant::now() + Duration::from_secs(1);
        loop {
            let found = self.found();
            if !found.is_empty() {
                return Some(found.into());
            }
            if self.dropped.has_changed().unwrap_or(true) {
                self.dropped.mark_unchanged();
                self.ends = tokio::time::Instant::now();
                return Some(Bytes::from_static(b"{\"type\":\"MODIF"));
            }
            let now = tokio::time::Instant::now();
            if now >= self.ends {
                return None;
            }
            if self.bookmarks && now >= bookmark {
                let object = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                    "metadata": {"resourceVersion": self.at.to_string()}});
                return Some(line("BOOKMARK", &object));
            }
            let pause = bookmark.max(now + Duration::from_millis(20)).min(self.ends);
            if let Ok(Err(_)) = tokio::time::timeout_at(pause, changed.changed()).await {
                return None;
            }
        }
    }

    fn found(&mut self) -> Vec<u8> {
        let store = self.shared.store();
        let mut out = Vec::new();
        if self.at < store.oldest {
            self.ends = tokio::time::Instant::now();
            return line("ERROR", &Refusal::new(410, "Expired", "too old resource version").body()).into();
        }
        for change in store.changes.iter().filter(|change| change.version > self.at) {
            let here = self.namespace.is_empty() || change.key.namespace == self.namespace;
            if change.key.kind == self.kind && here && self.selection.takes(&change.object) {
                out.extend_from_slice(&line(change.what, &change.object));
            }
        }
        self.at = store.version;
        out
    }
}
