//! Two samples against values from textbooks and against brute force.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::compare::{
    Finding, Method, Tolerances, compare_counts, compare_samples, fisher, kolmogorov_smirnov, mann_whitney, median,
    median_test,
};

use crate::world::Dice;

fn near(got: f64, wanted: f64) {
    assert!((got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{got} {wanted}");
}

const STRICT: Tolerances = Tolerances { alpha: 0.05, beta: 0.05, margin: 1.0, tolerance: 1.5 };

#[test]
fn fisher_agrees_with_the_tea_lady() {
    // Four cups of each kind, three of four right: 17/70; the other tail 69/70.
    let (low, high) = fisher((4, 3), (4, 1));
    near(high, 17.0 / 70.0);
    near(low, 69.0 / 70.0);
}

#[test]
fn large_counts_use_the_binomial_exactly() {
    // Equal exposures, 20 against 4 events: P(Bin(24, 1/2) >= 20) = 12951 / 2^24.
    let found = compare_counts((10_000, 20), (10_000, 4), &STRICT);
    assert_eq!((found.method, found.verdict), (Method::ConditionalBinomial, Verdict::Rollback));
    near(found.p_worse, 12_951.0 / f64::from(1 << 24));
    near(found.ratio, 5.0);
    // The ends of the interval give their own levels back (inversion).
    for (ratio, worse) in [(found.low, true), (found.high, false)] {
        let again =
            compare_counts((10_000, 20), (10_000, 4), &Tolerances { margin: ratio, tolerance: ratio, ..STRICT });
        near(if worse { again.p_worse } else { again.p_tolerable }, 0.05);
    }
}

#[test]
fn counts_have_four_verdicts() {
    let defaults = Tolerances::default();
    let finding = |canary, baseline| {
        let found = compare_counts(canary, baseline, &defaults);
        (found.verdict, found.finding)
    };
    assert_eq!(finding((60_000, 600), (60_000, 300)), (Verdict::Rollback, Finding::Worse));
    assert_eq!(finding((60_000, 600), (60_000, 600)), (Verdict::Proceed, Finding::Proven));
    assert_eq!(finding((600, 6), (600, 5)), (Verdict::Hold, Finding::Undecided));
    assert_eq!(finding((600, 0), (600, 0)), (Verdict::Inconclusive, Finding::NoEvents));
    assert_eq!(finding((0, 0), (600, 5)), (Verdict::Inconclusive, Finding::Empty));
    assert_eq!(finding((5, 6), (600, 5)), (Verdict::Inconclusive, Finding::Nonsense));
    let huge = compare_counts((u64::MAX / 2, 4_000_000_000), (u64::MAX / 2, 4_000_000_000), &defaults);
    assert_eq!(huge.verdict, Verdict::Proceed);
    assert!(huge.low > 0.999 && huge.high < 1.001, "{huge:?}");
}

#[test]
fn the_small_sample_level_is_exact() {
    // All outcomes of 20 against 20 with a common rate: P(rollback) is at most alpha for every rate.
    let tolerances = Tolerances { margin: 1.0, ..Tolerances::default() };
    for rate in [0.05f64, 0.3, 0.5, 0.9] {
        let mut level = 0.0;
        let mut choose = vec![1.0f64];
        for n in 1..=20 {
            choose.push(choose[n - 1] * (21 - n) as f64 / n as f64);
        }
        let chance = |k: usize| choose[k] * rate.powi(k as i32) * (1.0 - rate).powi(20 - k as i32);
        for mine in 0..=20 {
            for other in 0..=20 {
                let found = compare_counts((20, mine as u64), (20, other as u64), &tolerances);
                level += if found.verdict == Verdict::Rollback { chance(mine) * chance(other) } else { 0.0 };
            }
        }
        assert!(level <= 0.01, "{rate}: {level}");
    }
}

/// The p-values of a rank sum by walking all subsets.
fn brute(first: &[f64], second: &[f64]) -> (f64, f64) {
    let pool: Vec<f64> = first.iter().chain(second).copied().collect();
    let rank = |value: f64| {
        let below = pool.iter().filter(|other| **other < value).count() as f64;
        below + (pool.iter().filter(|other| **other == value).count() as f64 + 1.0) / 2.0
    };
    let ranks: Vec<f64> = pool.iter().map(|value| rank(*value)).collect();
    let seen: f64 = ranks[..first.len()].iter().sum();
    let (mut low, mut high, mut all) = (0u32, 0u32, 0u32);
    for subset in 0u32..1 << pool.len() {
        if subset.count_ones() as usize == first.len() {
            let sum: f64 = ranks.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, rank)| rank).sum();
            all += 1;
            low += u32::from(sum <= seen + 1e-9);
            high += u32::from(sum >= seen - 1e-9);
        }
    }
    (f64::from(low) / f64::from(all), f64::from(high) / f64::from(all))
}

