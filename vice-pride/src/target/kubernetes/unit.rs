//! How a unit is: its objects as they are, with what its workloads say for themselves. It changes nothing.

use std::collections::BTreeMap;

use serde_json::Value;
use vice_core::Result;
use vice_core::port::target::{UnitHealth, UnitState};

use super::failing;
use super::ledger::Running;
use super::object::ObjectId;
use super::operate::Operator;
use super::rollout::{self, Rollout};
use super::split::Track;

/// The state of the unit that runs that.
pub(super) async fn state(operator: &Operator<'_>, running: &Running) -> Result<UnitState> {
    let (mut health, mut restarts) = (UnitHealth::Healthy, 0);
    let mut facts = BTreeMap::from([
        ("namespace".to_owned(), operator.cluster.namespace.clone()),
        ("revision".to_owned(), running.revision.to_string()),
    ]);
    for id in operator.ids_of(Some(running)).await?.into_iter().filter(ObjectId::is_workload) {
        let live = operator.live(&id).await?;
        let (worst, said) = match live.as_ref().map(rollout::of) {
            None => (UnitHealth::Unhealthy, "it is not there".to_owned()),
            Some(Rollout::Done) => (UnitHealth::Healthy, "ready".to_owned()),
            Some(Rollout::Going(missing)) => (UnitHealth::Starting, missing),
            Some(Rollout::Failed(why)) => (UnitHealth::Unhealthy, why),
        };
        if worst == UnitHealth::Unhealthy || health == UnitHealth::Healthy {
            health = worst;
        }
        if let Some(live) = &live {
            restarts += restarts_of(&failing::pods(operator.cluster, &id, live).await);
        }
        facts.insert(id.to_string(), said);
    }
    if running.stopped && health == UnitHealth::Healthy {
        health = UnitHealth::Stopped;
    }
    let track = operator.split.as_ref().map(|split| split.track);
    if let Some(split) = operator.split.as_ref().filter(|split| split.track == Track::Canary) {
        let part = split.part(&running.release);
        let share = format!("{} % of the traffic", f64::from(part.share) / 100.0);
        facts.insert("share".to_owned(), if part.apart { share } else { "waits without pods".to_owned() });
    }
    Ok(UnitState {
        name: track.map_or(super::UNIT, Track::unit).to_owned(),
        release: Some(running.release.clone()),
        health,
        since: Some(running.since),
        restarts,
        url: None,
        facts,
    })
}

fn restarts_of(pods: &[Value]) -> u32 {
    let containers = pods.iter().flat_map(|pod| pod["status"]["containerStatuses"].as_array().into_iter().flatten());
    let count: u64 = containers.filter_map(|container| container["restartCount"].as_u64()).sum();
    u32::try_from(count).unwrap_or(u32::MAX)
}
