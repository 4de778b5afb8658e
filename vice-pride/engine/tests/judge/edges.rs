//! What is missing, what is nonsense, and what must not matter.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{
    Analysis, Arm, Cause, Expected, Judge, LEVELS, METRICS_MAX, MetricKind, MetricPlan, Missing, Reading, Ruling,
    SharePath, feasibility, first_share, forecast,
};

use crate::support::{counts, fixed, minutes, shipped, table, window};
use crate::world::{Pattern, World};

fn good(judge: &mut Judge, analysis: &Analysis) -> Ruling {
    window(judge, analysis, counts((600, 6), (5400, 54)), 0.1)
}

fn ready() -> (Analysis, Judge) {
    let analysis = shipped();
    assert_eq!(analysis.problems(), []);
    let judge = Judge::new(&analysis);
    (analysis, judge)
}

#[test]
fn what_is_missing_has_a_name_each_and_never_is_health() {
    let cases = [
        (Reading::NoTraffic, Cause::NoTraffic { metric: 0 }, Missing::Traffic),
        (counts((0, 0), (5400, 54)), Cause::NoTraffic { metric: 0 }, Missing::Traffic),
        (counts((600, 6), (0, 0)), Cause::NoBaseline { metric: 0 }, Missing::Baseline),
        (Reading::NoSeries, Cause::NoSeries { metric: 0 }, Missing::Series),
        (Reading::Failed, Cause::SourceFailed { metric: 0 }, Missing::Source),
        (Reading::Late, Cause::Late { metric: 0 }, Missing::Deadline),
    ];
    for (reading, cause, why) in cases {
        let (analysis, mut judge) = ready();
        for _ in 1..analysis.blind_after {
            let ruling = window(&mut judge, &analysis, reading, 0.1);
            assert_eq!((ruling.verdict, ruling.cause), (Verdict::Hold, cause));
            assert!(ruling.share <= 0.1, "no growth in the dark");
        }
        let ruling = window(&mut judge, &analysis, reading, 0.1);
        assert_eq!((ruling.verdict, ruling.cause), (Verdict::Inconclusive, Cause::Blind { metric: 0, why }));
        // It recovers with the figures.
        assert_eq!(good(&mut judge, &analysis).verdict, Verdict::Hold);
        assert_eq!(good(&mut judge, &analysis).evidence.blind, 0);
    }
}

#[test]
fn nothing_read_at_all_is_missing_too() {
    let (analysis, mut judge) = ready();
    let last = (0..analysis.blind_after).map(|_| judge.close(&analysis, 0.1)).last().unwrap();
    assert_eq!(last.cause, Cause::Blind { metric: 0, why: Missing::Reading });
    let nothing = Analysis::default();
    let ruling = Judge::new(&nothing).close(&nothing, 0.5);
    assert_eq!((ruling.verdict, ruling.cause), (Verdict::Inconclusive, Cause::NoMetrics));
}

#[test]
fn no_errors_in_either_release_say_nothing_and_a_floor_says_when_that_is_enough() {
    let (analysis, mut judge) = ready();
    for _ in 0..1000 {
        let ruling = window(&mut judge, &analysis, counts((3000, 0), (3000, 0)), 0.5);
        assert_eq!((ruling.verdict, ruling.cause), (Verdict::Hold, Cause::NoErrors { metric: 0 }));
        assert_eq!((ruling.evidence.log_e.get(), ruling.evidence.log_proof.get()), (0.0, 0.0));
    }
    let mut floored = shipped();
    floored.metrics[0].floor = Some(1e-4);
    let mut judge = Judge::new(&floored);
    let when =
        (1..).find(|_| window(&mut judge, &floored, counts((3000, 0), (3000, 0)), 0.5).verdict == Verdict::Proceed);
    // ln(20)/1e-4 = 30,000 exposures without an error are the least that any test needs.
    assert!((10..=25).contains(&when.unwrap()), "{when:?}");
}

