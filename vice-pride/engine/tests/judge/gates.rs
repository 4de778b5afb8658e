//! The gates: false rollbacks, delays, whole rollouts.

use vice_core::payload::rollout::Verdict;

use crate::support::{End, fixed, ramp, shipped, table, watch};
use crate::world::{PATTERNS, Pattern, World, quantile, within};

#[test]
#[ignore]
fn explore_false() {
    for (name, analysis) in [("table", fixed(table())), ("shipped", fixed(shipped()))] {
        for pattern in PATTERNS {
            for base in [0.001, 0.01] {
                let runs = 500;
                let mut world = World::new(1, pattern, base, 1.0);
                let hits = (0..runs)
                    .filter(|run| {
                        world.run(11, *run);
                        watch(&mut world, &analysis, 0.1, 1440).is_some()
                    })
                    .count();
                println!("{name} {pattern:?} {base} {}", hits as f64 / runs as f64);
            }
        }
    }
}

#[test]
#[ignore]
fn explore_delay() {
    for (name, analysis) in [("table", fixed(table())), ("shipped", fixed(shipped()))] {
        for base in [0.001, 0.01] {
            for ratio in [1.5, 2.0, 5.0] {
                let runs = 2000;
                let mut world = World::new(1, Pattern::Constant, base, ratio);
                let mut times: Vec<f64> = (0..runs)
                    .filter_map(|run| {
                        world.run(12, run);
                        watch(&mut world, &analysis, 0.1, 1440)
                    })
                    .map(|t| f64::from(t + 1))
                    .collect();
                println!("{name} {base} x{ratio} {} ({})", quantile(&mut times, 0.5), quantile(&mut times, 0.9));
            }
        }
    }
}

#[test]
#[ignore]
fn explore_ramp() {
    for (name, analysis) in [("table", table()), ("shipped", shipped())] {
        for pattern in [Pattern::Constant, Pattern::Daily] {
            for base in [0.001, 0.01] {
                for ratio in [1.0, 1.5, 2.0, 5.0] {
                    let runs = 500;
                    let mut world = World::new(1, pattern, base, ratio);
                    let ends: Vec<End> = (0..runs)
                        .map(|run| {
                            world.run(13, run);
                            ramp(&mut world, &analysis)
                        })
                        .collect();
                    let part = |verdict| ends.iter().filter(|end| end.verdict == verdict).count() as f64 / runs as f64;
                    let mut minutes: Vec<f64> = ends.iter().map(|end| f64::from(end.minutes)).collect();
                    let mut excess: Vec<f64> = ends.iter().map(|end| end.excess).collect();
                    println!(
                        "{name} {pattern:?} {base} x{ratio} back {:.3} promoted {:.3} median {} p90 {} excess {:.0} ({:.0})",
                        part(Verdict::Rollback),
                        part(Verdict::Proceed),
                        quantile(&mut minutes, 0.5),
                        quantile(&mut minutes, 0.9),
                        excess.iter().sum::<f64>() / runs as f64,
                        quantile(&mut excess, 0.95)
                    );
                }
            }
        }
    }
}

#[test]
#[ignore]
fn explore_cause() {
    use crate::{
        support::{counts, window},
        world::{VOLUME, divide},
    };
    use std::collections::BTreeMap;
    use vice_pride_engine::judge::{Judge, first_share};
    for pattern in PATTERNS {
        for (name, analysis) in [("table", table()), ("shipped", shipped())] {
            let mut world = World::new(1, pattern, 0.001, 1.0);
            let mut causes: BTreeMap<String, (u32, Vec<f64>)> = BTreeMap::new();
            for run in 0..2000 {
                world.run(14, run);
                let mut judge = Judge::new(&analysis);
                let mut share = first_share(&analysis, VOLUME as f64);
                for minute in 0..1440 {
                    let (canary, baseline) = divide(VOLUME, share);
                    let (bad, base) = world.minute(minute, canary, baseline);
                    let ruling = window(&mut judge, &analysis, counts((canary, bad), (baseline, base)), share);
                    if matches!(ruling.verdict, Verdict::Rollback | Verdict::Proceed) {
                        let e = causes.entry(format!("{:?}", ruling.cause)).or_default();
                        e.0 += 1;
                        e.1.push(f64::from(minute));
                        if ruling.verdict == Verdict::Rollback && e.0 < 0 {
                            println!("{:?}", ruling.evidence);
                        }
                        break;
                    }
                    share = ruling.share;
                }
            }
            for (cause, (n, mut t)) in causes {
                println!("{pattern:?} {name} {cause} {n} t {} {}", quantile(&mut t, 0.1), quantile(&mut t, 0.5));
            }
        }
    }
}
