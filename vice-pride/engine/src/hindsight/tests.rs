//! Windows made by hand: what is scaled keeps its sums, what is joined keeps its counts, and a policy with another
//! budget leaves the path where its shares differ.

use jiff::Timestamp;
use vice_core::Millis;

use super::scale::Scaler;
use super::windows::merged;
use super::*;
use crate::judge::{Arm, MetricKind, MetricPlan};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn policy(budget: f64) -> Analysis {
    let metrics = vec![MetricPlan { floor: Some(0.001), ..MetricPlan::new("errors", MetricKind::Errors) }];
    Analysis { budget, metrics, interval: Millis(10_000), ..Analysis::default() }
}

/// 10,000 requests a window, of which the new release has its share; it fails `ratio` times as often as 1 in 100.
fn windows(analysis: &Analysis, shares: &[u32], ratio: u32) -> Vec<RecordedWindow> {
    let mut judge = Judge::new(analysis);
    let mut made = Vec::new();
    for (number, share) in (1u32..).zip(shares.iter().copied()) {
        let (canary, baseline) = (
            Arm::errors(u64::from(share), share * ratio / 100),
            Arm::errors(u64::from(10_000 - share), (10_000 - share) / 100),
        );
        let reading = Reading::Counts { stratum: 0, canary, baseline };
        judge.window(analysis, 0, reading);
        let ruling = judge.close(analysis, f64::from(share) / 10_000.0);
        let from = i64::from(number) * 10;
        let (from, until, readings) = (at(from), at(from + 10), vec![(0, reading)]);
        made.push(RecordedWindow { numbers: (number, number), from, until, wave: 0, share, readings, ruling });
    }
    made
}

#[test]
fn scaling_keeps_the_sums_and_never_makes_more_bad_than_seen() {
    let windows = windows(&policy(100.0), &[300; 400], 1);
    for share in [1, 7, 100, 299, 300, 900, 9_999] {
        let mut scaler = Scaler::default();
        let (mut seen, mut bad) = (0, 0);
        for window in &windows {
            for (_, reading) in scaler.readings(&policy(1.0), window, share).unwrap() {
                let Reading::Counts { canary, .. } = reading else { panic!("counts") };
                assert!(u64::from(canary.bad[0]) <= canary.seen);
                (seen, bad) = (seen + canary.seen, bad + u64::from(canary.bad[0]));
            }
        }
        let exact = |recorded: u64| recorded as f64 * f64::from(share) / 300.0;
        assert!((seen as f64 - exact(400 * 300)).abs() < 1.5, "{share}: {seen}");
        // What is cut off where a window would have more bad ones than exposures is lost for good: at most one a window.
        assert!((bad as f64 - exact(400 * 3)).abs() < 1.5, "{share}: {bad}");
    }
    assert_eq!(
        Scaler::default().readings(&policy(1.0), &windows[0], 300).unwrap(),
        windows[0].readings,
        "the same share: the same"
    );
}

#[test]
fn what_had_no_traffic_can_not_be_scaled() {
    let analysis = policy(100.0);
    let none = &windows(&analysis, &[0], 1)[0];
    assert!(Scaler::default().readings(&policy(1.0), none, 100).is_none());
    assert!(Scaler::default().readings(&policy(1.0), none, 0).is_some());
    let all = &windows(&analysis, &[10_000], 1)[0];
    assert!(Scaler::default().readings(&policy(1.0), all, 5_000).is_none(), "the old release had nothing");
}

#[test]
fn joined_windows_keep_every_count_and_span_no_change_of_the_share() {
    let had = policy(100.0);
    let recorded = windows(&had, &[100, 100, 100, 200, 200, 200, 200], 1);
    let wants = Analysis { interval: Millis(20_000), ..had.clone() };
    let (joined, left_out) = merged(&recorded, &had, &wants).unwrap();
    assert_eq!(joined.iter().map(|one| one.numbers).collect::<Vec<_>>(), [(1, 2), (4, 5), (6, 7)]);
    assert_eq!(left_out, 1);
    let Reading::Counts { canary, .. } = joined[1].readings[0].1 else { panic!("counts") };
    assert_eq!((canary.seen, canary.bad[0]), (400, 4));
    for bad in [15_000, 5_000, 0] {
        assert!(merged(&recorded, &had, &Analysis { interval: Millis(bad), ..had.clone() }).is_err(), "{bad} ms");
    }
}

