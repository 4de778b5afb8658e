//! What every target must do. A backend passes by running [`suite`] in one of its own tests.

use std::future::Future;
use std::sync::Arc;

use crate::capability::Capability;
use crate::fault::Code;
use crate::payload::ReleaseRef;
use crate::port::target::{Change, Observed, Op, Target, UnitHealth, Workload};

/// The releases that the suite places. All have different versions.
#[derive(Debug, Clone)]
pub struct Releases {
    /// Gets healthy.
    pub first: Workload,
    /// Gets healthy too.
    pub second: Workload,
    /// Never gets healthy, and is found out soon.
    pub bad: Workload,
}

/// A fresh, empty target under test.
pub struct Subject {
    /// The target.
    pub target: Arc<dyn Target>,
    /// How many changes of units there have been so far, where that can be counted.
    pub effects: Option<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Subject {
    fn effects(&self) -> Option<usize> {
        self.effects.as_ref().map(|count| count())
    }

    async fn place(&self, id: &str, epoch: u64, workload: &Workload, before: Option<&Workload>) -> Op {
        let op = place(id, epoch, workload, before);
        self.target.apply(&op, Some(workload)).await.expect("a good release can be placed");
        op
    }

    async fn running(&self) -> Option<ReleaseRef> {
        self.unit().await.filter(|(_, health)| *health == UnitHealth::Healthy).map(|(release, _)| release)
    }

    async fn unit(&self) -> Option<(ReleaseRef, UnitHealth)> {
        let inventory = self.target.inventory().await.expect("the inventory can be read");
        let unit = inventory.units.into_iter().find(|unit| unit.name == "1")?;
        Some((unit.release.expect("a unit has a release"), unit.health))
    }
}

fn op(id: &str, epoch: u64, change: Change, before: Option<&Workload>) -> Op {
    let before = before.map(|workload| workload.release.clone());
    Op { id: id.to_owned(), epoch, unit: "1".to_owned(), change, before }
}

fn place(id: &str, epoch: u64, workload: &Workload, before: Option<&Workload>) -> Op {
    op(id, epoch, Change::Place(workload.release.clone()), before)
}

/// Runs every case, each on a fresh target.
///
/// # Panics
/// When the target breaks the contract.
pub async fn suite<F, Fut>(make: F, releases: &Releases)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Subject>,
{
    nothing_at_first(&make().await, releases).await;
    epochs_only_rise(&make().await, releases).await;
    repeats_do_nothing(&make().await, releases).await;
    bad_releases_change_nothing(&make().await, releases).await;
    undo_restores(&make().await, releases).await;
    undo_has_an_id_of_its_own(&make().await, releases).await;
    undo_of_the_first_removes(&make().await, releases).await;
    units_stop_and_start(&make().await, releases).await;
}

async fn nothing_at_first(subject: &Subject, releases: &Releases) {
    let inventory = subject.target.inventory().await.expect("an empty target has an inventory");
    assert!(inventory.units.is_empty(), "{inventory:?}");
    assert_eq!(inventory.epoch, 0);
    let never = place("never", 1, &releases.first, None);
    assert_eq!(subject.target.observe(&never).await.expect("observe"), Observed::NotApplied);
    assert!(!subject.target.describe().kind.is_empty());
    let capabilities = subject.target.capabilities();
    assert!(capabilities.has(Capability::Fence) && capabilities.has(Capability::Observe));
}

async fn epochs_only_rise(subject: &Subject, releases: &Releases) {
    let target = &subject.target;
    target.fence(5).await.expect("a higher epoch is taken");
    target.fence(5).await.expect("the same epoch is taken again");
    let code = |result: crate::Result<()>| result.expect_err("a lower epoch is refused").code();
    assert_eq!(code(target.fence(4).await), Code::Fenced);
    let low = place("low", 4, &releases.first, None);
    assert_eq!(code(target.apply(&low, Some(&releases.first)).await), Code::Fenced);
    assert_eq!(code(target.undo(&low, None).await), Code::Fenced);
    assert_eq!(target.observe(&low).await.expect("observe"), Observed::NotApplied);
    assert_eq!(target.inventory().await.expect("inventory").epoch, 5);
    assert_eq!(subject.unit().await, None);
    assert!(subject.effects().is_none_or(|effects| effects == 0));
}

async fn repeats_do_nothing(subject: &Subject, releases: &Releases) {
    subject.target.fence(1).await.expect("fence");
    let op = subject.place("a", 1, &releases.first, None).await;
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release));
    assert_eq!(subject.target.observe(&op).await.expect("observe"), Observed::Applied);
    let before = subject.effects();
    let again = Op { epoch: 2, ..op };
    subject.target.fence(2).await.expect("fence");
    subject.target.apply(&again, Some(&releases.first)).await.expect("a repeat succeeds");
    assert_eq!(subject.effects(), before, "a repeat has an effect");
}

async fn bad_releases_change_nothing(subject: &Subject, releases: &Releases) {
    let target = &subject.target;
    let first_bad = place("bad-first", 1, &releases.bad, None);
    target.apply(&first_bad, Some(&releases.bad)).await.expect_err("a bad release is no success");
    assert_eq!(subject.unit().await, None, "a unit came out of nothing");
    subject.place("a", 1, &releases.first, None).await;
    let bad = place("bad", 1, &releases.bad, Some(&releases.first));
    target.apply(&bad, Some(&releases.bad)).await.expect_err("a bad release is no success");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release));
    assert_eq!(target.observe(&bad).await.expect("observe"), Observed::NotApplied);
    target.undo(&bad, Some(&releases.first)).await.expect("undoing what was not done succeeds");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release));
    let without = place("without", 1, &releases.second, Some(&releases.first));
    target.apply(&without, None).await.expect_err("nothing can be placed without its release");
}