#[test]
fn nonsense_is_refused_and_leaves_no_trace() {
    let mut health = [0; LEVELS];
    health[3] = 700;
    let nonsense = [
        (MetricKind::Errors, Arm::errors(600, 601)),
        (MetricKind::Latency, Arm::latency(600, [100, 200, 10, 1])),
        (MetricKind::Latency, Arm::latency(600, [601, 60, 6, 0])),
        (MetricKind::Health, Arm { seen: 600, bad: health }),
    ];
    for (kind, arm) in nonsense {
        let mut analysis = shipped();
        analysis.metrics[0].kind = kind;
        let mut judge = Judge::new(&analysis);
        let reading = Reading::Counts { stratum: 0, canary: arm, baseline: Arm::errors(5400, 0) };
        let ruling = window(&mut judge, &analysis, reading, 0.1);
        assert_eq!(ruling.cause, Cause::SourceFailed { metric: 0 }, "{kind:?}");
        assert_eq!((ruling.evidence.canary_seen, ruling.evidence.log_e.get()), (0, 0.0));
    }
}

#[test]
fn unknown_strata_and_metrics_and_a_stratum_read_twice_count_once() {
    let (analysis, mut once) = ready();
    let mut twice = once.clone();
    let reading = counts((600, 20), (5400, 54));
    let one = window(&mut once, &analysis, reading, 0.1);
    twice.window(&analysis, 0, reading);
    twice.window(&analysis, 0, reading);
    twice.window(&analysis, 9, reading);
    let stray = Reading::Counts { stratum: 7, canary: Arm::errors(9, 9), baseline: Arm::errors(9, 0) };
    twice.window(&analysis, 0, stray);
    assert_eq!(twice.close(&analysis, 0.1), one);
}

#[test]
fn huge_and_extreme_counts_do_no_harm() {
    let arms = [
        Arm::errors(0, 0),
        Arm::errors(1, 1),
        Arm::errors(u64::MAX, u32::MAX),
        Arm::errors(u64::MAX, 0),
        Arm::errors(u64::from(u32::MAX), u32::MAX),
    ];
    for kind in [MetricKind::Errors, MetricKind::Latency, MetricKind::Health] {
        let mut analysis = shipped();
        let bound = (kind != MetricKind::Latency).then_some(0.01);
        (analysis.metrics[0].slo, analysis.metrics[0].floor) = (bound, bound);
        analysis.metrics[0].kind = kind;
        let mut judge = Judge::new(&analysis);
        for canary in arms {
            for baseline in arms {
                for share in [f64::NAN, -1.0, 0.0, 0.3, 7.0] {
                    judge.window(&analysis, 0, Reading::Counts { stratum: 0, canary, baseline });
                    judge.window(&analysis, 0, Reading::Halves { stratum: 0, left: canary, right: baseline });
                    let ruling = judge.close(&analysis, share);
                    assert!((0.0..=1.0).contains(&ruling.share) && (0.0..=1.0).contains(&ruling.room), "{ruling:?}");
                    let text = serde_json::to_string(&ruling.evidence).unwrap();
                    assert_eq!(
                        serde_json::from_str::<vice_pride_engine::judge::JudgeEvidence>(&text).unwrap(),
                        ruling.evidence
                    );
                }
            }
        }
    }
}

#[test]
fn a_judge_that_went_through_a_file_goes_on_exactly() {
    let mut analysis = shipped();
    analysis.metrics.push(MetricPlan {
        bursty: true,
        slo: Some(0.05),
        ..MetricPlan::new("health", MetricKind::Health)
    });
    let mut world = World::new(1, Pattern::Daily, 0.01, 1.3);
    world.run(300, 1);
    let mut judge = Judge::new(&analysis);
    for minute in 0..200 {
        let (bad, base) = world.minute(minute, 600, 5400);
        judge.window(&analysis, 0, counts((600, bad), (5400, base)));
        let mut levels = [0; LEVELS];
        levels[8] = bad;
        let arm = |seen: u64, levels: [u32; LEVELS]| Arm { seen, bad: levels };
        let mut rest = levels;
        rest[0] = 600 - bad;
        let mut other = [0; LEVELS];
        (other[0], other[8]) = (5400 - base, base);
        judge.window(&analysis, 1, Reading::Counts { stratum: 0, canary: arm(600, rest), baseline: arm(5400, other) });
        let half = |bad: u32| Arm {
            seen: 2700,
            bad: {
                let mut l = [0; LEVELS];
                (l[0], l[8]) = (2700 - bad, bad);
                l
            },
        };
        judge.window(&analysis, 1, Reading::Halves { stratum: 0, left: half(base / 2), right: half(base - base / 2) });
        let text = serde_json::to_string(&judge).unwrap();
        let mut again: Judge = serde_json::from_str(&text).unwrap();
        assert_eq!(again, judge);
        let ruling = judge.close(&analysis, 0.1);
        assert_eq!(again.close(&analysis, 0.1), ruling);
        let text = serde_json::to_string(&ruling).unwrap();
        assert_eq!(serde_json::from_str::<Ruling>(&text).unwrap().evidence, ruling.evidence);
        judge = again;
    }
}

