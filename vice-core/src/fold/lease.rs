//! Who may change an environment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fold;
use crate::event::Recorded;
use crate::fault::Result;
use crate::payload::lease::{Holder, LeaseAcquired, LeaseReleased};

/// The state of a lease. The epoch only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseState {
    /// The highest epoch so far.
    pub epoch: u64,
    /// Who holds it; none when it is free.
    pub held: Option<Held>,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By which process.
    pub holder: Holder,
    /// For what.
    pub purpose: String,
    /// Since when.
    pub since: Timestamp,
    /// Why an earlier holder was passed over, when there was one.
    #[serde(default)]
    pub takeover: Option<String>,
}

impl Fold for LeaseState {
    const NAME: &'static str = "lease";
    const VERSION: u32 = 2;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        if let Some(acquired) = recorded.event.decode::<LeaseAcquired>()? {
            self.epoch = self.epoch.max(acquired.epoch);
            self.held = Some(Held {
                holder: acquired.holder,
                purpose: acquired.purpose,
                since: recorded.event.time,
                takeover: acquired.takeover,
            });
        } else if let Some(released) = recorded.event.decode::<LeaseReleased>()?
            && released.epoch == self.epoch
        {
            self.held = None;
        }
        Ok(())
    }
}
