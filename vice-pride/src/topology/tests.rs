//! Files and inventories in each form, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use vice_core::Fault;
use vice_core::manifest::{Project, TopologySpec};
use vice_pride_engine::{Topology, UnitNo};

use super::{load, read};

const INI: &str = "\
lone ansible_host=10.0.0.9   # nobody's
; comments of both kinds
[web]
web[08:10].example:22 role=\"front end\" rack=r1

[db]
db1 rack=r2
[dc1:children]
web
db
[dc1:vars]
zone = north
[eu:children]
dc1
";

const YAML: &str = "\
all:
  hosts:
    lone: { ansible_host: 10.0.0.9 }
  children:
    eu:
      children:
        dc1:
          vars: { zone: north }
          children:
            web:
              hosts:
                web[08:10].example: { role: front end, rack: r1 }
            db:
              hosts:
                db1: { rack: r2, ports: [1, 2] }
";

const LIST: &str = r#"{
  "_meta": { "hostvars": { "web08.example": { "role": "front end", "rack": "r1" }, "web09.example": { "role": "front end", "rack": "r1" },
    "web10.example": { "role": "front end", "rack": "r1" }, "db1": { "rack": "r2" }, "lone": { "ansible_host": "10.0.0.9" } } },
  "all": { "children": ["ungrouped", "eu"] }, "ungrouped": { "hosts": ["lone"] }, "eu": { "children": ["dc1"] },
  "dc1": { "children": ["web", "db"], "vars": { "zone": "north" } },
  "web": { "hosts": ["web08.example", "web09.example", "web10.example"] }, "db": { "hosts": ["db1"] } }"#;

fn spec(value: serde_json::Value) -> TopologySpec {
    serde_json::from_value(value).unwrap()
}

fn made(root: &Path, value: serde_json::Value) -> Result<Topology, Fault> {
    let (spec, roster) = read(root, &spec(value))?;
    Topology::new(&spec, roster.as_ref())
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Everything that is known of each unit.
fn facts(tree: &Topology) -> Vec<(String, Option<String>, BTreeMap<String, String>)> {
    let labels =
        |unit| tree.label_keys().filter_map(move |key| Some((key.to_owned(), tree.label(unit, key)?.to_owned())));
    (0..tree.len()).map(UnitNo).map(|unit| (tree.unit_name(unit), tree.place(unit), labels(unit).collect())).collect()
}

#[test]
fn three_forms_of_an_inventory_are_the_same_tree() {
    let folder = folder(&[("hosts", INI), ("hosts.yml", YAML), ("list.json", LIST), ("nameless", YAML)]);
    let of = |name: &str| facts(&made(folder.path(), serde_json::json!({ "inventory": name })).unwrap());
    let ini = of("hosts");
    let names: Vec<&str> = ini.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["lone", "db1", "web08.example", "web09.example", "web10.example"]);
    assert_eq!(ini[1].1.as_deref(), Some("eu/dc1/db"));
    let labels = BTreeMap::from([("role", "front end"), ("rack", "r1"), ("zone", "north")]);
    let labels: BTreeMap<String, String> = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    assert_eq!(ini[3].2, labels);
    for name in ["hosts.yml", "list.json", "nameless"] {
        assert_eq!(of(name), ini, "{name}");
    }
}

#[test]
fn a_topology_file_is_the_section_and_vice_toml_adds_to_it() {
    let toml =
        "levels = [\"dc\", \"host\"]\n[tree]\neu = [\"a[1..2]\"]\nus = [\"b\"]\n[labels]\neu = { class = \"x\" }\n";
    let yaml = "levels: [dc, host]\ntree:\n  eu: [\"a[1..2]\"]\n  us: [b]\nlabels:\n  eu: { class: x }\n";
    let json = r#"{ "levels": ["dc", "host"], "tree": { "eu": ["a[1..2]"], "us": ["b"] }, "labels": { "eu": { "class": "x" } } }"#;
    let folder = folder(&[("t.toml", toml), ("t.yaml", yaml), ("t.json", json)]);
    for name in ["t.toml", "t.yaml", "t.json"] {
        let tree =
            made(folder.path(), serde_json::json!({ "file": name, "labels": { "us": { "class": "y" } } })).unwrap();
        assert_eq!(tree.classes(), ["x", "y"], "{name}");
        assert_eq!(tree.unit_name(UnitNo(1)), "a2");
    }
    let both = made(folder.path(), serde_json::json!({ "file": "t.toml", "fleet": "x[1]" })).unwrap_err();
    assert!(both.to_string().contains("in a file and also"));
}

