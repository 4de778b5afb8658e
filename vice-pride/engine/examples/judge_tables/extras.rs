//! What everything beyond one plain test costs, in delay and in false rollbacks: each beside the same without it.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Judge, MetricKind, MetricPlan, Reading};

use crate::ours::{counts, pure, shipped};
use crate::rivals::Minute;
use crate::rollout::{End, by_ramp, summary};
use crate::world::{Dice, Pattern, VOLUME, World, quantile};
use crate::{Size, parallel, print};

const BASE: f64 = 0.01;
const DAY: u32 = 1440;
/// Minutes that a run with a regression is given.
const LONG: u32 = 600;

type Job<'a> = Box<dyn FnOnce() -> (String, Vec<String>) + Send + 'a>;

pub(crate) fn table(size: Size) {
    let runs = size.slow;
    let mut jobs: Vec<Job<'static>> = Vec::new();
    hysteresis(&mut jobs, size.runs.min(1000));
    several(&mut jobs, runs);
    strata(&mut jobs, runs);
    sensor(&mut jobs, runs);
    let head = ["variant", "false rollbacks of a good release in 24 h", "x1.5 found: median (p90) min", "x2"];
    let (ramped, tested): (Vec<_>, Vec<_>) = parallel(jobs).into_iter().partition(|(_, cells)| cells.len() == 4);
    print("The price of each part at a fixed share of 10 %, base 1 % (seed 505)", &head, &tested);
    let head = ["variant", "good: P(rollback)", "good: median min to 100 %", "x2: mean excess (p95)", "x1.5: promoted"];
    print("The price of each part of the ramp, base .1 %, 6000 a minute (seed 506)", &head, &ramped);
}

fn hysteresis(jobs: &mut Vec<Job<'static>>, runs: u32) {
    let with = |change: fn(&mut Analysis)| {
        let mut analysis = shipped();
        change(&mut analysis);
        analysis
    };
    let variants: Vec<(&str, Analysis, u64, u32)> = vec![
        ("as shipped (alarm ends after 5 calm windows)", shipped(), VOLUME, 0),
        ("no alarm", with(|analysis| analysis.ramp.calm = 0), VOLUME, 0),
        ("alarm ends after 15 calm windows", with(|analysis| analysis.ramp.calm = 15), VOLUME, 0),
        ("no restarts", with(|analysis| analysis.restart = None), VOLUME, 0),
        ("restarts every 10 min", with(|analysis| analysis.restart = Some(vice_core::Millis(600_000))), VOLUME, 0),
        ("reports 2 min late", shipped(), VOLUME, 2),
        ("reports 10 min late", shipped(), VOLUME, 10),
        ("one of 2 candidates (half of the traffic)", shipped().split(2), VOLUME / 2, 0),
        ("one of 4 candidates (a quarter of it)", shipped().split(4), VOLUME / 4, 0),
    ];
    for (name, analysis, volume, late) in variants {
        jobs.push(Box::new(move || {
            let run = |ratio: f64| {
                let mut world = World::new(0, Pattern::Constant, 0.001, ratio);
                let each = (0..runs).map(|run| {
                    world.run(506, u64::from(run));
                    by_ramp(&mut world, &analysis, volume, late)
                });
                each.collect::<Vec<End>>()
            };
            let good = summary(&run(1.0));
            let twice = summary(&run(2.0));
            let half = run(1.5);
            let promoted = half.iter().filter(|end| end.promoted).count() as f64 / half.len() as f64;
            let cells = [
                format!("{:.3}", good.0),
                format!("{}", good.1),
                format!("{:.0} ({:.0})", twice.2, twice.3),
                format!("{promoted:.3}"),
            ];
            (name.to_owned(), cells.to_vec())
        }));
    }
}

/// A judge at a fixed share in a world of its own: how often a good release is rolled back in a day, and how soon bad
/// ones are found.
fn at_fixed_share(
    name: String,
    analysis: Analysis,
    runs: u32,
    window: impl Fn(&mut Dice, f64, &mut dyn FnMut(u16, Reading)) + Send + 'static,
) -> Job<'static> {
    Box::new(move || {
        let mut dice = Dice::new(505, 0);
        let mut run = |ratio: f64, minutes: u32| {
            let each = (0..runs).map(|run| {
                dice.reseed(505, u64::from(run));
                let mut judge = Judge::new(&analysis);
                let found = (0..minutes).find(|_| {
                    window(&mut dice, ratio, &mut |metric, reading| judge.window(&analysis, metric, reading));
                    judge.close(&analysis, 0.1).verdict == Verdict::Rollback
                });
                found.map_or(f64::INFINITY, |minute| f64::from(minute + 1))
            });
            each.collect::<Vec<f64>>()
        };
        let good = run(1.0, DAY);
        let wrong = good.iter().filter(|time| time.is_finite()).count() as f64 / f64::from(runs);
        let delay = |mut times: Vec<f64>| {
            let (median, p90) = (quantile(&mut times, 0.5), quantile(&mut times, 0.9));
            format!("{median} ({p90})").replace("inf", "> 600")
        };
        (name, vec![format!("{wrong:.3}"), delay(run(1.5, LONG)), delay(run(2.0, LONG))])
    })
}

