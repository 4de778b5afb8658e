//! Where units stand, as files say it: topology files and Ansible inventories. It reads and parses; the tree itself is
//! made by the engine, which does no I/O.

mod ini;
mod inventory;
mod vars;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;
use vice_core::id::EnvName;
use vice_core::manifest::{KUBERNETES, Project, TRACKS, TargetSpec, TargetsSpec, TopologySpec};
use vice_core::port::config::UnitFacts;
use vice_core::{Code, Context, Fault, Result};
use vice_pride_engine::{Pairs, Roster, RosterHost, Topology, UnitNo, UnitSet};

use crate::target::hosts::{self, has_hosts};

/// The largest file that is read. An inventory of a hundred thousand hosts has about 10 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How deep a file may be nested, beyond any tree that makes sense.
const DEPTH_MAX: usize = 64;

/// The topology of an environment; none where `vice.toml` says nothing about it.
///
/// # Errors
/// `ManifestInvalid` pointing at the key in `vice.toml`; `Io` when a file can't be read.
pub fn load(project: &Project, env: &EnvName) -> Result<Option<Topology>> {
    let section = project.env(env)?;
    if let Some(TargetsSpec::Several(targets)) = &section.target {
        if section.topology.is_some() {
            let message = format!("{env} has several targets and also a topology, which would name its units twice.");
            return Err(Fault::new(Code::ManifestInvalid, message)
                .at(project.place(&["env", env.as_str(), "topology"], ""))
                .hint("Keep the targets; each is a level of the tree, which selectors know as target=NAME."));
        }
        return of_targets(project, env, targets).map(Some);
    }
    let on_hosts = match &section.target {
        Some(TargetsSpec::One(target)) => Some(target.as_ref()).filter(|target| has_hosts(target)),
        _ => None,
    };
    let tracks = match &section.target {
        Some(TargetsSpec::One(target)) => target.tracks(),
        _ => None,
    };
    if let Some(tracks) = tracks {
        if section.topology.is_some() {
            let message =
                format!("The target of {env} splits its traffic between two units, which no topology can name.");
            return Err(Fault::new(Code::ManifestInvalid, message)
                .at(project.place(&["env", env.as_str(), "topology"], ""))
                .hint("Remove the topology; the units are canary and stable."));
        }
        return Ok(Some(paired(Topology::flat(&tracks.map(str::to_owned)), &[None])));
    }
    let Some(spec) = &section.topology else {
        return on_hosts.map(|target| of_hosts(project, env, target)).transpose();
    };
    let topology = of_section(project, env, spec)?;
    if let Some(target) = on_hosts {
        check_hosts(project, env, target, &topology)?;
    }
    Ok(Some(topology))
}

/// The tree that the section `topology` says.
pub(crate) fn of_section(project: &Project, env: &EnvName, spec: &TopologySpec) -> Result<Topology> {
    let made = read(&project.root, spec).and_then(|(spec, roster)| Topology::new(&spec, roster.as_ref()));
    made.map_err(|fault| {
        if fault.place().is_some() {
            return fault;
        }
        let key = fault.details().get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path: Vec<&str> = ["env", env.as_str(), "topology"].into_iter().chain(key.split('.')).collect();
        fault.at(project.place(&path, ""))
    })
}

/// What is known of each unit of an environment before anything runs there, for layers of the configuration that apply
/// only somewhere. The label `host`, where units have it, names their machine.
///
/// # Errors
/// As [`load`].
pub fn unit_facts(project: &Project, env: &EnvName) -> Result<Vec<UnitFacts>> {
    let Some(tree) = load(project, env)? else {
        let count = project.env(env)?.instances.unwrap_or(1);
        return Ok((1..=count).map(|unit| UnitFacts { name: unit.to_string(), ..UnitFacts::default() }).collect());
    };
    let hosts = hosts_of_targets(project, env)?;
    let several = matches!(project.env(env)?.target, Some(TargetsSpec::Several(_)));
    let keys: Vec<&str> = tree.label_keys().collect();
    let facts = |unit: UnitNo| {
        let name = tree.unit_name(unit);
        let labels = keys.iter().filter_map(|key| Some(((*key).to_owned(), tree.label(unit, key)?.to_owned())));
        let labels: BTreeMap<String, String> = labels.collect();
        let target = tree.place(unit).filter(|_| several);
        let host = labels.get("host").cloned().or_else(|| host_name(&hosts, &name));
        UnitFacts { name, target, host, labels }
    };
    Ok((0..tree.len()).map(|unit| facts(UnitNo(unit))).collect())
}

/// The hosts of each target that has some, with the target's name where there are several.
type HostsOfTargets<'a> = Vec<(Option<&'a str>, Vec<hosts::Host>)>;

