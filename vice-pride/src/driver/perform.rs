//! Carries out one effect and turns what happened into the input that answers it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use tokio::sync::Mutex;
use vice_core::app::App;
use vice_core::id::{RolloutId, Scope};
use vice_core::manifest::{Project, TaskSpec};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::payload::verification::{CheckOutcome, SuiteResult};
use vice_core::port::config::ResolvedConfig;
use vice_core::port::target::{Change, Observed, Op, UnitState, Workload};
use vice_core::port::verifier::VerifyRequest;
use vice_core::{Code, Fault, Millis, Result};
use vice_pride_engine::{CheckCounts, Effect, Failure, Input, OpNo, OpResult, Plan, Seen, UnitAction, UnitNo, Work};

use super::{tasks, workload};
use crate::backend::Backend;
use crate::metric::Meters;

/// How long one verification may take when `vice.toml` does not say.
const VERIFY_TIMEOUT: Millis = Millis(2 * 60 * 1000);

/// Everything that effects need; shared by the tasks that carry them out.
pub(crate) struct Performer {
    pub(crate) app: App,
    pub(crate) project: Arc<Project>,
    pub(crate) scope: Scope,
    pub(crate) rollout: RolloutId,
    /// Tells this rollout apart from any other that ever had or will have its id, as after a restored history.
    pub(crate) run: String,
    pub(crate) backend: Backend,
    pub(crate) plan: Plan,
    pub(crate) epoch: u64,
    /// The wanted release.
    pub(crate) to: (Workload, ResolvedConfig),
    /// Why the wanted release can't be brought in any more, when it can't: then it is a name without content.
    pub(crate) missing: Option<String>,
    /// Earlier releases that can be brought back, by what they are.
    pub(crate) earlier: Vec<(Workload, ResolvedConfig)>,
    /// The metrics, once they were asked for.
    pub(crate) meters: Mutex<Option<Meters>>,
    /// The tasks, as they were when the rollout began.
    pub(crate) tasks: IndexMap<String, TaskSpec>,
    /// Under which epoch each task that an earlier driver left was asked for.
    pub(crate) tasks_asked: BTreeMap<OpNo, u64>,
}

/// What an effect came to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What the engine is told before the answer itself: the readings of a measurement.
    pub(crate) before: Vec<Input>,
    pub(crate) input: Input,
    pub(crate) text: Option<String>,
    pub(crate) suite: Option<SuiteResult>,
}

impl Answer {
    pub(crate) const fn plain(input: Input) -> Self {
        Self { before: Vec::new(), input, text: None, suite: None }
    }
}

/// Texts of failures are stored with every step, so that they are kept short, in characters.
pub(crate) const TEXT_CHARS_MAX: usize = 2_000;

/// The code that the engine is told for a fault.
fn failure(fault: &Fault) -> Failure {
    match fault.code() {
        Code::Unhealthy | Code::PortInUse => Failure::Unhealthy,
        Code::Fenced | Code::Conflict | Code::Locked | Code::Unsupported | Code::Usage => Failure::Refused,
        Code::Unreachable => Failure::Unreachable,
        Code::TimedOut => Failure::TimedOut,
        Code::TaskFailed => Failure::Task,
        Code::InDoubt => Failure::InDoubt,
        _ => Failure::Other,
    }
}

/// The workload of a release for a unit: its own configuration, where units differ.
fn for_unit<'r>((workload, config): &'r (Workload, ResolvedConfig), unit: &str) -> Cow<'r, Workload> {
    if config.variants.is_empty() {
        return Cow::Borrowed(workload);
    }
    Cow::Owned(Workload { environment: config.environment_of(unit), ..workload.clone() })
}

impl Performer {
    /// Carries out an effect that acts; none for effects that are only stored.
    pub(crate) async fn perform(&self, effect: Effect, work: Option<Work>) -> Option<Answer> {
        Some(match effect {
            Effect::Fence { op, epoch } => self.answer(op, self.backend.target.fence(epoch).await),
            Effect::Observe { op } => Answer::plain(Input::Observed { op, seen: self.observe(op, work).await }),
            Effect::Apply { op, unit, .. } => self.answer(op, self.apply(op, unit).await),
            Effect::Undo { op, unit, .. } => self.answer(op, self.undo(op, unit).await),
            Effect::RunTask { op, task, unit, undo, direction, .. } => {
                let name = self.plan.tasks.get(task.index()).map_or("?", |task| task.name.as_str());
                let unit = unit.and_then(|unit| self.plan.units.get(unit.index())).map(|unit| unit.name.as_str());
                self.answer(op, self.task(op, name, unit, undo, direction).await)
            }
            Effect::Verify { op } => self.verify(op, work).await,
            Effect::SetWeights { op, share } => self.answer(op, self.set_weights(share).await),
            Effect::Measure { op, from, until } => self.measure(op, from, until).await,
            Effect::Probe { op, each } => self.answer(op, self.probe(each).await),
            Effect::PlaceHold { .. } | Effect::Wait { .. } | Effect::Finish { .. } => return None,
        })
    }

