//! Which hosts of a target are near each other, by a level or a label of the topology.

use std::collections::BTreeMap;

use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::{ENVIRONMENT, Topology, UnitNo};

use super::{Host, numbered};

/// The domain of each host by its name: hosts with the same are near each other. A host of which nothing is known is in
/// none.
///
/// # Errors
/// `ManifestInvalid` for a word that is neither a level nor a label, with those there are.
pub(crate) fn domains(
    project: &Project,
    env: &EnvName,
    part: Option<&str>,
    word: &str,
    hosts: &[Host],
) -> Result<BTreeMap<String, String>> {
    if word == ENVIRONMENT {
        return Ok(hosts.iter().map(|host| (host.name.clone(), ENVIRONMENT.to_owned())).collect());
    }
    let Some(tree) = crate::topology::load(project, env)? else { return Err(unknown(project, env, part, word, &[])) };
    let found = by_level(&tree, word).or_else(|| by_label(&tree, word));
    let Some(of_unit) = found else {
        let words: Vec<&str> = tree.levels().iter().map(String::as_str).chain(tree.label_keys()).collect();
        return Err(unknown(project, env, part, word, &words));
    };
    let named: BTreeMap<&str, &Host> = hosts.iter().map(|host| (host.name.as_str(), host)).collect();
    let of = |(unit, domain): (UnitNo, String)| {
        let name = tree.unit_name(unit);
        let within = match part {
            Some(part) => name.strip_prefix(part)?.strip_prefix('.')?,
            None => &name,
        };
        let host = named.get(within).or_else(|| numbered(within).and_then(|(host, _)| named.get(host)))?;
        Some((host.name.clone(), domain))
    };
    Ok(of_unit.into_iter().filter_map(of).collect())
}

fn by_level(tree: &Topology, word: &str) -> Option<Vec<(UnitNo, String)>> {
    let nodes = tree.level(word).filter(|nodes| !nodes.is_empty())?;
    let of_node = |(node, first, end): (_, u32, u32)| {
        let path = tree.node_path(node).unwrap_or_default();
        (first..end).map(move |unit| (UnitNo(unit), path.clone())).collect::<Vec<_>>()
    };
    Some(nodes.into_iter().flat_map(of_node).collect())
}

fn by_label(tree: &Topology, word: &str) -> Option<Vec<(UnitNo, String)>> {
    if !tree.label_keys().any(|key| key == word) {
        return None;
    }
    let units = (0..tree.len()).map(UnitNo);
    Some(units.filter_map(|unit| Some((unit, tree.label(unit, word)?.to_owned()))).collect())
}

fn unknown(project: &Project, env: &EnvName, part: Option<&str>, word: &str, words: &[&str]) -> Fault {
    let path = ["env", env.as_str(), "target"].into_iter().chain(part).chain(["share_within"]);
    let message = format!("Hosts can't be near each other by {word:?}: it is neither a level nor a label of {env}.");
    let fault = Fault::new(Code::ManifestInvalid, message).at(project.place(&path.collect::<Vec<_>>(), ""));
    let all = words.iter().copied().chain([ENVIRONMENT]);
    match nearest(word, all.clone()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault.hint(format!("There is: {}.", all.collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = r#"
name = "shop"
[env.dev]
target = { kind = "ssh" }
[env.dev.topology]
fleet = "region[eu,us] > rack[2] > host[3]{feed=a|b}"
"#;

    fn by(word: &str) -> Result<BTreeMap<String, String>> {
        let project = Project::parse("/p".into(), "vice.toml".into(), FLEET).unwrap();
        let env = EnvName::new("dev").unwrap();
        let spec = project.env(&env).unwrap().target.as_ref().unwrap().each().next().unwrap().1.clone();
        let hosts = super::super::of(&project, &env, None, &spec).unwrap();
        domains(&project, &env, None, word, &hosts)
    }

    #[test]
    fn hosts_are_near_each_other_by_a_level_or_a_label() {
        let racks = by("rack").unwrap();
        assert_eq!(racks.len(), 12);
        assert_eq!(racks["eu.rack1.host1"], racks["eu.rack1.host3"]);
        assert_ne!(
            racks["eu.rack1.host1"], racks["us.rack1.host1"],
            "a rack of the same name elsewhere is another one"
        );
        let feeds = by("feed").unwrap();
        assert_eq!(feeds.values().filter(|feed| *feed == "a").count(), 8, "they are dealt out in each rack anew");
        assert_eq!(by(ENVIRONMENT).unwrap().values().filter(|domain| *domain == ENVIRONMENT).count(), 12);
    }

    #[test]
    fn a_word_that_nothing_has_is_refused_with_the_nearest_one() {
        let fault = by("racks").unwrap_err();
        assert_eq!(fault.code(), Code::ManifestInvalid);
        assert!(fault.hints()[0].contains("rack?"), "{fault:?}");
        assert!(fault.place().is_some(), "{fault:?}");
    }
}
