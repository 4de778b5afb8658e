//! Taking over what runs in a cluster already: the manifests of the version have to describe it as it is. Pods are left
//! alone; objects are noted as vice's own, and fields that kubectl or Helm wrote become vice's, so that the next deploy
//! is not refused because of them.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, Op};
use vice_core::{Code, Digest, Fault, Millis, Result};

use super::cluster::Answer;
use super::ledger::{Book, Pending};
use super::object::ObjectId;
use super::operate::Operator;
use super::rollout::{self, Rollout};
use super::split::Track;
use super::write::{ATTEMPTS, busy, rest};
use super::{KubernetesTarget, UNIT, diff, owner};
use crate::target::{Adopted, Adoption, Keeper, Removed};

/// Who writes by hand or from a script. What a controller owns stays its own.
const HANDS: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-edit",
    "kubectl-patch",
    "kubectl-replace",
    "kubectl-set",
    "helm",
];
/// How many differences are named.
const DIFFERENCES_MAX: usize = 10;

impl KubernetesTarget {
    fn adopting(adoption: &Adoption<'_>, unit: &str) -> Op {
        let release: ReleaseRef = adoption.workload.release.clone();
        let (id, epoch) = (adoption.op.clone(), adoption.epoch);
        Op { id, epoch, unit: unit.to_owned(), change: Change::Place(release), before: None }
    }
}

/// Refuses what does not run as the manifests say.
async fn check(operator: &Operator<'_>, objects: &[Value], version: &str, epoch: u64) -> Result<()> {
    let forced = Operator { force: true, split: operator.split.clone(), ..*operator };
    let made = forced.rehearse(objects, version, super::object::Token { epoch, turn: 0 }).await?;
    let mut differences = Vec::new();
    for (object, after) in objects.iter().zip(&made) {
        let Some(id) = ObjectId::of(object) else { continue };
        let Some(live) = operator.live(&id).await? else {
            return Err(Fault::new(Code::UnknownName, format!("{id} is not in the cluster, so it can't be adopted."))
                .hint("Deploy instead, or take it out of the manifests."));
        };
        owner::check(&id, &live, &operator.names.owner)?;
        if let Rollout::Going(why) | Rollout::Failed(why) = rollout::of(&live) {
            return Err(Fault::new(Code::Unhealthy, format!("{id} is not well: {why}."))
                .hint("What is adopted is what a rollback returns to; let it become ready first."));
        }
        differences.extend(diff::lines(&id, Some(&live), after));
    }
    if differences.is_empty() {
        return Ok(());
    }
    differences.truncate(DIFFERENCES_MAX);
    Err(Fault::new(Code::Conflict, format!("What runs is not what the manifests of version {version} say."))
        .because(differences.join("\n"))
        .hint("Name the version that runs, or change the manifests until `vice plan` shows no difference."))
}

/// Makes the fields of an object that people or scripts wrote vice's own; vice has applied the same values.
async fn take_fields(operator: &Operator<'_>, id: &ObjectId) -> Result<()> {
    let Some(path) = operator.cluster.path(id).await? else { return Ok(()) };
    for attempt in 0..ATTEMPTS {
        rest(attempt).await;
        let Some(live) = operator.cluster.get(&path).await? else { return Ok(()) };
        let entries = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let is_hand = |entry: &Value| {
            let manager = entry["manager"].as_str().unwrap_or_default();
            HANDS.contains(&manager) && entry["subresource"].as_str().is_none_or(str::is_empty)
        };
        let kept: Vec<&Value> = entries.iter().filter(|entry| !is_hand(entry)).collect();
        if kept.len() == entries.len() {
            return Ok(());
        }
        let patch = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": kept},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ]);
        let answer = operator.cluster.ask_as(Method::PATCH, &path, "application/json-patch+json", Some(&patch));
        match answer.await.map_err(|fault| fault.about(id))? {
            Answer::Done(_) | Answer::Missing => return Ok(()),
            Answer::Conflict(_) => {}
        }
    }
    Err(busy(&id.to_string()))
}

#[async_trait]
impl Keeper for KubernetesTarget {
    /// What is kept in the cluster is bounded by itself: the latest releases.
    async fn prune(&self, _keep: &BTreeSet<Digest>, _older_than: Millis) -> Result<Vec<Removed>> {
        Ok(Vec::new())
    }

    async fn adopt(&self, adoption: &Adoption<'_>) -> Result<Vec<Adopted>> {
        if adoption.path.is_some() || adoption.pid.is_some() {
            return Err(Fault::new(Code::Usage, "What runs in a cluster has neither a folder nor a process to name.")
                .hint("Leave out --path and --pid: the manifests say what it is."));
        }
        let track = self.options.spec.traffic.as_ref().map(|_| Track::Stable);
        let unit = track.map_or(UNIT, Track::unit);
        let (op, release) = (Self::adopting(adoption, unit), &adoption.workload.release);
        let _attempt = self.attempt(unit)?;
        let operator = self.operator(track).await?;
        let mut book = self.book(track).await?;
        book.check_epoch(op.epoch)?;
        operator.recover(&mut book, &op).await?;
        let namespace = operator.cluster.namespace.clone();
        let adopted = Adopted { unit: unit.to_owned(), pid: None, path: format!("namespace {namespace}") };
        if book.ledger.is_applied(&op)? {
            return Ok(vec![adopted]);
        }
        if let Some(running) = &book.ledger.running {
            let message = format!("The unit {unit} runs {} already.", running.release.version);
            return Err(Fault::new(Code::Conflict, message).hint("Deploy the version that you want."));
        }
        self.take_over(&operator, &mut book, &op, release, adoption).await?;
        Ok(vec![adopted])
    }
}

impl KubernetesTarget {
    async fn take_over(
        &self,
        operator: &Operator<'_>,
        book: &mut Book,
        op: &Op,
        release: &ReleaseRef,
        adoption: &Adoption<'_>,
    ) -> Result<()> {
        let content = self.content(operator, book, adoption.workload).await?;
        let objects = self.objects_of(operator, op, release, &content).await?;
        check(operator, &objects, &release.version, op.epoch).await?;
        let running = operator.placed(book, op, release, content).await?;
        book.ledger.raise(op.epoch);
        let forced = Operator { force: true, split: operator.split.clone(), ..*operator };
        forced.write_all(&objects, Some(&running), &op.id, book.ledger.token()).await?;
        for id in objects.iter().filter_map(ObjectId::of) {
            take_fields(operator, &id).await?;
        }
        book.ledger.pending = Some(Pending::new(op, false, None, Some(running))?);
        book.ledger.finish();
        book.write(operator.cluster, operator.names).await
    }
}