fn draw(dice: &mut Dice, seen: (u64, u64), base: f64, ratio: f64) -> Minute {
    let canary = (seen.0, dice.binomial(seen.0, base * ratio));
    Minute { canary, baseline: (seen.1, dice.binomial(seen.1, base)), base }
}

fn several(jobs: &mut Vec<Job<'static>>, runs: u32) {
    for (many, critical, guilty) in [(1, false, 1), (4, false, 1), (16, false, 1), (16, false, 16), (4, true, 1)] {
        let mut analysis = pure(shipped());
        analysis.metrics = (0..many).map(|n| MetricPlan::new(&format!("m{n}"), MetricKind::Errors)).collect();
        analysis.metrics[0].critical = critical;
        let name = match (many, critical) {
            (1, _) => "one metric, as shipped".to_owned(),
            (_, true) => format!("{many} metrics, the guilty one critical"),
            _ => format!("{many} metrics, {guilty} guilty"),
        };
        jobs.push(at_fixed_share(name, analysis, runs.min(200), move |dice, ratio, tell| {
            for metric in 0..many {
                let worse = if metric < guilty { ratio } else { 1.0 };
                tell(metric, counts(&draw(dice, (600, 5400), BASE, worse)));
            }
        }));
    }
}

/// The new release has most of its traffic in the bad region: 300 and 300 a minute against 540 and 4860.
fn strata(jobs: &mut Vec<Job<'static>>, runs: u32) {
    for (name, apart, skewed) in [
        ("4 strata of equal rates", true, false),
        ("2 regions of .5 and 2.5 %, new release mostly in the bad one, stratified", true, true),
        ("the same, pooled", false, true),
    ] {
        let mut analysis = pure(shipped());
        analysis.metrics[0].strata = 4;
        let cells: &[(u64, u64, f64)] =
            if skewed { &[(300, 540, 0.025), (300, 4860, 0.005)] } else { &[(150, 1350, BASE); 4] };
        jobs.push(at_fixed_share(name.to_owned(), analysis, runs, move |dice, ratio, tell| {
            let all = cells.iter().map(|(canary, baseline, base)| draw(dice, (*canary, *baseline), *base, ratio));
            let all: Vec<Minute> = all.collect();
            let arm = |(seen, bad)| Arm::errors(seen, bad);
            if apart {
                for (stratum, one) in (0u16..).zip(&all) {
                    tell(0, Reading::Counts { stratum, canary: arm(one.canary), baseline: arm(one.baseline) });
                }
                return;
            }
            let sum = |pick: fn(&Minute) -> (u64, u32)| {
                all.iter().map(pick).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
            };
            tell(0, counts(&Minute { canary: sum(|one| one.canary), baseline: sum(|one| one.baseline), base: BASE }));
        }));
    }
}

/// Errors of so many exposures in geometric bursts of this mean.
fn bursts(dice: &mut Dice, seen: u64, rate: f64, mean: f64) -> u32 {
    let many = dice.binomial(seen, rate / mean);
    let length = |unit: f64| 1 + ((1.0 - unit).ln() / (1.0 - 1.0 / mean).ln()) as u32;
    (0..many).map(|_| length(dice.unit())).sum::<u32>().min(seen as u32)
}

fn sensor(jobs: &mut Vec<Job<'static>>, runs: u32) {
    for (name, mean, halves, bursty) in [
        ("the sensor, independent errors", 1.000_001, true, false),
        ("bursts of 5, nothing against them", 5.0, false, false),
        ("bursts of 5, the sensor", 5.0, true, false),
        ("bursts of 5, divided by their dispersion", 5.0, false, true),
        ("bursts of 5, both", 5.0, true, true),
        ("bursts of 20, divided by their dispersion", 20.0, false, true),
        ("independent errors, divided by their dispersion", 1.000_001, false, true),
    ] {
        let mut analysis = pure(shipped());
        analysis.metrics[0].bursty = bursty;
        jobs.push(at_fixed_share(name.to_owned(), analysis, runs, move |dice, ratio, tell| {
            let bad = bursts(dice, 600, BASE * ratio, mean);
            let (left, right) = (bursts(dice, 2700, BASE, mean), bursts(dice, 2700, BASE, mean));
            if halves {
                let (left, right) = (Arm::errors(2700, left), Arm::errors(2700, right));
                tell(0, Reading::Halves { stratum: 0, left, right });
            }
            tell(0, counts(&Minute { canary: (600, bad), baseline: (5400, left + right), base: BASE }));
        }));
    }
}
