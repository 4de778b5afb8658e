//! The hosts of a target, from wherever `vice.toml` says that they are listed, and the units on them. It connects to
//! none of them.

mod address;
mod asked;
mod domains;

use std::collections::BTreeSet;

use vice_core::id::EnvName;
use vice_core::manifest::{ANSIBLE, EnvSpec, LOCAL, Project, SSH, TargetSpec};
use vice_core::{Code, Fault, Result};
use vice_pride_engine::{Roster, RosterHost, Topology, UnitNo};

pub(crate) use address::check_user;
pub use address::{Address, Host};
pub(crate) use domains::domains;

/// So many hosts one target may have: each has a connection of its own.
const HOSTS_MAX: usize = 10_000;

/// Whether the units of a kind of target are on hosts.
#[must_use]
pub fn has_hosts(spec: &TargetSpec) -> bool {
    spec.kind != LOCAL && (!spec.hosts.is_empty() || spec.inventory.is_some() || spec.hosts_from.is_some())
        || [SSH, ANSIBLE].contains(&spec.kind.as_str())
}

/// The hosts of a target, in the order in which they are listed.
///
/// # Errors
/// `ManifestInvalid` for a host that can't be one, or for none at all; what reading an inventory or running the command
/// says.
pub fn of(project: &Project, env: &EnvName, part: Option<&str>, spec: &TargetSpec) -> Result<Vec<Host>> {
    let section = project.env(env)?;
    let listed = listed(project, env, section, spec).and_then(|hosts| checked(hosts, spec));
    listed.map_err(|fault| {
        if fault.place().is_some() {
            return fault;
        }
        let key = fault.details().get("key").and_then(serde_json::Value::as_str).unwrap_or("kind").to_owned();
        let path = ["env", env.as_str(), "target"].into_iter().chain(part).chain([key.as_str()]);
        fault.at(project.place(&path.collect::<Vec<_>>(), ""))
    })
}

/// The hosts from the one place that says them: the target itself, or else the topology, whose units are hosts then.
fn listed(project: &Project, env: &EnvName, section: &EnvSpec, spec: &TargetSpec) -> Result<Vec<Host>> {
    let of_topology = section.topology.as_ref().and_then(|topology| topology.inventory.as_ref());
    if !spec.hosts.is_empty() {
        return spec.hosts.iter().map(|text| Host::parse(text).map_err(|why| wrong("hosts", &why))).collect();
    }
    if let Some(argv) = &spec.hosts_from {
        return asked::hosts(project, argv);
    }
    if let Some(name) = spec.inventory.as_ref().or(of_topology) {
        return of_roster(&roster(project, name, spec)?, spec.group.as_deref());
    }
    match &section.topology {
        Some(topology) => of_tree(&crate::topology::of_section(project, env, topology)?),
        None => Err(wrong("kind", "it says no hosts").hint(
            "Add hosts = [\"web1\", \"deploy@10.0.0.5:2222\"], or an Ansible inventory: inventory = \"hosts.ini\".",
        )),
    }
}

/// An inventory: as vice reads it, which takes milliseconds, or as Ansible does where only Ansible can.
fn roster(project: &Project, name: &str, spec: &TargetSpec) -> Result<Roster> {
    match crate::topology::roster(&project.root, name) {
        Err(fault) if spec.kind == ANSIBLE && project.root.join(name).exists() => {
            tracing::debug!(%fault, "Ansible is asked for the inventory");
            crate::topology::roster_of(name, &asked::inventory(project, name)?)
        }
        read => read,
    }
}

fn of_tree(tree: &Topology) -> Result<Vec<Host>> {
    let names = (0..tree.len()).map(|unit| tree.unit_name(UnitNo(unit)));
    names.map(|name| Host::parse(&name).map_err(|why| wrong("kind", &why))).collect()
}

fn wrong(key: &str, why: &str) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("The hosts of this target can't be used: {why}.")).detail("key", key)
}

