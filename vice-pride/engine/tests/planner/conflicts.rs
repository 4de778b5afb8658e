//! Contradictions: the smallest set, by key.

use crate::support::{conflict, local, on, running, tree};

const FLEET: &str = r#"{ "fleet": "region[eu,us] > host[3]{service=db|web|cache}" }"#;

#[test]
fn the_smallest_set_of_constraints_is_named() {
    let tree = tree(FLEET);
    for (text, keys) in [
        (r#"{ "max_down": { "region": 0 } }"#, vec!["max_down.region"]),
        (r#"{ "max_down": "0%" }"#, vec!["max_down"]),
        (r#"{ "exclude": [["region=eu", "service=db"]] }"#, vec!["exclude[0]"]),
        (r#"{ "window": { "days": [], "from": "09:00", "until": "10:00" } }"#, vec!["window"]),
        (r#"{ "start_at": "service=x*" }"#, vec!["start_at"]),
        (r#"{ "after": [{ "first": "eu", "then": "*" }] }"#, vec!["after[0]"]),
        (
            r#"{ "after": [{ "first": "service=db", "then": "service=web" }, { "first": "service=web", "then": "service=cache" },
                           { "first": "service=cache", "then": "service=db" }, { "first": "eu/host1", "then": "us/host1" }] }"#,
            vec!["after[0]", "after[1]", "after[2]"],
        ),
        (
            r#"{ "order": ["service=web", "service=cache", "service=db"], "after": [{ "first": "service=db", "then": "service=web" }] }"#,
            vec!["after[0]", "order[0]", "order[2]"],
        ),
        (
            r#"{ "start_at": "service=web", "after": [{ "first": "service=db", "then": "service=web" }] }"#,
            vec!["after[0]", "start_at"],
        ),
        (r#"{ "start_at": "us", "order": ["eu", "us"] }"#, vec!["order[0]", "order[1]", "start_at"]),
        (
            r#"{ "window": [{ "days": ["mon"], "from": "09:00", "until": "10:00" },
                            { "days": ["sun"], "from": "22:00", "until": "08:00", "zone": "Europe/Berlin", "units": "eu" },
                            { "from": "09:30", "until": "11:00", "units": "us" }] }"#,
            vec!["window[0]", "window[1]"],
        ),
    ] {
        let fault = on(&tree, text).unwrap_err();
        assert_eq!(conflict(&fault), keys, "{fault}");
        for key in keys {
            assert!(fault.to_string().contains(&format!("`rollout.{key}`")), "{fault}");
        }
        assert!(!fault.hints().is_empty(), "{fault}");
    }
}

#[test]
fn windows_that_contradict_each_other_say_by_what() {
    let tree = tree(FLEET);
    let text = r#"{ "window": [{ "days": ["mon", "tue"], "from": "09:00", "until": "10:00" },
                               { "days": ["wed"], "from": "09:00", "until": "10:00", "units": "eu" }] }"#;
    let said = on(&tree, text).unwrap_err().to_string();
    assert!(said.contains("(on mon, tue from 09:00 until 10:00 UTC)"), "{said}");
    assert!(said.contains("(on wed from 09:00 until 10:00 UTC for eu)"), "{said}");
}

#[test]
fn what_does_not_contradict_is_planned() {
    let tree = tree(FLEET);
    for text in [
        r#"{ "order": ["service=db", "service=web"], "after": [{ "first": "service=db", "then": "service=web" }] }"#,
        r#"{ "order": ["service=web"], "after": [{ "first": "service=db", "then": "service=web" }] }"#,
        r#"{ "start_at": "eu", "after": [{ "first": "service=db", "then": "service=web" }] }"#,
        r#"{ "window": [{ "days": ["mon"], "from": "09:00", "until": "10:00", "units": "eu" },
                        { "days": ["tue"], "from": "09:00", "until": "10:00", "units": "us" }] }"#,
        r#"{ "exclude": [["service=db", "service=web"], ["service=web", "service=cache"]] }"#,
    ] {
        on(&tree, text).unwrap();
    }
    let same = running(["1"], "2");
    assert!(local(1, &same, r#"{ "max_down": 0, "start_at": "*" }"#).unwrap().is_noop(), "nothing has to change");
}

#[test]
fn slips_in_a_rollout_name_their_key() {
    let tree = tree(FLEET);
    for (text, key) in [
        (r#"{ "after": [{ "first": "servcie=db", "then": "*" }] }"#, "after"),
        (r#"{ "start_at": "uk" }"#, "start_at"),
        (r#"{ "exclude": [["service=db", "service=wbe"]] }"#, "exclude"),
        (r#"{ "order": ["eu", "eu"] }"#, "order"),
        (r#"{ "window": { "from": "09:00", "until": "10:00", "zone": "Mars" } }"#, "window"),
        (r#"{ "strategy": "blue-green" }"#, "strategy"),
        (r#"{ "strategy": "waves", "wave": 2 }"#, "wave"),
        (r#"{ "strategy": "canary", "steps": ["5%", 0] }"#, "steps"),
    ] {
        let fault = on(&tree, text).unwrap_err();
        assert_eq!(fault.details()["key"], key, "{fault}");
        assert!(!fault.hints().is_empty(), "{fault}");
    }
}

#[test]
fn an_order_that_contradicts_a_need_is_refused_and_the_way_out_works() {
    let tree = tree(FLEET);
    let after = r#""after": [{ "first": "us/host1", "then": "eu/host1" }]"#;
    let fault = on(&tree, &format!(r#"{{ "order": ["eu", "us"], {after} }}"#)).unwrap_err();
    assert_eq!(conflict(&fault), ["after[0]", "order[0]", "order[1]"], "{fault}");
    assert!(fault.hints()[0].contains("Name us/host1 at the head of `order`"), "{:?}", fault.hints());
    let plan = on(&tree, &format!(r#"{{ "order": ["us/host1", "eu", "us"], "wave": 1, {after} }}"#)).unwrap();
    let names = plan.waves.iter().flat_map(|wave| &wave.units).map(|unit| plan.units[unit.index()].name.as_str());
    let names: Vec<&str> = names.collect();
    assert!(names[0].contains("us") && names[1..4].iter().all(|name| name.contains("eu")), "{names:?}");
    // What is not listed gives way: it is needed, and comes before what needs it and before its like.
    let plan = on(&tree, &format!(r#"{{ "order": ["eu"], "wave": 1, {after} }}"#)).unwrap();
    let units: Vec<u32> = plan.waves.iter().flat_map(|wave| &wave.units).map(|unit| unit.0).collect();
    let place = |wanted: u32| units.iter().position(|unit| *unit == wanted).unwrap();
    assert!(place(3) < place(0) && place(0) < place(4) && place(0) < place(5), "{units:?}");
}