#[test]
fn memory_does_not_grow() {
    let (analysis, mut judge) = ready();
    good(&mut judge, &analysis);
    let size = |judge: &Judge| serde_json::to_string(judge).unwrap().len();
    let before = size(&judge);
    for _ in 0..5000 {
        good(&mut judge, &analysis);
    }
    assert!(size(&judge) < before + before / 5, "{before} {}", size(&judge));
}

#[test]
fn a_rollback_is_for_good() {
    let (analysis, mut judge) = ready();
    let ruling = (0..100).map(|_| window(&mut judge, &analysis, counts((600, 60), (5400, 54)), 0.1));
    let first = ruling.into_iter().find(|ruling| ruling.verdict == Verdict::Rollback).unwrap();
    assert_eq!(first.cause, Cause::Worse { metric: 0 });
    assert_eq!((first.share, first.evidence.guilty), (0.0, 1));
    assert!(first.evidence.p_value.get() <= 0.01);
    assert!(judge.latched());
    for _ in 0..1000 {
        assert_eq!(good(&mut judge, &analysis).verdict, Verdict::Rollback);
    }
}

#[test]
fn an_alarm_halves_once_freezes_and_ends_after_calm() {
    let analysis = fixed(shipped());
    let mut judge = Judge::new(&analysis);
    // Enough for the alarm (e = 10), not for the rollback (e = 100).
    let ruling = window(&mut judge, &analysis, counts((600, 17), (5400, 54)), 0.1);
    assert_eq!(ruling.cause, Cause::SoftAlarm { metric: 0 }, "{:?}", ruling.evidence);
    assert!((ruling.share - 0.05).abs() < 1e-12);
    let second = window(&mut judge, &analysis, counts((300, 3), (5700, 57)), 0.05);
    assert_eq!(second.cause, Cause::SoftAlarm { metric: 0 });
    assert!((second.share - 0.05).abs() < 1e-12, "halved once only");
    let mut calm = 0;
    let after = (0..1000).find_map(|_| {
        let ruling = window(&mut judge, &analysis, counts((300, 3), (5700, 57)), 0.05);
        calm += u32::from(ruling.evidence.log_e.get() < 2.0f64.ln());
        (!matches!(ruling.cause, Cause::SoftAlarm { .. })).then_some(ruling)
    });
    assert_eq!(calm, analysis.ramp.calm);
    assert!(after.unwrap().share >= 0.05);
}

#[test]
fn patience_asks_a_person_and_never_promotes() {
    let mut analysis = shipped();
    analysis.patience = Some(minutes(10));
    let last = |analysis: &Analysis, reading| {
        let mut judge = Judge::new(analysis);
        (0..10).map(|_| window(&mut judge, analysis, reading, 0.1)).last().unwrap()
    };
    let thin = last(&analysis, counts((60, 0), (540, 1)));
    assert_eq!((thin.verdict, thin.cause), (Verdict::Inconclusive, Cause::Underpowered { metric: 0 }));
    analysis.alpha = 1e-6;
    let between = last(&fixed(analysis), counts((600, 9), (5400, 54)));
    assert_eq!(
        (between.verdict, between.cause),
        (Verdict::Inconclusive, Cause::Undecided { metric: 0 }),
        "{between:?}"
    );
}

#[test]
fn an_absolute_bound_holds_without_a_baseline_and_not_in_shared_trouble() {
    let mut analysis = shipped();
    analysis.metrics[0].slo = Some(0.01);
    let run = |reading| {
        let mut judge = Judge::new(&analysis);
        (0..60).map(|_| window(&mut judge, &analysis, reading, 0.1)).find(|one| one.verdict == Verdict::Rollback)
    };
    let broken = run(counts((600, 18), (0, 0))).unwrap();
    assert_eq!(broken.cause, Cause::SloBroken { metric: 0 });
    assert!(run(counts((600, 4), (0, 0))).is_none());
    let mut judge = Judge::new(&analysis);
    let shared = (0..60).map(|_| window(&mut judge, &analysis, counts((600, 18), (5400, 162)), 0.1)).last().unwrap();
    assert_eq!((shared.verdict, shared.cause), (Verdict::Hold, Cause::SharedTrouble { metric: 0 }));
}