/// No host twice, none that would be mistaken for an instance of another, and what the target says for all of them.
fn checked(mut hosts: Vec<Host>, spec: &TargetSpec) -> Result<Vec<Host>> {
    let key = if spec.hosts_from.is_some() { "hosts_from" } else { "hosts" };
    if hosts.is_empty() {
        return Err(wrong(key, "there are none"));
    }
    if hosts.len() > HOSTS_MAX {
        return Err(wrong(key, &format!("there are {}, and {HOSTS_MAX} is the limit", hosts.len())));
    }
    if let Some(why) = spec.user.as_deref().and_then(|user| check_user(user).err()) {
        return Err(wrong("user", &why));
    }
    let names: BTreeSet<String> = hosts.iter().map(|host| host.name.clone()).collect();
    let mut seen = BTreeSet::new();
    for host in &hosts {
        if !seen.insert(&host.name) {
            return Err(wrong(key, &format!("{:?} is there twice", host.name))
                .hint("Give one of them a name of its own: hosts = [\"web1=deploy@10.0.0.5:2222\"]."));
        }
        if let Some((other, _)) = numbered(&host.name).filter(|(other, _)| names.contains(*other)) {
            return Err(wrong(key, &format!("{:?} could also be an instance on {other:?}", host.name))
                .hint(format!("Name it otherwise: hosts = [\"other={}\"].", host.name)));
        }
    }
    for host in &mut hosts {
        host.address.user = host.address.user.take().or_else(|| spec.user.clone());
        host.address.port = host.address.port.or(spec.port);
    }
    Ok(hosts)
}

/// A unit's name taken apart: its host and its number there.
pub(crate) fn numbered(unit: &str) -> Option<(&str, u32)> {
    let (host, number) = unit.rsplit_once('.')?;
    number.parse().ok().filter(|number| *number >= 1).map(|number| (host, number))
}

/// The host of a unit, and which of the instances there it is, from 1.
#[must_use]
pub fn host_of<'h>(hosts: &'h [Host], unit: &str) -> Option<(&'h Host, u32)> {
    let named = |name: &str| hosts.iter().find(|host| host.name == name);
    match named(unit) {
        Some(host) => Some((host, 1)),
        None => numbered(unit).and_then(|(host, number)| named(host).map(|host| (host, number))),
    }
}

/// The units of hosts that have so many instances each: named after the host, with a number where there are several.
pub(crate) fn units(hosts: &[Host], instances: u32) -> Vec<RosterHost> {
    let unit = |host: &Host, number: u32| RosterHost {
        name: if instances == 1 { host.name.clone() } else { format!("{}.{number}", host.name) },
        vars: [("host".to_owned(), host.name.clone())].into(),
    };
    hosts.iter().flat_map(|host| (1..=instances).map(move |number| unit(host, number))).collect()
}

/// How to reach the hosts of an Ansible inventory, from the variables that Ansible goes by.
fn of_roster(roster: &Roster, group: Option<&str>) -> Result<Vec<Host>> {
    let chosen = match group {
        None => None,
        Some(name) if name == "all" || roster.groups.contains_key(name) => Some(members(roster, name)),
        Some(name) => return Err(wrong("group", &format!("the inventory has no group {name:?}"))),
    };
    let wanted = |host: &&RosterHost| chosen.as_ref().is_none_or(|chosen| chosen.contains(host.name.as_str()));
    roster.hosts.iter().filter(wanted).map(|host| reached(roster, host)).collect()
}

fn reached(roster: &Roster, host: &RosterHost) -> Result<Host> {
    let var = |names: [&str; 2]| names.into_iter().find_map(|name| variable(roster, host, name));
    let port = match var(["ansible_port", "ansible_ssh_port"]) {
        Some(port) => Some(port.parse().map_err(|_| wrong("inventory", &format!("{port:?} is no port")))?),
        None => None,
    };
    let address = Address {
        host: var(["ansible_host", "ansible_ssh_host"]).unwrap_or_else(|| host.name.clone()),
        user: var(["ansible_user", "ansible_ssh_user"]),
        port,
        key: var(["ansible_ssh_private_key_file", "ansible_private_key_file"]),
    };
    Host::new(host.name.clone(), address).map_err(|why| wrong("inventory", &why))
}

/// A variable of a host: its own, else that of its nearest group, else that of all.
fn variable(roster: &Roster, host: &RosterHost, name: &str) -> Option<String> {
    if let Some(value) = host.vars.get(name) {
        return Some(value.clone());
    }
    let has = |members: &[String], wanted: &str| members.iter().any(|member| member == wanted);
    let mut level: Vec<&str> = roster
        .groups
        .iter()
        .filter(|(_, group)| has(&group.hosts, &host.name))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut seen: BTreeSet<&str> = level.iter().copied().collect();
    while !level.is_empty() {
        // Of groups that are equally near, Ansible takes the last by name.
        let said = level.iter().rev().filter(|group| **group != "all");
        let said = said.filter_map(|group| roster.groups.get(*group)?.vars.get(name)).next();
        if said.is_some() {
            return said.cloned();
        }
        let above = |group: &str| level.iter().any(|child| has(&roster.groups[group].children, child));
        level = roster.groups.keys().map(String::as_str).filter(|group| above(group)).collect();
        level.retain(|group| seen.insert(group));
    }
    roster.groups.get("all").and_then(|all| all.vars.get(name)).cloned()
}

