//! What must run before what: `needs`, and the producers of captures that a check uses.

use std::collections::BTreeMap;

use vice_core::Result;
use vice_core::manifest::Project;

use super::{Planned, invalid, unknown, uses};

/// Names that captures can't take, because the run provides them.
const RESERVED: &[&str] = &["env", "project", "version"];

/// Adds the producers of captures to the needs of those who use them.
pub(super) fn add_producers(project: &Project, all: &mut [Planned]) -> Result<()> {
    let producers = producers(project, all)?;
    for check in all {
        for name in uses::names(&check.spec) {
            if let Some(producer) = producers.get(&name).filter(|producer| !check.needs.contains(*producer)) {
                check.needs.push(producer.clone());
            }
        }
    }
    Ok(())
}

/// Which check captures a name. Two may capture the same one only if they are for different environments.
fn producers(project: &Project, all: &[Planned]) -> Result<BTreeMap<String, String>> {
    let mut producers: BTreeMap<String, (String, bool)> = BTreeMap::new();
    for check in all {
        for capture in &check.captures {
            let name = capture.name.as_str();
            let at = |message: String| invalid(project, &check.name, &["capture", name], message);
            if RESERVED.contains(&name) {
                return Err(at(format!("{{{{{name}}}}} is known already; no check can capture it.")));
            }
            match producers.get(name) {
                Some((other, true)) if check.applies => {
                    return Err(
                        at(format!("Both {other} and {} capture {name:?}.", check.name)).hint("Rename one of them.")
                    );
                }
                Some(_) if !check.applies => {}
                _ => {
                    producers.insert(name.to_owned(), (check.name.clone(), check.applies));
                }
            }
        }
    }
    Ok(producers.into_iter().map(|(name, (check, _))| (name, check)).collect())
}

/// Indices so that each check comes after those that it needs, otherwise in the order of `vice.toml`.
pub(super) fn sort(project: &Project, all: &[Planned]) -> Result<Vec<usize>> {
    let index_of: BTreeMap<&str, usize> =
        all.iter().enumerate().map(|(index, check)| (check.name.as_str(), index)).collect();
    for check in all {
        if let Some(need) = check.needs.iter().find(|need| !index_of.contains_key(need.as_str())) {
            let fault = unknown("check", need, &index_of.keys().copied().collect::<Vec<_>>());
            return Err(fault.at(project.place(&["check", &check.name, "needs"], "needed here")));
        }
    }
    let mut order: Vec<usize> = Vec::with_capacity(all.len());
    let mut done = vec![false; all.len()];
    loop {
        let ready = |index: &usize| !done[*index] && all[*index].needs.iter().all(|need| done[index_of[need.as_str()]]);
        let Some(next) = (0..all.len()).find(ready) else { break };
        done[next] = true;
        order.push(next);
    }
    match (0..all.len()).find(|index| !done[*index]) {
        None => Ok(order),
        Some(stuck) => Err(circle(project, all, &index_of, &done, stuck)),
    }
}

/// Follows needs that can't be fulfilled until one comes round again.
fn circle(
    project: &Project,
    all: &[Planned],
    index_of: &BTreeMap<&str, usize>,
    done: &[bool],
    stuck: usize,
) -> vice_core::Fault {
    let mut path = vec![stuck];
    let mut at = stuck;
    loop {
        let next = all[at].needs.iter().map(|need| index_of[need.as_str()]).find(|need| !done[*need]);
        let Some(next) = next else { break };
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            path.drain(..start);
            break;
        }
        path.push(next);
        at = next;
    }
    let names: Vec<&str> = path.iter().chain(path.first()).map(|index| all[*index].name.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    invalid(project, first, &[], format!("Checks need each other in a circle: {}.", names.join(" needs ")))
        .hint("A check also needs the one whose capture it uses.")
}
