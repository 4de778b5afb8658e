//! G1: the expectation of every e-value under its null hypothesis, by exact enumeration of all outcomes. Binomial
//! probabilities are computed here, not by the code under test.

use super::analysis::Grid;
use super::bounds::Bounds;
use super::kernel::{Batch, RatioTest, Side};
use super::rate::RateTest;
use super::reading::LEVELS;

const SIZES: [(u64, u64); 5] = [(1, 1), (3, 17), (10, 90), (50, 50), (80, 9)];
const RATES: [f64; 5] = [0.001, 0.02, 0.1, 0.3, 0.6];
const MARGINS: [f64; 3] = [1.0, 1.05, 1.5];
const GRID: Grid = Grid { points: 24, low: 1.05, high: 32.0, lean: 1.0 };
const SLACK: f64 = 1e-9;

/// Chances of 0..=n successes, by the recurrence of a row at a time.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut row = vec![1.0];
    for _ in 0..n {
        let mut next = vec![0.0; row.len() + 1];
        for (k, chance) in row.iter().enumerate() {
            next[k] += chance * (1.0 - p);
            next[k + 1] += chance * p;
        }
        row = next;
    }
    row
}

fn side(seen: u64, bad: usize) -> Side {
    Side { seen: seen as f64, bad: bad as f64, levels: None }
}

/// The mean of `value` over all outcomes.
fn mean(sizes: (u64, u64), rates: (f64, f64), value: impl Fn(&Batch) -> f64) -> f64 {
    let (canary, baseline) = (binomial(sizes.0, rates.0), binomial(sizes.1, rates.1));
    let mut sum = 0.0;
    for (mine, chance) in canary.iter().enumerate() {
        for (other, also) in baseline.iter().enumerate() {
            sum += chance * also * value(&Batch { canary: side(sizes.0, mine), baseline: side(sizes.1, other) });
        }
    }
    sum
}

/// Every size, base rate and margin (or tolerance) with rates at most 1.
fn cases(ratios: &[f64]) -> Vec<((u64, u64), f64, f64)> {
    let rates = |ratio: f64| RATES.into_iter().filter(move |base| base * ratio <= 1.0);
    let pairs = |size| ratios.iter().flat_map(move |ratio| rates(*ratio).map(move |base| (size, base, *ratio)));
    SIZES.into_iter().flat_map(pairs).collect()
}

#[test]
fn the_rollback_test_never_gains_on_average() {
    let mut highest: f64 = 0.0;
    for (size, base, margin) in cases(&MARGINS) {
        for past in [None, Some((40, 2)), Some((40, 30))] {
            let mut test = RatioTest::new(margin, GRID, past.is_some());
            if let Some((seen, bad)) = past {
                // The guess of the base rate is now 6 or 74 %, right or wrong.
                test.fold(&Batch { canary: side(seen, bad), baseline: side(seen, bad) }, 1.0);
            }
            let before = test.log_e();
            // On the edge of the null hypothesis, and inside it.
            for part in [1.0, 0.7] {
                let e = mean(size, (margin * base * part, base), |batch| {
                    let mut after = test.clone();
                    after.fold(batch, 1.0);
                    (after.log_e() - before).exp()
                });
                highest = highest.max(e);
                assert!(e <= 1.0 + SLACK, "{size:?} base {base} margin {margin} past {past:?} part {part}: {e}");
            }
        }
    }
    // A test that never bets would pass as well: on the edge the mean is close to one.
    assert!(highest > 0.999_999, "{highest}");
}

#[test]
fn the_proof_never_gains_on_average() {
    let mut highest: f64 = 0.0;
    for (size, base, tolerance) in cases(&[1.25, 1.5]) {
        for part in [1.0, 1.3] {
            let rate = (tolerance * base * part).min(1.0);
            let e = mean(size, (rate, base), |batch| {
                let mut bounds = Bounds::new(tolerance);
                bounds.fold(batch, 1.0);
                bounds.plausible(0.01, 0.05).log_proof.exp()
            });
            highest = highest.max(e);
            assert!(e <= 1.0 + SLACK, "{size:?} base {base} tolerance {tolerance} part {part}: {e}");
        }
    }
    assert!(highest > 0.99, "{highest}");
}

