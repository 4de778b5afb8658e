//! What a host says of its units, line by line, as units of an inventory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use vice_core::Result;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{UnitHealth, UnitState};

use super::super::hosts::Host;
use super::link::nonsense;

/// What a host has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) epoch: u64,
    /// The release folders that are there.
    pub(super) artifacts: BTreeSet<String>,
    pub(super) units: Vec<UnitState>,
}

/// Reads the answer to `list`: a first line with the epoch, the address and the release folders, then one line a unit,
/// parted by tabs.
pub(super) fn parse(host: &Host, text: &str) -> Result<Report> {
    let mut lines = text.lines();
    let first: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let ["@", epoch, address, artifacts] = first.as_slice() else {
        return Err(nonsense(host, "it does not begin with an epoch"));
    };
    let epoch = epoch.parse().map_err(|_| nonsense(host, "its epoch is no number"))?;
    let artifacts = artifacts.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let units: Vec<UnitState> = lines.map(|line| unit(host, address, line)).collect::<Result<_>>()?;
    // A host speaks for itself only: what it says of others would pass for their word.
    if units.iter().any(|unit| !is_of(host, &unit.name)) {
        return Err(nonsense(host, "it speaks of units that are not its own"));
    }
    Ok(Report { epoch, artifacts, units })
}

/// Whether a unit is named after a host: `web1`, or `web1.2` where it has several.
fn is_of(host: &Host, unit: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok());
    unit.strip_prefix(host.name.as_str()).is_some_and(|rest| rest.is_empty() || number(rest))
}

fn unit(host: &Host, address: &str, line: &str) -> Result<UnitState> {
    let parts: Vec<&str> = line.splitn(8, '\t').collect();
    let [name, state, since, restarts, pid, port, mode, release] = parts.as_slice() else {
        return Err(nonsense(host, "a unit has too few facts"));
    };
    let release: ReleaseRef = serde_json::from_str(release)
        .map_err(|_| nonsense(host, &format!("the release of unit {name} is unreadable")))?;
    let mut facts =
        BTreeMap::from([("host".to_owned(), host.address.to_string()), ("run".to_owned(), (*mode).to_owned())]);
    for (key, value) in [("pid", pid), ("port", port)] {
        if !value.is_empty() && *value != "0" {
            facts.insert(key.to_owned(), (*value).to_owned());
        }
    }
    let started =
        since.parse().ok().filter(|seconds| *seconds > 0).and_then(|seconds| Timestamp::from_second(seconds).ok());
    Ok(UnitState {
        name: (*name).to_owned(),
        release: Some(release),
        health: health(state),
        since: started,
        restarts: restarts.parse().unwrap_or(0),
        url: url(address, port),
        facts,
    })
}

fn health(state: &str) -> UnitHealth {
    match state {
        "healthy" => UnitHealth::Healthy,
        "unhealthy" => UnitHealth::Unhealthy,
        "starting" => UnitHealth::Starting,
        "crashed" => UnitHealth::Crashed,
        "stopped" => UnitHealth::Stopped,
        _ => UnitHealth::Unknown,
    }
}

/// Where an instance answers: at the address by which ssh came to the host.
fn url(address: &str, port: &str) -> Option<String> {
    match (address.is_empty() || port.is_empty(), address.contains(':')) {
        (true, _) => None,
        (false, true) => Some(format!("http://[{address}]:{port}")),
        (false, false) => Some(format!("http://{address}:{port}")),
    }
}

/// A unit of a host that can't be asked.
pub(super) fn unreachable(host: &Host, name: String, why: &str) -> UnitState {
    UnitState {
        name,
        release: None,
        health: UnitHealth::Unknown,
        since: None,
        restarts: 0,
        url: None,
        facts: BTreeMap::from([
            ("host".to_owned(), host.address.to_string()),
            (vice_core::port::target::UNREACHABLE.to_owned(), why.to_owned()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_what_it_has() {
        let host = Host::parse("web1").unwrap();
        let text = "@\t7\t10.0.0.1\tabc,def\nweb1\thealthy\t1764374400\t2\t31\t8080\tprocess\t{\"version\":\"1\"}\n";
        let report = parse(&host, text).unwrap();
        assert_eq!(report.artifacts.len(), 2);
        let unit = &report.units[0];
        assert_eq!((report.epoch, unit.health, unit.restarts), (7, UnitHealth::Healthy, 2));
        assert_eq!(unit.url.as_deref(), Some("http://10.0.0.1:8080"));
        assert_eq!(unit.release.as_ref().unwrap().version, "1");
        assert_eq!(url("::1", "80").as_deref(), Some("http://[::1]:80"));
        for text in
            ["", "hello\n", "@\t1\t\n", "@\tx\t\t\n", "@\t1\t\t\nweb1\thealthy\n", "@\t1\t\t\na\tb\tc\td\te\tf\tg\t{\n"]
        {
            assert!(parse(&host, text).is_err(), "{text:?}");
        }
    }
}
