//! What a host says of its unit, as a unit of an inventory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{UNREACHABLE, UnitHealth, UnitState};
use vice_core::text::sanitize;
use vice_core::{Code, Fault, Result};

use super::super::hosts::Host;

/// The fact of a unit on which a playbook has begun and not ended.
const PLAYBOOK: &str = "playbook";

/// Reads the answer to `list`: the epoch, and the unit of that name where there is one.
pub(super) fn parse(host: &Host, text: &str, url: Option<String>) -> Result<(u64, Option<UnitState>)> {
    let mut lines = text.lines();
    let epoch = lines.next().and_then(|line| line.strip_prefix("@\t")).and_then(|epoch| epoch.trim().parse().ok());
    let epoch = epoch.ok_or_else(|| nonsense(host, "it does not begin with an epoch"))?;
    for line in lines {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [name, state, since, release] = parts.as_slice() else {
            return Err(nonsense(host, "a unit has too few facts"));
        };
        if *name == host.name {
            return unit(host, state, since, release, url).map(|unit| (epoch, unit));
        }
    }
    Ok((epoch, None))
}

fn unit(host: &Host, state: &str, since: &str, release: &str, url: Option<String>) -> Result<Option<UnitState>> {
    let release: Option<ReleaseRef> = match release.trim() {
        "" => None,
        text => Some(serde_json::from_str(text).map_err(|_| nonsense(host, "its release is unreadable"))?),
    };
    let mut facts = BTreeMap::from([("host".to_owned(), host.address.to_string())]);
    if state != "whole" {
        facts.insert(PLAYBOOK.to_owned(), sanitize(state));
    }
    let health = match state {
        "whole" => UnitHealth::Healthy,
        "under-way" => UnitHealth::Starting,
        _ => UnitHealth::Unhealthy,
    };
    // A host on which nothing was ever finished has no unit; what is half done there shows with the next operation.
    let Some(release) = release else { return Ok(None) };
    let since = since.parse().ok().filter(|seconds| *seconds > 0).and_then(|at| Timestamp::from_second(at).ok());
    Ok(Some(UnitState { name: host.name.clone(), release: Some(release), health, since, restarts: 0, url, facts }))
}

fn nonsense(host: &Host, what: &str) -> Fault {
    Fault::new(Code::Decode, format!("What {} says of its unit can't be read: {what}.", host.name))
        .hint("Is the folder on the host used by another version of vice?")
        .detail("host", host.name.clone())
}

/// A unit of a host that can't be asked.
pub(super) fn unreachable(host: &Host, why: &str) -> UnitState {
    UnitState {
        name: host.name.clone(),
        release: None,
        health: UnitHealth::Unknown,
        since: None,
        restarts: 0,
        url: None,
        facts: BTreeMap::from([(UNREACHABLE.to_owned(), why.to_owned())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_what_it_has_and_nothing_else_is_believed() {
        let host = Host::parse("web1").unwrap();
        let release = r#"{"version":"1"}"#;
        let (epoch, unit) = parse(&host, &format!("@\t7\nweb1\twhole\t1764374400\t{release}\n"), None).unwrap();
        assert_eq!((epoch, unit.unwrap().health), (7, UnitHealth::Healthy));
        let (_, unit) = parse(&host, &format!("@\t7\nweb1\thalf-done\t0\t{release}\n"), None).unwrap();
        let unit = unit.unwrap();
        assert_eq!((unit.health, unit.facts["playbook"].as_str()), (UnitHealth::Unhealthy, "half-done"));
        assert_eq!(parse(&host, "@\t0\nweb1\thalf-done\t0\t\n", None).unwrap(), (0, None));
        for text in ["", "@\tx\n", "@\t1\nweb1\twhole\n", "@\t1\nweb1\twhole\t0\t{\n"] {
            assert!(parse(&host, text, None).is_err(), "{text:?}");
        }
    }
}
