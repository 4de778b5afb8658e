//! How many engine steps a second: rollouts of 10,000 units, one input a step, on one core.
//! `cargo run --release -p vice-pride-engine --example steps`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and reads a real clock")]

use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use vice_core::Fault;
use vice_core::manifest::VerifyWhen;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_pride_engine::{
    CheckCounts, Course, Effect, EngineNote, FailurePolicy, Input, Limit, OpResult, PLANNER_VERSION, Plan, Reason,
    Sink, State, UnitAction, UnitNo, UnitPlan, UnitSet, Wave, step,
};

const UNITS: u32 = 10_000;
const WAVE: u32 = 500;
const MAX_DOWN: u32 = 100;
const ROLLOUTS: u32 = 100;

/// Keeps only what a world would react to.
#[derive(Default)]
struct World {
    queue: VecDeque<Effect>,
    notes: u64,
}

impl Sink for World {
    fn effect(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }
    fn note(&mut self, _: EngineNote) {
        self.notes += 1;
    }
    fn held(&mut self, _: Reason) {}
}

fn plan() -> Plan {
    let release = |version: &str| ReleaseRef {
        version: version.into(),
        artifact: None,
        source: String::new(),
        config: None,
        recipe: None,
    };
    let unit = |index: u32| UnitPlan {
        name: index.to_string(),
        before: Some(release("1")),
        action: UnitAction::Place,
        place: None,
        class: None,
    };
    let all: Vec<UnitNo> = (0..UNITS).map(UnitNo).collect();
    Plan {
        planner: PLANNER_VERSION,
        direction: Direction::Deploy,
        from: Some(release("1")),
        to: release("2"),
        units: (0..UNITS).map(unit).collect(),
        waves: all.chunks(WAVE as usize).map(|units| Wave::of(units.to_vec())).collect(),
        limits: vec![Limit {
            name: "environment".into(),
            members: UnitSet::first(UNITS),
            max_down: MAX_DOWN,
            down_before: 0,
        }],
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        tasks: Vec::new(),
        verify: VerifyWhen::EachWave,
        has_checks: true,
        analysis: None,
        frees_traffic: false,
    }
}

/// The last verification fails, so that every unit goes there and back.
fn answer(effect: Effect, verifications: &mut u32) -> Option<Input> {
    Some(match effect {
        Effect::Verify { op } => {
            *verifications += 1;
            let failed = u32::from(*verifications == UNITS / WAVE);
            Input::Verified { op, passed: failed == 0, counts: CheckCounts { passed: 3, failed, errored: 0 } }
        }
        other => Input::EffectDone { op: other.op()?, result: OpResult::Done },
    })
}

fn main() -> Result<(), Fault> {
    let course = Course::new(plan())?;
    let (mut steps, mut notes) = (0_u64, 0_u64);
    let began = Instant::now();
    for _ in 0..ROLLOUTS {
        let mut state = State::new(course.clone());
        let mut world = World::default();
        let (mut now, mut verifications) = (1_800_000_000_000_i64, 0);
        let mut input = Some(Input::Begin { epoch: 1 });
        while let Some(next) = input {
            let at = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
            step(&mut state, at, &[next], &mut world);
            steps += 1;
            now += 1;
            input = world.queue.pop_front().and_then(|effect| answer(effect, &mut verifications));
        }
        notes += world.notes;
        println!("{:?} after {steps} steps", state.outcome());
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = steps as f64 / seconds / 1e6;
    println!("{steps} steps and {notes} notes in {seconds:.2} s: {rate:.2} million steps/s");
    Ok(())
}
