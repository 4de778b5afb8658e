//! The lower bound of a plan's duration against closed forms worked out by hand.

use vice_pride_engine::{Takes, lower_bound, mean_lower_bound};

use crate::support::{local, on, running, tree};

const SECOND: u64 = 1_000;

#[test]
fn equal_times_come_in_whole_rounds() {
    let names: Vec<String> = (1..=10).map(|unit| unit.to_string()).collect();
    let plan =
        local(10, &running(&names, "1"), r#"{ "strategy": "all-at-once", "max_down": "30%", "bake": "1m" }"#).unwrap();
    let bound = lower_bound(&plan, |_| 20 * SECOND);
    assert_eq!(bound.total_ms, 4 * 20 * SECOND + 60 * SECOND, "ceil(10 / floor(0.3 * 10)) rounds, and the bake");
    assert_eq!(bound.bake_ms, 60 * SECOND);
    assert_eq!(bound.bottleneck.as_deref(), Some("environment"));
}

#[test]
fn the_tightest_node_decides() {
    let tree = tree(r#"{ "fleet": ["rack[a] > host[8]", "rack[b] > host[2]"], "domain": { "odd": { "count": 2 } } }"#);
    let text = r#"{ "strategy": "all-at-once", "max_down": { "rack": 2, "domain": 2 } }"#;
    let bound = lower_bound(&on(&tree, text).unwrap(), |_| 10 * SECOND);
    assert_eq!((bound.total_ms, bound.bottleneck.as_deref()), (40 * SECOND, Some("rack a")));
    let text = r#"{ "strategy": "all-at-once", "max_down": { "rack": 2, "domain": 1 } }"#;
    let bound = lower_bound(&on(&tree, text).unwrap(), |_| 10 * SECOND);
    assert_eq!(
        (bound.total_ms, bound.bottleneck.as_deref()),
        (50 * SECOND, Some("odd 1")),
        "a domain crosses the racks"
    );
    let unequal = lower_bound(&on(&tree, text).unwrap(), |unit| if unit.0 == 0 { 70 * SECOND } else { SECOND });
    assert_eq!(unequal.total_ms, 74 * SECOND, "the domain's work: 70 + 4 * 1");
    let single = lower_bound(&on(&tree, r#"{ "strategy": "all-at-once", "max_down": 10 }"#).unwrap(), |_| SECOND);
    assert_eq!((single.total_ms, single.bottleneck), (SECOND, None));
}

#[test]
fn what_excludes_or_follows_each_other_adds_up() {
    let tree = tree(r#"{ "fleet": "region[eu,us] > host[4]" }"#);
    let free = r#""strategy": "all-at-once", "max_down": 8"#;
    let exclude = on(&tree, &format!(r#"{{ {free}, "exclude": [["eu", "us"]] }}"#)).unwrap();
    assert_eq!(lower_bound(&exclude, |_| SECOND).total_ms, 2 * SECOND);
    let follow = on(&tree, &format!(r#"{{ {free}, "after": [{{ "first": "eu", "then": "us" }}] }}"#)).unwrap();
    let bound = lower_bound(&follow, |unit| if unit.0 < 4 { 3 * SECOND } else { SECOND });
    assert_eq!((bound.total_ms, bound.bottleneck.as_deref()), (4 * SECOND, Some("eu before us")));
}

#[test]
fn waves_are_barriers() {
    let names: Vec<String> = (1..=7).map(|unit| unit.to_string()).collect();
    let plan = local(7, &running(&names, "1"), r#"{ "strategy": "waves", "max_down": 4, "bake": "10s" }"#).unwrap();
    let bound = lower_bound(&plan, |_| SECOND);
    assert_eq!(bound.total_ms, 3 * (SECOND + 10 * SECOND), "1, 2 and 4 units, each wave baked");
    let none = local(0, &running::<&str>([], "1"), "{}").unwrap();
    assert_eq!(lower_bound(&none, |_| SECOND).total_ms, 0);
}

#[test]
fn of_means_only_what_a_change_takes_at_least_comes_in_whole_rounds() {
    let names = ["1", "2", "3"].map(str::to_owned);
    let plan = local(3, &running(&names, "1"), r#"{ "strategy": "all-at-once", "max_down": 2 }"#).unwrap();
    let bound = |least_ms| mean_lower_bound(&plan, |_| Takes { mean_ms: 10 * SECOND, least_ms }).total_ms;
    // Three units with two places: two rounds where each takes as long, and 15 s of work for each place where they do not.
    assert_eq!([0, 8 * SECOND, 10 * SECOND].map(bound), [15 * SECOND, 16 * SECOND, 20 * SECOND]);
}