#[test]
fn different_rates_inside_a_batch_change_nothing() {
    // Half of the exposures of either release have three times the rate of the other half.
    let (low, high) = (binomial(8, 0.1), binomial(8, 0.3));
    let sum = |one: &[f64], two: &[f64]| {
        let mut all = vec![0.0; one.len() + two.len() - 1];
        for (i, x) in one.iter().enumerate() {
            for (j, y) in two.iter().enumerate() {
                all[i + j] += x * y;
            }
        }
        all
    };
    let mixed = sum(&low, &high);
    let mut e = 0.0;
    for (mine, chance) in mixed.iter().enumerate() {
        for (other, also) in mixed.iter().enumerate() {
            let mut test = RatioTest::new(1.0, GRID, false);
            test.fold(&Batch { canary: side(16, mine), baseline: side(16, other) }, 1.0);
            e += chance * also * test.log_e().exp();
        }
    }
    assert!(e <= 1.0 + SLACK, "{e}");
}

#[test]
fn health_levels_never_gain_on_average() {
    // Each report has badness 0, 1/3 or 1; all outcomes of three against three.
    let chances = [0.7, 0.2, 0.1];
    let levels = [0, 5, 15];
    let outcomes: Vec<(f64, Side)> = (0..27)
        .map(|code| {
            let (mut chance, mut counts, mut bad) = (1.0, [0; LEVELS], 0.0);
            for which in [code % 3, code / 3 % 3, code / 9] {
                chance *= chances[which];
                counts[levels[which]] += 1;
                bad += levels[which] as f64 / 15.0;
            }
            (chance, Side { seen: 3.0, bad, levels: Some(counts) })
        })
        .collect();
    for past in [0.0, 0.5] {
        let mut test = RatioTest::new(1.0, GRID, false);
        if past > 0.0 {
            let half = Side { seen: 20.0, bad: 10.0, levels: None };
            test.fold(&Batch { canary: half, baseline: half }, 1.0);
        }
        let before = test.log_e();
        let mut e = 0.0;
        for (chance, canary) in &outcomes {
            for (also, baseline) in &outcomes {
                let mut after = test.clone();
                after.fold(&Batch { canary: *canary, baseline: *baseline }, 1.0);
                e += chance * also * (after.log_e() - before).exp();
            }
        }
        assert!(e <= 1.0 + SLACK, "past {past}: {e}");
    }
}

#[test]
fn absolute_bounds_never_gain_on_average() {
    for bound in [0.01, 0.2, 0.7] {
        let above = mean((60, 1), (bound, 0.0), |batch| {
            let mut test = RateTest::above(bound, true);
            test.fold(&batch.canary, 1.0);
            test.log_e().exp()
        });
        let below = mean((60, 1), (bound, 0.0), |batch| {
            let mut test = RateTest::below(bound);
            test.fold(&batch.canary, 1.0);
            test.log_e().exp()
        });
        assert!(above <= 1.0 + SLACK && below <= 1.0 + SLACK, "{bound}: {above} {below}");
        assert!(above > 0.999_999 && below > 0.999_999, "{bound}: {above} {below}");
    }
}

#[test]
fn restarts_neither_make_nor_lose_evidence() {
    let batch = Batch { canary: side(100, 7), baseline: side(900, 20) };
    let mut test = RatioTest::new(1.0, GRID, true);
    test.fold(&batch, 1.0);
    for _ in 0..1000 {
        let before = test.log_e();
        test.restart();
        assert!((test.log_e() - before).abs() < 1e-12);
    }
    let before = test.log_e();
    assert!(before > 0.5, "{before}");
    test.halve();
    assert!((test.log_e() - before / 2.0).abs() < 1e-12);
}
