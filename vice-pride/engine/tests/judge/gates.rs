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
        for pattern in PATTERNS {
            for base in [0.001, 0.01] {
                for ratio in [1.0, 1.1, 1.25, 1.5, 2.0, 5.0, 50.0] {
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