fn hosts_of_targets<'a>(project: &'a Project, env: &EnvName) -> Result<HostsOfTargets<'a>> {
    let targets = project.env(env)?.target.iter().flat_map(TargetsSpec::each);
    let on_hosts = targets.filter(|(_, target)| has_hosts(target));
    on_hosts.map(|(name, target)| Ok((name, hosts::of(project, env, name, target)?))).collect()
}

fn host_name(targets: &HostsOfTargets<'_>, unit: &str) -> Option<String> {
    targets.iter().find_map(|(target, hosts)| {
        let within = match target {
            Some(target) => unit.strip_prefix(target)?.strip_prefix('.')?,
            None => unit,
        };
        hosts::host_of(hosts, within).map(|(host, _)| host.name.clone())
    })
}

/// One level, `target`, with the instances or hosts of each target in it; a unit is named as in `eu.1` or `eu.web1`.
fn of_targets(project: &Project, env: &EnvName, targets: &IndexMap<String, TargetSpec>) -> Result<Topology> {
    let instances = project.env(env)?.instances;
    let mut units = Vec::new();
    for (name, target) in targets {
        let own = target.kind == KUBERNETES;
        let count = target.instances.or(instances.filter(|_| !own)).unwrap_or(1);
        let vars = || [("target".to_owned(), name.clone())].into();
        if let Some(tracks) = target.tracks() {
            units.extend(tracks.map(|track| RosterHost { name: format!("{name}.{track}"), vars: vars() }));
            continue;
        }
        if has_hosts(target) {
            let hosts = hosts::of(project, env, Some(name), target)?;
            let on_hosts = hosts::units(&hosts, count).into_iter();
            units.extend(on_hosts.map(|unit| RosterHost { name: format!("{name}.{}", unit.name), vars: vars() }));
        } else {
            units.extend((1..=count).map(|number| RosterHost { name: format!("{name}.{number}"), vars: vars() }));
        }
    }
    let split = targets.iter().filter(|(_, target)| target.tracks().is_some());
    let split: Vec<Option<&str>> = split.map(|(name, _)| Some(name.as_str())).collect();
    by_level("target", units).map(|tree| paired(tree, &split))
}

/// The tree with the two units of each target that splits its traffic as a pair. A target that is the only one has no
/// name.
fn paired(tree: Topology, targets: &[Option<&str>]) -> Topology {
    if targets.is_empty() {
        return tree;
    }
    let of = |track: &str| {
        let names: BTreeSet<String> = targets
            .iter()
            .map(|target| target.map_or_else(|| track.to_owned(), |target| format!("{target}.{track}")))
            .collect();
        UnitSet::from_units((0..tree.len()).map(UnitNo).filter(|unit| names.contains(&tree.unit_name(*unit))))
    };
    let [canary, stable] = TRACKS;
    let pairs = Pairs { canaries: of(canary), stables: of(stable) };
    tree.paired(pairs)
}

/// The units of hosts: the hosts themselves or, with several instances on each, a level `host` with them in it.
fn of_hosts(project: &Project, env: &EnvName, target: &TargetSpec) -> Result<Topology> {
    let hosts = hosts::of(project, env, None, target)?;
    let instances = target.instances.or(project.env(env)?.instances).unwrap_or(1);
    let units = hosts::units(&hosts, instances);
    if instances > 1 {
        return by_level("host", units);
    }
    let names: Vec<String> = units.into_iter().map(|unit| unit.name).collect();
    Ok(Topology::flat(&names))
}

/// A tree of one level, which a variable of each unit says.
fn by_level(level: &str, hosts: Vec<RosterHost>) -> Result<Topology> {
    let spec =
        TopologySpec { levels: vec![level.to_owned()], inventory: Some(String::new()), ..TopologySpec::default() };
    Topology::new(&spec, Some(&Roster { hosts, ..Roster::default() }))
}

/// Every unit of a topology has to stand on a host of the target.
fn check_hosts(project: &Project, env: &EnvName, target: &TargetSpec, topology: &Topology) -> Result<()> {
    let hosts = hosts::of(project, env, None, target)?;
    for unit in 0..topology.len() {
        let name = topology.unit_name(UnitNo(unit));
        if hosts::host_of(&hosts, &name).is_none() {
            let message = format!("The topology has the unit {name:?}, and the target has no host of that name.");
            return Err(Fault::new(Code::ManifestInvalid, message)
                .at(project.place(&["env", env.as_str(), "topology"], ""))
                .hint("A unit is named after its host, as in web1, or web1.2 for the second instance on it."));
        }
    }
    Ok(())
}

/// An Ansible inventory with the variables beside it.
///
/// # Errors
/// `ManifestInvalid` when it makes no sense; `Io` when it can't be read.
pub(crate) fn roster(root: &Path, name: &str) -> Result<Roster> {
    let path = root.join(name);
    let text = text_of(&path, "inventory")?;
    let mut roster = inventory::parse(&shown(&path), &text)?;
    // What Ansible has put together is complete.
    if !text.trim_start().starts_with('{') {
        vars::add(path.parent().unwrap_or(root), &mut roster)?;
    }
    Ok(roster)
}

