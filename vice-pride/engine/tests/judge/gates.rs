//! The gates: false rollbacks, delays, whole rollouts, in the configuration of the reference tables, and in the one
//! that ships where the figure says so. `bench/judge/run` makes the full tables.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Judge, Reading, Watch};

use crate::support::{End, counts, fixed, minutes, ramp, shipped, table, watch, window, within};
use crate::world::{Pattern, VOLUME, World, divide, quantile};

/// Minutes to the rollback of those runs that had one within `limit`, and how many had none.
fn delays(mut world: World, analysis: &Analysis, seed: u64, runs: u32, limit: u32) -> (Vec<f64>, u32) {
    let found = (0..runs).filter_map(|run| {
        world.run(seed, u64::from(run));
        watch(&mut world, analysis, 0.1, limit).map(|minute| f64::from(minute + 1))
    });
    let found: Vec<f64> = found.collect();
    let missed = runs - found.len() as u32;
    (found, missed)
}

/// G2: a day of looks every minute, six cells of 2000 runs, seed 202; in both configurations.
fn false_rollbacks(pattern: Pattern) {
    for (name, analysis) in [("table", fixed(table())), ("shipped", fixed(shipped()))] {
        for base in [0.001, 0.01] {
            let runs = if name == "table" { 2000 } else { 300 };
            let (found, _) = delays(World::new(202, pattern, base, 1.0), &analysis, 202, runs, 1440);
            let rate = found.len() as f64 / f64::from(runs);
            println!("G2 {name} {pattern:?} base {base}: {rate:.4} of {runs} runs");
            assert!(rate <= within(0.01, runs), "{name} {pattern:?} {base}: {rate}");
        }
    }
}

#[test]
fn g2_a_good_release_is_not_rolled_back_at_a_constant_rate() {
    false_rollbacks(Pattern::Constant);
}

#[test]
fn g2_nor_in_a_daily_cycle() {
    false_rollbacks(Pattern::Daily);
}

#[test]
fn g2_nor_in_a_shared_incident() {
    false_rollbacks(Pattern::Incident);
}

/// G3: seed 203, 2000 runs a cell.
#[test]
fn g3_delays_are_those_of_the_reference() {
    for (base, ratio, reference) in [
        (0.001, 1.5, 105.0),
        (0.001, 2.0, 30.0),
        (0.001, 5.0, 3.0),
        (0.01, 1.5, 12.0),
        (0.01, 2.0, 4.0),
        (0.01, 5.0, 1.0),
    ] {
        let world = World::new(203, Pattern::Constant, base, ratio);
        let (mut found, missed) = delays(world, &fixed(table()), 203, 2000, 1440);
        let median = quantile(&mut found, 0.5);
        println!("G3 base {base} x{ratio}: median {median} min, reference {reference}, missed {missed}");
        assert_eq!(missed, 0, "{base} x{ratio}");
        assert!(median <= reference * 1.1, "{base} x{ratio}: {median}");
    }
}

fn rollouts(world: &mut World, analysis: &Analysis, seed: u64, runs: u32) -> Vec<End> {
    let each = (0..runs).map(|run| {
        world.run(seed, u64::from(run));
        ramp(world, analysis)
    });
    each.collect()
}

fn part(ends: &[End], verdict: Verdict) -> f64 {
    ends.iter().filter(|end| end.verdict == verdict).count() as f64 / ends.len() as f64
}

/// G4: seed 204, 1000 runs a cell, both configurations, hysteresis included.
#[test]
fn g4_the_ramp_promotes_good_releases_and_stays_in_its_budget() {
    for (name, analysis) in [("table", table()), ("shipped", shipped())] {
        for (base, reference) in [(0.001, 35.0), (0.01, 9.0)] {
            let ends = rollouts(&mut World::new(204, Pattern::Constant, base, 1.0), &analysis, 204, 1000);
            let mut times: Vec<f64> = ends.iter().map(|end| f64::from(end.minutes)).collect();
            let (back, median) = (part(&ends, Verdict::Rollback), quantile(&mut times, 0.5));
            println!("G4 {name} base {base} healthy: rollback {back:.4}, median {median} min");
            assert!(back <= within(0.01, 1000), "{name} {base}: {back}");
            assert!(median <= reference * 1.1, "{name} {base}: {median}");
            for ratio in [1.5, 2.0, 5.0, 50.0] {
                let ends = rollouts(&mut World::new(204, Pattern::Constant, base, ratio), &analysis, 214, 1000);
                let mut excess: Vec<f64> = ends.iter().map(|end| end.excess).collect();
                let (promoted, p95) = (part(&ends, Verdict::Proceed), quantile(&mut excess, 0.95));
                println!("G4 {name} base {base} x{ratio}: promoted {promoted:.4}, excess p95 {p95:.0}");
                assert!(promoted <= within(0.05, 1000), "{name} {base} x{ratio}: {promoted}");
                assert!(p95 <= 110.0, "{name} {base} x{ratio}: {p95}");
            }
        }
    }
}

