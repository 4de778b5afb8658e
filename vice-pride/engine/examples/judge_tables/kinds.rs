//! Latencies and health scores over whole days: how often a good release is rolled back, and how soon one that is slower
//! or sicker is found.

use std::f64::consts::TAU;

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Judge, MetricKind, MetricPlan, Reading};

use crate::ours::{pure, shipped};
use crate::world::{Dice, Pattern, VOLUME, divide, quantile};
use crate::{Size, parallel, print};

const DAY: u32 = 1440;
const SEED: u64 = 507;
/// Latencies are log-logistic: half are above the median m, and `1 / (1 + (x / m)^SHAPE)` above x. One in ten is above
/// 1.7 m, one in a hundred above 3.2 m.
const SHAPE: f64 = 4.0;
/// How many of the old release's requests are beyond each threshold when they are frozen.
const BEYOND: [f64; 4] = [0.5, 0.1, 0.01, 0.001];
/// Requests of the old release that the thresholds were taken from: ten minutes.
const SAMPLE: u64 = 10 * VOLUME;

type Job = Box<dyn FnOnce() -> String + Send>;

/// What a bad release does; each cell of a row is one.
trait Service: Copy + Send + 'static {
    /// What a run draws before its first minute.
    type Day;

    fn kind(self) -> MetricKind;
    fn day(self, dice: &mut Dice, pattern: Pattern) -> Self::Day;
    /// So many exposures of a release, `worse` or like the old one.
    fn minute(self, dice: &mut Dice, day: &Self::Day, minute: u32, seen: u64, worse: bool) -> Arm;
}

/// A release whose latencies are those of the old one times `all`, and a `share` of them times `tail` besides.
#[derive(Clone, Copy)]
struct Slower {
    all: f64,
    share: f64,
    tail: f64,
}

/// The thresholds as odds at the scale of their freezing, and how the scale moves.
struct Frozen {
    odds: [f64; 4],
    pattern: Pattern,
    phase: f64,
    incident: u32,
}

impl Frozen {
    /// The latencies of this minute in those of the freezing: a daily cycle of +-30 %, or three times for 15 minutes.
    fn scale(&self, minute: u32) -> f64 {
        let at = |minute: f64| 1.0 + 0.3 * (TAU * (minute / 1440.0 + self.phase)).sin();
        match self.pattern {
            Pattern::Constant => 1.0,
            Pattern::Daily => at(f64::from(minute)) / at(0.0),
            Pattern::Incident if (self.incident..self.incident + 15).contains(&minute) => 3.0,
            Pattern::Incident => 1.0,
        }
    }
}

impl Service for Slower {
    type Day = Frozen;

    fn kind(self) -> MetricKind {
        MetricKind::Latency
    }

    fn day(self, dice: &mut Dice, pattern: Pattern) -> Frozen {
        let (phase, incident) = (dice.unit(), (dice.unit() * 705.0) as u32);
        // A quantile of a sample is not that of the service.
        let mut beyond = BEYOND.map(|part| f64::from(dice.binomial(SAMPLE, part).max(1)) / SAMPLE as f64);
        beyond.sort_by(|a, b| b.total_cmp(a));
        Frozen { odds: beyond.map(|part| (1.0 - part) / part), pattern, phase, incident }
    }

    fn minute(self, dice: &mut Dice, day: &Frozen, minute: u32, seen: u64, worse: bool) -> Arm {
        let scale = day.scale(minute);
        let beyond = |odds: f64, scale: f64| 1.0 / (1.0 + odds * scale.powf(-SHAPE));
        let chance = |odds: f64| {
            if !worse {
                return beyond(odds, scale);
            }
            let scale = scale * self.all;
            (1.0 - self.share) * beyond(odds, scale) + self.share * beyond(odds, scale * self.tail)
        };
        let (mut left, mut before) = (seen, 1.0);
        let exceeding = day.odds.map(chance).map(|chance| {
            let count = dice.binomial(left, chance / before);
            (left, before) = (u64::from(count), chance);
            count
        });
        Arm::latency(seen, exceeding)
    }
}

/// Clients of which 3 % are not well, evenly from badness 1/15 to 1; of a bad release `sick` times as many, and each
/// step of badness `steps` deeper. The share of the old release moves as a base rate of errors does.
#[derive(Clone, Copy)]
struct Sicker {
    sick: f64,
    steps: usize,
}

impl Service for Sicker {
    type Day = crate::world::World;

    fn kind(self) -> MetricKind {
        MetricKind::Health
    }

    fn day(self, dice: &mut Dice, pattern: Pattern) -> Self::Day {
        let mut world = crate::world::World::new(0, pattern, 0.03, 1.0);
        world.run(SEED, (dice.unit() * 1e9) as u64);
        world
    }

    fn minute(self, dice: &mut Dice, day: &Self::Day, minute: u32, seen: u64, worse: bool) -> Arm {
        let base = day.rates(minute).0;
        let sick = dice.binomial(seen, if worse { (base * self.sick).min(1.0) } else { base });
        let mut levels = [0; 16];
        levels[0] = seen as u32 - sick;
        let mut left = u64::from(sick);
        for level in 1..=15_usize {
            let count = dice.binomial(left, 1.0 / (16 - level) as f64);
            left -= u64::from(count);
            levels[if worse { (level + self.steps).min(15) } else { level }] += count;
        }
        Arm::health(seen, levels)
    }
}

