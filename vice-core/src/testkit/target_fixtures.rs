//! Workloads that run nowhere, for targets that run nothing.

use std::collections::BTreeMap;

use super::target::Releases;
use crate::payload::ReleaseRef;
use crate::port::target::Workload;
use crate::time::Millis;

/// A workload of that version, without files, command and configuration.
#[must_use]
pub fn workload(version: &str) -> Workload {
    Workload {
        release: ReleaseRef {
            version: version.to_owned(),
            artifact: None,
            source: String::new(),
            config: None,
            recipe: None,
        },
        files: None,
        command: vec!["true".to_owned()],
        environment: BTreeMap::new(),
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: None,
        ready_timeout: Millis::from_secs(10),
        drain_timeout: Millis::from_secs(10),
        stop_timeout: Millis::from_secs(10),
        reload: None,
    }
}

/// Versions `1`, `2` and `bad`.
#[must_use]
pub fn releases() -> Releases {
    Releases { first: workload("1"), second: workload("2"), bad: workload("bad") }
}
