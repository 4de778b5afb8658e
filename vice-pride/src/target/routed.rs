//! Several targets as one: each unit's name begins with that of its target, and everything is passed on to it. One
//! engine, one lease, one budget and one way back then cover all of them. It keeps no state of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::port::target::{
    Inventory, LogLine, LogSource, Observed, Op, Target, Traffic, Weight, WeightTable, Workload,
};
use vice_core::{Code, Digest, Fault, Millis, Result};

use crate::backend::Backend;
use crate::metric::FrontCounts;
use crate::target::local::FrontCounters;

/// All of the traffic, in basis points.
const WHOLE: u32 = 10_000;

/// Targets by name, in the order of `vice.toml`.
pub struct RoutedTarget {
    members: Vec<(String, Backend)>,
}

impl RoutedTarget {
    /// These together.
    #[must_use]
    pub const fn new(members: Vec<(String, Backend)>) -> Self {
        Self { members }
    }

    /// The target of a unit, and the unit's name there.
    fn route<'a>(&self, unit: &'a str) -> Result<(&Backend, &'a str)> {
        let parts = unit.split_once('.');
        let found = parts.and_then(|(name, rest)| {
            let member = self.members.iter().find(|(member, _)| member == name);
            member.map(|(_, backend)| (backend, rest))
        });
        found.ok_or_else(|| {
            let names: Vec<&str> = self.members.iter().map(|(name, _)| name.as_str()).collect();
            Fault::new(Code::UnknownName, format!("The unit {unit:?} belongs to no target."))
                .hint(format!("Units are named after their target, as in {}.1.", names.first().unwrap_or(&"eu")))
        })
    }

    fn routed(&self, op: &Op) -> Result<(&Backend, Op)> {
        let (backend, unit) = self.route(&op.unit)?;
        Ok((backend, Op { unit: unit.to_owned(), ..op.clone() }))
    }

    fn traffics(&self) -> Result<Vec<Splitting<'_>>> {
        let each = self.members.iter().map(|(name, backend)| match &backend.traffic {
            Some(traffic) => Ok((name.as_str(), backend, traffic)),
            None => Err(Fault::new(Code::Unsupported, format!("The target {name} can't split traffic."))
                .hint("Use a strategy that exposes units, such as rolling or waves.")),
        });
        each.collect()
    }
}

/// A target by its name that splits traffic.
type Splitting<'t> = (&'t str, &'t Backend, &'t Arc<dyn Traffic>);

/// What failed, with the target that it failed on.
fn on(name: &str) -> impl Fn(Fault) -> Fault {
    let name = name.to_owned();
    move |fault| fault.about(format_args!("The target {name}"))
}

#[async_trait]
impl Target for RoutedTarget {
    fn describe(&self) -> BackendInfo {
        let each: Vec<String> = self
            .members
            .iter()
            .map(|(name, backend)| format!("{name} = {}", backend.target.describe().location))
            .collect();
        let shared = self.members.iter().any(|(_, backend)| backend.target.describe().shared);
        BackendInfo { kind: "several", location: each.join(", "), shared }
    }

    fn capabilities(&self) -> Capabilities {
        let all = [
            Capability::Fence,
            Capability::Observe,
            Capability::StartStop,
            Capability::Logs,
            Capability::Weights,
            Capability::Drain,
            Capability::Reload,
        ];
        let everywhere =
            |what: &Capability| self.members.iter().all(|(_, backend)| backend.target.capabilities().has(*what));
        Capabilities::of(all.into_iter().filter(everywhere))
    }

    async fn inventory(&self) -> Result<Inventory> {
        let each = self.members.iter().map(|(name, backend)| async move {
            backend.target.inventory().await.map_err(on(name)).map(|inventory| (name, inventory))
        });
        let mut all = Inventory::default();
        for (name, inventory) in try_join_all(each).await? {
            all.url = all.url.or(inventory.url);
            all.epoch = all.epoch.max(inventory.epoch);
            all.units.extend(inventory.units.into_iter().map(|mut unit| {
                unit.name = format!("{name}.{}", unit.name);
                unit
            }));
        }
        Ok(all)
    }

    async fn fence(&self, epoch: u64) -> Result<()> {
        // Each is asked, also when one does not answer: as many as possible shut an orphan out.
        let each = self
            .members
            .iter()
            .map(|(name, backend)| async move { backend.target.fence(epoch).await.map_err(on(name)) });
        join_all(each).await.into_iter().collect()
    }

    async fn fence_unit(&self, op: &Op) -> Result<()> {
        let (backend, op) = self.routed(op)?;
        backend.target.fence_unit(&op).await
    }

    async fn observe(&self, op: &Op) -> Result<Observed> {
        let (backend, op) = self.routed(op)?;
        backend.target.observe(&op).await
    }

    async fn apply(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let (backend, op) = self.routed(op)?;
        backend.target.apply(&op, workload).await
    }

    async fn apply_over(&self, op: &Op, workload: Option<&Workload>, earlier: Option<&Workload>) -> Result<()> {
        let (backend, op) = self.routed(op)?;
        backend.target.apply_over(&op, workload, earlier).await
    }

    async fn undo(&self, op: &Op, workload: Option<&Workload>) -> Result<()> {
        let (backend, op) = self.routed(op)?;
        backend.target.undo(&op, workload).await
    }

    async fn objects(&self, version: &str) -> Result<Vec<Digest>> {
        let each = self
            .members
            .iter()
            .map(|(name, backend)| async move { backend.target.objects(version).await.map_err(on(name)) });
        Ok(try_join_all(each).await?.concat())
    }

