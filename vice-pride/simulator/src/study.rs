//! Many runs and what they say together. Runs are independent and numbered, so that any number of threads gives the
//! same samples in the same order, and with them the same report to the last bit.

use std::collections::BTreeMap;

use vice_core::payload::simulation::{SimulatedEnd, SimulationMode};

use crate::fast::FastCourse;
use crate::picture::Waits;
use crate::price::{Priced, Reaction};
use crate::run::{CUT_OFF_MS, Run, Setting};
use crate::trace::Trace;
use crate::world::Bug;

/// So many runs are watched for what they waited for: it varies little, and watching is slow.
const WATCHED_RUNS: u64 = 4;

/// What is studied, and how.
#[derive(Debug, Clone, Copy)]
pub struct Study<'w> {
    /// What is run.
    pub setting: Setting<'w>,
    /// How many runs each story has.
    pub runs: u64,
    /// On how many threads; changes nothing but the time that it takes.
    pub threads: usize,
    /// Exact or fast.
    pub mode: SimulationMode,
}

/// What is kept of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// How it ended.
    pub end: SimulatedEnd,
    /// From the start to the end; the end of the simulated time where it was not over.
    pub total_ms: f64,
    /// For what it waited when it was not over.
    pub waits_for: Option<String>,
    /// How often a person was asked to decide.
    pub asked: u32,
    /// Each wave's beginning and end.
    pub waves: Vec<(f64, Option<f64>)>,
    /// Server-hours on the new release at the end of each wave that ended.
    pub wave_hours: Vec<f64>,
    /// Server-hours on the new release until it was decided to go back, or the end.
    pub exposure_hours: f64,
    /// When the bug was found, and at which share of the fleet.
    pub found: Option<(f64, f64)>,
    /// What the bug cost.
    pub impact: f64,
    /// How many units were brought back.
    pub undone: u32,
    /// Whether it was decided to go back.
    pub turned: bool,
    /// For each bug of the world: what it would have been like on this path. Only in healthy runs.
    pub priced: Vec<PricedSample>,
}

/// A bug on the path of a healthy run.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedSample {
    /// P(unfound) at the end of each wave.
    pub after_wave: Vec<f64>,
    /// P(found before 1, 10 and 50 % of the fleet).
    pub before: [f64; 3],
    /// P(unfound at the end).
    pub never: f64,
    /// The mean impact.
    pub impact: f64,
    /// The impact at equally likely moments of discovery.
    pub strata: Vec<f32>,
}

/// The shares of the fleet that are asked about.
pub const SHARES: [f64; 3] = [0.01, 0.1, 0.5];

impl<'w> Study<'w> {
    /// The healthy runs, in order.
    #[must_use]
    pub fn healthy(&self) -> Vec<Sample> {
        let reaction = Reaction::of(self.setting.world, self.setting.course);
        match self.mode {
            SimulationMode::Exact => {
                parallel(self.runs, self.threads, |run| self.healthy_sample(&self.setting.run(run, None), reaction))
            }
            SimulationMode::Fast => {
                let fast = FastCourse::new(self.setting.world, self.setting.course);
                parallel(self.runs, self.threads, |run| {
                    self.healthy_sample(&fast.run(self.setting.seed, run), reaction)
                })
            }
        }
    }

    /// Runs with a bug, in order; always exact.
    #[must_use]
    pub fn unhealthy(&self, bug: &'w Bug) -> Vec<Sample> {
        parallel(self.runs, self.threads, |run| self.sample(&self.setting.run(run, Some(bug)), Some(bug)))
    }

    /// For what the first runs waited, in milliseconds by what it was, and how many runs were looked at.
    #[must_use]
    pub(crate) fn waits(&self) -> (BTreeMap<String, f64>, usize) {
        let runs = self.runs.min(WATCHED_RUNS);
        let watched = parallel(runs, self.threads, |run| {
            let mut waits = Waits::new(&self.setting.world.layout, self.setting.course);
            let total = self.setting.watched(run, None, &mut waits).total_ms;
            waits.finish(total)
        });
        let mut all = BTreeMap::new();
        for (name, waited) in watched.into_iter().flatten() {
            *all.entry(name).or_default() += waited;
        }
        (all, usize::try_from(runs).unwrap_or(1))
    }

