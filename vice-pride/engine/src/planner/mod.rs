//! From what is wanted and what is there to a [`Plan`]. The same request always gives the same plan.
//!
//! It resolves what the manifest says about units, refuses what can't be kept with the smallest set of constraints that
//! contradict each other, and cuts the rest into waves. It reads no file, no clock and no metric.
//!
//! Reading order: `fleet` (which units), `rules` (constraints), `classes`, `graph` and `conflict` (whether they can be
//! kept), `sequence` (in which order), `waves` (the strategies), `bound` (how long it takes at least).

mod bound;
mod classes;
mod conflict;
mod fleet;
mod graph;
mod rules;
mod sequence;
mod tasks;
mod waves;

use std::collections::BTreeSet;

use vice_core::manifest::{RolloutSpec, Strategy, TaskSpec};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::port::target::Inventory;
use vice_core::{Code, Fault, Result};

use crate::judge::Analysis;
use crate::number::UnitNo;
use crate::plan::{FailurePolicy, Limit, PLANNER_VERSION, Plan, Wave};
use crate::topology::{Topology, intersection};
use crate::unit_set::UnitSet;

use self::fleet::{Fleet, agreed};
use self::waves::Shape;

pub use self::bound::{LowerBound, Takes, lower_bound, mean_lower_bound};
pub use self::waves::next_wave;

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanRequest<'a> {
    /// Deploy, or rollback to a release proven earlier.
    pub direction: Direction,
    /// What ran before, where the history knows; otherwise it is what all units found agree on.
    pub from: Option<ReleaseRef>,
    /// What shall run.
    pub to: ReleaseRef,
    /// The names of the units that are wanted, in any order; not looked at where there is a topology.
    pub units: Vec<String>,
    /// Where the units stand; its units are the ones that are wanted.
    pub topology: Option<&'a Topology>,
    /// What is on the target.
    pub inventory: &'a Inventory,
    /// How the rollout shall go.
    pub rollout: &'a RolloutSpec,
    /// The tasks by name, in the order of the manifest: those of `to`; for a rollback those of the release being left.
    pub tasks: Vec<(&'a str, &'a TaskSpec)>,
    /// Whether there are checks to verify with.
    pub has_checks: bool,
    /// How live metrics are judged; none where there is no metric.
    pub analysis: Option<Analysis>,
}

/// What a plan for a simulated fleet is made from: every unit runs the earlier release and shall run the new one.
#[derive(Debug, Clone)]
pub struct FleetRequest<'a> {
    /// What runs before.
    pub from: ReleaseRef,
    /// What shall run.
    pub to: ReleaseRef,
    /// Where the units stand.
    pub topology: &'a Topology,
    /// How the rollout shall go.
    pub rollout: &'a RolloutSpec,
    /// The tasks by name, in the order of the manifest.
    pub tasks: Vec<(&'a str, &'a TaskSpec)>,
    /// Whether there are checks to verify with.
    pub has_checks: bool,
    /// How live metrics are judged.
    pub analysis: Option<Analysis>,
}

/// Makes the plan.
///
/// # Errors
/// `ManifestInvalid` when what is wanted contradicts itself. The detail `key` is the key of `[env.NAME.rollout]` at
/// fault; where constraints contradict each other, the detail `conflict` lists the smallest set of them that do.
pub fn plan(request: &PlanRequest<'_>) -> Result<Plan> {
    check_metric(request.rollout, request.analysis.is_some())?;
    let (units, mut fleet) = fleet::fleet(request)?;
    let from = request.from.clone().or_else(|| agreed(&units));
    // Units that disagree are no release to compare with, nor one to split traffic with; a second set is another matter.
    fleet.baseline &= from.is_some() || request.rollout.strategy == Strategy::BlueGreen;
    let frame = Plan {
        planner: PLANNER_VERSION,
        direction: request.direction,
        from,
        to: request.to.clone(),
        units,
        waves: Vec::new(),
        limits: Vec::new(),
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        tasks: tasks::tasks(&request.tasks, request.direction)?,
        verify: request.rollout.verify,
        has_checks: request.has_checks,
        analysis: None,
        frees_traffic: false,
    };
    fill(frame, &fleet, request.rollout, request.analysis.as_ref())
}