fn course(analysis: &Analysis) -> Course {
    let ramp = serde_json::json!([{ "units": [0], "exposure": "ramp", "bake": 0, "judged": true }]);
    planned(analysis, &ramp)
}

fn planned(analysis: &Analysis, waves: &serde_json::Value) -> Course {
    let plan = serde_json::json!({
        "planner": crate::PLANNER_VERSION, "direction": "deploy",
        "from": { "version": "1", "source": "" }, "to": { "version": "2", "source": "" },
        "units": [{ "name": "1", "before": { "version": "1", "source": "" }, "action": "place" }],
        "waves": waves,
        "limits": [{ "name": "environment", "members": [[0, 1]], "max_down": 1 }],
        "tasks": [], "verify": "each-wave", "has_checks": false, "analysis": analysis,
    });
    Course::new(serde_json::from_value(plan).unwrap()).unwrap()
}

#[test]
fn the_recorded_policy_says_what_was_recorded_and_a_smaller_budget_leaves_the_path() {
    let had = policy(1_000.0);
    // The shares that the policy itself wants, from the first window on.
    let mut shares = vec![100];
    for _ in 0..3 {
        let last = windows(&had, &shares, 3).pop().unwrap();
        if last.ruling.verdict == Verdict::Rollback {
            break;
        }
        shares.push(ramp_share(&had.ramp, last.share, last.ruling));
    }
    let recorded = windows(&had, &shares, 3);
    let course = course(&had);
    let same = look_back(&course, &recorded, &had).unwrap();
    assert!(same.windows.iter().all(|view| view.was == view.would_be));
    assert_eq!((same.departure, &same.scaled), (None, &None));
    let careful = look_back(&course, &recorded, &policy(20.0)).unwrap();
    let departure = careful.departure.expect("a smaller budget wants smaller shares");
    assert!(departure.wanted.is_some_and(|wanted| wanted < departure.recorded), "{departure:?}");
    let scaled = careful.scaled.expect("the likely path");
    let (low, high) = scaled.excess_between;
    assert!(low <= high && scaled.end.point().excess <= same.end.point().excess, "{scaled:?}");
    assert!(look_back(&course, &[], &had).is_err(), "nothing was recorded");
}

#[test]
fn fixed_steps_that_leave_the_path_are_judged_on_the_recorded_counts_and_not_guessed_at() {
    let had = policy(1_000.0);
    let step = |units: &[u32], points: u32| serde_json::json!({ "units": units, "exposure": { "share": { "basis_points": points } }, "judged": true });
    let steps = planned(&had, &serde_json::json!([step(&[0], 500), step(&[], 2_000), step(&[], 4_000)]));
    let mut recorded = windows(&had, &[500, 500, 2_000, 2_000, 4_000], 1);
    recorded.iter_mut().zip([0, 0, 1, 1, 2]).for_each(|(window, wave)| window.wave = wave);
    // A budget that bears neither of the larger steps would have stayed at the first.
    let careful = look_back(&steps, &recorded, &policy(2.0)).unwrap();
    let departure = careful.departure.expect("the second step is too large for it");
    assert_eq!((departure.window, departure.recorded, departure.wanted), (2, 2_000, None));
    assert!(careful.scaled.is_none(), "what another step would have counted is not guessed");
    assert_eq!(careful.windows.len(), recorded.len(), "and the recorded counts are all judged");
    assert!(careful.windows.iter().zip(&recorded).all(|(view, window)| view.share == window.share));
}