/// The hosts of a group and of the groups in it.
fn members<'r>(roster: &'r Roster, name: &'r str) -> BTreeSet<&'r str> {
    if name == "all" {
        return roster.hosts.iter().map(|host| host.name.as_str()).collect();
    }
    let (mut open, mut seen, mut hosts) = (vec![name], BTreeSet::new(), BTreeSet::new());
    while let Some(group) = open.pop() {
        let Some(group) = roster.groups.get(group).filter(|_| seen.insert(group)) else { continue };
        hosts.extend(group.hosts.iter().map(String::as_str));
        open.extend(group.children.iter().map(String::as_str));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_pride_engine::RosterGroup;

    fn group(hosts: &[&str], children: &[&str], vars: &[(&str, &str)]) -> RosterGroup {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let vars = vars.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        RosterGroup { hosts: texts(hosts), children: texts(children), vars }
    }

    fn roster() -> Roster {
        let host = |name: &str, vars: &[(&str, &str)]| RosterHost {
            name: name.to_owned(),
            vars: vars.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let groups = [
            ("all", group(&[], &["eu"], &[("ansible_user", "ops"), ("ansible_port", "22")])),
            ("eu", group(&[], &["web"], &[("ansible_port", "2222")])),
            ("web", group(&["w1", "w2"], &[], &[])),
            ("db", group(&["d1"], &[], &[("ansible_user", "dba")])),
        ];
        Roster {
            hosts: vec![
                host("w1", &[("ansible_host", "10.0.0.1")]),
                host("w2", &[("ansible_port", "9")]),
                host("d1", &[]),
            ],
            groups: groups.map(|(name, group)| (name.to_owned(), group)).into(),
        }
    }

    #[test]
    fn an_inventory_says_how_its_hosts_are_reached() {
        let hosts = of_roster(&roster(), None).unwrap();
        let shown: Vec<String> = hosts.iter().map(|host| format!("{}={}", host.name, host.address)).collect();
        assert_eq!(shown, ["w1=ops@10.0.0.1:2222", "w2=ops@w2:9", "d1=dba@d1:22"]);
        let names = |group: &str| {
            let hosts = of_roster(&roster(), Some(group)).unwrap();
            hosts.into_iter().map(|host| host.name).collect::<Vec<_>>()
        };
        assert_eq!((names("eu"), names("db")), (vec!["w1".to_owned(), "w2".to_owned()], vec!["d1".to_owned()]));
        assert!(of_roster(&roster(), Some("nobody")).unwrap_err().to_string().contains("nobody"));
    }

    #[test]
    fn units_are_named_after_their_hosts() {
        let hosts: Vec<Host> = ["web1", "10.0.0.5"].map(|text| Host::parse(text).unwrap()).into();
        let names = |instances| units(&hosts, instances).into_iter().map(|unit| unit.name).collect::<Vec<_>>();
        assert_eq!(names(1), ["web1", "10.0.0.5"]);
        assert_eq!(names(2), ["web1.1", "web1.2", "10.0.0.5.1", "10.0.0.5.2"]);
        let of = |unit| host_of(&hosts, unit).map(|(host, number)| (host.name.as_str(), number));
        assert_eq!(of("10.0.0.5"), Some(("10.0.0.5", 1)));
        assert_eq!(of("10.0.0.5.2"), Some(("10.0.0.5", 2)));
        assert_eq!((of("web1.0"), of("web2"), of("web1.x")), (None, None, None));
    }

    #[test]
    fn hosts_that_would_be_mixed_up_are_refused() {
        let said = |hosts: &[&str]| {
            let hosts = hosts.iter().map(|text| Host::parse(text).unwrap()).collect();
            checked(hosts, &TargetSpec::default()).unwrap_err().to_string()
        };
        assert!(said(&["a", "b@a:2"]).contains("twice"));
        assert!(said(&["10.0.0", "10.0.0.5"]).contains("instance"));
        assert!(said(&[]).contains("none"));
    }
}
