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