    fn healthy_sample(&self, run: &Run, reaction: Reaction) -> Sample {
        let world = self.setting.world;
        let units = f64::from(world.layout.units);
        let price = |bug: &Bug| {
            let priced = Priced::new(world, bug, &run.trace, reaction);
            let ends = run.waves.iter().filter_map(|(_, end)| *end);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "seven digits of an impact are enough for its quantiles"
            )]
            PricedSample {
                after_wave: ends.map(|end| priced.unfound_at(end)).collect(),
                before: SHARES.map(|share| priced.found_before(share * units)),
                never: priced.unfound_at(run.total_ms),
                impact: priced.impact(),
                strata: priced.strata().into_iter().map(|(_, impact)| impact as f32).collect(),
            }
        };
        let priced = world.bugs.iter().map(price).collect();
        Sample { priced, ..self.sample(run, None) }
    }

    fn sample(&self, run: &Run, bug: Option<&Bug>) -> Sample {
        let units = f64::from(self.setting.world.layout.units).max(1.0);
        let ends = run.waves.iter().filter_map(|(_, end)| *end);
        Sample {
            end: run.end,
            // Nobody comes in all that time: standing still is not being quick.
            total_ms: float(if run.end.is_unfinished() { CUT_OFF_MS } else { run.total_ms }),
            waits_for: run.waits_for.clone(),
            asked: run.asked,
            wave_hours: ends.map(|end| hours_at(&run.trace, end)).collect(),
            waves: run.waves.iter().map(|(start, end)| (float(*start), end.map(float))).collect(),
            exposure_hours: run.turned_ms.map_or_else(|| run.trace.total_hours(), |at| hours_at(&run.trace, at)),
            found: run.found.map(|(at, servers)| (float(at), servers / units)),
            impact: bug.map_or(0.0, |bug| bug.severity * run.harm_hours),
            undone: run.undone,
            turned: run.turned_ms.is_some(),
            priced: Vec::new(),
        }
    }
}

/// Server-hours until a moment.
fn hours_at(trace: &Trace, at: u64) -> f64 {
    let sum = |row: usize| trace.hours_at(row).iter().sum::<f64>();
    let after = trace.at.partition_point(|row| *row <= at);
    let Some(low) = after.checked_sub(1) else { return 0.0 };
    if after >= trace.len() {
        return sum(low);
    }
    let part = float(at - trace.at[low]) / float(trace.at[after] - trace.at[low]).max(1.0);
    sum(low) + (sum(after) - sum(low)) * part
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulated rollout, far below 2^53")]
pub(crate) fn float(millis: u64) -> f64 {
    millis as f64
}

/// The results of numbered jobs, in the order of their numbers, whatever thread did which.
pub fn parallel<T: Send>(jobs: u64, threads: usize, job: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = u64::try_from(threads.max(1)).unwrap_or(1).min(jobs.max(1));
    if threads == 1 {
        return (0..jobs).map(job).collect();
    }
    let job = &job;
    let step = usize::try_from(threads).unwrap_or(1);
    let mine = |first: u64| (first..jobs).step_by(step).map(job).collect::<Vec<T>>();
    let mut lanes: Vec<std::vec::IntoIter<T>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || mine(first))).collect();
        // A job that panics is a bug, and the panic goes on here.
        let joined =
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.map(Vec::into_iter).collect()
    });
    let mut all = Vec::with_capacity(usize::try_from(jobs).unwrap_or(0));
    for number in 0..jobs {
        let lane = usize::try_from(number % threads).unwrap_or(0);
        all.extend(lanes[lane].next());
    }
    all
}
