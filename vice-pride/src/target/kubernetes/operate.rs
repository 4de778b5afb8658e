//! Operations: from what runs to what shall run, and back when that fails.
//!
//! Whoever begins an operation notes it in the ledger first, under the ledger's version, so that a caller with a lower
//! epoch can't begin one any more after a fence. One that had begun is shut out object by object: the fence puts its
//! epoch on each of them, which changes the object's version, and every write names the version that it has read.
//!
//! An operation that breaks off is settled by the next caller: carried through when everything was written and becomes
//! ready, taken back otherwise. What is taken back is never taken back again.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, Op};
use vice_core::{Clock, Code, Fault, Millis, Result};

use super::cluster::{Answer, Cluster, MANAGER, backend};
use super::failing;
use super::ledger::{Book, Pending, RESUME_TIMEOUT, Revision, Running};
use super::names::Names;
use super::object::{EPOCH, FENCE, OP, OWNER, ObjectId, RELEASE, annotate, annotation, epoch_of};
use super::owner;
use super::release::Release;
use super::rollout::{self, Rollout};

/// How often a write is made again because the object has changed between reading and writing. Controllers write the
/// status of what rolls out several times a second.
const ATTEMPTS: usize = 20;
/// How often a workload is looked at, at first and at most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often in a row the cluster may fail to answer while something rolls out.
const SILENCES_MAX: u32 = 10;
/// Kinds that hold data, or everything else of somebody: they stay when a release no longer has them.
const KEPT_KINDS: &[&str] = &["Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition"];

/// Carries out operations in one cluster.
pub(super) struct Operator<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) names: &'a Names,
    pub(super) clock: &'a dyn Clock,
    /// How long workloads may take.
    pub(super) timeout: Millis,
    /// Whether fields are taken over from others.
    pub(super) force: bool,
}

/// What is noted on every object that is written.
struct Stamp<'a> {
    op: &'a str,
    epoch: u64,
    version: &'a str,
}

/// The content of a release: where it is kept, or what has to be kept first.
pub(super) enum Content {
    Kept(u32),
    New(Box<Release>),
}