    /// The wanted release, for whatever has to have its content.
    fn wanted(&self) -> Result<&(Workload, ResolvedConfig)> {
        match &self.missing {
            None => Ok(&self.to),
            Some(why) => Err(Fault::new(Code::Usage, "What is to be deployed is gone.").because(why.as_str())),
        }
    }

    pub(super) fn answer(&self, op: OpNo, result: Result<()>) -> Answer {
        match result {
            Ok(()) => Answer::plain(Input::EffectDone { op, result: OpResult::Done }),
            Err(fault) => Answer {
                text: Some(self.text(&fault)),
                ..Answer::plain(Input::EffectDone { op, result: OpResult::Failed(failure(&fault)) })
            },
        }
    }

    /// What is stored of a fault: it may quote what an instance printed, so that secrets are masked here too.
    fn text(&self, fault: &Fault) -> String {
        let whole = fault.chain().join(" ");
        let mut masker = self.to.1.masker();
        self.earlier.iter().for_each(|(_, config)| masker.merge(&config.masker()));
        masker.mask(&whole).chars().take(TEXT_CHARS_MAX).collect()
    }

    fn op(&self, op: OpNo, unit: UnitNo) -> Result<Op> {
        let unit = self.plan.units.get(unit.index()).ok_or_else(|| Fault::internal("The plan has no such unit."))?;
        let change = match unit.action {
            UnitAction::Remove => Change::Remove,
            UnitAction::Place | UnitAction::Keep => Change::Place(self.plan.to.clone()),
        };
        let id = format!("{}/{}", self.run, op.0);
        Ok(Op { id, epoch: self.epoch, unit: unit.name.clone(), change, before: unit.before.clone() })
    }

    async fn apply(&self, op: OpNo, unit: UnitNo) -> Result<()> {
        let op = self.op(op, unit)?;
        let places = matches!(op.change, Change::Place(_));
        let workload = if places { Some(for_unit(self.wanted()?, &op.unit)) } else { None };
        let earlier = op.before.as_ref().and_then(|before| self.earlier(before));
        let earlier = earlier.map(|release| for_unit(release, &op.unit));
        let applied = self.backend.target.apply_over(&op, workload.as_deref(), earlier.as_deref()).await;
        self.settle(&op, applied).await
    }

    /// A target that fell silent in the middle may have carried the operation out. It is fenced and asked, as after a
    /// takeover; when it can't tell, the operation is in doubt.
    async fn settle(&self, op: &Op, result: Result<()>) -> Result<()> {
        let Err(fault) = result else { return Ok(()) };
        // What was never sent was not carried out.
        let unsent = fault.details().get("sent").is_some_and(|sent| sent == false);
        if unsent || !matches!(fault.code(), Code::Unreachable | Code::TimedOut) {
            return Err(fault);
        }
        let target = &self.backend.target;
        let seen = match target.fence_unit(op).await {
            Ok(()) => target.observe(op).await,
            Err(silent) => Err(silent),
        };
        match seen {
            Ok(Observed::Applied) => Ok(()),
            Ok(Observed::NotApplied) => Err(fault),
            Ok(Observed::Unknown { reason }) => Err(Fault::new(Code::InDoubt, reason).because(fault)),
            Err(silent) => Err(Fault::new(Code::InDoubt, "The target can't be asked what it did.").because(silent)),
        }
    }

    async fn undo(&self, op: OpNo, unit: UnitNo) -> Result<()> {
        let op = self.op(op, unit)?;
        let workload = op.before.as_ref().and_then(|before| self.earlier(before));
        let workload = workload.map(|release| for_unit(release, &op.unit));
        let undone = self.backend.target.undo(&op, workload.as_deref()).await;
        self.settle(&op, undone).await
    }

    fn earlier(&self, release: &ReleaseRef) -> Option<&(Workload, ResolvedConfig)> {
        self.earlier.iter().find(|(workload, _)| workload.release == *release)
    }

