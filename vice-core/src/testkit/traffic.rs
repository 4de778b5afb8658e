//! What everything that splits traffic must do.

use std::sync::Arc;

use crate::fault::Code;
use crate::port::target::{Change, Op, Target, Traffic, Weight, WeightTable, Workload};
use crate::time::Millis;

use super::target::Releases;

fn table(epoch: u64, weights: &[(&Workload, u32)]) -> WeightTable {
    let weight = |(workload, basis_points): &(&Workload, u32)| Weight {
        version: workload.release.version.clone(),
        basis_points: *basis_points,
    };
    WeightTable { epoch, weights: weights.iter().map(weight).collect() }
}

/// Runs every case on a fresh, empty backend that is both: the target on which versions run, and what splits their
/// traffic.
///
/// # Panics
/// When the backend breaks the contract.
pub async fn suite(target: Arc<dyn Target>, traffic: Arc<dyn Traffic>, releases: &Releases) {
    suite_of(target, traffic, releases, ["1", "2"]).await;
}

/// As [`suite`], with the names of two units.
///
/// # Panics
/// As [`suite`].
pub async fn suite_of(target: Arc<dyn Target>, traffic: Arc<dyn Traffic>, releases: &Releases, units: [&str; 2]) {
    let (first, second) = (&releases.first, &releases.second);
    assert!(traffic.table().await.expect("an empty table can be read").weights.is_empty());
    for (unit, workload) in units.into_iter().zip([first, second]) {
        let change = Change::Place(workload.release.clone());
        let op = Op { id: format!("place-{unit}"), epoch: 3, unit: unit.to_owned(), change, before: None };
        target.apply(&op, Some(workload)).await.expect("a good release can be placed");
    }
    let implied = traffic.table().await.expect("table").weights;
    assert_eq!(implied.iter().map(|weight| weight.basis_points).sum::<u32>(), 10_000, "{implied:?}");

    let split = table(3, &[(first, 9_000), (second, 1_000)]);
    traffic.set_weights(&split).await.expect("weights can be set");
    traffic.set_weights(&split).await.expect("weights can be set again");
    assert_eq!(traffic.table().await.expect("table").weights, split.weights);

    let code = |result: crate::Result<()>| result.expect_err("it is refused").code();
    assert_eq!(code(traffic.set_weights(&table(2, &[(first, 10_000)])).await), Code::Fenced);
    assert_eq!(code(traffic.set_weights(&table(3, &[(first, 9_999)])).await), Code::Usage);
    assert_eq!(code(traffic.set_weights(&table(3, &[(&releases.bad, 10_000)])).await), Code::Usage);
    assert_eq!(traffic.table().await.expect("table").weights, split.weights, "a refused table had an effect");

    let soon = Millis::from_secs(5);
    assert_eq!(traffic.drain(units[0], 3, soon).await.expect("a unit can be drained"), 0);
    assert_eq!(traffic.drain(units[0], 2, soon).await.expect_err("a lower epoch is refused").code(), Code::Fenced);
    assert_eq!(traffic.drain("9", 3, soon).await.expect_err("no such unit").code(), Code::UnknownName);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::target::MemoryTarget;
    use crate::testkit::target_fixtures::releases;

    #[test]
    fn the_memory_target_conforms() {
        let both = Arc::new(MemoryTarget::new());
        futures::executor::block_on(suite(both.clone(), both, &releases()));
    }
}