#[test]
fn strata_are_not_pooled() {
    // In each region the releases are equal; the new one has more of the bad region's traffic (Simpson).
    let mut analysis = fixed(shipped());
    analysis.metrics[0].strata = 2;
    let arm = Arm::errors;
    let mut apart = Judge::new(&analysis);
    let mut pooled = Judge::new(&analysis);
    let mut apart_e: f64 = 0.0;
    let mut pooled_back = false;
    for _ in 0..60 {
        apart.window(&analysis, 0, Reading::Counts { stratum: 0, canary: arm(900, 90), baseline: arm(1000, 100) });
        apart.window(&analysis, 0, Reading::Counts { stratum: 1, canary: arm(100, 1), baseline: arm(4000, 40) });
        apart_e = apart_e.max(apart.close(&analysis, 0.2).evidence.log_e.get());
        pooled_back |=
            window(&mut pooled, &analysis, counts((1000, 91), (5000, 140)), 0.2).verdict == Verdict::Rollback;
    }
    assert!(apart_e < 1.0 && pooled_back, "{apart_e} {pooled_back}");
}

#[test]
fn latencies_are_judged_by_their_quantiles() {
    let mut analysis = fixed(table());
    analysis.metrics[0].kind = MetricKind::Latency;
    let base = Arm::latency(5400, [2700, 540, 54, 5]);
    let run = |canary: Arm| {
        let mut judge = Judge::new(&analysis);
        let reading = Reading::Counts { stratum: 0, canary, baseline: base };
        (1..=600)
            .map(|n| (n, window(&mut judge, &analysis, reading, 0.1).verdict))
            .find(|(_, one)| *one != Verdict::Hold)
    };
    assert!(matches!(run(Arm::latency(600, [300, 60, 6, 0])), Some((_, Verdict::Proceed))));
    // Everything a little slower, and a slow tail.
    assert!(matches!(run(Arm::latency(600, [345, 78, 8, 0])), Some((1..=20, Verdict::Rollback))));
    assert!(matches!(run(Arm::latency(600, [303, 66, 12, 6])), Some((1..=20, Verdict::Rollback))));
}

/// The thresholds are set once. When everything has become faster since, there is next to nothing beyond them to compare.
#[test]
fn latencies_next_to_never_beyond_their_thresholds_are_negligible_below_the_floor() {
    let first = |floor: Option<f64>, canary: Arm| {
        let mut analysis = fixed(table());
        analysis.metrics[0].kind = MetricKind::Latency;
        analysis.metrics[0].floor = floor;
        let mut judge = Judge::new(&analysis);
        let reading = Reading::Counts { stratum: 0, canary, baseline: Arm::latency(5400, [2, 1, 0, 0]) };
        (1..=600)
            .map(|n| (n, window(&mut judge, &analysis, reading, 0.1).verdict))
            .find(|(_, one)| *one != Verdict::Hold)
    };
    let fast = Arm::latency(600, [0, 0, 0, 0]);
    assert_eq!(first(None, fast), None, "no ratio is known, however long it takes");
    let found = first(Some(0.001), fast);
    assert!(matches!(found, Some((5..=30, Verdict::Proceed))), "{found:?}");
    let slow = first(Some(0.001), Arm::latency(600, [9, 6, 0, 0]));
    assert!(matches!(slow, Some((1..=20, Verdict::Rollback))), "{slow:?}");
}

