//! What each strategy makes of units.

use vice_core::Millis;
use vice_core::manifest::VerifyWhen;
use vice_core::payload::environment::Direction;
use vice_core::port::target::{Inventory, UnitHealth};
use vice_pride_engine::{
    Course, FleetRequest, Pairs, PlanRequest, Topology, UnitAction, UnitNo, UnitSet, plan, plan_fleet,
};

use crate::support::{analysis, conflict, local, on, planned, release, rollout, running, shown, tree};

fn names(count: u32) -> Vec<String> {
    (1..=count).map(|unit| unit.to_string()).collect()
}

#[test]
fn a_canary_goes_by_shares_and_the_units_follow() {
    let there = running(names(10), "1");
    let plan = local(
        10,
        &there,
        r#"{ "strategy": "canary", "steps": ["1%", { "share": "25%", "bake": "5m" }, 4, "50%"], "bake": "1m" }"#,
    );
    let plan = plan.unwrap();
    assert_eq!(shown(&plan), ["1 @100?", "2 3 @2500?", "4?", "5 @5000?", "6 7 8 9 10"]);
    let bakes: Vec<u64> = plan.waves.iter().map(|wave| wave.bake.0 / 60_000).collect();
    assert_eq!(bakes, [1, 5, 1, 1, 1]);
    assert!(plan.analysis.is_some());
    let default = local(3, &running(names(3), "1"), r#"{ "strategy": "canary" }"#).unwrap();
    assert_eq!(shown(&default), ["1 @500?", "@2500?", "2 @5000?", "3"], "a wave may only move the share");
}

#[test]
fn a_fleet_that_would_roll_in_millions_of_waves_is_refused() {
    let fault = local(20_002, &running(names(20_002), "1"), r#"{ "wave": 2 }"#).unwrap_err();
    assert_eq!(fault.to_string(), "There would be 10001 waves of 2 units; 10000 is the limit.");
    assert!(fault.hints().iter().any(|hint| hint.contains("`wave`")), "{fault:?}");
    let plan = local(20_000, &running(names(20_000), "1"), r#"{ "wave": 2 }"#).unwrap();
    assert_eq!(plan.waves.len(), 10_000);
    let canary = r#"{ "strategy": "canary", "steps": ["1%"], "wave": 1 }"#;
    let rest = local(10_200, &running(names(10_200), "1"), canary).unwrap_err();
    assert!(rest.to_string().starts_with("There would be 10098 waves of one unit;"), "{rest}");
}

#[test]
fn a_canary_keeps_a_unit_of_the_old_release_to_compare_with() {
    let there = running(names(2), "1");
    let plan = local(2, &there, r#"{ "strategy": "canary", "steps": ["90%"] }"#).unwrap();
    assert_eq!(shown(&plan), ["1 @9000?", "2"]);
    let fault = local(1, &running(["1"], "1"), r#"{ "strategy": "canary" }"#).unwrap_err();
    assert!(fault.to_string().contains("only one unit"), "{fault}");
}

#[test]
fn nothing_to_compare_with_is_no_canary() {
    for strategy in ["canary", "ramp", "waves", "blue-green"] {
        let plan = local(2, &Inventory::default(), &format!(r#"{{ "strategy": "{strategy}" }}"#)).unwrap();
        assert_eq!(plan.waves.len(), 1, "{strategy}: the first release ever goes to all at once");
        assert!(plan.analysis.is_none());
        let more = local(3, &running(names(2), "2"), &format!(r#"{{ "strategy": "{strategy}" }}"#)).unwrap();
        assert!(more.waves.iter().all(|wave| !wave.judged), "{strategy}: more units of the same release");
    }
}

#[test]
fn a_canary_without_a_metric_is_refused_with_what_to_write() {
    let (there, names) = (running(names(2), "1"), names(2));
    for strategy in ["canary", "ramp"] {
        let rollout = rollout(&format!(r#"{{ "strategy": "{strategy}" }}"#));
        let fault = plan(&PlanRequest {
            direction: Direction::Deploy,
            from: None,
            to: release("2"),
            units: names.clone(),
            topology: None,
            inventory: &there,
            rollout: &rollout,
            tasks: Vec::new(),
            has_checks: true,
            analysis: None,
        })
        .unwrap_err();
        assert!(fault.to_string().contains("there is no metric"));
        assert!(fault.hints()[0].ends_with("[metric.errors]\nfront = true"), "{:?}", fault.hints());
    }
}

#[test]
fn going_back_is_not_tried_out() {
    let there = running(names(4), "1");
    for strategy in ["canary", "ramp", "waves"] {
        let spec = rollout(&format!(r#"{{ "strategy": "{strategy}", "max_down": 2 }}"#));
        let plan = planned(&names(4), None, &there, &spec, Direction::Rollback).unwrap();
        assert_eq!(shown(&plan), ["1 2 3 4"]);
        assert_eq!(plan.limits[0].max_down, 2);
    }
}

#[test]
fn a_ramp_moves_the_share_of_its_first_units() {
    let there = running(names(8), "1");
    let plan = local(8, &there, r#"{ "strategy": "ramp", "wave": 4 }"#).unwrap();
    assert_eq!(shown(&plan), ["1 2 @ramp?", "3 4 5 6", "7 8"]);
    let plan = local(8, &there, r#"{ "strategy": "ramp", "wave_first": 3, "start_at": "5" }"#).unwrap();
    assert_eq!(shown(&plan), ["5 @0", "1 2 @ramp?", "3 4 6 7 8"], "the first wave has only what start_at says");
}

#[test]
fn waves_grow_with_confidence() {
    let there = running(names(30), "1");
    let sizes = |text: &str| {
        let plan = local(30, &there, text).unwrap();
        plan.waves.iter().map(|wave| wave.units.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(r#"{ "strategy": "waves" }"#), [1, 2, 4, 8, 15]);
    assert_eq!(sizes(r#"{ "strategy": "waves", "wave_first": 2, "wave_growth": 3 }"#), [2, 6, 18, 4]);
    assert_eq!(sizes(r#"{ "strategy": "waves", "wave_growth": 1.01 }"#), [1, 2, 3, 4, 5, 6, 7, 2]);
    let plan = local(30, &there, r#"{ "strategy": "waves", "bake": "2m" }"#).unwrap();
    assert!(plan.waves.iter().all(|wave| wave.bake == Millis(120_000)));
    assert_eq!(
        plan.waves.iter().filter(|wave| wave.judged).count(),
        4,
        "after the last nothing is left to compare with"
    );
}

#[test]
fn blue_green_makes_a_second_set_and_removes_the_first() {
    let plain = running(names(2), "1");
    let plan = local(2, &plain, r#"{ "strategy": "blue-green", "bake": "1m" }"#).unwrap();
    assert_eq!(shown(&plan), ["blue-1 blue-2 @0", "@10000", "1 2 @10000"]);
    let limit = &plan.limits[0];
    assert_eq!((limit.name.as_str(), limit.max_down), ("environment", 4), "the second set takes nothing down");
    let blue = running(["blue-1", "blue-2"], "1");
    let plan = local(2, &blue, r#"{ "strategy": "blue-green", "steps": ["10%", "50%"] }"#).unwrap();
    assert_eq!(shown(&plan), ["green-1 green-2 @0", "@1000?", "@5000?", "@10000", "blue-1 blue-2 @10000"]);
    let done = running(["green-1", "green-2"], "2");
    assert!(local(2, &done, r#"{ "strategy": "blue-green" }"#).unwrap().is_noop(), "it runs already");
    let mut both = running(["blue-1", "blue-2"], "1");
    both.units.extend(running(["green-1"], "2").units);
    let plan = local(2, &both, r#"{ "strategy": "blue-green" }"#).unwrap();
    assert_eq!(shown(&plan), ["green-2 @0", "@10000", "blue-1 blue-2 @10000"], "an interrupted one goes on");
    let back = planned(
        &names(2),
        None,
        &blue,
        &rollout(r#"{ "strategy": "blue-green", "steps": ["10%"] }"#),
        Direction::Rollback,
    );
    assert_eq!(shown(&back.unwrap()), ["green-1 green-2 @0", "@10000", "blue-1 blue-2 @10000"]);
}

const FLEET: &str = r#"{ "fleet": "region[eu,us] > rack[2]{os=new|old} > host[3]{service=db|web*2}", "class_by": ["os", "service"],
    "domain": { "power": { "count": 2, "level": "host" } } }"#;

#[test]
fn coverage_first_touches_each_class_early() {
    let tree = tree(FLEET);
    let plan = on(&tree, r#"{ "strategy": "waves", "order": "coverage-first" }"#).unwrap();
    let classes = |wave: usize| {
        let mut classes: Vec<_> =
            plan.waves[wave].units.iter().map(|unit| plan.units[unit.index()].class.clone().unwrap()).collect();
        classes.sort();
        classes
    };
    assert_eq!(classes(0), ["new/db", "new/web", "old/db", "old/web"]);
    assert_eq!(plan.waves.iter().map(|wave| wave.units.len()).collect::<Vec<_>>(), [4, 8]);
    let fault = local(2, &running(names(2), "1"), r#"{ "order": "coverage-first" }"#).unwrap_err();
    assert!(fault.hints()[0].contains("class"), "{fault:?}");
}

#[test]
fn coverage_first_takes_the_least_risky_of_a_class() {
    let tree = tree(
        r#"{ "tree": ["a", "b", "c", "d"], "labels": { "a": { "class": "x", "risk": 3 }, "b": { "class": "x", "risk": 1 },
        "c": { "class": "y", "risk": 2 }, "d": { "class": "y", "risk": 2.5 } } }"#,
    );
    let plan = on(&tree, r#"{ "order": "coverage-first" }"#).unwrap();
    assert_eq!(shown(&plan), ["b", "c", "d", "a"]);
}

#[test]
fn what_must_be_done_first_comes_first_whatever_the_order() {
    let tree = tree(FLEET);
    let plan = on(
        &tree,
        r#"{ "wave": 4, "order": "coverage-first", "after": [{ "first": "service=db", "then": "service=web" }] }"#,
    )
    .unwrap();
    let of = |wave: usize| {
        plan.waves[wave].units.iter().map(|unit| tree.label(*unit, "service").unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of(0), ["db"; 4]);
    assert_eq!(plan.orders.len(), 1);
    let plan = on(&tree, r#"{ "order": ["us"], "wave": 4, "start_at": "*/rack2" }"#).unwrap();
    assert_eq!(plan.waves.iter().map(|wave| wave.units.len()).collect::<Vec<_>>(), [4, 2, 4, 2], "no wave is of both");
    assert!(shown(&plan)[0].starts_with("us.rack2.host1"), "{:?}", shown(&plan));
}

#[test]
fn limits_hold_for_each_node_and_domain() {
    let tree = tree(FLEET);
    let plan = on(&tree, r#"{ "strategy": "all-at-once", "max_down": { "rack": 1, "region": "50%", "domain": 0.34, "environment": "75%" } }"#).unwrap();
    let limits: Vec<_> =
        plan.limits.iter().map(|limit| (limit.name.as_str(), limit.members.len(), limit.max_down)).collect();
    assert_eq!(
        limits[..4],
        [("rack eu/rack1", 3, 1), ("rack eu/rack2", 3, 1), ("rack us/rack1", 3, 1), ("rack us/rack2", 3, 1)]
    );
    assert_eq!(
        limits[4..],
        [("region eu", 6, 3), ("region us", 6, 3), ("power 1", 6, 2), ("power 2", 6, 2), ("environment", 12, 9)]
    );
    let fault = on(&tree, r#"{ "max_down": { "rak": 1 } }"#).unwrap_err();
    assert_eq!(fault.hints(), ["Did you mean \"rack\"?"]);
    let fault = on(&tree, r#"{ "max_down": { "host": 1 } }"#).unwrap_err();
    assert!(fault.to_string().contains("single units"), "{fault}");
}

#[test]
fn groups_and_windows_reach_the_plan() {
    let tree = tree(FLEET);
    let plan = on(
        &tree,
        r#"{ "strategy": "all-at-once", "exclude": [["region=eu", "region=us"]], "failures": { "retries": 2, "tolerate": 1 },
             "window": [{ "days": ["thu"], "from": "09:00", "until": "17:00", "zone": "Europe/Berlin", "units": "us" },
                        { "name": "night", "from": "22:00", "until": "23:00", "units": "eu" }] }"#,
    )
    .unwrap();
    assert_eq!(plan.exclusions[0].groups[1].members.ranges(), [(6, 12)]);
    assert_eq!((plan.failures.retries, plan.failures.tolerate), (2, 1));
    let windows: Vec<_> = plan.windows.iter().map(|window| (window.name.as_str(), window.zone.as_str())).collect();
    assert_eq!(windows, [("window[0]", "Europe/Berlin"), ("night", "UTC")]);
    let bad = on(&tree, r#"{ "window": { "from": "9 o'clock", "until": "17:00" } }"#).unwrap_err();
    assert_eq!(bad.details()["key"], "window");
}

#[test]
fn a_large_fleet_without_names_is_planned_quickly() {
    let tree = tree(r#"{ "fleet": "region[5] > rack[500] > server[40]{class=a*9|b}" }"#);
    let spec = rollout(
        r#"{ "strategy": "waves", "wave_first": "0.1%", "order": "coverage-first", "max_down": { "rack": 1, "region": "10%" } }"#,
    );
    let request = FleetRequest {
        from: release("1"),
        to: release("2"),
        topology: &tree,
        rollout: &spec,
        tasks: Vec::new(),
        has_checks: false,
        analysis: None,
    };
    let plan = plan_fleet(&request).unwrap();
    assert_eq!(plan, plan_fleet(&request).unwrap(), "the same request gives the same plan");
    assert_eq!(plan.limits.len(), 2_505);
    assert_eq!(plan.waves[0].units.len(), 100);
    assert_eq!(plan.waves[0].units[..2], [UnitNo(0), UnitNo(9)]);
    assert_eq!(plan.verify, VerifyWhen::EachWave);
    let course = Course::unnamed(plan, tree.len()).unwrap();
    assert_eq!(course.unit_count(), 100_000);
    let none = Topology0::none();
    let empty = plan_fleet(&FleetRequest { topology: &none, ..request }).unwrap();
    assert!(empty.is_noop() && empty.waves.is_empty());
}

/// A fleet of nothing.
struct Topology0;

impl Topology0 {
    fn none() -> Topology {
        tree(r#"{ "fleet": "rack[2] > server[0]{class=a}" }"#)
    }
}

#[test]
fn found_units_outside_of_a_topology_are_removed_last() {
    let tree = tree(r#"{ "fleet": "host[a,b]" }"#);
    let there = running(["a", "b", "stray"], "1");
    let plan = planned(&[], Some(&tree), &there, &rollout("{}"), Direction::Deploy).unwrap();
    assert_eq!(shown(&plan), ["a", "b", "stray"]);
    assert_eq!(plan.units[2].action, UnitAction::Remove);
    assert_eq!(plan.units[2].place, None);
}

/// Six units of version 1, of which these are down.
fn with_down(down: &[usize]) -> Inventory {
    let mut there = running(names(6), "1");
    down.iter().for_each(|unit| there.units[unit - 1].health = UnitHealth::Crashed);
    there
}

#[test]
fn units_that_are_down_are_mended_first() {
    let there = with_down(&[3, 5]);
    let plan = local(6, &there, r#"{ "strategy": "rolling", "max_down": 1 }"#).unwrap();
    assert_eq!((shown(&plan), plan.limits[0].free()), (["3 5", "1", "2", "4", "6"].map(str::to_owned).into(), 1));
    let canary = local(6, &there, r#"{ "strategy": "canary", "steps": ["10%"] }"#).unwrap();
    assert_eq!(shown(&canary), ["3 5 @1000?", "1 2 4 6"]);
    let waves = local(6, &there, r#"{ "strategy": "waves" }"#).unwrap();
    assert_eq!(shown(&waves), ["3 5?", "1 2 4 6"]);
    // Where nothing is up there is nothing to spare, and one that is only removed is nobody's loss.
    let none = local(6, &with_down(&[1, 2, 3, 4, 5, 6]), r#"{ "strategy": "rolling" }"#).unwrap();
    assert_eq!(none.waves.len(), 6);
    let fewer = local(5, &with_down(&[6]), r#"{ "strategy": "rolling", "max_down": 1 }"#).unwrap();
    assert_eq!((fewer.waves.len(), fewer.limits[0].free()), (6, 1));
}

#[test]
fn what_stays_down_for_a_while_takes_places() {
    let tree = tree(r#"{ "fleet": "service[db,web] > host[3]" }"#);
    let all: Vec<String> = (0..tree.len()).map(|unit| tree.unit_name(UnitNo(unit))).collect();
    let mut there = running(&all, "1");
    there.units[4].health = UnitHealth::Unhealthy;
    let made = |max_down: &str| {
        let text = format!(
            r#"{{ "strategy": "rolling", {max_down} "after": [{{ "first": "service=db", "then": "service=web" }}] }}"#
        );
        planned(&[], Some(&tree), &there, &rollout(&text), Direction::Deploy)
    };
    let two = made(r#""max_down": 2,"#).unwrap();
    assert_eq!((two.limits[0].down_before, two.limits[0].free()), (1, 1), "one is down while db changes");
    assert_eq!(made("").unwrap().limits[0].free(), 1, "one at a time is still one at a time");
    let fault = made(r#""max_down": 1,"#).unwrap_err();
    assert!(fault.to_string().contains("down already"), "{fault}");
    assert_eq!(fault.details()["key"], "max_down");
}

#[test]
fn units_that_disagree_are_nothing_to_compare_with() {
    let mut there = running(names(4), "1");
    there.units[0].release = Some(release("3"));
    for strategy in ["canary", "ramp", "waves"] {
        let plan = local(4, &there, &format!(r#"{{ "strategy": "{strategy}", "max_down": 1 }}"#)).unwrap();
        assert_eq!(shown(&plan), ["1 2 3 4"], "{strategy}: within max_down, and nothing splits traffic");
    }
}

/// `canary` and `stable` of each of these targets, and the units of one that has none.
fn doubled(targets: &[&str], single: &[&str]) -> Topology {
    let pair = targets.iter().flat_map(|target| ["canary", "stable"].map(|track| format!("{target}-{track}")));
    let names: Vec<String> = pair.chain(single.iter().map(|name| (*name).to_owned())).collect();
    let of = |track: &str| {
        let numbered = names.iter().zip(0..).filter(|(name, _)| name.ends_with(track));
        UnitSet::from_units(numbered.map(|(_, number)| UnitNo(number)))
    };
    Topology::flat(&names).paired(Pairs { canaries: of("-canary"), stables: of("-stable") })
}

#[test]
fn a_share_is_tried_in_every_target_before_any_goes_on() {
    let tree = doubled(&["eu", "us", "ap"], &[]);
    for (spec, wanted) in [
        (
            r#"{ "strategy": "canary", "steps": ["5%", "90%"] }"#,
            ["eu-canary us-canary ap-canary @500?", "@9000?", "eu-stable us-stable ap-stable"].as_slice(),
        ),
        (
            r#"{ "strategy": "canary", "steps": ["5%"], "order": ["us-*", "ap-*"] }"#,
            &["us-canary ap-canary eu-canary @500?", "us-stable ap-stable eu-stable"],
        ),
        (
            r#"{ "strategy": "canary", "steps": ["5%"], "start_at": "us-*" }"#,
            &["us-canary @500", "eu-canary ap-canary @500?", "eu-stable us-stable ap-stable"],
        ),
        (r#"{ "strategy": "ramp" }"#, &["eu-canary us-canary ap-canary @ramp?", "eu-stable us-stable ap-stable"]),
        (
            r#"{ "strategy": "rolling", "wave": 2, "order": ["us-*"] }"#,
            &["us-canary us-stable", "eu-canary eu-stable", "ap-canary ap-stable"],
        ),
    ] {
        assert_eq!(shown(&on(&tree, spec).unwrap()), wanted, "{spec}");
    }
    // What is there once goes along with the steps, and never before the canaries.
    let mixed = doubled(&["eu"], &["a", "b", "c"]);
    let plan = on(&mixed, r#"{ "strategy": "canary", "steps": ["1%", "60%"], "order": ["a"] }"#).unwrap();
    assert_eq!(shown(&plan), ["eu-canary @100?", "a b @6000?", "c eu-stable"]);
}

#[test]
fn a_target_whose_stable_unit_is_down_is_still_tried_out_by_its_canary() {
    let tree = doubled(&["eu"], &[]);
    let mut there = running(["eu-canary", "eu-stable"], "1");
    there.units[1].health = UnitHealth::Unhealthy;
    let spec = rollout(r#"{ "strategy": "canary", "steps": ["50%"] }"#);
    let planned_anew = planned(&[], Some(&tree), &there, &spec, Direction::Deploy).unwrap();
    assert_eq!(shown(&planned_anew), ["eu-canary @5000?", "eu-stable"]);
    // One that has the release already, from a rollout that was given up, is not placed again, and its double waits.
    there.units[0].release = Some(release("2"));
    let plan = plan(&PlanRequest {
        direction: Direction::Deploy,
        from: Some(release("1")),
        to: release("2"),
        units: Vec::new(),
        topology: Some(&tree),
        inventory: &there,
        rollout: &spec,
        tasks: Vec::new(),
        has_checks: true,
        analysis: Some(analysis()),
    });
    assert_eq!(shown(&plan.unwrap()), ["@5000?", "eu-stable"]);
    let back = planned(&[], Some(&tree), &there, &spec, Direction::Rollback).unwrap();
    assert_eq!(shown(&back), ["eu-stable"], "going back is not tried out");
}

#[test]
fn what_does_not_go_together_with_shares_on_every_target_is_refused() {
    let tree = doubled(&["eu", "us"], &[]);
    let after = r#"{ "strategy": "canary", "after": [{ "first": "eu-*", "then": "us-*" }] }"#;
    let fault = on(&tree, after).unwrap_err();
    assert_eq!(conflict(&fault), ["after[0]", "strategy"]);
    assert!(fault.to_string().contains("tries every target out before it goes on in any"), "{fault}");
    let fault = on(&tree, r#"{ "strategy": "canary", "steps": [1] }"#).unwrap_err();
    assert!(fault.to_string().contains("a canary gets only its share"), "{fault}");
    assert_eq!(fault.details()["key"], "steps");
}
