//! Writing and removing single objects, under the version that was read, so that whoever was shut out writes nothing
//! more. It knows no operations.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use vice_core::{Code, Fault, Result};

use super::cluster::{Answer, MANAGER, printable};
use super::ledger::{Book, Running};
use super::object::{EPOCH, FENCE, OP, OWNER, ObjectId, RELEASE, Token, annotate, annotation, token_of};
use super::operate::Operator;
use super::owner;
use super::sheet::no_namespace;

/// Who sets the weights of a route, in its managed fields.
const WEIGHER: &str = "vice-traffic";
/// How often a write is made again because the object has changed between reading and writing. Controllers write the
/// status of what rolls out several times a second; with the rests in between, a storm of them may last five seconds.
pub(super) const ATTEMPTS: usize = 20;
/// How long is rested from the third attempt on, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));
/// Kinds that hold data, or everything else of somebody: they stay when a release no longer has them.
const KEPT_KINDS: &[&str] = &["Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition"];

/// Lets whoever writes the same object all the time come to an end.
pub(super) async fn rest(attempt: usize) {
    let Some(times) = attempt.checked_sub(2) else { return };
    let factor = 1_u32.checked_shl(u32::try_from(times).unwrap_or(u32::MAX)).unwrap_or(u32::MAX);
    sleep(REST.0.saturating_mul(factor).min(REST.1)).await;
}

/// What is noted on every object that is written.
struct Stamp<'a> {
    op: &'a str,
    token: Token,
    version: &'a str,
}

