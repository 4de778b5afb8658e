//! Incidents in the history: which are open is a fold of it, so that a watcher that starts again clears what an earlier
//! one raised, and never raises it twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Result;
use vice_core::event::{Payload, Recorded};
use vice_core::fold::Fold;
use vice_core::id::Scope;

/// An incident was raised or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncidentChanged {
    /// Its id: the same when it is raised and when it is cleared.
    pub(crate) incident: String,
    pub(crate) scope: Scope,
    /// Which scenario does not pass.
    pub(crate) scenario: String,
    /// Seen from where; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) location: String,
    /// Raised, or cleared.
    pub(crate) open: bool,
    /// Since when it is so.
    pub(crate) since: Timestamp,
    /// What was found; empty when it is cleared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

impl Payload for IncidentChanged {
    const KIND: &'static str = "dev.cdeventsx.vice-incident.changed.0.1.0";
    fn subject(&self) -> String {
        self.incident.clone()
    }
}

/// The incidents that are open, by scenario and location.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct OpenIncidents {
    open: Vec<IncidentChanged>,
}

impl OpenIncidents {
    /// The open incidents of a location, by scenario.
    pub(crate) fn at(self, location: &str) -> BTreeMap<String, IncidentChanged> {
        let here = self.open.into_iter().filter(|incident| incident.location == location);
        here.map(|incident| (incident.scenario.clone(), incident)).collect()
    }
}

impl Fold for OpenIncidents {
    const NAME: &'static str = "open-incidents";
    const VERSION: u32 = 1;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let Some(changed) = recorded.event.decode::<IncidentChanged>()? else { return Ok(()) };
        self.open.retain(|open| open.scenario != changed.scenario || open.location != changed.location);
        if changed.open {
            self.open.push(changed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vice_core::id::{EnvName, ProjectName};
    use vice_core::testkit::golden::Corpus;

    use super::*;

    #[test]
    fn incidents_are_read_as_they_were_written() {
        let scope = Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
        let changed = |open, location: &str, reason: &str| IncidentChanged {
            incident: "shop.prod.checkout".into(),
            scope: scope.clone(),
            scenario: "checkout".into(),
            location: location.into(),
            open,
            since: Timestamp::UNIX_EPOCH,
            reason: reason.into(),
        };
        let corpus = Corpus::of(env!("CARGO_MANIFEST_DIR"));
        corpus.hold(&[changed(true, "eu", "step 2: expected 200, got 503"), changed(false, "", "")]);
    }

    #[test]
    fn every_type_of_this_crate_has_an_entry() {
        Corpus::of(env!("CARGO_MANIFEST_DIR")).has_every_type();
    }
}