    /// What runs again after going back; what was wanted where nothing ran before.
    fn side(&self, direction: Direction) -> &(Workload, ResolvedConfig) {
        let back = direction == Direction::Rollback && self.plan.direction == Direction::Deploy;
        let before = self.plan.from.as_ref().filter(|_| back).and_then(|release| self.earlier(release));
        before.unwrap_or(&self.to)
    }

    async fn observe(&self, op: OpNo, work: Option<Work>) -> Seen {
        let unit = match work {
            Some(Work::Apply { unit } | Work::Undo { unit, .. }) => unit,
            Some(Work::Task { .. }) => {
                return tasks::observe(&self.app, &self.run, op, self.tasks_asked.get(&op).copied());
            }
            _ => return Seen::NotApplied,
        };
        let Ok(op) = self.op(op, unit) else { return Seen::Unknown };
        match self.backend.target.observe(&op).await {
            Ok(Observed::Applied) => Seen::Applied,
            Ok(Observed::NotApplied) => Seen::NotApplied,
            Ok(Observed::Unknown { .. }) | Err(_) => Seen::Unknown,
        }
    }

    async fn task(&self, op: OpNo, task: &str, unit: Option<&str>, undo: bool, direction: Direction) -> Result<()> {
        let Some(spec) = self.tasks.get(task) else {
            return Err(Fault::new(Code::TaskFailed, format!("The rollout has no task {task}.")));
        };
        // What takes a task back belongs to the release that ran it: on the way to an earlier one, that is the one
        // being left.
        let left = self.plan.from.as_ref().filter(|_| undo && self.plan.direction == Direction::Rollback);
        let release = match left.and_then(|release| self.earlier(release)) {
            Some(left) => left,
            None => self.wanted()?,
        };
        let (workload, config) = (unit.map_or(Cow::Borrowed(&release.0), |unit| for_unit(release, unit)), &release.1);
        let errand = tasks::Errand {
            spec,
            root: &self.project.root,
            scope: &self.scope,
            rollout: &self.rollout,
            run: &self.run,
            epoch: self.epoch,
            op,
            task,
            unit,
            undo,
            direction,
            workload: &workload,
            previous: self.plan.from.as_ref().map(|release| release.version.as_str()),
            masker: config.masker(),
        };
        tasks::run(&self.app, &errand).await
    }

    async fn verify(&self, op: OpNo, work: Option<Work>) -> Answer {
        let direction = match work {
            Some(Work::Verify { direction }) => direction,
            _ => self.plan.direction,
        };
        let (workload, config) = self.side(direction);
        let result = async {
            let mut vars = workload::vars(&self.scope, &workload.release.version);
            if let Some(url) = self.url(&workload.release).await? {
                vars.insert("env.url".to_owned(), url);
            }
            let timeout = self.project.env(&self.scope.env)?.rollout.verify_timeout.unwrap_or(VERIFY_TIMEOUT);
            let request = VerifyRequest {
                project: Arc::clone(&self.project),
                env: self.scope.env.clone(),
                only: Vec::new(),
                tags: Vec::new(),
                direction: Some(direction),
                vars,
                config: Some(config.clone()),
                deadline: timeout,
            };
            self.app.verifier.verify(request).await
        }
        .await;
        match result {
            Ok(suite) => {
                let count = |outcome| u32::try_from(suite.count(outcome)).unwrap_or(u32::MAX);
                let counts = CheckCounts {
                    passed: count(CheckOutcome::Passed),
                    failed: count(CheckOutcome::Failed),
                    errored: count(CheckOutcome::Errored),
                };
                let input = Input::Verified { op, passed: suite.passed(), counts };
                Answer { suite: Some(suite), ..Answer::plain(input) }
            }
            Err(fault) => self.answer(op, Err(fault)),
        }
    }

    /// What checks ask: the service as everybody sees it once all units run the release; before that one unit that
    /// runs it, the latest, because the front end would mix in answers of what is being replaced.
    async fn url(&self, release: &ReleaseRef) -> Result<Option<String>> {
        if let Some(url) = &self.project.env(&self.scope.env)?.url {
            return Ok(Some(url.trim_end_matches('/').to_owned()));
        }
        let inventory = self.backend.target.inventory().await?;
        let runs_it = |unit: &&UnitState| unit.release.as_ref().is_some_and(|has| has.runs_like(release));
        if inventory.units.iter().all(|unit| runs_it(&unit)) {
            return Ok(inventory.url);
        }
        let latest = inventory.units.iter().filter(runs_it).max_by_key(|unit| unit.since);
        Ok(latest.and_then(|unit| unit.url.clone()).or(inventory.url))
    }
}