#[test]
fn mann_whitney_is_exact_with_ties() {
    let mut dice = Dice::new(401, 0);
    for round in 0..60 {
        let mut draw = |n: usize| (0..n).map(|_| (dice.unit() * 6.0).floor()).collect::<Vec<f64>>();
        let (first, second) = (draw(3 + round % 5), draw(2 + round % 4));
        let (got, wanted) = (mann_whitney(&first, &second), brute(&first, &second));
        near(got.0, wanted.0);
        near(got.1, wanted.1);
    }
    // Complete separation of 5 and 5: 1 of 252.
    near(mann_whitney(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0]).1, 1.0 / 252.0);
}

#[test]
fn the_normal_limit_meets_the_exact_test() {
    let mut dice = Dice::new(402, 0);
    let mut draw = |n: usize, by: f64| (0..n).map(|_| dice.unit() + by).collect::<Vec<f64>>();
    let (first, second) = (draw(20, 0.15), draw(20, 0.0));
    let exact = mann_whitney(&first, &second).1;
    // Each value three times is not independent data, but the same spread of ranks with ties, three times larger.
    let limit = mann_whitney(&draw(2000, 0.0), &draw(2000, 0.0));
    assert!((limit.0 + limit.1 - 1.0).abs() < 0.01 && exact > 0.0 && exact < 0.5, "{limit:?} {exact}");
    assert_eq!(mann_whitney(&[1.0; 100], &[1.0; 100]), (1.0, 1.0));
}

#[test]
fn kolmogorov_smirnov_counts_paths() {
    // Complete separation of 4 and 4: 1 of 70 paths.
    let (lead, p) = kolmogorov_smirnov(&[5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0, 4.0]);
    near(lead, 1.0);
    near(p, 1.0 / 70.0);
    assert_eq!(kolmogorov_smirnov(&[1.0, 2.0], &[5.0, 6.0]), (0.0, 1.0));
    assert_eq!(kolmogorov_smirnov(&[1.0; 5], &[1.0; 9]), (0.0, 1.0));
    assert_eq!(kolmogorov_smirnov(&[], &[1.0]), (0.0, 1.0));
    // All 126 divisions of nine values with ties, by hand.
    let pool = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0, 5.0];
    let lead = |subset: u32| {
        let part = |own: u32| {
            move |at: &f64| {
                let (mut count, mut all) = (0.0, 0.0);
                for (place, value) in pool.iter().enumerate() {
                    if subset >> place & 1 == own {
                        all += 1.0;
                        count += f64::from(u8::from(value <= at));
                    }
                }
                count / all
            }
        };
        pool.iter().map(|at| part(0)(at) - part(1)(at)).fold(0.0, f64::max)
    };
    let subsets: Vec<u32> = (0..1 << 9).filter(|subset: &u32| subset.count_ones() == 4).collect();
    for subset in subsets.iter().step_by(7) {
        let of = |own: u32| {
            pool.iter().enumerate().filter(|(at, _)| subset >> at & 1 == own).map(|(_, v)| *v).collect::<Vec<f64>>()
        };
        let (statistic, p) = kolmogorov_smirnov(&of(1), &of(0));
        near(statistic, lead(*subset));
        let as_far = subsets.iter().filter(|other| lead(**other) >= statistic - 1e-9).count();
        near(p, as_far as f64 / subsets.len() as f64);
    }
}

#[test]
fn samples_have_an_estimate_an_interval_and_a_verdict() {
    let mut dice = Dice::new(403, 0);
    let mut draw = |n: usize, scale: f64| (0..n).map(|_| scale * (0.5 + dice.unit())).collect::<Vec<f64>>();
    let defaults = Tolerances::default();
    let same = compare_samples(&draw(400, 1.0), &draw(400, 1.0), &defaults);
    assert_eq!(same.verdict, Verdict::Proceed);
    assert!(same.low < 1.0 && same.high > 1.0 && same.low < same.ratio && same.ratio < same.high, "{same:?}");
    let slow = compare_samples(&draw(400, 1.3), &draw(400, 1.0), &defaults);
    assert_eq!(slow.verdict, Verdict::Rollback);
    assert!((slow.ratio - 1.3).abs() < 0.1 && slow.low > 1.1 && slow.high < 1.5, "{slow:?}");
    let few = compare_samples(&draw(4, 1.0), &draw(4, 1.0), &defaults);
    assert_eq!((few.verdict, few.method), (Verdict::Hold, Method::MannWhitneyExact));
    assert_eq!(compare_samples(&[], &[1.0], &defaults).finding, Finding::Empty);
    assert_eq!(compare_samples(&[f64::NAN], &[1.0], &defaults).finding, Finding::Nonsense);
    assert_eq!(compare_samples(&[-1.0; 30], &[-1.0; 30], &defaults).verdict, Verdict::Hold);
    assert_eq!(compare_samples(&[0.0; 30], &[0.0; 30], &defaults).verdict, Verdict::Hold);
}

#[test]
fn medians_are_compared_exactly() {
    near(median(&[3.0, 1.0, 2.0]), 2.0);
    near(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    near(median(&[]), 0.0);
    // Five above and five below: 1 of 252.
    near(median_test(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0]).1, 1.0 / 252.0);
}