/// G5: x2 at 1 % begins after six hours; seed 205, 500 runs. Without restarts the same delay is several times longer.
#[test]
fn g5_a_late_regression_is_found_as_fast_as_an_early_one() {
    let late = |mut analysis: Analysis, restart| {
        analysis.restart = restart;
        let mut world = World::new(205, Pattern::Constant, 0.01, 2.0);
        world.onset = 360;
        let (found, _) = delays(world, &analysis, 205, 500, 1440);
        let mut after: Vec<f64> = found.iter().filter(|minute| **minute > 360.0).map(|minute| minute - 360.0).collect();
        let early = found.len() - after.len();
        (quantile(&mut after, 0.5), early as f64 / 500.0)
    };
    let (with, early) = late(fixed(table()), Some(minutes(30)));
    let (without, _) = late(fixed(table()), None);
    let (ships, also_early) = late(fixed(shipped()), Some(minutes(30)));
    println!("G5 median {with} min with restarts ({early} before the onset), {without} without; as shipped {ships}");
    assert!(with <= 6.0, "{with}");
    assert!(without >= 5.0 * with, "{without}");
    assert!(early.max(also_early) <= within(0.01, 500));
}

/// After promotion: the Shiryaev-Roberts detector, 100 days of minutes; seed 215, 300 runs of 12 hours.
#[test]
fn a_release_is_watched_after_promotion() {
    let grid = table().grid;
    let run = |world: &mut World| {
        let mut watch = Watch::new(1.0, grid, 144_000.0);
        (0..720).find(|minute| {
            let (bad, base) = world.minute(*minute, 600, 5400);
            watch.window((600, bad), (5400, base))
        })
    };
    for (ratio, onset) in [(1.0, 0), (2.0, 0), (2.0, 600)] {
        let mut world = World::new(215, Pattern::Constant, 0.01, ratio);
        world.onset = onset;
        let alarms = (0..300).filter_map(|one| {
            world.run(215, one);
            run(&mut world)
        });
        let alarms: Vec<u32> = alarms.collect();
        let mut delays: Vec<f64> =
            alarms.iter().filter(|at| **at >= onset).map(|at| f64::from(at + 1 - onset)).collect();
        let median = quantile(&mut delays, 0.5);
        println!("watch x{ratio} from {onset}: {} alarms of 300, median delay {median}", alarms.len());
        match ratio {
            1.0 => assert!(alarms.len() <= 6, "{}", alarms.len()),
            _ => assert!(delays.len() >= 298 && median <= 8.0, "{} {median}", delays.len()),
        }
    }
}

/// Errors in geometric bursts of this mean: how many a window has, each counted or each burst once.
fn bursts(world: &mut World, exposures: u64, rate: f64, mean: f64, dedup: bool) -> u32 {
    let bursts = world.dice.binomial(exposures, rate / mean);
    if dedup {
        return bursts;
    }
    let length = |unit: f64| 1 + ((1.0 - unit).ln() / (1.0 - 1.0 / mean).ln()) as u32;
    (0..bursts).map(|_| length(world.dice.unit())).sum::<u32>().min(exposures as u32)
}

/// The part of 300 days without a regression that bursts of mean 5 roll back; seed 206.
fn bursty(analysis: &Analysis, dedup: bool) -> f64 {
    let mut world = World::new(206, Pattern::Constant, 0.01, 1.0);
    let back = (0..300).filter(|run| {
        world.run(206, *run);
        let mut judge = Judge::new(analysis);
        (0..1440).any(|_| {
            let bad = bursts(&mut world, 600, 0.01, 5.0, dedup);
            let base = bursts(&mut world, 5400, 0.01, 5.0, dedup);
            window(&mut judge, analysis, counts((600, bad), (5400, base)), 0.1).verdict == Verdict::Rollback
        })
    });
    back.count() as f64 / 300.0
}