fn plan(kind: MetricKind) -> Analysis {
    let mut analysis = pure(shipped());
    analysis.metrics = vec![MetricPlan::new("it", kind)];
    analysis
}

/// In which minutes of a day a run was first decided either way.
#[derive(Default)]
struct Decided {
    back: Option<u32>,
    proven: Option<u32>,
}

/// One day at a fixed share, up to a rollback.
fn run<S: Service>(
    service: S,
    analysis: &Analysis,
    dice: &mut Dice,
    pattern: Pattern,
    run: u32,
    worse: bool,
) -> Decided {
    dice.reseed(SEED, u64::from(run));
    let day = service.day(dice, pattern);
    let mut judge = Judge::new(analysis);
    let (canary, baseline) = divide(VOLUME, 0.1);
    let mut decided = Decided::default();
    for minute in 0..DAY {
        let canary = service.minute(dice, &day, minute, canary, worse);
        let baseline = service.minute(dice, &day, minute, baseline, false);
        judge.window(analysis, 0, Reading::Counts { stratum: 0, canary, baseline });
        match judge.close(analysis, 0.1).verdict {
            Verdict::Rollback => {
                decided.back = Some(minute);
                break;
            }
            Verdict::Proceed => decided.proven = decided.proven.or(Some(minute)),
            Verdict::Hold | Verdict::Inconclusive => {}
        }
    }
    decided
}

/// Median (p90) of the minutes.
fn minutes(times: impl Iterator<Item = Option<u32>>) -> String {
    let mut times: Vec<f64> = times.map(|at| at.map_or(f64::INFINITY, |at| f64::from(at + 1))).collect();
    let (median, p90) = (quantile(&mut times, 0.5), quantile(&mut times, 0.9));
    format!("{median} ({p90})").replace("inf", "> 1440")
}

/// How many good releases are rolled back, and when they are proven.
fn good<S: Service>(service: S, pattern: Pattern, runs: u32) -> Job {
    Box::new(move || {
        let (analysis, mut dice) = (plan(service.kind()), Dice::new(SEED, 0));
        let all = (0..runs).map(|number| run(service, &analysis, &mut dice, pattern, number, false));
        let all: Vec<Decided> = all.collect();
        let back = all.iter().filter(|one| one.back.is_some()).count() as f64 / f64::from(runs);
        format!("{back:.3}, {}", minutes(all.iter().map(|one| one.proven)))
    })
}

fn bad<S: Service>(service: S, pattern: Pattern, runs: u32) -> Job {
    Box::new(move || {
        let (analysis, mut dice) = (plan(service.kind()), Dice::new(SEED, 0));
        minutes((0..runs).map(|number| run(service, &analysis, &mut dice, pattern, number, true).back))
    })
}

fn one<S: Service>(title: &str, head: &[&str], services: &[S], size: Size) {
    let patterns = [
        ("constant", Pattern::Constant),
        ("a daily cycle", Pattern::Daily),
        ("an incident of both", Pattern::Incident),
    ];
    let mut jobs: Vec<Job> = Vec::new();
    for (_, pattern) in patterns {
        jobs.push(good(services[0], pattern, size.runs));
        jobs.extend(services.iter().map(|service| bad(*service, pattern, size.slow)));
    }
    let cells = parallel(jobs);
    let rows = patterns.iter().zip(cells.chunks(services.len() + 1));
    let rows: Vec<(String, Vec<String>)> = rows.map(|((name, _), row)| ((*name).to_owned(), row.to_vec())).collect();
    print(title, head, &rows);
}

pub(crate) fn table(size: Size) {
    let slower = |all, share, tail| Slower { all, share, tail };
    one(
        "Latencies, as shipped: false rollbacks in 24 h, and minutes to the proof or the rollback: median (p90) (10 % share, seed 507)",
        &[
            "world",
            "good: rolled back, proven",
            "all 3 % slower",
            "all 10 %",
            "all 30 %",
            "1 % of requests x5",
            "1 in 1000 x20",
        ],
        &[
            slower(1.03, 0.0, 1.0),
            slower(1.1, 0.0, 1.0),
            slower(1.3, 0.0, 1.0),
            slower(1.0, 0.01, 5.0),
            slower(1.0, 0.001, 20.0),
        ],
        size,
    );
    one(
        "Health scores, as shipped: 3 % of clients not well (10 % share, seed 507)",
        &[
            "world",
            "good: rolled back, proven",
            "1.2 times as many",
            "1.5 times",
            "twice",
            "as many, each a fifth worse",
        ],
        &[
            Sicker { sick: 1.2, steps: 0 },
            Sicker { sick: 1.5, steps: 0 },
            Sicker { sick: 2.0, steps: 0 },
            Sicker { sick: 1.0, steps: 3 },
        ],
        size,
    );
}
