//! Trees of units: numbers, names, labels, domains, selectors, and everything that is refused.

use std::collections::BTreeMap;

use vice_core::manifest::{Selector, TopologySpec};
use vice_core::{Code, Fault};
use vice_pride_engine::{Roster, RosterGroup, RosterHost, Topology, UNITS_MAX, UnitNo};

fn spec(text: &str) -> TopologySpec {
    serde_json::from_value(toml_like(text)).unwrap()
}

/// Test texts are JSON, because the engine needs no TOML.
fn toml_like(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn fleet(line: &str) -> Topology {
    Topology::new(&spec(&serde_json::json!({ "fleet": line }).to_string()), None).unwrap()
}

fn made(text: &str) -> Topology {
    Topology::new(&spec(text), None).unwrap()
}

fn refused(text: &str) -> Fault {
    let fault = Topology::new(&spec(text), None).unwrap_err();
    assert_eq!(fault.code(), Code::ManifestInvalid);
    assert!(fault.details().contains_key("key"), "{fault:?} names its key");
    fault
}

fn select(tree: &Topology, text: &str) -> Vec<String> {
    let units = tree.select(&Selector::parse(text).unwrap()).unwrap();
    units.iter().map(|unit| tree.unit_name(unit)).collect()
}

#[test]
fn one_line_makes_a_tree_in_depth_first_order() {
    let tree = fleet("region[eu,us] > rack[2] > host[01..03]");
    assert_eq!(tree.len(), 12);
    assert_eq!(tree.unit_name(UnitNo(0)), "eu.rack1.01");
    assert_eq!(tree.unit_name(UnitNo(11)), "us.rack2.03");
    assert_eq!(tree.place(UnitNo(7)).unwrap(), "us/rack1");
    assert_eq!((tree.levels(), tree.unit_level()), (&["region".to_owned(), "rack".to_owned()][..], Some("host")));
    let nodes: Vec<_> = tree.nodes().map(|node| (node.name.into_owned(), node.units)).collect();
    let expected = [("", (0, 12)), ("eu", (0, 6)), ("rack1", (0, 3)), ("rack2", (3, 6)), ("us", (6, 12))];
    for (found, (name, units)) in nodes.iter().zip(expected) {
        assert_eq!((found.0.as_str(), found.1), (name, units));
    }
}

#[test]
fn uneven_fleets_are_several_lines() {
    let tree =
        made(r#"{ "fleet": ["dc[a] > rack[2] > host[2]", "dc[b] > rack[1] > host[3]", "host[spare1,spare2]"] }"#);
    assert_eq!(tree.len(), 9);
    assert_eq!(tree.unit_name(UnitNo(0)), "spare1", "units without a node come first");
    assert_eq!(select(&tree, "dc=b").len(), 3);
    assert_eq!(select(&tree, "b/rack1/host3"), ["b.rack1.host3"]);
}

#[test]
fn labels_are_inherited_and_overridden() {
    let tree = made(
        r#"{ "fleet": "region[eu,us]{tier=gold|silver} > rack[2] > host[3]{service=web*2|db}",
             "labels": { "us/rack2": { "tier": "bronze" }, "us": { "tier": "copper", "legal": true } } }"#,
    );
    let tiers: Vec<_> = (0..12).map(|unit| tree.label(UnitNo(unit), "tier").unwrap()).collect();
    assert_eq!(tiers[..6], ["gold"; 6]);
    assert_eq!(tiers[6..9], ["copper"; 3]);
    assert_eq!(tiers[9..], ["bronze"; 3], "what is deeper wins, whatever is written first");
    let services: Vec<_> = (0..6).map(|unit| tree.label(UnitNo(unit), "service").unwrap()).collect();
    assert_eq!(services, ["web", "web", "db", "web", "web", "db"]);
    assert_eq!(tree.label(UnitNo(0), "legal"), None);
    assert_eq!(select(&tree, "service=db, region=us"), ["us.rack1.host3", "us.rack2.host3"]);
    assert_eq!(select(&tree, "service!=db, us/rack1").len(), 2);
    assert_eq!(select(&tree, "tier=gold|copper").len(), 9);
    assert_eq!(select(&tree, "*/rack2").len(), 6);
    assert_eq!(select(&tree, "*/*/host1").len(), 4);
}

#[test]
fn environment_classes_are_one_label_or_several() {
    let tree = made(r#"{ "fleet": "rack[2]{os=a|b} > host[2]{hw=x|y}", "class_by": ["os", "hw"] }"#);
    assert_eq!(tree.classes(), ["a/x", "a/y", "b/x", "b/y"]);
    assert_eq!(tree.class_of(UnitNo(3)), Some(3));
    assert_eq!(fleet("host[2]{class=m|n}").classes(), ["m", "n"], "the label class needs no saying");
    assert!(refused(r#"{ "fleet": "h[1]{os=a}", "class_by": "so" }"#).hints()[0].contains("\"os\""));
}

#[test]
fn domains_cross_the_tree() {
    let tree = made(
        r#"{ "fleet": "dc[a,b] > rack[3] > host[2]{feed=l|r}",
             "domain": { "power": { "label": "feed" }, "wave": { "count": 3, "level": "rack" },
                         "named": { "members": { "front": "*/rack1", "back": ["a/rack2", "b/rack3"] } } } }"#,
    );
    let sizes = |name: &str| {
        let set = tree.domains().iter().find(|set| set.name == name).unwrap();
        set.domains.iter().map(|(name, units)| (name.clone(), units.len())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(sizes("power"), BTreeMap::from([("l".into(), 6), ("r".into(), 6)]));
    assert_eq!(sizes("wave").values().copied().collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(sizes("named"), BTreeMap::from([("front".into(), 4), ("back".into(), 4)]));
    assert_eq!(select(&tree, "power=l, dc=a").len(), 3);
    assert_eq!(select(&tree, "wave=1"), ["a.rack1.host1", "a.rack1.host2", "b.rack1.host1", "b.rack1.host2"]);
}

#[test]
fn domains_that_make_no_sense_are_refused() {
    let with = |domain: &str| refused(&format!(r#"{{ "fleet": "rack[2] > host[2]", "domain": {{ "d": {domain} }} }}"#));
    assert!(with(r#"{ "members": { "x": "rack=rack9*" } }"#).to_string().contains("has no members"));
    assert!(with(r#"{ "members": { "x": "rack1", "y": "*" } }"#).to_string().contains("share a unit"));
    assert!(with(r#"{ "count": 9 }"#).to_string().contains("no members"));
    assert!(with(r#"{ "count": 0 }"#).to_string().contains("are 0"));
    assert!(with(r#"{ "count": 2, "level": "rock" }"#).hints()[0].contains("\"rack\""));
    assert!(with(r#"{ "label": "feed" }"#).to_string().contains("no unit has it"));
    assert!(with("{}").to_string().contains("exactly one"));
}

#[test]
fn slips_in_selectors_are_named_with_the_nearest_word() {
    let tree = made(r#"{ "fleet": "region[eu,us] > host[2]{service=web|db}" }"#);
    let hint = |text: &str| {
        let fault = tree.select(&Selector::parse(text).unwrap()).unwrap_err();
        fault.hints()[0].clone()
    };
    assert_eq!(hint("servcie=web"), "Did you mean \"service\"?");
    assert_eq!(hint("service=wbe"), "Did you mean \"web\"?");
    assert_eq!(hint("regoin=eu"), "Did you mean \"region\"?");
    assert_eq!(hint("eu/host9"), "Did you mean \"eu/host1\"?".replace("eu/host1", "eu.host1"));
    assert!(select(&tree, "service=x*").is_empty(), "a pattern may fit nothing");
    let plain = Topology::flat(&["1".into(), "2".into()]);
    let fault = plain.select(&Selector::parse("service=web").unwrap()).unwrap_err();
    assert!(fault.hints()[0].contains("no labels"));
}

#[test]
fn nested_tables_and_nodes_with_parents_make_the_same_tree() {
    let nested = made(
        r#"{ "levels": ["region", "dc", "host"], "tree": { "eu": { "dc1": ["web[1..2]"], "dc2": ["db1"] }, "us": { "dc1": ["web3"] } } }"#,
    );
    let nodes = made(
        r#"{ "levels": ["region", "dc", "host"], "nodes": [
            { "name": "dc1", "parent": "eu", "units": ["web[1:2]"] }, { "name": "eu" }, { "name": "us" },
            { "name": "dc2", "parent": "eu", "units": ["db1"] }, { "name": "dc1", "parent": "us", "units": ["web3"] } ] }"#,
    );
    let names = |tree: &Topology| (0..tree.len()).map(|unit| tree.unit_name(UnitNo(unit))).collect::<Vec<_>>();
    assert_eq!(names(&nested), ["web1", "web2", "db1", "web3"], "names of their own are enough where they are unique");
    assert_eq!(names(&nested), names(&nodes));
    assert_eq!(nested.place(UnitNo(3)), nodes.place(UnitNo(3)));
    assert_eq!(nested.unit_level(), Some("host"));
    assert_eq!(select(&nodes, "dc=dc1"), ["web1", "web2", "web3"]);
    let twice = made(r#"{ "tree": { "a": ["x"], "b": ["x"] } }"#);
    assert_eq!(names(&twice), ["a.x", "b.x"]);
}

#[test]
fn trees_that_can_not_be_are_refused_with_the_reason() {
    let nodes = |nodes: &str| refused(&format!(r#"{{ "nodes": [{nodes}] }}"#)).to_string();
    assert_eq!(
        nodes(r#"{"name":"a","parent":"c"},{"name":"b","parent":"a"},{"name":"c","parent":"b"}"#),
        "The tree goes round in a circle: a in c in b in a."
    );
    assert!(nodes(r#"{"name":"a","parent":"a"}"#).contains("a in a"));
    assert!(nodes(r#"{"name":"a","parent":"x"}"#).contains("no such node"));
    assert!(nodes(r#"{"name":"a"},{"name":"a"}"#).contains("twice"));
    assert!(nodes(r#"{"name":"a","units":["x","x"]}"#).contains("twice"));
    assert!(nodes(r#"{"name":"a/b"}"#).contains("can't be the name"));
    let many =
        r#"{"name":"r"},{"name":"s"},{"name":"d","parent":"r"},{"name":"d","parent":"s"},{"name":"e","parent":"d"}"#;
    assert!(nodes(many).contains("2 nodes have that name"));
    assert!(refused("{}").to_string().contains("says no units"));
    assert!(refused(r#"{ "fleet": "h[1]", "tree": ["x"] }"#).to_string().contains("in 2 ways"));
    let deep = (0..20).map(|depth| format!("l{depth}[1]")).collect::<Vec<_>>().join(" > ");
    let fault = Topology::new(&spec(&serde_json::json!({ "fleet": deep }).to_string()), None).unwrap_err();
    assert!(fault.to_string().contains("levels"), "{fault}");
}

#[test]
fn fleets_that_can_not_be_read_say_why() {
    for (line, why) in [
        ("rack", "no level with its names"),
        ("rack[2", "not closed"),
        ("rack[2] > rack[3]", "there twice"),
        ("rack[a,a]", "there twice"),
        ("rack[1..3,2]", "there twice"),
        ("rack[5..1]", "goes down"),
        ("rack[a b]", "can't be the name"),
        ("rack[]", "can't be the name"),
        ("rack[2]{x}", "no label"),
        ("dc[2]{x=1,x=2} > server[3]", "the label x is there twice"),
        ("rack[2]{x=1, y=2, x=1}", "the label x is there twice"),
        ("rack[2]{x=a*0}", "no label"),
        ("rack[2] x", "no level with its names"),
        ("[2]", "can't be the name"),
        ("rack[-1]", "can't be the name"),
        ("rack[99999999999999999999]", "the limit"),
        ("", "no level"),
    ] {
        let fault = refused(&serde_json::json!({ "fleet": line }).to_string());
        assert!(fault.to_string().contains(why), "{line:?}: {fault}");
        assert!(!fault.hints().is_empty());
    }
    let twice = refused(r#"{ "fleet": ["dc[a] > h[1]", "dc[a] > h[2]"] }"#);
    assert!(twice.to_string().contains("Two lines"));
    let level = refused(r#"{ "fleet": "rack[2]{host=x} > host[2]" }"#);
    assert!(level.to_string().contains("a level of the tree"), "{level}");
}

#[test]
fn a_fleet_may_be_empty_and_may_be_very_large() {
    let none = fleet("rack[3] > server[0]");
    assert!(none.is_empty());
    assert_eq!(none.node_of(UnitNo(0)), None);
    assert_eq!(none.select(&Selector::everything()).unwrap().len(), 0);
    let large = fleet("region[5] > dc[5] > row[10] > rack[500] > server[40]");
    assert_eq!(large.len(), 5_000_000);
    assert_eq!(large.unit_name(UnitNo(4_999_999)), "region5.dc5.row10.rack500.server40");
    assert_eq!(large.place(UnitNo(40)).unwrap(), "region1/dc1/row1/rack2");
    assert_eq!(
        large.select(&Selector::parse("region=region2, */dc1").unwrap()).unwrap().ranges(),
        [(1_000_000, 1_200_000)]
    );
    assert!(large.bytes() < 5_000_000 * 2, "names are not stored: {} bytes", large.bytes());
    for line in ["server[10000001]", "rack[100000] > server[101]", "a[10000000] > b[10000000] > c[10000000]"] {
        let fault = refused(&serde_json::json!({ "fleet": line }).to_string());
        assert!(fault.to_string().contains(&UNITS_MAX.to_string()), "{fault}");
    }
}

/// Variables with their values.
type Vars<'a> = &'a [(&'a str, &'a str)];

/// A group: its name, hosts, children and variables.
type Grouped<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Vars<'a>);

fn roster(groups: &[Grouped<'_>], hosts: &[(&str, Vars<'_>)]) -> Roster {
    let vars = |vars: &[(&str, &str)]| vars.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Roster {
        hosts: hosts.iter().map(|(name, own)| RosterHost { name: (*name).into(), vars: vars(own) }).collect(),
        groups: groups
            .iter()
            .map(|(name, hosts, children, own)| {
                ((*name).to_owned(), RosterGroup { hosts: texts(hosts), children: texts(children), vars: vars(own) })
            })
            .collect(),
    }
}

fn inventory(roster: &Roster, text: &str) -> Result<Topology, Fault> {
    Topology::new(&spec(text), Some(roster))
}

const NO_VARS: &[(&str, &str)] = &[];

#[test]
fn an_inventory_becomes_a_tree_by_its_groups() {
    let roster = roster(
        &[
            ("eu", &[], &["dc1", "dc2"], &[("tier", "gold")]),
            ("dc1", &["web10", "web9"], &[], &[("tier", "silver")]),
            ("dc2", &["db1"], &[], NO_VARS),
            ("all", &[], &[], &[("os", "linux"), ("tier", "none")]),
        ],
        &[
            ("web10", &[("os", "bsd"), ("ansible_host", "10.0.0.1")]),
            ("web9", NO_VARS),
            ("db1", NO_VARS),
            ("lone", NO_VARS),
        ],
    );
    let tree = inventory(&roster, r#"{ "inventory": "x", "levels": [] }"#).unwrap();
    let facts: Vec<_> = (0..4)
        .map(|unit| {
            let unit = UnitNo(unit);
            (tree.unit_name(unit), tree.place(unit), tree.label(unit, "tier").unwrap().to_owned())
        })
        .collect();
    let place = |path: &str| Some(path.to_owned());
    assert_eq!(facts[0], ("lone".into(), None, "none".into()));
    assert_eq!(facts[1], ("web9".into(), place("eu/dc1"), "silver".into()), "9 before 10; the deeper group wins");
    assert_eq!(facts[2], ("web10".into(), place("eu/dc1"), "silver".into()));
    assert_eq!(facts[3], ("db1".into(), place("eu/dc2"), "gold".into()));
    assert_eq!(tree.label(UnitNo(2), "os"), Some("bsd"));
    assert_eq!(tree.label_keys().collect::<Vec<_>>(), ["os", "tier"], "how to connect is no label");
    assert_eq!(select(&tree, "group=eu"), ["web9", "web10", "db1"]);
    assert_eq!(select(&tree, "eu/dc2"), ["db1"]);
}

#[test]
fn an_inventory_becomes_a_tree_by_its_variables() {
    let roster = roster(
        &[("web", &["a", "b"], &[], &[("region", "eu")]), ("db", &["c", "a"], &[], NO_VARS)],
        &[("a", &[("rack", "r2")]), ("b", &[("rack", "r1")]), ("c", &[("rack", "r1"), ("region", "us")])],
    );
    let tree = inventory(&roster, r#"{ "inventory": "x", "levels": ["region", "rack"] }"#).unwrap();
    let places: Vec<_> = (0..3).map(|unit| (tree.unit_name(UnitNo(unit)), tree.place(UnitNo(unit)).unwrap())).collect();
    let expected = [("b", "eu/r1"), ("a", "eu/r2"), ("c", "us/r1")];
    assert_eq!(places, expected.map(|(name, place)| (name.to_owned(), place.to_owned())));
    assert_eq!(select(&tree, "region=eu, group=db"), ["a"]);
    let fault = inventory(&roster, r#"{ "inventory": "x", "levels": ["region", "shelf"] }"#).unwrap_err();
    assert!(fault.to_string().contains("no variable \"shelf\""));
    let flat = inventory(&roster, r#"{ "inventory": "x" }"#).unwrap();
    assert_eq!(flat.place(UnitNo(0)), None, "a host in two groups has no place by groups");
    let asked = inventory(&roster, r#"{ "inventory": "x", "under": "wbe" }"#).unwrap_err();
    assert!(asked.hints()[0].contains("\"web\""));
}

#[test]
fn groups_that_contain_each_other_are_refused() {
    let around = roster(
        &[("a", &[], &["b"], NO_VARS), ("b", &[], &["c"], NO_VARS), ("c", &["h"], &["a"], NO_VARS)],
        &[("h", NO_VARS)],
    );
    let fault = inventory(&around, r#"{ "inventory": "x" }"#).unwrap_err();
    assert!(fault.to_string().contains("contain each other: a in c in b in a"), "{fault}");
    let stray = roster(&[("a", &[], &["bee"], NO_VARS), ("bees", &[], &[], NO_VARS)], &[]);
    let fault = inventory(&stray, r#"{ "inventory": "x" }"#).unwrap_err();
    assert!(fault.hints()[0].contains("\"bees\""));
}