    /// Members share what registries have said, so that an image has one digest on all of them.
    async fn images(&self, version: &str) -> Result<BTreeMap<String, String>> {
        let each = self
            .members
            .iter()
            .map(|(name, backend)| async move { backend.target.images(version).await.map_err(on(name)) });
        Ok(try_join_all(each).await?.into_iter().flatten().collect())
    }

    async fn preview(&self, workload: &Workload) -> Result<Vec<String>> {
        let each = self.members.iter().map(|(name, backend)| async move {
            let lines = backend.target.preview(workload).await.map_err(on(name))?;
            Ok::<_, Fault>(lines.into_iter().map(|line| format!("{name}: {line}")).collect::<Vec<_>>())
        });
        Ok(try_join_all(each).await?.concat())
    }
}

#[async_trait]
impl Traffic for RoutedTarget {
    /// The weights of the first target that splits its traffic.
    async fn table(&self) -> Result<WeightTable> {
        let tables = try_join_all(
            self.traffics()?
                .into_iter()
                .map(|(name, _, traffic)| async move { traffic.table().await.map_err(on(name)) }),
        )
        .await?;
        let split = tables.iter().position(|table| table.weights.len() > 1).unwrap_or(0);
        Ok(tables.into_iter().nth(split).unwrap_or_default())
    }

    /// Each target splits its own traffic. One that runs only some of the versions gives those the whole of it. Each is
    /// asked to the end, also when another one fails: what is broken off in the middle would have to be settled first.
    async fn set_weights(&self, table: &WeightTable) -> Result<()> {
        let each = self.traffics()?.into_iter().map(|(name, backend, traffic)| async move {
            let inventory = backend.target.inventory().await.map_err(on(name))?;
            let runs = inventory.units.iter().filter_map(|unit| unit.release.as_ref());
            let names: BTreeSet<String> =
                runs.flat_map(|release| [release.version.clone(), release.full_name()]).collect();
            let own = own_table(table, &names.iter().map(String::as_str).collect());
            traffic.set_weights(&own).await.map_err(on(name))
        });
        join_all(each).await.into_iter().collect()
    }

    async fn check_share(&self, basis_points: u32) -> Result<()> {
        let each = self.members.iter().filter_map(|(name, backend)| backend.traffic.as_ref().map(|one| (name, one)));
        let each = each.map(|(name, traffic)| async move { traffic.check_share(basis_points).await.map_err(on(name)) });
        try_join_all(each).await.map(drop)
    }

    async fn drain(&self, unit: &str, epoch: u64, at_most: Millis) -> Result<usize> {
        let (backend, unit) = self.route(unit)?;
        match &backend.traffic {
            Some(traffic) => traffic.drain(unit, epoch, at_most).await,
            None => Ok(0),
        }
    }
}

/// The part of a table that is about the versions that run.
fn own_table(table: &WeightTable, runs: &BTreeSet<&str>) -> WeightTable {
    let here: Vec<&Weight> = table.weights.iter().filter(|weight| runs.contains(weight.version.as_str())).collect();
    let weights = match here.as_slice() {
        [only] => vec![Weight { version: only.version.clone(), basis_points: WHOLE }],
        several if several.len() == table.weights.len() => table.weights.clone(),
        // None of them, or a table for more versions than two: traffic follows the units.
        _ => Vec::new(),
    };
    WeightTable { epoch: table.epoch, weights }
}

#[async_trait]
impl LogSource for RoutedTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let chosen = match unit {
            Some(unit) => Some(self.route(unit)?.1),
            None => None,
        };
        let wanted = |name: &str| unit.is_none_or(|unit| unit.split('.').next() == Some(name));
        let each = self.members.iter().filter(|(name, _)| wanted(name)).map(|(name, backend)| async move {
            let Some(logs) = &backend.logs else { return Ok(()) };
            let named = |line: LogLine| sink(LogLine { unit: format!("{name}.{}", line.unit), text: line.text });
            logs.logs(chosen, lines, follow, &named).await.map_err(on(name))
        });
        try_join_all(each).await.map(drop)
    }
}

#[async_trait]
impl FrontCounts for RoutedTarget {
    /// The counters of all front ends that run; counting begins again when one of them does.
    async fn counters(&self) -> Result<Option<FrontCounters>> {
        let each = self.members.iter().filter_map(|(name, backend)| backend.front.as_ref().map(|front| (name, front)));
        let read = each.map(|(name, front)| async move {
            front.counters().await.map_err(on(name)).map(|counters| counters.map(|counters| (name, counters)))
        });
        let mut all: Option<FrontCounters> = None;
        for (name, counters) in try_join_all(read).await?.into_iter().flatten() {
            let sum = all.get_or_insert_with(|| FrontCounters { run: String::new(), units: Vec::new() });
            sum.run.push_str(&counters.run);
            sum.units.extend(counters.units.into_iter().map(|mut unit| {
                unit.id = format!("{name}.{}", unit.id);
                unit
            }));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(weights: &[(&str, u32)]) -> WeightTable {
        let weight = |(version, basis_points): &(&str, u32)| Weight {
            version: (*version).to_owned(),
            basis_points: *basis_points,
        };
        WeightTable { epoch: 3, weights: weights.iter().map(weight).collect() }
    }

    #[test]
    fn each_target_splits_what_it_runs() {
        let both = table(&[("1", 9_500), ("2", 500)]);
        assert_eq!(own_table(&both, &["1", "2"].into()), both);
        assert_eq!(own_table(&both, &["1"].into()), table(&[("1", 10_000)]));
        assert_eq!(own_table(&both, &["7"].into()), table(&[]));
        assert_eq!(own_table(&table(&[]), &["1"].into()), table(&[]));
        assert_eq!(own_table(&table(&[("1", 10_000)]), &["1", "2"].into()), table(&[("1", 10_000)]));
    }
}