#[test]
fn files_that_can_not_be_read_say_why() {
    let folder = folder(&[
        ("bad.toml", "levels = 3\n"),
        ("unknown.json", r#"{ "tee": {} }"#),
        ("deep.yaml", &format!("tree: {}", "[".repeat(5_000))),
        ("again.toml", "file = \"t.toml\"\n"),
        ("what.txt", ""),
        ("empty", "# nothing\n"),
        ("program", "#!/usr/bin/env python3\n"),
        ("section", "[web:hosts]\na\n"),
        ("quote", "[web]\na role=\"x\n"),
        ("range", "[web]\na[3:1]\n"),
        ("circle", "[a:children]\nb\n[b:children]\na\n"),
        ("stray.yml", "all:\n  children:\n    web: { host: [a] }\n"),
        ("list.yml", "- a\n- b\n"),
        ("broken.json", "{"),
    ]);
    let refused = |key: &str, name: &str| {
        let fault = made(folder.path(), serde_json::json!({ key: name })).unwrap_err();
        fault.chain().join(" ")
    };
    for (key, name, why) in [
        ("file", "bad.toml", "invalid type"),
        ("file", "unknown.json", "unknown field"),
        ("file", "deep.yaml", "nested"),
        ("file", "again.toml", "another topology file"),
        ("file", "what.txt", "can't be told"),
        ("file", "absent.toml", "can't be read"),
        ("inventory", "absent", "can't be read"),
        ("inventory", ".", "not a file"),
        ("inventory", "empty", "neither hosts nor groups"),
        ("inventory", "program", "a program"),
        ("inventory", "section", "line 1"),
        ("inventory", "quote", "line 2"),
        ("inventory", "range", "goes down"),
        ("inventory", "circle", "contain each other"),
        ("inventory", "stray.yml", "hosts, children and vars"),
        ("inventory", "list.yml", "not a mapping"),
        ("inventory", "broken.json", "EOF"),
    ] {
        let said = refused(key, name);
        assert!(said.contains(why), "{name}: {said}");
    }
}

#[test]
fn faults_point_at_the_key_in_vice_toml() {
    let text = "name = \"x\"\n[env.dev]\n[env.dev.topology]\nfleet = \"rack[2\"\n";
    let project = Project::parse("/p".into(), "vice.toml".into(), text).unwrap();
    let fault = load(&project, &"dev".parse().unwrap()).unwrap_err();
    assert_eq!(fault.place().unwrap().line_column().0, 4);
    let domain = text.replace("rack[2\"", "rack[2]\"\ndomain.d = { count = 5 }");
    let project = Project::parse("/p".into(), "vice.toml".into(), domain.as_str()).unwrap();
    let fault = load(&project, &"dev".parse().unwrap()).unwrap_err();
    assert_eq!(fault.place().unwrap().line_column().0, 5);
}

#[test]
fn the_example_is_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
    let text = std::fs::read_to_string(root.join("vice.toml")).unwrap();
    let project = Project::parse(root, "vice.toml".into(), text.as_str()).unwrap();
    let prod = load(&project, &"prod".parse().unwrap()).unwrap().unwrap();
    assert_eq!((prod.len(), prod.classes().len()), (4_800, 4));
    let int = load(&project, &"int".parse().unwrap()).unwrap().unwrap();
    assert_eq!((int.len(), int.place(UnitNo(0)).as_deref()), (3, Some("dc1/db")));
}

#[test]
fn folders_of_variables_beside_an_inventory_are_labels_too() {
    let folder = folder(&[("hosts", INI)]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("group_vars/all.yml", "tier: lab\nlisted: [1, 2]\n");
    write("group_vars/dc1", "---\nzone: south\npower: 3\n");
    write("group_vars/db/10-first.yaml", "tier: data\nsecret: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n");
    write("group_vars/db/20-then.json", "{ \"tier\": \"store\", \"path\": \"{{ base }}/x\" }");
    write("group_vars/nobody.yml", "tier: never\n");
    write("group_vars/web.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n");
    write("host_vars/web08.example.yml", "rack: r9\n");
    write("host_vars/.hidden", "[");
    let made_now = || made(folder.path(), serde_json::json!({ "inventory": "hosts" }));
    let units = facts(&made_now().unwrap());
    let labels = |unit: usize| units[unit].2.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    assert_eq!(labels(0), ["tier=lab"]);
    assert_eq!(
        labels(1),
        ["power=3", "rack=r2", "tier=store", "zone=south"],
        "the later file and the nearer group win"
    );
    assert_eq!(labels(2), ["power=3", "rack=r9", "role=front end", "tier=lab", "zone=south"]);
    write("host_vars/db1.yml", "- no\n- mapping\n");
    let fault = made_now().unwrap_err();
    assert!(fault.to_string().contains("db1.yml"), "{fault}");
}

#[test]
fn units_stand_on_the_hosts_of_a_target() {
    let names = |text: &str| {
        let text = format!("name = \"shop\"\n[env.prod]\n{text}\n");
        let project = Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap();
        let tree = load(&project, &"prod".parse().unwrap())?.unwrap();
        Ok::<_, Fault>((0..tree.len()).map(|unit| tree.unit_name(UnitNo(unit))).collect::<Vec<_>>())
    };
    let hosts = "hosts = ['web1', 'ada@10.0.0.5:2222']";
    assert_eq!(names(&format!("target = {{ kind = 'ssh', {hosts} }}")).unwrap(), ["web1", "10.0.0.5"]);
    let two = names(&format!("target = {{ kind = 'ssh', {hosts}, instances = 2 }}")).unwrap();
    assert_eq!(two, ["10.0.0.5.1", "10.0.0.5.2", "web1.1", "web1.2"]);
    let several = format!("target.eu = {{ kind = 'ssh', {hosts} }}\ntarget.us = {{ kind = 'local' }}");
    assert_eq!(names(&several).unwrap(), ["eu.10.0.0.5", "eu.web1", "us.1"]);
    let tree = "target = { kind = 'ssh' }\ntopology.tree.eu = ['web1', 'web2']";
    assert_eq!(names(tree).unwrap(), ["web1", "web2"]);
    let strange = names(&format!("target = {{ kind = 'ssh', {hosts} }}\ntopology.tree.eu = ['web1', 'web9']"));
    assert!(strange.unwrap_err().to_string().contains("web9"));
    let none = names("target = { kind = 'ssh' }").unwrap_err();
    assert!(none.place().is_some() && none.hints()[0].contains("hosts = "), "{none:?}");
}