async fn undo_restores(subject: &Subject, releases: &Releases) {
    subject.place("a", 1, &releases.first, None).await;
    let op = subject.place("b", 1, &releases.second, Some(&releases.first)).await;
    assert_eq!(subject.running().await.as_ref(), Some(&releases.second.release));
    let target = &subject.target;
    target.undo(&op, Some(&releases.first)).await.expect("undo");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release));
    assert_eq!(target.observe(&op).await.expect("observe"), Observed::NotApplied);
    let effects = subject.effects();
    target.undo(&op, Some(&releases.first)).await.expect("a repeated undo succeeds");
    assert_eq!(subject.effects(), effects, "a repeated undo has an effect");
    target.apply(&op, Some(&releases.second)).await.expect("what was undone can be done again");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.second.release));
}

/// The driver numbers an undo as any other operation: what counts is what the unit runs.
async fn undo_has_an_id_of_its_own(subject: &Subject, releases: &Releases) {
    subject.place("a", 1, &releases.first, None).await;
    subject.place("b", 1, &releases.second, Some(&releases.first)).await;
    let undo = place("c", 1, &releases.second, Some(&releases.first));
    let target = &subject.target;
    target.undo(&undo, Some(&releases.first)).await.expect("undo");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release), "undo under an id of its own");
    let effects = subject.effects();
    target.undo(&undo, Some(&releases.first)).await.expect("a repeated undo succeeds");
    assert_eq!(subject.effects(), effects, "a repeated undo has an effect");
    let nothing = place("d", 1, &releases.second, None);
    target.undo(&nothing, None).await.expect("undo to nothing");
    assert_eq!(subject.unit().await, None, "there was nothing before");
}

async fn undo_of_the_first_removes(subject: &Subject, releases: &Releases) {
    let first = subject.place("a", 1, &releases.first, None).await;
    subject.target.undo(&first, None).await.expect("undo");
    assert_eq!(subject.unit().await, None);
    subject.place("b", 1, &releases.first, None).await;
    let remove = op("c", 1, Change::Remove, Some(&releases.first));
    subject.target.apply(&remove, None).await.expect("remove");
    assert_eq!(subject.unit().await, None);
    subject.target.undo(&remove, Some(&releases.first)).await.expect("a removal can be undone");
    assert_eq!(subject.running().await.as_ref(), Some(&releases.first.release));
}

async fn units_stop_and_start(subject: &Subject, releases: &Releases) {
    let target = &subject.target;
    if !target.capabilities().has(Capability::StartStop) {
        return;
    }
    let release = &releases.first.release;
    let nothing = op("early", 1, Change::Stop, None);
    assert_eq!(target.apply(&nothing, None).await.expect_err("nothing is there").code(), Code::UnknownName);
    subject.place("a", 1, &releases.first, None).await;
    let before = Some(&releases.first);
    let stop = op("stop", 1, Change::Stop, before);
    target.apply(&stop, None).await.expect("stop");
    assert_eq!(subject.unit().await, Some((release.clone(), UnitHealth::Stopped)));
    target.apply(&op("start", 1, Change::Start, before), None).await.expect("start");
    assert_eq!(subject.running().await.as_ref(), Some(release));
    target.apply(&op("restart", 1, Change::Restart, before), None).await.expect("restart");
    assert_eq!(subject.running().await.as_ref(), Some(release));
    target.apply(&op("stop again", 1, Change::Stop, before), None).await.expect("stop");
    let undone = op("stop again", 1, Change::Stop, before);
    target.undo(&undone, None).await.expect("a stop can be undone");
    assert_eq!(subject.running().await.as_ref(), Some(release));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::target::{MemoryTarget, Mishap};
    use crate::testkit::target_fixtures::releases;

    #[test]
    fn the_memory_target_conforms() {
        let make = || async {
            let target = Arc::new(MemoryTarget::new());
            target.never_healthy("bad");
            let counted = Arc::clone(&target);
            Subject { target, effects: Some(Box::new(move || counted.effects().len())) }
        };
        futures::executor::block_on(suite(make, &releases()));
    }

    #[test]
    fn mishaps_do_what_they_say_once() {
        let (target, releases) = (MemoryTarget::new(), releases());
        let op = place("a", 1, &releases.first, None);
        let apply = || futures::executor::block_on(target.apply(&op, Some(&releases.first)));
        let observe = || futures::executor::block_on(target.observe(&op)).unwrap();
        target.mishap(Mishap::LoseRequest);
        target.mishap(Mishap::FailApply(Code::Backend));
        target.mishap(Mishap::LoseReply);
        assert_eq!(apply().unwrap_err().code(), Code::Unreachable);
        assert_eq!(apply().unwrap_err().code(), Code::Backend);
        assert_eq!(observe(), Observed::NotApplied);
        assert_eq!(apply().unwrap_err().code(), Code::Unreachable);
        target.mishap(Mishap::UnknownObserve);
        assert!(matches!(observe(), Observed::Unknown { .. }));
        assert_eq!(observe(), Observed::Applied);
        apply().unwrap();
        assert_eq!(target.effects(), ["1: place 1"]);
    }
}