/// An inventory that somebody else has put together.
///
/// # Errors
/// `ManifestInvalid` when it makes no sense.
pub(crate) fn roster_of(name: &str, text: &str) -> Result<Roster> {
    inventory::parse(name, text)
}

/// The section with everything read that it names. What stands in `vice.toml` is added to what a file says.
///
/// # Errors
/// `ManifestInvalid` when a file makes no sense; `Io` when it can't be read.
pub fn read(root: &Path, spec: &TopologySpec) -> Result<(TopologySpec, Option<Roster>)> {
    let (spec, root) = match &spec.file {
        Some(file) => from_file(root, file, spec)?,
        None => (spec.clone(), root.to_path_buf()),
    };
    let hosts = spec.inventory.as_ref().map(|name| roster(&root, name)).transpose()?;
    Ok((spec, hosts))
}

/// The section of a file with that of `vice.toml` on top, and the folder that the file's own paths start in.
fn from_file(root: &Path, file: &str, spec: &TopologySpec) -> Result<(TopologySpec, PathBuf)> {
    let own = TopologySpec { file: None, ..spec.clone() };
    if own.fleet.is_some() || own.tree.is_some() || !own.nodes.is_empty() || own.inventory.is_some() {
        let message = "The topology says its units in a file and also in vice.toml.";
        return Err(Fault::new(Code::ManifestInvalid, message).hint("Keep one of them.").detail("key", "file"));
    }
    let path = root.join(file);
    let mut read = section(&path, &text_of(&path, "file")?)?;
    if read.file.is_some() {
        let message = format!("{} names another topology file; only vice.toml can.", shown(&path));
        return Err(Fault::new(Code::ManifestInvalid, message).detail("key", "file"));
    }
    if !own.levels.is_empty() {
        read.levels = own.levels;
    }
    read.under = own.under.or(read.under);
    read.class_by = own.class_by.or(read.class_by);
    read.labels.extend(own.labels);
    read.domain.extend(own.domain);
    Ok((read, path.parent().map_or_else(|| root.to_path_buf(), Path::to_path_buf)))
}

/// Parses a topology file by its suffix.
fn section(path: &Path, text: &str) -> Result<TopologySpec> {
    let name = shown(path);
    let wrong = |why: String, place: Option<vice_core::fault::Place>| {
        let fault = Fault::new(Code::ManifestInvalid, format!("The topology file {name} can't be read.")).because(why);
        fault.detail("key", "file").at(place)
    };
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("toml") => toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| vice_core::fault::Place {
                file: name.clone(),
                text: Arc::from(text),
                span,
                label: String::new(),
            });
            wrong(error.message().to_owned(), place)
        }),
        Some("json") => serde_json::from_str(text).map_err(|error| wrong(error.to_string(), None)),
        Some("yaml" | "yml") => {
            let value = yaml(text).map_err(|why| wrong(why, None))?;
            serde_json::from_value(value).map_err(|error| wrong(error.to_string(), None))
        }
        _ => {
            Err(Fault::new(Code::ManifestInvalid, format!("What kind of file {name} is can't be told from its name."))
                .hint("End it in .toml, .yaml, .yml or .json; an Ansible inventory is named with `inventory`.")
                .detail("key", "file"))
        }
    }
}

/// Parses YAML into plain values, within bounds.
fn yaml(text: &str) -> std::result::Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: 20_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 1_000_000 },
    };
    let value: Option<Value> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or_else(String::new, |place| format!("line {}: ", place.line()));
        format!("{line}it is not valid YAML, has a key twice, or is nested or aliased beyond what is read")
    })?;
    Ok(value.unwrap_or(Value::Null))
}

fn text_of(path: &Path, key: &str) -> Result<String> {
    let name = shown(path);
    let unread = || format!("The {} {name} can't be read.", if key == "file" { "topology file" } else { "inventory" });
    let facts = std::fs::metadata(path)
        .context(Code::Io, unread)
        .map_err(|fault| fault.hint("Paths start in the folder of vice.toml.").detail("key", key))?;
    if !facts.is_file() {
        return Err(Fault::new(Code::ManifestInvalid, format!("{name} is not a file."))
            .hint("For a folder of inventories: ansible-inventory -i FOLDER --list > inventory.json.")
            .detail("key", key));
    }
    if facts.len() > FILE_BYTES_MAX {
        let message = format!("{name} has {} bytes; {FILE_BYTES_MAX} is the limit.", facts.len());
        return Err(Fault::new(Code::ManifestInvalid, message).detail("key", key));
    }
    std::fs::read_to_string(path).context(Code::Io, unread).map_err(|fault| fault.detail("key", key))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
