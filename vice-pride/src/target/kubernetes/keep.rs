//! Releases that are kept in the cluster, and what a unit has of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, Op};
use vice_core::{Code, Fault, Result};

use super::cluster::{Answer, MANAGER};
use super::ledger::{Book, Revision, Running};
use super::object::{OWNER, ObjectId, RELEASE};
use super::operate::Operator;
use super::release::Release;
use super::sheet::no_namespace;
use super::write::busy;

/// So many numbers are tried that others have taken.
const NUMBERS_TRIED: u32 = 16;

/// The content of a release: where it is kept, or what has to be kept first.
pub(super) enum Content {
    Kept(u32),
    New(Box<Release>),
}

impl Operator<'_> {
    /// The objects of what runs or ran, by name.
    pub(super) async fn ids_of(&self, running: Option<&Running>) -> Result<Vec<ObjectId>> {
        Ok(self.objects_of(running).await?.iter().filter_map(ObjectId::of).collect())
    }

    /// The objects of what runs or ran.
    pub(super) async fn objects_of(&self, running: Option<&Running>) -> Result<Vec<Value>> {
        let Some(running) = running else { return Ok(Vec::new()) };
        let release = self.load(running.revision).await?.ok_or_else(|| lost(&running.release))?;
        Ok(release.objects(self.names, running, self.split.as_ref()))
    }

    /// A release that is kept.
    pub(super) async fn load(&self, number: u32) -> Result<Option<Release>> {
        Ok(self.packed(number).await?.as_deref().and_then(Release::unpack))
    }

    /// Keeps a release; the ledger knows of it when it is written next.
    pub(super) async fn keep(&self, book: &mut Book, of: &ReleaseRef, release: &Release) -> Result<u32> {
        let packed = release.pack(of)?;
        for _ in 0..NUMBERS_TRIED {
            let number = book.ledger.next_revision();
            if self.keep_as(number, of, &packed).await? {
                book.ledger.revisions.push_back(Revision { number, release: of.clone() });
                return Ok(number);
            }
        }
        Err(busy(&format!("The releases that are kept in {}", self.cluster.namespace)))
    }

    /// Whether a release is kept under a number now. One that is there already is that of somebody who did not get to
    /// the ledger, or who is about to: it is never written over, and is as good as ours where it says the same.
    async fn keep_as(&self, number: u32, of: &ReleaseRef, packed: &str) -> Result<bool> {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "vice.dev/release.v1",
            "metadata": {
                "name": self.names.revision(number),
                "annotations": {OWNER: self.names.owner, RELEASE: of.version},
            },
            "stringData": {"release": packed},
        });
        let path = format!("/api/v1/namespaces/{}/secrets?fieldManager={MANAGER}", self.cluster.namespace);
        match self.cluster.ask(Method::POST, &path, Some(&object)).await? {
            Answer::Done(_) => Ok(true),
            Answer::Missing => Err(no_namespace(&self.cluster.namespace)),
            Answer::Conflict(_) => Ok(self.packed(number).await?.is_some_and(|there| there == packed)),
        }
    }

    /// What is kept under a number, packed.
    async fn packed(&self, number: u32) -> Result<Option<String>> {
        let object = self.cluster.get(&self.revision_path(number)).await?;
        // Data of a Secret are base64 of what is packed, which is text.
        Ok(object.as_ref().and_then(|object| object["data"]["release"].as_str()).and_then(decoded))
    }

    /// Where a release is kept.
    pub(super) fn revision_path(&self, number: u32) -> String {
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
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// The release is known and its objects are not.
pub(super) fn lost(release: &ReleaseRef) -> Fault {
    Fault::new(
        Code::ArtifactMissing,
        format!("The objects of version {} are not kept in the cluster any more.", release.version),
    )
    .hint("Deploy it anew from its manifests.")
}