/// G6: bursts of mean 5 count once; or their evidence is divided by the dispersion that they show.
#[test]
fn g6_bursts_are_counted_once_or_divided() {
    let mut tempered = fixed(table());
    tempered.metrics[0].bursty = true;
    let (raw, once, divided) =
        (bursty(&fixed(table()), false), bursty(&fixed(table()), true), bursty(&tempered, false));
    println!("G6 bursts of 5: false rollbacks {raw:.3} raw, {once:.3} deduplicated, {divided:.3} divided");
    assert!(raw > 0.2, "{raw}");
    assert!(once <= within(0.01, 300) && divided <= within(0.01, 300), "{once} {divided}");
}

/// G7: 2 % of the new release's sessions crash and never report; base 0.1 %, seed 207, 300 runs.
#[test]
fn g7_silence_is_bad_news() {
    let analysis = fixed(table());
    let run = |world: &mut World, silence_counts: bool| {
        let mut judge = Judge::new(&analysis);
        (0..1440).find(|minute| {
            let silent = u64::from(world.dice.binomial(600, 0.02));
            let reported = 600 - silent;
            let (bad, base) = world.minute(*minute, reported, 5400);
            let canary = if silence_counts { Arm::reports(600, reported, bad) } else { Arm::errors(reported, bad) };
            let reading = Reading::Counts { stratum: 0, canary, baseline: Arm::errors(5400, base) };
            window(&mut judge, &analysis, reading, 0.1).verdict == Verdict::Rollback
        })
    };
    let mut world = World::new(207, Pattern::Constant, 0.001, 1.0);
    let mut all = |counts| {
        let found = (0..300).filter_map(|one| {
            world.run(207, one);
            run(&mut world, counts).map(|minute| f64::from(minute + 1))
        });
        found.collect::<Vec<f64>>()
    };
    let (mut heard, deaf) = (all(true), all(false));
    println!(
        "G7 found {} of 300, median {} min; ignoring silence {}",
        heard.len(),
        quantile(&mut heard, 0.5),
        deaf.len()
    );
    assert_eq!(heard.len(), 300);
    assert!(quantile(&mut heard, 0.5) <= 2.0);
    assert!(deaf.len() <= 9, "{}", deaf.len());
}

/// G8: time to the proof of a good release at a fixed share, and false proofs of one that is exactly `tolerance` times
/// worse; seed 208, 300 runs a cell.
#[test]
fn g8_the_proof_takes_what_the_forecast_says() {
    for (base, share, tolerance, reference) in [
        (0.001, 0.1, 1.25, 265.0),
        (0.001, 0.1, 1.5, 77.0),
        (0.001, 0.1, 2.0, 21.0),
        (0.001, 0.5, 1.25, 112.0),
        (0.001, 0.5, 1.5, 31.0),
        (0.001, 0.5, 2.0, 10.0),
        (0.01, 0.1, 1.1, 244.0),
        (0.01, 0.1, 1.25, 30.0),
        (0.01, 0.1, 1.5, 9.0),
        (0.01, 0.1, 2.0, 3.0),
        (0.01, 0.5, 1.1, 100.0),
        (0.01, 0.5, 1.25, 13.0),
        (0.01, 0.5, 1.5, 4.0),
        (0.01, 0.5, 2.0, 2.0),
    ] {
        let analysis = Analysis { tolerance, ..fixed(table()) };
        let run = |ratio: f64| {
            let mut world = World::new(208, Pattern::Constant, base, ratio);
            let found = (0..300).filter_map(|one| {
                world.run(208, one);
                proof(&mut world, &analysis, share)
            });
            found.collect::<Vec<f64>>()
        };
        let (mut good, bad) = (run(1.0), run(tolerance));
        let (median, wrong) = (quantile(&mut good, 0.5), bad.len() as f64 / 300.0);
        println!("G8 base {base} w {share} r {tolerance}: median {median} (reference {reference}), false {wrong:.3}");
        assert!(median <= (reference * 1.1f64).max(reference + 0.5), "{median}");
        assert!(wrong <= within(0.05, 300), "{wrong}");
    }
}

/// Minutes to the proof within two days, unless the release is rolled back before.
fn proof(world: &mut World, analysis: &Analysis, share: f64) -> Option<f64> {
    let mut judge = Judge::new(analysis);
    let (canary, baseline) = divide(VOLUME, share);
    for minute in 0..2880 {
        let (bad, base) = world.minute(minute, canary, baseline);
        match window(&mut judge, analysis, counts((canary, bad), (baseline, base)), share).verdict {
            Verdict::Proceed => return Some(f64::from(minute + 1)),
            Verdict::Rollback => return None,
            Verdict::Hold | Verdict::Inconclusive => {}
        }
    }
    None
}
