//! A fake of a Kubernetes API server with the controllers behind it, for tests. It speaks HTTP on a port of its own, so
//! that `kubectl` can be pointed at it as well.
//!
//! What it does as a real one does: discovery; get, list and watch with resource versions, bookmarks and 410; create,
//! replace, delete with preconditions; merge, JSON and strategic merge patch; server-side apply with managed fields,
//! conflicts and force; `dryRun=All`; the scale subresource; pods with logs; events; Deployments with ReplicaSets,
//! revisions, surge, progress deadlines and rollback; StatefulSets with ordinals and partitions; DaemonSets on two nodes.
//!
//! HTTPRoutes as a custom resource: defaults and validation of weights, whole lists of rules as fields.
//!
//! The name of a pod's first image says what becomes of it: one with `bad` in it is never pulled, one with `crash`
//! crashes, one with `unready` fails its probe, one with `huge` finds no node, and every other one is ready after 60 ms.
//! A ResourceQuota of `pods` is kept to.
//!
//! Its limits: the kinds in `kinds` only, one version each; no admission, no OpenAPI (kubectl needs
//! `--validate=false`), no protobuf, no tables, no paging, no RBAC; schemas know only the keyed lists in `fields`;
//! pods end at once; a partitioned StatefulSet makes lost pods anew from the new template; controllers own no fields.
//!
//! Beside it there is a fake of a registry of images, [`Registry`].
//!
//! It must not be used for anything but tests: it keeps everything in memory.

mod controllers;
mod fields;
mod kinds;
mod patch;
mod registry;
mod select;
mod server;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use registry::{Door, Registry};
use store::{Key, Store, Writer};

/// How often the controllers take a step.
const TURN: Duration = Duration::from_millis(15);

/// Where a connection breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the request has an effect.
    Request,
    /// After it had its effect, before the answer.
    Reply,
}

/// What goes wrong: after so many changing requests, everything breaks off until it is healed.
#[derive(Debug, Clone, Copy)]
struct Scissors {
    left: usize,
    how: Cut,
}

trait LockNow<T> {
    fn lock_now(&self) -> MutexGuard<'_, T>;
}

impl<T> LockNow<T> for Mutex<T> {
    fn lock_now(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    store: Mutex<Store>,
    changes: watch::Sender<u64>,
    scissors: Mutex<Option<Scissors>>,
    requests: Mutex<Vec<String>>,
    token: Mutex<Option<String>>,
    /// Raised to end all watches.
    dropped: watch::Sender<u64>,
    /// So many requests are answered with that status instead.
    unwell: Mutex<(usize, u16)>,
    /// So many reads of that object are each followed by a change of it.
    storm: Mutex<Option<(Key, usize)>>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock_now()
    }

    fn token(&self) -> Option<String> {
        self.token.lock_now().clone()
    }

    fn changed(&self) {
        let version = self.store().version;
        self.changes.send_if_modified(|seen| std::mem::replace(seen, version) != version);
    }

    /// The status that this request gets instead of an answer.
    fn refusal(&self) -> Option<u16> {
        let mut unwell = self.unwell.lock_now();
        unwell.0 = unwell.0.checked_sub(1)?;
        Some(unwell.1)
    }

    /// What a read of an object brings about.
    fn after_reading(&self, key: &Key) {
        let mut storm = self.storm.lock_now();
        let Some((_, left)) = storm.as_mut().filter(|(at, left)| at == key && *left > 0) else { return };
        *left -= 1;
        let mut store = self.store();
        if let Some(mut object) = store.objects.get(key).cloned() {
            object["status"]["storm"] = json!(*left);
            store.put(key, object);
        }
    }

    /// Whether, and where, this request breaks off.
    fn cut(&self, changes: bool) -> Option<Cut> {
        let mut scissors = self.scissors.lock_now();
        let cut = scissors.as_mut()?;
        if cut.left == 0 {
            return Some(Cut::Request);
        }
        if !changes {
            return None;
        }
        cut.left -= 1;
        (cut.left == 0).then_some(cut.how)
    }
}

/// A running fake. It ends when it is dropped.
pub struct Fake {
    shared: Arc<Shared>,
    url: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Fake {
    /// Starts one on a free port of 127.0.0.1, with the namespace `default`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_with(None).await
    }