/// Makes the plan of a fleet whose units have no names: for [`crate::Course::unnamed`] with as many units as the
/// topology has.
///
/// # Errors
/// As [`plan`].
pub fn plan_fleet(request: &FleetRequest<'_>) -> Result<Plan> {
    check_metric(request.rollout, request.analysis.is_some())?;
    if request.rollout.strategy == Strategy::BlueGreen {
        let message = "A fleet without names has no second set of units, which blue-green needs.";
        return Err(Fault::new(Code::ManifestInvalid, message)
            .hint("Use the strategy canary, waves or rolling.")
            .detail("key", "strategy"));
    }
    let fleet = Fleet::all_changing(request.topology);
    let frame = Plan {
        planner: PLANNER_VERSION,
        direction: Direction::Deploy,
        from: Some(request.from.clone()),
        to: request.to.clone(),
        units: Vec::new(),
        waves: Vec::new(),
        limits: Vec::new(),
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        tasks: tasks::tasks(&request.tasks, Direction::Deploy)?,
        verify: request.rollout.verify,
        has_checks: request.has_checks,
        analysis: None,
        frees_traffic: false,
    };
    fill(frame, &fleet, request.rollout, request.analysis.as_ref())
}

/// Waves and constraints.
fn fill(frame: Plan, fleet: &Fleet<'_>, spec: &RolloutSpec, analysis: Option<&Analysis>) -> Result<Plan> {
    // The second set of blue-green takes nothing down, so that nothing holds it back unless the manifest does.
    let at_once = if spec.strategy == Strategy::BlueGreen { fleet.changes().max(1) } else { 1 };
    let stepwise = matches!(waves::strategy(spec, fleet, frame.direction), Strategy::Canary | Strategy::Ramp);
    let rules = rules::rules(spec, fleet, at_once, stepwise)?;
    let classes = classes::Classes::of(&rules.rules, fleet);
    let standings = conflict::order(&rules.rules, &classes)?;
    let mut sequence = sequence::sequence(spec, fleet, &classes, &standings)?;
    if let Some(pairs) = fleet.pairs().filter(|_| stepwise) {
        // A share is one on every target, so that all of those that try the release out are in the first wave.
        sequence.coverage = sequence.coverage.max(pairs.canaries.len());
    }
    let shape = Shape { spec, fleet, direction: frame.direction, judged: analysis.is_some() };
    let waves = waves::waves(&shape, sequence)?;
    let judged = waves.iter().any(|wave| wave.judged);
    let limits = beside_those_down(rules.limits, spec, fleet, &waves)?;
    let failures = spec.failures.map_or_else(FailurePolicy::default, |failures| FailurePolicy {
        retries: failures.retries,
        tolerate: failures.tolerate,
    });
    Ok(Plan {
        waves,
        limits,
        exclusions: rules.exclusions,
        orders: rules.orders,
        windows: rules.windows,
        failures,
        analysis: analysis.filter(|_| judged).cloned(),
        ..frame
    })
}

/// The limits with what is down already. Those of the first wave are mended before anything else changes; the others stay
/// down for a while, and take places. Where nobody said how many may be down, units still go one at a time.
fn beside_those_down(
    mut limits: Vec<Limit>,
    spec: &RolloutSpec,
    fleet: &Fleet<'_>,
    waves: &[Wave],
) -> Result<Vec<Limit>> {
    let first = waves.iter().find(|wave| !wave.units.is_empty()).map(|wave| wave.units.as_slice()).unwrap_or_default();
    let first: BTreeSet<UnitNo> = first.iter().copied().collect();
    let later = UnitSet::from_units(fleet.down.iter().filter(|unit| !first.contains(unit)));
    for limit in &mut limits {
        limit.down_before = intersection(&limit.members, &later).len();
        if spec.max_down.is_none() {
            limit.max_down += limit.down_before;
        }
        if limit.free() == 0 {
            let (down, most) = (limit.down_before, limit.max_down);
            let message = format!(
                "{down} of the units of {} are down already and can't be mended first, and at most {most} may be down at once.",
                limit.name
            );
            return Err(Fault::new(Code::ManifestInvalid, message)
                .hint("Mend them (`vice status` names them), or allow more with `max_down`.")
                .detail("key", "max_down"));
        }
    }
    Ok(limits)
}

/// A strategy that goes on when metrics are fine needs a metric.
fn check_metric(spec: &RolloutSpec, has_metric: bool) -> Result<()> {
    if has_metric || !spec.strategy.needs_metric() {
        return Ok(());
    }
    let message = format!(
        "`rollout.strategy` is {}, which goes on only while live metrics are fine, but there is no metric.",
        spec.strategy.word()
    );
    Err(Fault::new(Code::ManifestInvalid, message)
        .hint("On the local target, add what its front end counts:\n[metric.errors]\nfront = true")
        .hint(
            "With Prometheus:\n[metric.errors]\nprometheus = \"http://127.0.0.1:9090\"\n\
             bad   = 'sum(increase(http_requests_total{version=\"{{version}}\",code=~\"5..\"}[{{window}}]))'\n\
             total = 'sum(increase(http_requests_total{version=\"{{version}}\"}[{{window}}]))'",
        )
        .hint("Without a metric, use the strategy waves or rolling: checks then decide alone.")
        .detail("key", "strategy"))
}
