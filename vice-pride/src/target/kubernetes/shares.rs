//! The shares of the traffic: who set them, and how they are brought into force on the two units.
//!
//! The table stands in a ConfigMap of its own, because a share can move while nothing is placed. It is written before
//! anything is changed, so that whoever takes over brings the same share into force again.

use serde::{Deserialize, Serialize};
use vice_core::port::target::{Weight, WeightTable};
use vice_core::{Code, Fault, Result};

use super::cluster::Cluster;
use super::ledger::check_epoch;
use super::names::Names;
use super::sheet::Sheet;
use super::split::WHOLE;

/// What is noted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) epoch: u64,
    pub(super) weights: Vec<Weight>,
    /// Whether somebody is at it.
    #[serde(default)]
    pub(super) moving: bool,
}

/// The table with the version that may be replaced.
pub(super) struct Shares {
    pub(super) table: Table,
    sheet: Sheet,
}

impl Shares {
    /// Reads it; an absent one is empty.
    pub(super) async fn read(cluster: &Cluster, names: &Names) -> Result<Self> {
        let (table, sheet) = Sheet::read(cluster, names.shares(), "weights").await?;
        Ok(Self { table, sheet })
    }

    /// Writes it, if nobody else has since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody has.
    pub(super) async fn write(&mut self, cluster: &Cluster, names: &Names) -> Result<()> {
        self.sheet.write(cluster, &names.owner, &self.table).await
    }

    /// Refuses epochs below the highest one seen.
    pub(super) fn check_epoch(&self, epoch: u64) -> Result<()> {
        check_epoch(self.table.epoch, epoch)
    }
}

/// Refuses a table that does not add up or names what does not run. An empty one ends the split.
///
/// # Errors
/// `Usage`.
pub(super) fn check(table: &WeightTable, known: impl Fn(&str) -> bool) -> Result<()> {
    let wrong = |message: String| Err(Fault::new(Code::Usage, message));
    let sum: u64 = table.weights.iter().map(|weight| u64::from(weight.basis_points)).sum();
    if !table.weights.is_empty() && sum != u64::from(WHOLE) {
        return wrong(format!("The weights add up to {sum} basis points, and all together must be {WHOLE}."));
    }
    for (at, weight) in table.weights.iter().enumerate() {
        let shown: String = weight.version.chars().take(80).collect();
        if !known(&weight.version) {
            return wrong(format!("No unit runs version {shown:?}, so it can't get traffic."));
        }
        if table.weights.iter().take(at).any(|other| other.version == weight.version) {
            return wrong(format!("Version {shown:?} has two weights."));
        }
    }
    Ok(())
}