    /// As [`Self::start`], over TLS as the acceptor says.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(tls: Option<TlsAcceptor>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            changes: watch::channel(0).0,
            scissors: Mutex::default(),
            requests: Mutex::default(),
            token: Mutex::default(),
            dropped: watch::channel(0).0,
            unwell: Mutex::default(),
            storm: Mutex::default(),
        });
        let fake = Self {
            tasks: vec![
                tokio::spawn(listen(listener, tls, Arc::clone(&shared))),
                tokio::spawn(control(Arc::clone(&shared))),
            ],
            shared,
            url,
        };
        fake.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
        Ok(fake)
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig with one context, named `fake`.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
        })
        .to_string()
    }

    /// Breaks every watch off in the middle of a line.
    pub fn drop_watches(&self) {
        self.shared.dropped.send_modify(|times| *times += 1);
    }

    /// Forgets what happened so far, as a real one does after some minutes: watches from earlier versions are told that
    /// these are gone.
    pub fn forget(&self) {
        self.shared.store().forget();
    }

    /// From now on only this bearer token is let in.
    pub fn require_token(&self, token: &str) {
        *self.shared.token.lock_now() = Some(token.to_owned());
    }

    /// After so many more changing requests, every connection breaks off; the last of them as `how` says.
    pub fn cut_after(&self, changes: usize, how: Cut) {
        *self.shared.scissors.lock_now() = Some(Scissors { left: changes, how });
    }

    /// Connections hold again. Says whether anything had broken off.
    pub fn heal(&self) -> bool {
        self.shared.scissors.lock_now().take().is_some_and(|scissors| scissors.left == 0)
    }

    /// The next so many requests are refused with a status, such as 429 (too busy).
    pub fn refuse_next(&self, requests: usize, status: u16) {
        *self.shared.unwell.lock_now() = (requests, status);
    }

    /// From now on, somebody changes the status of an object right after it was read, so many times.
    pub fn storm(&self, kind: &str, name: &str, times: usize) {
        *self.shared.storm.lock_now() = key_of(kind, name).map(|key| (key, times));
    }

    /// How often the object of [`Self::storm`] will still be changed.
    #[must_use]
    pub fn storm_left(&self) -> usize {
        self.shared.storm.lock_now().as_ref().map_or(0, |(_, left)| *left)
    }

    /// Every change of a workload's specification from outside, such as `change default/web`.
    #[must_use]
    pub fn effects(&self) -> Vec<String> {
        self.shared.store().effects.clone()
    }

    /// Every request so far, such as `GET /version`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock_now().clone()
    }

    /// An object as it is.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let key = key_of(kind, name)?;
        self.shared.store().objects.get(&key).cloned()
    }

    /// An object of another namespace than `default` as it is.
    #[must_use]
    pub fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let key = Key { namespace: namespace.to_owned(), ..key_of(kind, name)? };
        self.shared.store().objects.get(&key).cloned()
    }

    /// The names of all objects of a kind in `default`.
    #[must_use]
    pub fn names(&self, kind: &str) -> Vec<String> {
        let Some(kind) = kinds::named(kind) else { return Vec::new() };
        let store = self.shared.store();
        store.objects.keys().filter(|key| key.kind == kind).map(|key| key.name.clone()).collect()
    }

    /// Creates an object as somebody called `somebody` would; false when it is refused.
    pub fn create(&self, object: &Value) -> bool {
        self.create_as("somebody", object)
    }

    /// Creates an object as that field manager; false when it is refused.
    pub fn create_as(&self, manager: &str, object: &Value) -> bool {
        let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
        let Some(key) = kind.zip(name).and_then(|(kind, name)| key_of(kind, name)) else { return false };
        let writer = Writer { manager, subresource: "", dry: false };
        let made = self.shared.store().create(&key, object.clone(), &writer).is_ok();
        self.shared.changed();
        made
    }

    /// Deletes an object as somebody would; false when it is not there.
    pub fn delete(&self, kind: &str, name: &str) -> bool {
        let gone = key_of(kind, name).and_then(|key| self.shared.store().remove(&key));
        self.shared.changed();
        gone.is_some()
    }

    /// Changes an object as somebody called `somebody` would; false when it is refused.
    pub fn change(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(key) = key_of(kind, name) else { return false };
        let mut store = self.shared.store();
        let Some(mut object) = store.objects.get(&key).cloned() else { return false };
        change(&mut object);
        let writer = Writer { manager: "somebody", subresource: "", dry: false };
        store.update(&key, object, &writer).is_ok()
    }
}

fn key_of(kind: &str, name: &str) -> Option<Key> {
    let kind = kinds::named(kind)?;
    let namespace = if kind.namespaced { "default" } else { "" };
    Some(Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| server::serve(Arc::clone(&shared), request));
            // A connection that fails is the client's matter.
            match tls {
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

async fn control(shared: Arc<Shared>) {
    let mut memory = controllers::Memory::default();
    loop {
        controllers::turn(&mut shared.store(), &mut memory);
        shared.changed();
        tokio::time::sleep(TURN).await;
    }
}