impl Operator<'_> {
    /// Raises the epoch and shuts out, then settles, what is under way.
    pub(super) async fn fence(&self, epoch: u64) -> Result<()> {
        let mut book = self.raised(epoch).await?;
        if book.ledger.pending.is_some() {
            self.shut_out(&book, epoch).await?;
            self.settle(&mut book, epoch).await?;
        }
        Ok(())
    }

    async fn raised(&self, epoch: u64) -> Result<Book> {
        for _ in 0..ATTEMPTS {
            let mut book = Book::read(self.cluster, self.names).await?;
            book.check_epoch(epoch)?;
            if book.ledger.epoch == epoch {
                return Ok(book);
            }
            book.ledger.epoch = epoch;
            match book.write(self.cluster, self.names).await {
                Err(fault) if fault.code() == Code::Conflict => {}
                written => return written.map(|()| book),
            }
        }
        Err(busy("the record of what runs"))
    }

    /// From here on a caller with a lower epoch fails at its next write of an object.
    async fn shut_out(&self, book: &Book, epoch: u64) -> Result<()> {
        let Some(pending) = &book.ledger.pending else { return Ok(()) };
        let mut ids = self.ids_of(pending.before.as_ref()).await?;
        ids.extend(self.ids_of(pending.after.as_ref()).await?);
        ids.sort();
        ids.dedup();
        for id in ids {
            self.stamp_fence(&id, epoch).await?;
        }
        Ok(())
    }

    async fn stamp_fence(&self, id: &ObjectId, epoch: u64) -> Result<()> {
        let Some(path) = self.cluster.path(id).await? else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Some(live) = self.cluster.get(&path).await? else { return Ok(()) };
            if epoch_of(&live) >= epoch {
                return Ok(());
            }
            let mut body = json!({"apiVersion": id.api_version, "kind": id.kind, "metadata": {"name": id.name}});
            annotate(&mut body, "", FENCE, &epoch.to_string());
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            let url = format!("{path}?fieldManager=vice-fence&force=true");
            match self.cluster.ask(Method::PATCH, &url, Some(&body)).await? {
                Answer::Done(_) | Answer::Missing => return Ok(()),
                Answer::Conflict(_) => {}
            }
        }
        Err(busy(&id.to_string()))
    }

    /// Brings an operation that broke off to an end.
    async fn settle(&self, book: &mut Book, epoch: u64) -> Result<()> {
        let Some(pending) = book.ledger.pending.clone() else { return Ok(()) };
        book.ledger.epoch = epoch;
        if pending.undo {
            // What took an operation back is carried on: the way back has no way back.
            return self.carry_out(book, epoch).await;
        }
        if pending.written {
            let objects = self.objects_of(pending.after.as_ref()).await?;
            let patience = Millis(self.timeout.0.min(RESUME_TIMEOUT.0));
            match self.wait(&objects, epoch, patience).await {
                Ok(()) => return self.conclude(book, &pending, epoch).await,
                Err(fault) if is_silence(&fault) => return Err(fault),
                Err(_) => {}
            }
        }
        // Whether the earlier release is well again is for the inventory to say.
        self.put_back(book, &pending, epoch).await.map(drop)
    }

    /// From what runs to `after`. When that fails, what ran is put back.
    pub(super) async fn change(&self, book: &mut Book, op: &Op, after: Option<Running>) -> Result<()> {
        let before = book.ledger.running.clone();
        self.begin(book, op, Pending::new(op, false, before, after)?).await?;
        let Err(fault) = self.carry_out(book, op.epoch).await else { return Ok(()) };
        if is_silence(&fault) || fault.code() == Code::Fenced {
            return Err(fault);
        }
        let Some(pending) = book.ledger.pending.clone() else { return Err(fault) };
        match self.put_back(book, &pending, op.epoch).await {
            Ok(None) => Err(fault),
            Ok(Some(unwell)) => Err(with(fault, &format!("What ran before was put back: {unwell}"))),
            Err(second) => {
                // After silence the caller fences and asks, and the fence puts back what could not be.
                let settles = is_silence(&second) || second.code() == Code::Fenced;
                let code = if settles { second.code() } else { Code::InDoubt };
                Err(Fault::new(code, format!("{fault} What ran before could not be put back.")).because(second))
            }
        }
    }

    /// From what runs to `after`, as the way back: when it fails, it stays where it got to.
    pub(super) async fn change_back(&self, book: &mut Book, op: &Op, after: Option<Running>) -> Result<()> {
        let before = book.ledger.running.clone();
        self.begin(book, op, Pending::new(op, true, before, after)?).await?;
        self.carry_out(book, op.epoch).await
    }

    async fn begin(&self, book: &mut Book, op: &Op, pending: Pending) -> Result<()> {
        book.ledger.epoch = op.epoch;
        book.ledger.pending = Some(pending);
        book.write(self.cluster, self.names).await
    }

    /// Takes up what an earlier caller left.
    pub(super) async fn recover(&self, book: &mut Book, epoch: u64) -> Result<()> {
        if book.ledger.pending.is_none() {
            return Ok(());
        }
        self.shut_out(book, epoch).await?;
        self.settle(book, epoch).await
    }

    async fn carry_out(&self, book: &mut Book, epoch: u64) -> Result<()> {
        let Some(pending) = book.ledger.pending.clone() else { return Ok(()) };
        let objects = self.objects_of(pending.after.as_ref()).await?;
        self.write_all(&objects, pending.after.as_ref(), &pending.op, epoch).await?;
        if let Some(noted) = &mut book.ledger.pending {
            noted.written = true;
        }
        book.write(self.cluster, self.names).await?;
        let waited = self.wait(&objects, epoch, self.timeout).await;
        match waited {
            Ok(()) => {}
            Err(fault) if pending.undo && fault.code() == Code::Unhealthy => {
                self.conclude(book, &pending, epoch).await?;
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        }
        self.conclude(book, &pending, epoch).await
    }

    /// Removes what the release no longer has, and notes that the operation was carried out.
    async fn conclude(&self, book: &mut Book, pending: &Pending, epoch: u64) -> Result<()> {
        self.prune(pending.before.as_ref(), pending.after.as_ref(), epoch).await?;
        book.ledger.finish();
        let gone = book.ledger.expired();
        book.write(self.cluster, self.names).await?;
        for number in gone {
            // One that stays is read by nobody, and the operation was carried out.
            if let Err(fault) = self.cluster.ask(Method::DELETE, &self.revision_path(number), None).await {
                tracing::warn!(number, %fault, "a release that is not needed stays in the cluster");
            }
        }
        Ok(())
    }

    /// Writes back what ran before an operation; says why it is not well, if it isn't.
    async fn put_back(&self, book: &mut Book, pending: &Pending, epoch: u64) -> Result<Option<Fault>> {
        let objects = self.objects_of(pending.before.as_ref()).await?;
        let op = pending.before.as_ref().map_or(pending.op.as_str(), |before| before.op.as_str());
        self.write_all(&objects, pending.before.as_ref(), op, epoch).await?;
        let waited = self.wait(&objects, epoch, self.timeout).await;
        let unwell = match waited {
            Ok(()) => None,
            Err(fault) if fault.code() == Code::Unhealthy => Some(fault),
            Err(fault) => return Err(fault),
        };
        self.prune(pending.after.as_ref(), pending.before.as_ref(), epoch).await?;
        book.ledger.pending = None;
        book.write(self.cluster, self.names).await?;
        Ok(unwell)
    }

    async fn write_all(&self, objects: &[Value], running: Option<&Running>, op: &str, epoch: u64) -> Result<()> {
        let version = running.map(|running| running.release.version.as_str()).unwrap_or_default();
        for object in objects {
            self.write(object, &Stamp { op, epoch, version }, false).await?;
        }
        Ok(())
    }

    /// Tries everything without doing it, so that what the cluster refuses is refused before anything has changed.
    pub(super) async fn rehearse(&self, objects: &[Value], version: &str, epoch: u64) -> Result<Vec<Value>> {
        let has = |kind: &str| objects.iter().any(|object| object["kind"] == kind);
        let mut made = Vec::new();
        for object in objects {
            let stamp = Stamp { op: "rehearsal", epoch, version };
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

    /// Applies one object, under the version that was read.
    async fn write(&self, object: &Value, stamp: &Stamp<'_>, dry: bool) -> Result<Value> {
        let id = ObjectId::of(object).ok_or_else(|| Fault::internal("An object has no name."))?;
        let path = self.cluster.path(&id).await?.ok_or_else(|| {
            Fault::new(Code::UnknownName, format!("The cluster has no kind {} in {}.", id.kind, id.api_version))
                .hint("What defines it may be missing, or of another version: `kubectl api-resources` lists all.")
        })?;
        let url = format!("{path}?fieldManager={MANAGER}&force={}{}", self.force, if dry { "&dryRun=All" } else { "" });
        for _ in 0..ATTEMPTS {
            let live = self.cluster.get(&path).await?;
            let body = self.stamped(&id, object, stamp, live.as_ref())?;
            if live.is_none() && !dry {
                Book::read(self.cluster, self.names).await?.check_epoch(stamp.epoch)?;
            }
            match self.cluster.ask(Method::PATCH, &url, Some(&body)).await.map_err(|fault| about(&id, fault))? {
                Answer::Done(object) => return Ok(object),
                Answer::Missing => {
                    let message = format!("The namespace of {id} does not exist.");
                    return Err(Fault::new(Code::UnknownName, message).hint("Add a Namespace to the manifests."));
                }
                Answer::Conflict(status) => {
                    if let Some(fault) = owner::conflict(&id, &status) {
                        return Err(fault);
                    }
                }
            }
        }
        Err(busy(&id.to_string()))
    }

    /// The object with what is noted on it, and with the version that it replaces.
    fn stamped(&self, id: &ObjectId, object: &Value, stamp: &Stamp<'_>, live: Option<&Value>) -> Result<Value> {
        let mut body = object.clone();
        annotate(&mut body, "", OP, stamp.op);
        annotate(&mut body, "", EPOCH, &stamp.epoch.to_string());
        annotate(&mut body, "", RELEASE, stamp.version);
        annotate(&mut body, "", OWNER, &self.names.owner);
        if let Some(live) = live {
            owner::check(id, live, &self.names.owner)?;
            self.check_epoch(id, live, stamp.epoch)?;
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        Ok(body)
    }

    fn check_epoch(&self, id: &ObjectId, live: &Value, epoch: u64) -> Result<()> {
        // An object of another owner has another count.
        if annotation(live, OWNER).is_none_or(|owner| owner == self.names.owner) && epoch_of(live) > epoch {
            return Err(Fault::new(
                Code::Fenced,
                format!("{id} has seen epoch {} and refuses {epoch}.", epoch_of(live)),
            )
            .hint("Another holder has taken over; look at `vice status`."));
        }
        Ok(())
    }

    /// Waits until every workload has rolled out.
    async fn wait(&self, objects: &[Value], epoch: u64, patience: Millis) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(patience.0);
        for id in objects.iter().filter_map(ObjectId::of).filter(ObjectId::is_workload) {
            let Some(path) = self.cluster.path(&id).await? else { continue };
            let (mut pause, mut silences) = (LOOK_EVERY.0, 0);
            loop {
                let missing = match self.look(&id, &path, epoch).await {
                    Ok(None) => break,
                    Ok(Some(missing)) => missing,
                    Err(fault) if is_silence(&fault) && silences < SILENCES_MAX && Instant::now() < deadline => {
                        silences += 1;
                        sleep(pause).await;
                        continue;
                    }
                    Err(fault) => return Err(fault),
                };
                silences = 0;
                if Instant::now() >= deadline {
                    let live = self.cluster.get(&path).await?.unwrap_or_default();
                    return Err(failing::explain(self.cluster, &id, &live, &missing).await);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_EVERY.1);
            }
        }
        Ok(())
    }

    /// What is still missing; nothing when it has rolled out.
    async fn look(&self, id: &ObjectId, path: &str, epoch: u64) -> Result<Option<String>> {
        let Some(live) = self.cluster.get(path).await? else {
            return Err(Fault::new(Code::Unhealthy, format!("{id} was removed by somebody else.")));
        };
        self.check_epoch(id, &live, epoch)?;
        match rollout::of(&live) {
            Rollout::Done => Ok(None),
            Rollout::Going(missing) => Ok(Some(missing)),
            Rollout::Failed(why) => Err(failing::explain(self.cluster, id, &live, &why).await),
        }
    }

    /// Removes what `gone` had and `stays` has not, where it is ours.
    async fn prune(&self, gone: Option<&Running>, stays: Option<&Running>, epoch: u64) -> Result<()> {
        let kept = self.ids_of(stays).await?;
        let mut ids = self.ids_of(gone).await?;
        ids.retain(|id| !kept.contains(id) && !KEPT_KINDS.contains(&id.kind.as_str()));
        for id in ids.iter().rev() {
            self.remove(id, epoch).await?;
        }
        Ok(())
    }

    async fn remove(&self, id: &ObjectId, epoch: u64) -> Result<()> {
        let Some(path) = self.cluster.path(id).await? else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Some(live) = self.cluster.get(&path).await? else { return Ok(()) };
            if annotation(&live, OWNER) != Some(self.names.owner.as_str()) {
                return Ok(());
            }
            self.check_epoch(id, &live, epoch)?;
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

    pub(super) async fn ids_of(&self, running: Option<&Running>) -> Result<Vec<ObjectId>> {
        Ok(self.objects_of(running).await?.iter().filter_map(ObjectId::of).collect())
    }

    /// The objects of what runs or ran.
    pub(super) async fn objects_of(&self, running: Option<&Running>) -> Result<Vec<Value>> {
        let Some(running) = running else { return Ok(Vec::new()) };
        let release = self.load(running.revision).await?.ok_or_else(|| lost(&running.release))?;
        Ok(release.objects(self.names, running))
    }

    /// A release that is kept.
    pub(super) async fn load(&self, number: u32) -> Result<Option<Release>> {
        let object = self.cluster.get(&self.revision_path(number)).await?;
        // Data of a Secret are base64 of what is packed, which is text.
        let packed = object.as_ref().and_then(|object| object["data"]["release"].as_str()).and_then(decoded);
        Ok(packed.as_deref().and_then(Release::unpack))
    }

    /// Keeps a release; the ledger knows of it when it is written next.
    async fn keep(&self, book: &mut Book, of: &ReleaseRef, release: &Release) -> Result<u32> {
        let number = book.ledger.next_revision();
        let name = self.names.revision(number);
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "vice.dev/release.v1",
            "metadata": {"name": name, "annotations": {OWNER: self.names.owner, RELEASE: of.version}},
            "stringData": {"release": release.pack(of)?},
        });
        let folder = format!("/api/v1/namespaces/{}/secrets", self.cluster.namespace);
        // One that is there already is that of an attempt which did not get to the ledger. Its type can't be changed.
        let mut answer =
            self.cluster.ask(Method::POST, &format!("{folder}?fieldManager={MANAGER}"), Some(&object)).await?;
        if matches!(answer, Answer::Conflict(_)) {
            let path = format!("{folder}/{name}?fieldManager={MANAGER}");
            answer = self.cluster.ask(Method::PUT, &path, Some(&object)).await?;
        }
        match answer {
            Answer::Done(_) => {}
            Answer::Missing => {
                let namespace = &self.cluster.namespace;
                return Err(Fault::new(Code::Backend, format!("The cluster has no namespace {namespace:?}."))
                    .hint(format!("Make it first: kubectl create namespace {namespace}.")));
            }
            Answer::Conflict(status) => return Err(backend("to keep the release", &status)),
        }
        book.ledger.revisions.push_back(Revision { number, release: of.clone() });
        Ok(number)
    }

    fn revision_path(&self, number: u32) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.cluster.namespace, self.names.revision(number))
    }

    /// What runs after a release was placed.
    pub(super) async fn placed(
        &self,
        book: &mut Book,
        op: &Op,
        release: &ReleaseRef,
        content: Content,
    ) -> Result<Running> {
        let revision = match content {
            Content::Kept(number) => number,
            Content::New(new) => self.keep(book, release, &new).await?,
        };
        Ok(Running {
            release: release.clone(),
            revision,
            op: op.id.clone(),
            since: self.clock.now(),
            stopped: false,
            restarted: None,
        })
    }

    /// What runs after a unit was started, stopped or started again.
    pub(super) async fn powered(&self, book: &Book, op: &Op) -> Result<Running> {
        let Some(running) = book.ledger.running.clone() else {
            return Err(Fault::new(Code::UnknownName, format!("There is no unit {:?}.", op.unit))
                .hint("Nothing is deployed here."));
        };
        let ids = self.ids_of(Some(&running)).await?;
        if let Some(id) = ids.iter().find(|id| id.kind == "DaemonSet" && op.change == Change::Stop) {
            return Err(Fault::new(Code::Unsupported, format!("{id} runs on every node and can't be stopped."))
                .hint("Remove it with its release, or give it a node selector that fits no node."));
        }
        let op_id = op.id.clone();
        Ok(match op.change {
            Change::Stop => Running { stopped: true, op: op_id, ..running },
            Change::Restart => Running { stopped: false, restarted: Some(op_id.clone()), op: op_id, ..running },
            _ => Running { stopped: false, op: op_id, ..running },
        })
    }
}

fn decoded(text: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}

/// The release is known and its objects are not.
pub(super) fn lost(release: &ReleaseRef) -> Fault {
    Fault::new(
        Code::ArtifactMissing,
        format!("The objects of version {} are not kept in the cluster any more.", release.version),
    )
    .hint("Deploy it anew from its manifests.")
}

fn busy(what: &str) -> Fault {
    Fault::new(Code::Conflict, format!("Something else changes {what} all the time."))
        .hint("`kubectl get -o yaml --show-managed-fields` shows who.")
}

fn about(id: &ObjectId, fault: Fault) -> Fault {
    let outer = Fault::new(fault.code(), format!("{id}: {fault}"));
    fault.hints().to_vec().into_iter().fold(outer, Fault::hint).because(fault)
}

/// The same fault with one more fact.
fn with(fault: Fault, fact: &str) -> Fault {
    Fault::new(fault.code(), format!("{fault} {fact}")).because(fault)
}

const fn is_silent(code: Code) -> bool {
    matches!(code, Code::Unreachable | Code::TimedOut)
}

fn is_silence(fault: &Fault) -> bool {
    is_silent(fault.code())
}
