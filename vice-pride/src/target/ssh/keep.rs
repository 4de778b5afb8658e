//! What is kept on hosts beside what runs: artifacts that nothing needs any more, and services that were there before
//! vice was.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::FutureExt;
use vice_core::port::target::Workload;
use vice_core::secret::Masker;
use vice_core::{Digest, Fault, Millis, Result};

use super::super::{Adopted, Adoption, Keeper, Removed, naming};
use super::link::{Call, Input, Link};
use super::package::{self, Files};
use super::{OPERATION, SshTarget, trouble};

/// So many digests are named in one call: an argument list has its limits.
const KEEP_MAX: usize = 1_000;

impl SshTarget {
    async fn prune_one(&self, link: &Link, args: &[String]) -> Result<Vec<Removed>> {
        let call = Call { command: "prune", args: args.to_vec(), input: Input::Nothing, limit: OPERATION };
        let Some(said) = link.look(&self.dialling, &self.options.root, &call).await? else { return Ok(Vec::new()) };
        if said.status != 0 {
            return Err(trouble::refused(&link.host, None, "", &said, &Masker::default()));
        }
        let removed = said.stdout.lines().filter_map(|line| {
            let (name, size) = line.split_once('\t')?;
            let bytes = size.trim().parse::<u64>().ok()?.saturating_mul(1_024);
            Some(Removed { host: link.host.name.clone(), artifact: name.to_owned(), bytes })
        });
        Ok(removed.collect())
    }

    async fn adopt_one(&self, unit: &str, adoption: &Adoption<'_>) -> Result<Adopted> {
        let (link, number) = self.link(unit)?;
        let workload: &Workload = adoption.workload;
        let request = package::request(workload, &self.manner(unit, number, Files::Adopted))?;
        let path = adoption.path.clone().unwrap_or_else(|| "-".to_owned());
        let port = self.port(number).map_or_else(|| "0".to_owned(), |port| port.to_string());
        let op = naming::op_key(&format!("{}/{unit}", adoption.op));
        let pid = adoption.pid.unwrap_or(0).to_string();
        let args = vec![adoption.epoch.to_string(), unit.to_owned(), op, pid, path, port];
        let call = Call { command: "adopt", args, input: Input::Bytes(&request), limit: OPERATION };
        let said = self.call(link, &call).await?;
        if said.status != 0 {
            let fault = trouble::refused(&link.host, None, &workload.release.version, &said, &Masker::default());
            return Err(fault.detail("unit", unit));
        }
        let (pid, path) = said.stdout.trim_end().split_once('\t').unwrap_or(("", ""));
        Ok(Adopted { unit: unit.to_owned(), pid: pid.parse().ok(), path: path.to_owned() })
    }
}

#[async_trait]
impl Keeper for SshTarget {
    async fn prune(&self, keep: &BTreeSet<Digest>, older_than: Millis) -> Result<Vec<Removed>> {
        if keep.len() > KEEP_MAX {
            return Err(Fault::internal("More artifacts are to be kept than one call can name."));
        }
        let minutes = (older_than.0 / 60_000).to_string();
        let args: Vec<String> = std::iter::once(minutes).chain(keep.iter().map(ToString::to_string)).collect();
        let pruned = self.everywhere(|link| self.prune_one(link, &args).boxed()).await;
        pruned.into_iter().collect::<Result<Vec<_>>>().map(|removed| removed.into_iter().flatten().collect())
    }

    async fn adopt(&self, adoption: &Adoption<'_>) -> Result<Vec<Adopted>> {
        let units = self.options.hosts.iter().flat_map(|host| self.units_of(host));
        let mut adopted = Vec::new();
        // One after another: the first that does not fit is the reason to stop.
        for unit in units {
            adopted.push(self.adopt_one(&unit, adoption).await?);
        }
        Ok(adopted)
    }
}