impl Operator<'_> {
    /// An object as it is, if it is there.
    pub(super) async fn live(&self, id: &ObjectId) -> Result<Option<Value>> {
        match self.cluster.path(id).await? {
            Some(path) => self.cluster.get(&path).await,
            None => Ok(None),
        }
    }

    /// From here on whoever has a lower token fails at the next write of this object.
    pub(super) async fn stamp_fence(&self, id: &ObjectId, token: Token) -> Result<()> {
        let Some(path) = self.cluster.path(id).await? else { return Ok(()) };
        for attempt in 0..ATTEMPTS {
            rest(attempt).await;
            let Some(live) = self.cluster.get(&path).await? else { return Ok(()) };
            if token_of(&live) >= token {
                return Ok(());
            }
            let mut body = json!({"apiVersion": id.api_version, "kind": id.kind, "metadata": {"name": id.name}});
            annotate(&mut body, "", FENCE, &token.to_string());
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            let url = format!("{path}?fieldManager=vice-fence&force=true");
            match self.cluster.ask(Method::PATCH, &url, Some(&body)).await? {
                Answer::Done(_) | Answer::Missing => return Ok(()),
                Answer::Conflict(_) => {}
            }
        }
        Err(busy(&id.to_string()))
    }

    /// Writes objects in order.
    pub(super) async fn write_all(
        &self,
        objects: &[Value],
        running: Option<&Running>,
        op: &str,
        token: Token,
    ) -> Result<()> {
        let version = running.map(|running| running.release.version.as_str()).unwrap_or_default();
        for object in objects {
            self.write(object, &Stamp { op, token, version }, false).await?;
        }
        Ok(())
    }

    /// Tries everything without doing it, so that what the cluster refuses is refused before anything has changed.
    pub(super) async fn rehearse(&self, objects: &[Value], version: &str, token: Token) -> Result<Vec<Value>> {
        self.refuse_twice(objects).await?;
        let has = |kind: &str| objects.iter().any(|object| object["kind"] == kind);
        let mut made = Vec::new();
        for object in objects {
            let stamp = Stamp { op: "rehearsal", token, version };
            match self.write(object, &stamp, true).await {
                Ok(object) => made.push(object),
                // What would define the kind, or be its place, is only rehearsed itself.
                Err(fault)
                    if fault.code() == Code::UnknownName && (has("Namespace") || has("CustomResourceDefinition")) =>
                {
                    made.push(object.clone());
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(made)
    }

    /// Refuses manifests that mean one object by two documents, such as one that names the namespace in which the other is
    /// anyway: the second would undo the first, in every deploy.
    async fn refuse_twice(&self, objects: &[Value]) -> Result<()> {
        let mut seen: BTreeMap<String, ObjectId> = BTreeMap::new();
        for id in objects.iter().filter_map(ObjectId::of) {
            let Some(path) = self.cluster.path(&id).await? else { continue };
            if let Some(other) = seen.insert(path, id.clone()) {
                let place = |id: &ObjectId| id.namespace.clone().unwrap_or_else(|| "no namespace".to_owned());
                let message = format!("The manifests have {id} twice, with {} and with {}.", place(&other), place(&id));
                return Err(Fault::new(Code::ManifestInvalid, message).hint("Keep one of them."));
            }
        }
        Ok(())
    }

    /// Applies one object, under the version that was read.
    async fn write(&self, object: &Value, stamp: &Stamp<'_>, dry: bool) -> Result<Value> {
        let id = ObjectId::of(object).ok_or_else(|| Fault::internal("An object has no name."))?;
        let path = self.cluster.path(&id).await?.ok_or_else(|| {
            Fault::new(Code::UnknownName, format!("The cluster has no kind {} in {}.", id.kind, id.api_version))
                .hint("What defines it may be missing, or of another version: `kubectl api-resources` lists all.")
        })?;
        for attempt in 0..ATTEMPTS {
            rest(attempt).await;
            let live = self.cluster.get(&path).await?;
            let url = self.apply_url(&id, &path, live.as_ref(), dry);
            let body = self.stamped(&id, object, stamp, live.as_ref())?;
            if live.is_none() && !dry {
                self.check_ledger(stamp.token).await?;
            }
            match self.cluster.ask(Method::PATCH, &url, Some(&body)).await.map_err(|fault| fault.about(&id))? {
                Answer::Done(object) => return Ok(object),
                Answer::Missing => return Err(self.homeless(&id)),
                Answer::Conflict(status) => {
                    if let Some(fault) = owner::conflict(&id, &status) {
                        return Err(fault);
                    }
                }
            }
        }
        Err(busy(&id.to_string()))
    }

    /// An object whose namespace is not there. That of vice's own records can't come with the manifests: they are written
    /// before anything is.
    fn homeless(&self, id: &ObjectId) -> Fault {
        let namespace = id.namespace.as_deref().unwrap_or(&self.cluster.namespace);
        if namespace == self.cluster.namespace {
            let fault = no_namespace(namespace);
            return fault.hints().iter().fold(Fault::new(Code::UnknownName, fault.to_string()), Fault::hint);
        }
        Fault::new(Code::UnknownName, format!("The namespace {namespace:?} of {id} does not exist."))
            .hint("Add a Namespace to the manifests, or make it first.")
    }

    /// The object with what is noted on it, and with the version that it replaces.
    fn stamped(&self, id: &ObjectId, object: &Value, stamp: &Stamp<'_>, live: Option<&Value>) -> Result<Value> {
        let mut body = object.clone();
        annotate(&mut body, "", OP, stamp.op);
        annotate(&mut body, "", EPOCH, &stamp.token.to_string());
        annotate(&mut body, "", RELEASE, stamp.version);
        annotate(&mut body, "", OWNER, &self.names.owner);
        if let Some(live) = live {
            owner::check(id, live, &self.names.owner)?;
            self.check_token(id, live, stamp.token)?;
            refuse_dying(id, live)?;
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        Ok(body)
    }

    /// Where an object is applied. The weights of a route belong to a manager of their own.
    fn apply_url(&self, id: &ObjectId, path: &str, live: Option<&Value>, dry: bool) -> String {
        let weighed = self.split.as_ref().is_some_and(|split| split.is_weighed(id));
        let manager = if weighed { WEIGHER } else { MANAGER };
        // Before its traffic was split, the route was applied with everything else.
        let moves = weighed && live.is_some_and(has_rules_of_ours);
        let dry = if dry { "&dryRun=All" } else { "" };
        format!("{path}?fieldManager={manager}&force={}{dry}", self.force || moves)
    }

    /// An object that is not there yet has no version to name: the ledger says who may create it.
    async fn check_ledger(&self, token: Token) -> Result<()> {
        let book = Book::read(self.cluster, self.names).await?;
        book.check_epoch(token.epoch)?;
        if book.ledger.token() <= token {
            return Ok(());
        }
        Err(shut_out("The cluster", book.ledger.token(), token))
    }

    /// Refuses whoever was shut out of an object.
    pub(super) fn check_token(&self, id: &ObjectId, live: &Value, token: Token) -> Result<()> {
        // An object of another owner has another count.
        let ours = annotation(live, OWNER).is_none_or(|owner| owner == self.names.owner);
        if ours && token_of(live) > token { Err(shut_out(&id.to_string(), token_of(live), token)) } else { Ok(()) }
    }

    /// Removes what `gone` had and `stays` has not, where it is ours.
    pub(super) async fn prune(&self, gone: Option<&Running>, stays: Option<&Running>, token: Token) -> Result<()> {
        let kept = self.ids_of(stays).await?;
        let mut ids = self.ids_of(gone).await?;
        ids.retain(|id| !kept.contains(id) && !KEPT_KINDS.contains(&id.kind.as_str()));
        for id in ids.iter().rev() {
            self.remove(id, token).await?;
        }
        Ok(())
    }

    async fn remove(&self, id: &ObjectId, token: Token) -> Result<()> {
        let Some(path) = self.cluster.path(id).await? else { return Ok(()) };
        for attempt in 0..ATTEMPTS {
            rest(attempt).await;
            let Some(live) = self.cluster.get(&path).await? else { return Ok(()) };
            if annotation(&live, OWNER) != Some(self.names.owner.as_str()) {
                return Ok(());
            }
            self.check_token(id, &live, token)?;
            let options = json!({
                "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
                "preconditions": {"resourceVersion": live["metadata"]["resourceVersion"]},
            });
            match self.cluster.ask(Method::DELETE, &path, Some(&options)).await? {
                Answer::Done(_) | Answer::Missing => return Ok(()),
                Answer::Conflict(_) => {}
            }
        }
        Err(busy(&id.to_string()))
    }
}

/// Refuses to change what is about to vanish: the change would vanish with it.
fn refuse_dying(id: &ObjectId, live: &Value) -> Result<()> {
    if live["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let holding: Vec<&str> =
        live["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fault = Fault::new(Code::Conflict, format!("{id} is being deleted."));
    Err(match holding.as_slice() {
        [] => fault.hint("Wait until it is gone, and deploy again."),
        some => fault
            .hint(format!("Wait until it is gone, and deploy again; it is held by {}.", printable(&some.join(", ")))),
    })
}

/// Whether the rules of a route were applied with everything else.
fn has_rules_of_ours(live: &Value) -> bool {
    let entries = live["metadata"]["managedFields"].as_array();
    let rules = |entry: &Value| entry["fieldsV1"]["f:spec"].get("f:rules").is_some();
    entries.into_iter().flatten().any(|entry| entry["manager"] == MANAGER && rules(entry))
}

fn shut_out(what: &str, seen: Token, token: Token) -> Fault {
    Fault::new(Code::Fenced, format!("{what} has seen epoch {seen} and refuses {token}."))
        .hint("Another holder has taken over; look at `vice status`.")
}

/// Something else writes the same thing all the time.
pub(super) fn busy(what: &str) -> Fault {
    Fault::new(Code::Conflict, format!("Something else changes {what} all the time."))
        .hint("`kubectl get -o yaml --show-managed-fields` shows who.")
}
