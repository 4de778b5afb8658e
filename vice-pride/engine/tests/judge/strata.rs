//! Strata with rates of their own, and a release that has nothing to be compared with.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Cause, Judge, Missing, Reading, Ruling};

use crate::support::{counts, minutes, shipped, window};

/// What ships when a metric is written into a manifest: with the floor.
fn floored() -> Analysis {
    let mut analysis = shipped();
    analysis.metrics[0].floor = Some(0.001);
    analysis
}

fn of_two() -> Analysis {
    let mut analysis = shipped();
    analysis.metrics[0].strata = 2;
    analysis
}

/// One window of two strata: the new release and the old one in each.
fn both(judge: &mut Judge, analysis: &Analysis, strata: [((u64, u32), (u64, u32)); 2], share: f64) -> Ruling {
    for (stratum, (canary, baseline)) in (0u16..).zip(strata) {
        let arm = |(seen, bad)| Arm::errors(seen, bad);
        judge.window(analysis, 0, Reading::Counts { stratum, canary: arm(canary), baseline: arm(baseline) });
    }
    judge.close(analysis, share)
}

#[test]
fn without_an_old_release_to_compare_with_a_floor_makes_nothing_healthy() {
    let analysis = floored();
    let mut judge = Judge::new(&analysis);
    for at in 1..=analysis.blind_after {
        // Everything fails, and nobody knows what the old release would have done.
        let ruling = window(&mut judge, &analysis, counts((600, 600), (0, 0)), 0.05);
        let blind = at == analysis.blind_after;
        let why = Missing::Baseline;
        let cause = if blind { Cause::Blind { metric: 0, why } } else { Cause::NoBaseline { metric: 0 } };
        assert_eq!((ruling.verdict == Verdict::Inconclusive, ruling.cause), (blind, cause));
        // All that it gets is at stake: a fifth of the budget of 100 in 600 requests.
        assert!(ruling.share <= 0.05 && ruling.room <= 0.034, "{ruling:?}");
    }
}

#[test]
fn a_bound_that_is_not_broken_proves_nothing_without_an_old_release() {
    let mut analysis = shipped();
    analysis.metrics[0].slo = Some(0.02);
    let mut judge = Judge::new(&analysis);
    let asks = (1..100)
        .find(|_| window(&mut judge, &analysis, counts((1_000, 5), (0, 0)), 0.1).verdict == Verdict::Inconclusive);
    assert_eq!(asks, Some(analysis.blind_after), "a person is asked as without a bound");
    let broken = (1..100)
        .find(|_| window(&mut judge, &analysis, counts((1_000, 100), (0, 0)), 0.1).verdict == Verdict::Rollback);
    assert!(broken.is_some_and(|windows| windows < 5), "and one that is broken goes back: {broken:?}");
}

#[test]
fn a_release_that_is_proven_to_stay_below_the_floor_needs_no_old_one() {
    let analysis = floored();
    let mut judge = Judge::new(&analysis);
    let mut last = None;
    for _ in 0..30 {
        let ruling = window(&mut judge, &analysis, counts((600, 0), (0, 0)), 0.05);
        if ruling.verdict == Verdict::Proceed {
            last = Some(ruling);
            break;
        }
        assert_eq!((ruling.verdict, ruling.cause), (Verdict::Hold, Cause::NoBaseline { metric: 0 }));
    }
    // ln(20) / 0.001 = 3,000 exposures without an error are the least that any test needs.
    assert!(last.is_some_and(|ruling| ruling.evidence.canary_seen >= 3_000), "{last:?}");
}