#[test]
fn the_sensor_distrusts_a_metric_whose_halves_differ() {
    let (analysis, mut judge) = ready();
    let mut dispersions = Vec::new();
    let last = (0..200).map(|_| {
        judge.window(&analysis, 0, counts((600, 6), (5400, 54)));
        judge.window(
            &analysis,
            0,
            Reading::Halves { stratum: 0, left: Arm::errors(2700, 42), right: Arm::errors(2700, 12) },
        );
        let ruling = judge.close(&analysis, 0.1);
        dispersions.push(ruling.evidence.dispersion.get());
        ruling
    });
    assert_eq!(last.last().unwrap().cause, Cause::Untrusted { metric: 0 });
    dispersions.dedup();
    assert_eq!(dispersions, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
}

#[test]
fn several_metrics_are_averaged_critical_ones_stand_alone_and_all_must_be_proven() {
    let mut analysis = fixed(shipped());
    analysis.metrics = (0..4).map(|n| MetricPlan::new(&format!("m{n}"), MetricKind::Errors)).collect();
    let bad = counts((600, 30), (5400, 54));
    let fine = counts((600, 6), (5400, 54));
    let run = |analysis: &Analysis, first: Reading| {
        let mut judge = Judge::new(analysis);
        (1..=100).find_map(|n| {
            for metric in 0..4 {
                judge.window(analysis, metric, if metric == 2 { first } else { fine });
            }
            let ruling = judge.close(analysis, 0.1);
            (ruling.verdict != Verdict::Hold).then_some((n, ruling))
        })
    };
    let (ordinary, ruling) = run(&analysis, bad).unwrap();
    assert_eq!((ruling.cause, ruling.evidence.guilty), (Cause::Worse { metric: 2 }, 0b100));
    analysis.metrics[2].critical = true;
    let (critical, ruling) = run(&analysis, bad).unwrap();
    assert_eq!(ruling.cause, Cause::Worse { metric: 2 });
    assert!((ruling.evidence.log_e_limit.get() - 200f64.ln()).abs() < 1e-6, "half of alpha");
    assert!(critical <= ordinary);
    // One metric without a proof keeps all back.
    assert!(run(&analysis, counts((600, 0), (5400, 0))).is_none());
    assert_eq!(run(&analysis, fine).unwrap().1.verdict, Verdict::Proceed);
}

#[test]
fn problems_of_an_analysis_are_named() {
    let mut analysis = shipped();
    (analysis.alpha, analysis.tolerance, analysis.metrics[0].margin) = (f64::NAN, 1.5, 1.5);
    analysis.metrics[0].slo = Some(2.0);
    let keys: Vec<String> = analysis.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["alpha", "metric.errors.margin", "metric.errors.slo"]);
    let many = Analysis { metrics: vec![MetricPlan::new("x", MetricKind::Errors); METRICS_MAX + 1], ..shipped() };
    assert!(many.problems().iter().any(|problem| problem.key == "metrics"));
    assert_eq!(Analysis::default().problems()[0].key, "metrics");
    let text = serde_json::to_string(&shipped()).unwrap();
    assert_eq!(serde_json::from_str::<Analysis>(&text).unwrap(), shipped());
    assert!(serde_json::from_str::<Analysis>(r#"{"alhpa":0.1}"#).is_err());
}

#[test]
fn the_first_step_and_the_forecast_come_from_the_budget() {
    let analysis = table();
    assert!((first_share(&analysis, 6000.0) - 20.0 / 6000.0).abs() < 1e-12);
    assert_eq!(first_share(&analysis, 0.0), 0.0);
    assert_eq!(first_share(&analysis, f64::NAN), 0.0);
    let needed = feasibility(&analysis);
    assert!(needed.feasible && (needed.budget_min - 24.0).abs() < 0.1, "{needed:?}");
    assert!(!feasibility(&Analysis { budget: 30.0, tolerance: 1.25, ..analysis.clone() }).feasible);
    let expected = [Expected { volume: 6000.0, base_rate: 0.001 }];
    let ramp = forecast(&analysis, &expected, SharePath::Ramp);
    // Measured medians (G4, G3, G8): 32 and 56 minutes to the proof, 29 and 3 to the rollback.
    assert!((30..=50).contains(&ramp.proceed.unwrap()), "{ramp:?}");
    let fixed_share = forecast(&fixed(analysis.clone()), &expected, SharePath::Fixed(0.1));
    assert!((56..=80).contains(&fixed_share.proceed.unwrap()), "{fixed_share:?}");
    assert!((29..=38).contains(&fixed_share.found[1].windows.unwrap()), "{fixed_share:?}");
    assert!((2..=5).contains(&fixed_share.found[2].windows.unwrap()), "{fixed_share:?}");
    let never = forecast(&analysis, &[Expected { volume: 0.0, base_rate: f64::NAN }], SharePath::Ramp);
    assert_eq!((never.proceed, never.found[0].windows), (None, None));
    let spotless = forecast(&analysis, &[Expected { volume: 10.0, base_rate: 0.0 }], SharePath::Ramp);
    assert_eq!(spotless.proceed, None);
}

#[test]
fn candidates_that_run_together_share_risk_and_budget() {
    let one = shipped().split(4);
    assert_eq!((one.alpha, one.budget, one.ramp.cap), (0.0025, 25.0, 0.125));
    assert_eq!(shipped().split(0), shipped());
}