#[test]
fn a_stratum_that_has_none_of_the_new_releases_traffic_is_not_proven_by_the_others() {
    let analysis = of_two();
    let mut judge = Judge::new(&analysis);
    let silent = [((600, 6), (2_700, 27)), ((0, 0), (2_700, 27))];
    for _ in 0..200 {
        let ruling = both(&mut judge, &analysis, silent, 0.1);
        assert_eq!((ruling.verdict, ruling.cause), (Verdict::Hold, Cause::SilentStratum { metric: 0 }));
        assert_eq!(ruling.evidence.blind, 0, "there are figures");
    }
    let heard = [((300, 3), (2_700, 27)), ((300, 3), (2_700, 27))];
    assert_eq!(both(&mut judge, &analysis, heard, 0.1).verdict, Verdict::Proceed);
    // One that is so small that it need not have been asked yet holds nothing up.
    let mut judge = Judge::new(&analysis);
    let tiny = [((600, 6), (5_400, 54)), ((0, 0), (1, 0))];
    assert!((0..20).any(|_| both(&mut judge, &analysis, tiny, 0.1).verdict == Verdict::Proceed));
}

/// One region at 1 in 1,000 that has most of the old release's traffic, one at 1 in 20 that has most of the new one's.
const UNLIKE: [((u64, u32), (u64, u32)); 2] = [((10, 0), (5_800, 6)), ((100, 5), (200, 10))];

#[test]
fn a_budget_is_not_spent_by_strata_that_differ() {
    let mut analysis = of_two();
    // Nothing is ever proven, so that only the budget can end it.
    analysis.tolerance = 1.06;
    analysis.budget = 400.0;
    let mut judge = Judge::new(&analysis);
    for _ in 0..200 {
        let ruling = both(&mut judge, &analysis, UNLIKE, 0.018);
        assert_ne!(ruling.verdict, Verdict::Rollback, "{ruling:?}");
        assert!(ruling.evidence.spent.get() < 10.0, "the release is as good as the old one: {ruling:?}");
    }
}

#[test]
fn a_bursty_metric_is_not_made_noisier_by_strata_that_differ() {
    let mut analysis = of_two();
    analysis.metrics[0].bursty = true;
    let mut judge = Judge::new(&analysis);
    let last = (0..100).map(|_| both(&mut judge, &analysis, UNLIKE, 0.018)).last().unwrap();
    assert!(last.evidence.dispersion.get() <= 1.0, "counts that never change do not vary: {last:?}");
}

#[test]
fn an_alarm_stays_on_while_figures_are_missing() {
    let analysis = shipped();
    let mut judge = Judge::new(&analysis);
    let alarm = window(&mut judge, &analysis, counts((600, 17), (5400, 54)), 0.1);
    assert_eq!((alarm.cause, alarm.alarmed), (Cause::SoftAlarm { metric: 0 }, true));
    for (reading, cause) in [
        (Reading::Failed, Cause::SourceFailed { metric: 0 }),
        (Reading::Late, Cause::Late { metric: 0 }),
        (Reading::NoTraffic, Cause::NoTraffic { metric: 0 }),
    ] {
        let ruling = window(&mut judge, &analysis, reading, 0.05);
        assert_eq!((ruling.cause, ruling.alarmed), (cause, true));
    }
}

#[test]
fn waiting_longer_begins_patience_and_blindness_anew_and_keeps_what_was_learned() {
    let mut analysis = shipped();
    analysis.patience = Some(minutes(10));
    let mut judge = Judge::new(&analysis);
    let good = |judge: &mut Judge| window(judge, &analysis, counts((60, 0), (540, 1)), 0.1);
    let until_asked = |judge: &mut Judge| (1..100).find(|_| good(judge).verdict == Verdict::Inconclusive);
    assert_eq!(until_asked(&mut judge), Some(10));
    let seen = good(&mut judge).evidence.canary_seen;
    judge.wait_longer();
    assert_eq!(until_asked(&mut judge), Some(10), "ten minutes more");
    assert_eq!(good(&mut judge).evidence.canary_seen, seen + 11 * 60);
    let blind = |judge: &mut Judge| {
        (1..100).find(|_| window(judge, &analysis, Reading::Failed, 0.1).verdict == Verdict::Inconclusive)
    };
    let mut judge = Judge::new(&analysis);
    assert_eq!(blind(&mut judge), Some(analysis.blind_after));
    judge.wait_longer();
    assert_eq!(blind(&mut judge), Some(analysis.blind_after));
}
